//! From arguments to an exit status: starts the rooms, runs the prompt or the script, stops the rooms.

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use common::id::UserId;
use common::task::TaskGroup;
use common::terminal;
use common::tls::DeviceKey;
use common::tracker_info::TrackerInfo;
use common::wire::client::Push;
use tokio::sync::{broadcast, mpsc};
use tokio::time::timeout;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use super::console::{Console, LogWriter, fatal, fatal_data, is_lively};
use super::interactive::Interactive;
use super::names::Names;
use super::passwords::Passwords;
use super::progress::Drawn;
use super::prompt::{Prompt, Started};
use super::render;
use super::script::{DONE, End, Script, Source, USAGE};
use super::signals::Signals;
use crate::app::{App, Bars, Downloading, NoBars};
use crate::config::{self, Args, DataDir};
use crate::download::{DownloadConfig, DownloadRow, Downloads, State};
use crate::error::Error;
use crate::share::{ShareConfig, Shares};
use crate::trackers::{Notice, Trackers, TrackersConfig};
use crate::transfer::Limits;
use crate::units::count;

/// How long unfinished work may take to be put down.
const STOP_WORK: Duration = Duration::from_secs(3);
/// How long tasks may take to end.
const STOP_TASKS: Duration = Duration::from_secs(2);

/// Runs the client as its command line says; the exit status.
pub fn start(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let arguments: Vec<_> = arguments.into_iter().collect();
    match Args::try_parse_from(&arguments) {
        Ok(args) => run(&args).unwrap_or_else(|e| fault(args.json, &e)),
        Err(e) => misused(&e, &arguments),
    }
}

/// The answer to a command line that asks for help, or is none of ours.
fn misused(error: &clap::Error, arguments: &[OsString]) -> u8 {
    let _ = error.print(); // Nowhere left to complain.
    if !error.use_stderr() {
        return DONE;
    }
    let meant = config::meant(arguments.get(1..).unwrap_or_default());
    let meant = meant.map(|line| format!("here it is `{line}`"));
    meant.iter().for_each(|text| fatal(text));
    if arguments.iter().any(|a| a == "--json") {
        let text = error.to_string();
        let first = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
        let text = meant.map_or_else(|| first.to_owned(), |meant| format!("{first}; {meant}"));
        fatal_data(&render::json(None, &Err(Error::Usage(text))));
    }
    USAGE
}

/// Says why the client did not start; the exit status.
fn fault(json: bool, error: &Error) -> u8 {
    fatal(&error.to_string());
    if json {
        fatal_data(&render::json(None, &Err(error.clone())));
    }
    USAGE
}

fn run(args: &Args) -> Result<u8, Error> {
    let info = args.read_tracker_info()?;
    let data_dir = DataDir::open(&args.data_dir())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|e| Error::from_io_about("start", e))?;
    let status = runtime.block_on(serve(args, info, &data_dir));
    // A thread that waits for the next piped line would keep a patient runtime for ever.
    runtime.shutdown_background();
    status
}

/// What lines are to be run, and for whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// A person types them.
    Prompt,
    /// A script that leaves at its end.
    Script,
    /// A script that stays at its end.
    Stay,
}

impl Manner {
    fn of(args: &Args) -> Self {
        let scripted = !args.commands.is_empty() || args.file.is_some() || args.json || !io::stdin().is_terminal();
        let background = would_be_stopped(args);
        match (scripted || background, args.stay || background) {
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

async fn serve(args: &Args, info: TrackerInfo, data_dir: &DataDir) -> Result<u8, Error> {
    let mut signals = Signals::listen().map_err(|e| Error::from_io_about("listen to signals", e))?;
    let tasks = TaskGroup::new();
    let manner = Manner::of(args);
    let lines = Lines { sources: sources(args).await?, passwords: Passwords::open(args.password_fd).await? };
    let front = Front::open(manner, data_dir, &tasks)?;
    log_to(&front, manner);
    let (app, notices) = open_rooms(args, info, data_dir, &tasks, &front, manner).await?;
    let app = Arc::new(app);
    tasks.spawn("notices", tell_notices(notices, front.console.clone(), manner));
    if manner != Manner::Prompt {
        tasks.spawn("news", tell_news(app.trackers().pushes(), front.console.clone(), args.json));
    }
    tasks.spawn("share notices", tell_share_notices(app.shares().notices(), front.console.clone()));
    if manner != Manner::Script {
        app.trackers().serve_at(app.shares().listen_addr());
        tasks.spawn("restore", restore(Arc::clone(&app), front.console.clone()));
    }
    let status = front.run(args, manner, lines, &app, &tasks, &mut signals).await;
    let _ = timeout(STOP_WORK, app.downloads().shutdown()).await; // What is on disk is resumed from.
    let _ = timeout(STOP_TASKS, tasks.stop()).await; // The process ends, whatever is stuck.
    Ok(status)
}

async fn open_rooms(
    args: &Args,
    info: TrackerInfo,
    data_dir: &DataDir,
    tasks: &TaskGroup,
    front: &Front,
    manner: Manner,
) -> Result<(App, mpsc::Receiver<Notice>), Error> {
    let path = data_dir.path().to_owned();
    let device = DeviceKey::load_or_create(&path.join("device.key"))
        .map_err(|e| Error::from_io_about("use this device's key", io::Error::other(e)))?;
    let limits = Limits::new(args.limit_up, args.limit_down);
    let (trackers, notices) = Trackers::start(TrackersConfig {
        data_dir: path.clone(),
        info,
        info_path: args.tracker_info.clone(),
        device: device.clone(),
        tasks: tasks.clone(),
    })?;
    let (id, device) = (device.id(), Arc::new(device));
    let shares = Shares::open(ShareConfig {
        data_dir: path.clone(),
        listen: args.listen_at()?,
        device: Arc::clone(&device),
        trackers: Arc::new(trackers.clone()),
        tasks: tasks.clone(),
        limits: limits.clone(),
    })
    .await?;
    let downloads = Downloads::open(DownloadConfig {
        data_dir: path,
        device,
        trackers: Arc::new(trackers.clone()),
        shares: shares.clone(),
        tasks: tasks.clone(),
        limits,
    })?;
    let downloading = if manner == Manner::Prompt { Downloading::Background } else { Downloading::Wait };
    // At the prompt a task draws the downloads; what is waited for is drawn by whoever waits.
    let bars: Box<dyn Bars> = if args.json { Box::new(NoBars) } else { Box::new(front.bars.clone()) };
    Ok((App::new(trackers, shares, downloads, id, downloading, bars), notices))
}

/// The terminal's side: where output goes, and what the prompt needs.
struct Front {
    console: Console,
    bars: Drawn,
    person: Option<Person>,
}

struct Person {
    prompt: Prompt,
    names: Names,
    wants: mpsc::Receiver<super::names::List>,
}

impl Front {
    fn open(manner: Manner, data_dir: &DataDir, tasks: &TaskGroup) -> Result<Self, Error> {
        let plain = Drawn::on_stderr();
        let console = Console::plain(plain.multi());
        if manner != Manner::Prompt {
            return Ok(Self { console, bars: plain, person: None });
        }
        let failed = |e| Error::from_io_about("start the prompt", e);
        let (names, wants) = Names::open();
        let colour = is_lively(&io::stdout());
        let Started { prompt, printer } =
            Prompt::start(Some(names.clone()), Some(data_dir.path()), colour).map_err(failed)?;
        // Output that goes elsewhere cannot garble the line being typed.
        let (console, bars) = match printer {
            Some(printer) => {
                let console = Console::prompt(printer).map_err(failed)?;
                let bars = Drawn::above_prompt(console.clone(), tasks);
                (console, bars)
            }
            None => (console, plain),
        };
        Ok(Self { console, bars, person: Some(Person { prompt, names, wants }) })
    }

    async fn run(
        self,
        args: &Args,
        manner: Manner,
        lines: Lines,
        app: &Arc<App>,
        tasks: &TaskGroup,
        signals: &mut Signals,
    ) -> u8 {
        let Self { console, bars, person } = self;
        if let Some(Person { prompt, names, wants }) = person {
            let interactive = Interactive { app: Arc::clone(app), console, prompt, names };
            interactive.spawn_background(tasks, wants, bars);
            return interactive.run(signals).await;
        }
        let Args { json, keep_going, .. } = *args;
        let stay = manner == Manner::Stay;
        let attended = io::stdin().is_terminal() && io::stderr().is_terminal() && !terminal::is_in_background();
        let mut script = Script::new(app, &console, &lines.passwords);
        (script.json, script.keep_going, script.stay, script.attended) = (json, keep_going, stay, attended);
        match script.run(lines.sources, signals).await {
            End::Over(status) if stay && (status == DONE || keep_going) => {
                if !json {
                    console.message("staying to seed; SIGINT or SIGTERM ends it");
                }
                signals.next().await;
                DONE
            }
            End::Left(status) | End::Over(status) => status,
        }
    }
}

/// What a script runs.
struct Lines {
    sources: Vec<Source>,
    /// For lines that leave theirs out.
    passwords: Passwords,
}

/// What is to be run: `-c`, then `-f`, or else stdin.
async fn sources(args: &Args) -> Result<Vec<Source>, Error> {
    let mut sources = Vec::new();
    if !args.commands.is_empty() {
        sources.push(Source::given(args.commands.clone()));
    }
    if let Some(path) = &args.file {
        let is_stdin = path.as_os_str() == "-";
        if !is_stdin {
            sources.push(Source::file(path).await?);
        } else if !would_be_stopped(args) {
            sources.push(Source::stdin());
        }
    } else if sources.is_empty() && !would_be_stopped(args) {
        sources.push(Source::stdin());
    }
    Ok(sources)
}

/// Brings shares and downloads back whenever somebody is logged in.
async fn restore(app: Arc<App>, console: Console) {
    let mut session = app.trackers().session();
    let mut told: Option<UserId> = None;
    loop {
        let user = session.borrow_and_update().as_ref().map(|s| s.user_id);
        if user.is_some() {
            app.shares().restore().await;
            app.downloads().restore().await;
            if told != user {
                going_on(&app.downloads().list()).iter().for_each(|text| console.message(text));
                told = user;
            }
        }
        if session.changed().await.is_err() {
            return;
        }
    }
}

/// What there is to say of the unfinished downloads of an earlier run.
fn going_on(rows: &[DownloadRow]) -> Option<String> {
    let number = |wanted: &[State]| rows.iter().filter(|row| wanted.contains(&row.progress.state)).count() as u64;
    let (going, paused) = (number(&[State::Downloading, State::Waiting]), number(&[State::Paused]));
    let going = (going > 0).then(|| count(going, "unfinished download goes on", "unfinished downloads go on"));
    let paused = (paused > 0).then(|| count(paused, "download is paused", "downloads are paused"));
    let all: Vec<_> = going.into_iter().chain(paused).collect();
    (!all.is_empty()).then(|| format!("{}: `show_downloads` shows them", all.join(", ")))
}

async fn tell_notices(mut notices: mpsc::Receiver<Notice>, console: Console, manner: Manner) {
    while let Some(notice) = notices.recv().await {
        // A script tells what it does by its commands; that the trackers come and go is for people.
        let for_scripts = !matches!(notice, Notice::Connected(_) | Notice::SessionEnded);
        if for_scripts || manner == Manner::Prompt {
            console.message(&render::notice(&notice));
        }
    }
}

/// Scripts hear, on stderr, what changes names; with `--json` all news, each as an object.
async fn tell_news(mut pushes: broadcast::Receiver<Push>, console: Console, json: bool) {
    loop {
        let line = match pushes.recv().await {
            Ok(push) if json => render::event(&push),
            Ok(push @ (Push::UserRenamed { .. } | Push::GroupRenamed { .. })) => render::push(&push),
            Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => None,
            Err(broadcast::error::RecvError::Closed) => return,
        };
        line.into_iter().for_each(|line| console.message(&line));
    }
}

async fn tell_share_notices(mut notices: broadcast::Receiver<crate::share::Notice>, console: Console) {
    loop {
        match notices.recv().await {
            Ok(notice) => console.message(&notice.to_string()),
            Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}

/// Logs go to stderr, at the prompt above the line being typed; by default only what matters.
fn log_to(front: &Front, manner: Manner) {
    let default = if manner == Manner::Stay { "client=warn,common=warn" } else { "client=error,common=error" };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let console = front.console.clone();
    let writer = move || LogWriter(console.clone());
    install(filter, writer);
}

fn install<W>(filter: EnvFilter, writer: W)
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(writer);
    // Another log is installed already, in tests: that one has it then.
    let _ = log.try_init();
}
