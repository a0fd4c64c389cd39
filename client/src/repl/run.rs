//! From arguments to an exit status: starts the rooms, runs the prompt or the script, stops the rooms.

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::time::Duration;

use common::task::TaskGroup;
use common::tls::DeviceKey;
use common::tracker_info::TrackerInfo;
use tokio::sync::{broadcast, mpsc};
use tokio::time::timeout;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use super::console::{Console, LogWriter, fatal, is_lively};
use super::interactive::Interactive;
use super::names::Names;
use super::progress::Drawn;
use super::prompt::{Prompt, Started};
use super::render;
use super::script::{DONE, End, FAILED, Script, Source, USAGE};
use super::signals::Signals;
use crate::app::{App, Bars, Downloading, NoBars};
use crate::config::{Args, DataDir};
use crate::download::{DownloadConfig, Downloads};
use crate::error::Error;
use crate::share::{ShareConfig, Shares};
use crate::trackers::{Notice, Trackers, TrackersConfig};
use crate::transfer::Limits;

/// How long unfinished work may take to be put down.
const STOP_WORK: Duration = Duration::from_secs(3);
/// How long tasks may take to end.
const STOP_TASKS: Duration = Duration::from_secs(2);

/// Runs the client; the exit status.
pub fn run(args: Args) -> u8 {
    let info = match args.read_tracker_info() {
        Ok(info) => info,
        Err(e) => return fault(USAGE, &e),
    };
    let data_dir = match DataDir::open(&args.data_dir()) {
        Ok(data_dir) => data_dir,
        Err(e) => return fault(FAILED, &e),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => return fault(FAILED, &e),
    };
    let status = runtime.block_on(serve(&args, info, &data_dir)).unwrap_or_else(|e| fault(FAILED, &e));
    // A thread that waits for the next piped line would keep a patient runtime for ever.
    runtime.shutdown_background();
    status
}

fn fault(status: u8, error: &dyn std::fmt::Display) -> u8 {
    fatal(&error.to_string());
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
        match (scripted, args.stay) {
            (false, _) => Self::Prompt,
            (true, false) => Self::Script,
            (true, true) => Self::Stay,
        }
    }
}

async fn serve(args: &Args, info: TrackerInfo, data_dir: &DataDir) -> Result<u8, Error> {
    let mut signals = Signals::listen().map_err(|e| Error::from_io_about("listen to signals", e))?;
    let tasks = TaskGroup::new();
    let manner = Manner::of(args);
    let sources = match sources(args).await {
        Ok(sources) => sources,
        Err(e) => return Ok(fault(USAGE, &e)),
    };
    let front = Front::open(manner, data_dir, &tasks)?;
    log_to(&front, manner);
    let (app, notices) = open_rooms(args, info, data_dir, &tasks, &front, manner).await?;
    let app = Arc::new(app);
    tasks.spawn("notices", tell_notices(notices, front.console.clone(), manner));
    tasks.spawn("share notices", tell_share_notices(app.shares().notices(), front.console.clone()));
    if manner != Manner::Script {
        app.trackers().serve_at(app.shares().listen_addr());
        tasks.spawn("restore", restore(Arc::clone(&app)));
    }
    let status = front.run(args, sources, &app, &tasks, &mut signals).await;
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
        listen: args.listen,
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
        sources: Vec<Source>,
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
        let attended = io::stdin().is_terminal() && io::stderr().is_terminal();
        let Args { json, keep_going, stay, .. } = *args;
        let script = Script { app, console: &console, json, keep_going, stay, attended };
        match script.run(sources, signals).await {
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

/// What is to be run: `-c`, then `-f`, or else stdin.
async fn sources(args: &Args) -> Result<Vec<Source>, Error> {
    let mut sources = Vec::new();
    if !args.commands.is_empty() {
        sources.push(Source::given(args.commands.clone()));
    }
    if let Some(path) = &args.file {
        let stdin = path.as_os_str() == "-";
        sources.push(if stdin { Source::stdin() } else { Source::file(path).await? });
    }
    if sources.is_empty() {
        sources.push(Source::stdin());
    }
    Ok(sources)
}

/// Brings shares and downloads back whenever somebody is logged in.
async fn restore(app: Arc<App>) {
    let mut session = app.trackers().session();
    loop {
        let user = session.borrow_and_update().as_ref().map(|s| s.user_id);
        if user.is_some() {
            app.shares().restore().await;
            app.downloads().restore().await;
        }
        if session.changed().await.is_err() {
            return;
        }
    }
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
