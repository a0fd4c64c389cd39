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

/// Messages that may wait for the writing thread.
const WAITING: usize = 64;
/// How long a command's output may take to appear before the next prompt is drawn all the same.
const FLUSH: Duration = Duration::from_millis(300);

/// Writes to the terminal while a line is being typed.
pub(super) trait Printer: Send {
    /// Writes `text`, which ends with a line break, above the line being typed.
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
    /// A line is about to be typed, or has been.
    Typing(bool),
    Flush(SyncSender<()>),
}

/// Whether this terminal may be animated and coloured.
pub(super) fn is_lively(stream: &impl IsTerminal) -> bool {
    let unset = |name| std::env::var_os(name).is_none_or(|v| v.is_empty());
    stream.is_terminal() && unset("NO_COLOR") && std::env::var_os("TERM").is_none_or(|t| t != "dumb")
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

    /// Tells whether a line is being typed.
    pub(super) fn typing(&self, typing: bool) {
        if let Out::Prompt(messages) = &self.out {
            send(messages, Message::Typing(typing));
        }
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
        match message {
            Message::Flush(done) => drop(done.send(())),
            Message::Typing(typing) => live = Live { typing, ..Live::default() },
            Message::Text(text) => printer.print(live.insert(&text)),
            Message::Live(lines) => live.replace(lines).into_iter().for_each(|text| printer.print(text)),
        }
    }
}

/// The lines directly above the prompt.
#[derive(Debug, Default)]
struct Live {
    typing: bool,
    lines: Vec<String>,
}

impl Live {
    /// What to write so that `text` stands above the live lines.
    fn insert(&self, text: &str) -> String {
        format!("{}{text}\n{}", self.erase(), self.draw())
    }

    /// What to write so that `lines` stand in place of the present ones, if that changes anything.
    /// While a command runs there is no place for them.
    fn replace(&mut self, lines: Vec<String>) -> Option<String> {
        if !self.typing || self.lines == lines {
            return None;
        }
        let erase = self.erase();
        self.lines = lines;
        Some(erase + &self.draw())
    }

    /// Up to the first live line, and clear from there.
    fn erase(&self) -> String {
        if self.lines.is_empty() { String::new() } else { format!("\u{1b}[{}A\r\u{1b}[J", self.lines.len()) }
    }

    fn draw(&self) -> String {
        self.lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect()
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
pub(super) fn fatal(text: &str) {
    eprintln!("client: {text}");
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

    #[test]
    fn live_lines_are_rewritten_in_place_and_stay_below_messages() {
        let mut live = Live { typing: true, lines: Vec::new() };
        let lines = |l: &[&str]| l.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        assert_eq!(live.replace(lines(&["a 1%"])).as_deref(), Some("a 1%\n"));
        assert_eq!(live.replace(lines(&["a 1%"])), None, "nothing has changed");
        assert_eq!(live.replace(lines(&["a 2%", "b"])).as_deref(), Some("\u{1b}[1A\r\u{1b}[Ja 2%\nb\n"));
        assert_eq!(live.insert("news"), "\u{1b}[2A\r\u{1b}[Jnews\na 2%\nb\n");
        assert_eq!(live.replace(Vec::new()).as_deref(), Some("\u{1b}[2A\r\u{1b}[J"));
        live.typing = false;
        assert_eq!(live.replace(lines(&["a 3%"])), None, "a command runs");
    }
}
