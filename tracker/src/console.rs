//! The operator's terminal: lines that are typed, and the signals that end the tracker. The one module that
//! prints.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this module owns the terminal")]

use std::io::{self, BufRead, BufReader, IsTerminal};
use std::path::Path;
use std::process::ExitCode;
use std::thread;

use clap::Parser;
use common::address::HostPort;
use common::escape::Escaped;
use common::file_names::TRACKER_INFO;
use common::home::expand;
use common::id::UserName;
use common::terminal::Stdin;
use tokio::sync::mpsc;
use tracing_subscriber::EnvFilter;

use crate::config::{Arguments, Refused};
use crate::server::{self, Config, Server};
use crate::store::{BackupError, back_up};
use crate::trial::Trial;

/// Exit status after a second signal.
const INTERRUPTED: u8 = 130;

const HELP: &str = "\
quit           finish what runs, and stop
status         connections, users, groups, events in the log, and the mode
backup <file>  copy the database to a new file, while everything goes on
reset_password <user> [<hours>]
               print a code by which a user who has lost the password sets a
               new one, good for one hour, or up to 24
help           this";

/// How long a code is good, in hours, unless something else is typed, and at most.
const CODE_HOURS: u64 = 1;
const MAX_CODE_HOURS: u64 = 24;

/// Whether the log may have colours: not in a file, and not where nobody wants them.
fn is_coloured() -> bool {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    io::stderr().is_terminal() && !is_set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// What the executable does.
pub fn main() -> ExitCode {
    let given: Vec<_> = std::env::args_os().skip(1).map(|a| a.to_string_lossy().into_owned()).collect();
    if let Some(address) = other_shape(&given).filter(|_| given.first().is_none_or(|g| !Path::new(g).exists())) {
        return explain(&address);
    }
    let arguments = Arguments::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(is_coloured());
    log.with_writer(io::stderr).init();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let ran = runtime.map_err(Refused::from).and_then(|runtime| {
        let ran = runtime.block_on(run(&arguments));
        // What still blocks then, such as a read of standard input, does not matter any more.
        runtime.shutdown_background();
        ran
    });
    ran.unwrap_or_else(|refused| refuse(&refused))
}

/// Answers a line as other programs of this kind take it with the lines that do the same here.
fn explain(address: &HostPort) -> ExitCode {
    let list = Path::new(TRACKER_INFO);
    let make = if list.exists() { String::new() } else { format!("    echo {address} > {}\n", list.display()) };
    let us = std::env::args_os().next().map_or("tracker".to_owned(), |us| us.to_string_lossy().into_owned());
    let us = Escaped(&us);
    eprintln!(
        "tracker: here a list says where the trackers are, and a number which of them to start:\n\
         {make}    {us} {} 1\n`{us} --trial` starts a complete trial on this machine.",
        list.display()
    );
    ExitCode::from(2)
}

/// The address in `tracker <port>`, `tracker <ip> <port>` and `tracker <ip:port>`.
fn other_shape(given: &[String]) -> Option<HostPort> {
    match given {
        [port] if port.parse::<u16>().is_ok_and(|p| p > 0) => format!("127.0.0.1:{port}").parse().ok(),
        [address] => address.parse().ok(),
        [ip, port] => HostPort::new(&ip.parse::<std::net::IpAddr>().ok()?.to_string(), port.parse().ok()?).ok(),
        _ => None,
    }
}

/// Runs a tracker, or a trial, until it is told to stop.
///
/// # Errors
/// See [`Refused`].
pub async fn run(arguments: &Arguments) -> Result<ExitCode, Refused> {
    if arguments.trial {
        return run_trial(arguments).await;
    }
    if let Some(file) = &arguments.backup {
        saved(back_up(&arguments.data_dir(), file)?, file);
        return Ok(ExitCode::SUCCESS);
    }
    let config = arguments.configure()?;
    let pin = config.key.public().pin();
    if arguments.fingerprint {
        println!("cluster {pin}");
        return Ok(ExitCode::SUCCESS);
    }
    if arguments.verify {
        return verify(config).await;
    }
    let number = config.number;
    // Before anybody is told that it is ready: a signal that comes then is not lost.
    let mut signals = Signals::new()?;
    let server = Server::bind(config).await?;
    eprintln!("cluster {pin}");
    println!("tracker {number} ready on {}", server.local_addr());
    tokio::select! {
        () = attend(std::slice::from_ref(&server), &mut signals) => {}
        () = server.failed() => return Ok(broken()),
    }
    tokio::select! {
        () = server.stop() => Ok(ExitCode::SUCCESS),
        () = signals.next() => Ok(ExitCode::from(INTERRUPTED)),
    }
}

/// Says what in the database contradicts itself: nothing, and success, or each of it.
async fn verify(config: Config) -> Result<ExitCode, Refused> {
    let flaws = server::verify(config).await?;
    flaws.iter().for_each(|flaw| println!("{flaw}"));
    match flaws.len() {
        0 => println!("the log is whole, and the state follows from the facts"),
        count => {
            println!("{count} contradictions; look after the disk, and start the tracker while the other one runs")
        }
    }
    Ok(if flaws.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn run_trial(arguments: &Arguments) -> Result<ExitCode, Refused> {
    let mut signals = Signals::new()?;
    let trial = Trial::start(arguments).await?;
    for (i, server) in trial.servers.iter().enumerate() {
        println!("tracker {} ready on {}", i + 1, server.local_addr());
    }
    if trial.follows_another {
        println!("what an earlier trial left here is removed: its accounts and groups, and what clients kept of it");
    }
    println!("{}", trial.welcome());
    let failed = futures::future::select_all(trial.servers.iter().map(|server| Box::pin(server.failed())));
    tokio::select! {
        () = attend(&trial.servers, &mut signals) => {}
        _ = failed => return Ok(broken()),
    }
    let left = tokio::select! {
        left = trial.stop() => left?,
        () = signals.next() => return Ok(ExitCode::from(INTERRUPTED)),
    };
    match left {
        Some(directory) => println!("left: your own files in {}", Escaped(&directory.to_string_lossy())),
        None => println!("everything of the trial is removed"),
    }
    Ok(ExitCode::SUCCESS)
}

/// A tracker whose database cannot be written ends at once: it would refuse everybody whom the other one could serve.
fn broken() -> ExitCode {
    tracing::error!(
        "the database's writer has ended by a panic; this tracker stops, and loses nothing: start it again"
    );
    ExitCode::FAILURE
}

/// Answers the operator until `quit` or a signal. A backup is of the first of the trackers.
async fn attend(servers: &[Server], signals: &mut Signals) {
    let mut lines = typed_lines();
    loop {
        let line = tokio::select! {
            () = signals.next() => return,
            Some(line) = lines.recv() => line,
        };
        let (command, rest) = line.trim().split_once(char::is_whitespace).unwrap_or((line.trim(), ""));
        match (command, rest.trim(), servers) {
            ("", ..) => {}
            ("quit" | "exit", "", _) => return,
            ("status", "", _) => tell_status(servers).await,
            ("backup", file, _) if unquoted(file).is_empty() => eprintln!("name the new file: backup <file>"),
            ("backup", file, [server, ..]) => {
                let file = expand(unquoted(file).as_ref(), std::env::home_dir().as_deref());
                tokio::select! {
                    done = server.back_up(&file) => told(done, &file),
                    () = signals.next() => return,
                }
            }
            ("reset_password", rest, [server, ..]) => match asked_for(rest) {
                Ok((user, hours)) => tell_code(server, &user, hours).await,
                Err(text) => eprintln!("{text}"),
            },
            ("help", "", _) => println!("{HELP}"),
            _ => eprintln!("`{}` is not a command here; type `help`", Escaped(line.trim())),
        }
    }
}

/// A name that may hold spaces, with or without quotes round it.
fn unquoted(name: &str) -> &str {
    let within = |quote| name.strip_prefix(quote)?.strip_suffix(quote);
    within('"').or_else(|| within('\'')).unwrap_or(name)
}

async fn tell_status(servers: &[Server]) {
    for server in servers {
        match server.status().await {
            Ok(status) => println!("{status}"),
            Err(e) => eprintln!("the database does not answer: {e}"),
        }
    }
}

/// Whose password, and for how many hours.
fn asked_for(rest: &str) -> Result<(UserName, u64), String> {
    let mut words = rest.split_whitespace();
    let (Some(user), hours, None) = (words.next(), words.next(), words.next()) else {
        return Err("name the user: reset_password <user> [<hours>]".to_owned());
    };
    let user = user.parse().map_err(|e| format!("`{}`: {e}", Escaped(user)))?;
    let hours = hours.map_or(Ok(CODE_HOURS), |hours| hours.parse().map_err(|_| hours));
    match hours {
        Ok(hours @ 1..=MAX_CODE_HOURS) => Ok((user, hours)),
        _ => Err(format!("a code is good for 1 to {MAX_CODE_HOURS} hours: reset_password <user> [<hours>]")),
    }
}

async fn tell_code(server: &Server, user: &UserName, hours: u64) {
    match server.reset_code(user, hours * 3600).await {
        Ok(Some(code)) => {
            let hours = if hours == 1 { "one hour".to_owned() } else { format!("{hours} hours") };
            println!("for {user}, once, within {hours}: login {user} --code {code}");
        }
        Ok(None) => eprintln!("there is no user `{user}` here; check the spelling (upper and lower case count)"),
        Err(e) => eprintln!("the database does not answer: {e}"),
    }
}

fn told(done: Result<u64, BackupError>, file: &Path) {
    match done {
        Ok(bytes) => saved(bytes, file),
        Err(e) => eprintln!("{e}"),
    }
}

fn saved(bytes: u64, file: &Path) {
    println!("saved {} ({} KiB)", Escaped(&file.to_string_lossy()), bytes / 1024);
}

/// Lines of standard input, by a thread of their own: a blocking read would hold up the end. After the
/// last line nothing more comes, and the tracker goes on; in the background it reads when it is brought to the front.
fn typed_lines() -> mpsc::Receiver<String> {
    let (lines, typed) = mpsc::channel(16);
    let read = move || {
        for line in BufReader::new(Stdin::default()).lines().map_while(Result::ok) {
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

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::{Arguments, HELP, asked_for, other_shape, unquoted};

    #[test]
    fn a_name_with_spaces_may_be_quoted() {
        for (typed, name) in [
            ("my backup.db", "my backup.db"),
            ("\"my b.db\"", "my b.db"),
            ("'b.db'", "b.db"),
            ("\"\"", ""),
            ("\"", "\""),
            ("it's", "it's"),
        ] {
            assert_eq!(unquoted(typed), name);
        }
    }

    #[test]
    fn help_is_as_people_have_seen_it_and_fits_80_columns() {
        let options = Arguments::command().term_width(80).render_long_help().to_string();
        for (name, help) in [("tracker_help", options.as_str()), ("console_help", HELP)] {
            let longest = help.lines().max_by_key(|line| line.chars().count()).expect("lines");
            assert!(longest.chars().count() <= 80, "{longest}");
            insta::assert_snapshot!(name, help);
        }
    }

    #[test]
    fn a_code_is_for_one_user_and_a_day_at_most() {
        let user = || "alice".parse().expect("a name");
        assert_eq!(asked_for("alice"), Ok((user(), 1)));
        assert_eq!(asked_for(" alice  24"), Ok((user(), 24)));
        for (wrong, what) in [
            ("", "name the user"),
            ("alice 1 x", "name the user"),
            ("a/b", "`a/b`"),
            ("alice 0", "1 to 24 hours"),
            ("alice 25", "1 to 24 hours"),
            ("alice 1d", "1 to 24 hours"),
        ] {
            let refused = asked_for(wrong).expect_err(wrong);
            assert!(refused.contains(what), "{wrong}: {refused}");
        }
    }

    #[test]
    fn shapes_of_other_programs_are_known() {
        let shape = |line: &str| {
            other_shape(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).map(|a| a.to_string())
        };
        assert_eq!(shape("5000").as_deref(), Some("127.0.0.1:5000"));
        assert_eq!(shape("10.0.0.1 5000").as_deref(), Some("10.0.0.1:5000"));
        assert_eq!(shape("localhost:5000").as_deref(), Some("localhost:5000"));
        for other in ["", "0", "tracker_info.txt", "tracker_info.txt 1", "70000", "--no-such-option"] {
            assert_eq!(shape(other), None, "{other}");
        }
    }
}
