//! A program in a pseudo-terminal, and the screen that a person in front of it sees.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::io::{Read, Write};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use portable_pty::{Child, CommandBuilder, PtySize, native_pty_system};

use crate::PATIENCE;

/// Lines that have left the screen and can still be found.
const SCROLLBACK: usize = 1000;

/// How long a completion may take before Tab is pressed again.
const TAB_AGAIN: Duration = Duration::from_secs(2);

/// What a program has written, and what that comes to on the screen.
struct Screen {
    parser: vt100::Parser,
    written: Vec<u8>,
}

/// A program and its screen. The program is killed when this is dropped.
pub struct Terminal {
    keys: Box<dyn Write + Send>,
    screen: Arc<(Mutex<Screen>, Condvar)>,
    /// The program.
    pub child: Box<dyn Child + Send + Sync>,
}

impl Terminal {
    /// Runs `program` in a terminal of so many rows and columns.
    pub fn open(program: CommandBuilder, rows: u16, cols: u16) -> Self {
        let size = PtySize { rows, cols, pixel_width: 0, pixel_height: 0 };
        let pty = native_pty_system().openpty(size).unwrap();
        let child = pty.slave.spawn_command(program).unwrap();
        drop(pty.slave);
        let screen = Screen { parser: vt100::Parser::new(rows, cols, SCROLLBACK), written: Vec::new() };
        let screen = Arc::new((Mutex::new(screen), Condvar::new()));
        let (mut output, to) = (pty.master.try_clone_reader().unwrap(), Arc::clone(&screen));
        let keys = pty.master.take_writer().unwrap();
        std::thread::spawn(move || {
            let _master = pty.master;
            let mut bytes = [0; 4096];
            while let Ok(n @ 1..) = output.read(&mut bytes) {
                let mut screen = to.0.lock().unwrap();
                screen.parser.process(&bytes[..n]);
                screen.written.extend_from_slice(&bytes[..n]);
                drop(screen);
                to.1.notify_all();
            }
        });
        Self { keys, screen, child }
    }

    /// Presses keys.
    pub fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
        self.keys.flush().unwrap();
    }

    /// Presses Tab until what is typed is completed to this. On a busy machine a listing comes too late for the first time.
    ///
    /// # Panics
    /// When it does not become so.
    pub fn completes(&mut self, wanted: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.line().ends_with(wanted) {
            assert!(Instant::now() < deadline, "never: {wanted}\n{}", self.text());
            self.press("\t");
            let again = Instant::now() + TAB_AGAIN;
            while !self.line().ends_with(wanted) && Instant::now() < again {
                let guard = self.screen.0.lock().unwrap();
                drop(self.screen.1.wait_timeout(guard, Duration::from_millis(50)).unwrap());
            }
        }
    }

    /// Puts `text` on the screen, as if the program had written it.
    pub fn show(&self, text: &[u8]) {
        self.screen.0.lock().unwrap().parser.process(text);
    }

    /// What is on the screen.
    pub fn text(&self) -> String {
        self.screen.0.lock().unwrap().parser.screen().contents()
    }

    /// The parameters of all escapes by which the program has asked for colour, dimming and the like, not of those that end
    /// them (ECMA-48, SGR).
    pub fn styles(&self) -> Vec<String> {
        let written = String::from_utf8_lossy(&self.screen.0.lock().unwrap().written).into_owned();
        let escapes = written.split("\x1b[").skip(1).filter_map(|after| {
            let end = after.find(|c: char| !matches!(c, '0'..='9' | ';' | ':'))?;
            after[end..].starts_with('m').then(|| after[..end].to_owned())
        });
        escapes.filter(|parameters| !["", "0"].contains(&parameters.as_str())).collect()
    }

    /// The row that the cursor is in, up to the cursor.
    pub fn line(&self) -> String {
        let screen = self.screen.0.lock().unwrap();
        let screen = screen.parser.screen();
        let (row, col) = screen.cursor_position();
        screen.contents_between(row, 0, row, col)
    }

    /// Waits until the screen is as wanted.
    ///
    /// # Panics
    /// When it does not become so.
    pub fn until(&self, what: &str, wanted: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !wanted(self) {
            assert!(Instant::now() < deadline, "never: {what}\n{}", self.text());
            let guard = self.screen.0.lock().unwrap();
            drop(self.screen.1.wait_timeout(guard, Duration::from_millis(50)).unwrap());
        }
    }

    /// Waits until this is on the screen.
    pub fn until_text(&self, wanted: &str) {
        self.until(wanted, |t| t.text().contains(wanted));
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
