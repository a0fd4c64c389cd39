//! What is typed to filter by names: a pattern as at the prompt, or a part of them. Pure.

use crate::engine::arrange::Glob;

/// Longest text to filter by, in bytes: no name is longer.
pub(super) const MAX_TEXT: usize = 255;

/// Which names are wanted.
pub(super) enum Names {
    /// Those with this text in them, whatever the case: all, if it is empty.
    Containing(String),
    /// Those that fit.
    Fitting(Glob),
}

impl Names {
    /// What a text asks for. Half a pattern, while somebody types, is a part of a name.
    pub(super) fn of(text: &str) -> Self {
        let text = text.trim();
        match text.parse() {
            Ok(glob) if text.contains(['*', '?', '[', '{']) => Self::Fitting(glob),
            _ => Self::Containing(text.to_lowercase()),
        }
    }

    /// Whether a name is among them.
    pub(super) fn has(&self, name: &str) -> bool {
        match self {
            Self::Containing(part) => part.is_empty() || name.to_lowercase().contains(part),
            Self::Fitting(glob) => glob.fits(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_has_to_fit_and_any_other_text_to_be_a_part() {
        for (text, wanted) in [
            ("", vec!["Run-1.csv", "run-2.txt", "a[1.csv"]),
            (" RUN", vec!["Run-1.csv", "run-2.txt"]),
            ("*.csv", vec!["Run-1.csv", "a[1.csv"]),
            ("?un-[0-9].{txt,csv}", vec!["Run-1.csv", "run-2.txt"]),
            ("run*.csv", vec![]),
            ("[1", vec!["a[1.csv"]),
            ("un-", vec!["Run-1.csv", "run-2.txt"]),
        ] {
            let names = Names::of(text);
            let found = ["Run-1.csv", "run-2.txt", "a[1.csv"].into_iter().filter(|name| names.has(name));
            assert_eq!(found.collect::<Vec<_>>(), wanted, "{text}");
        }
    }
}
