//! The line editor, on a thread of its own: it is asked for a line or a password, and answers.
//!
//! Owns the terminal's mode while a line is typed, and the history. Invariant: a password is never
//! shown, completed, hinted or remembered. Does not know what lines mean.
//!
//! A terminal that cannot be edited on (TERM=dumb) gives whole lines, and Ctrl-C there is a signal to the process, which
//! cannot end the read. So whoever asked may abandon its question; the line that is typed then answers the next one.

use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};

use common::terminal;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use rustyline::completion::{Completer, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::{CmdKind, Highlighter};
use rustyline::hint::{Hint, Hinter};
use rustyline::history::MemHistory;
use rustyline::{ColorMode, CompletionType, Config, Context, Editor, ExternalPrinter, Helper, Validator};
use tokio::sync::oneshot;
use zeroize::Zeroizing;

use super::super::console::{Printer, is_dumb, show_prompt};
use super::complete;
use super::history::{History, MOST};
use super::names::Names;

/// What was typed.
#[derive(Debug)]
pub(in crate::faces) enum Answer {
    /// A line, or a password.
    Typed(Zeroizing<String>),
    /// Ctrl-C.
    Interrupted,
    /// Ctrl-D, or the terminal is gone.
    End,
}

enum Ask {
    Line { prompt: String, remember: Vec<String> },
    Password { prompt: String },
}

/// The thread's handle.
pub(in crate::faces) struct Prompt {
    asks: SyncSender<(Ask, oneshot::Sender<Answer>)>,
    /// The terminal as it was; put back at the end, also if the thread is still reading.
    before: Before,
    /// Whether the thread still reads for a question that was abandoned.
    abandoned: AtomicBool,
}

/// What the thread sets up.
pub(in crate::faces) struct Started {
    pub(in crate::faces) prompt: Prompt,
    /// Writes above the line being typed; `None` if output does not go to a terminal.
    pub(in crate::faces) printer: Option<Box<dyn Printer>>,
}

impl Prompt {
    /// Starts the thread. `names` and `data_dir` are for completion and history; without them it only
    /// asks for passwords.
    ///
    /// # Errors
    /// When there is no usable terminal.
    pub(in crate::faces) fn start(names: Option<Names>, data_dir: Option<&Path>, colour: bool) -> io::Result<Started> {
        let before = Before::take();
        let data_dir = data_dir.map(Path::to_owned);
        let (asks, asked) = sync_channel(1);
        let (ready, started) = sync_channel(1);
        std::thread::Builder::new()
            .name("prompt".to_owned())
            .spawn(move || run(names, data_dir, colour, &ready, &asked))?;
        let printer = started.recv().map_err(|_| io::Error::other("the line editor did not start"))??;
        Ok(Started { prompt: Self { asks, before, abandoned: AtomicBool::new(false) }, printer })
    }

    /// A line, or several that were pasted. `remember` are those before that may be kept.
    pub(in crate::faces) async fn line(&self, prompt: String, remember: Vec<String>) -> Answer {
        if self.abandoned.swap(false, Ordering::Relaxed) {
            show_prompt(&prompt); // The thread is past the point where it does that.
        }
        self.ask(Ask::Line { prompt, remember }).await
    }

    /// Gives up the question that is being asked, on a signal. `false` where the terminal makes a key of Ctrl-C: there the
    /// answer says so itself.
    pub(in crate::faces) fn abandon(&self) -> bool {
        if is_dumb() {
            self.before.put_back();
            self.abandoned.store(true, Ordering::Relaxed);
        }
        is_dumb()
    }

    /// A password.
    pub(in crate::faces) async fn password(&self, prompt: &str) -> Answer {
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
    let printing = Arc::new(Mutex::new(()));
    let above = |p| Box::new(Above { printer: p, printing: Arc::clone(&printing) }) as Box<dyn Printer>;
    let printer = editor.create_external_printer().ok().map(above);
    if ready.send(Ok(printer)).is_err() {
        return;
    }
    // The line that was typed when nobody waited for an answer any more.
    let mut early = None;
    while let Ok((ask, answer)) = asked.recv() {
        // What began to be written when no line was edited is not written behind the prompt.
        drop(printing.lock());
        let typed = match ask {
            Ask::Line { prompt, remember } => {
                remember.iter().for_each(|line| keep(&mut editor, file.as_ref(), line));
                early.take().map_or_else(|| answer_of(editor.readline(&prompt)), Answer::Typed)
            }
            Ask::Password { prompt } => answer_of(unseen(&mut editor, &prompt)),
        };
        if let Err(Answer::Typed(line)) = answer.send(typed) {
            early = Some(line);
        }
    }
}

fn answer_of(typed: rustyline::Result<String>) -> Answer {
    match typed {
        Ok(line) => Answer::Typed(Zeroizing::new(line)),
        Err(ReadlineError::Interrupted) => Answer::Interrupted,
        Err(_) => Answer::End,
    }
}

/// Keeps a line, in memory and in the file, unless it repeats the one before.
fn keep(editor: &mut Line, file: Option<&History>, line: &str) {
    if editor.add_history_entry(line).unwrap_or(false)
        && let Some(file) = file
    {
        file.add(line);
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
/// off, so they are forced on meanwhile. Where no line is edited the terminal itself is told not to show it.
fn unseen(editor: &mut Line, prompt: &str) -> rustyline::Result<String> {
    use rustyline::config::Configurer;
    let colour = editor.helper().is_some_and(|h| h.colour);
    let _silent = is_dumb().then(Silent::begin);
    editor.helper_mut().into_iter().for_each(|h| h.masking = true);
    editor.set_color_mode(ColorMode::Forced);
    let typed = editor.readline(prompt);
    editor.set_color_mode(if colour { ColorMode::Enabled } else { ColorMode::Disabled });
    editor.helper_mut().into_iter().for_each(|h| h.masking = false);
    typed
}

/// rustyline's printer.
struct Above<P> {
    printer: P,
    /// Held while it prints: it first looks whether a line is edited, and then writes in one way or another.
    printing: Arc<Mutex<()>>,
}

impl<P: ExternalPrinter + Send> Printer for Above<P> {
    fn print(&mut self, text: String) {
        let _printing = self.printing.lock();
        // The terminal is gone: there is nobody to tell.
        let _ = self.printer.print(text);
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
struct Before(Option<Termios>);

impl Before {
    fn take() -> Self {
        Self(tcgetattr(io::stdin()).ok())
    }

    fn put_back(&self) {
        // Whoever is in front now has the terminal as it wants it, and who is not would be stopped (SIGTTOU).
        if let Some(before) = self.0.as_ref().filter(|_| !terminal::is_in_background()) {
            // Best effort: there is no other way to tell.
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, before);
        }
    }
}

impl Drop for Before {
    fn drop(&mut self) {
        self.put_back();
    }
}

/// While it lives the terminal does not show what is typed.
struct Silent {
    /// Puts the terminal back.
    _before: Before,
}

impl Silent {
    fn begin() -> Self {
        let before = Before::take();
        if let Some(mut silent) = before.0.clone() {
            silent.local_modes.remove(LocalModes::ECHO);
            // But the end of the line.
            silent.local_modes.insert(LocalModes::ECHONL);
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, &silent); // Then it is seen: asking is all that can be done.
        }
        Self { _before: before }
    }
}
