//! `service_memory [MINUTES]`: the memory of a client that serves a page, for so many minutes of ordinary use: a browser that
//! follows two views, listings, and every ten seconds a file that is shared, downloaded, and no longer shared.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "it reports to a terminal; failures end it")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use harness::{Cluster, Live, Page, random_file};

/// How often a round of use is begun.
const ROUND: Duration = Duration::from_secs(10);
/// Minutes in which everything is used for the first time.
const WARM: u64 = 5;
/// What may be more at the end than when all was warm, in bytes.
const GROWTH: u64 = 16 << 20;

fn main() -> ExitCode {
    let minutes = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(60);
    let cluster = Cluster::start(1);
    let (alice, bob) = (cluster.user("alice"), cluster.user("bob"));
    let mut a = alice.live_with(&["--web=127.0.0.1:0"]);
    a.ok("create_group lab");
    let mut b = bob.live_with(&["--web=127.0.0.1:0"]);
    b.ok("join_group lab");
    a.ok("accept_request lab bob");
    let page = Page::of(&b);
    let (cookie, _) = page.sign_in();
    for view in ["%2Ftransfers", "%2Fgroups%2Flab"] {
        let (page, cookie) = (page.clone(), cookie.clone());
        thread::spawn(move || follow(&page, &cookie, view));
    }
    let begun = Instant::now();
    let (mut warm, mut last) = (0, 0);
    for minute in 1..=minutes {
        let mut most = [0, 0];
        while begun.elapsed() < Duration::from_secs(60 * minute) {
            let round = Instant::now();
            use_it(&mut a, &mut b, &alice.home().join("round.bin"));
            ["/groups", "/groups/lab", "/transfers", "/health"].iter().for_each(|view| drop(page.get(view, &cookie)));
            for (most, live) in most.iter_mut().zip([&a, &b]) {
                *most = (*most).max(anonymous(live.process.id()));
            }
            thread::sleep(ROUND.saturating_sub(round.elapsed()));
        }
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        println!("minute {minute}: sharing {:.1} MiB, fetching and its page {:.1} MiB", mib(most[0]), mib(most[1]));
        last = most[0].max(most[1]);
        if minute <= WARM {
            warm = last;
        }
    }
    if last <= warm + GROWTH { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// One file there and back.
fn use_it(a: &mut Live, b: &mut Live, file: &std::path::Path) {
    random_file(file, 4 << 20).unwrap();
    a.ok(&format!("upload_file {} lab", file.display()));
    b.ok("list_files lab");
    b.ok("download_file lab round.bin downloads --force");
    let n = b.ok("show_downloads")["downloads"][0]["n"].as_u64().unwrap();
    b.ok(&format!("cancel_download {n}"));
    b.ok("stop_share lab round.bin");
    a.ok("stop_share lab round.bin");
}

/// Reads what a view is told, as a browser does, for ever.
fn follow(page: &Page, cookie: &str, view: &str) {
    let mut bytes = vec![0; 64 << 10];
    loop {
        let mut stream = TcpStream::connect(&page.host).unwrap();
        let request = format!(
            "GET /live?shape=none&view={view} HTTP/1.1\r\nHost: {}\r\nCookie: {cookie}\r\nAccept: text/event-stream\r\n\r\n",
            page.host
        );
        stream.write_all(request.as_bytes()).unwrap();
        while stream.read(&mut bytes).is_ok_and(|n| n > 0) {}
        thread::sleep(Duration::from_secs(1));
    }
}

fn anonymous(id: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let kib = text.lines().find_map(|l| l.strip_prefix("RssAnon:")?.trim().strip_suffix(" kB")?.trim().parse().ok());
    kib.unwrap_or(0_u64) << 10
}
