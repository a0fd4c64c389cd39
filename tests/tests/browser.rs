//! The page in a real browser: two people, each with a client and a Chromium of their own.
//!
//! Needs Debian's `chromium` and `chromium-driver`. Where they are not, the tests say so on stderr and pass.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use fantoccini::{Client as Driver, ClientBuilder, Locator};
use harness::{Client, Cluster, Live, PATIENCE, Page, Process, random_file};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};

const MIB: u64 = 1 << 20;
/// How soon a person should see what another did.
const SOON: Duration = Duration::from_secs(5);

/// The program that drives the browser.
struct Chromium {
    url: String,
    _process: Process,
}

impl Chromium {
    /// `None`, and a loud line, where there is none.
    fn start() -> Option<Self> {
        let there = |program: &str| Command::new(program).arg("--version").output().is_ok_and(|o| o.status.success());
        if !there("chromium") || !there("chromedriver") {
            // Past the test runner, which keeps what passing tests print to itself.
            let line = b"\n== NOT TESTED: the page in a browser; there is no chromium and chromedriver here \
                         (apt-get install chromium chromium-driver)\n";
            let _ = std::io::stderr().write_all(line);
            return None;
        }
        let process = Process::start(Command::new("chromedriver").arg("--port=0"));
        let port = process.stdout.wait_for(PATIENCE, |line| {
            let (_, port) = line.split_once("started successfully on port ")?;
            Some(port.trim_end_matches('.').to_owned())
        });
        Some(Self { url: format!("http://127.0.0.1:{}", port.expect("chromedriver's port")), _process: process })
    }

    async fn browser(&self) -> Browser {
        let args = ["--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1280,900"];
        let options = json!({ "goog:chromeOptions": { "args": args }, "goog:loggingPrefs": { "browser": "ALL" } });
        let Value::Object(capabilities) = options else { panic!("an object") };
        let mut builder = ClientBuilder::new(HttpConnector::new());
        let driver = builder.capabilities(capabilities).connect(&self.url).await;
        Browser(driver.expect("a browser"))
    }
}

struct Browser(Driver);

impl Browser {
    async fn go(&self, url: &str) {
        self.0.goto(url).await.unwrap();
    }

    async fn js(&self, script: &str, args: Vec<Value>) -> Value {
        self.0.execute(script, args).await.unwrap()
    }

    /// Waits until an element that `css` selects shows `text`; how long that took.
    async fn sees(&self, css: &str, text: &str) -> Duration {
        let begun = Instant::now();
        let script =
            "return [...document.querySelectorAll(arguments[0])].some(e => e.innerText.includes(arguments[1]))";
        while self.js(script, vec![css.into(), text.into()]).await != true {
            if begun.elapsed() > PATIENCE {
                let all = self.js("return location.href + '\\n' + document.body.innerText", vec![]).await;
                panic!("never sees {text:?} in {css}:\n{}", all.as_str().unwrap_or_default());
            }
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        begun.elapsed()
    }

    async fn types(&self, css: &str, text: &str) {
        self.0.find(Locator::Css(css)).await.expect(css).send_keys(text).await.unwrap();
    }

    async fn clicks(&self, css: &str) {
        self.0.find(Locator::Css(css)).await.expect(css).click().await.expect(css);
    }

    /// Puts other text into a field.
    async fn fills(&self, css: &str, text: &str) {
        self.0.find(Locator::Css(css)).await.expect(css).clear().await.unwrap();
        self.types(css, text).await;
    }

    /// From the link to an account, with the keyboard alone.
    async fn makes_an_account(&self, page: &Page, name: &str) {
        self.go(&page.link()).await;
        self.sees("h1", "Share files").await;
        self.types("#new-user", name).await;
        self.types("#new-password", &format!("password-of-{name}")).await;
        self.types("#new-again", &format!("password-of-{name}\u{e007}")).await; // Enter.
        self.sees("h1", "Groups").await;
        self.sees("#top nav", name).await;
    }
}

/// A client that nobody has logged in at, and its page.
fn newcomer(cluster: &Cluster, name: &str, more: &[&str]) -> (Client, Live, Page) {
    let client = cluster.client(name);
    let live = client.live_with(&[more, &["--web=127.0.0.1:0"]].concat());
    let page = Page::of(&live);
    (client, live, page)
}

fn hash(path: &Path) -> blake3::Hash {
    blake3::hash(&std::fs::read(path).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn two_people_go_from_account_to_verified_file_while_a_tracker_dies_and_a_kick_is_seen_at_once() {
    let Some(chromium) = Chromium::start() else { return };
    let mut cluster = Cluster::start(2);
    let (alice, _alice_lives, alices) = newcomer(&cluster, "alice", &[]);
    let (bob, _bob_lives, bobs) = newcomer(&cluster, "bob", &["--limit-down", "4M"]);
    let file = alice.home().join("plate A <1>.bin");
    random_file(&file, 24 * MIB).unwrap();
    let (a, b) = (chromium.browser().await, chromium.browser().await);
    a.makes_an_account(&alices, "alice").await;
    b.makes_an_account(&bobs, "bob").await;

    // A group, and a file from the browser.
    a.types("#new-group", "lab\u{e007}").await;
    a.sees("h1", "lab").await;
    a.types("#file", file.to_str().unwrap()).await;
    a.sees("#files th", "plate A <1>.bin").await;

    // What went wrong is said beside the form, and the form is as it was.
    b.sees("#groups li", "lab").await;
    b.types("#new-group", "lab\u{e007}").await;
    b.sees("aside .said .error", "taken").await;
    assert_eq!(b.js("return document.querySelector('#new-group').value", vec![]).await, "lab");

    // Asking, and being let in: each sees what the other did without doing anything.
    b.clicks("#g-lab button").await;
    b.sees("#g-lab .pill", "pending").await;
    assert!(a.sees("#top .badge", "1").await < SOON);
    a.sees("#requests li", "bob").await;
    a.clicks("#r-bob button.main").await;
    a.sees("#members li", "bob").await;
    assert!(b.sees("#g-lab .pill", "member").await < SOON);

    // One click; the tracker in use dies meanwhile.
    b.clicks("#g-lab a").await;
    b.sees("#files th", "plate A <1>.bin").await;
    b.fills("#save-to", bob.downloads().to_str().unwrap()).await;
    b.clicks("#files button.main").await;
    b.sees("#news", "download 1").await;
    b.clicks("#top nav a[href='/transfers']").await;
    b.sees(".transfer .numbers", "MiB of 24.0 MiB").await;
    b.clicks(".transfer .name a").await;
    b.sees("#peers th", "alice").await;
    b.sees("#pieces", "of 96 pieces").await;
    cluster.kill_tracker(1);
    b.sees("#top .badge.bad", "!").await;
    b.clicks(".buttons button").await;
    b.sees("#standing .pill", "paused").await;
    b.clicks(".buttons button.main").await;
    b.sees("#standing .pill", "complete").await;
    assert_eq!(hash(&bob.downloads().join("plate A <1>.bin")), hash(&file));

    // A kick, with the other one looking on.
    b.clicks("#top nav a[href='/groups']").await;
    b.sees("#g-lab .pill", "member").await;
    b.clicks("#g-lab a").await;
    b.sees("#files .pill", "seeding").await;
    a.clicks("#m-bob summary").await;
    a.clicks("#m-bob button.danger").await;
    a.0.accept_alert().await.unwrap();
    assert!(b.sees("h1", "You are not in lab").await < SOON);
    let errors =
        "return performance.getEntriesByType('resource').filter(r => !r.name.startsWith(location.origin)).length";
    assert_eq!(b.js(errors, vec![]).await, 0, "nothing came from anywhere else");
    a.0.close().await.unwrap();
    b.0.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_typed_filters_the_files_and_live_news_do_not_disturb_it() {
    let Some(chromium) = Chromium::start() else { return };
    let cluster = Cluster::start(1);
    let (alice, mut live, page) = newcomer(&cluster, "alice", &[]);
    for line in ["create_user alice password-of-alice", "login alice password-of-alice", "create_group lab"] {
        live.ok(line);
    }
    for n in 0..12 {
        std::fs::write(alice.home().join(format!("file-{n:02}.txt")), n.to_string()).unwrap();
        live.ok(&format!("upload_file file-{n:02}.txt lab"));
    }
    let a = chromium.browser().await;
    a.go(&page.link()).await;
    a.sees("#g-lab", "lab").await;
    a.clicks("#g-lab a").await;
    a.sees("#files th", "file-11.txt").await;
    a.types("#match", "file-0").await;
    a.sees(".pager", "10 files").await;
    // Somebody shares another one: it comes in by itself, and what was typed stays.
    std::fs::write(alice.home().join("file-0x.txt"), "new").unwrap();
    live.ok("upload_file file-0x.txt lab");
    a.sees("#files th", "file-0x.txt").await;
    a.sees(".pager", "11 files").await;
    assert_eq!(a.js("return document.activeElement.id + document.activeElement.value", vec![]).await, "matchfile-0");
    // A narrow window needs no scrolling sideways.
    a.0.set_window_size(375, 812).await.unwrap();
    let wide = "return document.documentElement.scrollWidth - document.documentElement.clientWidth";
    assert_eq!(a.js(wide, vec![]).await, 0);
    a.0.close().await.unwrap();
}
