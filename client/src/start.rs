//! From arguments to an exit status: opens the rooms, gives them to an engine, shows it a face, and stops all of it.
//!
//! The one place that knows all rooms.

use std::ffi::OsString;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use common::task::TaskGroup;
use common::tls::DeviceKey;
use common::tracker_info::TrackerInfo;
use tokio::time::timeout;

use crate::config::{self, Args, DataDir};
use crate::download::{DownloadConfig, Downloads};
use crate::engine::{Begin, Engine};
use crate::error::Error;
use crate::faces::front::{Front, Lines, Manner};
use crate::faces::script::{DONE, USAGE};
use crate::faces::{self, Service, Signals, fatal, fatal_data};
use crate::share::{ShareConfig, Shares};
use crate::trackers::{Trackers, TrackersConfig};
use crate::transfer::Limits;

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

async fn serve(args: &Args, info: TrackerInfo, data_dir: &DataDir) -> Result<u8, Error> {
    let mut signals = Signals::listen().map_err(|e| Error::from_io_about("listen to signals", e))?;
    let tasks = TaskGroup::new();
    let manner = Manner::of(args);
    let lines = Lines::of(args).await?;
    let front = Front::open(manner, data_dir.path(), &tasks)?;
    front.log();
    let (engine, begin) = open_engine(args, info, data_dir, &tasks).await?;
    let service: Arc<dyn Service> = Arc::<Engine>::clone(&engine);
    front.listen(&service, args.json, &tasks);
    begin.begin(manner != Manner::Script, &tasks);
    let status = front.run(args, lines, service, &tasks, &mut signals).await;
    let _ = timeout(STOP_WORK, engine.downloads().shutdown()).await; // What is on disk is resumed from.
    let _ = timeout(STOP_TASKS, tasks.stop()).await; // The process ends, whatever is stuck.
    Ok(status)
}

async fn open_engine(
    args: &Args,
    info: TrackerInfo,
    data_dir: &DataDir,
    tasks: &TaskGroup,
) -> Result<(Arc<Engine>, Begin), Error> {
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
    Ok(Engine::new(trackers, shares, downloads, id, notices))
}
