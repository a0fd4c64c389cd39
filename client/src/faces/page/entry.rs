//! Who may use the page: links that sign a browser in once, and the browsers that are signed in.
//!
//! Only hashes are kept, and only in memory: a restart of the client signs every browser out.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use data_encoding::BASE64URL_NOPAD;

/// Links that were given out and not used. A further one makes the oldest void.
const MAX_LINKS: usize = 8;
/// Browsers that are signed in. A further one signs the oldest out.
const MAX_BROWSERS: usize = 32;
/// Random bytes of a token.
const TOKEN: usize = 32;

/// See the module.
#[derive(Default)]
pub(super) struct Entry(Mutex<Known>);

#[derive(Default)]
struct Known {
    links: VecDeque<blake3::Hash>,
    browsers: VecDeque<blake3::Hash>,
}

impl Entry {
    /// A token for a link, good for one browser.
    pub(super) fn link(&self) -> String {
        let (token, hash) = token();
        push(&mut self.locked().links, hash, MAX_LINKS);
        token
    }

    /// Exchanges a link's token, which is void from then on, for the token of a browser's cookie.
    pub(super) fn sign_in(&self, link: &str) -> Option<String> {
        let mut known = self.locked();
        take(&mut known.links, link)?;
        let (token, hash) = token();
        push(&mut known.browsers, hash, MAX_BROWSERS);
        Some(token)
    }

    /// Whether a link with this token would sign a browser in.
    pub(super) fn is_open(&self, link: &str) -> bool {
        let hash = blake3::hash(link.as_bytes());
        self.locked().links.contains(&hash)
    }

    /// Whether this is the token of a browser that is signed in.
    pub(super) fn knows(&self, browser: &str) -> bool {
        let hash = blake3::hash(browser.as_bytes());
        self.locked().browsers.contains(&hash)
    }

    /// Signs a browser out.
    pub(super) fn sign_out(&self, browser: &str) {
        take(&mut self.locked().browsers, browser);
    }

    fn locked(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A token, and what is kept of it.
fn token() -> (String, blake3::Hash) {
    let token = BASE64URL_NOPAD.encode(&rand::random::<[u8; TOKEN]>());
    let hash = blake3::hash(token.as_bytes());
    (token, hash)
}

fn push(list: &mut VecDeque<blake3::Hash>, hash: blake3::Hash, most: usize) {
    list.push_back(hash);
    if list.len() > most {
        list.pop_front();
    }
}

/// Takes the hash of `token` off the list. Hashes are compared in constant time.
fn take(list: &mut VecDeque<blake3::Hash>, token: &str) -> Option<()> {
    let hash = blake3::hash(token.as_bytes());
    let at = list.iter().position(|known| *known == hash)?;
    list.remove(at).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_signs_one_browser_in_and_is_void_then() {
        let entry = Entry::default();
        let link = entry.link();
        assert!(!entry.knows(&link), "a link is no cookie");
        let browser = entry.sign_in(&link).expect("the first time");
        assert_eq!(entry.sign_in(&link), None, "the second time");
        assert!(entry.knows(&browser) && !entry.knows("another"));
        assert_eq!(entry.sign_in(&browser), None, "a cookie is no link");
        entry.sign_out(&browser);
        assert!(!entry.knows(&browser));
    }

    #[test]
    fn links_and_browsers_are_bounded_and_the_oldest_go() {
        let entry = Entry::default();
        let first = entry.link();
        assert!(entry.is_open(&first) && !entry.is_open("another"));
        (0..MAX_LINKS).for_each(|_| drop(entry.link()));
        assert_eq!(entry.sign_in(&first), None);
        let browsers: Vec<_> = (0..=MAX_BROWSERS).filter_map(|_| entry.sign_in(&entry.link())).collect();
        assert_eq!(browsers.len(), MAX_BROWSERS + 1);
        assert!(!entry.knows(&browsers[0]) && entry.knows(&browsers[1]));
    }
}
