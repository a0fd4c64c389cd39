//! What the trackers answered lately, so that filtering and live updates do not ask them at every key.
//!
//! Answers are dropped when the user does something or news come, and otherwise after [`FRESH`].

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use common::id::{FileName, GroupName};
use common::tree::TreePath;
use common::wire::client::FileSelector;
use common::wire::refusal::Refusal;
use tokio::sync::Notify;

use super::share_at::ShareAt;
use crate::engine::command::ShareFile;
use crate::engine::outcome::{FileRow, GroupRow, Info, InviteRow, Kind, MemberRow, User};
use crate::engine::{Call, Command, Engine, Event, Outcome};
use crate::error::Error;

/// How long an answer is used.
const FRESH: Duration = Duration::from_secs(5);
/// A listing that took long to get is used for so many times as long.
const PATIENT: u32 = 20;
/// Answers that are kept.
const MOST: usize = 64;
/// How long the page waits for the trackers.
const WAIT: Duration = Duration::from_secs(8);

/// See the module.
pub(super) struct Answers {
    engine: Arc<Engine>,
    kept: Mutex<Memory>,
    dropped: Notify,
}

/// Whether answers of before say nothing any more after this.
pub(super) fn is_old_after(event: &Event) -> bool {
    match event {
        Event::News(_) | Event::Share(_) | Event::Status(_) => true,
        // Only this client's own doing, which is looked at afresh each time.
        Event::Download(_) | Event::Progress(_) => false,
    }
}

#[derive(Default)]
struct Memory {
    answers: Vec<Kept>,
    /// Counts what was dropped: an answer to a question of before is not kept.
    age: u64,
}

struct Kept {
    question: Command,
    until: Instant,
    outcome: Arc<Outcome>,
}

/// An answer that holds a listing.
pub(super) struct Rows<T> {
    outcome: Arc<Outcome>,
    rows: fn(&Outcome) -> &[T],
}

/// An answer about one share.
pub(super) struct OneShare {
    pub(super) outcome: Arc<Outcome>,
    /// What it was asked for by, and a command can be given as well: its id, and its name where others have that id.
    pub(super) share: FileSelector,
}

impl OneShare {
    pub(super) fn info(&self) -> Option<&Info> {
        if let Outcome::Info(info) = &*self.outcome { Some(info) } else { None }
    }
}

impl<T> Rows<T> {
    /// Whether both are one answer.
    pub(super) fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.outcome, &other.outcome) || *self.outcome == *other.outcome
    }
}

impl<T> std::ops::Deref for Rows<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        (self.rows)(&self.outcome)
    }
}

impl Answers {
    pub(super) fn new(engine: Arc<Engine>) -> Self {
        Self { engine, kept: Mutex::default(), dropped: Notify::new() }
    }

    /// All groups.
    pub(super) async fn groups(&self) -> Result<Rows<GroupRow>, Error> {
        let outcome = self.ask(Command::ListGroups).await?;
        Ok(Rows { outcome, rows: |o| if let Outcome::Groups { groups } = o { groups } else { &[] } })
    }

    /// Who asks to join.
    pub(super) async fn requests(&self, group: &GroupName) -> Result<Rows<User>, Error> {
        let outcome = self.ask(Command::ListRequests { group: group.clone() }).await?;
        Ok(Rows { outcome, rows: |o| if let Outcome::Requests { requests, .. } = o { requests } else { &[] } })
    }

    /// By which invitations people may come.
    pub(super) async fn invites(&self, group: &GroupName) -> Result<Rows<InviteRow>, Error> {
        let outcome = self.ask(Command::ListInvites { group: group.clone() }).await?;
        Ok(Rows { outcome, rows: |o| if let Outcome::Invites { invites, .. } = o { invites } else { &[] } })
    }

    /// Who is in.
    pub(super) async fn members(&self, group: &GroupName) -> Result<Rows<MemberRow>, Error> {
        let outcome = self.ask(Command::ListMembers { group: group.clone() }).await?;
        Ok(Rows { outcome, rows: |o| if let Outcome::Members { members } = o { members } else { &[] } })
    }

    /// What is shared.
    pub(super) async fn files(&self, group: &GroupName) -> Result<Rows<FileRow>, Error> {
        let outcome = self.ask(Command::all_files(group.clone())).await?;
        Ok(Rows { outcome, rows: |o| if let Outcome::Files { files, .. } = o { files } else { &[] } })
    }

    /// What was found.
    pub(super) async fn search(&self, words: &str, page: NonZeroU32) -> Result<Arc<Outcome>, Error> {
        self.ask(Command::Search { words: vec![words.to_owned()], page: Some(page) }).await
    }

    /// One share, looked at closely.
    pub(super) async fn info(&self, at: &ShareAt) -> Result<OneShare, Error> {
        self.about(at, false, |file_name| Command::Info { group: at.group.clone(), file_name }).await
    }

    /// What is in a folder that a group shares, or in the folder `under` in it.
    pub(super) async fn folder(&self, at: &ShareAt, under: &str) -> Result<OneShare, Error> {
        let path = match under {
            "" => None,
            under => Some(under.parse::<TreePath>().map_err(|e| Error::InvalidArgument(e.to_string()))?),
        };
        self.about(at, true, |share| Command::folder(at.group.clone(), ShareFile { share, path: path.clone() })).await
    }

    /// Asks about a share by its id, which no new version has; where several shares have that, by the name of the one
    /// that is meant.
    async fn about(
        &self,
        at: &ShareAt,
        is_folder: bool,
        question: impl Fn(FileSelector) -> Command,
    ) -> Result<OneShare, Error> {
        let id: FileSelector = format!("id:{}", at.file_id).parse().map_err(Error::InvalidArgument)?;
        match self.ask(question(id.clone())).await {
            Err(refused @ Error::Refused(Refusal::AmbiguousId { .. })) => {
                let share = FileSelector::Name(self.name_of(at, is_folder).await?.ok_or(refused)?);
                Ok(OneShare { outcome: self.ask(question(share.clone())).await?, share })
            }
            answer => Ok(OneShare { outcome: answer?, share: id }),
        }
    }

    /// The name of the share that is meant, of several with its id: the one of the address, or the only one that fits.
    async fn name_of(&self, at: &ShareAt, is_folder: bool) -> Result<Option<FileName>, Error> {
        let rows = self.files(&at.group).await?;
        let fits = |row: &&FileRow| row.file_id == at.file_id && (row.kind == Kind::Folder || !is_folder);
        let names: Vec<_> = rows.iter().filter(fits).map(|row| &row.name).collect();
        let named = names.iter().find(|name| at.name.as_ref() == Some(**name));
        let only = if let [only] = names.as_slice() { Some(only) } else { None };
        Ok(named.or(only).map(|name| (*name).clone()))
    }

    /// Drops all answers: something has changed.
    pub(super) fn forget(&self) {
        let mut kept = self.locked();
        kept.answers.clear();
        kept.age += 1;
        drop(kept);
        self.dropped.notify_one();
    }

    /// Resolves when answers have been dropped since it last did. For one caller.
    pub(super) async fn forgotten(&self) {
        self.dropped.notified().await;
    }

    async fn ask(&self, question: Command) -> Result<Arc<Outcome>, Error> {
        let begun = Instant::now();
        let age = match self.fresh(&question, begun) {
            Ok(outcome) => return Ok(outcome),
            Err(age) => age,
        };
        let call = Call::unwatched(false);
        let answer = tokio::time::timeout(WAIT, self.engine.run(question.clone(), &call)).await;
        let late = |_| Error::Timeout("the trackers have not answered in time; trying again".to_owned());
        let outcome = Arc::new(answer.map_err(late)??);
        let until = Instant::now() + FRESH.max(begun.elapsed() * PATIENT);
        let mut kept = self.locked();
        if kept.age == age {
            kept.answers.retain(|k| k.question != question);
            if kept.answers.len() >= MOST {
                kept.answers.remove(0);
            }
            kept.answers.push(Kept { question, until, outcome: Arc::clone(&outcome) });
        }
        Ok(outcome)
    }

    /// An answer that is still good, or the age of the memory in which there is none.
    fn fresh(&self, question: &Command, now: Instant) -> Result<Arc<Outcome>, u64> {
        let mut kept = self.locked();
        kept.answers.retain(|k| k.until > now);
        let found = kept.answers.iter().find(|k| k.question == *question).map(|k| Arc::clone(&k.outcome));
        found.ok_or(kept.age)
    }

    fn locked(&self) -> MutexGuard<'_, Memory> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
