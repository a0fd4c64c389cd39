//! The local interface, as a program of somebody else uses it: HTTP on the socket, nothing of ours in between.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use harness::{Client, Cluster, Live, PATIENCE, random_file};
use serde_json::{Value, json};

/// A client's socket.
struct Door(PathBuf);

/// A status and a body.
struct Answer(u16, String);

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.1).unwrap_or_else(|e| panic!("{e}: {}", self.1))
    }
}

impl Door {
    fn of(client: &Client) -> Self {
        Self(client.home().join("data/control.sock"))
    }

    fn open(&self, request: &str) -> BufReader<UnixStream> {
        let mut stream = UnixStream::connect(&self.0).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        BufReader::new(stream)
    }

    fn ask(&self, method: &str, path: &str, headers: &str, body: &str) -> Answer {
        let len = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len}\r\n{headers}\r\n{body}"
        );
        let mut text = String::new();
        self.open(&request).read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        Answer(head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    fn post(&self, command: &str, fields: &Value) -> Answer {
        self.ask("POST", &format!("/v1/{command}"), "", &fields.to_string())
    }

    fn ok(&self, command: &str, fields: &Value) -> Value {
        let Answer(status, body) = self.post(command, fields);
        assert_eq!(status, 200, "{command} {fields}: {body}");
        serde_json::from_str(&body).unwrap()
    }
}

/// Whether there is a curl; says so loudly if not.
#[expect(clippy::print_stderr, reason = "a test that cannot run says so")]
fn has_curl() -> bool {
    let has = Command::new("curl").arg("--version").output().is_ok();
    if !has {
        eprintln!("NOT TESTED: the local interface as curl uses it; there is no curl");
    }
    has
}

fn served(cluster: &Cluster) -> (Client, Live, Door) {
    let alice = cluster.user("alice");
    let mut live = alice.live();
    live.ok("whoami");
    let door = Door::of(&alice);
    (alice, live, door)
}

#[test]
fn what_is_no_call_is_refused_with_a_status_a_code_and_a_sentence() {
    let cluster = Cluster::start(1);
    let (_alice, mut live, door) = served(&cluster);
    let long = format!("{{\"group\":\"{}\"}}", "x".repeat(100 << 10));
    for (method, path, body, status, what) in [
        ("POST", "/v1/nonsense", "{}", 404, "no command `nonsense`"),
        ("POST", "/v1/exit", "", 404, "no command `exit`"),
        ("GET", "/v1/whoami", "", 405, "POST"),
        ("POST", "/v1/events", "", 405, "GET"),
        ("GET", "/", "", 404, "openapi.json"),
        ("POST", "/v2/whoami", "", 404, "openapi.json"),
        ("POST", "/v1/join_group", "nonsense", 400, "one JSON object"),
        ("POST", "/v1/join_group", "[]", 400, "one JSON object"),
        ("POST", "/v1/join_group", "{}", 400, "<group> is missing"),
        ("POST", "/v1/join_group", r#"{"group":7}"#, 400, "`group` has to be text"),
        ("POST", "/v1/join_group", r#"{"group":"lab","now":true}"#, 400, "no field `now`"),
        ("POST", "/v1/join_group", r#"{"group":"a/b"}"#, 400, "not a valid name"),
        ("POST", "/v1/join_group", r#"{"group":"nowhere"}"#, 404, "no group"),
        ("POST", "/v1/upload_file", r#"{"group":"lab","path":"x"}"#, 400, "absolute path"),
        ("POST", "/v1/login", r#"{"user":"alice","password":"wrong-password"}"#, 401, "wrong user or password"),
        ("POST", "/v1/join_group", &long, 413, "longer than"),
    ] {
        let answer = door.ask(method, path, "", body);
        let said = answer.json();
        let message = said["error"]["message"].as_str().unwrap();
        assert!(answer.0 == status && message.contains(what), "{method} {path} {body:.99}: {} {said}", answer.0);
        assert!(said["v"] == 1 && said["ok"] == false && said["error"]["code"].is_string(), "{said}");
        assert!(!message.contains("wrong-password") && !message.contains("nonsense\""), "{message}");
    }
    assert_eq!(door.ok("whoami", &json!({}))["data"]["user"], "alice");
    assert_eq!(live.ok("whoami")["user"], "alice");
}

#[test]
fn the_socket_is_private_and_another_user_is_turned_away() {
    let cluster = Cluster::start(1);
    let (alice, _live, door) = served(&cluster);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&door.0), mode(&alice.home().join("data"))), (0o600, 0o700));
    let as_nobody = ["--reuid", "65534", "--regid", "65534", "--clear-groups", "--"];
    let is_root = Command::new("setpriv").args(as_nobody).arg("true").output().is_ok_and(|out| out.status.success());
    if !is_root {
        eprintln!("NOT TESTED: another user at the control socket; that takes root and setpriv");
    }
    if !is_root || !has_curl() {
        return;
    }
    // Even where somebody has opened all doors to it.
    for dir in door.0.ancestors().skip(1).take_while(|dir| dir.starts_with(cluster.dir())) {
        std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    std::fs::set_permissions(&door.0, std::fs::Permissions::from_mode(0o666)).unwrap();
    let curl = |before: &[&str]| {
        let mut command = Command::new(before.first().unwrap_or(&"curl"));
        command.args(before.iter().skip(1)).args((!before.is_empty()).then_some("curl"));
        let out =
            command.args(["-s", "--unix-socket"]).arg(&door.0).args(["-X", "POST", "http://x/v1/whoami"]).output();
        String::from_utf8(out.unwrap().stdout).unwrap()
    };
    assert!(curl(&[]).contains("alice"));
    let nobody: Vec<_> = std::iter::once("setpriv").chain(as_nobody).collect();
    assert_eq!(curl(&nobody), "");
}

#[test]
fn events_begin_with_the_status_and_tell_what_other_faces_do() {
    let cluster = Cluster::start(1);
    let (alice, mut live, door) = served(&cluster);
    random_file(&alice.home().join("data.bin"), 1000).unwrap();
    let stream = door.open("GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n");
    let mut lines = stream.lines().map(|line| line.unwrap());
    let mut next = |wanted: &str| {
        lines.find(|line| line.strip_prefix("event: ").is_some_and(|name| name == wanted)).unwrap();
        let data = lines.next().unwrap();
        serde_json::from_str::<Value>(data.strip_prefix("data: ").unwrap()).unwrap()
    };
    assert_eq!(next("status")["user"], "alice");
    live.ok("create_group lab");
    live.ok("upload_file data.bin lab");
    assert_eq!(next("share"), json!({"group": "lab", "name": "data.bin", "seeded": true}));
    let bob = cluster.user("bob");
    bob.ok(&["join_group lab"]);
    let news = next("news");
    assert_eq!(
        (&news["event"], &news["group"], &news["user"]),
        (&json!("join_requested"), &json!("lab"), &json!("bob"))
    );
    assert!(news["text"].as_str().unwrap().contains("accept_request lab bob"));
    live.ok("logout");
    assert_eq!(next("status")["user"], Value::Null);
    live.ok("shutdown");
    assert!(lines.all(|line| !line.contains("error")), "it ends");
}

#[test]
fn a_download_is_answered_when_it_has_begun_or_when_it_is_there_or_with_its_progress() {
    let cluster = Cluster::start(1);
    let (alice, mut a, _door) = served(&cluster);
    random_file(&alice.home().join("data.bin"), 300_000).unwrap();
    a.ok("create_group lab");
    a.ok("upload_file data.bin lab");
    let bob = cluster.user("bob");
    bob.ok(&["join_group lab"]);
    a.ok("accept_request lab bob");
    let mut live = bob.live();
    live.ok("whoami");
    let door = Door::of(&bob);
    let fields = |to: &str| {
        json!({"group": "lab", "file_name": "data.bin", "destination": bob.downloads().join(to)}).to_string()
    };
    let begun = door.ask("POST", "/v1/download_file", "Prefer: respond-async\r\n", &fields("a"));
    assert_eq!(begun.json()["data"]["n"], 1, "{}", begun.1);
    let whole = door.ask("POST", "/v1/download_file", "", &fields("b"));
    assert_eq!(whole.json()["data"]["size"], 300_000, "{}", whole.1);
    let stream = door.ask("POST", "/v1/download_file", "Accept: text/event-stream\r\n", &fields("c"));
    let (progress, result) = stream.1.rsplit_once("event: result").unwrap();
    assert!(progress.contains("event: progress") && progress.contains(r#""what":"download""#), "{progress}");
    assert!(result.contains(r#""ok":true"#) && result.contains(r#""size":300000"#), "{result}");
}

#[test]
fn uploads_at_the_same_time_are_all_published_and_the_version_that_is_listed_is_seeded() {
    let cluster = Cluster::start(1);
    let (alice, mut a, door) = served(&cluster);
    a.ok("create_group lab");
    let door = &door;
    let at_once = |asked: &[Value]| {
        std::thread::scope(|scope| {
            let ask = |fields| scope.spawn(move || door.ok("upload_file", fields)["data"]["file_id"].clone());
            let asked: Vec<_> = asked.iter().map(ask).collect();
            asked.into_iter().map(|answer| answer.join().unwrap()).collect::<Vec<_>>()
        })
    };
    let root = alice.home();
    for n in 0..6 {
        random_file(&root.join(format!("{n}.bin")), 300_000).unwrap();
        std::fs::create_dir(root.join(format!("folder {n}"))).unwrap();
        random_file(&root.join(format!("folder {n}/a")), 1000).unwrap();
    }
    let names = (0..6).flat_map(|n| [format!("{n}.bin"), format!("folder {n}")]);
    let all: Vec<_> = names.map(|name| json!({"path": root.join(name), "group": "lab"})).collect();
    at_once(&all);
    assert_eq!(a.ok("list_files lab")["total"], 12);
    // Whoever is the last at the tracker is the last here.
    for _ in 0..10 {
        let version = |n| json!({"path": root.join(format!("{n}.bin")), "group": "lab", "name": "n", "replace": true});
        let ids = at_once(&[version(0), version(1), version(2), version(3)]);
        let listed = a.ok("list_files lab --match n");
        let shared = a.ok("list_shares");
        let of_name: Vec<_> = shared["shares"].as_array().unwrap().iter().filter(|s| s["name"] == "n").collect();
        assert!(ids.contains(&listed["files"][0]["file_id"]), "{listed}");
        assert!(of_name.len() == 1 && of_name[0]["file_id"] == listed["files"][0]["file_id"], "{listed} {shared}");
    }
}

/// What the description says is held against what a client answers: every command, once.
#[test]
fn every_command_answers_as_the_description_says() {
    let cluster = Cluster::start(1);
    let (alice, _a, door) = served(&cluster);
    let carol = cluster.user("carol");
    random_file(&alice.home().join("data.bin"), 1000).unwrap();
    let document = door.ask("GET", "/v1/openapi.json", "", "").json();
    let mut called = Vec::new();
    let mut call = |command: &str, fields: Value| {
        let operation = &document["paths"][format!("/v1/{command}")]["post"];
        let content = |of: &Value| of["content"]["application/json"]["schema"].clone();
        check(&fields, &content(&operation["requestBody"]), &format!("{command}: what is asked"));
        let answer = door.ok(command, &fields);
        check(&answer, &content(&operation["responses"]["200"]), &format!("{command}: what is answered"));
        called.push(command.to_owned());
        answer["data"].clone()
    };
    let path = |name: &str| alice.home().join(name).display().to_string();
    call("create_user", json!({"user": "dave", "password": "password-of-dave"}));
    call("login", json!({"user": "alice", "password": "password-of-alice"}));
    call("whoami", json!({}));
    call("create_group", json!({"group": "lab"}));
    carol.ok(&["join_group lab"]);
    call("list_requests", json!({"group": "lab"}));
    call("accept_request", json!({"group": "lab", "user": "carol"}));
    call("list_members", json!({"group": "lab"}));
    call("list_groups", json!({}));
    call("upload_file", json!({"path": path("data.bin"), "group": "lab", "piece_size": 65536, "name": "a.bin"}));
    call("list_files", json!({"group": "lab"}));
    call("list_files", json!({"group": "lab", "sort": "age", "match": "*.bin", "page": 1, "rows": "7"}));
    call("list_shares", json!({}));
    let inner = alice.home().join("src/in");
    std::fs::create_dir_all(&inner).unwrap();
    ["a", "b.rs"].iter().for_each(|name| std::fs::write(inner.join(name), name).unwrap());
    let folder = call("upload_file", json!({"path": path("src"), "group": "lab"}));
    let listed = call("list_files", json!({"link": folder["link"], "sort": "size", "rows": 1}));
    assert_eq!((&listed["total"], &listed["files"][0]["path"]), (&json!(2), &json!("in/b.rs")), "{listed}");
    call("info", json!({"link": folder["link"]}));
    let begun = Instant::now();
    // The index follows.
    while call("search", json!({"words": "a.b"}))["hits"][0]["name"] != "a.bin" {
        assert!(begun.elapsed() < PATIENCE, "never found");
    }
    let info = call("info", json!({"group": "lab", "file_name": "a.bin"}));
    assert_eq!(
        (&info["seeders"][0]["user"], &info["seeders"][0]["complete"]),
        (&json!("alice"), &json!(true)),
        "{info}"
    );
    call("verify", json!({"link": info["link"]}));
    let subscribed =
        call("subscribe", json!({"group": "lab", "glob": "*.none", "destination": path("inbox"), "existing": true}));
    assert_eq!((&subscribed["acts"], &subscribed["waiting"]), (&json!(true), &json!(0)), "{subscribed}");
    call("list_subscriptions", json!({}));
    call("unsubscribe", json!({"n": subscribed["n"]}));
    call(
        "download_file",
        json!({"group": "lab", "file_name": "a.bin", "destination": path("copy.bin"), "strategy": "random"}),
    );
    call("show_downloads", json!({}));
    call("news", json!({}));
    assert_ne!(call("news", json!({"all": true}))["since"], Value::Null);
    call("cancel_download", json!({"n": 1}));
    call("stop_share", json!({"group": "lab", "file_name": "a.bin"}));
    // Nobody seeds it: it waits.
    let waits = json!({"group": "lab", "file_name": "a.bin", "destination": path("waits.bin")}).to_string();
    let begun = door.ask("POST", "/v1/download_file", "Prefer: respond-async\r\n", &waits).json();
    let n = begun["data"]["n"].as_u64().unwrap_or_else(|| panic!("{begun}"));
    call("pause_download", json!({ "n": n }));
    call("show_downloads", json!({}));
    call("resume_download", json!({ "n": n }));
    let revoked = call("invite", json!({"group": "lab", "uses": 2, "expires": "7d"}));
    call("revoke_invite", json!({"group": "lab", "n": revoked["n"]}));
    let good = call("invite", json!({"group": "lab"}));
    call("list_invites", json!({"group": "lab"}));
    call("remove_member", json!({"group": "lab", "user": "carol"}));
    carol.ok(&["join_group lab"]);
    call("reject_request", json!({"group": "lab", "user": "carol"}));
    carol.ok(&["join_group lab"]);
    call("accept_request", json!({"group": "lab", "user": "carol"}));
    call("make_admin", json!({"group": "lab", "user": "carol"}));
    call("leave_group", json!({"group": "lab"}));
    assert_eq!(call("check_invite", json!({"line": good["invite"]}))["state"], "open");
    call("accept_invite", json!({"line": good["invite"]}));
    call("leave_group", json!({"group": "lab"}));
    call("join_group", json!({"group": "lab"}));
    call("limit", json!({"direction": "up", "rate": 10_000_000}));
    call("limit", json!({"direction": "down", "rate": "2M"}));
    call("limit", json!({"direction": "up", "rate": "off"}));
    call("limit", json!({"direction": "up", "rate": "1M", "at": ["08:00-18:00", "22:00-06:00"]}));
    call("limit", json!({}));
    call("set", json!({"name": "seeding_slots", "value": "4"}));
    call("show", json!({}));
    call("status", json!({}));
    let found = call("doctor", json!({}));
    assert!(found["findings"].as_array().unwrap().len() > 5, "{found}");
    call("help", json!({"command": "login"}));
    call("web", json!({}));
    call("quit", json!({}));
    let elsewhere = cluster.client("elsewhere");
    elsewhere.ok(&["login alice password-of-alice"]);
    let devices = call("list_devices", json!({}));
    let other = devices["devices"].as_array().unwrap().iter().find(|row| row["here"] == false).unwrap();
    call("end_login", json!({"device": other["device"]}));
    call("change_password", json!({"old": "password-of-alice", "new": "another-password"}));
    call("logout", json!({}));
    call("shutdown", json!({}));
    let described = document["paths"].as_object().unwrap().keys().filter_map(|path| path.strip_prefix("/v1/"));
    let missing: Vec<_> = described.filter(|name| *name != "events" && !called.iter().any(|c| c == name)).collect();
    assert!(missing.is_empty(), "never called: {missing:?}");
}

/// Holds a value against a schema, as far as the description uses JSON Schema.
fn check(value: &Value, schema: &Value, at: &str) {
    if let Some(all) = schema["oneOf"].as_array() {
        let fits =
            |one: &&Value| one["required"].as_array().unwrap().iter().all(|n| value.get(n.as_str().unwrap()).is_some());
        return check(value, all.iter().find(fits).unwrap_or_else(|| panic!("{at}: none fits {value}")), at);
    }
    if let Some(only) = schema.get("const") {
        return assert_eq!(value, only, "{at}");
    }
    let types = match &schema["type"] {
        Value::Array(all) => all.clone(),
        one => vec![one.clone()],
    };
    let is = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.is_u64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let fits = types.iter().any(|t| t == is || (t == "number" && is == "integer"));
    assert!(fits, "{at}: {value} is no {types:?}");
    if let Some(words) = schema["enum"].as_array() {
        assert!(words.contains(value), "{at}: {value} is none of {words:?}");
    }
    for item in value.as_array().into_iter().flatten() {
        check(item, &schema["items"], &format!("{at}, a row"));
    }
    let Some(fields) = value.as_object() else { return };
    for name in schema["required"].as_array().into_iter().flatten() {
        assert!(fields.contains_key(name.as_str().unwrap()), "{at}: {name} is missing in {value}");
    }
    for (name, value) in fields {
        let known = schema["properties"].get(name).unwrap_or_else(|| panic!("{at}: {name} is not described"));
        check(value, known, &format!("{at}, {name}"));
    }
}

/// The examples of docs/API.md, in the order of the page.
#[test]
fn the_examples_of_the_page_about_the_interface_work() {
    if !has_curl() {
        return;
    }
    let cluster = Cluster::start(1);
    let (alice, _live, _door) = served(&cluster);
    random_file(&alice.home().join("data.bin"), 1000).unwrap();
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/API.md")).unwrap();
    let examples: String = page.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    let out = Command::new("bash").current_dir(alice.home()).args(["-ec", &examples]).output().unwrap();
    let said = String::from_utf8(out.stdout).unwrap();
    assert!(out.status.success(), "{said}{}", String::from_utf8_lossy(&out.stderr));
    assert_eq!(said.matches(r#""ok":true"#).count(), 7, "{said}");
    assert!(said.contains("event: status"), "{said}");
}
