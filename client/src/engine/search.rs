//! Finding shares, and files in folders, by words, in all groups that the user is a member of.

use std::num::NonZeroU32;

use common::wire::client::{HitRow as Found, Page, Request, Response, Words};

use super::outcome::{HitRow, Outcome};
use super::{Engine, unexpected};
use crate::error::Error;

impl Engine {
    /// One page of what has all of `words`, the best first.
    pub(super) async fn search(&self, words: &[String], page: Option<NonZeroU32>) -> Result<Outcome, Error> {
        let wrong = |why: &str| Error::InvalidArgument(why.to_owned());
        let short = are_short(words);
        let words = Words::try_from(words.join(" ")).map_err(wrong)?;
        if words.as_str().trim().is_empty() {
            return Err(wrong("there is nothing to look for; write a word, or a part of one"));
        }
        let before = page.map_or(0, |page| page.get() - 1);
        match self.trackers.call(Request::Search { words, page: before }).await? {
            Response::Hits(Page { rows, more }) => {
                Ok(Outcome::Hits { hits: rows.into_vec().into_iter().map(hit).collect(), more, short, page })
            }
            _ => Err(unexpected()),
        }
    }
}

/// Whether all words are of one or two letters. The trackers look for those only where words begin: they know of a name which three
/// letters stand together in it.
pub(super) fn are_short(words: &[String]) -> bool {
    words.iter().flat_map(|typed| typed.split_whitespace()).all(|word| word.chars().nth(2).is_none())
}

fn hit(Found { group, name, path, size, file_id }: Found) -> HitRow {
    HitRow { group, name, path: path.map(|path| path.as_str().to_owned()), size, file_id }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_word_of_three_letters_is_enough_to_look_anywhere() {
        let words = |typed: &[&str]| are_short(&typed.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        assert!(words(&["q"]) && words(&["7q", "ab"]) && words(&["7q ab"]));
        assert!(!words(&["7qa"]) && !words(&["q", "abc"]) && !words(&["q abc"]));
    }
}
