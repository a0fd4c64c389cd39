//! Downloads beside the prompt: a bar for each that moves, and a line when one ends or waits for long.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::broadcast;

use crate::engine::events::DownloadChange;
use crate::engine::outcome::State;
use crate::engine::{Call, Command, Event, Outcome, Progress};
use crate::faces::console::Console;
use crate::faces::progress::{Bar, Drawn, note};
use crate::faces::{Service, render};

/// A download that waits for so long is worth a line.
const WAITS: Duration = Duration::from_secs(3);
/// How often one that waits is looked at.
const LOOK: Duration = Duration::from_millis(300);

/// What is known of a download, and since when.
struct Seen {
    state: State,
    since: Instant,
    told: bool,
}

impl Seen {
    fn new(state: State, told: bool) -> Self {
        Self { state, since: Instant::now(), told }
    }

    /// Takes note of `state`: whether that is news now. Waiting is, if it lasts.
    fn is_news(&mut self, state: State) -> bool {
        if self.state != state {
            *self = Self::new(state, false);
        }
        let news = !self.told && (state != State::Waiting || self.since.elapsed() > WAITS);
        self.told |= news;
        news
    }

    /// Whether it may be news later, without a change.
    fn is_to_be_told(&self) -> bool {
        !self.told && self.state == State::Waiting
    }
}

/// Follows the downloads until the service ends. It sleeps while nothing changes.
pub(super) async fn follow(
    service: Arc<dyn Service>,
    mut events: broadcast::Receiver<Event>,
    console: Console,
    bars: Drawn,
) {
    // What is there before is no news.
    let mut shown = Shown::new(console, bars);
    listed(&*service).await.into_iter().for_each(|change| shown.show(change, true));
    loop {
        let event = tokio::select! {
            event = events.recv() => event,
            () = tokio::time::sleep(LOOK), if shown.is_anything_to_be_told() => {
                shown.tell_what_waits();
                continue;
            }
        };
        match event {
            Ok(Event::Download(change)) => shown.show(change, false),
            Ok(Event::Progress(Progress::Download(row))) => {
                shown.show(DownloadChange { row, done: None, removed: false }, false);
            }
            Ok(
                Event::Progress(Progress::Hashing(_) | Progress::Verifying(_))
                | Event::News(_)
                | Event::Share(_)
                | Event::Status(_),
            ) => {}
            Err(broadcast::error::RecvError::Lagged(_)) => {
                let now = listed(&*service).await;
                shown.retain(&now);
                now.into_iter().for_each(|change| shown.show(change, false));
            }
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}

async fn listed(service: &dyn Service) -> Vec<DownloadChange> {
    match service.run(Command::ShowDownloads, Call::unwatched(false)).await {
        Ok(Outcome::Downloads { downloads }) => {
            downloads.into_iter().map(|row| DownloadChange { row, done: None, removed: false }).collect()
        }
        Ok(_) | Err(_) => Vec::new(),
    }
}

/// What the user has been shown.
struct Shown {
    console: Console,
    drawn: Drawn,
    bars: HashMap<u64, Bar>,
    known: BTreeMap<u64, (Seen, DownloadChange)>,
}

impl Shown {
    fn new(console: Console, drawn: Drawn) -> Self {
        Self { console, drawn, bars: HashMap::new(), known: BTreeMap::new() }
    }

    /// Shows how a download is; `is_old` where that is no news.
    fn show(&mut self, change: DownloadChange, is_old: bool) {
        let (n, state) = (change.row.n, change.row.state);
        if change.removed {
            self.bars.remove(&n);
            self.known.remove(&n);
            return;
        }
        if matches!(state, State::Downloading | State::Waiting) {
            let label = || format!("{n} {}", change.row.label());
            let bar = self.bars.entry(n).or_insert_with(|| self.drawn.add(label()));
            bar.set(change.row.have, change.row.size, &note(&change.row));
        } else {
            self.bars.remove(&n);
        }
        let known = self.known.entry(n).or_insert_with(|| (Seen::new(state, is_old), change.clone()));
        known.1 = change;
        if known.0.is_news(state) {
            tell(&self.console, &known.1);
        }
    }

    fn retain(&mut self, now: &[DownloadChange]) {
        let is_there = |n: &u64| now.iter().any(|change| change.row.n == *n);
        self.bars.retain(|n, _| is_there(n));
        self.known.retain(|n, _| is_there(n));
    }

    fn is_anything_to_be_told(&self) -> bool {
        self.known.values().any(|(seen, _)| seen.is_to_be_told())
    }

    fn tell_what_waits(&mut self) {
        for (seen, change) in self.known.values_mut() {
            if seen.is_news(change.row.state) {
                tell(&self.console, change);
            }
        }
    }
}

fn tell(console: &Console, DownloadChange { row, done, .. }: &DownloadChange) {
    let reason = row.reason.as_deref().unwrap_or("no reason given");
    let (n, name) = (row.n, row.label());
    match row.state {
        State::Complete => {
            let what = done.as_ref().map_or_else(|| name.clone(), render::downloaded);
            console.message(&format!("download {n} complete: {what}"));
        }
        State::Failed => {
            console.message(&format!("download {n} ({name}) failed: {reason}; `resume_download {n}` tries again"));
        }
        State::Waiting => console.message(&format!("download {n} ({name}) waits: {reason}")),
        State::Paused if row.reason.is_some() => console.message(&format!("download {n} ({name}) is paused: {reason}")),
        State::Paused | State::Downloading => {}
    }
}
