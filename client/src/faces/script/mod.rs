//! Lines from `-c`, `-f` and piped stdin, one after the other; what the exit status comes to.

pub(super) mod passwords;

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncBufRead, AsyncBufReadExt, BufReader};
use zeroize::Zeroizing;

use self::passwords::Passwords;
use super::ask::{ask, needs_password};
use super::console::{Console, end_line};
use super::execute::{execute, show};
use super::progress::{self, Drawn};
use super::prompt::editor::Prompt;
use super::signals::{Signals, Stop};
use super::{Service, parse, render};
use crate::engine::{Call, Command, Outcome};
use crate::error::{Error, shown};
use crate::units::count;

/// Longest line, in bytes: far beyond any command, and little to keep in memory.
const MAX_LINE: u64 = 64 << 10;

/// Everything was done.
pub(crate) const DONE: u8 = 0;
/// A command failed.
pub(super) const FAILED: u8 = 1;
/// The program was called wrongly, or could not start.
pub(crate) const USAGE: u8 = 2;
/// No tracker could be reached.
pub(super) const UNREACHABLE: u8 = 3;
/// Interrupted: 128 and the number of SIGINT, as shells have it.
pub(crate) const INTERRUPTED: u8 = 130;
/// Terminated: 128 and the number of SIGTERM.
pub(crate) const TERMINATED: u8 = 143;

/// How a script ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// After its last line, with this status.
    Over(u8),
    /// At a `quit`, a failing line or a signal: with this status, and at once.
    Left(u8),
}

/// The exit status that an error comes to.
pub(super) fn status(error: &Error) -> u8 {
    if error.code() == "trackers_unreachable" { UNREACHABLE } else { FAILED }
}

/// Where lines come from.
pub(super) enum Source {
    /// The command line.
    Given(std::vec::IntoIter<String>),
    /// A file or a pipe, with its name and the number of the last line.
    Read {
        from: Box<dyn AsyncBufRead + Unpin + Send>,
        name: String,
        number: u64,
        /// What has been read of the next line.
        partial: Zeroizing<Vec<u8>>,
    },
}

impl Source {
    /// The lines of `-c`.
    pub(super) fn given(lines: Vec<String>) -> Self {
        Self::Given(lines.into_iter())
    }

    /// The lines of a file.
    ///
    /// # Errors
    /// When it cannot be opened, or is a directory: those can be opened, and not be read.
    pub(super) async fn file(path: &Path) -> Result<Self, Error> {
        let unreadable = |e| Error::from_io("read the script", path, e);
        let file = tokio::fs::File::open(path).await.map_err(unreadable)?;
        if file.metadata().await.map_err(unreadable)?.is_dir() {
            return Err(unreadable(io::ErrorKind::IsADirectory.into()));
        }
        Ok(Self::read(Box::new(BufReader::new(file)), shown(path)))
    }

    /// The lines of stdin.
    pub(super) fn stdin() -> Self {
        Self::read(Box::new(BufReader::new(tokio::io::stdin())), "stdin".to_owned())
    }

    fn read(from: Box<dyn AsyncBufRead + Unpin + Send>, name: String) -> Self {
        Self::Read { from, name, number: 0, partial: Zeroizing::default() }
    }

    /// The next line, and where it stands. Cancel safe.
    async fn next(&mut self) -> io::Result<Option<(Line, Option<String>)>> {
        match self {
            Self::Given(lines) => Ok(lines.next().map(|line| (Ok(Zeroizing::new(line)), None))),
            Self::Read { from, name, number, partial } => {
                let line = read_line(from, partial).await?;
                *number += 1;
                let line = if *number == 1 { line.map(without_bom) } else { line };
                Ok(line.map(|line| (line, Some(format!("{name}, line {number}")))))
            }
        }
    }

    /// What is read, escaped.
    fn name(&self) -> &str {
        match self {
            Self::Given(_) => "the lines of -c",
            Self::Read { name, .. } => name,
        }
    }
}

/// A first line without the mark that some editors put before UTF-8 text (RFC 3629, section 6).
fn without_bom(line: Line) -> Line {
    line.map(|text| match text.strip_prefix('\u{feff}') {
        Some(rest) => Zeroizing::new(rest.to_owned()),
        None => text,
    })
}

type Line = Result<Zeroizing<String>, Error>;

/// A line without its end; one that is too long or not text is an error in its place. Cancel safe: what has been read of it
/// stays in `partial`.
pub(super) async fn read_line(
    from: &mut (impl AsyncBufRead + Unpin + ?Sized),
    partial: &mut Zeroizing<Vec<u8>>,
) -> io::Result<Option<Line>> {
    use tokio::io::AsyncReadExt;
    let room = MAX_LINE.saturating_sub(partial.len() as u64);
    if (&mut *from).take(room).read_until(b'\n', partial).await? == 0 && partial.is_empty() {
        return Ok(None);
    }
    let is_too_long = partial.len() as u64 == MAX_LINE && partial.last() != Some(&b'\n');
    if is_too_long {
        skip_line(from).await?;
    }
    let bytes = std::mem::take(partial);
    if is_too_long {
        return Ok(Some(Err(Error::Usage(format!("the line is longer than {MAX_LINE} bytes")))));
    }
    let text = std::str::from_utf8(&bytes).map(|t| Zeroizing::new(t.trim_end_matches(['\n', '\r']).to_owned()));
    Ok(Some(text.map_err(|_| Error::Usage("the line is not UTF-8 text".to_owned()))))
}

async fn skip_line(from: &mut (impl AsyncBufRead + Unpin + ?Sized)) -> io::Result<()> {
    loop {
        let buffered = from.fill_buf().await?;
        let (end, used) = match buffered.iter().position(|b| *b == b'\n') {
            Some(at) => (true, at + 1),
            None => (buffered.is_empty(), buffered.len()),
        };
        from.consume(used);
        if end {
            return Ok(());
        }
    }
}

/// What a script runs with.
pub(super) struct Script<'a> {
    pub(super) service: &'a dyn Service,
    pub(super) console: &'a Console,
    pub(super) passwords: &'a Passwords,
    /// Where progress is drawn, if it is.
    pub(super) bars: Option<&'a Drawn>,
    pub(super) json: bool,
    pub(super) keep_going: bool,
    pub(super) stay: bool,
    /// Whether somebody at a terminal reads hints and can be asked for passwords.
    pub(super) attended: bool,
    /// Files published so far.
    uploads: AtomicU64,
    /// Links to the page given out so far.
    links: AtomicU64,
}

impl<'a> Script<'a> {
    /// A script that stops at the first failing line and at its end, and whose lines nobody watches.
    pub(super) fn new(
        service: &'a dyn Service,
        console: &'a Console,
        passwords: &'a Passwords,
        bars: Option<&'a Drawn>,
    ) -> Self {
        Self {
            service,
            console,
            passwords,
            bars,
            json: false,
            keep_going: false,
            stay: false,
            attended: false,
            uploads: AtomicU64::new(0),
            links: AtomicU64::new(0),
        }
    }

    /// Runs the lines of `sources`. Where the running client ends and this one is to take its place, those that were not
    /// read are left there; otherwise none.
    pub(super) async fn run(&self, sources: &mut VecDeque<Source>, signals: &mut Signals) -> End {
        let end = self.run_lines(sources, signals).await;
        let goes_on = self.stay && self.service.ended().is_cancelled() && !self.service.is_shut_down();
        if !(goes_on && (self.keep_going || end == End::Left(DONE))) {
            sources.clear();
        }
        let is_told_to_end = self.stay && matches!(end, End::Over(_) | End::Left(DONE));
        if !is_told_to_end && !self.service.outlives_this_face() {
            self.tell_what_ends();
        }
        end
    }

    /// Says what does not outlive this script, though one might think so.
    fn tell_what_ends(&self) {
        let uploads = self.uploads.load(Ordering::Relaxed);
        if uploads > 0 {
            let what = count(uploads, "upload is", "uploads are");
            self.console.message(&format!(
                "{what} not seeded from here after this script: `--stay`, or any client on this data directory that stays, \
                 seeds again"
            ));
        }
        if self.links.load(Ordering::Relaxed) > 0 {
            self.console.message(
                "the link leads nowhere once this script has ended: a page is there as long as its client; start one that \
                 stays (`--stay --web`), and `-c web` gives links to its page",
            );
        }
    }

    async fn run_lines(&self, sources: &mut VecDeque<Source>, signals: &mut Signals) -> End {
        let mut first_failure = DONE;
        while let Some(source) = sources.front_mut() {
            loop {
                let line = tokio::select! {
                    biased;
                    // Whoever feeds a process that stays lets it go when it has nothing to do.
                    stop = signals.next() => return if self.stay { End::Left(DONE) } else { self.stopped(stop, None) },
                    line = source.next() => line,
                };
                let line = match line {
                    Ok(line) => line,
                    Err(e) => return self.unreadable(source.name(), e),
                };
                let step = match self.read(line) {
                    Read::Step(step) => step,
                    Read::Line(parsed, place) => {
                        let name = parsed.name.clone();
                        tokio::select! {
                            biased;
                            stop = signals.next() => return self.stopped(stop, Some(&name)),
                            step = self.line(*parsed, place) => step,
                        }
                    }
                };
                match step {
                    Step::Nothing => {}
                    Step::Over => break,
                    Step::Quit => return End::Left(first_failure),
                    Step::Interrupted => return self.stopped(Stop::Interrupt, None),
                    Step::Failed(status) if self.keep_going => {
                        first_failure = if first_failure == DONE { status } else { first_failure };
                    }
                    Step::Failed(status) => return End::Left(status),
                }
            }
            sources.pop_front();
        }
        End::Over(first_failure)
    }

    /// Told to stop while `command` ran, or between two lines.
    fn stopped(&self, stop: Stop, command: Option<&str>) -> End {
        let ended = if self.service.outlives_this_face() { Error::ClientEnded } else { Error::Interrupted };
        let (error, status) = match stop {
            Stop::Interrupt => (Error::Interrupted, INTERRUPTED),
            Stop::Terminate => (Error::Interrupted, TERMINATED),
            Stop::Ended => (ended, FAILED),
        };
        if self.json {
            self.console.data(&render::json(command, &Err(error)));
        } else if stop == Stop::Ended {
            self.console.message(&render::error(&error));
        } else if self.attended {
            end_line(); // After the ^C that the terminal shows.
        }
        End::Left(status)
    }

    /// What comes of a source that cannot be read on. There is no next line to keep going with.
    fn unreadable(&self, name: &str, error: io::Error) -> End {
        self.show(None, Err(Error::from_io_about(format!("read {name}"), error)), None);
        End::Left(USAGE)
    }

    fn read(&self, line: Option<(Line, Option<String>)>) -> Read {
        Read::Step(match line {
            None => Step::Over,
            Some((Ok(line), place)) => match parse::parse(&line) {
                Some(parsed) => return Read::Line(Box::new(parsed), place),
                // Somebody went to the trouble of a `-c` with nothing in it.
                None if place.is_none() => {
                    self.show(None, Err(Error::Usage("there is no command on the line".to_owned())), None)
                }
                None => Step::Nothing,
            },
            Some((Err(error), place)) => self.show(None, Err(error), place),
        })
    }

    async fn line(&self, parsed: parse::Parsed, place: Option<String>) -> Step {
        let parse::Parsed { name, command } = parsed;
        let command = match command {
            Ok(command) => self.passwords.fill(command).await,
            wrong => wrong,
        };
        let command = match command {
            Ok(command) if self.attended && needs_password(&command) => {
                match ask_in_script(self.console, command).await {
                    Some(command) => command,
                    None => return Step::Interrupted,
                }
            }
            command => command,
        };
        let result = match command {
            Ok(command) => {
                let progress = match self.bars {
                    _ if self.json => progress::as_json(self.console.clone()),
                    Some(bars) => bars.sink(),
                    None => Call::unwatched(true).progress,
                };
                let call = Call { wait: true, progress };
                execute(self.service, command, call, self.console.columns()).await
            }
            Err(e) => Err(e),
        };
        self.show(Some(&name), result, place)
    }

    fn show(&self, name: Option<&str>, result: Result<Outcome, Error>, place: Option<String>) -> Step {
        if result.as_ref().is_ok_and(|outcome| matches!(outcome.done(), Outcome::Uploaded(_))) {
            self.uploads.fetch_add(1, Ordering::Relaxed);
        }
        if matches!(result, Ok(Outcome::Web(_))) {
            self.links.fetch_add(1, Ordering::Relaxed);
        }
        if self.json {
            self.console.data(&render::json(name, &result));
        } else {
            match &result {
                Ok(outcome) => show(self.console, outcome, self.attended),
                Err(e) => {
                    let place = place.map(|p| format!("{p}: ")).unwrap_or_default();
                    self.console.message(&format!("{place}{}", render::error(e)));
                }
            }
        }
        match result {
            Ok(Outcome::Quit {} | Outcome::ShutDown {}) => Step::Quit,
            Ok(outcome) if outcome.wrong().is_some() => Step::Failed(FAILED),
            Ok(_) => Step::Nothing,
            Err(e) => Step::Failed(status(&e)),
        }
    }
}

/// What was read: a command, or what comes of a line that is none.
enum Read {
    Line(Box<parse::Parsed>, Option<String>),
    Step(Step),
}

/// What a line leads to.
enum Step {
    Nothing,
    Over,
    Quit,
    Interrupted,
    Failed(u8),
}

/// A script at a terminal may ask as the prompt does. A terminal that cannot be used leaves the
/// command as it is: it is refused with its usage.
async fn ask_in_script(console: &Console, command: Command) -> Option<Result<Command, Error>> {
    match Prompt::start(None, None, false) {
        Ok(started) => ask(&started.prompt, console, command).await,
        Err(_) => Some(Ok(command)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn lines(text: &[u8]) -> Vec<Result<String, &'static str>> {
        let (mut from, mut partial) = (text, Zeroizing::default());
        let mut lines = Vec::new();
        while let Some(line) = read_line(&mut from, &mut partial).await.expect("in memory") {
            lines.push(line.map(|l| l.to_string()).map_err(|e| e.code()));
        }
        lines
    }

    #[tokio::test]
    async fn lines_end_in_any_usual_way() {
        let expected = ["a", "", "b c", "last"].map(|l| Ok(l.to_owned()));
        assert_eq!(lines(b"a\n\r\nb c\r\nlast").await, expected);
        assert!(lines(b"").await.is_empty());
    }

    #[tokio::test]
    async fn a_bad_line_is_an_error_in_its_place() {
        let long = [&vec![b'x'; 3 * MAX_LINE as usize][..], b"\nnext\n\xff\xfe\nlast"].concat();
        assert_eq!(lines(&long).await, [Err("usage"), Ok("next".to_owned()), Err("usage"), Ok("last".to_owned())]);
        let fits = vec![b'x'; MAX_LINE as usize - 1];
        assert_eq!(lines(&[&fits[..], b"\n"].concat()).await.len(), 1);
    }

    #[tokio::test]
    async fn a_byte_order_mark_is_no_part_of_the_first_line() {
        let text: &[u8] = "\u{feff}whoami\n\u{feff}list_groups".as_bytes();
        let mut source = Source::read(Box::new(text), "a script".to_owned());
        let mut read = Vec::new();
        while let Some((line, _)) = source.next().await.expect("in memory") {
            read.push(line.expect("text").to_string());
        }
        assert_eq!(read, ["whoami", "\u{feff}list_groups"], "nor of any other, but there it is a mistake");
    }

    #[tokio::test]
    async fn a_directory_is_no_script() {
        let dir = tempfile::tempdir().expect("a directory");
        let refused = Source::file(dir.path()).await.err().expect("refused");
        let text = refused.to_string();
        assert!(refused.code() == "io" && text.contains(&shown(dir.path())), "{text}");
    }

    #[tokio::test]
    async fn a_line_that_is_given_up_in_the_middle_is_read_on_later() {
        use tokio::io::AsyncWriteExt;
        let (mut write, read) = tokio::io::duplex(64);
        let mut source = Source::read(Box::new(BufReader::new(read)), "stdin".to_owned());
        write.write_all(b"first\nlist_gr").await.expect("room");
        let line =
            |next: io::Result<Option<(Line, _)>>| next.expect("read").expect("a line").0.expect("text").to_string();
        assert_eq!(line(source.next().await), "first");
        tokio::select! {
            biased;
            _ = source.next() => panic!("it is not whole"),
            () = tokio::task::yield_now() => {}
        }
        write.write_all(b"oups\n").await.expect("room");
        let next = source.next().await.expect("read").expect("a line");
        assert_eq!((next.0.expect("text").as_str(), next.1.as_deref()), ("list_groups", Some("stdin, line 2")));
    }

    #[test]
    fn the_status_tells_that_there_is_no_tracker_from_other_failures() {
        assert_eq!(status(&Error::Usage(String::new())), 1);
        assert_eq!(status(&Error::TrackersUnreachable(String::new())), 3);
        assert_eq!(status(&Error::InvalidArgument(String::new())), 1);
    }
}
