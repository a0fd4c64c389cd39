//! The prompt: one line after the other, and calm news in between.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::task::TaskGroup;
use common::wire::client::Push;
use tokio::sync::{broadcast, mpsc};

use super::console::{Console, end_typing, is_dumb, show_prompt};
use super::names::{List, Names};
use super::parse::{self, Parsed};
use super::progress::Drawn;
use super::prompt::{Answer, Prompt};
use super::script::{DONE, ask, execute, needs_password, show};
use super::signals::{Signals, Stop};
use super::{render, secrecy};
use crate::app::{App, Bar, Bars, Command, Outcome, note};
use crate::download::{DownloadId, DownloadRow, State};
use crate::error::Error;
use crate::units::count;

/// Two Ctrl-C within this time leave.
const TWICE: Duration = Duration::from_millis(1500);
/// What one Ctrl-C is answered.
const ONCE_MORE: &str = "(Ctrl-C once more, Ctrl-D or `quit` leaves)";
/// A download that waits for so long is worth a line.
const WAITS: Duration = Duration::from_secs(3);
/// How often downloads are looked at while they change.
const LOOK: Duration = Duration::from_millis(300);

/// What the prompt works with.
pub(super) struct Interactive {
    pub(super) app: Arc<App>,
    pub(super) console: Console,
    pub(super) prompt: Prompt,
    pub(super) names: Names,
}

impl Interactive {
    /// Reads and runs lines until the user leaves; the exit status.
    pub(super) async fn run(self, signals: &mut Signals) -> u8 {
        self.console.message("Shoal. `help` shows all commands, Tab completes them, Ctrl-D leaves.");
        self.greet(signals).await;
        let mut remember = Vec::new();
        let mut interrupted = Interrupts::default();
        loop {
            self.console.flush();
            let next = match self.typed(std::mem::take(&mut remember), &mut interrupted, signals).await {
                Answer::Typed(typed) => self.lines(&typed, &mut remember, signals).await,
                Answer::Interrupted if interrupted.again() => Next::Leave,
                Answer::Interrupted => {
                    self.console.message(ONCE_MORE);
                    Next::Prompt
                }
                Answer::End => Next::Leave,
            };
            if next == Next::Leave {
                self.console.over();
                self.take_leave();
                return DONE;
            }
        }
    }

    /// Runs what was typed: a line, or several that were pasted, one after the other. Those that may be kept go to
    /// `remember`.
    async fn lines(&self, typed: &str, remember: &mut Vec<String>, signals: &mut Signals) -> Next {
        let parsed = typed.lines().filter_map(|line| parse::parse(line).map(|parsed| (line.trim(), parsed)));
        let parsed: Vec<_> = parsed.collect();
        let several = parsed.len() > 1;
        let mut left = parsed.len();
        for (line, parsed) in parsed {
            left -= 1;
            let is_harmless = secrecy::is_harmless(line, &parsed);
            if several {
                // What is said next belongs to it.
                let shown = if is_harmless { line } else { parsed.name.as_str() };
                self.console.message(&format!("> {}", common::escape::Escaped(shown)));
            }
            remember.extend(is_harmless.then(|| line.to_owned()));
            match self.line(parsed, signals).await {
                Next::Prompt => {}
                Next::Interrupted if left > 0 => {
                    let rest = count(left as u64, "pasted line was not run", "pasted lines were not run");
                    self.console.message(&rest);
                    return Next::Prompt;
                }
                Next::Interrupted => return Next::Prompt,
                Next::Leave => return Next::Leave,
            }
        }
        Next::Prompt
    }

    /// Says what goes on when the client is started again.
    fn take_leave(&self) {
        let unfinished = |row: &&DownloadRow| matches!(row.progress.state, State::Downloading | State::Waiting);
        let unfinished = self.app.downloads().list().iter().filter(unfinished).count() as u64;
        if unfinished > 0 {
            let what = count(unfinished, "unfinished download goes on", "unfinished downloads go on");
            self.console.message(&format!("{what} when this client is started again"));
            self.console.flush();
        }
    }

    /// What is typed. A signal to interrupt counts as Ctrl-C: it may be one that was meant for a
    /// command which ended first.
    async fn typed(&self, remember: Vec<String>, interrupted: &mut Interrupts, signals: &mut Signals) -> Answer {
        let label = self.label();
        let mut line = std::pin::pin!(self.prompt.line(label.clone(), remember));
        loop {
            tokio::select! {
                typed = &mut line => {
                    let text = if let Answer::Typed(text) = &typed { text.as_str() } else { "" };
                    self.console.typed(&label, text);
                    return typed;
                }
                stop = signals.next() => if stop == Stop::Terminate || interrupted.again() {
                    end_typing();
                    return Answer::End;
                },
            }
            self.console.message(ONCE_MORE);
            if is_dumb() {
                show_prompt(&label); // The editor shows it by itself.
            }
        }
    }

    /// Waits a moment for a tracker, so that the first prompt knows who is logged in.
    async fn greet(&self, signals: &mut Signals) {
        let ready = tokio::select! {
            ready = self.app.trackers().ready() => ready,
            _ = signals.next() => return,
        };
        match ready {
            Ok(Some(who)) => self.console.message(&format!("logged in as {}", who.user)),
            Ok(None) => self.console.hint("login <user>, or create_user <user>"),
            Err(e) => self.console.message(&render::error(&e)),
        }
    }

    fn label(&self) -> String {
        match self.app.trackers().session().borrow().as_ref() {
            Some(who) => format!("{}@shoal> ", who.user),
            None => "shoal> ".to_owned(),
        }
    }

    async fn line(&self, parsed: Parsed, signals: &mut Signals) -> Next {
        let command = match parsed.command {
            Ok(command) if needs_password(&command) => match self.with_password(command, signals).await {
                Ok(command) => command,
                Err(next) => return next,
            },
            command => command,
        };
        let result = match command {
            Ok(command) => tokio::select! {
                result = execute(&self.app, command, self.console.columns()) => result,
                stop = signals.next() => {
                    self.console.message("interrupted");
                    return if stop == Stop::Terminate { Next::Leave } else { Next::Interrupted };
                }
            },
            Err(e) => Err(e),
        };
        match &result {
            Ok(outcome) => {
                self.names.note(None, outcome);
                show(&self.console, outcome, true);
            }
            Err(e) => self.console.message(&render::error(e)),
        }
        if matches!(result, Ok(Outcome::Quit {})) { Next::Leave } else { Next::Prompt }
    }

    /// Asks for the password that a command lacks.
    async fn with_password(&self, command: Command, signals: &mut Signals) -> Result<Result<Command, Error>, Next> {
        let mut asked = std::pin::pin!(ask(&self.prompt, &self.console, command));
        loop {
            tokio::select! {
                command = &mut asked => return command.ok_or(Next::Interrupted),
                stop = signals.next() => match stop {
                    Stop::Terminate => return Err(Next::Leave),
                    Stop::Interrupt if self.prompt.abandon() => {
                        self.console.message("");
                        return Err(Next::Interrupted);
                    }
                    Stop::Interrupt => {}
                },
            }
        }
    }

    /// Starts what goes on beside the prompt.
    pub(super) fn spawn_background(&self, tasks: &TaskGroup, wants: mpsc::Receiver<List>, bars: Drawn) {
        tasks.spawn("completion", answer_names(Arc::clone(&self.app), self.names.clone(), wants));
        tasks.spawn("news", tell_news(self.app.trackers().pushes(), self.console.clone()));
        tasks.spawn("downloads", follow_downloads(Arc::clone(&self.app), self.console.clone(), bars));
        tasks.spawn("session names", follow_session(Arc::clone(&self.app), self.names.clone()));
    }
}

/// When Ctrl-C was last pressed.
#[derive(Debug, Default)]
struct Interrupts(Option<Instant>);

impl Interrupts {
    /// Takes note of one: whether there was another shortly before.
    fn again(&mut self) -> bool {
        let before = self.0.replace(Instant::now());
        before.is_some_and(|at| at.elapsed() < TWICE)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Prompt,
    /// The prompt, without what was pasted with the line.
    Interrupted,
    Leave,
}

/// Makes the listings that completion wants.
async fn answer_names(app: Arc<App>, names: Names, mut wants: mpsc::Receiver<List>) {
    while let Some(list) = wants.recv().await {
        match app.run(list.command()).await {
            Ok(outcome) => names.note(Some(&list), &outcome),
            Err(_) => names.give_up(&list), // Nobody asked for a sentence about it.
        }
    }
}

/// Names are seen with a user's eyes: another user, other names.
async fn follow_session(app: Arc<App>, names: Names) {
    let mut session = app.trackers().session();
    while session.changed().await.is_ok() {
        names.clear();
        if session.borrow_and_update().is_some()
            && let Ok(outcome) = app.run(Command::ListGroups).await
        {
            names.note(None, &outcome);
        }
    }
}

async fn tell_news(mut pushes: broadcast::Receiver<Push>, console: Console) {
    loop {
        match pushes.recv().await {
            Ok(push) => render::push(&push).into_iter().for_each(|line| console.message(&line)),
            Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}

/// What is known of a download, and since when.
struct Seen {
    state: State,
    since: Instant,
    told: bool,
}

impl Seen {
    fn new(state: State, told: bool) -> Self {
        Self { state, since: Instant::now(), told }
    }

    /// Takes note of `state`: whether that is news now. Waiting is, if it lasts.
    fn is_news(&mut self, state: State) -> bool {
        if self.state != state {
            *self = Self::new(state, false);
        }
        let news = !self.told && (state != State::Waiting || self.since.elapsed() > WAITS);
        self.told |= news;
        news
    }

    /// Whether it may be news later, without a change.
    fn is_to_be_told(&self) -> bool {
        !self.told && self.state == State::Waiting
    }
}

/// A bar for each download that moves, and a line when one ends. It sleeps while nothing changes.
async fn follow_downloads(app: Arc<App>, console: Console, bars: Drawn) {
    // What is there before is no news.
    let known = app.downloads().list().into_iter().map(|row| (row.n, Seen::new(row.progress.state, true)));
    let mut known: HashMap<DownloadId, Seen> = known.collect();
    let mut drawn: HashMap<DownloadId, Box<dyn Bar>> = HashMap::new();
    loop {
        let change = app.downloads().change();
        let rows = app.downloads().list();
        let mut is_more_to_tell = false;
        drawn.retain(|id, _| rows.iter().any(|row| row.n == *id));
        for row in rows {
            let state = row.progress.state;
            if matches!(state, State::Downloading | State::Waiting) {
                let bar = drawn.entry(row.n).or_insert_with(|| bars.add(format!("{} {}", row.n, row.name)));
                bar.set(row.progress.have, row.progress.size, &note(&row.progress));
            } else {
                drawn.remove(&row.n);
            }
            let seen = known.entry(row.n).or_insert_with(|| Seen::new(state, false));
            if seen.is_news(state) {
                tell_change(&app, &console, &row).await;
            }
            is_more_to_tell |= seen.is_to_be_told();
        }
        tokio::time::sleep(LOOK).await;
        if !is_more_to_tell {
            change.await;
        }
    }
}

async fn tell_change(app: &App, console: &Console, row: &DownloadRow) {
    let reason = row.progress.reason.as_deref().unwrap_or("no reason given");
    match row.progress.state {
        State::Complete => {
            if let Ok(done) = app.downloads().finished(row.n).await {
                let text = render::text(&Outcome::Downloaded(done.into())).data;
                console.message(&format!("download {} complete: {text}", row.n));
            }
        }
        State::Failed => {
            let again = format!("`resume_download {}` tries again", row.n);
            console.message(&format!("download {} ({}) failed: {reason}; {again}", row.n, row.name));
        }
        State::Waiting => console.message(&format!("download {} ({}) waits: {reason}", row.n, row.name)),
        State::Paused if row.progress.reason.is_some() => {
            console.message(&format!("download {} ({}) is paused: {reason}", row.n, row.name));
        }
        State::Paused | State::Downloading => {}
    }
}
