//! How names of files look: two that a person would take for one another must not stand side by side, and a new
//! name must look like what it is. By the mechanisms of UTS 39 (Unicode Security Mechanisms).
//!
//! A name that exists stays good, whatever it looks like: these rules are for new ones. Honest names of every script
//! pass; letters of several scripts may stand in one word, unless some of them pass for Latin ones among Latin ones.

use unicode_normalization::{UnicodeNormalization, is_nfc};
use unicode_script::{Script, UnicodeScript};
use unicode_security::GeneralSecurityProfile;
use unicode_security::confusable_detection::skeleton;
use unicode_security::general_security_profile::IdentifierType;

use crate::escape::is_invisible;
use crate::id::{FileName, InvalidId};

/// Names whose look changes with every round do not exist; this bounds the search for one.
const ROUNDS: usize = 8;

/// The composed form (NFC) of a name, as people type it and most systems store it. File systems of one maker
/// hand out the other.
pub fn composed(name: &str) -> String {
    name.nfc().collect()
}

/// What a name looks like. Equal for names that differ in case, in the form of their accents, in width or style of
/// their letters, in blanks, or in letters that look like others of another script. Between letters and digits of
/// ASCII no such thing is seen: `x1` and `xl` are two names.
pub fn look(name: &str) -> String {
    if name.is_ascii() { without_blanks(&name.to_ascii_lowercase()) } else { look_in_rounds(name) }
}

fn look_in_rounds(name: &str) -> String {
    let mut look = name.to_owned();
    for _ in 0..ROUNDS {
        let next = look_once(&look);
        if next == look {
            break;
        }
        look = next;
    }
    look
}

fn look_once(name: &str) -> String {
    let plain: String = name.nfkc().flat_map(fold).nfd().flat_map(prototype).flat_map(fold).nfkc().collect();
    without_blanks(&plain)
}

/// With one blank where there are several, and none around it.
fn without_blanks(text: &str) -> String {
    let is_plain =
        !text.contains("  ") && text.trim() == text && !text.contains(|c: char| c.is_whitespace() && c != ' ');
    if is_plain { text.to_owned() } else { text.split_whitespace().collect::<Vec<_>>().join(" ") }
}

/// Without case: `ß` and `SS` are one, and so are both small sigmas.
pub(crate) fn fold(c: char) -> impl Iterator<Item = char> {
    c.to_uppercase().flat_map(char::to_lowercase)
}

/// What a character beyond ASCII looks like.
fn prototype(c: char) -> Vec<char> {
    if c.is_ascii() { vec![c] } else { skeleton(c.encode_utf8(&mut [0; 4])).collect() }
}

/// Whether a new share may have this name.
///
/// # Errors
/// With the reason and the remedy.
pub fn check_new(name: &FileName) -> Result<(), InvalidId> {
    match trouble(name.as_str()) {
        None => Ok(()),
        Some(reason) => Err(InvalidId::NewName { name: name.as_str().to_owned(), reason }),
    }
}

fn trouble(name: &str) -> Option<&'static str> {
    if name.starts_with(['.', '-']) {
        return Some("it begins with a dot, which hides it, or a dash, which makes it an option");
    }
    if !is_nfc(name) {
        return Some("its accents are not in the composed form (NFC)");
    }
    if name.chars().any(has_no_look) {
        return Some("it contains an invisible or withdrawn character");
    }
    if name.split(ends_word).any(is_disguised) {
        return Some("one of its words mixes Latin letters with others that look the same");
    }
    None
}

fn has_no_look(c: char) -> bool {
    let kind = c.identifier_type();
    is_invisible(c) || matches!(kind, Some(IdentifierType::Default_Ignorable | IdentifierType::Deprecated))
}

fn ends_word(c: char) -> bool {
    c.script() == Script::Common && !c.is_numeric()
}

/// Whether some letters of a word pass for Latin, and others are.
fn is_disguised(word: &str) -> bool {
    let is_latin = |c: char| c.script() == Script::Latin;
    let passes_for_latin = |c: char| {
        !matches!(c.script(), Script::Latin | Script::Common | Script::Inherited)
            && prototype(c).into_iter().all(|p| is_latin(p) || p.script() == Script::Inherited)
    };
    word.chars().any(is_latin) && word.chars().any(passes_for_latin)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Names that people give their files.
    const HONEST: [&str; 30] = [
        "results.tar",
        "v1.0_final (2).pdf",
        "Grüße.pdf",
        "naïve café.txt",
        "Łódź ąęćżń.doc",
        "データ.bin",
        "Tシャツ.png",
        "日本語テキスト2024.txt",
        "한국어 문서.hwp",
        "中文文件-v2.zip",
        "Отчёт 2024.xlsx",
        "отчёт_v2_final.xlsx",
        "Δt.csv",
        "α-helix.pdb",
        "5µm.csv",
        "ελληνικά.txt",
        "עברית.txt",
        "العربية.pdf",
        "हिन्दी.txt",
        "ไทย.txt",
        "தமிழ்.txt",
        "ქართული.txt",
        "Հայերեն.txt",
        "ᏣᎳᎩ.txt",
        "አማርኛ.txt",
        "emoji 🎉.png",
        "why?",
        "~",
        "$HOME",
        "100%.txt",
    ];

    fn good(name: &str) -> bool {
        name.parse().is_ok_and(|n| check_new(&n).is_ok())
    }

    #[test]
    fn honest_names_of_every_script_are_good() {
        for name in HONEST {
            let parsed = name.parse().expect(name);
            check_new(&parsed).expect(name);
        }
    }

    #[test]
    fn names_that_hide_what_they_are_are_not_given() {
        for (name, reason) in [
            ("-rf", "dash"),
            (".bashrc", "dot"),
            ("...a", "dot"),
            ("Gru\u{308}ße.pdf", "composed"),
            ("a\u{1bca0}b", "invisible"),
            ("r\u{435}sults.tar", "mixes Latin"), // Cyrillic е
            ("res\u{3c5}lts.tar", "mixes Latin"), // Greek υ
            ("\u{440}\u{430}ypal.txt", "mixes Latin"),
        ] {
            let parsed = name.parse::<FileName>().expect("old ones are still read");
            let refused = check_new(&parsed).expect_err(name).to_string();
            assert!(refused.contains(reason) && refused.contains("--name"), "{refused}");
        }
    }

    #[test]
    fn twins_look_alike_and_others_do_not() {
        for (a, b) in [
            ("Results.tar", "results.TAR"),
            ("Gr\u{fc}\u{df}e", "GRU\u{308}SSE"),
            ("\u{441}\u{43e}\u{441}\u{430}", "coca"), // all Cyrillic
            ("\u{ff41}\u{ff42}", "ab"),
            ("\u{fb01}le", "file"),
            ("\u{1d41a}", "a"),
            ("a  b", " a b"),
            ("\u{3c2}", "\u{3c3}"),
            ("\u{131}", "i"),
        ] {
            assert_eq!(look(a), look(b), "{a} {b}");
        }
        for (a, b) in
            [("x1", "xl"), ("v1.0", "v1.O"), ("modem", "modern"), ("e", "é"), ("a_b", "a-b"), ("データ", "デー夕x")]
        {
            assert_ne!(look(a), look(b), "{a} {b}");
        }
    }

    proptest! {
        #[test]
        fn a_look_is_what_it_looks_like(name in ".{0,40}") {
            let once = look(&name);
            prop_assert_eq!(look(&once), once.clone());
            let decomposed: String = name.nfd().collect();
            prop_assert_eq!(look(&decomposed), once.clone());
            prop_assert_eq!(look(&composed(&name)), once);
        }

        #[test]
        fn ascii_looks_the_same_by_the_short_way(name in "[\\x00-\\x7f]{0,40}") {
            prop_assert_eq!(look(&name), look_in_rounds(&name));
        }

        #[test]
        fn a_new_name_is_shown_as_it_is(name in ".{0,40}") {
            if good(&name) {
                prop_assert_eq!(crate::escape::Escaped(&name).to_string(), name.clone());
                prop_assert_eq!(composed(&name), name);
            }
        }

        #[test]
        fn ascii_is_never_disguised(name in "[a-zA-Z0-9_ ()+]{1,30}[a-z]") {
            prop_assert!(good(&name) || name.parse::<FileName>().is_err());
            prop_assert_eq!(look(&name.to_uppercase()), look(&name));
        }
    }
}
