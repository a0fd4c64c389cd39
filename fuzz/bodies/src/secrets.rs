//! Keys, pins and ids as text: one spelling means one thing, and a slip is noticed.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use common::id::{DeviceId, FileId, GroupId, InvalidId, Sha1Digest};
use common::secret::{ClusterPin, ClusterPublic, ClusterSecret};

use crate::harmless;
use crate::input::Input;

/// The secret that is 32 times the byte 7, as in its file: the golden samples are signed with it.
pub(crate) const SECRET: &str = "A4DQOBYHA4DQOBYHA4DQOBYHA4DQOBYHA4DQOBYHA4DQOBYHA4DUXMDPRY";

/// What the rest is meant to be.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    match input.byte() % 6 {
        0 => secret(&mut input),
        1 => slip(&mut input),
        2 => pin(&input.text()),
        3 => public(&mut input),
        4 => signature(&mut input),
        _ => ids(&input.text()),
    }
}

fn read(text: &str) -> Option<ClusterPublic> {
    ClusterSecret::from_text(text).map(|secret| secret.cluster_key().public()).ok()
}

/// Any text: what is accepted is one line, whatever its case and what surrounds it.
fn secret(input: &mut Input<'_>) {
    let text = input.text();
    let Some(public) = read(&text) else { return };
    assert_eq!(read(&text.to_ascii_lowercase()), Some(public));
    assert_eq!(read(&format!("# a comment\n\n  {}", text.trim_start())), Some(public));
    assert_eq!(read(&format!("{text}\n{text}")), None);
}

/// A good secret with one character replaced, removed or added.
fn slip(input: &mut Input<'_>) {
    let mut text: Vec<char> = SECRET.chars().collect();
    let (at, how) = (input.below(text.len()), input.byte());
    let with = char::from(input.byte());
    match how % 3 {
        0 => text[at] = with,
        1 => drop(text.remove(at)),
        _ => text.insert(at, with),
    }
    let text: String = text.into_iter().collect();
    let same = text.trim().eq_ignore_ascii_case(SECRET);
    assert_eq!(read(&text).is_some(), same, "{text:?}");
}

fn pin(text: &str) {
    let Ok(pin) = text.parse::<ClusterPin>() else { return };
    assert_eq!(pin.to_string(), text.to_ascii_lowercase());
    survives(pin);
}

/// Any 32 bytes as a key, and any bytes as its DER form.
fn public(input: &mut Input<'_>) {
    let bytes = input.array();
    let key = ClusterPublic::from_bytes(&bytes);
    if let Some(key) = key {
        assert_eq!(key.as_bytes(), &bytes);
        assert_eq!(ClusterPublic::from_spki(&key.spki()), Some(key));
        survives(key.pin());
    }
    let der = input.rest();
    if let Some(key) = ClusterPublic::from_spki(der) {
        assert_eq!(key.spki(), der);
    }
}

/// No key that is accepted lets a signature of nobody's pass.
fn signature(input: &mut Input<'_>) {
    let Some(key) = ClusterPublic::from_bytes(&input.array()) else { return };
    let signature = input.array();
    assert!(!key.verify(b"fuzz", input.rest(), &signature));
}

fn ids(text: &str) {
    id::<FileId>(text, 64);
    id::<DeviceId>(text, 64);
    id::<Sha1Digest>(text, 40);
    id::<GroupId>(text, 32);
}

fn id<T: FromStr<Err = InvalidId> + Display + PartialEq + Debug>(text: &str, digits: usize) {
    let good = text.len() == digits && text.bytes().all(|b| b.is_ascii_hexdigit());
    match text.parse::<T>() {
        Ok(id) => {
            assert!(good, "{text:?} is taken for {id}");
            assert_eq!(id.to_string(), text.to_ascii_lowercase());
            assert_eq!(format!("{id:.8}"), text[..8].to_ascii_lowercase());
            survives(id);
        }
        Err(e) => {
            assert!(!good, "{text:?} is refused");
            harmless(&e.to_string());
        }
    }
}

fn survives<T: FromStr + Display + PartialEq>(value: T) {
    let text = value.to_string();
    harmless(&text);
    assert!(text.parse().is_ok_and(|again: T| again == value), "{text}");
    assert!(text.to_ascii_uppercase().parse().is_ok_and(|again: T| again == value), "{text}");
}

/// A secret, slips of it, a pin, keys and ids.
pub fn seeds() -> Vec<Vec<u8>> {
    let key = read(SECRET).expect("the sample secret");
    let mut identity = [0; 32];
    identity[0] = 1;
    vec![
        [&[0], SECRET.as_bytes()].concat(),
        [&[0], &b"# Shoal cluster secret.\r\n\r\n"[..], SECRET.as_bytes(), b"\r\n"].concat(),
        vec![1, 5, 0, b'b'],
        vec![1, 5, 1],
        vec![1, 57, 2, b' '],
        [&[2], key.pin().to_string().as_bytes()].concat(),
        [&[3], &key.as_bytes()[..], &key.spki()].concat(),
        [&[3], &identity[..]].concat(),
        [&[4], &key.as_bytes()[..], &[7; 64]].concat(),
        [&[5][..], &[b'a'; 64]].concat(),
        [&[5][..], &[b'A'; 40]].concat(),
        [&[5][..], &[b'0'; 32]].concat(),
    ]
}
