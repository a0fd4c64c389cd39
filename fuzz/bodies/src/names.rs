//! Names that people or the network give: what is accepted follows every rule and stays in its
//! directory; what is shown of anything else cannot steer a terminal.

use std::path::{Component, Path};

use common::codec;
use common::escape::{Escaped, is_invisible};
use common::id::{FileName, GroupName, InvalidId, UserName};
use common::look::{check_new, composed, look};
use common::wire::client::FileSelector;
use common::wire::limits::{MAX_FRAME, MAX_TEXT, Text};

use crate::input::Input;
use crate::{harmless, stable};

/// As much of an input as is looked at, in bytes: longer than any limit here.
const LONG: usize = 1200;

/// A name.
pub fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(Input::new(data).take(LONG));
    escaped(&text);
    let user = judged(text.parse::<UserName>());
    let group = judged(text.parse::<GroupName>());
    assert_eq!(user.as_ref().map(UserName::as_str), group.as_ref().map(GroupName::as_str));
    if let Some(user) = user {
        plain(user.as_str(), &text);
    }
    let file = judged(text.parse::<FileName>());
    if let Some(name) = &file {
        contained(name.as_str(), &text);
        looks(name);
    }
    selector(&text, file.is_some());

    // The wire has the same rules.
    let sent = codec::encode(&text, MAX_FRAME).expect("a short text");
    assert_eq!(stable::<FileName>(&sent, MAX_FRAME), file);
    assert_eq!(stable::<GroupName>(&sent, MAX_FRAME), group);
    assert_eq!(stable::<Text>(&sent, MAX_FRAME).is_some(), text.len() <= MAX_TEXT);
    clipped(&text);
}

/// The value, or a refusal that can be shown.
fn judged<T>(parsed: Result<T, InvalidId>) -> Option<T> {
    parsed
        .map_err(|e| {
            let message = e.to_string();
            assert!(message.len() < 2000, "{} bytes of message", message.len());
            harmless(&message);
        })
        .ok()
}

/// Nothing is lost or hidden: the text can be read back from how it is shown.
fn escaped(text: &str) {
    let shown = Escaped(text).to_string();
    harmless(&shown);
    let (mut back, mut rest) = (String::new(), shown.as_str());
    while let Some((before, after)) = rest.split_once('\\') {
        back.push_str(before);
        rest = if let Some(after) = after.strip_prefix('\\') {
            back.push('\\');
            after
        } else {
            let (hex, after) = after.strip_prefix("u{").and_then(|a| a.split_once('}')).expect("an escape");
            back.push(u32::from_str_radix(hex, 16).ok().and_then(char::from_u32).expect("a character"));
            after
        };
    }
    assert_eq!(back + rest, text);
}

/// Explanations are cut to as much as fits, and never in the middle of a character.
fn clipped(text: &str) {
    let clipped = Text::clipped(text);
    harmless(&clipped.to_string());
    let sent = codec::encode(&clipped, MAX_FRAME).expect("a short text");
    let kept: String = codec::decode(&sent, MAX_FRAME).expect("a text");
    assert!(text.starts_with(&kept) && kept.len() <= MAX_TEXT);
    assert!(kept == text || kept.len() + 4 > MAX_TEXT);
}

/// A name of a user or a group, or a reference: what was claimed, `~` and eight digits of an id.
fn plain(name: &str, text: &str) {
    assert_eq!(name, text);
    let (name, id) = name.split_once('~').unwrap_or((name, "00000000"));
    assert!(id.len() == 8 && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')));
    assert!((1..=64).contains(&name.len()) && name.is_ascii());
    assert!(!name.contains(|c: char| !c.is_ascii_alphanumeric() && !"._-".contains(c)));
    assert!(!name.starts_with('.') && !name.starts_with('-'));
}

/// A file name: one component of a path, whatever the directory.
fn contained(name: &str, text: &str) {
    assert_eq!(name, text);
    assert!((1..=255).contains(&name.len()));
    assert!(!name.contains(['/', '\\', '\0', '\n', '\r', '\u{1b}', '\u{202e}', '\u{200b}', '\u{feff}']));
    for directory in ["/srv/shoal", ".", "", "a/.."] {
        let path = Path::new(directory).join(name);
        assert_eq!(path.file_name(), Some(name.as_ref()), "{path:?} is not a file of that name");
        assert_eq!(path.parent(), Some(Path::new(directory)), "{path:?} is elsewhere");
        assert_eq!(path.components().next_back(), Some(Component::Normal(name.as_ref())));
    }
    assert!(!name.contains(':') && !name.ends_with(['.', ' ']), "{name} is another file elsewhere");
    let stem = name.to_ascii_lowercase();
    let stem = stem.split('.').next().unwrap_or_default().trim_end_matches(' ');
    assert!(!["con", "prn", "aux", "nul", "com1", "lpt9"].contains(&stem), "{name} is a device");
}

/// What a name looks like, which does not depend on how it is written; and what may be given to a new share.
fn looks(name: &FileName) {
    let text = name.as_str();
    let once = look(text);
    assert_eq!(look(&once), once, "a look looks like itself");
    assert_eq!(look(&composed(text)), once);
    if check_new(name).is_ok() {
        harmless(text);
        assert_eq!(name.to_string(), text, "a good name is shown as it is");
        assert_eq!(composed(text), text);
        assert!(!text.starts_with(['.', '-']));
    }
}

/// How a file is named at the prompt: what is accepted means the same when shown and typed again.
fn selector(text: &str, is_name: bool) {
    let Ok(selector) = text.parse::<FileSelector>() else { return };
    // An older name with invisible characters is shown escaped, and chosen by its id.
    if !text.contains(is_invisible) {
        assert_eq!(selector.to_string().parse(), Ok(selector.clone()));
    }
    match selector {
        FileSelector::Name(_) => assert!(is_name && !text.starts_with("id:")),
        FileSelector::IdPrefix(prefix) => {
            assert!((8..=64).contains(&prefix.as_str().len()));
            assert!(prefix.as_str().bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')));
        }
    }
}

/// Good and hostile names.
const NAMES: [&str; 37] = [
    "alice",
    "Lab-7_b.2",
    ".hidden",
    "-rf",
    "alice~00c0ffee",
    "bob~00C0FFEE",
    "a b",
    "Grüße.pdf",
    "データ.bin",
    "..",
    "...",
    "a/b",
    "..\\x",
    "/etc/passwd",
    "a\0b",
    "\u{1b}[2J",
    "a\u{202e}gpj.exe",
    "zero\u{200b}width",
    "\u{feff}bom",
    "con.txt",
    "nul .tar.gz",
    "COM1",
    "com¹",
    "conin$",
    "C:evil",
    "file.txt:stream",
    "file.",
    "file ",
    "id:2020abcd",
    "id:2020ABCD",
    "id:x",
    "a\\u{1b}",
    "Gru\u{308}\u{df}e.pdf",
    "r\u{435}sults.tar",
    "\u{441}\u{43e}\u{441}\u{430}",
    "a\u{1bca0}b",
    "\u{fb01}le \u{1d41a}",
];

/// Some names, and texts around the limits.
pub fn seeds() -> Vec<Vec<u8>> {
    let long = [64, 65, 255, 256, 512, 513].map(|len| "x".repeat(len)).into_iter().chain(["ü".repeat(257)]);
    NAMES.iter().map(|&name| name.to_owned()).chain(long).map(String::into_bytes).collect()
}
