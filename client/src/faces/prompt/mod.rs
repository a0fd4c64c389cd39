//! The prompt: one line after the other, and calm news in between.

mod complete;
mod downloads;
pub(super) mod editor;
mod history;
pub(super) mod names;
mod newcomer;
mod secrecy;

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::id::{GroupName, UserName};
use common::invitation::Invitation;
use common::task::TaskGroup;
use common::wire::refusal::Refusal;
use tokio::sync::{broadcast, mpsc, watch};

use self::editor::{Answer, Prompt};
use self::names::{List, Names};
use super::ask::{ask, needs_password};
use super::console::{Console, end_typing, fatal, is_dumb, show_prompt};
use super::execute::{execute, show};
use super::parse::{self, Parsed};
use super::progress::Drawn;
use super::script::{DONE, FAILED};
use super::signals::{Signals, Stop};
use super::{Service, render};
use crate::engine::news::Happening;
use crate::engine::outcome::State;
use crate::engine::{Call, Command, Event, Outcome};
use crate::error::Error;
use crate::units::count;

/// Two Ctrl-C within this time leave.
const TWICE: Duration = Duration::from_millis(1500);
/// What one Ctrl-C is answered.
const ONCE_MORE: &str = "(Ctrl-C once more, Ctrl-D or `quit` leaves)";

/// What is asked before others are left alone, here and in a group.
const LEAVE: &str = "leave all the same? [y/N] ";

/// What the prompt works with.
pub(super) struct Interactive {
    pub(super) service: Arc<dyn Service>,
    pub(super) console: Console,
    pub(super) prompt: Prompt,
    pub(super) names: Names,
    pub(super) bars: Drawn,
    /// How many are attached to the engine of this process and end with it.
    pub(super) attached: Option<watch::Receiver<usize>>,
    /// What the client was started with.
    pub(super) invitation: Option<Invitation>,
}

impl Interactive {
    /// Reads and runs lines until the user leaves; the exit status.
    pub(super) async fn run(mut self, signals: &mut Signals) -> u8 {
        self.console.message("Shoal. `help` shows all commands, Tab completes them, Ctrl-D leaves.");
        if self.service.outlives_this_face() {
            let text =
                "attached to the client that runs on this data directory: `quit` leaves it running, `shutdown` ends it";
            self.console.message(text);
        }
        self.greet(signals).await;
        let mut invitation = self.invitation.take();
        let mut remember = Vec::new();
        let mut interrupted = Interrupts::default();
        loop {
            self.console.flush();
            let label = self.label();
            let next = match invitation.take() {
                Some(invitation) => self.come_in(invitation, signals).await,
                None => self.next(&label, &mut remember, &mut interrupted, signals).await,
            };
            match next {
                Next::Prompt | Next::Interrupted => {}
                Next::Leave if !self.is_free_to_leave(signals).await => {}
                Next::Leave | Next::Stopped => {
                    self.console.over();
                    return self.take_leave().await;
                }
                Next::Ended => {
                    self.console.over();
                    return self.tell_end();
                }
            }
        }
    }

    /// Reads what is typed at the prompt and runs it.
    async fn next(
        &self,
        label: &str,
        remember: &mut Vec<String>,
        interrupted: &mut Interrupts,
        signals: &mut Signals,
    ) -> Next {
        match self.typed(label, std::mem::take(remember), interrupted, signals).await {
            Ok(Answer::Typed(typed)) => self.lines(&typed, remember, signals).await,
            Ok(Answer::Interrupted) if interrupted.again() => Next::Leave,
            Ok(Answer::Interrupted) => {
                self.console.message(ONCE_MORE);
                Next::Prompt
            }
            Ok(Answer::End) if self.service.ended().is_cancelled() => Next::Ended,
            Ok(Answer::End) => Next::Leave,
            Err(next) => next,
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
            let next = self.line(parsed, signals).await;
            match next {
                Next::Prompt => {}
                Next::Interrupted if left > 0 => {
                    let rest = count(left as u64, "pasted line was not run", "pasted lines were not run");
                    self.console.message(&rest);
                    return Next::Prompt;
                }
                Next::Interrupted => return Next::Prompt,
                Next::Leave | Next::Stopped | Next::Ended => return next,
            }
        }
        Next::Prompt
    }

    /// Whether nobody ends with the engine of this process, or the user ends it all the same.
    async fn is_free_to_leave(&self, signals: &mut Signals) -> bool {
        let attached = self.attached.as_ref().map_or(0, |attached| *attached.borrow()) as u64;
        if attached == 0 {
            return true;
        }
        let who = count(
            attached,
            "other client is attached to this one, and ends",
            "other clients are attached to this one, and end",
        );
        self.console.message(&format!("{who} with it. A client that stays by itself is started with `client --stay`"));
        self.console.flush();
        match self.typed(LEAVE, Vec::new(), &mut Interrupts::default(), signals).await {
            Ok(Answer::Typed(typed)) => is_yes(&typed),
            Ok(Answer::Interrupted) => false,
            // The terminal is gone, or whoever presses Ctrl-D twice means it.
            Ok(Answer::End) | Err(_) => true,
        }
    }

    /// Whether the user means to leave a group that is theirs to decide in.
    async fn means_to_leave(&self, group: &GroupName, signals: &mut Signals) -> Result<bool, Next> {
        let listed = self.service.run(Command::ListMembers { group: group.clone() }, Call::unwatched(false)).await;
        // What is wrong is said of the command itself.
        let Ok(Outcome::Members { members }) = listed else { return Ok(true) };
        let me = self.service.user();
        if !members.iter().any(|member| member.admin && Some(&member.user) == me.as_ref()) {
            return Ok(true);
        }
        let text = match members.len() {
            1 => format!("you are the only member of `{group}`: it ends when you leave, with all that is shared there"),
            _ => format!(
                "you are the admin of `{group}`: whoever has been a member for longest takes over; \
                 `make_admin {group} <user>` chooses"
            ),
        };
        self.console.message(&text);
        self.console.flush();
        match self.typed(LEAVE, Vec::new(), &mut Interrupts::default(), signals).await? {
            Answer::Typed(typed) => Ok(is_yes(&typed)),
            Answer::Interrupted => Ok(false),
            Answer::End => {
                end_typing();
                Ok(false)
            }
        }
    }

    /// Says that the client has ended without this prompt's doing; the exit status. The line editor still waits for a line, and
    /// would not show it any more.
    fn tell_end(&self) -> u8 {
        if self.service.is_shut_down() {
            fatal("it was shut down from elsewhere");
            return DONE;
        }
        fatal("the client that this prompt was attached to has ended; the same command starts it again");
        FAILED
    }

    /// Says what goes on when the client is started again; the exit status.
    async fn take_leave(&self) -> u8 {
        if self.service.outlives_this_face() {
            return DONE;
        }
        let listed = self.service.run(Command::ShowDownloads, Call::unwatched(false)).await;
        let Ok(Outcome::Downloads { downloads }) = listed else { return DONE };
        let unfinished = downloads.iter().filter(|row| matches!(row.state, State::Downloading | State::Waiting));
        let unfinished = unfinished.count() as u64;
        if unfinished > 0 {
            let what = count(unfinished, "unfinished download goes on", "unfinished downloads go on");
            self.console.message(&format!("{what} when this client is started again"));
            self.console.flush();
        }
        DONE
    }

    /// What is typed. A signal to interrupt counts as Ctrl-C: it may be one that was meant for a
    /// command which ended first.
    async fn typed(
        &self,
        label: &str,
        remember: Vec<String>,
        interrupted: &mut Interrupts,
        signals: &mut Signals,
    ) -> Result<Answer, Next> {
        let mut line = std::pin::pin!(self.prompt.line(label.to_owned(), remember));
        let taken = |typed: &Answer| {
            let text = if let Answer::Typed(text) = typed { text.as_str() } else { "" };
            self.console.typed(label, text);
        };
        loop {
            let stop = tokio::select! {
                // What is pressed after the line has been taken is meant for its command.
                biased;
                typed = &mut line => {
                    taken(&typed);
                    return Ok(typed);
                }
                stop = signals.next() => stop,
            };
            if stop == Stop::Interrupt
                && let Some(typed) = signals.on_its_way(line.as_mut(), |typed| matches!(typed, Answer::Typed(_))).await
            {
                taken(&typed);
                return Ok(typed);
            }
            if stop != Stop::Interrupt || interrupted.again() {
                end_typing();
                return Err(if stop == Stop::Ended { Next::Ended } else { Next::Stopped });
            }
            self.console.message(ONCE_MORE);
            if is_dumb() {
                show_prompt(label); // The editor shows it by itself.
            }
        }
    }

    /// Waits a moment for a tracker, so that the first prompt knows who is logged in.
    async fn greet(&self, signals: &mut Signals) {
        let ready = tokio::select! {
            ready = self.service.run(Command::Whoami, Call::unwatched(false)) => ready,
            _ = signals.next() => return,
        };
        match ready {
            Ok(Outcome::Whoami(who)) => self.console.message(&format!("logged in as {}", who.user)),
            Err(e) if e.code() != "not_logged_in" => self.console.message(&render::error(&e)),
            Err(_) if self.invitation.is_some() => {}
            Ok(_) | Err(_) => self.console.hint("login <user>, or create_user <user>"),
        }
    }

    fn label(&self) -> String {
        match self.service.user() {
            Some(user) => format!("{user}@shoal> "),
            None => "shoal> ".to_owned(),
        }
    }

    async fn line(&self, parsed: Parsed, signals: &mut Signals) -> Next {
        let command = match parsed.command {
            Ok(Command::AcceptInvite { line: None }) if self.service.user().is_none() => {
                Err(Error::Refused(Refusal::NotLoggedIn))
            }
            Ok(command) if needs_password(&command) => match self.with_password(command, signals).await {
                Ok(command) => command,
                Err(next) => return next,
            },
            command => command,
        };
        if let Ok(Command::LeaveGroup { group }) = &command {
            match self.means_to_leave(group, signals).await {
                Ok(true) => {}
                Ok(false) => {
                    self.console.message(&format!("you are still in `{group}`"));
                    return Next::Prompt;
                }
                Err(next) => return next,
            }
        }
        let result = match command {
            Ok(command) => match self.carry_out(command, signals).await {
                Ok(result) => result,
                Err(next) => return next,
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
        match result {
            Ok(Outcome::Quit {}) => Next::Leave,
            Ok(Outcome::ShutDown {}) => Next::Stopped,
            _ => Next::Prompt,
        }
    }

    /// Carries a command out, unless a signal comes first.
    async fn carry_out(&self, command: Command, signals: &mut Signals) -> Result<Result<Outcome, Error>, Next> {
        tokio::select! {
            result = self.execute(command) => Ok(result),
            stop = signals.next() => Err(self.interrupted(stop)),
        }
    }

    /// What follows on a signal that came while something was being done.
    fn interrupted(&self, stop: Stop) -> Next {
        self.console.message("interrupted");
        match stop {
            Stop::Interrupt => Next::Interrupted,
            Stop::Terminate => Next::Stopped,
            Stop::Ended => Next::Ended,
        }
    }

    /// Asks for the password that a command lacks.
    async fn with_password(&self, command: Command, signals: &mut Signals) -> Result<Result<Command, Error>, Next> {
        // Pressed after the line was: nothing is asked any more.
        if signals.take_back().is_some() {
            self.console.message("interrupted");
            return Err(Next::Interrupted);
        }
        let mut asked = std::pin::pin!(ask(&self.prompt, &self.console, command));
        loop {
            tokio::select! {
                biased;
                command = &mut asked => return command.ok_or(Next::Interrupted),
                stop = signals.next() => match stop {
                    Stop::Terminate => return Err(Next::Stopped),
                    Stop::Ended => return Err(Next::Ended),
                    Stop::Interrupt if self.prompt.abandon() => {
                        self.console.message("");
                        return Err(Next::Interrupted);
                    }
                    Stop::Interrupt => {
                        if let Some(command) = signals.on_its_way(asked.as_mut(), Option::is_some).await {
                            return command.ok_or(Next::Interrupted);
                        }
                    }
                },
            }
        }
    }

    /// Downloads go on while further lines are typed.
    async fn execute(&self, command: Command) -> Result<Outcome, Error> {
        let call = Call { wait: false, progress: self.bars.sink() };
        execute(&*self.service, command, call, self.console.columns()).await
    }

    /// Answers Tab from now on.
    pub(super) fn spawn_completion(&self, tasks: &TaskGroup, wants: mpsc::Receiver<List>) {
        tasks.spawn("completion", answer_names(Arc::clone(&self.service), self.names.clone(), wants));
    }
}

/// Shows from now on beside the prompt what happens.
pub(super) fn spawn_listeners(
    service: &Arc<dyn Service>,
    console: &Console,
    names: &Names,
    bars: &Drawn,
    tasks: &TaskGroup,
) {
    let events = service.events();
    let followed = downloads::follow(Arc::clone(service), service.events(), console.clone(), bars.clone());
    tasks.spawn("prompt downloads", followed);
    tasks.spawn("prompt news", tell_news(Arc::clone(service), events, console.clone(), names.clone()));
}

fn is_yes(typed: &str) -> bool {
    ["y", "yes"].contains(&typed.trim().to_ascii_lowercase().as_str())
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
    /// The end, whoever is attached.
    Stopped,
    /// The client is gone, or about to be.
    Ended,
}

/// Makes the listings that completion wants.
async fn answer_names(service: Arc<dyn Service>, names: Names, mut wants: mpsc::Receiver<List>) {
    while let Some(list) = wants.recv().await {
        match service.run(list.command(), Call::unwatched(false)).await {
            Ok(outcome) => names.note(Some(&list), &outcome),
            Err(_) => names.give_up(&list), // Nobody asked for a sentence about it.
        }
    }
}

/// Tells news, and forgets the names that another user saw.
async fn tell_news(service: Arc<dyn Service>, mut events: broadcast::Receiver<Event>, console: Console, names: Names) {
    let mut user: Option<UserName> = None;
    loop {
        match events.recv().await {
            // The prompt says so when it leaves.
            Ok(Event::News(news)) if news.event == Happening::ShutDown => {}
            Ok(Event::News(news)) => console.message(&news.text),
            Ok(Event::Status(status)) if status.user != user => {
                user = status.user;
                names.clear();
                if user.is_some()
                    && let Ok(outcome) = service.run(Command::ListGroups, Call::unwatched(false)).await
                {
                    names.note(None, &outcome);
                }
            }
            Ok(Event::Progress(_) | Event::Download(_) | Event::Share(_) | Event::Status(_))
            | Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}
