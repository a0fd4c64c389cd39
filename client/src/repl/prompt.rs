//! The line editor, on a thread of its own: it is asked for a line or a password, and answers.
//!
//! Owns the terminal's mode while a line is typed, and the history. Invariant: a password is never
//! shown, completed, hinted or remembered. Does not know what lines mean.

use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use rustyline::completion::{Completer, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::{CmdKind, Highlighter};
use rustyline::hint::{Hint, Hinter};
use rustyline::history::MemHistory;
use rustyline::{ColorMode, CompletionType, Config, Context, Editor, ExternalPrinter, Helper, Validator};
use tokio::sync::oneshot;
use zeroize::Zeroizing;

use super::complete;
use super::console::Printer;
use super::history::{History, MOST};
use super::names::Names;

/// What was typed.
#[derive(Debug)]
pub(super) enum Answer {
    /// A line, or a password.
    Typed(Zeroizing<String>),
    /// Ctrl-C.
    Interrupted,
    /// Ctrl-D, or the terminal is gone.
    End,
}

enum Ask {
    Line { prompt: String, remember: Option<String> },
    Password { prompt: String },
}

/// The thread's handle.
pub(super) struct Prompt {
    asks: SyncSender<(Ask, oneshot::Sender<Answer>)>,
    /// The terminal as it was; put back at the end, also if the thread is still reading.
    _before: Before,
}

/// What the thread sets up.
pub(super) struct Started {
    pub(super) prompt: Prompt,
    /// Writes above the line being typed; `None` if output does not go to a terminal.
    pub(super) printer: Option<Box<dyn Printer>>,
}

impl Prompt {
    /// Starts the thread. `names` and `data_dir` are for completion and history; without them it only
    /// asks for passwords.
    ///
    /// # Errors
    /// When there is no usable terminal.
    pub(super) fn start(names: Option<Names>, data_dir: Option<&Path>, colour: bool) -> io::Result<Started> {
        let before = Before::take();
        let data_dir = data_dir.map(Path::to_owned);
        let (asks, asked) = sync_channel(1);
        let (ready, started) = sync_channel(1);
        std::thread::Builder::new()
            .name("prompt".to_owned())
            .spawn(move || run(names, data_dir, colour, &ready, &asked))?;
        let printer = started.recv().map_err(|_| io::Error::other("the line editor did not start"))??;
        Ok(Started { prompt: Self { asks, _before: before }, printer })
    }

    /// A line. `remember` is the one before, if it may be kept.
    pub(super) async fn line(&self, prompt: String, remember: Option<String>) -> Answer {
        self.ask(Ask::Line { prompt, remember }).await
    }

    /// A password.
    pub(super) async fn password(&self, prompt: &str) -> Answer {
        self.ask(Ask::Password { prompt: prompt.to_owned() }).await
    }

    async fn ask(&self, ask: Ask) -> Answer {
        let (answer, answered) = oneshot::channel();
        // Room for one question, and one is asked at a time.
        if self.asks.try_send((ask, answer)).is_err() {
            return Answer::End;
        }
        answered.await.unwrap_or(Answer::End)
    }
}

type Line = Editor<Assistant, MemHistory>;
type Setup = io::Result<Option<Box<dyn Printer>>>;

fn run(
    names: Option<Names>,
    data_dir: Option<PathBuf>,
    colour: bool,
    ready: &SyncSender<Setup>,
    asked: &Receiver<(Ask, oneshot::Sender<Answer>)>,
) {
    let history = data_dir.map(|dir| History::open(&dir));
    let mut editor = match editor(colour) {
        Ok(editor) => editor,
        Err(e) => return drop(ready.send(Err(io::Error::other(e)))),
    };
    editor.set_helper(Some(Assistant { names, colour, masking: false }));
    let (file, lines) = history.map_or((None, Vec::new()), |(file, lines)| (Some(file), lines));
    for line in lines {
        let _ = editor.add_history_entry(line); // In memory: it cannot fail.
    }
    let printer = editor.create_external_printer().ok().map(|p| Box::new(Above(p)) as Box<dyn Printer>);
    if ready.send(Ok(printer)).is_err() {
        return;
    }
    while let Ok((ask, answer)) = asked.recv() {
        let typed = match ask {
            Ask::Line { prompt, remember } => {
                if let Some(line) = remember
                    && editor.add_history_entry(line.as_str()).unwrap_or(false)
                    && let Some(file) = &file
                {
                    file.add(&line);
                }
                editor.readline(&prompt)
            }
            Ask::Password { prompt } => unseen(&mut editor, &prompt),
        };
        let _ = answer.send(match typed {
            Ok(line) => Answer::Typed(Zeroizing::new(line)),
            Err(ReadlineError::Interrupted) => Answer::Interrupted,
            Err(_) => Answer::End,
        });
    }
}

fn editor(colour: bool) -> rustyline::Result<Line> {
    let config = Config::builder()
        .completion_type(CompletionType::List)
        .color_mode(if colour { ColorMode::Enabled } else { ColorMode::Disabled })
        .auto_add_history(false)
        .max_history_size(MOST)?
        .history_ignore_dups(true)?
        .build();
    let history = MemHistory::with_config(&config);
    Editor::with_history(config, history)
}

/// Reads a line that is not shown. The mask is drawn by the highlighter, which colours would turn
/// off, so they are forced on meanwhile.
fn unseen(editor: &mut Line, prompt: &str) -> rustyline::Result<String> {
    use rustyline::config::Configurer;
    let colour = editor.helper().is_some_and(|h| h.colour);
    editor.helper_mut().into_iter().for_each(|h| h.masking = true);
    editor.set_color_mode(ColorMode::Forced);
    let typed = editor.readline(prompt);
    editor.set_color_mode(if colour { ColorMode::Enabled } else { ColorMode::Disabled });
    editor.helper_mut().into_iter().for_each(|h| h.masking = false);
    typed
}

/// rustyline's printer.
struct Above<P>(P);

impl<P: ExternalPrinter + Send> Printer for Above<P> {
    fn print(&mut self, text: String) {
        // The terminal is gone: there is nobody to tell.
        let _ = self.0.print(text);
    }
}

/// Completes, hints and masks.
#[derive(Helper, Validator)]
struct Assistant {
    names: Option<Names>,
    colour: bool,
    masking: bool,
}

impl Completer for Assistant {
    type Candidate = Pair;

    fn complete(&self, line: &str, pos: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        let (Some(names), false, Some(line)) = (&self.names, self.masking, line.get(..pos)) else {
            return Ok((pos, Vec::new()));
        };
        let (start, candidates) = complete::complete(line, names);
        let pair = |c: complete::Candidate| Pair { display: c.shown, replacement: c.typed };
        Ok((start, candidates.into_iter().map(pair).collect()))
    }
}

/// Shown, never inserted: it stands for what the user has to know.
struct Missing(String);

impl Hint for Missing {
    fn display(&self) -> &str {
        &self.0
    }

    fn completion(&self) -> Option<&str> {
        None
    }
}

impl Hinter for Assistant {
    type Hint = Missing;

    fn hint(&self, line: &str, pos: usize, _: &Context<'_>) -> Option<Missing> {
        // Without colours a hint would look like something typed.
        let offered = self.colour && !self.masking && pos == line.len();
        offered.then(|| complete::hint(line)).flatten().map(Missing)
    }
}

impl Highlighter for Assistant {
    fn highlight<'l>(&self, line: &'l str, _: usize) -> Cow<'l, str> {
        if self.masking { Cow::Owned("*".repeat(line.chars().count())) } else { Cow::Borrowed(line) }
    }

    fn highlight_hint<'h>(&self, hint: &'h str) -> Cow<'h, str> {
        if self.colour { Cow::Owned(format!("\u{1b}[2m{hint}\u{1b}[0m")) } else { Cow::Borrowed(hint) }
    }

    fn highlight_char(&self, _: &str, _: usize, kind: CmdKind) -> bool {
        self.masking && !matches!(kind, CmdKind::MoveCursor)
    }
}

/// The terminal's mode before the first line: whatever happens, the user gets it back.
struct Before(Option<rustix::termios::Termios>);

impl Before {
    fn take() -> Self {
        Self(rustix::termios::tcgetattr(io::stdin()).ok())
    }
}

impl Drop for Before {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            // Best effort: the process is about to end.
            let _ = rustix::termios::tcsetattr(io::stdin(), rustix::termios::OptionalActions::Now, before);
        }
    }
}
