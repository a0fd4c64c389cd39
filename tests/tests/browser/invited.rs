//! Two people who are both new here and one invitation; and what people do day by day.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use fantoccini::Locator;
use harness::{Cluster, PATIENCE, Page, Process, binary, random_file};

use super::chromium::{Browser, Chromium};
use super::{MIB, SOON, hash, newcomer};

/// Somebody who types.
const CHARACTERS_PER_SECOND: f64 = 4.0;
/// What a newcomer types in a terminal, besides the line that is pasted.
const STARTS: &str = "./client 127.0.0.1:7000 --web --invite ";

/// How long somebody takes that begun then, and types.
fn takes(begun: Instant, characters: usize) -> f64 {
    begun.elapsed().as_secs_f64() + characters as f64 / CHARACTERS_PER_SECOND
}

/// A client in a directory that has nothing, started with an invitation; and its page.
fn invited(dir: &Path, line: &str) -> (Process, Page) {
    let mut command = Command::new(binary("client"));
    command.current_dir(dir).args(["127.0.0.1:0", "--invite", line, "--stay", "--web=127.0.0.1:0"]);
    let mut process = Process::start(&mut command);
    process.end_input();
    let link = process.stderr.wait_for(PATIENCE, |line| line.split_once("http://").map(|(_, link)| link.to_owned()));
    let page = Page::at(&link.unwrap_or_else(|| panic!("no link: {}", process.stderr.text())));
    (process, page)
}

fn empty(cluster: &Cluster, name: &str) -> PathBuf {
    let dir = cluster.dir().join(name);
    std::fs::create_dir(&dir).unwrap();
    dir
}

#[tokio::test(flavor = "multi_thread")]
async fn two_newcomers_meet_by_one_invitation_in_two_browsers() {
    let Some(chromium) = Chromium::start() else { return };
    let mut cluster = Cluster::start(2);
    let (alice, _alice_lives, alices) = newcomer(&cluster, "alice", &[]);
    let file = alice.home().join("results.tar");
    random_file(&file, 24 * MIB).unwrap();
    let (a, b) = (chromium.browser().await, chromium.browser().await);

    let begun = Instant::now();
    a.makes_an_account(&alices, "alice").await;
    a.types("#new-group", "lab\u{e007}").await;
    a.sees("h1", "lab").await;
    // Chosen with a click, not typed.
    let choose = a.driver.find(Locator::Css("#file")).await.unwrap();
    choose.send_keys(file.to_str().unwrap()).await.unwrap();
    a.sees("#files th", "results.tar").await;
    a.fills("#invite-uses", "1").await;
    a.clicks("#invite form button").await;
    a.sees("#invite .said", "it is shown this once").await;
    let line = a.value("#invite-line").await;
    a.sees("#invites li", "0 of 1").await;
    println!("alice: {:.1} s", takes(begun, a.typed()));
    // Nobody notices that one is gone.
    cluster.kill_tracker(1);

    let begun = Instant::now();
    let dir = empty(&cluster, "bobs");
    let (_process, bobs) = invited(&dir, &line);
    b.go(&bobs.link()).await;
    b.sees(".lead", "You are invited").await;
    assert_eq!(b.value("#new-invite").await, line, "filled in already");
    b.types("#new-user", "bob").await;
    b.types("#new-password", "password-of-bob").await;
    b.types("#new-again", "password-of-bob\u{e007}").await;
    b.sees("h1", "lab").await;
    b.sees("#files th", "results.tar").await;
    b.fills("#save-to", dir.to_str().unwrap()).await;
    let path = dir.to_str().unwrap().len();
    b.clicks("#files button.main").await;
    b.sees("#files .pill", "seeding").await;
    let took = takes(begun, STARTS.len() + b.typed() - path);
    println!("bob: {took:.1} s");
    assert_eq!(hash(&dir.join("results.tar")), hash(&file));
    // Other tests run beside this one: twice the goal.
    assert!(took < 120.0, "{took}");

    // She is told who has come, and has nothing left to give.
    assert!(a.sees("#members li", "bob").await < SOON);
    a.sees("#invites", "There are none").await;
    a.clicks("#top nav a[href='/groups']").await;
    a.clicks("form[action='/run/news'] button[name='all']").await;
    a.sees("#missed li", "bob has come to lab by an invitation").await;
    // A second one is turned away, with the reason beside the form.
    let (_other, carols) = invited(&empty(&cluster, "carols"), &line);
    let c = chromium.browser().await;
    c.go(&carols.link()).await;
    c.sees("h1", "Share files").await;
    c.sees("#invited-standing", "the invitation to lab by alice is used up").await;
    c.types("#new-user", "carol").await;
    c.types("#new-password", "password-of-carol").await;
    c.types("#new-again", "password-of-carol\u{e007}").await;
    c.sees("form .said .error", "the invitation to lab by alice is used up; ask alice for another").await;
    // Here anybody may have an account.
    c.fills("#new-invite", "\u{e007}").await;
    c.sees("h1", "Groups").await;
    c.clicks("form[action='/run/accept_invite'] button").await;
    c.sees("form[action='/run/accept_invite'] .error", "the invitation to lab by alice is used up").await;
    for browser in [a, b, c] {
        browser.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_an_account_comes_in_by_a_login_and_a_link_that_was_used_says_so() {
    let Some(chromium) = Chromium::start() else { return };
    let cluster = Cluster::start(1);
    let alice = cluster.user("alice");
    alice.ok(&["create_group lab"]);
    let invite = alice.ok(&["invite lab"]);
    cluster.user("bob");
    let (_process, page) = invited(&empty(&cluster, "bobs"), invite["invite"].as_str().unwrap());
    let b = chromium.browser().await;
    b.go(&page.link()).await;
    b.sees(".lead", "You are invited").await;
    // Once more where it has been: the page, and no second entry.
    b.go(&page.link()).await;
    b.sees(".lead", "You are invited").await;
    b.types("#user", "bob").await;
    b.types("#password", "password-of-bob\u{e007}").await;
    b.sees("h1", "lab").await;
    b.sees("#members li", "bob").await;
    let other = chromium.browser().await;
    other.go(&page.link()).await;
    other.sees("main", "Each link works once").await;
    for browser in [b, other] {
        browser.close().await;
    }
}

async fn presses(browser: &Browser, form: &str) {
    browser.clicks(&format!("{form} button:not(.quiet)")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn subscriptions_limits_seeding_slots_doctor_and_a_lost_password_are_in_the_window() {
    let Some(chromium) = Chromium::start() else { return };
    let mut cluster = Cluster::start(1);
    let alice = cluster.user("alice");
    let (bob, mut bob_lives, bobs) = newcomer(&cluster, "bob", &[]);
    alice.ok(&["create_group lab"]);
    let b = chromium.browser().await;
    b.makes_an_account(&bobs, "bob").await;
    b.clicks("#g-lab button").await;
    b.sees("#g-lab .pill", "pending").await;
    let mut seeds = alice.live();
    seeds.ok("accept_request lab bob");
    b.sees("#g-lab .pill", "member").await;

    // What is shared from now on comes by itself.
    b.clicks("#g-lab a").await;
    b.clicks("#subscriptions summary").await;
    b.types("#sub-glob", "*.bin").await;
    b.fills("#sub-to", bob.downloads().to_str().unwrap()).await;
    b.clicks("#subscriptions form[action='/run/subscribe'] button").await;
    b.sees("#subscriptions li", "0 fetched").await;
    random_file(&alice.home().join("one.bin"), MIB).unwrap();
    seeds.ok("upload_file one.bin lab");
    b.sees("#subscriptions li", "1 fetched").await;
    assert_eq!(hash(&bob.downloads().join("one.bin")), hash(&alice.home().join("one.bin")));
    b.is_accessible("a group with a subscription and limits").await;
    b.clicks("#sub-1 button").await;
    b.sees("#news", "subscription").await;

    // Limits of the group, and at hours; they are listed, and lifted.
    b.clicks("details:has(#limit-rate) summary").await;
    b.types("#limit-rate", "fast").await;
    presses(&b, "details:has(#limit-rate) form").await;
    b.sees("details:has(#limit-rate) .error", "is not a rate").await;
    b.fills("#limit-rate", "2M").await;
    presses(&b, "details:has(#limit-rate) form").await;
    b.sees("#news", "limit").await;
    b.clicks("#top nav a[href='/health']").await;
    b.sees("#limit-rows li", "from members of lab").await;
    b.fills("#limit-up", "1M").await;
    b.fills("#at-up", "00:00-23:59").await;
    b.clicks("#at-up + button").await;
    b.sees("#limit-rows li", "00:00-23:59").await;
    assert_eq!(bob_lives.ok("limit")["limits"].as_array().unwrap().len(), 3, "hours, any other time, the group");
    presses(&b, "#limit-rows form").await;
    b.sees("#news", "limit").await;
    let begun = Instant::now();
    while bob_lives.ok("limit").to_string().contains("lab") {
        assert!(begun.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    b.fills("#slots", "3").await;
    b.clicks("#slots + button").await;
    b.sees("#news", "seeding_slots").await;
    assert_eq!(bob_lives.ok("show seeding_slots")["settings"][0]["value"], "3");
    b.clicks("form[action='/run/doctor'] button").await;
    b.sees("#findings li", "well").await;
    b.is_accessible("health with findings and limits").await;

    // The password is lost: a code from the console of a tracker.
    b.clicks("#top nav a[href='/account']").await;
    b.clicks("form[action='/run/logout'] button").await;
    b.sees("h1", "Share files").await;
    let tracker = cluster.tracker(1);
    tracker.process.type_line("reset_password bob");
    let code = |line: &str| line.split_once(" --code ").map(|(_, code)| code.trim().to_owned());
    let code = tracker.process.stdout.wait_for(PATIENCE, code).expect("a code");
    b.clicks("details:has(#lost-code) summary").await;
    b.is_accessible("welcome with a code").await;
    b.types("#lost-user", "bob").await;
    b.types("#lost-code", &code).await;
    b.types("#lost-new", "another-password\u{e007}").await;
    b.sees("h1", "Groups").await;
    b.sees("#g-lab .pill", "member").await;
    b.close().await;
}
