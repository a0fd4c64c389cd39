//! From arguments to an exit status. Composes what runs: where the data directory is free, the rooms, an engine over them and
//! its faces; where a client runs already, a face that is attached to it.
//!
//! The one place that knows all rooms. Invariant: who holds the lock of the data directory, and nobody else, serves.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{CommandFactory, FromArgMatches};
use common::escape::Escaped;
use common::file_names::DEVICE_KEY;
use common::task::TaskGroup;
use common::tls::DeviceKey;
use common::tracker_info::TrackerInfo;
use tokio::time::timeout;

use crate::config::{self, Args, DataDir, Opened};
use crate::download::{DownloadConfig, Downloads};
use crate::engine::controls::Active;
use crate::engine::{Begin, Call, Command, Copies, Engine, Outcome, PageLink, ReadMarks, Rooms, Subscriptions};
use crate::error::{Error, shown};
use crate::faces::control::attach::{Attached, Listening};
use crate::faces::control::{Control, socket};
use crate::faces::front::{Front, Lines, Manner};
use crate::faces::page::{Opener, PageConfig};
use crate::faces::script::{DONE, INTERRUPTED, TERMINATED, USAGE};
use crate::faces::{self, Service, Signals, fatal, fatal_data};
use crate::generate;
use crate::invited::Listed;
use crate::settings::{self, SettingName, Settings, Values};
use crate::share::{ShareConfig, Shares};
use crate::trackers::{Trackers, TrackersConfig};
use crate::transfer::Limits;

/// How long unfinished work may take to be put down.
const STOP_WORK: Duration = Duration::from_secs(3);
/// How long tasks may take to end.
const STOP_TASKS: Duration = Duration::from_secs(2);
/// How long a client that has the data directory may take until it can be attached to, or is gone.
const NEIGHBOUR: Duration = Duration::from_secs(8);
/// How often it is looked after.
const LOOK: Duration = Duration::from_millis(20);

/// What a link to the page is called.
const THE_PAGE: &str = "the page for your browser";

/// Runs the client as its command line says; the exit status.
pub fn start(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let arguments: Vec<_> = arguments.into_iter().collect();
    let matches = Args::command().try_get_matches_from(&arguments);
    if let Some(directory) = matches.as_ref().ok().and_then(|m| m.get_one::<PathBuf>("generate")) {
        return generate::generate(directory).map_or_else(|e| fault(false, &e), |()| DONE);
    }
    match matches.and_then(|m| Args::from_arg_matches(&m)) {
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
        fatal_data(&faces::json(None, &Err(Error::Usage(text))));
    }
    USAGE
}

/// Says why the client did not start; the exit status.
fn fault(json: bool, error: &Error) -> u8 {
    fatal(&error.to_string());
    if json {
        fatal_data(&faces::json(None, &Err(error.clone())));
    }
    USAGE
}

/// Prints what would hold, or holds, by command line, environment and file.
fn print_config(args: &Args) -> Result<u8, Error> {
    let data_dir = args.data_dir();
    let settings = Settings::at(&data_dir);
    let active = Active::new(settings.read()?, &args.given(|name| std::env::var_os(name))?);
    let head = format!(
        "What holds for this client, in the form of {}.\nIt serves at {}; its trackers are in {}, its data is in {}.",
        shown(settings.path()),
        args.listen,
        shown(&args.list()),
        shown(&data_dir)
    );
    let text = settings::print(&head, &active.limit, &active.groups, active.slots, |name| active.origin(name));
    fatal_data(text.trim_end());
    Ok(DONE)
}

fn run(args: &Args) -> Result<u8, Error> {
    if args.print_config {
        return print_config(args);
    }
    let list = args.read_tracker_info()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|e| Error::from_io_about("start", e))?;
    let status = runtime.block_on(serve_or_attach(args, list));
    // A thread that waits for the next piped line would keep a patient runtime for ever.
    runtime.shutdown_background();
    status
}

async fn serve_or_attach(args: &Args, list: Listed) -> Result<u8, Error> {
    let mut signals = Signals::listen().map_err(|e| Error::from_io_about("listen to signals", e))?;
    let manner = Manner::of(args);
    let mut lines = Lines::of(args).await?;
    // What the lines came to that ran on another client.
    let mut before = DONE;
    let Listed { info, is_new } = list;
    if is_new {
        lines.say_first(written(args, &info));
    }
    loop {
        let tasks = TaskGroup::new();
        let end = match neighbour(args, manner, &tasks).await? {
            Neighbour::None(data_dir) => {
                let served = serve(args, info, &data_dir, (manner, &mut lines), &tasks, &mut signals).await;
                stop(&tasks).await;
                return served.map(|status| if status == DONE { before } else { status });
            }
            Neighbour::Runs(attachment) => attach(args, *attachment, (manner, &mut lines), &tasks, &mut signals).await,
        };
        stop(&tasks).await;
        match end? {
            Left::For(status) => return Ok(status),
            Left::Alone(status) if before == DONE => before = status,
            Left::Alone(_) => {}
        }
    }
}

/// What is said of a list that an invitation has brought.
fn written(args: &Args, info: &TrackerInfo) -> String {
    let trackers: Vec<_> = info.trackers.iter().map(ToString::to_string).collect();
    let list = shown(&args.list());
    format!(
        "{list} written, from the invitation: {}. From the next time on: client {} {list}",
        trackers.join(", "),
        args.listen
    )
}

async fn stop(tasks: &TaskGroup) {
    let _ = timeout(STOP_TASKS, tasks.stop()).await; // The process ends, whatever is stuck.
}

/// Whether a client runs on the data directory.
enum Neighbour {
    /// None does, and none can from now on but this one.
    None(DataDir),
    /// One does.
    Runs(Box<Attachment>),
}

/// A client that was attached to, on this data directory.
struct Attachment {
    data_dir: PathBuf,
    attached: Arc<Attached>,
    listening: Listening,
}

/// Takes the data directory, or attaches to who has it; waits a while for one that has just started or is about to end.
async fn neighbour(args: &Args, manner: Manner, tasks: &TaskGroup) -> Result<Neighbour, Error> {
    let until = Instant::now() + NEIGHBOUR;
    loop {
        let data_dir = match DataDir::open(&args.data_dir())? {
            Opened::Ours(data_dir) => return Ok(Neighbour::None(data_dir)),
            Opened::Theirs(data_dir) => data_dir,
        };
        let socket = socket::path_for(&data_dir, socket::runtime_dir().as_deref());
        let opened = match &socket {
            Ok(socket) => Attached::open(socket, manner == Manner::Stay, tasks).await,
            Err(e) => return Err(in_use(&data_dir, e)),
        };
        match opened {
            Ok((attached, listening)) => {
                return Ok(Neighbour::Runs(Box::new(Attachment { data_dir, attached, listening })));
            }
            Err(e) if until <= Instant::now() => return Err(in_use(&data_dir, &e)),
            Err(_) => tokio::time::sleep(LOOK).await,
        }
    }
}

fn in_use(data_dir: &Path, why: &io::Error) -> Error {
    Error::InUse(format!(
        "the data directory {} is in use by another client that cannot be attached to ({why}); stop that one, or choose \
         another IP:PORT or --data-dir",
        shown(data_dir)
    ))
}

/// Runs engine and face in this process.
async fn serve(
    args: &Args,
    info: TrackerInfo,
    data_dir: &DataDir,
    (manner, lines): (Manner, &mut Lines),
    tasks: &TaskGroup,
    signals: &mut Signals,
) -> Result<u8, Error> {
    let mut front = Front::open(manner, data_dir.path(), tasks)?;
    front.log();
    let settings = Settings::at(data_dir.path());
    let values = settings.read()?;
    let unknown = values.unknown.iter().map(|name| format!("settings.toml: there is no setting `{}`", Escaped(name)));
    unknown.for_each(|text| front.say(&text));
    let (engine, begin) = open_engine(args, info, data_dir, (settings, values), tasks).await?;
    let page = PageConfig { data_dir: data_dir.path().to_owned(), public: args.web_public, tasks: tasks.clone() };
    let page = Arc::new(Opener::new(&engine, page));
    engine.set_page(Box::new(Arc::clone(&page)));
    engine.set_invited(args.invitation()?);
    let service: Arc<dyn Service> = Arc::<Engine>::clone(&engine);
    signals.end_with(service.ended());
    front.listen(&service, args, tasks);
    if let Some(address) = args.web {
        say_page(&front, &page.open(address).await?);
    }
    begin.begin(tasks);
    if manner == Manner::Prompt {
        engine.watch();
    }
    if manner != Manner::Script {
        engine.stay(tasks);
    }
    let control = match open_control(data_dir, &service, tasks) {
        Ok(control) => Some(control),
        Err(e) => {
            front.say(&format!("no other client can attach to this one: {e}"));
            None
        }
    };
    control.iter().for_each(|control| front.mind(control.faces()));
    let status = front.run(args, lines, Arc::clone(&service), tasks, signals).await;
    let is_stopped = [INTERRUPTED, TERMINATED].contains(&status) || service.ended().is_cancelled();
    if let Some(control) = control {
        if manner == Manner::Script && !is_stopped && *control.faces().borrow() > 0 {
            engine.stay(tasks);
            front.stay_for(control.faces(), signals).await;
        }
        control.close().await;
    }
    let _ = timeout(STOP_WORK, engine.downloads().shutdown()).await; // What is on disk is resumed from.
    Ok(status)
}

fn say_page(front: &Front, page: &PageLink) {
    front.say(&format!("{THE_PAGE}: {}", page.link));
    faces::certificate(page).iter().for_each(|text| front.say(text));
}

fn open_control(data_dir: &DataDir, service: &Arc<dyn Service>, tasks: &TaskGroup) -> io::Result<Control> {
    let path = socket::path_for(data_dir.path(), socket::runtime_dir().as_deref())?;
    Control::open(&path, Arc::clone(service), tasks)
}

/// How an attached face has left.
enum Left {
    /// With this status.
    For(u8),
    /// It was to stay, and the client that it was attached to has ended: this one has to take its place. With what its lines
    /// came to until then.
    Alone(u8),
}

/// Runs a face on the client in another process.
async fn attach(
    args: &Args,
    Attachment { data_dir, attached, listening }: Attachment,
    (manner, lines): (Manner, &mut Lines),
    tasks: &TaskGroup,
    signals: &mut Signals,
) -> Result<Left, Error> {
    let mut front = Front::open(manner, &data_dir, tasks)?;
    front.log();
    let service: Arc<dyn Service> = Arc::<Attached>::clone(&attached);
    signals.end_with(service.ended());
    front.listen(&service, args, tasks);
    listening.begin(tasks);
    if args.web.is_some() {
        match service.run(Command::Web, Call::unwatched(false)).await {
            Ok(Outcome::Web(page)) => say_page(&front, &page),
            Ok(_) => {}
            Err(e) => front.say(&format!("the page cannot be opened: {e}")),
        }
    }
    not_for_us(args, &service.known_status().listen).iter().for_each(|text| front.say(text));
    let status = front.run(args, lines, Arc::clone(&service), tasks, signals).await;
    let is_alone = service.ended().is_cancelled() && !service.is_shut_down();
    let is_over = match status {
        DONE => false,
        INTERRUPTED | TERMINATED => true,
        // A script ends at its first failing line, also if that failed because the client ended.
        _ => !args.keep_going,
    };
    Ok(if manner == Manner::Stay && is_alone && !is_over { Left::Alone(status) } else { Left::For(status) })
}

/// What is to be said of options that concern the engine, where that runs already and listens at `listen`.
fn not_for_us(args: &Args, listen: &str) -> Vec<String> {
    let options = [
        (SettingName::LimitUp, args.limit_up.is_some()),
        (SettingName::LimitDown, args.limit_down.is_some()),
        (SettingName::SeedingSlots, args.seeding_slots.is_some()),
    ];
    let public = args.web_public.then(|| {
        "--web-public is left out: a client runs here already, and decides itself who reaches its page; `shutdown` ends it".to_owned()
    });
    let mut said: Vec<_> = options
        .iter()
        .filter(|(_, is_given)| *is_given)
        .map(|(name, _)| {
            let (option, word) = (name.option(), name.word());
            format!(
                "{option} is left out: a client runs here already, and its own holds; `set {word} <value>` changes that"
            )
        })
        .chain(public)
        .collect();
    let wanted = args.listen_at().ok().filter(|wanted| wanted.port() != 0 && wanted.to_string() != listen);
    said.extend(
        wanted.map(|wanted| format!("{wanted} is left out: a client runs here already, and listens on {listen}")),
    );
    said
}

async fn open_engine(
    args: &Args,
    info: TrackerInfo,
    data_dir: &DataDir,
    (settings, values): (Settings, Values),
    tasks: &TaskGroup,
) -> Result<(Arc<Engine>, Begin), Error> {
    let path = data_dir.path().to_owned();
    let given = args.given(|name| std::env::var_os(name))?;
    // Until the engine says what they are.
    let limits = Limits::default();
    let device = DeviceKey::load_or_create(&path.join(DEVICE_KEY))
        .map_err(|e| Error::from_io_about("use this device's key", io::Error::other(e)))?;
    let (trackers, notices) = Trackers::start(TrackersConfig {
        data_dir: path.clone(),
        info,
        info_path: args.list(),
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
        data_dir: path.clone(),
        device,
        trackers: Arc::new(trackers.clone()),
        shares: shares.clone(),
        tasks: tasks.clone(),
        limits: limits.clone(),
    })?;
    let (copies, news, subscriptions) = (Copies::at(&path), ReadMarks::open(&path)?, Subscriptions::open(&path)?);
    Ok(Engine::new(
        Rooms { trackers, shares, downloads, device: id, settings, values, given, limits, copies, news, subscriptions },
        notices,
    ))
}
