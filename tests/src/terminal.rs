//! A program in a pseudo-terminal, and the screen that a person in front of it sees.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::io::{Read, Write};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use portable_pty::{Child, CommandBuilder, PtySize, native_pty_system};

use crate::PATIENCE;

/// Lines that have left the screen and can still be found.
const SCROLLBACK: usize = 1000;

/// A program and its screen. The program is killed when this is dropped.
pub struct Terminal {
    keys: Box<dyn Write + Send>,
    screen: Arc<(Mutex<vt100::Parser>, Condvar)>,
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
        let screen = Arc::new((Mutex::new(vt100::Parser::new(rows, cols, SCROLLBACK)), Condvar::new()));
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

    /// Presses keys.
    pub fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
        self.keys.flush().unwrap();
    }

    /// Puts `text` on the screen, as if the program had written it.
    pub fn show(&self, text: &[u8]) {
        self.screen.0.lock().unwrap().process(text);
    }

    /// What is on the screen.
    pub fn text(&self) -> String {
        self.screen.0.lock().unwrap().screen().contents()
    }

    /// The row that the cursor is in, up to the cursor.
    pub fn line(&self) -> String {
        let parser = self.screen.0.lock().unwrap();
        let (row, col) = parser.screen().cursor_position();
        parser.screen().contents_between(row, 0, row, col)
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
