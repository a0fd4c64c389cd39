//! News, subscriptions and one-time codes, over real programs: what was missed with either tracker dead, what comes by itself
//! over restarts, and a password that was lost.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::time::{Duration, Instant};

use harness::{Client, Cluster, Live, PATIENCE, Terminal, random_file, until_level};
use portable_pty::CommandBuilder;
use serde_json::Value;

fn file(client: &Client, name: &str) -> String {
    let path = client.home().join(name);
    random_file(&path, 100_000).unwrap();
    path.display().to_string()
}

/// Texts of news, as a script gets them.
fn texts(news: &Value) -> Vec<String> {
    news["news"].as_array().unwrap().iter().map(|row| row["text"].as_str().unwrap().to_owned()).collect()
}

fn events(news: &Value) -> Vec<&str> {
    news["news"].as_array().unwrap().iter().map(|row| row["event"].as_str().unwrap()).collect()
}

/// Runs a line again and again until its data are as wanted.
fn until(live: &mut Live, line: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let data = live.ok(line);
        if wanted(&data) {
            return data;
        }
        assert!(Instant::now() < deadline, "{line}: {data}\n{}", live.process.stderr.text());
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Alice's group, with Bob in it.
fn lab(cluster: &Cluster) -> (Client, Client) {
    let (alice, bob) = (cluster.user("alice"), cluster.user("bob"));
    alice.ok(&["create_group lab"]);
    bob.ok(&["join_group lab"]);
    alice.ok(&["accept_request lab bob"]);
    (alice, bob)
}

#[test]
fn what_was_missed_is_told_once_by_either_tracker() {
    let mut cluster = Cluster::start(2);
    let (alice, bob) = lab(&cluster);
    let carol = cluster.user("carol");
    carol.ok(&["join_group lab"]);
    let mut seeds = alice.live();
    seeds.ok(&format!("upload_file {} lab --name one.bin", file(&alice, "one.bin")));
    assert_eq!(events(&alice.ok(&["news"])), ["join_requested"]);
    until_level(&cluster, &cluster.client("onlooker"), PATIENCE);
    for dead in [1, 2] {
        // What each tracker says alone.
        cluster.kill_tracker(dead);
        let told = bob.ok(&["news --all"]);
        assert_eq!(events(&told), ["accepted", "file_shared"], "without tracker {dead}");
        assert_eq!(told["news"][1]["name"], "one.bin");
        assert_eq!((&told["news"][1]["group"], &told["news"][1]["user"]), (&Value::from("lab"), &Value::from("alice")));
        cluster.start_tracker(dead);
        until_level(&cluster, &cluster.client("onlooker"), PATIENCE);
    }
    assert!(texts(&bob.ok(&["news"])).is_empty(), "shown before");
    // A tracker that is away says later what it alone knows: that is news then, though it is older than what was shown.
    cluster.kill_tracker(2);
    seeds.ok(&format!("upload_file {} lab --name older.bin", file(&alice, "older.bin")));
    cluster.kill_tracker(1);
    cluster.start_tracker(2);
    seeds.ok(&format!("upload_file {} lab --name newer.bin", file(&alice, "newer.bin")));
    let names =
        |told: &Value| told["news"].as_array().unwrap().iter().map(|row| row["name"].clone()).collect::<Vec<_>>();
    assert_eq!(names(&bob.ok(&["news"])), ["newer.bin"]);
    cluster.start_tracker(1);
    until_level(&cluster, &cluster.client("onlooker"), PATIENCE);
    assert_eq!(names(&bob.ok(&["news"])), ["older.bin"]);
    cluster.kill_tracker(2);
    seeds.ok(&format!("upload_file {} lab --name two.bin", file(&alice, "two.bin")));
    alice.ok(&["reject_request lab carol"]);
    assert_eq!(texts(&bob.ok(&["news"])).len(), 1);
    let carols = carol.ok(&["news"]);
    assert_eq!(events(&carols), ["rejected"]);
    alice.ok(&["remove_member lab bob"]);
    assert_eq!(events(&bob.ok(&["news"])), ["removed"]);
    assert_eq!(events(&bob.ok(&["news --all"])), ["removed"], "nothing else of a group that he is not in");
    assert!(seeds.stop());
}

#[test]
fn news_are_told_above_the_line_that_is_being_typed() {
    let cluster = Cluster::start(1);
    let (alice, bob) = lab(&cluster);
    let mut command = CommandBuilder::new(harness::binary("client"));
    command.cwd(bob.home());
    command.args(["127.0.0.1:0", &cluster.info().display().to_string(), "--data-dir", "data"]);
    command.env("TERM", "xterm-256color");
    let mut terminal = Terminal::open(command, 30, 120);
    // From then on what happens is told as it comes.
    terminal.until_text("1 piece of news: `news` shows them");
    terminal.until("a prompt", |t| t.line().trim_end() == "bob@shoal>");
    terminal.press("list_fi");
    terminal.until("what was typed", |t| t.line() == "bob@shoal> list_fi");
    let mut seeds = alice.live();
    seeds.ok(&format!("upload_file {} lab --name one.bin", file(&alice, "one.bin")));
    terminal.until_text("alice shared one.bin (97.7 KiB) in `lab`");
    seeds.ok(&format!("upload_file {} lab --name one.bin --replace", file(&alice, "one.bin")));
    terminal.until_text("alice has shared a new version of one.bin (97.7 KiB) in `lab`");
    let is_left_alone = |t: &Terminal| t.line() == "bob@shoal> list_fi";
    terminal.until("what is typed is left alone", is_left_alone);
    // Many at once are one line. Those that were shared before the tracker told may have one of their own.
    for n in 0..12 {
        seeds.send(&format!("upload_file {} lab", file(&alice, &format!("many{n}.bin"))));
    }
    terminal.until_text("new files in `lab`: `list_files lab --sort age` shows them");
    terminal.until("what is typed is left alone", is_left_alone);
    seeds.ok("make_admin lab bob");
    terminal.until_text("you are the admin of `lab` now");
    let carol = cluster.user("carol");
    carol.ok(&["join_group lab"]);
    terminal.until_text("carol asks to join `lab`");
    terminal.press("les lab\r");
    terminal.until_text("many11.bin");
    assert!(!terminal.text().contains("error"), "{}", terminal.text());
    // What was seen at the prompt is not told again, once that is noted.
    for text in ["you are a member of `lab` now", "nothing new since"] {
        terminal.until("a prompt", |t| t.line().trim_end() == "bob@shoal>");
        terminal.press("news\r");
        terminal.until_text(text);
    }
    terminal.press("quit\r");
    assert!(seeds.stop());
}

/// Over both trackers in turn: the one by which the older version came is dead when there is a new one.
#[test]
fn a_new_version_is_told_at_once_where_an_older_one_is_here_and_as_one_to_who_was_away() {
    let mut cluster = Cluster::start(2);
    let (alice, bob) = lab(&cluster);
    let carol = cluster.user("carol");
    carol.ok(&["join_group lab"]);
    let mut seeds = alice.live();
    seeds.ok("accept_request lab carol");
    let folder = alice.home().join("src");
    std::fs::create_dir(&folder).unwrap();
    for part in ["a.dat", "b.dat"] {
        random_file(&folder.join(part), 300_000).unwrap();
    }
    seeds.ok(&format!("upload_file {} lab", file(&alice, "results.bin")));
    seeds.ok(&format!("upload_file {} lab", folder.display()));
    assert_eq!(carol.ok(&["news"])["news"].as_array().unwrap().len(), 3);

    let mut stays = bob.live();
    let inbox = bob.home().join("inbox");
    std::fs::create_dir(&inbox).unwrap();
    stays.ok(&format!("download_file lab results.bin {}", inbox.display()));
    stays.ok(&format!("download_file lab src {} --only a.dat", inbox.display()));
    stays.ok("news");
    for (dead, name) in [(1, "results.bin"), (2, "src")] {
        cluster.kill_tracker(dead);
        let path = alice.home().join(name);
        let changed = if path.is_dir() { path.join("a.dat") } else { path.clone() };
        random_file(&changed, 200_000).unwrap();
        seeds.ok(&format!("upload_file {} lab --replace", path.display()));
        for (what, wanted) in [
            ("the news", r#""event":"file_shared","group":"lab","user":"alice","new_version":true"#.to_owned()),
            ("the older one", format!("`{name}` is no longer shared in `lab`: a newer version took its place")),
        ] {
            let said = stays.process.stderr.wait_for(PATIENCE, |line| line.contains(&wanted).then_some(()));
            assert!(said.is_some(), "{what} of {name}: {}", stays.process.stderr.text());
        }
        let told = stays.ok("news --all");
        let is_told = |row: &&Value| row["event"] == "file_shared" && row["name"] == name;
        let row = told["news"].as_array().unwrap().iter().find(is_told).unwrap();
        assert_eq!(row["new_version"], true, "{told}");
        // The line that it names; of the folder there is only a part here.
        let text = row["text"].as_str().unwrap();
        assert!(text.starts_with("alice has shared a new version of "), "{text}");
        let line = text.split('`').find(|part| part.starts_with("download_file")).unwrap();
        assert_eq!(line.contains("--only <glob>"), name == "src", "{line}");
        stays.ok(&line.replace("<glob>", "a.dat"));
        let had = inbox.join(changed.strip_prefix(alice.home()).unwrap());
        assert_eq!(std::fs::read(had).unwrap(), std::fs::read(&changed).unwrap());
        // She was away, and has no version of it.
        let missed = carol.ok(&["news"]);
        let rows = missed["news"].as_array().unwrap();
        assert_eq!(
            (rows.len(), &rows[0]["name"], &rows[0]["new_version"]),
            (1, &name.into(), &true.into()),
            "{missed}"
        );
        let text = rows[0]["text"].as_str().unwrap();
        assert!(text.starts_with("alice has shared a new version of ") && text.ends_with(" in `lab`"), "{text}");
        cluster.start_tracker(dead);
        until_level(&cluster, &cluster.client("onlooker"), PATIENCE);
    }
    let shares = stays.ok("list_shares");
    assert!(shares["shares"].as_array().unwrap().iter().all(|row| row["state"] == "seeding"), "{shares}");
    assert!(stays.stop() && seeds.stop());
}

#[test]
fn a_prompt_says_how_much_was_missed_and_a_script_does_not() {
    let cluster = Cluster::start(1);
    let (alice, bob) = lab(&cluster);
    let mut seeds = alice.live();
    seeds.ok(&format!("upload_file {} lab --name one.bin", file(&alice, "one.bin")));
    let script = bob.run(&["whoami"]);
    assert!(!script.stderr.contains("news"), "{}", script.stderr);
    let mut command = CommandBuilder::new(harness::binary("client"));
    command.cwd(bob.home());
    command.args(["127.0.0.1:0", &cluster.info().display().to_string(), "--data-dir", "data"]);
    let mut terminal = Terminal::open(command, 30, 120);
    terminal.until_text("2 pieces of news: `news` shows them");
    terminal.press("news\r");
    terminal.until_text("alice shared one.bin");
    terminal.until_text("you are a member of `lab` now");
    terminal.press("quit\r");
    assert!(seeds.stop());
}

#[test]
fn a_subscription_fetches_what_is_new_over_restarts_of_both_sides() {
    let mut cluster = Cluster::start(2);
    let (alice, bob) = lab(&cluster);
    let mut seeds = alice.live();
    let mut upload = |name: &str| seeds.ok(&format!("upload_file {} lab", file(&alice, name)));
    upload("before.bin");
    let inbox = bob.home().join("inbox");
    let made = bob.ok(&[&format!("subscribe lab '*.bin' {}", inbox.display())]);
    assert_eq!((&made["n"], &made["acts"], &made["waiting"]), (&Value::from(1), &Value::from(false), &Value::from(0)));
    upload("one.bin");
    upload("other.txt");
    let has = |name: &'static str| {
        let (there, wanted) = (inbox.join(name), alice.home().join(name));
        move || std::fs::read(&there).is_ok_and(|bytes| bytes == std::fs::read(&wanted).unwrap())
    };
    let fetched = |n: u64| move |data: &Value| data["subscriptions"][0]["fetched"] == n;
    let mut stays = bob.live();
    until(&mut stays, "list_subscriptions", fetched(1));
    assert!(has("one.bin")() && !inbox.join("before.bin").exists() && !inbox.join("other.txt").exists());
    // It hears of it at once, also by the tracker that is left.
    cluster.kill_tracker(1);
    upload("two.bin");
    until(&mut stays, "list_subscriptions", fetched(2));
    assert!(has("two.bin")());
    until(&mut stays, "news --all", |data| events(data).iter().filter(|event| **event == "downloaded").count() == 2);
    // While the client is away, and the tracker that knows of it alone, too.
    assert!(stays.stop());
    upload("three.bin");
    cluster.start_tracker(1);
    std::fs::write(inbox.join("four.bin"), "mine").unwrap();
    upload("four.bin");
    let mut stays = bob.live();
    until(&mut stays, "list_subscriptions", |data| data["subscriptions"][0]["waiting"] == 0 && fetched(3)(data));
    assert!(has("three.bin")());
    assert_eq!(std::fs::read_to_string(inbox.join("four.bin")).unwrap(), "mine", "nothing is replaced");
    let problem = stays.ok("list_subscriptions")["subscriptions"][0]["problem"].as_str().unwrap_or_default().to_owned();
    assert!(problem.is_empty() || problem.contains("exists already"), "{problem}");
    let news = stays.ok("news --all");
    assert!(events(&news).contains(&"subscription_problem"), "{news}");
    until(&mut stays, "news --all", |data| events(data).iter().filter(|event| **event == "downloaded").count() == 3);
    let rows = news["news"].as_array().unwrap();
    assert!(rows.iter().filter(|row| row["event"] == "downloaded").all(|row| row["group"] == "lab"), "{news}");
    let refused = stays.refused("unsubscribe 7", "invalid_argument");
    assert!(refused.contains("list_subscriptions"), "{refused}");
    // The end of the membership is the end of it.
    seeds.ok("remove_member lab bob");
    until(&mut stays, "list_subscriptions", |data| data["subscriptions"] == Value::Array(Vec::new()));
    until(&mut stays, "news --all", |data| events(data).contains(&"subscription_ended"));
    assert!(stays.stop() && seeds.stop());
}

#[test]
fn the_same_subscription_is_made_once() {
    let cluster = Cluster::start(1);
    let (_alice, bob) = lab(&cluster);
    bob.ok(&["subscribe lab '*.bin' inbox"]);
    let refused = bob.refused("subscribe lab '*.bin' ./inbox", "invalid_argument");
    assert!(refused.contains("`unsubscribe 1` ends it"), "{refused}");
    bob.ok(&["subscribe lab '*.tar' inbox"]);
}

#[test]
fn of_two_subscriptions_that_fit_one_share_the_second_counts_it_as_here() {
    let cluster = Cluster::start(1);
    let (alice, bob) = lab(&cluster);
    let (mut seeds, mut stays) = (alice.live(), bob.live());
    let (one, two) = (bob.home().join("one"), bob.home().join("two"));
    stays.ok(&format!("subscribe lab '*.bin' {}", one.display()));
    stays.ok(&format!("subscribe lab {}", two.display()));
    seeds.ok(&format!("upload_file {} lab", file(&alice, "a.bin")));
    let counts = |data: &Value, what: &str| -> Vec<u64> {
        data["subscriptions"].as_array().unwrap().iter().map(|row| row[what].as_u64().unwrap()).collect()
    };
    until(&mut stays, "list_subscriptions", |data| {
        counts(data, "fetched").iter().sum::<u64>() == 1 && counts(data, "here").iter().sum::<u64>() == 1
    });
    assert!(one.join("a.bin").exists() != two.join("a.bin").exists());
    assert!(stays.stop() && seeds.stop());
}

#[test]
fn what_nobody_has_who_is_there_holds_no_place_of_a_subscription_and_comes_when_somebody_does() {
    let cluster = Cluster::start(1);
    let (alice, bob) = lab(&cluster);
    let carol = cluster.user("carol");
    carol.ok(&["join_group lab"]);
    alice.ok(&["accept_request lab carol"]);
    let inbox = bob.home().join("inbox");
    bob.ok(&[&format!("subscribe lab {}", inbox.display())]);
    let mut gone = carol.live();
    for n in 0..8 {
        gone.ok(&format!("upload_file {} lab", file(&carol, &format!("gone{n}.bin"))));
    }
    assert!(gone.stop());
    let mut seeds = alice.live();
    seeds.ok(&format!("upload_file {} lab", file(&alice, "here.bin")));
    let mut stays = bob.live();
    let begun = Instant::now();
    until(&mut stays, "list_subscriptions", |data| data["subscriptions"][0]["fetched"] == 1);
    // Three at a time would take a minute, at twenty seconds each.
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert!(inbox.join("here.bin").exists());
    let listed = stays.ok("list_subscriptions");
    assert_eq!(listed["subscriptions"][0]["waiting"], 8, "{listed}");
    assert_eq!(stays.ok("show_downloads")["downloads"].as_array().unwrap().len(), 1);
    let back = carol.live();
    until(&mut stays, "list_subscriptions", |data| data["subscriptions"][0]["fetched"] == 9);
    assert!(back.stop() && stays.stop() && seeds.stop());
}

#[test]
fn a_subscription_takes_what_is_there_if_it_is_asked_to_and_ends_when_it_is_told() {
    let cluster = Cluster::start(1);
    let (alice, bob) = lab(&cluster);
    let mut seeds = alice.live();
    for name in ["a.bin", "b.bin", "c.txt"] {
        seeds.ok(&format!("upload_file {} lab", file(&alice, name)));
    }
    let folder = alice.home().join("folder");
    std::fs::create_dir(&folder).unwrap();
    random_file(&folder.join("inner.dat"), 5000).unwrap();
    seeds.ok(&format!("upload_file {} lab", folder.display()));
    let mut stays = bob.live();
    let inbox = bob.home().join("deep/inbox");
    stays.refused(&format!("subscribe lab {}", file(&bob, "a-file")), "invalid_argument");
    stays.refused(&format!("subscribe nowhere {}", inbox.display()), "no_such_group");
    let made = stays.ok(&format!("subscribe --existing lab {}", inbox.display()));
    assert_eq!((&made["acts"], &made["waiting"]), (&Value::from(true), &Value::from(4)));
    until(&mut stays, "list_subscriptions", |data| data["subscriptions"][0]["fetched"] == 4);
    for name in ["a.bin", "b.bin", "c.txt"] {
        assert_eq!(std::fs::read(inbox.join(name)).unwrap(), std::fs::read(alice.home().join(name)).unwrap());
    }
    assert_eq!(std::fs::metadata(inbox.join("folder/inner.dat")).unwrap().len(), 5000);
    assert_eq!(stays.ok("unsubscribe 1")["group"], "lab");
    assert_eq!(stays.ok("list_subscriptions")["subscriptions"], Value::Array(Vec::new()));
    seeds.ok(&format!("upload_file {} lab", file(&alice, "late.bin")));
    until(&mut stays, "news --all", |data| texts(data).iter().any(|text| text.contains("late.bin")));
    assert!(!inbox.join("late.bin").exists());
    assert!(stays.stop() && seeds.stop());
}

#[test]
fn a_subscription_that_is_there_is_told_to_take_what_was_there_before_it() {
    let cluster = Cluster::start(1);
    let (alice, bob) = lab(&cluster);
    let mut seeds = alice.live();
    for name in ["a.bin", "b.bin", "c.txt"] {
        seeds.ok(&format!("upload_file {} lab", file(&alice, name)));
    }
    let (mut stays, inbox) = (bob.live(), bob.home().join("inbox"));
    let line = format!("subscribe lab '*.bin' {}", inbox.display());
    let made = stays.ok(&line);
    assert_eq!((&made["waiting"], &made["extended"]), (&Value::from(0), &Value::Null), "{made}");
    let refused = stays.refused(&line, "invalid_argument");
    assert!(refused.contains("--existing"), "{refused}");
    stays.ok(&format!("download_file lab a.bin {}", bob.downloads().display()));
    let more = stays.ok(&format!("{line} --existing"));
    let told = (&more["n"], &more["waiting"], &more["here"], &more["extended"]);
    assert_eq!(told, (&made["n"], &Value::from(1), &Value::from(1), &Value::from(true)), "{more}");
    until(&mut stays, "list_subscriptions", |data| data["subscriptions"][0]["fetched"] == 1);
    assert_eq!(stays.ok("list_subscriptions")["subscriptions"][0]["here"], 1, "as it was told");
    assert!(inbox.join("b.bin").exists() && !inbox.join("a.bin").exists() && !inbox.join("c.txt").exists());
    assert_eq!(stays.ok("list_subscriptions")["subscriptions"].as_array().unwrap().len(), 1);
    let again = stays.ok(&format!("{line} --existing"));
    assert_eq!((&again["waiting"], &again["here"]), (&Value::from(0), &Value::from(1)), "{again}");
    let listed = stays.ok("list_subscriptions");
    let row = &listed["subscriptions"][0];
    assert_eq!((&row["fetched"], &row["here"]), (&Value::from(1), &Value::from(1)), "counted once: {row}");
    assert!(stays.stop() && seeds.stop());
}

#[test]
fn a_version_that_is_replaced_while_it_comes_is_not_counted_and_holds_nothing_up_with_one_tracker() {
    let mut cluster = Cluster::start(2);
    let (alice, bob) = lab(&cluster);
    until_level(&cluster, &cluster.client("onlooker"), PATIENCE);
    cluster.kill_tracker(1);
    let (mut seeds, mut stays, inbox) = (alice.live(), bob.live(), bob.home().join("inbox"));
    stays.ok(&format!("subscribe lab {}", inbox.display()));
    stays.ok("limit down 400K");
    let path = alice.home().join("z.bin");
    let mut share = |len| {
        random_file(&path, len).unwrap();
        seeds.ok(&format!("upload_file {} lab --replace", path.display()))["file_id"].clone()
    };
    for version in 1..=2 {
        share(8 << 20);
        // Each has a download of its own: the one before gives way.
        let comes = |row: &Value| row["n"] == version && row["state"] == "downloading" && row["have"] != 0;
        until(&mut stays, "show_downloads", |data| data["downloads"].as_array().unwrap().iter().any(comes));
        assert!(!inbox.join("z.bin").exists());
    }
    share(300_000);
    let is_done = |data: &Value| data["subscriptions"][0]["waiting"] == 0 && inbox.join("z.bin").exists();
    let listed = until(&mut stays, "list_subscriptions", is_done);
    let row = &listed["subscriptions"][0];
    assert_eq!((&row["fetched"], &row["here"]), (&Value::from(1), &Value::from(0)), "{row}");
    assert_eq!(std::fs::read(inbox.join("z.bin")).unwrap(), std::fs::read(alice.home().join("z.bin")).unwrap());
    assert!(stays.stop() && seeds.stop());
}

/// The code that tracker `number` prints.
fn code(cluster: &mut Cluster, number: usize, line: &str) -> String {
    let tracker = cluster.tracker(number);
    tracker.process.type_line(line);
    let found = |line: &str| line.split_once(" --code ").map(|(_, code)| code.to_owned());
    tracker.process.stdout.wait_for(PATIENCE, found).unwrap_or_else(|| panic!("{}", tracker.process.stderr.text()))
}

#[test]
fn who_has_lost_the_password_sets_a_new_one_by_a_code_from_the_console() {
    let mut cluster = Cluster::start(2);
    let alice = cluster.user("alice");
    // The other one knows her from then on.
    harness::until_dual(&alice, PATIENCE);
    let first = code(&mut cluster, 1, "reset_password alice");
    cluster.kill_tracker(1);
    let new = cluster.client("new");
    let other = if first.as_bytes()[15] == b'b' { "c" } else { "b" };
    let wrong = format!("{}{other}{}", &first[..15], &first[16..]);
    let line = |code: &str, password: &str| format!("login alice --code {code} --new-password {password}");
    new.refused(&line("nonsense", "a-new-password"), "invalid_argument");
    new.refused(&line(&wrong, "a-new-password"), "bad_credentials");
    new.refused(&line(&first, "short"), "invalid_argument");
    assert_eq!(new.ok(&[&line(&first, "a-new-password")])["user"], "alice", "the other tracker takes it");
    assert_eq!(new.ok(&["whoami"])["user"], "alice");
    let refused = new.refused(&line(&first, "another-password"), "bad_credentials");
    assert!(refused.contains("good once"), "{refused}");
    alice.refused("whoami", "not_logged_in");
    alice.refused("login alice password-of-alice", "bad_credentials");
    alice.ok(&["login alice a-new-password"]);
    // Clear answers at the console.
    let tracker = cluster.tracker(2);
    for (line, answer) in [
        ("reset_password", "name the user"),
        ("reset_password nobody", "no user `nobody`"),
        ("reset_password alice 25", "1 to 24 hours"),
    ] {
        tracker.process.type_line(line);
        let said = tracker.process.stderr.wait_for(PATIENCE, |line| line.contains(answer).then_some(()));
        assert!(said.is_some(), "{line}: {}", tracker.process.stderr.text());
    }
    // At a prompt the new password is asked for, twice and unseen; the code stays out of the history.
    let second = code(&mut cluster, 2, "reset_password alice 24");
    let mut command = CommandBuilder::new(harness::binary("client"));
    command.cwd(new.home());
    command.args(["127.0.0.1:0", &cluster.info().display().to_string(), "--data-dir", "prompt"]);
    let mut terminal = Terminal::open(command, 30, 120);
    terminal.until("a prompt", |t| t.line().trim_end() == "shoal>");
    terminal.press(&format!("login alice --code {second}\r"));
    terminal.until_text("new password for alice: ");
    terminal.press("typed-password\r");
    terminal.until_text("the same password again: ");
    terminal.press("typed-password\r");
    terminal.until("logged in", |t| t.line().trim_end() == "alice@shoal>");
    assert!(!terminal.text().contains("typed-password"));
    terminal.press("quit\r");
    let deadline = Instant::now() + PATIENCE;
    while terminal.child.try_wait().unwrap().is_none() {
        assert!(Instant::now() < deadline, "{}", terminal.text());
        std::thread::sleep(Duration::from_millis(20));
    }
    let history = std::fs::read_to_string(new.home().join("prompt/history")).unwrap_or_default();
    assert!(!history.contains(&second[..5]), "{history}");
    alice.ok(&["login alice typed-password"]);
}
