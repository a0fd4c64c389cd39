//! A browser and what somebody in front of it does: Debian's Chromium, driven by its driver.
//!
//! Where they are not, tests of the page in a browser say so on stderr and pass.

use std::io::Write;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use fantoccini::elements::Element;
use fantoccini::error::CmdError;
use fantoccini::{Client as Driver, ClientBuilder, Locator};
use harness::{PATIENCE, Page, Process};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};

/// How often it is started where it ends before it listens.
const STARTS: usize = 5;

/// The program that drives the browser.
pub(super) struct Chromium {
    url: String,
    _process: Process,
}

impl Chromium {
    /// Starts it. `None`, and a loud line, where there is none.
    pub(super) fn start() -> Option<Self> {
        let there = |program: &str| Command::new(program).arg("--version").output().is_ok_and(|o| o.status.success());
        if !there("chromium") || !there("chromedriver") {
            // Past the test runner, which keeps what passing tests print to itself.
            let line = b"\n== NOT TESTED: the page in a browser; there is no chromium and chromedriver here \
                         (apt-get install chromium chromium-driver)\n";
            let _ = std::io::stderr().write_all(line);
            return None;
        }
        // It takes a free port of IPv6, and ends where the same one of IPv4 is taken.
        let mut ended = String::new();
        for _ in 0..STARTS {
            let process = Process::start(Command::new("chromedriver").arg("--port=0"));
            let port = process.stdout.wait_for(PATIENCE, |line| {
                let (_, port) = line.split_once("started successfully on port ")?;
                Some(port.trim_end_matches('.').to_owned())
            });
            if let Some(port) = port {
                return Some(Self { url: format!("http://127.0.0.1:{port}"), _process: process });
            }
            ended = process.stdout.text();
        }
        panic!("chromedriver does not listen: {ended}");
    }

    /// A browser without a history.
    pub(super) async fn browser(&self) -> Browser {
        let args = ["--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1280,900"];
        let options = json!({ "goog:chromeOptions": { "args": args }, "goog:loggingPrefs": { "browser": "ALL" } });
        let Value::Object(capabilities) = options else { panic!("an object") };
        let mut builder = ClientBuilder::new(HttpConnector::new());
        let driver = builder.capabilities(capabilities).connect(&self.url).await;
        Browser { driver: driver.expect("a browser"), typed: AtomicUsize::default() }
    }
}

/// A browser, with somebody in front of it.
pub(super) struct Browser {
    /// What drives it.
    pub(super) driver: Driver,
    /// Characters that were typed.
    typed: AtomicUsize,
}

impl Browser {
    /// Opens an address.
    pub(super) async fn go(&self, url: &str) {
        self.driver.goto(url).await.unwrap();
    }

    /// Runs a script in the page; what it returns.
    pub(super) async fn js(&self, script: &str, args: Vec<Value>) -> Value {
        self.driver.execute(script, args).await.unwrap()
    }

    /// Waits until an element that `css` selects shows `text`; how long that took.
    pub(super) async fn sees(&self, css: &str, text: &str) -> Duration {
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

    /// Does something to an element, once it is there. Between the two commands that this takes the page may have drawn the
    /// element anew; then nothing was done, and it is done to the new one.
    async fn on(&self, css: &str, act: impl AsyncFn(Element) -> Result<(), CmdError>) {
        let begun = Instant::now();
        loop {
            let done = async { act(self.driver.find(Locator::Css(css)).await?).await };
            let Err(e) = done.await else { return };
            assert!(e.is_stale_element_reference() || e.is_no_such_element(), "{css}: {e}");
            assert!(begun.elapsed() < PATIENCE, "{css}: {e}");
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }

    /// Types into an element.
    pub(super) async fn types(&self, css: &str, text: &str) {
        self.typed.fetch_add(text.chars().count(), Ordering::Relaxed);
        self.on(css, async |element: Element| element.send_keys(text).await).await;
    }

    /// Clicks on an element.
    pub(super) async fn clicks(&self, css: &str) {
        // Out from under the bar at the top, as somebody would scroll.
        let script = "document.querySelector(arguments[0])?.scrollIntoView({ block: 'center' })";
        self.js(script, vec![css.into()]).await;
        self.on(css, async |element: Element| element.click().await).await;
    }

    /// Puts other text into a field.
    pub(super) async fn fills(&self, css: &str, text: &str) {
        self.on(css, async |element: Element| element.clear().await).await;
        self.types(css, text).await;
    }

    /// From the link to an account, with the keyboard alone.
    pub(super) async fn makes_an_account(&self, page: &Page, name: &str) {
        self.go(&page.link()).await;
        self.sees("h1", "Share files").await;
        self.types("#new-user", name).await;
        self.types("#new-password", &format!("password-of-{name}")).await;
        self.types("#new-again", &format!("password-of-{name}\u{e007}")).await; // Enter.
        self.sees("h1", "Groups").await;
        self.sees("#top nav", name).await;
    }

    /// How many characters were typed so far.
    pub(super) fn typed(&self) -> usize {
        self.typed.load(Ordering::Relaxed)
    }

    /// What a field holds.
    pub(super) async fn value(&self, css: &str) -> String {
        let value = self.js("return document.querySelector(arguments[0])?.value", vec![css.into()]).await;
        value.as_str().unwrap_or_default().to_owned()
    }

    /// Closes it.
    pub(super) async fn close(self) {
        let _ = self.driver.close().await;
    }

    /// Looks for what keeps people with a screen reader or a keyboard out, if `AXE` names axe-core's `axe.min.js`
    /// (`npm pack axe-core`).
    pub(super) async fn is_accessible(&self, view: &str) {
        let Some(axe) = std::env::var_os("AXE") else {
            let _ = writeln!(std::io::stderr(), "\n== NOT TESTED: {view} through axe; AXE names no axe.min.js");
            return;
        };
        // As a tool of the browser: the page's own policy would let no foreign script in.
        self.js(&std::fs::read_to_string(axe).unwrap(), vec![]).await;
        let run = "const done = arguments[arguments.length - 1]; \
                   axe.run().then(r => done(r.violations.map(v => v.id + ': ' + v.nodes.map(n => n.html).join(' | '))))";
        let violations = self.driver.execute_async(run, vec![]).await.unwrap();
        assert_eq!(violations, json!([]), "{view}");
    }
}
