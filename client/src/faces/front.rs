//! Which face this process shows on its terminal or pipes: the prompt, or a script; and where its output goes.

use std::collections::VecDeque;
use std::io::{self, IsTerminal};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use common::task::TaskGroup;
use common::terminal;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::time::timeout;
use tracing_subscriber::EnvFilter;

use super::console::{Console, LogWriter, is_lively};
use super::progress::Drawn;
use super::prompt::Interactive;
use super::prompt::editor::{Prompt, Started};
use super::prompt::names::{List, Names};
use super::script::passwords::Passwords;
use super::script::{DONE, End, Script, Source};
use super::signals::Signals;
use super::{Service, render};
use crate::config::Args;
use crate::engine::Event;
use crate::engine::news::{Happening, News};
use crate::error::Error;

/// Time in which a script asks for its next line.
const BETWEEN_LINES: Duration = Duration::from_secs(1);

/// What lines are to be run, and for whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// A person types them.
    Prompt,
    /// A script that leaves at its end.
    Script,
    /// A script that stays at its end.
    Stay,
}

impl Manner {
    pub(crate) fn of(args: &Args) -> Self {
        let scripted = !args.commands.is_empty() || args.file.is_some() || args.json || !io::stdin().is_terminal();
        let background = would_be_stopped(args);
        match (scripted || background || args.stay, args.stay || background) {
            (false, _) => Self::Prompt,
            (true, false) => Self::Script,
            (true, true) => Self::Stay,
        }
    }
}

/// Whether lines would be read from a terminal that this process is in the background of, which would stop it with
/// everything that it seeds (SIGTTIN).
fn would_be_stopped(args: &Args) -> bool {
    let reads_stdin = args.file.as_ref().map_or(args.commands.is_empty(), |file| file.as_os_str() == "-");
    reads_stdin && io::stdin().is_terminal() && terminal::is_in_background()
}

/// Whether there are no lines at all, and it is to stay: with `--stay` nobody types.
fn is_service(args: &Args) -> bool {
    args.stay && args.commands.is_empty() && args.file.is_none() && io::stdin().is_terminal()
}

/// The terminal's side of this process: where output goes, and what the prompt needs.
pub(crate) struct Front {
    manner: Manner,
    console: Console,
    bars: Drawn,
    person: Option<Person>,
    /// How many are attached to the engine of this process and end with it, if that lets anybody in.
    attached: Option<watch::Receiver<usize>>,
}

struct Person {
    prompt: Prompt,
    names: Names,
    wants: mpsc::Receiver<List>,
}

impl Front {
    /// Takes the terminal; the history of lines is in `data_dir`.
    ///
    /// # Errors
    /// When the terminal cannot be used.
    pub(crate) fn open(manner: Manner, data_dir: &Path, tasks: &TaskGroup) -> Result<Self, Error> {
        let plain = Drawn::on_stderr();
        let console = Console::plain(plain.multi());
        if manner != Manner::Prompt {
            return Ok(Self { manner, console, bars: plain, person: None, attached: None });
        }
        let failed = |e| Error::from_io_about("start the prompt", e);
        let (names, wants) = Names::open();
        let colour = is_lively(&io::stdout());
        let Started { prompt, printer } = Prompt::start(Some(names.clone()), Some(data_dir), colour).map_err(failed)?;
        // Output that goes elsewhere cannot garble the line being typed.
        let (console, bars) = match printer {
            Some(printer) => {
                let console = Console::prompt(printer).map_err(failed)?;
                let bars = Drawn::above_prompt(console.clone(), tasks);
                (console, bars)
            }
            None => (console, plain),
        };
        Ok(Self { manner, console, bars, person: Some(Person { prompt, names, wants }), attached: None })
    }

    /// From now on logs go to stderr, at the prompt above the line being typed; by default only what matters.
    pub(crate) fn log(&self) {
        let default = if self.manner == Manner::Stay { "client=warn,common=warn" } else { "client=error,common=error" };
        let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
        let console = self.console.clone();
        let log = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false);
        // Another log is installed already, in tests: that one has it then.
        let _ = log.with_writer(move || LogWriter(console.clone())).try_init();
    }

    /// Begins to tell what `service` tells. To be called before that begins to.
    pub(crate) fn listen(&self, service: &Arc<dyn Service>, args: &Args, tasks: &TaskGroup) {
        if self.manner != Manner::Prompt {
            tasks.spawn("news", tell_script(service.events(), self.console.clone(), args.json, args.stay));
        } else if let Some(person) = &self.person {
            super::prompt::spawn_listeners(service, &self.console, &person.names, &self.bars, tasks);
        }
    }

    /// Tells how many are attached and end with this process.
    pub(crate) fn mind(&mut self, attached: watch::Receiver<usize>) {
        self.attached = Some(attached);
    }

    /// Runs the lines, to the end or until somebody wants to leave; the exit status.
    pub(crate) async fn run(
        &mut self,
        args: &Args,
        lines: &mut Lines,
        service: Arc<dyn Service>,
        tasks: &TaskGroup,
        signals: &mut Signals,
    ) -> u8 {
        let Self { manner, ref console, ref bars, .. } = *self;
        lines.first.take().iter().for_each(|text| console.message(text));
        if let Some(Person { prompt, names, wants }) = self.person.take() {
            let (console, bars) = (console.clone(), bars.clone());
            let attached = self.attached.take();
            // It was read at the start.
            let invitation = args.invitation().ok().flatten();
            let interactive = Interactive { service, console, prompt, names, bars, attached, invitation };
            interactive.spawn_completion(tasks, wants);
            return interactive.run(signals).await;
        }
        let Args { json, keep_going, .. } = *args;
        let stay = manner == Manner::Stay;
        let attended = io::stdin().is_terminal() && io::stderr().is_terminal() && !terminal::is_in_background();
        let bars = (!json).then_some(bars);
        let mut script = Script::new(&*service, console, &lines.passwords, bars);
        (script.json, script.keep_going, script.stay, script.attended) = (json, keep_going, stay, attended);
        match script.run(&mut lines.sources, signals).await {
            End::Over(status) if stay && (status == DONE || keep_going) => {
                if !json {
                    console.message(if service.outlives_this_face() {
                        "attached to the client that runs on this data directory; staying to take its place when it ends"
                    } else {
                        "staying to seed; SIGINT, SIGTERM or `shutdown` ends it"
                    });
                }
                signals.next().await;
                DONE
            }
            End::Left(status) | End::Over(status) => status,
        }
    }

    /// Says something about the start.
    pub(crate) fn say(&self, text: &str) {
        self.console.message(text);
    }

    /// Stays until the last of those who are attached has left, or somebody wants this process to end.
    pub(crate) async fn stay_for(&self, mut faces: watch::Receiver<usize>, signals: &mut Signals) {
        self.say(
            "staying until the clients that are attached to this one have left; SIGINT, SIGTERM or `shutdown` ends it",
        );
        let left = async {
            while faces.wait_for(|faces| *faces == 0).await.is_ok() {
                // One that takes over is counted only while it is answered, and has further lines perhaps.
                if timeout(BETWEEN_LINES, faces.wait_for(|faces| *faces > 0)).await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            () = left => {}
            _ = signals.next() => {}
        }
    }
}

/// What a script runs.
pub(crate) struct Lines {
    sources: VecDeque<Source>,
    /// For lines that leave theirs out.
    passwords: Passwords,
    /// What is said before any of them.
    first: Option<String>,
}

impl Lines {
    /// What is to be run: `-c`, then `-f`, or else stdin.
    ///
    /// # Errors
    /// When a script or a file descriptor cannot be read.
    pub(crate) async fn of(args: &Args) -> Result<Self, Error> {
        let mut sources = VecDeque::new();
        if !args.commands.is_empty() {
            sources.push_back(Source::given(args.commands.clone()));
        }
        if let Some(path) = &args.file {
            let is_stdin = path.as_os_str() == "-";
            if !is_stdin {
                sources.push_back(Source::file(path).await?);
            } else if !would_be_stopped(args) {
                sources.push_back(Source::stdin());
            }
        } else if sources.is_empty() && !would_be_stopped(args) && !is_service(args) {
            sources.push_back(Source::stdin());
        }
        Ok(Self { sources, passwords: Passwords::open(args.password_fd).await?, first: None })
    }

    /// Has something said before the first line.
    pub(crate) fn say_first(&mut self, text: String) {
        self.first = Some(text);
    }
}

/// Scripts hear what there is to hear on stderr.
async fn tell_script(mut events: broadcast::Receiver<Event>, console: Console, json: bool, stays: bool) {
    let mut is_lost = false;
    loop {
        match events.recv().await {
            Ok(Event::News(news)) => {
                let is_back = is_lost && matches!(news.event, Happening::Connected | Happening::Switched);
                is_lost = news.event == Happening::Lost || is_lost && !is_back;
                // Who stays may have no command any more that would tell it.
                let is_alone = stays && news.event == Happening::SessionEnded;
                let line = if is_back || is_alone { Some(news.text.clone()) } else { for_script(&news, json) };
                line.iter().for_each(|line| console.message(line));
            }
            Ok(Event::Progress(_) | Event::Download(_) | Event::Share(_) | Event::Status(_))
            | Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}

/// What a script is told of `news`. It tells what it does by its commands, so of its groups only what changes names, and
/// all with `--json`, each as an object; that the trackers come and go is for people.
fn for_script(news: &News, json: bool) -> Option<String> {
    match news.event {
        event if json && event.is_of_groups() => render::news(news),
        Happening::UserRenamed | Happening::GroupRenamed => Some(news.text.clone()),
        event if event.is_of_groups() => None,
        // What comes of the end is told by the command that it interrupts.
        Happening::Connected | Happening::SessionEnded | Happening::ShutDown => None,
        // What was missed is for who asks, and what is complete is told by what fetched it.
        Happening::Missed | Happening::Downloaded => None,
        _ => Some(news.text.clone()),
    }
}
