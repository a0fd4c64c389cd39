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
        let words = Words::try_from(words.join(" ")).map_err(wrong)?;
        if words.as_str().trim().is_empty() {
            return Err(wrong("there is nothing to look for; write a word, or a part of one"));
        }
        let page = page.map_or(0, |page| page.get() - 1);
        match self.trackers.call(Request::Search { words, page }).await? {
            Response::Hits(Page { rows, more }) => {
                Ok(Outcome::Hits { hits: rows.into_vec().into_iter().map(hit).collect(), more })
            }
            _ => Err(unexpected()),
        }
    }
}

fn hit(Found { group, name, path, size, file_id }: Found) -> HitRow {
    HitRow { group, name, path: path.map(|path| path.as_str().to_owned()), size, file_id }
}
