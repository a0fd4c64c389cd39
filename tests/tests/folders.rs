//! Folders over real processes: shared, fetched, chosen from, and shared anew.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use harness::{Client, Cluster, Live, PATIENCE, folder_digest, random_file, random_folder, until_level};
use serde_json::Value;

fn put(root: &Path, path: &str, bytes: &[u8]) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// Alice with a group `lab` and a folder `src` shared in it.
fn sharing(cluster: &Cluster) -> (Client, Live, PathBuf) {
    let alice = cluster.user("alice");
    let root = alice.home().join("src");
    random_folder(&root, 3 << 20, 64 << 10).unwrap();
    put(&root, "empty file", b"");
    put(&root, ".hidden/Grüße/データ.txt", "wörds".as_bytes());
    random_file(&root.join("large.bin"), 5 << 20).unwrap();
    put(&root, "run", b"#!/bin/sh\n");
    fs::set_permissions(root.join("run"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir_all(root.join("nothing/in/here")).unwrap();
    let mut live = alice.live();
    live.ok("create_group lab");
    (alice, live, root)
}

fn member(cluster: &Cluster, admin: &mut Live, name: &str) -> Client {
    let client = cluster.user(name);
    client.ok(&["join_group lab"]);
    admin.ok(&format!("accept_request lab {name}"));
    client
}

#[test]
fn a_folder_reaches_members_as_it_is_and_what_is_left_out_is_named() {
    let cluster = Cluster::start(2);
    let (alice, mut a, root) = sharing(&cluster);
    let whole = folder_digest(&root).unwrap();
    symlink("/etc/passwd", root.join("link")).unwrap();
    put(&root, "con.txt", b"reserved");
    let up = a.ok("upload_file src lab");
    assert_eq!((up["kind"].as_str(), up["name"].as_str()), (Some("folder"), Some("src")));
    let skipped: Vec<_> = up["skipped"].as_array().unwrap().iter().map(|s| s["path"].as_str().unwrap()).collect();
    assert_eq!(skipped, ["con.txt", "link"]);
    assert!(up["skipped"][1]["why"].as_str().unwrap().contains("link"), "{up}");
    for left_out in skipped {
        fs::remove_file(root.join(left_out)).unwrap();
    }

    let [bob, carol] = ["bob", "carol"].map(|name| member(&cluster, &mut a, name));
    let mut b = bob.live();
    let got = b.ok("download_file lab src downloads");
    assert_eq!(got["files"], up["entries"]);
    assert_eq!(folder_digest(&bob.downloads().join("src")), Some(whole));
    // So that both have their turn, however busy the machine is.
    for live in [&mut a, &mut b] {
        live.ok("limit up 8M");
    }
    let got = carol.ok(&["download_file lab src downloads/another-name"]);
    for live in [&mut a, &mut b] {
        live.ok("limit up off");
    }
    assert_eq!(folder_digest(&carol.downloads().join("another-name")), Some(whole));
    assert_eq!(got["peers"].as_array().unwrap().len(), 2, "from both: {got}");

    let info = carol.ok(&["info lab src"]);
    let seeders: Vec<_> = info["seeders"].as_array().unwrap().iter().filter_map(|s| s["user"].as_str()).collect();
    assert!(["alice", "bob"].iter().all(|user| seeders.contains(user)), "{info}");
    assert_eq!(b.ok("verify lab src")["file_id"], up["file_id"]);
    let tree = carol.ok(&["list_files lab src"]);
    assert_eq!(tree["entries"], up["entries"]);
    let inner = carol.ok(&["list_files lab src/.hidden"]);
    assert_eq!((&inner["entries"], &inner["files"][0]["path"]), (&1.into(), &".hidden/Grüße/データ.txt".into()));
    carol.refused("list_files lab src/none", "invalid_argument");

    // What is there whole stays where it is, and is not fetched or copied again.
    let again = b.ok("download_file lab src downloads");
    assert_eq!((&again["reused"], &again["peers"]), (&up["size"], &serde_json::json!([])));
    assert_eq!(std::fs::read_dir(bob.downloads()).unwrap().count(), 1, "nothing is left beside it");
    let rows = tree["files"].as_array().unwrap();
    let row = |path: &str| rows.iter().find(|r| r["path"] == path).unwrap_or_else(|| panic!("{path}: {tree}"));
    assert_eq!(row("large.bin")["size"], 5 << 20);
    assert_eq!((&row("run")["executable"], &row("nothing/in/here")["kind"]), (&true.into(), &"folder".into()));
    let listed = carol.ok(&["list_files lab"]);
    assert_eq!(listed["files"][0]["name"], "src");
    let shares = b.ok("list_shares");
    assert_eq!((&shares["shares"][0]["name"], &shares["shares"][0]["entries"]), (&"src".into(), &up["entries"]));
    carol.refused("list_files lab nothing", "no_such_file");
    assert!(a.stop() && b.stop());
    drop(alice);
}

#[test]
fn the_keys_of_a_client_are_shared_by_no_way_of_naming_them() {
    let cluster = Cluster::start(1);
    let alice = cluster.user("alice");
    put(alice.home(), "mine/own.txt", b"own");
    put(alice.home(), "mine/cluster.secret", b"secret");
    // Another client's, and the running one's below the folder that is shared.
    put(alice.home(), "mine/data/client-2/device.key", b"key");
    put(alice.home(), "mine/data/client-2/lock", b"");
    symlink(alice.home().join("data/session"), alice.home().join("innocent")).unwrap();
    let mut a = alice.live();
    a.ok("create_group lab");
    let up = a.ok("upload_file mine lab");
    let skipped: Vec<_> = up["skipped"].as_array().unwrap().iter().map(|s| s["path"].as_str().unwrap()).collect();
    assert_eq!((up["entries"].as_u64(), skipped), (Some(1), vec!["cluster.secret", "data/client-2"]), "{up}");
    let up = a.ok("upload_file . lab --name home");
    let skipped: Vec<_> = up["skipped"].as_array().unwrap().iter().map(|s| s["path"].as_str().unwrap()).collect();
    assert!(skipped.contains(&"data"), "{up}");
    let tree = a.ok("list_files lab home");
    let paths = tree["files"].as_array().unwrap().iter().map(|row| row["path"].as_str().unwrap());
    assert!(paths.clone().all(|path| !path.contains("data/")), "{:?}", paths.collect::<Vec<_>>());
    for secret in ["data", "data/device.key", "data/session", "innocent", "mine/cluster.secret", "mine/data/client-2"] {
        let refused = a.refused(&format!("upload_file {secret} lab --name x"), "invalid_argument");
        assert!(refused.contains("cannot be shared: ") && refused.contains("it is the "), "{secret}: {refused}");
    }
}

#[test]
fn what_is_chosen_of_a_folder_comes_and_the_rest_later() {
    let cluster = Cluster::start(1);
    let (_alice, mut a, root) = sharing(&cluster);
    a.ok("upload_file src lab");
    let bob = member(&cluster, &mut a, "bob");
    let got = bob.ok(&["download_file lab src/large.bin downloads/one.bin"]);
    assert_eq!(got["files"], 1);
    assert!(fs::read(bob.downloads().join("one.bin")).unwrap() == fs::read(root.join("large.bin")).unwrap());
    bob.refused("download_file lab src/large.bin downloads/one.bin", "destination_exists");
    bob.refused("download_file lab src/nothing/in downloads", "invalid_argument");
    bob.refused("download_file lab src downloads --only '*.exe'", "invalid_argument");
    bob.ok(&["download_file lab src downloads --only '*.txt' --only run"]);
    let to = bob.downloads().join("src");
    assert_eq!(fs::read(to.join(".hidden/Grüße/データ.txt")).unwrap(), "wörds".as_bytes());
    assert_eq!(fs::metadata(to.join("run")).unwrap().permissions().mode() & 0o111, 0o111);
    assert_eq!(fs::read_dir(&to).unwrap().count(), 2);
    let got = bob.ok(&["download_file lab src downloads --except large.bin"]);
    assert!(got["reused"].is_u64(), "{got}");
    assert!(!to.join("large.bin").exists());
    let got = bob.ok(&["download_file lab src downloads"]);
    let fetched: u64 = got["peers"].as_array().unwrap().iter().map(|p| p["bytes"].as_u64().unwrap()).sum();
    assert!(fetched < (5 << 20) + (1 << 20), "only what was missing: {got}");
    assert_eq!(folder_digest(&to), folder_digest(&root));
    assert!(a.stop());
}

#[test]
fn a_new_version_takes_the_place_of_the_old_one_and_only_changes_are_fetched() {
    let cluster = Cluster::start(2);
    let (_alice, mut a, root) = sharing(&cluster);
    a.ok("upload_file src lab");
    let bob = member(&cluster, &mut a, "bob");
    bob.ok(&["download_file lab src downloads"]);
    put(&root, "run", b"#!/bin/sh\necho new\n");
    put(&root, "0/0/brand new.txt", b"new");
    a.refused("upload_file src lab", "file_exists");
    let again = a.ok("upload_file src lab --replace");
    assert_eq!(again["replaced"], true);
    let files = bob.ok(&["list_files lab"]);
    assert_eq!((files["files"].as_array().unwrap().len(), &files["files"][0]["file_id"]), (1, &again["file_id"]));

    put(&bob.downloads().join("src"), "mine.txt", b"notes");
    bob.refused("download_file lab src downloads", "destination_exists");
    let got = bob.ok(&["download_file lab src downloads --force"]);
    let fetched: u64 = got["peers"].as_array().unwrap().iter().map(|p| p["bytes"].as_u64().unwrap()).sum();
    assert!(fetched <= 2 << 20 && got["reused"].as_u64().unwrap() > 5 << 20, "{got}");
    let to = bob.downloads().join("src");
    assert_eq!(fs::read(to.join("mine.txt")).unwrap(), b"notes");
    fs::remove_file(to.join("mine.txt")).unwrap();
    assert_eq!(folder_digest(&to), folder_digest(&root));
    // Nobody else may.
    put(&to, "run", b"#!/bin/sh\necho mine\n");
    bob.refused(&format!("upload_file {} lab --replace", to.display()), "not_admin");
    assert!(a.stop());
}

#[test]
fn a_file_of_a_shared_folder_that_changes_is_named_by_the_share() {
    let cluster = Cluster::start(1);
    let (_alice, mut a, root) = sharing(&cluster);
    a.ok("upload_file src lab");
    put(&root, ".hidden/Grüße/データ.txt", b"other");
    let deadline = Instant::now() + PATIENCE;
    loop {
        let shares = a.ok("list_shares");
        let reason = shares["shares"][0]["reason"].as_str().unwrap_or_default().to_owned();
        if reason.contains(".hidden/Grüße/データ.txt") && reason.contains("--replace") {
            break;
        }
        assert!(Instant::now() < deadline, "{shares}");
        // The client looks now and then.
        std::thread::sleep(Duration::from_millis(100));
    }
    let bob = member(&cluster, &mut a, "bob");
    bob.ok(&["download_file lab src downloads --only large.bin"]);
    assert!(fs::read(bob.downloads().join("src/large.bin")).unwrap() == fs::read(root.join("large.bin")).unwrap());
    assert!(a.stop());
}

/// The only share of this client, once it is as wanted: the client looks now and then.
fn share_that(live: &mut Live, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let shares = live.ok("list_shares");
        assert_eq!(shares["shares"].as_array().unwrap().len(), 1, "{shares}");
        let share = &shares["shares"][0];
        if is_it(share) {
            return share.clone();
        }
        assert!(Instant::now() < deadline, "{what}: {shares}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_folder_of_which_nothing_can_be_given_stays_in_the_list_and_comes_back() {
    let cluster = Cluster::start(1);
    let alice = cluster.user("alice");
    let root = alice.home().join("tiny");
    let paths = ["t1", "t2", "t3"];
    paths.iter().for_each(|path| put(&root, path, path.as_bytes()));
    let mut a = alice.live();
    a.ok("create_group lab");
    a.ok("upload_file tiny lab");
    let bob = member(&cluster, &mut a, "bob");
    let is = |state: &'static str| move |share: &Value| share["state"] == state;
    let seeders = |bob: &Client| bob.ok(&["list_files lab"])["files"][0]["seeders"].as_u64();

    // Away, asked for, and back.
    let elsewhere = alice.home().join("elsewhere");
    fs::rename(&root, &elsewhere).unwrap();
    let mut b = bob.live();
    let asked = b.send("download_file lab tiny downloads");
    let away = share_that(&mut a, "it is away", is("waiting"));
    assert!(away["reason"].as_str().unwrap().contains("tiny cannot be read ("), "{away}");
    a.process.kill();
    let mut a = alice.live();
    let away = share_that(&mut a, "it is away after a restart", is("waiting"));
    assert!(away["reason"].as_str().unwrap().contains("tiny cannot be read ("), "{away}");
    fs::rename(&elsewhere, &root).unwrap();
    share_that(&mut a, "it is back", is("seeding"));
    // The line gives up where nobody is there for long; the download itself goes on.
    let answer = b.result(asked, PATIENCE * 3).unwrap();
    assert!(answer["ok"] == true || answer["error"]["code"] == "no_seeders", "{answer}");
    let deadline = Instant::now() + PATIENCE;
    loop {
        let listed = b.ok("show_downloads");
        if listed["downloads"][0]["state"] == "complete" {
            break;
        }
        assert!(Instant::now() < deadline, "it never goes on: {listed}");
        // Nobody tells when one that no line waits for has ended.
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(folder_digest(&bob.downloads().join("tiny")), folder_digest(&root));
    b.ok("stop_share lab tiny");
    assert!(b.stop());

    // All of it lies in one piece.
    put(&root, "t2", b"edited");
    let changed = share_that(&mut a, "it has changed", is("changed"));
    assert_eq!(changed["changed"], serde_json::json!(["t2"]), "{changed}");
    let reason = changed["reason"].as_str().unwrap();
    assert!(reason.starts_with("`t2` was modified") && reason.contains("`upload_file --replace`"), "{changed}");
    a.process.kill();
    let mut a = alice.live();
    let again = share_that(&mut a, "the same after a restart", is("changed"));
    assert_eq!((&again["changed"], &again["reason"]), (&changed["changed"], &changed["reason"]));
    assert_eq!(a.ok("info lab tiny")["here"], false);
    // The edited file is not overwritten for want of a question.
    a.refused("download_file lab tiny .", "destination_exists");
    assert_eq!(seeders(&bob), Some(0), "nobody is told that it is seeded");
    a.ok("upload_file tiny lab --replace");
    let now = share_that(&mut a, "what is there now is shared", is("seeding"));
    assert_eq!((&now["changed"], seeders(&bob)), (&Value::Null, Some(1)), "{now}");
    bob.ok(&["download_file lab tiny downloads/again"]);
    assert_eq!(folder_digest(&bob.downloads().join("again")), folder_digest(&root));
    fs::rename(&root, &elsewhere).unwrap();
    share_that(&mut a, "it is away again", is("waiting"));
    let said = a.refused("verify lab tiny", "io");
    assert!(said.ends_with("put it back, or end the share with `stop_share lab tiny`"), "{said}");
    a.ok("stop_share lab tiny");
    assert_eq!(a.ok("list_shares")["shares"], serde_json::json!([]));
    assert!(a.stop());
}

/// What a search finds, once it finds anything: the index follows what is shared.
fn hits(live: &mut Live, words: &str) -> Vec<Value> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = live.ok(&format!("search {words}"));
        let hits = found["hits"].as_array().unwrap().clone();
        if !hits.is_empty() || Instant::now() > deadline {
            return hits;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A new version of the folder `src`, with the file `new`, from Alice to Bob; and all that can be asked about it.
fn a_new_version_arrives(a: &mut Live, bob: &Client, root: &Path, new: &str) {
    put(root, &format!("news/{new}"), new.as_bytes());
    let up = a.ok("upload_file src lab --replace");
    assert_eq!((&up["replaced"], &up["kind"]), (&true.into(), &"folder".into()), "{up}");
    let (id, entries) = (&up["file_id"], &up["entries"]);
    let link = up["link"].as_str().unwrap();

    let mut b = bob.live();
    let files = b.ok("list_files lab");
    assert_eq!((&files["total"], &files["files"][0]["file_id"]), (&1.into(), id), "{files}");
    let found = hits(&mut b, new);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((&found[0]["file_id"], &found[0]["path"]), (id, &format!("news/{new}").into()));
    let info = b.ok("info lab src");
    assert_eq!((&info["file_id"], &info["entries"], &info["here"]), (id, entries, &false.into()), "{info}");
    let seeders = info["seeders"].as_array().unwrap();
    assert!(seeders.iter().any(|s| s["user"] == "alice" && s["complete"] == true), "{info}");

    let tree = b.ok("list_files lab src --sort size --rows 1");
    assert_eq!((&tree["entries"], &tree["total"]), (entries, entries), "{tree}");
    assert_eq!(tree["files"].as_array().unwrap().len(), 1, "{tree}");
    assert_eq!(tree["files"][0]["path"], "large.bin");
    let part = b.ok(&format!("list_files {link}/news --match {new}"));
    assert_eq!((&part["total"], &part["files"][0]["path"]), (&1.into(), &format!("news/{new}").into()), "{part}");

    b.ok(&format!("download_file {link}/news/{new} downloads"));
    assert_eq!(fs::read(bob.downloads().join(new)).unwrap(), new.as_bytes());
    b.ok("download_file lab src downloads --force");
    assert_eq!(folder_digest(&bob.downloads().join("src")), folder_digest(root));
    assert_eq!(b.ok("verify lab src")["file_id"], *id);
    assert_eq!(a.ok("verify lab src")["file_id"], *id);
    assert!(b.stop());
}

#[test]
fn folders_are_shared_found_fetched_and_replaced_with_either_tracker_dead() {
    let mut cluster = Cluster::start(2);
    let (_alice, mut a, root) = sharing(&cluster);
    a.ok("upload_file src lab");
    let bob = member(&cluster, &mut a, "bob");
    until_level(&cluster, &bob, PATIENCE * 3);
    for dead in [1, 2] {
        cluster.kill_tracker(dead);
        a_new_version_arrives(&mut a, &bob, &root, &format!("without{dead}.txt"));
        cluster.start_tracker(dead);
        until_level(&cluster, &bob, PATIENCE * 3);
    }
    // In the end both know the same version.
    let listed = [1, 2].map(|number| bob.with_info(&cluster.info_of(number)).ok(&["list_files lab"]));
    assert_eq!(listed[0]["files"][0]["file_id"], listed[1]["files"][0]["file_id"]);
    assert_eq!([&listed[0]["total"], &listed[1]["total"]], [1, 1]);
    assert!(a.stop());
}

#[test]
fn verify_names_the_files_of_a_folder_that_are_others() {
    let cluster = Cluster::start(1);
    let (_alice, mut a, root) = sharing(&cluster);
    a.ok("upload_file src lab");
    let path = ".hidden/Grüße/データ.txt";
    put(&root, path, b"other");
    let said = a.refused("verify lab src", "integrity");
    assert!(
        said.starts_with(&format!("`{path}` of `src` at ")) && said.contains("go on being seeded from here"),
        "{said}"
    );
    let shares = a.ok("list_shares");
    assert_eq!(shares["shares"][0]["changed"], serde_json::json!([path]), "{shares}");
    let bob = member(&cluster, &mut a, "bob");
    bob.ok(&["download_file lab src downloads --only large.bin"]);
    bob.refused("list_files lab src --sort seeders", "invalid_argument");
    assert!(a.stop());
}

/// A small file system of its own, gone at the end. Needs root.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: PathBuf, bytes: u64) -> Option<Self> {
        fs::create_dir_all(&at).ok()?;
        let size = format!("size={bytes}");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&at).status();
        mounted.is_ok_and(|s| s.success()).then_some(Self(at))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_disk_too_small_for_a_folder_is_known_at_once_and_one_that_fills_up_pauses_it() {
    let cluster = Cluster::start(1);
    let (_alice, mut a, root) = sharing(&cluster);
    a.ok("upload_file src lab");
    let bob = member(&cluster, &mut a, "bob");
    let Some(small) = SmallDisk::mount(bob.home().join("small"), 4 << 20) else {
        eprintln!("skipped: cannot mount a tmpfs");
        return;
    };
    bob.refused("download_file lab src small", "disk_full");
    assert_eq!(fs::read_dir(&small.0).unwrap().count(), 0, "nothing is left");
    drop(small);
    let small = SmallDisk::mount(bob.home().join("small"), 24 << 20).unwrap();
    let mut b = bob.live_with(&["--limit-down", "4M"]);
    let asked = b.send("download_file lab src small");
    let ballast = small.0.join("ballast");
    let deadline = Instant::now() + PATIENCE;
    while fs::read_dir(&small.0).unwrap().count() == 0 {
        assert!(Instant::now() < deadline, "it does not begin");
        std::thread::sleep(Duration::from_millis(5));
    }
    fs::write(&ballast, vec![0; 32 << 20]).expect_err("more than there is room for");
    let result = b.result(asked, PATIENCE * 3).unwrap();
    assert_eq!(result["error"]["code"], "disk_full", "{result}");
    fs::remove_file(ballast).unwrap();
    let deadline = Instant::now() + PATIENCE * 3;
    while b.ok("show_downloads")["downloads"][0]["state"] != "complete" {
        assert!(Instant::now() < deadline, "it goes on by itself: {}", b.ok("show_downloads"));
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(folder_digest(&small.0.join("src")), folder_digest(&root));
    assert!(a.stop() && b.stop());
}
