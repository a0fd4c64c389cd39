//! What was found in all groups: a page of it, asked for again as words are typed.

use std::num::NonZeroU32;

use askama::Template;
use common::escape::Escaped;
use serde::Deserialize;

use super::files::encoded;
use super::{Part, Rendered, html};
use crate::engine::Outcome;
use crate::engine::outcome::HitRow;
use crate::error::Error;
use crate::faces::page::Page;
use crate::faces::render::NO_BEGINNING;
use crate::units;

/// Longest text to look for, in bytes, as the trackers have it.
const MAX_WORDS: usize = 256;

/// What is looked for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(in crate::faces::page) struct Query {
    words: String,
    /// From 1.
    page: NonZeroU32,
}

impl Default for Query {
    fn default() -> Self {
        Self { words: String::new(), page: NonZeroU32::MIN }
    }
}

impl Query {
    /// What an address asks for; nothing, where it makes no sense.
    pub(super) fn of(query: &str) -> Self {
        let uri = format!("/?{query}").parse::<axum::http::Uri>().ok();
        let query = uri.and_then(|uri| axum::extract::Query::<Self>::try_from_uri(&uri).ok()).map(|q| q.0);
        query.filter(|q| q.words.len() <= MAX_WORDS).unwrap_or_default()
    }
}

#[derive(Template)]
#[template(path = "search.html")]
struct View<'a> {
    words: &'a str,
    hits: &'a Part,
}

#[derive(Template)]
#[template(path = "hits.html")]
struct Hits<'a> {
    rows: Vec<Row>,
    words: &'a str,
    page: u32,
    more: bool,
    /// Whether they are looked for only where words begin.
    short: bool,
    /// What is said where these bring nothing, and why.
    no_beginning: (String, String),
    /// The words, for the addresses of the other pages.
    query: String,
}

struct Row {
    group: String,
    name: String,
    /// For an address.
    encoded_name: String,
    path: String,
    /// The folder that it is in, for an address.
    within: String,
    size: String,
    id: String,
}

pub(super) async fn render(page: &Page, query: &Query) -> Result<Rendered, Error> {
    let hits = hits(page, query).await?;
    let main = html(&View { words: &query.words, hits: &hits })?;
    Ok(Rendered { title: "Search".to_owned(), main, parts: Vec::new(), status: axum::http::StatusCode::OK })
}

/// The hits alone.
pub(super) async fn hits(page: &Page, query: &Query) -> Result<Part, Error> {
    let words = query.words.trim();
    let found = if words.is_empty() { None } else { Some(page.answers.search(words, query.page).await?) };
    let (rows, more, short) = match found.as_deref() {
        Some(Outcome::Hits { hits, more, short, .. }) => (hits.iter().map(row).collect(), *more, *short),
        _ => (Vec::new(), false, false),
    };
    let (said, why) = NO_BEGINNING.split_once("; ").unwrap_or((NO_BEGINNING, ""));
    let no_beginning = (sentence(said), sentence(why));
    Part::new("hits", &Hits { rows, words, short, no_beginning, page: query.page.get(), more, query: encoded(words) })
}

/// A text of the prompt as a sentence of its own. The empty one stays empty.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| format!("{}{}.", first.to_uppercase(), letters.as_str())).unwrap_or_default()
}

fn row(hit: &HitRow) -> Row {
    Row {
        group: hit.group.to_string(),
        name: hit.name.to_string(),
        encoded_name: encoded(hit.name.as_str()),
        path: hit.path.as_deref().map(|path| Escaped(path).to_string()).unwrap_or_default(),
        within: hit.path.as_deref().and_then(|path| path.rsplit_once('/')).map(|(f, _)| encoded(f)).unwrap_or_default(),
        size: units::size(hit.size),
        id: hit.file_id.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_prompt_says_of_words_that_begin_nothing_makes_two_sentences() {
        let (said, why) = NO_BEGINNING.split_once("; ").expect("two halves");
        assert_eq!(sentence(said), "No name in your groups has a word that begins with these letters.");
        assert!(sentence(why).starts_with("A word of") && sentence("").is_empty(), "{why}");
    }

    #[test]
    fn an_address_says_what_is_looked_for() {
        assert_eq!(Query::of("words=a%20b&page=3").page.get(), 3);
        assert_eq!(Query::of("words=a%20b").words, "a b");
        for wrong in ["", "page=0", "words=a&page=minus", &format!("words={}", "x".repeat(257))] {
            assert_eq!(Query::of(wrong), Query::default(), "{wrong}");
        }
    }
}
