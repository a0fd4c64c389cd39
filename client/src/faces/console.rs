//! The only place that writes to stdout, stderr and the terminal.
//!
//! In scripts, data goes to stdout and messages to stderr, each as it comes. At the prompt one thread
//! writes everything, through rustyline's printer, which lifts the line being typed out of the way
//! and puts it back. That thread also owns the live lines (progress) directly above the prompt:
//! it rewrites them in place while nothing but itself has written since the prompt was drawn.

#![expect(clippy::print_stderr, reason = "the one module that owns the output")]

use std::io::{self, IsTerminal, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use indicatif::MultiProgress;
use unicode_width::UnicodeWidthStr;

/// Messages that may wait for the writing thread.
const WAITING: usize = 64;
/// How long a command's output may take to appear before the next prompt is drawn all the same.
const FLUSH: Duration = Duration::from_millis(300);
/// Ends with a line break, and leaves the cursor in its row.
const UP_AND_DOWN: &str = "\u{1b}[1A\n";
/// Size of a terminal that is not known.
const COLUMNS: usize = 80;
const ROWS: usize = 24;

/// Writes to the terminal while a line is being typed.
pub(super) trait Printer: Send {
    /// Writes `text` above the line being typed. It ends with a line break: the editor adds one where it is missing.
    fn print(&mut self, text: String);
}

/// Where output goes. Cheap to clone.
#[derive(Clone)]
pub(super) struct Console {
    out: Out,
    /// Whether colours may be used on stderr.
    colour: bool,
}

#[derive(Clone)]
enum Out {
    /// Straight to stdout and stderr; bars are lifted out of the way.
    Plain(MultiProgress),
    /// To the writing thread.
    Prompt(SyncSender<Message>),
}

enum Message {
    Text(String),
    Live(Vec<String>),
    /// A line was typed that takes so many rows with its prompt.
    Typed(usize),
    /// There is no further prompt.
    Over,
    Flush(SyncSender<()>),
}

/// Whether this terminal may be animated and coloured.
pub(super) fn is_lively(stream: &impl IsTerminal) -> bool {
    let unset = |name| std::env::var_os(name).is_none_or(|v| v.is_empty());
    stream.is_terminal() && unset("NO_COLOR") && !is_dumb()
}

/// Whether the line editor can do nothing with this terminal, and reads plain lines.
pub(super) fn is_dumb() -> bool {
    let term = std::env::var("TERM").unwrap_or_default();
    ["dumb", "cons25", "emacs"].iter().any(|dumb| term.eq_ignore_ascii_case(dumb))
}

impl Console {
    /// For scripts; `bars` are those that may be on stderr.
    pub(super) fn plain(bars: MultiProgress) -> Self {
        Self { out: Out::Plain(bars), colour: is_lively(&io::stderr()) }
    }

    /// For the prompt: starts the writing thread.
    ///
    /// # Errors
    /// When there can be no further thread.
    pub(super) fn prompt(printer: Box<dyn Printer>) -> io::Result<Self> {
        let (messages, waiting) = sync_channel(WAITING);
        let lively = is_lively(&io::stdout());
        std::thread::Builder::new().name("terminal".to_owned()).spawn(move || write(printer, &waiting))?;
        Ok(Self { out: Out::Prompt(messages), colour: lively })
    }

    /// What was asked for.
    pub(super) fn data(&self, text: &str) {
        match &self.out {
            Out::Plain(bars) => bars.suspend(|| {
                // A reader that has gone away (`| head`) is no fault of the command's.
                let mut out = io::stdout().lock();
                let _ = writeln!(out, "{text}").and_then(|()| out.flush());
            }),
            Out::Prompt(messages) => send(messages, Message::Text(text.to_owned())),
        }
    }

    /// Something about it.
    pub(super) fn message(&self, text: &str) {
        match &self.out {
            Out::Plain(bars) => bars.suspend(|| {
                let _ = writeln!(io::stderr().lock(), "{text}");
            }),
            Out::Prompt(messages) => send(messages, Message::Text(text.to_owned())),
        }
    }

    /// The natural next command, in grey.
    pub(super) fn hint(&self, command: &str) {
        let (on, off) = if self.colour { ("\u{1b}[2m", "\u{1b}[0m") } else { ("", "") };
        self.message(&format!("{on}next: {command}{off}"));
    }

    /// Lines of progress above the prompt, in place of those before. Nothing in scripts.
    pub(super) fn live(&self, lines: Vec<String>) {
        if let Out::Prompt(messages) = &self.out {
            let _ = messages.try_send(Message::Live(lines)); // A busy terminal gets the next ones.
        }
    }

    /// Tells that `line` was typed after `prompt`: what is written next comes below it.
    pub(super) fn typed(&self, prompt: &str, line: &str) {
        if let Out::Prompt(messages) = &self.out {
            send(messages, Message::Typed(rows_of_input(prompt, line, stdout_size().columns)));
        }
    }

    /// Ends the lines of progress for good.
    pub(super) fn over(&self) {
        if let Out::Prompt(messages) = &self.out {
            send(messages, Message::Over);
        }
        self.flush();
    }

    /// Columns for text that wraps.
    pub(super) fn columns(&self) -> usize {
        stdout_size().columns
    }

    /// Waits until what was written so far is on the terminal. Blocks for a moment.
    pub(super) fn flush(&self) {
        if let Out::Prompt(messages) = &self.out {
            let (done, written) = sync_channel(1);
            send(messages, Message::Flush(done));
            let _ = written.recv_timeout(FLUSH); // Then the prompt is drawn all the same.
        }
    }
}

fn send(messages: &SyncSender<Message>, message: Message) {
    let _ = messages.send(message); // The thread ends only when all senders have.
}

/// The writing thread.
fn write(mut printer: Box<dyn Printer>, messages: &Receiver<Message>) {
    let mut live = Live::default();
    while let Ok(message) = messages.recv() {
        let text = match message {
            Message::Flush(done) => {
                let _ = done.send(()); // Nobody waits any more.
                None
            }
            Message::Text(text) => Some(live.insert(&text, stdout_size())),
            Message::Live(lines) => live.replace(lines, stdout_size()),
            Message::Typed(rows) => live.lift(rows, stdout_size()),
            Message::Over => live.end(stdout_size()),
        };
        text.into_iter().for_each(|text| printer.print(text));
    }
}

/// The lines directly above the cursor's row: above the prompt, or last while a command runs.
#[derive(Debug, Default)]
struct Live {
    lines: Vec<String>,
    over: bool,
}

impl Live {
    /// What to write so that `text` stands above the live lines.
    fn insert(&self, text: &str, size: Size) -> String {
        format!("{}{text}\n{}", self.erase(size), self.draw())
    }

    /// What to write so that `lines` stand in place of the present ones, if that changes anything.
    fn replace(&mut self, lines: Vec<String>, size: Size) -> Option<String> {
        if self.over || self.lines == lines {
            return None;
        }
        let erase = self.erase(size);
        self.lines = lines;
        let drawn = if self.lines.is_empty() { UP_AND_DOWN.to_owned() } else { self.draw() };
        Some(erase + &drawn)
    }

    /// What to write so that the live lines go away from above a line that was typed in so many `rows`: it stays, as
    /// part of what was said, and what comes next is written below it.
    fn lift(&mut self, rows: usize, size: Size) -> Option<String> {
        let live = self.rows(size);
        self.lines.clear();
        // What has left the screen is out of reach.
        let in_reach = live > 0 && live + rows < size.rows;
        in_reach.then(|| {
            // One row less: the line break is the last.
            let down = if rows > 1 { format!("\u{1b}[{}B", rows - 1) } else { String::new() };
            format!("\r\u{1b}[{}A\u{1b}[{live}M{down}\n", live + rows)
        })
    }

    /// What to write so that there are no live lines any more.
    fn end(&mut self, size: Size) -> Option<String> {
        let erase = self.replace(Vec::new(), size);
        self.over = true;
        erase
    }

    /// Up to the first live line, and clear from there.
    fn erase(&self, size: Size) -> String {
        match self.rows(size) {
            0 => String::new(),
            rows => format!("\u{1b}[{rows}A\r\u{1b}[J"),
        }
    }

    /// Rows that the live lines take. They were drawn to fit; in a terminal that has become narrower they are wrapped.
    fn rows(&self, size: Size) -> usize {
        self.lines.iter().map(|line| line.width().max(1).div_ceil(size.columns)).sum()
    }

    fn draw(&self) -> String {
        self.lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect()
    }
}

/// Rows that a line takes with its prompt; the cursor's row counts, also where it is empty. A pasted one has several
/// lines.
fn rows_of_input(prompt: &str, line: &str, columns: usize) -> usize {
    let mut before = prompt.width();
    let rows = line.split('\n').map(|part| std::mem::take(&mut before) + part.width());
    rows.map(|width| width / columns.max(1) + 1).sum()
}

/// How large a terminal is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    pub(super) rows: usize,
    pub(super) columns: usize,
}

/// The size of the terminal on stdout; what is usual where there is none.
pub(super) fn stdout_size() -> Size {
    size_of(io::stdout())
}

/// The size of the terminal on stderr; what is usual where there is none.
pub(super) fn stderr_size() -> Size {
    size_of(io::stderr())
}

fn size_of(terminal: impl std::os::fd::AsFd) -> Size {
    let usual = |n: u16, usual| if n == 0 { usual } else { usize::from(n) };
    match rustix::termios::tcgetwinsize(terminal) {
        Ok(size) => Size { rows: usual(size.ws_row, ROWS), columns: usual(size.ws_col, COLUMNS) },
        Err(_) => Size { rows: ROWS, columns: COLUMNS },
    }
}

/// For logs at the prompt: each write becomes lines above the one being typed.
#[derive(Clone)]
pub(super) struct LogWriter(pub(super) Console);

impl Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        match &self.0.out {
            Out::Plain(_) => self.0.message(text.trim_end()),
            // Never waited for: it may be the editor's own thread that logs.
            Out::Prompt(messages) => drop(messages.try_send(Message::Text(text.trim_end().to_owned()))),
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A fault at the start, before there is a console.
pub(crate) fn fatal(text: &str) {
    eprintln!("client: {text}");
}

/// The same for `--json`: the one object, on stdout.
pub(crate) fn fatal_data(line: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush()); // Nobody reads it: the exit status says it, too.
}

/// A prompt for a line that is being read already.
pub(super) fn show_prompt(prompt: &str) {
    let mut out = io::stdout().lock();
    let _ = write!(out, "{prompt}").and_then(|()| out.flush()); // The terminal is gone: nobody is there to see it.
}

/// A line break, where something interrupted left the cursor in the middle of a line.
pub(super) fn end_line() {
    eprintln!();
}

/// As above where a line was being typed, whose editor cannot end what it began: pasting is plain
/// again (DEC private mode 2004).
pub(super) fn end_typing() {
    eprintln!("\u{1b}[?2004l");
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size = Size { rows: 24, columns: 40 };

    fn lines(lines: &[&str]) -> Vec<String> {
        lines.iter().map(|s| (*s).to_owned()).collect()
    }

    #[test]
    fn live_lines_are_rewritten_in_place_and_stay_below_messages() {
        let mut live = Live::default();
        assert_eq!(live.replace(lines(&["a 1%"]), SIZE).as_deref(), Some("a 1%\n"));
        assert_eq!(live.replace(lines(&["a 1%"]), SIZE), None, "nothing has changed");
        assert_eq!(live.replace(lines(&["a 2%", "b"]), SIZE).as_deref(), Some("\u{1b}[1A\r\u{1b}[Ja 2%\nb\n"));
        assert_eq!(live.insert("news", SIZE), "\u{1b}[2A\r\u{1b}[Jnews\na 2%\nb\n");
        assert_eq!(live.end(SIZE).as_deref(), Some("\u{1b}[2A\r\u{1b}[J\u{1b}[1A\n"));
        assert_eq!(live.replace(lines(&["a 3%"]), SIZE), None, "it is over");
    }

    #[test]
    fn live_lines_that_are_wrapped_by_a_narrower_terminal_are_erased_whole() {
        let mut live = Live::default();
        assert!(live.replace(lines(&[&"x".repeat(39), "b"]), SIZE).is_some());
        let narrow = Size { columns: 20, ..SIZE };
        assert_eq!(live.replace(lines(&["c"]), narrow).as_deref(), Some("\u{1b}[3A\r\u{1b}[Jc\n"));
    }

    #[test]
    fn live_lines_go_away_from_above_a_typed_line() {
        let mut live = Live::default();
        assert!(live.lift(1, SIZE).is_none(), "there are none");
        let _ = live.replace(lines(&["a", "b"]), SIZE);
        assert_eq!(live.lift(1, SIZE).as_deref(), Some("\r\u{1b}[3A\u{1b}[2M\n"));
        assert_eq!(live.replace(lines(&["a"]), SIZE).as_deref(), Some("a\n"), "and begin anew");
        assert!(live.lift(30, SIZE).is_none(), "out of reach");
        let _ = live.replace(lines(&["a"]), SIZE);
        assert_eq!(live.lift(3, SIZE).as_deref(), Some("\r\u{1b}[4A\u{1b}[1M\u{1b}[2B\n"));
    }

    /// The editor adds a line break to what has none: once for each row that had gone, there was an empty one.
    #[test]
    fn whatever_is_written_while_a_line_is_typed_ends_with_a_line_break() {
        let mut live = Live::default();
        let written = [
            live.replace(lines(&["a 1%"]), SIZE),
            Some(live.insert("news", SIZE)),
            live.replace(Vec::new(), SIZE),
            live.replace(lines(&["b"]), SIZE),
            live.lift(2, SIZE),
            live.replace(lines(&["b"]), SIZE),
            live.end(SIZE),
        ];
        for text in written {
            assert!(text.as_deref().is_some_and(|text| text.ends_with('\n')), "{text:?}");
        }
    }

    #[test]
    fn the_rows_of_a_typed_line_are_counted() {
        for (line, rows) in
            [("", 1), ("123", 1), ("12345", 1), ("123456", 2), ("1\n2\n", 3), ("日本", 1), ("日本語", 2)]
        {
            assert_eq!(rows_of_input("> ", line, 8), rows, "{line:?}");
        }
    }
}
