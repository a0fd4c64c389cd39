//! What an engine tells without being asked: progress, news, and changes of downloads, shares and status.
//!
//! Every receiver gets all events from its subscription on, each kind in its order. One that falls behind loses the oldest;
//! then the listings (`show_downloads`, `list_shares`, `status`) tell how things are.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use common::id::{FileName, GroupName, UserId};
use common::task::TaskGroup;
use common::wire::client::Push;
use serde::{Deserialize, Serialize};
use tokio::sync::{broadcast, mpsc};

use super::news::{Happening, News};
use super::outcome::{DownloadRow, Downloaded, Status};
use super::progress::Progress;
use super::{Engine, doctor};
use crate::download::{self, State};
use crate::share;
use crate::trackers::Notice;
use crate::units::count;

/// Events that a slow receiver may lag behind.
pub(super) const EVENTS: usize = 1024;
/// How often downloads are looked at while they change.
const LOOK: Duration = Duration::from_millis(300);

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Something is so far.
    Progress(Progress),
    /// Something for people.
    News(News),
    /// A download began, changed its state, or left the list.
    Download(DownloadChange),
    /// A share began or ended.
    Share(ShareChange),
    /// A tracker, the mode or the login is another.
    Status(Status),
}

/// A download as it is now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DownloadChange {
    /// Its line in the list.
    #[serde(flatten)]
    pub row: DownloadRow,
    /// What came of it, once it is complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done: Option<Downloaded>,
    /// Whether it has left the list.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub removed: bool,
}

/// A share of this device that began or ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShareChange {
    /// In which group.
    pub group: GroupName,
    /// Under which name.
    pub name: FileName,
    /// Whether it is seeded from now on, or no longer.
    pub seeded: bool,
    /// Why not, where that was nobody's command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Where events come from, subscribed to before anything can happen.
pub(super) struct Sources {
    pub(super) notices: mpsc::Receiver<Notice>,
    pub(super) pushes: broadcast::Receiver<Push>,
    pub(super) shares: broadcast::Receiver<share::Notice>,
}

/// Passes on what the rooms tell. Until then it waits with them.
pub(super) fn spawn(engine: &Arc<Engine>, sources: Sources, tasks: &TaskGroup) {
    let Sources { notices, pushes, shares } = sources;
    tasks.spawn("notices", follow_notices(Arc::clone(engine), notices));
    tasks.spawn("news", follow_pushes(Arc::clone(engine), pushes));
    tasks.spawn("share notices", follow_shares(Arc::clone(engine), shares));
    tasks.spawn("downloads", follow_downloads(Arc::clone(engine)));
    tasks.spawn("status", follow_status(Arc::clone(engine)));
    let told = Arc::clone(engine);
    let changed = move || told.tell(Event::Status(told.known_status()));
    let probes = engine.trackers.probes();
    tasks.spawn("knocks", doctor::knock::answer(Arc::clone(engine), probes, tasks.clone()));
    tasks.spawn("limits by the clock", engine.controls.clone().follow_clock(changed));
}

async fn follow_notices(engine: Arc<Engine>, mut notices: mpsc::Receiver<Notice>) {
    while let Some(notice) = notices.recv().await {
        engine.tell(Event::News(News::of_notice(&notice)));
    }
}

async fn follow_pushes(engine: Arc<Engine>, mut pushes: broadcast::Receiver<Push>) {
    // A tracker tells what was renamed to each connection that it is new to.
    let mut renamed = HashMap::new();
    loop {
        match pushes.recv().await {
            Ok(push) => {
                let Some(news) = News::of_push(&push) else { continue };
                let is_rename = matches!(news.event, Happening::UserRenamed | Happening::GroupRenamed);
                let user = engine.trackers.session().borrow().as_ref().map(|session| session.user_id);
                let key = news.claimed.clone().filter(|_| is_rename).map(|claimed| (user, news.event, claimed));
                if key.is_none_or(|key| renamed.insert(key, news.text.clone()).as_ref() != Some(&news.text)) {
                    engine.tell(Event::News(news));
                }
            }
            Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}

async fn follow_shares(engine: Arc<Engine>, mut notices: broadcast::Receiver<share::Notice>) {
    loop {
        match notices.recv().await {
            Ok(notice) => {
                engine.tell(Event::News(News::of_share(&notice)));
                let (group, name) = (notice.group.clone(), notice.name.clone());
                let reason = Some(notice.to_string());
                engine.tell(Event::Share(ShareChange { group: group.clone(), name, seeded: false, reason }));
                if let Some(name) = notice.new_name().cloned() {
                    engine.tell(Event::Share(ShareChange { group, name, seeded: true, reason: None }));
                }
            }
            Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}

async fn follow_status(engine: Arc<Engine>) {
    let mut session = engine.trackers.session();
    let mut view = engine.trackers.view();
    loop {
        tokio::select! {
            changed = session.changed() => if changed.is_err() {
                return;
            },
            changed = view.changed() => if !changed {
                return;
            },
        }
        engine.tell(Event::Status(engine.known_status()));
    }
}

/// Sleeps while no download changes.
async fn follow_downloads(engine: Arc<Engine>) {
    let mut known = rows(&engine);
    loop {
        let change = engine.downloads.change();
        let now = rows(&engine);
        for event in changes(&known, &now) {
            if let Event::Download(DownloadChange { row, done: Some(done), removed: false }) = &event {
                engine.keep_download(row, done).await;
            }
            engine.tell(event);
        }
        known = now;
        tokio::time::sleep(LOOK).await;
        change.await;
    }
}

fn rows(engine: &Engine) -> BTreeMap<u64, DownloadChange> {
    engine.downloads.list().into_iter().map(|row| (row.n.0, row.into())).collect()
}

impl From<download::DownloadRow> for DownloadChange {
    fn from(row: download::DownloadRow) -> Self {
        let done = row.progress.done.as_deref().cloned().map(Into::into);
        Self { row: row.into(), done, removed: false }
    }
}

/// What lies between two looks.
fn changes(before: &BTreeMap<u64, DownloadChange>, now: &BTreeMap<u64, DownloadChange>) -> Vec<Event> {
    let gone = before.iter().filter(|(n, _)| !now.contains_key(n));
    let gone = gone.map(|(_, change)| Event::Download(DownloadChange { removed: true, ..change.clone() }));
    let others = now.iter().filter_map(|(n, change)| match before.get(n) {
        Some(old) if old == change => None,
        Some(old) if (old.row.state, &old.row.reason) == (change.row.state, &change.row.reason) => {
            Some(Event::Progress(Progress::Download(change.row.clone())))
        }
        Some(_) | None => Some(Event::Download(change.clone())),
    });
    gone.chain(others).collect()
}

/// Brings shares and downloads back whenever somebody is logged in.
pub(super) async fn restore(engine: Arc<Engine>) {
    let mut session = engine.trackers.session();
    let mut told: Option<UserId> = None;
    loop {
        let user = session.borrow_and_update().as_ref().map(|s| s.user_id);
        if user.is_some() {
            engine.shares.restore().await;
            engine.downloads.restore().await;
            if told != user {
                let text = going_on(&engine.downloads.list());
                text.into_iter().for_each(|text| engine.tell(Event::News(News::of(Happening::GoingOn, text))));
                told = user;
            }
        }
        if session.changed().await.is_err() {
            return;
        }
    }
}

/// What there is to say of the unfinished downloads of an earlier run.
fn going_on(rows: &[download::DownloadRow]) -> Option<String> {
    let number = |wanted: &[State]| rows.iter().filter(|row| wanted.contains(&row.progress.state)).count() as u64;
    let (going, paused) = (number(&[State::Downloading, State::Waiting]), number(&[State::Paused]));
    let going = (going > 0).then(|| count(going, "unfinished download goes on", "unfinished downloads go on"));
    let paused = (paused > 0).then(|| count(paused, "download is paused", "downloads are paused"));
    let all: Vec<_> = going.into_iter().chain(paused).collect();
    (!all.is_empty()).then(|| format!("{}: `show_downloads` shows them", all.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(n: u64, state: State, have: u64) -> DownloadChange {
        let (group, name) = ("lab".parse().expect("a name"), "a.bin".parse().expect("a name"));
        let (within, files, files_have, reason) = (None, None, None, None);
        let row =
            DownloadRow { n, group, name, within, state, have, size: 9, files_have, files, rate: 0, peers: 0, reason };
        DownloadChange { row, done: None, removed: false }
    }

    #[test]
    fn a_change_of_state_is_told_apart_from_progress_and_from_nothing() {
        let of = |all: &[DownloadChange]| all.iter().map(|c| (c.row.n, c.clone())).collect::<BTreeMap<_, _>>();
        let (begun, more) = (change(1, State::Downloading, 1), change(1, State::Downloading, 2));
        let complete = change(1, State::Complete, 9);
        let told = |before: &[DownloadChange], now: &[DownloadChange]| changes(&of(before), &of(now));
        assert_eq!(told(&[], std::slice::from_ref(&begun)), [Event::Download(begun.clone())]);
        assert_eq!(told(std::slice::from_ref(&begun), std::slice::from_ref(&begun)), []);
        let progress = Event::Progress(Progress::Download(more.row.clone()));
        assert_eq!(told(std::slice::from_ref(&begun), std::slice::from_ref(&more)), [progress]);
        assert_eq!(told(&[more], std::slice::from_ref(&complete)), [Event::Download(complete.clone())]);
        let removed = DownloadChange { removed: true, ..complete.clone() };
        assert_eq!(told(&[complete], &[]), [Event::Download(removed)]);
    }
}
