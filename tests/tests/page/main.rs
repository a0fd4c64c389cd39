//! The page, by raw requests: its locks, and what is done on it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod actions;
mod guard;

use harness::{Client, Cluster, Live, Page};

const WEB: &str = "--web=127.0.0.1:0";

/// Alice, logged in, with a group; her page, and the cookie of a browser that is signed in.
fn alice(cluster: &Cluster) -> (Client, Live, Page, String) {
    let alice = cluster.user("alice");
    let mut live = alice.live_with(&[WEB]);
    live.ok("create_group lab");
    let page = Page::of(&live);
    let (cookie, _) = page.sign_in();
    (alice, live, page, cookie)
}
