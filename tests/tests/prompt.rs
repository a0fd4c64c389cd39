//! The prompt, in a pseudo-terminal: what a person sees while typing.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::ops::{Deref, DerefMut};
use std::process::Command;
use std::time::{Duration, Instant};

use harness::{Client, Cluster, PATIENCE, Terminal, random_file};
use portable_pty::CommandBuilder;

const ROWS: u16 = 40;
const COLS: u16 = 100;

/// A client at its prompt, and the screen in front of it.
struct AtPrompt(Terminal);

impl Deref for AtPrompt {
    type Target = Terminal;

    fn deref(&self) -> &Terminal {
        &self.0
    }
}

impl DerefMut for AtPrompt {
    fn deref_mut(&mut self) -> &mut Terminal {
        &mut self.0
    }
}

impl AtPrompt {
    fn open(client: &Client) -> Self {
        Self::open_as("xterm-256color", COLS, client, client.command())
    }

    /// Runs `command` in a terminal that says it is a `term`, with so many columns.
    fn open_as(term: &str, cols: u16, client: &Client, command: Command) -> Self {
        let mut builder = CommandBuilder::new(command.get_program());
        builder.args(command.get_args());
        builder.cwd(client.home());
        builder.env("TERM", term);
        command.get_envs().for_each(|(name, value)| builder.env(name, value.unwrap_or_default()));
        Self(Terminal::open(builder, ROWS, cols))
    }

    /// Waits for an empty prompt.
    fn until_prompt(&self) {
        self.until("an empty prompt", |t| t.line().trim_end().ends_with('>'));
    }

    /// Types a line at an empty prompt, and waits until it has been taken.
    fn enter(&mut self, line: &str) {
        self.until_prompt();
        self.press(line);
        self.until("the typed line", |t| t.line().ends_with(line));
        self.press("\r");
        self.until("the line is taken", |t| !t.line().ends_with(line));
    }

    fn log_in(&mut self, name: &str) {
        self.enter(&format!("create_user {name}"));
        self.until("a password prompt", |t| t.line().to_lowercase().contains("password"));
        self.press("a-secret-pass\r");
        self.until("a second question or the prompt", |t| {
            t.line().to_lowercase().contains("again") || t.line().trim_end().ends_with('>')
        });
        if self.line().to_lowercase().contains("again") {
            self.press("a-secret-pass\r");
        }
        self.enter(&format!("login {name}"));
        self.until("a password prompt", |t| t.line().to_lowercase().contains("password"));
        self.press("a-secret-pass\r");
        self.until_prompt();
    }

    fn exit_code(mut self) -> u32 {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.exit_code();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("still there\n{}", self.text());
    }
}

fn history(client: &Client) -> String {
    let files = std::fs::read_dir(client.home().join("data")).unwrap().flatten();
    let history =
        files.map(|e| e.path()).find(|p| p.file_name().is_some_and(|n| n.to_string_lossy().contains("history")));
    std::fs::read_to_string(history.expect("a history file")).unwrap()
}

#[test]
fn passwords_are_asked_unseen_and_kept_out_of_the_history() {
    let cluster = Cluster::start(1);
    let alice = cluster.client("alice");
    let mut t = AtPrompt::open(&alice);
    t.log_in("alice");
    t.enter("whoami");
    t.until_text("alice");
    // Typed ahead, all at once: nothing of it may be lost.
    t.until_prompt();
    assert!(!t.text().contains("a-secret-pass"), "{}", t.text());
    t.press("change_password a-secret-pass another-secret\rlogin alice another-secret\rlist_groups\r");
    t.until_text("there are no groups yet");
    t.until_prompt();
    t.press("\x1b[A\x1b[A");
    t.until("the line before those with passwords", |t| t.line().contains("whoami"));
    t.press("\x15\x04");
    assert_eq!(t.exit_code(), 0);
    let kept = history(&alice);
    assert!(kept.contains("whoami") && !kept.contains("secret"), "{kept}");
}

#[test]
fn tab_completes_commands_groups_and_files() {
    let cluster = Cluster::start(1);
    let alice = cluster.client("alice");
    random_file(&alice.home().join("a-long-name.bin"), 1000).unwrap();
    let mut t = AtPrompt::open(&alice);
    t.log_in("alice");
    t.enter("create_group laboratory");
    t.enter("upload_file a-long-name.bin laboratory");
    t.enter("list_files laboratory");
    t.until_prompt();
    t.press("downl\t");
    t.until("the command", |t| t.line().contains("download_file") || t.line().contains("download"));
    t.press("\x15down\t\x15download_file lab");
    t.completes("download_file laboratory ");
    t.press("a-l");
    t.completes("download_file laboratory a-long-name.bin ");
    t.press("\x15upload_file a-lo");
    t.completes("upload_file a-long-name.bin ");
    t.press("\x15quit\r");
    assert_eq!(t.exit_code(), 0);
}

#[test]
fn news_never_garble_the_line_being_typed() {
    let cluster = Cluster::start(1);
    let alice = cluster.client("alice");
    let mut t = AtPrompt::open(&alice);
    t.log_in("alice");
    t.enter("create_group lab");
    t.until_prompt();
    t.press("list_requ");
    t.until("the half line", |t| t.line().ends_with("list_requ"));
    cluster.user("bob").ok(&["join_group lab"]);
    t.until("the news", |t| t.text().contains("bob"));
    t.until("the half line again", |t| t.line().ends_with("list_requ"));
    let rows: Vec<String> = t.text().lines().map(str::to_owned).collect();
    assert_eq!(rows.iter().filter(|r| r.contains("list_requ")).count(), 1, "{}", t.text());
    assert!(rows.iter().any(|r| r.contains("bob") && !r.contains("list_requ")), "{}", t.text());
    t.press("ests lab\r");
    t.until("bob's request", |t| t.text().lines().filter(|l| l.contains("bob")).count() >= 2);
}

#[test]
fn a_download_runs_beside_the_prompt() {
    let cluster = Cluster::start(1);
    let bob = cluster.user("bob");
    random_file(&bob.home().join("data.bin"), 24 << 20).unwrap();
    let mut b = bob.live();
    b.ok("create_group lab");
    b.ok("upload_file data.bin lab");
    let alice = cluster.client("alice");
    let mut t = AtPrompt::open(&alice);
    t.log_in("alice");
    t.enter("join_group lab");
    t.until_prompt();
    b.ok("accept_request lab alice");
    t.enter("download_file lab data.bin downloads");
    t.enter("whoami");
    t.enter("show_downloads");
    let copy = alice.downloads().join("data.bin");
    t.until("the file is there", |_| copy.exists());
    t.until("the end is told", |t| t.text().lines().any(|l| l.contains("data.bin") && l.contains("in ")));
    t.enter("show_downloads");
    t.until_text("complete");
    assert!(std::fs::read(copy).unwrap() == std::fs::read(bob.home().join("data.bin")).unwrap());
    t.enter("quit");
    assert_eq!(t.exit_code(), 0);
}

#[test]
fn with_no_color_nothing_is_written_in_colour_or_dimmed() {
    let cluster = Cluster::start(1);
    let other = Cluster::prepare(1);
    // Set to nothing it is as good as not set (https://no-color.org).
    for (no_color, is_plain) in [("1", true), ("", false)] {
        let alice = cluster.client(if is_plain { "alice" } else { "bob" });
        random_file(&alice.home().join("data.bin"), 1 << 20).unwrap();
        let open = |mut command: Command| {
            command.env("NO_COLOR", no_color);
            AtPrompt::open_as("xterm-256color", COLS, &alice, command)
        };
        let looks_right = |t: &AtPrompt| {
            let styles = t.styles();
            assert_eq!(styles.is_empty(), is_plain, "NO_COLOR={no_color}: {styles:?}\n{}", t.text());
        };
        let mut t = open(alice.command());
        t.until_text("next: login");
        t.log_in(alice.name());
        t.enter(&format!("create_group of-{}", alice.name()));
        t.enter(&format!("upload_file data.bin of-{}", alice.name()));
        t.enter("no_such_command");
        t.until_text("help");
        t.enter("status");
        t.until_text("limits");
        looks_right(&t);
        for program in ["client", "tracker"] {
            let mut command = Command::new(harness::binary(program));
            command.arg("--help");
            let t = open(command);
            t.until_text("--version");
            looks_right(&t);
        }
        let mut tracker = Command::new(harness::binary("tracker"));
        tracker.arg(other.info()).arg("1").arg("--data-dir").arg(other.dir().join(alice.name()));
        tracker.env("RUST_LOG", "info");
        let t = open(tracker);
        t.until_text("INFO ");
        t.until_text("ready on");
        looks_right(&t);
    }
}

#[test]
fn mistakes_are_met_with_the_nearest_command_and_the_usage() {
    let cluster = Cluster::start(1);
    let mut t = AtPrompt::open(&cluster.client("alice"));
    t.enter("creat_user alice");
    t.until_text("create_user");
    t.enter("join_group");
    t.until_text("join_group <");
    t.enter("'unclosed");
    t.until_text("quot");
    t.until_prompt();
    t.press("half a line");
    t.until("the half line", |t| t.line().ends_with("half a line"));
    t.press("\x03");
    t.until_prompt();
    t.press("\x04");
    assert_eq!(t.exit_code(), 0);
}

#[test]
fn a_page_of_a_search_that_is_not_there_is_called_that() {
    let cluster = Cluster::start(1);
    let alice = cluster.user("alice");
    random_file(&alice.home().join("measured.bin"), 1000).unwrap();
    alice.ok(&["create_group lab", "upload_file measured.bin lab"]);
    let mut t = AtPrompt::open(&alice);
    t.until("her name", |t| t.line().trim_end().ends_with("alice@shoal>"));
    t.enter("search measured --page 9");
    t.until_text("there is no page 9;");
    t.enter("search unmeasured");
    t.until_text("nothing in your groups has all of these words");
    t.enter("quit");
    assert_eq!(t.exit_code(), 0);
    assert_eq!(alice.ok(&["search measured --page 9"]), serde_json::json!({ "hits": [], "more": false }));
}

#[test]
fn pasted_lines_run_one_after_the_other_and_their_passwords_are_not_kept() {
    let cluster = Cluster::start(1);
    let alice = cluster.user("alice");
    let mut t = AtPrompt::open(&alice);
    t.until_prompt();
    t.press(
        "\x1b[200~whoami\nlogin alice password-of-alice\r\nlogn alice password-of-alice\ncreate_group lab\n\x1b[201~",
    );
    t.until("the pasted text", |t| t.text().contains("create_group lab"));
    t.press("\r");
    t.until_text("group `lab` created");
    assert!(t.text().contains("logged in as alice"), "{}", t.text());
    t.until_prompt();
    t.press("\x1b[A\x1b[A");
    t.until("the line before those with passwords", |t| t.line().ends_with("whoami"));
    t.press("\x15quit\r");
    assert_eq!(t.exit_code(), 0);
    let kept = history(&alice);
    assert!(kept.contains("whoami\ncreate_group lab\n") && !kept.contains("password-of"), "{kept}");
}

#[test]
fn a_wrong_line_is_recalled_unless_it_may_hold_a_password() {
    let cluster = Cluster::start(1);
    let mut t = AtPrompt::open(&cluster.client("alice"));
    t.enter("lst_groups");
    t.until_text("did you mean `list_groups`?");
    t.enter("logni alice some-secret-pass");
    t.until_text("did you mean `login`?");
    t.until_prompt();
    t.press("\x1b[A");
    t.until("the wrong line", |t| t.line().ends_with("lst_groups"));
    t.press("\x15\x04");
    assert_eq!(t.exit_code(), 0);
}

#[test]
fn an_admin_is_asked_before_leaving() {
    let cluster = Cluster::start(1);
    let alice = cluster.user("alice");
    alice.ok(&["create_group lab"]);
    let mut t = AtPrompt::open(&alice);
    for (answer, said) in
        [("n\r", "you are still in `lab`"), ("\x03", "you are still in `lab`"), ("y\r", "no longer in `lab`")]
    {
        t.enter("leave_group lab");
        t.until("the question", |t| t.line().trim_end().ends_with("[y/N]"));
        assert!(t.text().contains("only member of `lab`"), "{}", t.text());
        t.press(answer);
        t.until_prompt();
        t.until_text(said);
    }
    t.press("\x04");
    assert_eq!(t.exit_code(), 0);
}

#[test]
fn an_invitation_is_not_asked_for_where_nobody_is_logged_in() {
    let cluster = Cluster::start(1);
    let mut t = AtPrompt::open(&cluster.client("alice"));
    t.enter("accept_invite");
    t.until_text("or `create_user <user>` if you have no account");
    t.until_prompt();
    t.press("\x04");
    assert_eq!(t.exit_code(), 0);
}

#[test]
fn in_a_dumb_terminal_an_interrupted_password_swallows_no_line() {
    let cluster = Cluster::start(1);
    let alice = cluster.client("alice");
    let mut t = AtPrompt::open_as("dumb", COLS, &alice, alice.command());
    // It is not drawn again below what is told meanwhile.
    let prompts = |t: &AtPrompt, n: usize| t.until("a prompt", |t| t.text().matches("shoal>").count() >= n);
    prompts(&t, 1);
    t.press("login alice\r");
    t.until("the question", |t| t.line().contains("password of alice"));
    t.press("half-a-passw\x03");
    prompts(&t, 2);
    t.press("help whoami\r");
    t.until_text("Show who is logged in");
    assert!(!t.text().contains("half-a"), "{}", t.text());
    prompts(&t, 3);
    t.press("quit\r");
    assert_eq!(t.exit_code(), 0);
}

#[test]
fn an_upload_shows_how_far_it_is_and_can_be_interrupted() {
    let cluster = Cluster::start(1);
    let alice = cluster.user("alice");
    alice.ok(&["create_group lab"]);
    // Takes a minute to hash, and no room.
    std::fs::File::create(alice.home().join("large.bin")).unwrap().set_len(256 << 30).unwrap();
    let mut t = AtPrompt::open(&alice);
    t.enter("upload_file large.bin lab");
    t.until("progress", |t| t.text().lines().any(|l| l.starts_with("hashing large.bin") && l.contains("% ")));
    t.press("\x03");
    t.until_text("interrupted");
    t.until_prompt();
    t.until("nothing stale is left", |t| !t.text().contains("hashing"));
    t.press("\x04");
    assert_eq!(t.exit_code(), 0);
}

#[test]
fn progress_fits_80_columns_leaves_nothing_stale_and_goes_on_at_the_next_start() {
    const NAME: &str = "measurements-of-the-second-year.tar.gz";
    let cluster = Cluster::start(1);
    let alice = cluster.user("alice");
    random_file(&alice.home().join(NAME), 24 << 20).unwrap();
    let mut a = alice.live();
    a.ok("create_group lab");
    a.ok(&format!("upload_file {NAME} lab"));
    let bob = cluster.user("bob");
    bob.ok(&["join_group lab"]);
    a.ok("accept_request lab bob");
    let open = |rate: &str| {
        let mut command = bob.command();
        command.args(["--limit-down", rate]);
        AtPrompt::open_as("xterm-256color", 80, &bob, command)
    };
    let is_row = |line: &str| line.contains("% ") && line.contains('[');
    let mut t = open("256K");
    t.enter(&format!("download_file lab {NAME} downloads"));
    for command in ["whoami", "list_groups", "help quit"] {
        t.until("progress directly above the prompt", |t| {
            let text = t.text();
            let rows: Vec<_> = text.lines().collect();
            let [.., above, prompt] = rows.as_slice() else { return false };
            prompt.trim_end().ends_with('>') && is_row(above)
        });
        let text = t.text();
        let rows: Vec<_> = text.lines().filter(|l| is_row(l)).collect();
        assert_eq!(rows.len(), 1, "nothing stale\n{text}");
        assert!(rows[0].starts_with("1 measure…r.tar.gz ["), "a name leaves room for figures\n{text}");
        t.enter(command);
    }
    t.enter("quit");
    t.until_text("1 unfinished download goes on when this client is started again");
    assert!(!t.text().lines().any(is_row), "{}", t.text());
    assert_eq!(t.exit_code(), 0);
    let t = open("100M");
    t.until_text("1 unfinished download goes on: `show_downloads`");
    t.until_text("download 1 complete");
}

/// The editor ends what is written above its line with a line break: where a row of progress went away, an empty one stayed.
#[test]
fn progress_that_is_over_leaves_no_empty_row() {
    let cluster = Cluster::start(1);
    let alice = cluster.user("alice");
    random_file(&alice.home().join("data.bin"), 6 << 20).unwrap();
    let mut a = alice.live();
    a.ok("create_group lab");
    a.ok("upload_file data.bin lab");
    let bob = cluster.user("bob");
    bob.ok(&["join_group lab"]);
    a.ok("accept_request lab bob");
    let mut command = bob.command();
    command.args(["--limit-down", "2M"]);
    let mut t = AtPrompt::open_as("xterm-256color", COLS, &bob, command);
    t.enter("download_file lab data.bin .");
    t.until("progress", |t| t.text().lines().any(|l| l.contains("% ") && l.contains('[')));
    t.until_text("download 1 complete");
    t.until_prompt();
    assert!(t.text().lines().all(|row| !row.trim().is_empty()), "{}", t.text());
}

#[test]
fn a_client_in_the_background_is_not_stopped_by_its_terminal() {
    let cluster = Cluster::start(1);
    let alice = cluster.user("alice");
    let client = alice.command();
    let line: Vec<_> = std::iter::once(client.get_program()).chain(client.get_args()).collect();
    let line = line.iter().map(|word| format!("'{}'", word.to_string_lossy())).collect::<Vec<_>>().join(" ");
    for options in ["--stay", "", "--json", "-f - --stay", "--stay -c whoami"] {
        let mut shell = Command::new("sh");
        // With job control, as an interactive shell has it.
        shell.args(["-c", &format!("set -m; {line} {options} & echo \"pid $! .\"; wait; echo ended")]);
        let mut t = AtPrompt::open_as("xterm-256color", COLS, &alice, shell);
        t.until_text(" .");
        let pid = t.text().lines().find_map(|l| Some(l.strip_prefix("pid ")?.strip_suffix(" .")?.to_owned())).unwrap();
        let lock = std::fs::File::open(alice.home().join("data/lock")).unwrap();
        t.until("it has begun", |_| match lock.try_lock() {
            Ok(()) => lock.unlock().is_err(),
            Err(_) => true,
        });
        t.press("list_groups\r");
        if options != "--json" {
            t.until_text("staying to seed");
        }
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let state = stat.rsplit(')').next().unwrap().trim_start().chars().next().unwrap();
        assert!("RSD".contains(state), "{options:?}: {stat}\n{}", t.text());
        Command::new("kill").args(["-TERM", &pid]).status().unwrap();
        t.until_text("ended");
    }
}

/// How often the threads of a process have gone to sleep.
#[cfg(target_os = "linux")]
fn sleeps(pid: u32) -> u64 {
    let of = |task: std::fs::DirEntry| {
        let status = std::fs::read_to_string(task.path().join("status")).ok()?; // Threads come and go.
        status.lines().find_map(|l| l.strip_prefix("voluntary_ctxt_switches:")?.trim().parse::<u64>().ok())
    };
    std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten().filter_map(of).sum()
}

#[test]
#[cfg(target_os = "linux")]
fn a_prompt_sleeps_while_nothing_happens_also_with_a_download_that_waits() {
    let cluster = Cluster::start(1);
    let (alice, bob) = (cluster.user("alice"), cluster.client("bob"));
    alice.ok(&["create_group lab"]);
    let file = alice.home().join("results.tar");
    random_file(&file, 1 << 20).unwrap();
    alice.ok(&[&format!("upload_file {} lab", file.display())]); // And nobody seeds it.
    let mut t = AtPrompt::open(&bob);
    t.log_in("bob");
    t.enter("join_group lab");
    t.until_text("its admin has to accept");
    alice.ok(&["accept_request lab bob"]);
    t.until_text("you are a member");
    let pid = t.child.process_id().unwrap();
    for (line, shown, most) in [("whoami", "bob", 2.0), ("download_file lab results.tar .", "waits: ", 5.0)] {
        t.enter(line);
        t.until_text(shown);
        std::thread::sleep(Duration::from_secs(2)); // What came before has settled.
        let (before, span) = (sleeps(pid), Duration::from_secs(15));
        std::thread::sleep(span);
        let a_second = sleeps(pid).saturating_sub(before) as f64 / span.as_secs_f64();
        println!("after `{line}`: {a_second:.2} a second");
        assert!(a_second < most, "after `{line}`: {a_second} a second");
    }
}
