//! Bytes that no honest program sends, on every port; connections that never speak; and what
//! they cost.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use harness::{Cluster, random_file};
use rand::Rng;

/// What a process holds in memory of its own, in bytes (RssAnon).
fn memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() << 10
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

/// Writes and then reads to the end, or to the time-out; how the end came is not our business.
fn throw(address: SocketAddr, bytes: &[u8]) {
    let mut stream = connect(address);
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let _ = stream.read_to_end(&mut Vec::new());
}

#[test]
fn random_truncated_and_overlong_bytes_on_any_port_change_nothing() {
    let cluster = Cluster::start(1);
    let alice = cluster.user("alice");
    let mut a = alice.live();
    a.ok("create_group lab");
    random_file(&alice.home().join("data.bin"), 1 << 20).unwrap();
    a.ok("upload_file data.bin lab");
    let peer: SocketAddr = a.ok("status")["listen"].as_str().unwrap().parse().unwrap();
    let mut rng = rand::rng();
    for address in [cluster.addresses[0], peer] {
        for len in [0, 1, 3, 4, 5, 100, 4096, 70_000] {
            let mut bytes = vec![0; len];
            rng.fill_bytes(&mut bytes);
            throw(address, &bytes);
        }
        throw(address, &[0xff; 4]);
        throw(address, b"GET / HTTP/1.1\r\n\r\n");
        // The beginning of a TLS ClientHello, cut off.
        throw(address, &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]);
    }
    let bob = cluster.user("bob");
    bob.ok(&["join_group lab"]);
    a.ok("accept_request lab bob");
    bob.ok(&["download_file lab data.bin downloads"]);
}

#[test]
fn a_thousand_giant_announcements_and_idle_connections_cost_little_and_block_nobody() {
    let mut cluster = Cluster::start(1);
    let pid = cluster.tracker(1).process.id();
    cluster.user("alice");
    let before = memory(pid);
    let mut idle: Vec<TcpStream> = (0..1000).map(|_| connect(cluster.addresses[0])).collect();
    for (i, stream) in idle.iter_mut().enumerate() {
        // Half of them announce four gigabytes, as a frame and as a TLS record would.
        if i % 2 == 0 {
            let _ = stream.write_all(&[0xff; 4]);
        } else {
            let _ = stream.write_all(&[0x16, 3, 3, 0xff, 0xff]);
        }
    }
    let began = Instant::now();
    cluster.client("bob").ok(&["create_user bob password-of-bob", "login bob password-of-bob"]);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    let grown = memory(pid).saturating_sub(before);
    assert!(grown < 64 << 20, "{grown} bytes");
    drop(idle);
    assert!(cluster.tracker(1).quit());
}

#[test]
fn a_client_that_vanishes_in_mid_request_is_forgotten() {
    let mut cluster = Cluster::start(1);
    let alice = cluster.user("alice");
    random_file(&alice.home().join("data.bin"), 200 << 20).unwrap();
    let mut a = alice.live();
    a.ok("create_group lab");
    for _ in 0..5 {
        let mut b = cluster.client("alice-2").live();
        b.send("login alice password-of-alice");
        b.process.kill();
    }
    a.send("upload_file data.bin lab");
    a.process.kill();
    let mut a = alice.live();
    assert!(a.ok("list_files lab")["files"].as_array().unwrap().is_empty());
    a.ok("upload_file data.bin lab");
    assert!(a.stop());
    assert!(cluster.tracker(1).quit());
}
