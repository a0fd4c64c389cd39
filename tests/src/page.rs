//! The page of a client, as a browser's raw requests see it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::Live;
use crate::process::PATIENCE;
use crate::tls;

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The status line and the headers; names in lower case, as the page writes them.
    pub head: String,
    /// The rest, as it came.
    pub body: String,
}

/// A page that is open.
#[derive(Debug, Clone)]
pub struct Page {
    /// `127.0.0.1:PORT`
    pub host: String,
    /// The token of the link that was printed.
    pub token: String,
    /// What its certificate has to be told by, if it is encrypted: SHA-256, as it was printed.
    fingerprint: Option<String>,
}

impl Page {
    /// The page whose link this client has printed.
    ///
    /// # Panics
    /// When it prints none.
    #[expect(clippy::expect_used, reason = "a test harness")]
    pub fn of(client: &Live) -> Self {
        let link =
            client.process.stderr.wait_for(PATIENCE, |line| line.split_once("http://").map(|(_, l)| l.to_owned()));
        Self::at(&link.expect("a link"))
    }

    /// The page that this link leads to, with or without `http://`.
    ///
    /// # Panics
    /// When it is not a link to a page.
    #[expect(clippy::expect_used, reason = "a test harness")]
    pub fn at(link: &str) -> Self {
        let (host, token) = link.trim_start_matches("http://").split_once("/enter?token=").expect("a link to a page");
        Self { host: host.to_owned(), token: token.to_owned(), fingerprint: None }
    }

    /// The encrypted page that this link leads to, whose certificate has this fingerprint.
    ///
    /// # Panics
    /// When it is not a link to an encrypted page.
    #[expect(clippy::expect_used, reason = "a test harness")]
    pub fn encrypted(link: &str, fingerprint: &str) -> Self {
        let page = Self::at(link.strip_prefix("https://").expect("a link to an encrypted page"));
        Self { fingerprint: Some(fingerprint.to_owned()), ..page }
    }

    fn scheme(&self) -> &'static str {
        if self.fingerprint.is_some() { "https" } else { "http" }
    }

    /// The link.
    pub fn link(&self) -> String {
        format!("{}://{}/enter?token={}", self.scheme(), self.host, self.token)
    }

    /// Sends a request with these headers and nothing else, and reads the answer to its end.
    ///
    /// # Panics
    /// When nothing comes that is an answer.
    #[expect(clippy::expect_used, reason = "a test harness")]
    pub fn raw(&self, request: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let stream = TcpStream::connect(&self.host).expect("the page's port");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        let mut stream: Box<dyn Stream> = match &self.fingerprint {
            None => Box::new(stream),
            Some(fingerprint) => Box::new(tls::connect(stream, fingerprint)),
        };
        let lines: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let head = format!("{request} HTTP/1.1\r\n{lines}Connection: close\r\n\r\n");
        // Where the answer comes first, the rest of the request may find nobody.
        let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) = answer.split_once("\r\n\r\n").expect("an answer");
        let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).expect("a status");
        Answer { status, head: head.to_owned(), body: body.to_owned() }
    }

    /// Looks at `path`, with this cookie.
    pub fn get(&self, path: &str, cookie: &str) -> Answer {
        self.raw(&format!("GET {path}"), &[("Host", &self.host), ("Cookie", cookie)], b"")
    }

    /// Sends a form to `path`, as our own page does, with this cookie.
    pub fn post(&self, path: &str, cookie: &str, form: &str) -> Answer {
        let origin = format!("{}://{}", self.scheme(), self.host);
        let more = [("Origin", origin.as_str()), ("Sec-Fetch-Site", "same-origin")];
        self.post_with(path, cookie, form, &more)
    }

    /// Sends a form to `path` with further headers.
    pub fn post_with(&self, path: &str, cookie: &str, form: &str, more: &[(&str, &str)]) -> Answer {
        let length = form.len().to_string();
        let mut headers = vec![
            ("Host", self.host.as_str()),
            ("Cookie", cookie),
            ("HX-Request", "true"),
            ("Content-Type", "application/x-www-form-urlencoded"),
            ("Content-Length", &length),
        ];
        headers.extend(more);
        self.raw(&format!("POST {path}"), &headers, form.as_bytes())
    }

    /// Exchanges the link for a cookie: `name=value`, and the rest of its header.
    ///
    /// # Panics
    /// When it is refused.
    #[expect(clippy::expect_used, reason = "a test harness")]
    pub fn sign_in(&self) -> (String, String) {
        let answer = self.post("/enter", "", &format!("token={}", self.token));
        let header = answer.head.lines().find_map(|line| line.strip_prefix("set-cookie: ")).expect("a cookie");
        let (cookie, rest) = header.split_once(';').expect("a cookie with attributes");
        (cookie.to_owned(), rest.to_owned())
    }

    /// Waits until the page shows `text` at `path`.
    ///
    /// # Panics
    /// When it does not in time.
    pub fn until(&self, path: &str, cookie: &str, text: &str) {
        let begun = std::time::Instant::now();
        while !self.get(path, cookie).body.contains(text) {
            assert!(begun.elapsed() < PATIENCE, "{path} never shows {text}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}
