//! What is looked for, and how well a text has it. Pure.
//!
//! Texts are compared as [`plain`] has them. The index knows of a text which three characters stand together in it, and which
//! begin each of its words and its name ([`document`]). What is asked of the index follows from that
//! ([`Query::terms`]), and is less than what is looked for: each text that it finds is looked at ([`Query::class_of`]).

use common::tree::folded;

/// Words of one search.
pub(super) const MAX_WORDS: usize = 16;
/// Letters of one word that the index is asked for, at most: the rest is seen in the text.
const LETTERS_OF_WORD: usize = 24;

/// Stand before the first two letters of a word, the second and third, and so on. The first one stands there twice, for
/// words of one letter.
const WORD: [char; 2] = ['\u{1}', '\u{2}'];
/// The same, of the name.
const NAME: [char; 4] = ['\u{3}', '\u{4}', '\u{5}', '\u{6}'];
/// Between the text and those.
const END: char = '\u{7}';

/// How well a text has what is looked for, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    /// It is the name.
    Name,
    /// The name begins with it.
    NameStart,
    /// Each word begins a word.
    WordStart,
    /// Each word is in it, and those of one or two letters begin words.
    ShortStart,
    /// Each word is in it.
    Within,
}

/// A text without case, forms of letters, and accents of Latin, Greek and Cyrillic ones.
pub(super) fn plain(text: &str) -> String {
    let mut folded = folded(text);
    folded.retain(|c| !('\u{300}'..='\u{36f}').contains(&c) && c > END);
    folded
}

/// The last part of a path.
pub(super) fn name_of(plain: &str) -> &str {
    plain.rsplit('/').next().unwrap_or_default()
}

/// What the index is given of a plain text.
pub(super) fn document(plain: &str) -> String {
    let mut document = String::with_capacity(plain.len() * 2 + 8);
    document.push_str(plain);
    document.push(END);
    for word in words_of(plain) {
        begin(&mut document, &WORD, word);
    }
    begin(&mut document, &NAME, name_of(plain));
    document
}

fn begin(document: &mut String, marks: &[char], text: &str) {
    document.extend(&marks[..1]);
    let letters: Vec<char> = text.chars().take(marks.len() + 1).collect();
    for (mark, two) in marks.iter().zip(pairs(&letters)) {
        document.push(*mark);
        document.extend(two);
    }
}

/// Every two letters that stand together; of one, that one.
fn pairs(letters: &[char]) -> impl Iterator<Item = &[char]> {
    letters.chunks(1).take(usize::from(letters.len() == 1)).chain(letters.windows(2))
}

/// What follows each beginning of a word, up to the end of the text.
fn words_of(plain: &str) -> impl Iterator<Item = &str> {
    let mut before = false;
    plain.char_indices().filter_map(move |(at, c)| {
        let begins = c.is_alphanumeric() && !before;
        before = c.is_alphanumeric();
        begins.then(|| &plain[at..])
    })
}

/// What is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Query {
    /// All of it, with single blanks.
    pub(super) whole: String,
    words: Vec<String>,
}

impl Query {
    /// Words with blanks between; `None` if there are none, or too many.
    pub(super) fn new(typed: &str) -> Option<Self> {
        let plain = plain(typed);
        let mut words: Vec<String> = plain.split_whitespace().map(str::to_owned).collect();
        let whole = words.join(" ");
        let is_few = (1..=MAX_WORDS).contains(&words.len());
        words.sort_unstable();
        words.dedup();
        is_few.then_some(Self { whole, words })
    }

    /// Of a plain text, how well it has what is looked for; `None` if it does not. Words of one or two letters have to begin
    /// a word, unless a longer one stands beside them.
    pub(super) fn class_of(&self, plain: &str) -> Option<Class> {
        let begins = |word: &String| words_of(plain).any(|rest| rest.starts_with(word.as_str()));
        let name = name_of(plain);
        if !self.words.iter().all(|word| plain.contains(word)) {
            return None;
        }
        let shorts_begin = self.shorts().all(|word| begins(word) || name.starts_with(word));
        if !shorts_begin && !self.has_long() {
            return None;
        }
        Some(if name == self.whole {
            Class::Name
        } else if name.starts_with(&self.whole) {
            Class::NameStart
        } else if self.words.iter().all(begins) {
            Class::WordStart
        } else if shorts_begin && self.shorts().next().is_some() {
            Class::ShortStart
        } else {
            Class::Within
        })
    }

    /// The classes to ask for one after the other, besides that of names: those that a text can be of. A word that begins with a
    /// sign begins no word, and a name at most, which the last class has as well.
    pub(super) fn classes(&self) -> impl Iterator<Item = Class> {
        let begins = |word: &String| word.starts_with(char::is_alphanumeric);
        let within = self.has_long();
        let word = self.words.iter().all(begins);
        let short = self.shorts().next().is_some() && (!within || self.shorts().all(begins));
        let all =
            [(Class::NameStart, true), (Class::WordStart, word), (Class::ShortStart, short), (Class::Within, within)];
        all.into_iter().filter_map(|(class, asked)| asked.then_some(class))
    }

    /// Words that the index knows only as beginnings.
    fn shorts(&self) -> impl Iterator<Item = &String> {
        self.words.iter().filter(|word| is_short(word))
    }

    fn has_long(&self) -> bool {
        self.words.iter().any(|word| !is_short(word))
    }

    /// What the index may be asked of every text that has what is looked for, word by word.
    pub(super) fn terms(&self) -> Vec<Vec<String>> {
        // Beside a longer word a short one may stand anywhere, which the index does not know: it is seen in the text.
        let is_alone = !self.has_long();
        let short = |word: &str| if is_alone { begun(word) } else { Vec::new() };
        self.words.iter().map(|word| if is_short(word) { short(word) } else { three_by_three(word) }).collect()
    }

    /// What it may be asked besides of texts of a class.
    pub(super) fn terms_of(&self, class: Class) -> Vec<String> {
        match class {
            Class::Name | Class::NameStart => beginning(&NAME, &self.whole),
            Class::WordStart => self.words.iter().flat_map(|word| begun(word)).collect(),
            Class::ShortStart => self.shorts().flat_map(|word| begun(word)).collect(),
            Class::Within => Vec::new(),
        }
    }
}

/// An expression of FTS5 for texts that have all of these.
pub(super) fn all_of(terms: &[String]) -> String {
    let quoted = |term: &String| format!("\"{}\"", term.replace('"', "\"\""));
    terms.iter().map(quoted).collect::<Vec<_>>().join(" AND ")
}

fn is_short(word: &str) -> bool {
    word.chars().nth(2).is_none()
}

/// Which three characters stand together in `word`.
fn three_by_three(word: &str) -> Vec<String> {
    let chars: Vec<char> = word.chars().take(LETTERS_OF_WORD).collect();
    let mut threes: Vec<String> = chars.windows(3).map(|three| three.iter().collect()).collect();
    threes.sort_unstable();
    threes.dedup();
    threes
}

/// The marked pairs of a text with a word that begins with `word`; none, if that begins no word.
fn begun(word: &str) -> Vec<String> {
    if word.starts_with(char::is_alphanumeric) { beginning(&WORD, word) } else { Vec::new() }
}

/// The marked pairs with which `text` begins.
fn beginning(marks: &[char], text: &str) -> Vec<String> {
    let letters: Vec<char> = text.chars().take(marks.len() + 1).collect();
    let first = marks.first().copied();
    match letters[..] {
        [] => Vec::new(),
        [only] => vec![first.into_iter().chain(first).chain([only]).collect()],
        _ => marks.iter().zip(letters.windows(2)).map(|(mark, two)| [*mark].iter().chain(two).collect()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn class(typed: &str, text: &str) -> Option<Class> {
        Query::new(typed).expect("words").class_of(&plain(text))
    }

    #[test]
    fn texts_are_ranked() {
        for (typed, text, expected) in [
            ("readme", "docs/README", Some(Class::Name)),
            ("readme", "docs/ReadMe.txt", Some(Class::NameStart)),
            ("read txt", "docs/readme.txt", Some(Class::WordStart)),
            ("doc", "docs/readme.txt", Some(Class::WordStart)),
            ("adme", "docs/readme.txt", Some(Class::Within)),
            ("cs/re", "docs/readme.txt", Some(Class::Within)),
            ("adme doc", "docs/readme.txt", Some(Class::Within)),
            ("readme missing", "docs/readme.txt", None),
            ("gru\u{308}\u{df}e", "Fotos/GRÜSSE 1.jpg", Some(Class::NameStart)),
            ("grusse", "Grüße.pdf", Some(Class::NameStart)),
            ("r", "docs/readme.txt", Some(Class::NameStart)),
            ("t", "docs/readme.txt", Some(Class::WordStart)),
            ("e", "docs/readme.txt", None),
            ("e x", "docs/readme.txt", None),
            ("readme s", "docs/readme.txt", Some(Class::Within)),
            ("adme t", "docs/readme.txt", Some(Class::ShortStart)),
            ("readme t", "docs/readme.txt", Some(Class::WordStart)),
            ("readme q", "docs/readme.txt", None),
            (".g", "a/.git", Some(Class::NameStart)),
        ] {
            assert_eq!(class(typed, text), expected, "{typed} in {text}");
        }
        assert_eq!(Query::new("  "), None);
        assert_eq!(Query::new(&"a ".repeat(MAX_WORDS + 1)), None);
    }

    #[test]
    fn what_is_asked_is_quoted() {
        let query = Query::new("a\"bc OR").expect("words");
        assert_eq!(query.terms(), [vec!["\"bc".to_owned(), "a\"b".to_owned()], vec![]]);
        assert_eq!(query.terms_of(Class::ShortStart), ["\u{1}or"]);
        assert_eq!(all_of(&query.terms()[0]), "\"\"\"bc\" AND \"a\"\"b\"");
        let starts = query.terms_of(Class::NameStart);
        assert_eq!(starts, ["\u{3}a\"", "\u{4}\"b", "\u{5}bc", "\u{6}c "]);
        assert_eq!(Query::new("x").expect("a word").terms(), [["\u{1}\u{1}x"]]);
    }

    #[test]
    fn only_classes_that_a_text_can_be_of_are_asked_for() {
        use Class::{NameStart, ShortStart, Within, WordStart};
        let classes = |typed: &str| Query::new(typed).expect("words").classes().collect::<Vec<_>>();
        assert_eq!(classes("report -"), [NameStart, Within]);
        assert_eq!(classes("/file"), [NameStart, Within]);
        assert_eq!(classes("report a"), [NameStart, WordStart, ShortStart, Within]);
        assert_eq!(classes("-"), [NameStart, ShortStart]);
        assert_eq!(classes("report"), [NameStart, WordStart, Within]);
    }

    proptest! {
        /// Whatever is in a text is in its document, so that the index finds it.
        #[test]
        fn no_term_is_missing_in_a_document(text in "[a-cé /._-]{0,12}", typed in "[a-cé ._-]{1,6}") {
            let (plain, Some(query)) = (plain(&text), Query::new(&typed)) else { return Ok(()) };
            if let Some(class) = query.class_of(&plain) {
                let document = document(&plain);
                for term in query.terms().into_iter().flatten().chain(query.terms_of(class)) {
                    prop_assert!(document.contains(&term), "{:?} in {:?}", term, document);
                }
            }
        }
    }
}
