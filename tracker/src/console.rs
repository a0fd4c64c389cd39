//! The operator's terminal: lines that are typed, and the signals that end the tracker. The one module that
//! prints.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this module owns the terminal")]

use std::io::{self, BufRead};
use std::process::ExitCode;
use std::thread;

use clap::Parser;
use tokio::sync::mpsc;
use tracing_subscriber::EnvFilter;

use crate::config::{Arguments, Refused};
use crate::server::Server;

/// Exit status after a second signal.
const INTERRUPTED: u8 = 130;

const HELP: &str = "\
quit    finish what runs, and stop
status  connections, users, groups, events in the log, and the mode
help    this";

/// What the executable does.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).init();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let ran = runtime.map_err(Refused::from).and_then(|runtime| {
        let ran = runtime.block_on(run(&arguments));
        // What still blocks then, such as a read of standard input, does not matter any more.
        runtime.shutdown_background();
        ran
    });
    ran.unwrap_or_else(|refused| refuse(&refused))
}

/// Runs a tracker until it is told to stop.
///
/// # Errors
/// See [`Refused`].
pub async fn run(arguments: &Arguments) -> Result<ExitCode, Refused> {
    let config = arguments.configure()?;
    let pin = config.key.public().pin();
    if arguments.fingerprint {
        println!("cluster {pin}");
        return Ok(ExitCode::SUCCESS);
    }
    let number = config.number;
    // Before anybody is told that it is ready: a signal that comes then is not lost.
    let mut signals = Signals::new()?;
    let server = Server::bind(config).await?;
    eprintln!("cluster {pin}");
    println!("tracker {number} ready on {}", server.local_addr());
    attend(&server, &mut signals).await;
    tokio::select! {
        () = server.stop() => Ok(ExitCode::SUCCESS),
        () = signals.next() => Ok(ExitCode::from(INTERRUPTED)),
    }
}

/// Answers the operator until `quit` or a signal.
async fn attend(server: &Server, signals: &mut Signals) {
    let mut lines = typed_lines();
    loop {
        tokio::select! {
            () = signals.next() => return,
            Some(line) = lines.recv() => match line.trim() {
                "" => {}
                "quit" | "exit" => return,
                "status" => match server.status().await {
                    Ok(status) => println!("{status}"),
                    Err(e) => eprintln!("the database does not answer: {e}"),
                },
                "help" => println!("{HELP}"),
                other => eprintln!("`{}` is not a command here; type `help`", common::escape::Escaped(other)),
            },
        }
    }
}

/// Lines of standard input, by a thread of their own: a blocking read would hold up the end. After the
/// last line nothing more comes, and the tracker goes on.
fn typed_lines() -> mpsc::Receiver<String> {
    let (lines, typed) = mpsc::channel(16);
    let read = move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            if lines.blocking_send(line).is_err() {
                break;
            }
        }
    };
    if let Err(e) = thread::Builder::new().name("stdin".into()).spawn(read) {
        tracing::warn!("standard input is not read: {e}");
    }
    typed
}

/// SIGINT and SIGTERM.
struct Signals {
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    #[cfg(unix)]
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    #[cfg(not(unix))]
    fn new() -> io::Result<Self> {
        Ok(Self {})
    }

    #[cfg(unix)]
    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    #[cfg(not(unix))]
    async fn next(&mut self) {
        // If signals cannot be had, there is none to wait for.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Says in one sentence why the tracker did not start.
pub fn refuse(refused: &Refused) -> ExitCode {
    eprintln!("tracker: {refused}");
    ExitCode::from(refused.exit_status())
}
