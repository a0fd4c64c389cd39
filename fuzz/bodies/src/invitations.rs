//! Invitations: any text is an invitation that says the same when written again, or is refused with a sentence that can be shown
//! and repeats nothing of it. Behind good check bytes anything may stand.

use std::path::Path;

use common::invitation::{Invitation, NotAnInvitation};
use common::tracker_info::TrackerInfo;
use data_encoding::BASE32_NOPAD;

use crate::harmless;
use crate::input::Input;

/// What tells the check bytes of a line from other hashes.
const CHECK_CONTEXT: &str = "shoal invitation check 1";
/// What one begins with, in any case.
const SCHEME: &str = "shoal-invite:";

/// A pasted text; or, after a first byte 1, the bytes that a line stands for, to which good check bytes are added.
pub fn run(data: &[u8]) {
    match data.split_first() {
        Some((1, bytes)) => read(&checked(bytes)),
        _ => read(&Input::new(data).text()),
    }
}

fn checked(bytes: &[u8]) -> String {
    let check = blake3::derive_key(CHECK_CONTEXT, bytes);
    format!("{SCHEME}{}", BASE32_NOPAD.encode(&[bytes, &check[..4]].concat()))
}

fn read(text: &str) {
    let invitation: Invitation = match text.parse() {
        Ok(invitation) => invitation,
        Err(why) => {
            let why: NotAnInvitation = why;
            return harmless(&why.to_string());
        }
    };
    assert!(text.to_ascii_lowercase().contains(SCHEME), "an invitation where none begins");
    let written = invitation.to_line();
    harmless(&written);
    assert_eq!(written.parse(), Ok(invitation.clone()), "what was read can be written");
    let list = invitation.tracker_info();
    let again = TrackerInfo::parse(&list.to_string(), Path::new("trackers.txt"));
    assert_eq!(again.expect("what it lists is a list"), list);
    assert!(!format!("{invitation:?}").contains(&written[SCHEME.len()..]), "its secret is not shown");
}

/// Good lines in every form, and some that are none.
pub fn seeds() -> Vec<Vec<u8>> {
    let bytes = |trackers: &[&str]| {
        let mut bytes = vec![1, 1];
        bytes.extend([7; 32]);
        bytes.extend([9; 16]);
        bytes.push(u8::try_from(trackers.len()).expect("few"));
        for tracker in trackers {
            bytes.extend(u16::try_from(tracker.len()).expect("short").to_be_bytes());
            bytes.extend(tracker.as_bytes());
        }
        bytes
    };
    let some = bytes(&["127.0.0.1:5000", "tracker.lab.example:5001"]);
    let line = checked(&some[1..]);
    let mut seeds = vec![
        some,
        bytes(&["[2001:db8::1]:5000"]),
        bytes(&["[fe80::1%3]:5000"]),
        bytes(&["a:1", "a:1"]),
        bytes(&["a:0"]),
        bytes(&[]),
        vec![1, 2],
        vec![1],
    ];
    seeds.extend(
        [
            line.to_lowercase(),
            format!(" {}\n", line.replace(':', "://")),
            line[..line.len() - 2].to_owned(),
            line.replace('A', "\u{1b}"),
            SCHEME.to_owned(),
            format!("Hello bob, come in: {} {}. Yours, alice", line.to_lowercase().split_at(60).0, &line[60..]),
            "shoal:lab".to_owned(),
            String::new(),
        ]
        .map(String::into_bytes),
    );
    seeds
}
