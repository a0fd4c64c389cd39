//! Rows of progress: on stderr in scripts (by indicatif), as live lines above the prompt. Neither where the
//! terminal is not to be animated.
//!
//! A row fits the terminal, has the same columns every time, and shortens what is too long for them.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use common::task::TaskGroup;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::sync::Notify;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::console::{Console, is_lively, stderr_size, stdout_size};
use crate::engine::outcome::DownloadRow;
use crate::engine::outcome::State;
use crate::engine::{Progress, ProgressSink};
use crate::units::{count, duration, rate, size};

/// How often live lines are rewritten.
const REDRAW: Duration = Duration::from_millis(500);
/// How soon rows that do not change fit a terminal of another width. The line editor has the signal that tells of it.
const RESIZED: Duration = Duration::from_secs(2);
/// Most live lines.
const MAX_LINES: usize = 6;
/// Columns below which rows make no sense.
const MIN_COLUMNS: usize = 20;
/// Columns of a row besides the label and the note: blanks, bar, percentage, length.
const FIXED_COLUMNS: usize = 29;
/// How long a rate is measured before it means anything.
const MEASURED: Duration = Duration::from_millis(500);
/// Columns of the bar itself.
const BAR_COLUMNS: usize = 8;
/// Columns that the note should have.
const NOTE_COLUMNS: usize = 32;

/// Progress that is drawn together.
#[derive(Clone)]
pub(super) enum Drawn {
    /// On stderr.
    Stderr(MultiProgress),
    /// Above the prompt.
    Prompt(Arc<Rows>),
}

/// The rows above the prompt, in the order in which they began.
pub(super) struct Rows {
    /// The number of the last one, and those that are there.
    rows: Mutex<(u64, BTreeMap<u64, Row>)>,
    changed: Notify,
    console: Console,
}

impl Rows {
    fn new(console: Console) -> Self {
        Self { rows: Mutex::default(), changed: Notify::new(), console }
    }

    /// Writes them as they are now.
    fn show(&self) {
        self.console.live(self.draw(usable(stdout_size().columns)));
    }

    fn locked(&self) -> MutexGuard<'_, (u64, BTreeMap<u64, Row>)> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is drawn in a terminal of so many columns.
    fn draw(&self, columns: usize) -> Vec<String> {
        let rows = self.locked();
        let mut lines: Vec<_> = rows.1.values().take(MAX_LINES).map(|row| row.draw(columns)).collect();
        if rows.1.len() > MAX_LINES {
            let rest = (rows.1.len() - MAX_LINES) as u64;
            lines.push(format!("… and {}: `show_downloads` shows all", count(rest, "more", "more")));
        }
        lines
    }
}

impl Drawn {
    /// On stderr, if that is a terminal.
    pub(super) fn on_stderr() -> Self {
        let target = if is_lively(&io::stderr()) { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        Self::Stderr(MultiProgress::with_draw_target(target))
    }

    /// As live lines of `console`, rewritten by a task of `tasks`. It sleeps while nothing changes.
    pub(super) fn above_prompt(console: Console, tasks: &TaskGroup) -> Self {
        if !is_lively(&io::stdout()) {
            return Self::Stderr(MultiProgress::with_draw_target(ProgressDrawTarget::hidden()));
        }
        let rows = Arc::new(Rows::new(console));
        tasks.spawn("progress", redraw(Arc::clone(&rows)));
        Self::Prompt(rows)
    }

    /// What has to be lifted out of the way of other output on stderr.
    pub(super) fn multi(&self) -> MultiProgress {
        match self {
            Self::Stderr(multi) => multi.clone(),
            Self::Prompt(_) => MultiProgress::with_draw_target(ProgressDrawTarget::hidden()),
        }
    }
}

/// Rewrites rows that have changed, or whose terminal has another width. It sleeps while there are none.
async fn redraw(rows: Arc<Rows>) {
    let mut columns = stdout_size().columns;
    loop {
        let any = !rows.locked().1.is_empty();
        tokio::select! {
            () = rows.changed.notified() => {}
            () = tokio::time::sleep(RESIZED), if any => if stdout_size().columns == columns {
                continue;
            },
        }
        columns = stdout_size().columns;
        rows.show();
        tokio::time::sleep(REDRAW).await;
    }
}

impl Drawn {
    /// A bar named by `label` (escaped already). It goes away when dropped.
    pub(super) fn add(&self, label: String) -> Bar {
        let place = match self {
            Self::Stderr(multi) => {
                let bar = multi.add(ProgressBar::no_length());
                // The template is a constant, and tested.
                bar.set_style(ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_bar()));
                Place::Stderr { bar, label }
            }
            Self::Prompt(rows) => {
                let mut locked = rows.locked();
                locked.0 += 1;
                let number = locked.0;
                locked.1.insert(number, Row { label, done: 0, total: 0, note: String::new() });
                Place::Prompt { rows: Arc::clone(rows), number }
            }
        };
        Bar { place, began: OnceLock::new() }
    }

    /// Draws what a call tells of its progress. The bar goes away with the call.
    pub(super) fn sink(&self) -> ProgressSink {
        let (drawn, bar) = (self.clone(), OnceLock::new());
        Arc::new(move |progress| {
            let label = || match progress {
                Progress::Download(row) => row.label(),
                Progress::Hashing(hashing) => format!("hashing {}", hashing.name),
                Progress::Verifying(reading) => format!("verifying {}", reading.name),
            };
            let bar: &Bar = bar.get_or_init(|| drawn.add(label()));
            match progress {
                Progress::Download(row) => bar.set(row.have, row.size, &note(row)),
                Progress::Hashing(reading) | Progress::Verifying(reading) => bar.set(reading.done, reading.total, ""),
            }
        })
    }
}

/// How often a script with `--json` is told of progress.
const TOLD: Duration = Duration::from_millis(500);

/// Tells progress as lines of JSON on stderr: at once, and from then on twice a second.
pub(super) fn as_json(console: Console) -> ProgressSink {
    let told: Mutex<Option<Instant>> = Mutex::default();
    Arc::new(move |progress| {
        let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|at| at.elapsed() >= TOLD) {
            *told = Some(Instant::now());
            super::render::progress(progress).iter().for_each(|line| console.message(line));
        }
    })
}

/// One bar.
pub(super) struct Bar {
    place: Place,
    began: OnceLock<Instant>,
}

enum Place {
    Stderr { bar: ProgressBar, label: String },
    Prompt { rows: Arc<Rows>, number: u64 },
}

impl Bar {
    /// So many of `total` bytes are done; `note` is shown beside it.
    pub(super) fn set(&self, done: u64, total: u64, note: &str) {
        let elapsed = self.began.get_or_init(Instant::now).elapsed();
        let note = note_of(note, done, total, elapsed);
        match &self.place {
            Place::Stderr { bar, label } => {
                let row = Row { label: label.clone(), done, total, note };
                bar.set_message(row.draw(usable(stderr_size().columns)));
            }
            Place::Prompt { rows, number } => {
                if let Some(row) = rows.locked().1.get_mut(number) {
                    if (row.done, row.total, &row.note) == (done, total, &note) {
                        return;
                    }
                    (row.done, row.total, row.note) = (done, total, note);
                }
                rows.changed.notify_one();
            }
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        match &self.place {
            Place::Stderr { bar, .. } => bar.finish_and_clear(),
            Place::Prompt { rows, number } => {
                rows.locked().1.remove(number);
                // At once: what is over is not to be seen beside what came of it.
                rows.show();
            }
        }
    }
}

/// What stands beside a download's bar: rate, time left and peers, or why there is none.
pub(super) fn note(row: &DownloadRow) -> String {
    let DownloadRow { state, have, size, files_have, files, rate: per_second, peers, reason, .. } = row;
    match state {
        State::Downloading if *per_second > 0 => {
            let left = duration(Duration::from_secs(size.saturating_sub(*have) / per_second));
            let files =
                files_have.zip(*files).map(|(have, all)| format!(", {have} of {all} files")).unwrap_or_default();
            format!("{}, {left} left, {}{files}", rate(*per_second), count(*peers, "peer", "peers"))
        }
        State::Downloading => "connecting".to_owned(),
        State::Complete => "complete".to_owned(),
        State::Paused => because("paused", reason.as_deref()),
        State::Waiting => because("waiting", reason.as_deref()),
        State::Failed => because("failed", reason.as_deref()),
    }
}

fn because(state: &str, reason: Option<&str>) -> String {
    reason.map_or_else(|| state.to_owned(), |reason| format!("{state}: {reason}"))
}

/// The note, or the rate since the beginning and what it leaves to wait where there is none.
fn note_of(note: &str, done: u64, total: u64, elapsed: Duration) -> String {
    let per_second = (done as f64 / elapsed.as_secs_f64()) as u64;
    if !note.is_empty() || elapsed < MEASURED || per_second == 0 {
        return note.to_owned();
    }
    let left = duration(Duration::from_secs(total.saturating_sub(done) / per_second));
    format!("{}, {left} left", rate(per_second))
}

/// A little narrower than the terminal: a row that reaches the edge may wrap.
fn usable(columns: usize) -> usize {
    columns.max(MIN_COLUMNS) - 1
}

/// One row.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Row {
    label: String,
    done: u64,
    total: u64,
    note: String,
}

impl Row {
    /// In at most so many columns.
    fn draw(&self, columns: usize) -> String {
        let Self { label, done, total, note } = self;
        let label_columns = columns.saturating_sub(FIXED_COLUMNS + NOTE_COLUMNS).clamp(12, 40);
        let label = shorten_middle(label, label_columns);
        let blanks = " ".repeat(label_columns.saturating_sub(label.width()));
        let part = if *total == 0 { 0.0 } else { (*done as f64 / *total as f64).min(1.0) };
        let full = (part * BAR_COLUMNS as f64) as usize;
        let tip = if full < BAR_COLUMNS && *done > 0 { ">" } else { "" };
        let bar = format!("{}{tip}", "=".repeat(full));
        let percent = (part * 100.0) as u64;
        let row = format!("{label}{blanks} [{bar:BAR_COLUMNS$}] {percent:>3}% {:>10}", size(*total));
        let left = columns.saturating_sub(row.width() + 2);
        let note = if left < 2 { String::new() } else { fit_note(note, left) };
        shorten_end(format!("{row}  {note}").trim_end(), columns)
    }
}

/// As many of the note's parts as fit.
fn fit_note(note: &str, columns: usize) -> String {
    if note.width() <= columns {
        return note.to_owned();
    }
    let ends = note.match_indices(", ").map(|(at, _)| &note[..at]);
    ends.filter(|part| part.width() <= columns).last().map_or_else(|| shorten_end(note, columns), ToOwned::to_owned)
}

/// `text` in so many columns, with an ellipsis where its end is missing.
fn shorten_end(text: &str, columns: usize) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    beginning(text.chars(), columns.saturating_sub(1)) + "…"
}

/// `text` in so many columns, with an ellipsis where its middle is missing: names differ in their ends.
pub(super) fn shorten_middle(text: &str, columns: usize) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    let tail_columns = columns.saturating_sub(1) / 2;
    let tail: String = beginning(text.chars().rev(), tail_columns).chars().rev().collect();
    let head = beginning(text.chars(), columns.saturating_sub(1 + tail_columns));
    format!("{head}…{tail}")
}

/// As many of the characters as fit into so many columns.
fn beginning(text: impl Iterator<Item = char>, columns: usize) -> String {
    let mut used = 0;
    text.take_while(|c| {
        used += c.width().unwrap_or(0);
        used <= columns
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(label: &str, done: u64, total: u64, note: &str) -> Row {
        Row { label: label.to_owned(), done, total, note: note.to_owned() }
    }

    #[test]
    fn rows_have_fixed_columns_and_shortened_names() {
        let rows = [
            row("1 results.tar", 57 << 20, 286 << 20, "56.2 MiB/s, 4.1 s left, 2 peers"),
            row(
                "12 measurements-of-the-second-series-2024.tar.gz",
                1,
                3 << 30,
                "waiting: no seeder of this file is there",
            ),
            row("hashing a", 5, 5, ""),
        ];
        let drawn: Vec<_> = rows.iter().map(|row| row.draw(79)).collect();
        assert_eq!(
            drawn,
            [
                "1 results.tar      [=>      ]  19%  286.0 MiB  56.2 MiB/s, 4.1 s left, 2 peers",
                "12 measur…4.tar.gz [>       ]   0%    3.0 GiB  waiting: no seeder of this file…",
                "hashing a          [========] 100%        5 B",
            ]
        );
        for columns in 20..200 {
            assert!(rows.iter().all(|row| row.draw(columns).width() <= columns), "{columns}");
        }
    }

    #[test]
    fn names_are_shortened_by_columns_and_not_by_letters() {
        assert_eq!(shorten_middle("abcdefghij", 10), "abcdefghij");
        assert_eq!(shorten_middle("abcdefghijk", 10), "abcde…hijk");
        assert_eq!(shorten_middle("日本語日本語.tar", 9), "日本….tar");
        assert_eq!(shorten_end("日本語", 4), "日…");
    }

    #[test]
    fn progress_appears_changes_and_goes_away() {
        let rows = Arc::new(Rows::new(Console::plain(Drawn::on_stderr().multi())));
        let drawn = Drawn::Prompt(Arc::clone(&rows));
        let bars: Vec<_> = (0..MAX_LINES + 2).map(|n| drawn.add(format!("{n} a.bin"))).collect();
        bars[0].set(512, 1024, "1.0 MiB/s, 3 s left, 2 peers");
        let lines = rows.draw(100);
        assert!(lines[0].contains(" 50% ") && lines[0].ends_with("2 peers"), "{lines:?}");
        assert!(lines.len() == MAX_LINES + 1 && lines[MAX_LINES].contains("2 more"), "{lines:?}");
        drop(bars);
        assert!(rows.draw(100).is_empty());
    }

    #[test]
    fn without_a_note_the_rate_is_shown() {
        let note = note_of("", 100 << 20, 300 << 20, Duration::from_secs(2));
        assert_eq!(note, "50.0 MiB/s, 4.0 s left");
        assert_eq!(note_of("paused", 1, 2, Duration::from_secs(1)), "paused");
        assert_eq!(note_of("", 0, 2, Duration::ZERO), "");
    }

    #[test]
    fn the_template_is_sound() {
        assert!(ProgressStyle::with_template("{msg}").is_ok());
    }
}
