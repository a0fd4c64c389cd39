//! What is done on the page: files dropped in, folders, new versions, invitations.

use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use harness::{Answer, Cluster, Live, PATIENCE, Page, Process, binary};

use crate::{WEB, alice};

/// One file as a browser sends it.
fn multipart(name: &str, content: &[u8]) -> Vec<u8> {
    multipart_with(&[], name, content)
}

/// The same, after fields of the form.
fn multipart_with(fields: &[(&str, &str)], name: &str, content: &[u8]) -> Vec<u8> {
    let field = |(field, value): &(&str, &str)| {
        format!("--cut\r\nContent-Disposition: form-data; name=\"{field}\"\r\n\r\n{value}\r\n")
    };
    let fields: String = fields.iter().map(field).collect();
    let head = format!(
        "--cut\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\nContent-Type: text/plain\r\n\r\n"
    );
    [fields.as_bytes(), head.as_bytes(), content, b"\r\n--cut--\r\n"].concat()
}

/// Sends such a form to `lab`.
fn upload(page: &Page, cookie: &str, body: &[u8]) -> Answer {
    let length = body.len().to_string();
    let headers = [
        ("Host", page.host.as_str()),
        ("Cookie", cookie),
        ("Sec-Fetch-Site", "same-origin"),
        ("Content-Type", "multipart/form-data; boundary=cut"),
        ("Content-Length", &length),
    ];
    page.raw("POST /groups/lab/upload", &headers, body)
}

fn upload_head(page: &Page, cookie: &str, group: &str, length: u64) -> String {
    format!(
        "POST /groups/{group}/upload HTTP/1.1\r\nHost: {}\r\nCookie: {cookie}\r\nSec-Fetch-Site: same-origin\r\n\
         Content-Type: multipart/form-data; boundary=cut\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n",
        page.host
    )
}

#[test]
fn a_copy_from_the_browser_goes_when_it_is_no_longer_shared_and_nothing_else_does() {
    let cluster = Cluster::start(1);
    let (alice, mut live, page, cookie) = alice(&cluster);
    live.ok("create_group other");
    let shared = alice.home().join("data/shared/lab");
    for name in ["a.txt", "b.txt", "c.txt"] {
        assert_eq!(upload(&page, &cookie, &multipart(name, name.as_bytes())).status, 200, "{name}");
    }
    // Put there by hand, and shared by its path.
    std::fs::write(shared.join("own.txt"), "own").unwrap();
    live.ok("upload_file data/shared/lab/own.txt lab");
    // Shared a second time, in another group.
    live.ok("upload_file data/shared/lab/b.txt other");
    let stopped = live.ok("stop_share lab a.txt");
    assert_eq!(stopped["removed"], shared.join("a.txt").to_str().unwrap());
    assert!(!shared.join("a.txt").exists());
    assert!(live.ok("stop_share lab own.txt")["removed"].is_null() && shared.join("own.txt").exists());
    assert!(live.ok("stop_share lab b.txt")["removed"].is_null() && shared.join("b.txt").exists());
    assert!(live.ok("stop_share other b.txt")["removed"].is_string() && !shared.join("b.txt").exists());
    // After a restart, too, and by the page.
    drop(live);
    let mut live = alice.live_with(&[WEB]);
    live.ok("whoami");
    let page = Page::of(&live);
    let (cookie, _) = page.sign_in();
    page.until("/groups/lab", &cookie, "The copy that was made of it here is removed.");
    assert_eq!(page.post("/run/stop_share", &cookie, "group=lab&file_name=c.txt").status, 200);
    assert_eq!(files_in(&shared), ["own.txt"]);
}

fn files_in(dir: &Path) -> Vec<String> {
    let all = std::fs::read_dir(dir).into_iter().flatten().flatten();
    all.map(|e| e.file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn a_file_that_is_broken_off_or_too_large_for_the_disk_leaves_nothing() {
    let cluster = Cluster::start(1);
    let (alice, mut live, page, cookie) = alice(&cluster);
    let shared = alice.home().join("data/shared/lab");
    // Broken off in the middle.
    let body = multipart("half.txt", &[b'x'; 100_000]);
    let mut stream = TcpStream::connect(&page.host).unwrap();
    stream.write_all(upload_head(&page, &cookie, "lab", body.len() as u64).as_bytes()).unwrap();
    stream.write_all(&body[..60_000]).unwrap();
    let begun = Instant::now();
    while files_in(&shared).is_empty() {
        assert!(begun.elapsed() < PATIENCE, "it never arrives");
        std::thread::sleep(Duration::from_millis(5));
    }
    drop(stream);
    while !files_in(&shared).is_empty() {
        assert!(begun.elapsed() < PATIENCE, "{:?}", files_in(&shared));
        std::thread::sleep(Duration::from_millis(5));
    }
    // More than any disk has.
    let huge = (1u64 << 60).to_string();
    let headers = [
        ("Host", page.host.as_str()),
        ("Cookie", &cookie),
        ("Sec-Fetch-Site", "same-origin"),
        ("Content-Type", "multipart/form-data; boundary=cut"),
        ("Content-Length", &huge),
    ];
    let answer = page.raw("POST /groups/lab/upload", &headers, &multipart("huge.bin", &[b'x'; 1000]));
    assert!(answer.status == 422 && answer.body.contains("disk is full"), "{answer:?}");
    assert!(files_in(&shared).is_empty());
    // A name that would lead elsewhere is only its last part; where that is no name, it is refused.
    for (sent, status) in [("../../../evil.txt", 200), ("..", 422), ("", 422)] {
        let body = multipart(sent, b"content");
        let length = body.len().to_string();
        let headers = [headers[0], headers[1], headers[2], headers[3], ("Content-Length", &length)];
        assert_eq!(page.raw("POST /groups/lab/upload", &headers, &body).status, status, "{sent}");
    }
    assert_eq!(files_in(&shared), ["evil.txt"]);
    assert!(!alice.home().join("evil.txt").exists() && !alice.home().join("data/evil.txt").exists());
    let files = live.ok("list_files lab");
    assert_eq!((files["files"].as_array().unwrap().len(), files["files"][0]["size"].as_u64()), (1, Some(7)));
}

#[test]
fn an_invitation_is_made_on_one_page_and_taken_up_on_another() {
    let cluster = Cluster::start(1);
    let (_, mut live, page, cookie) = alice(&cluster);
    assert!(page.get("/groups/lab", &cookie).body.contains("Make an invitation"));
    let made = page.post("/run/invite", &cookie, "group=lab&uses=3&expires=1d");
    assert_eq!(made.status, 200, "{}", made.body);
    let (_, line) = made.body.split_once("data-copy=\"").expect("a button that copies");
    let line = line.split('"').next().unwrap().replace("&#58;", ":");
    assert!(line.starts_with("shoal-invite:"), "{line}");
    page.until("/groups/lab", &cookie, "0 of 3 used");
    let shown = page.get("/groups/lab", &cookie).body;
    assert!(!shown.contains(line.trim_start_matches("shoal-invite:")), "it is shown once");
    // Bob has no account, and nothing but the page of a client.
    let bob = cluster.client("bob");
    let theirs = bob.live_with(&[WEB]);
    let there = Page::of(&theirs);
    let (cookie_there, _) = there.sign_in();
    there.until("/", &cookie_there, "I have an invitation");
    let form = format!("user=bob&password=bobs-password&again=bobs-password&invite={line}");
    let joined = there.post("/account/create", &cookie_there, &form);
    assert!(joined.head.contains("hx-redirect: /groups/lab"), "{} {}", joined.head, joined.body);
    page.until("/groups/lab", &cookie, "1 of 3 used");
    assert_eq!(page.post("/run/revoke_invite", &cookie, "group=lab&n=1").status, 200);
    page.until("/groups/lab", &cookie, "There are none.");
    let carol = cluster.user("carol");
    let mut hers = carol.live_with(&[WEB]);
    let late = Page::of(&hers);
    let (cookie_late, _) = late.sign_in();
    let refused = late.post("/run/accept_invite", &cookie_late, &format!("line={line}"));
    assert!(refused.status == 422 && refused.body.contains("was revoked; ask alice for another"), "{}", refused.body);
    let said = hers.refused(&format!("accept_invite {line}"), "no_such_invite");
    assert_eq!(said, "the invitation to `lab` by alice was revoked; ask alice for another");
    assert_eq!(live.ok("list_members lab")["members"].as_array().unwrap().len(), 2);
}

/// The page of a client that was started with an invitation, in a directory that has nothing.
fn invited(cluster: &Cluster, name: &str, line: &str) -> (Process, Page, String) {
    let dir = cluster.dir().join(name);
    std::fs::create_dir(&dir).unwrap();
    let mut command = Command::new(binary("client"));
    command.current_dir(dir).args(["127.0.0.1:0", "--invite", line, "--stay", WEB]);
    let mut process = Process::start(&mut command);
    process.end_input();
    let link = process.stderr.wait_for(PATIENCE, |line| line.split_once("http://").map(|(_, link)| link.to_owned()));
    let page = Page::at(&link.unwrap_or_else(|| panic!("no link: {}", process.stderr.text())));
    let (cookie, _) = page.sign_in();
    (process, page, cookie)
}

#[test]
fn beside_an_invitation_that_is_filled_in_stands_what_it_is_for_or_why_it_is_over() {
    let mut cluster = Cluster::start(1);
    let (_, mut live, ..) = alice(&cluster);
    let line = live.ok("invite lab --uses 3")["invite"].as_str().unwrap().to_owned();
    let (_bobs, page, cookie) = invited(&cluster, "bobs", &line);
    page.until("/", &cookie, "This is an invitation to lab by alice (3 uses left, until 20");
    page.until("/", &cookie, "You are invited to lab by alice: choose a name");

    live.ok("revoke_invite lab 1");
    let (_carols, page, cookie) = invited(&cluster, "carols", &line);
    page.until("/", &cookie, "No longer good: the invitation to lab by alice was revoked; ask alice for another.");
    assert!(!page.get("/", &cookie).body.contains("You are invited"));

    // A tracker that says nothing holds nothing up: neither a client that has met it, and waits for its answer, nor one that has not.
    let (_daves, met, cookie_met) = invited(&cluster, "daves", &line);
    met.until("/health", &cookie_met, "in use");
    cluster.tracker(1).process.signal("STOP");
    let begin = |page: &Page, cookie: &str| {
        let begun = Instant::now();
        let shown = page.get("/", cookie).body;
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        assert!(shown.contains("You are invited: choose a name") && shown.contains("I have an invitation"), "{shown}");
        begun.elapsed()
    };
    let waited = begin(&met, &cookie_met);
    // Until it gives the tracker up.
    let waits = met.get("/health", &cookie_met).body.contains("in use");
    assert!(!waits || waited > Duration::from_millis(500), "it does not wait for an answer: {waited:?}");
    let (_erins, page, cookie) = invited(&cluster, "erins", &line);
    begin(&page, &cookie);
    cluster.tracker(1).process.signal("CONT");
    met.until("/", &cookie_met, "No longer good");
    page.until("/", &cookie, "No longer good");
}

/// Waits until something is so.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Text for a form, percent-encoded.
fn encoded(text: &str) -> String {
    text.bytes()
        .map(|b| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") })
        .collect()
}

fn put(path: &Path, content: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

/// All files below a directory with what is in them, by their paths.
fn tree(root: &Path) -> Vec<(String, String)> {
    let mut files = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(root).unwrap().display().to_string();
                files.push((name, std::fs::read_to_string(&path).unwrap_or_default()));
            }
        }
    }
    files.sort();
    files
}

#[test]
fn of_a_folder_some_comes_then_more_then_a_new_version_in_its_place() {
    let cluster = Cluster::start(1);
    let (alice, mut live, page, cookie) = alice(&cluster);
    let root = alice.home().join("src");
    for (path, content) in
        [("a.md", "a"), ("b c.rs", "b"), ("deep [1]/d.rs", "d"), ("deep [1]/e.md", "e"), ("deep 1/f", "f")]
    {
        put(&root.join(path), content);
    }
    let share = format!("group=lab&name=source&path={}", encoded(&root.display().to_string()));
    assert_eq!(page.post("/run/upload_file", &cookie, &share).status, 200);
    page.until("/groups/lab", &cookie, "folder of 5");
    let bob = cluster.user("bob");
    let mut bobs = bob.live_with(&[WEB]);
    bobs.ok("join_group lab");
    live.ok("accept_request lab bob");
    let there = Page::of(&bobs);
    let (cookie_there, _) = there.sign_in();
    let mut begun = 0;
    let mut fetch = |to: &Path, more: &str| {
        let to = encoded(&to.display().to_string());
        let form = format!("group=lab&file_name=source&destination={to}{more}");
        let answer = there.post("/run/download_file", &cookie_there, &form);
        begun += usize::from(answer.status == 200);
        until("all downloads are complete", || {
            let listed = bobs.ok("show_downloads");
            let rows = listed["downloads"].as_array().unwrap();
            rows.iter().filter(|row| row["state"] == "complete").count() == begun
        });
        answer
    };
    let to = bob.downloads();
    let names = || tree(&to.join("source")).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    assert_eq!(fetch(&to, "&only=*.md&except=%2Fa.md++nothing&strategy=sequential").status, 200);
    assert_eq!(names(), ["deep [1]/e.md"]);
    // A folder of it, by what it is called; and two patterns, the second for a name with a blank. They come to what is there.
    assert_eq!(fetch(&to, &format!("&under={}", encoded("deep [1]"))).status, 200);
    assert_eq!(names(), ["deep [1]/d.rs", "deep [1]/e.md"]);
    assert_eq!(fetch(&to, "&only=a.*%0D%0Ab%3Fc.rs").status, 200);
    assert_eq!(names(), ["a.md", "b c.rs", "deep [1]/d.rs", "deep [1]/e.md"]);
    let wrong = fetch(&to, "&only=%5Ba");
    assert!(wrong.status == 422 && wrong.body.contains("is not a pattern"), "{}", wrong.body);

    // A new version: the form says that there is one already, and how to do it all the same.
    put(&root.join("b c.rs"), "new");
    let taken = page.post("/run/upload_file", &cookie, &share);
    assert!(taken.status == 422 && taken.body.contains("<button name=\"replace\" value=\"true\">"), "{}", taken.body);
    assert_eq!(page.post("/run/upload_file", &cookie, &format!("{share}&replace=true")).status, 200);
    put(&to.join("source/mine"), "mine");
    let taken = fetch(&to, "");
    assert!(taken.status == 422 && taken.body.contains("<button name=\"force\" value=\"true\">"), "{}", taken.body);
    assert!(!taken.body.contains("--force"), "{}", taken.body);
    assert_eq!(fetch(&to, "&force=true").status, 200);
    let mut expected = tree(&root);
    expected.push(("mine".to_owned(), "mine".to_owned()));
    expected.sort();
    assert_eq!(tree(&to.join("source")), expected);
}

/// The fields of the forms for this command on a page, in which they are hidden.
fn forms(html: &str, command: &str) -> Vec<String> {
    let field = |input: &str| {
        let (name, rest) = input.split_once("\" value=\"")?;
        Some(format!("{name}={}", encoded(rest.split('"').next()?)))
    };
    let action = format!("action=\"/run/{command}\"");
    let forms = html.split(&action).skip(1);
    let form = |form: &str| {
        let form = form.split("</form>").next().unwrap_or_default();
        form.split("<input type=\"hidden\" name=\"").skip(1).filter_map(field).collect::<Vec<_>>().join("&")
    };
    forms.map(form).collect()
}

/// A folder has the bytes of the only file in it, and so its id.
#[test]
fn a_file_and_a_folder_that_holds_only_it_are_told_apart() {
    let cluster = Cluster::start(1);
    let (alice, mut live, hers, cookie_hers) = alice(&cluster);
    put(&alice.home().join("paper.pdf"), "paper");
    put(&alice.home().join("docs/deep/paper.pdf"), "paper");
    live.ok("upload_file paper.pdf lab");
    live.ok("upload_file docs lab");
    let bob = cluster.user("bob");
    let mut bobs = bob.live_with(&[WEB]);
    bobs.ok("join_group lab");
    live.ok("accept_request lab bob");
    let page = Page::of(&bobs);
    let (cookie, _) = page.sign_in();
    page.until("/groups/lab", &cookie, "folder of 1");
    let id = bobs.ok("info lab docs")["file_id"].as_str().unwrap().to_owned();
    assert_eq!(bobs.ok("info lab paper.pdf")["file_id"], id.as_str());

    let at = format!("/groups/lab/files/{id}");
    let (file, folder) = (format!("{at}?name=paper%2Epdf"), format!("{at}?name=docs"));
    let (level, deep) = (format!("{at}/in?name=docs"), format!("{at}/in?name=docs&amp;under=deep"));
    let links = |view: &str, links: &[&String]| {
        let shown = page.get(view, &cookie).body;
        links.iter().for_each(|link| assert!(shown.contains(&format!("href=\"{link}\"")), "{view}: {link}: {shown}"));
    };
    links("/groups/lab", &[&file, &folder]);
    links("/search?words=paper", &[&file, &folder, &deep]);
    links(&folder, &[&level]);
    links(&level, &[&folder, &deep]);
    let deep = deep.replace("&amp;", "&");
    links(&deep, &[&folder, &level]);
    assert!(!page.get(&file, &cookie).body.contains("<dt>Folder</dt>"));
    // Without a name, or with one that is not of the share: there is one folder, but two that might be meant.
    for name in ["", "?name=other"] {
        assert!(page.get(&format!("{at}/in{name}"), &cookie).body.contains("<bdi>docs</bdi>"), "{name}");
        assert!(page.get(&format!("{at}{name}"), &cookie).body.contains("have that id"), "{name}");
    }

    for (n, (view, expected)) in
        [(&level, "docs/deep/paper.pdf"), (&deep, "paper.pdf"), (&file, "paper.pdf"), (&folder, "docs/deep/paper.pdf")]
            .into_iter()
            .enumerate()
    {
        let to = bob.home().join(format!("to-{n}"));
        std::fs::create_dir(&to).unwrap();
        let found = forms(&page.get(view, &cookie).body, "download_file");
        assert_eq!(found.len(), 1, "{view}: {found:?}");
        let form = format!("{}&destination={}", found[0], encoded(&to.display().to_string()));
        let answer = page.post("/run/download_file", &cookie, &form);
        assert_eq!(answer.status, 200, "{form}: {}", answer.body);
        until(expected, || tree(&to) == [(expected.to_owned(), "paper".to_owned())]);
        until("it is complete", || {
            let listed = bobs.ok("show_downloads");
            listed["downloads"].as_array().unwrap().iter().all(|row| row["state"] == "complete")
        });
    }

    // Where both are shared from, they are told apart as well.
    for view in [&file, &folder] {
        let found = forms(&hers.get(view, &cookie_hers).body, "verify");
        let answer = hers.post("/run/verify", &cookie_hers, &found[0]);
        assert_eq!(answer.status, 200, "{found:?}: {}", answer.body);
    }
    let found = forms(&hers.get("/groups/lab", &cookie_hers).body, "stop_share");
    assert_eq!(found, ["group=lab&file_name=docs", "group=lab&file_name=paper%2Epdf"]);
    assert_eq!(hers.post("/run/stop_share", &cookie_hers, &found[0]).status, 200);
    hers.until("/groups/lab", &cookie_hers, "Download docs");
    assert!(hers.get("/groups/lab", &cookie_hers).body.contains("Stop sharing paper.pdf from this device"));

    // And so is another folder that has the same bytes under other names, of which this device shares only one.
    put(&alice.home().join("copies/other.pdf"), "paper");
    live.ok("upload_file copies lab");
    assert_eq!(live.ok("info lab copies")["file_id"], id.as_str());
    hers.until("/groups/lab", &cookie_hers, "Stop sharing copies from this device");
    let shown = hers.get("/groups/lab", &cookie_hers).body;
    assert!(shown.contains("Download docs") && !shown.contains("Stop sharing docs"), "{shown}");
    assert_eq!(forms(&shown, "stop_share"), ["group=lab&file_name=copies", "group=lab&file_name=paper%2Epdf"]);
    let here = |live: &mut Live, what: &str| live.ok(&format!("info lab {what}"))["here"] == true;
    assert!(here(&mut live, "copies") && here(&mut live, "paper.pdf") && !here(&mut live, "docs"));
    let listed = live.ok("list_files lab")["files"].clone();
    let listed: Vec<_> = listed.as_array().unwrap().iter().map(|f| (f["name"].as_str(), f["here"] == true)).collect();
    assert_eq!(listed, [(Some("copies"), true), (Some("docs"), false), (Some("paper.pdf"), true)]);
    // Only what is here is verified.
    let found = |view: &str| forms(&hers.get(view, &cookie_hers).body, "verify");
    assert!(found(&folder).is_empty(), "docs is not here");
    let found = found(&format!("{at}?name=copies"));
    assert_eq!(found, ["group=lab&file_name=copies"]);
    assert_eq!(hers.post("/run/verify", &cookie_hers, &found[0]).status, 200);
    assert_eq!(hers.post("/run/stop_share", &cookie_hers, &found[0]).status, 200);
    hers.until("/groups/lab", &cookie_hers, "Download copies");
    let shares = live.ok("list_shares")["shares"].clone();
    let names: Vec<_> = shares.as_array().unwrap().iter().map(|share| &share["name"]).collect();
    assert_eq!(names, ["paper.pdf"]);

    // The same file under another name is the same file.
    put(&bob.home().join("draft.pdf"), "paper");
    bobs.ok("upload_file draft.pdf lab");
    hers.until("/groups/lab", &cookie_hers, "Stop sharing draft.pdf from this device");
    let found = forms(&hers.get("/groups/lab", &cookie_hers).body, "stop_share");
    assert_eq!(found, ["group=lab&file_name=paper%2Epdf"; 2]);
    assert!(here(&mut live, "draft.pdf"));
}

#[test]
fn a_new_version_from_the_browser_takes_the_place_of_the_copy_before() {
    let cluster = Cluster::start(1);
    let (alice, mut live, page, cookie) = alice(&cluster);
    let shared = alice.home().join("data/shared/lab");
    let contents = || tree(&shared).into_iter().map(|(_, content)| content).collect::<Vec<_>>();
    assert_eq!(upload(&page, &cookie, &multipart("a.txt", b"first")).status, 200);
    let again = upload(&page, &cookie, &multipart("a.txt", b"second"));
    assert!(again.status == 422 && again.body.contains("as a new version"), "{}", again.body);
    for content in ["second", "third"] {
        let body = multipart_with(&[("name", ""), ("replace", "true")], "a.txt", content.as_bytes());
        assert_eq!(upload(&page, &cookie, &body).status, 200);
        let files = live.ok("list_files lab");
        let files = files["files"].as_array().unwrap();
        assert_eq!((files.len(), &files[0]["name"]), (1, &"a.txt".into()));
        assert_eq!(contents(), [content], "only the new copy is left");
    }
    // A copy that somebody has changed is theirs.
    let copy = std::fs::read_dir(&shared).unwrap().next().unwrap().unwrap().path();
    std::fs::write(&copy, "changed").unwrap();
    let body = multipart_with(&[("replace", "true")], "a.txt", b"fourth");
    assert_eq!(upload(&page, &cookie, &body).status, 200);
    assert_eq!(contents().len(), 2);
    // Under another name; and a field that is no name.
    let body = multipart_with(&[("name", " b.txt ")], "a.txt", b"other");
    assert_eq!(upload(&page, &cookie, &body).status, 200);
    assert!(live.ok("list_files lab").to_string().contains("b.txt"));
    let body = multipart_with(&[("name", &"x".repeat(5000))], "a.txt", b"other");
    assert_eq!(upload(&page, &cookie, &body).status, 422);
}

#[test]
fn names_are_filtered_by_patterns_and_all_that_is_set_or_over_is_listed() {
    let cluster = Cluster::start(1);
    let (alice, mut live, page, cookie) = alice(&cluster);
    for name in ["run-1.csv", "run-2.txt", "src/deep/er.csv", "src/one.txt"] {
        put(&alice.home().join(name), name);
    }
    for name in ["run-1.csv", "run-2.txt", "src"] {
        live.ok(&format!("upload_file {name} lab"));
    }
    page.until("/groups/lab", &cookie, "folder of 2");
    let filtered = page.get("/groups/lab?match=run-%5B0-9%5D.csv", &cookie).body;
    assert!(filtered.contains(">run-1.csv<") && !filtered.contains(">run-2.txt<"), "{filtered}");
    assert!(page.get("/groups/lab?match=RUN", &cookie).body.contains(">run-2.txt<"));
    // Whatever is here already, a download is offered, with what can be said of it.
    let id = live.ok("info lab src")["file_id"].as_str().unwrap().to_owned();
    let info = page.get(&format!("/groups/lab/files/{id}"), &cookie).body;
    for field in ["name=\"only\"", "name=\"except\"", "name=\"force\"", "name=\"strategy\"", "/run/verify"] {
        assert!(info.contains(field), "{field}: {info}");
    }
    let level = page.get(&format!("/groups/lab/files/{id}/in"), &cookie).body;
    assert!(level.contains("name=\"under\" value=\"deep\"") && level.contains(">one.txt<"), "{level}");
    let level = page.get(&format!("/groups/lab/files/{id}/in?match=*.csv"), &cookie).body;
    assert!(level.contains("2 are hidden by the filter"), "{level}");
    // What is set, and by what.
    live.ok("limit up 2M");
    page.until("/health", &cookie, "from settings.toml");
    assert!(page.get("/health", &cookie).body.contains("the default"));
    // The form holds the hours as well: sent with another rate, it keeps them.
    live.ok("limit up 1M --at 08:00-18:00");
    let health = page.get("/health", &cookie).body;
    for field in ["id=\"limit-up\" name=\"rate\" value=\"1M\"", "id=\"at-up\" name=\"at\" value=\"08:00-18:00\""] {
        assert!(health.contains(field), "{field}: {health}");
    }
    assert_eq!(page.post("/run/limit", &cookie, "direction=up&rate=3M&at=08:00-18:00").status, 200);
    let limits = live.ok("limit")["limits"].clone();
    assert_eq!((&limits[0]["rate"], &limits[0]["at"]), (&(3 << 20).into(), &"08:00-18:00".into()), "{limits}");
    assert_eq!((&limits[1]["rate"], &limits[1]["at"]), (&(2 << 20).into(), &serde_json::Value::Null), "{limits}");
    // One file of a folder is called by its path.
    live.ok("download_file lab src/deep/er.csv downloads");
    assert_eq!(live.ok("show_downloads")["downloads"][0]["within"], "deep/er.csv");
    page.until("/transfers", &cookie, ">src/deep/er.csv<");
    // Subscriptions of all groups.
    page.until("/transfers", &cookie, "Nothing comes by itself");
    live.ok("subscribe lab *.csv downloads");
    page.until("/transfers", &cookie, "*.csv");
    assert_eq!(page.post("/run/unsubscribe", &cookie, "n=1").status, 200);
    page.until("/transfers", &cookie, "Nothing comes by itself");
    // Invitations that are over.
    for line in ["invite lab", "revoke_invite lab 1"] {
        live.ok(line);
    }
    page.until("/groups/lab", &cookie, "revoked");
    assert!(page.get("/groups/lab", &cookie).body.contains("There are none."));
}
