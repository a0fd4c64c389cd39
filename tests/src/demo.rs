//! `cargo demo [FILE]`: the main job, visibly, on real processes.
//!
//! Two trackers; three members. Alice shares FILE (or 64 MiB of random bytes), Bob asks to join and
//! downloads it from Alice, Carol from both. The hashes are compared, and everything is cleaned up.

#![allow(clippy::print_stdout, reason = "it is a demonstration")]

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use harness::{Cluster, Live, random_file};
use serde_json::Value;
use sha1::{Digest, Sha1};

const RANDOM_LEN: u64 = 64 << 20;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let (file, extra) = (arguments.next().map(PathBuf::from), arguments.next());
    if extra.is_some() || file.as_ref().is_some_and(|f| f.to_string_lossy().starts_with('-')) {
        println!("usage: cargo demo [FILE]");
        return ExitCode::from(2);
    }
    match run(file) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            println!("the demonstration could not go on: {e}");
            ExitCode::FAILURE
        }
    }
}

fn run(file: Option<PathBuf>) -> io::Result<bool> {
    let file =
        file.map(|f| f.canonicalize().map_err(|e| io::Error::other(format!("{}: {e}", f.display())))).transpose()?;
    if let Some(f) = file.as_ref().filter(|f| !f.is_file()) {
        return Err(io::Error::other(format!("{} is not a file", f.display())));
    }
    println!("== building both programs (the first time takes minutes)");
    harness::binary("tracker");

    println!("== two trackers");
    let mut cluster = Cluster::start(2);
    for (i, address) in cluster.addresses.clone().iter().enumerate() {
        println!("   $ tracker tracker_info.txt {}\n     tracker {0} ready on {address}", i + 1);
    }
    let file = match file {
        Some(file) => file,
        None => {
            let path = cluster.dir().join("random.bin");
            random_file(&path, RANDOM_LEN)?;
            path
        }
    };
    let same = story(&cluster, &file)?;

    let ended = (1..=2).all(|n| cluster.tracker(n).quit());
    let dir = cluster.dir().to_owned();
    drop(cluster);
    println!("== cleaned up: trackers stopped, {} removed", dir.display());
    Ok(same && ended && !dir.exists())
}

fn story(cluster: &Cluster, file: &Path) -> io::Result<bool> {
    println!("== three members");
    let [alice, bob, carol] = ["alice", "bob", "carol"].map(|name| cluster.client(name));
    let [mut a, mut b, mut c] = [&alice, &bob, &carol].map(|client| {
        let mut live = client.live();
        does(&mut live, &format!("create_user {0} secret-of-{0}", client.name()));
        does(&mut live, &format!("login {0} secret-of-{0}", client.name()));
        live
    });

    println!("== alice makes a group and shares {}", file.display());
    does(&mut a, "create_group lab");
    let began = Instant::now();
    let shared = does(&mut a, &format!("upload_file {} lab", quoted(file)));
    println!("     hashed and published in {:.1} s", began.elapsed().as_secs_f64());
    let name = shared["name"].as_str().unwrap_or_default();
    let download = format!("download_file lab {} downloads", quoted(Path::new(name)));

    println!("== bob asks to join, alice accepts, bob downloads from alice");
    does(&mut b, "join_group lab");
    does(&mut a, "list_requests lab");
    does(&mut a, "accept_request lab bob");
    does(&mut b, "list_files lab");
    let from_one = does(&mut b, &download);

    println!("== carol asks to join, alice accepts, carol downloads from both");
    does(&mut c, "join_group lab");
    does(&mut a, "accept_request lab carol");
    does(&mut c, "list_files lab");
    let from_two = does(&mut c, &download);

    println!("== hashes");
    let original = hashes(file)?;
    println!("   sha1 {}  blake3 {}  original", original.0, original.1);
    let mut same = shared["sha1"] == original.0.as_str() && shared["file_id"] == original.1.as_str();
    for client in [&bob, &carol] {
        let copy = hashes(&client.downloads().join(name))?;
        println!("   sha1 {}  blake3 {}  {}'s copy", copy.0, copy.1, client.name());
        same &= copy == original;
    }
    println!("   {}", if same { "all equal" } else { "THEY DIFFER" });
    println!("   bob was served by {} member, carol by {}", served(&from_one), served(&from_two));

    Ok(a.stop() & b.stop() & c.stop() && same)
}

fn does(client: &mut Live, line: &str) -> Value {
    let data = client.ok(line);
    println!("   {}> {line}", client.name());
    if data.as_object().is_some_and(|o| !o.is_empty()) {
        println!("     {data}");
    }
    data
}

fn served(download: &Value) -> usize {
    let peers = download["peers"].as_array();
    peers.map_or(0, |p| p.iter().filter(|p| p["bytes"].as_u64().is_some_and(|b| b > 0)).count())
}

fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}

/// SHA-1 and BLAKE3 of a file, as `sha1sum` and `b3sum` print them.
fn hashes(path: &Path) -> io::Result<(String, String)> {
    let (mut sha1, mut blake3) = (Sha1::new(), blake3::Hasher::new());
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            n => {
                sha1.update(&buffer[..n]);
                blake3.update(&buffer[..n]);
            }
        }
    }
    let sha1 = common::id::Sha1Digest::new(sha1.finalize().into());
    Ok((sha1.to_string(), blake3.finalize().to_hex().to_string()))
}
