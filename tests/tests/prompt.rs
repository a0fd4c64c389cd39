//! The prompt, in a pseudo-terminal: what a person sees while typing.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::io::{Read, Write};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use harness::{Client, Cluster, PATIENCE, random_file};
use portable_pty::{CommandBuilder, PtySize, native_pty_system};

const ROWS: u16 = 40;
const COLS: u16 = 100;

/// A client at its prompt, and the screen in front of it.
struct Terminal {
    keys: Box<dyn Write + Send>,
    screen: Arc<(Mutex<vt100::Parser>, Condvar)>,
    child: Box<dyn portable_pty::Child + Send + Sync>,
}

impl Terminal {
    fn open(client: &Client) -> Self {
        let size = PtySize { rows: ROWS, cols: COLS, pixel_width: 0, pixel_height: 0 };
        let pty = native_pty_system().openpty(size).unwrap();
        let command = client.command();
        let mut builder = CommandBuilder::new(command.get_program());
        builder.args(command.get_args());
        builder.cwd(client.home());
        builder.env("TERM", "xterm-256color");
        let child = pty.slave.spawn_command(builder).unwrap();
        drop(pty.slave);
        let screen = Arc::new((Mutex::new(vt100::Parser::new(ROWS, COLS, 1000)), Condvar::new()));
        let (mut output, to) = (pty.master.try_clone_reader().unwrap(), Arc::clone(&screen));
        let keys = pty.master.take_writer().unwrap();
        std::thread::spawn(move || {
            let _master = pty.master;
            let mut bytes = [0; 4096];
            while let Ok(n @ 1..) = output.read(&mut bytes) {
                to.0.lock().unwrap().process(&bytes[..n]);
                to.1.notify_all();
            }
        });
        Self { keys, screen, child }
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
        self.keys.flush().unwrap();
    }

    fn text(&self) -> String {
        self.screen.0.lock().unwrap().screen().contents()
    }

    /// The row that the cursor is in, up to the cursor.
    fn line(&self) -> String {
        let parser = self.screen.0.lock().unwrap();
        let (row, col) = parser.screen().cursor_position();
        parser.screen().contents_between(row, 0, row, col)
    }

    /// Waits until the screen is as wanted.
    fn until(&self, what: &str, wanted: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !wanted(self) {
            assert!(Instant::now() < deadline, "never: {what}\n{}", self.text());
            let guard = self.screen.0.lock().unwrap();
            drop(self.screen.1.wait_timeout(guard, Duration::from_millis(50)).unwrap());
        }
    }

    fn until_text(&self, wanted: &str) {
        self.until(wanted, |t| t.text().contains(wanted));
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

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
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
    let mut t = Terminal::open(&alice);
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
    let mut t = Terminal::open(&alice);
    t.log_in("alice");
    t.enter("create_group laboratory");
    t.enter("upload_file a-long-name.bin laboratory");
    t.enter("list_files laboratory");
    t.until_prompt();
    t.press("downl\t");
    t.until("the command", |t| t.line().contains("download_file") || t.line().contains("download"));
    t.press("\x15down\t\x15download_file lab\t");
    t.until("the group", |t| t.line().contains("download_file laboratory"));
    t.press(" a-l\t");
    t.until("the file", |t| t.line().contains("a-long-name.bin"));
    t.press("\x15upload_file a-lo\t");
    t.until("the path", |t| t.line().contains("upload_file a-long-name.bin"));
    t.press("\x15quit\r");
    assert_eq!(t.exit_code(), 0);
}

#[test]
fn news_never_garble_the_line_being_typed() {
    let cluster = Cluster::start(1);
    let alice = cluster.client("alice");
    let mut t = Terminal::open(&alice);
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
    let mut t = Terminal::open(&alice);
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
fn mistakes_are_met_with_the_nearest_command_and_the_usage() {
    let cluster = Cluster::start(1);
    let mut t = Terminal::open(&cluster.client("alice"));
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
