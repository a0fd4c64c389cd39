//! What has happened while nobody looked: what the trackers tell of the user's groups, and what this device has done.
//!
//! The trackers keep nothing for it that could be read up: they tell what follows from their state, each row under a mark of
//! its own. Which of them were shown is kept here, on this device; so neither a tracker that is away nor one that hears of
//! something late makes anything lost or told twice.

pub(super) mod follow;
mod joined;
mod marks;
mod shared;

use std::collections::HashSet;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use common::id::{GroupName, UserId};
use common::wire::client::{Happened, NewsMark, NewsPage, NewsRow as Row, Request, Response};

pub(super) use self::joined::JoinedHere;
pub use self::marks::ReadMarks;
pub(super) use self::shared::{Shared, shared};
use super::news::{Happening, News};
use super::outcome::{DownloadRow, Downloaded, Moment, NewsRow, Outcome};
use super::{Engine, Error, unexpected};
use crate::error::shown;
use crate::share::blocking;
use crate::units::{count, size};

/// Rows that are told at most, the last ones: as many as trackers know of one group, many times over.
const MAX_ROWS: usize = 1000;

impl Engine {
    /// What was not shown yet, or all that is still known; from then on it counts as shown.
    pub(super) async fn missed(&self, all: bool) -> Result<Outcome, Error> {
        let user = self.who().await?.user_id;
        let rows = self.all_news(None, |_| true).await?;
        let (since, read) = (self.news.read_at(user), self.news.read(user));
        let own = self.news.own(user);
        let is_wanted = |key: u64| all || !read.contains(&key);
        let mut news: Vec<NewsRow> = rows
            .iter()
            .rev()
            .filter(|row| is_wanted(row.mark.key))
            .map(|row| of_tracker(row, self.told(row)))
            .collect();
        news.extend(own.iter().filter(|(key, _)| is_wanted(*key)).map(|(_, row)| row.clone()));
        news.sort_by_key(|row| row.at);
        let shown = rows.iter().map(|row| row.mark.key).chain(own.iter().map(|(key, _)| *key)).collect();
        // Not if somebody else has logged in meanwhile: these may be theirs.
        if self.trackers.session().borrow().as_ref().map(|s| s.user_id) == Some(user) {
            self.save_marks(user, shown, now()).await;
        }
        Ok(Outcome::News { news, since: since.map(Moment), all })
    }

    /// What the tracker in use tells, the last first: page after page, while `goes_on` likes a page.
    pub(super) async fn all_news(
        &self,
        files_of: Option<&GroupName>,
        goes_on: impl Fn(&[Row]) -> bool,
    ) -> Result<Vec<Row>, Error> {
        Ok(self.news_pages(files_of, goes_on).await?.0)
    }

    /// The same, and from which mark on the shares of a group are known by time, if not all are.
    pub(super) async fn news_pages(
        &self,
        files_of: Option<&GroupName>,
        goes_on: impl Fn(&[Row]) -> bool,
    ) -> Result<(Vec<Row>, Option<NewsMark>), Error> {
        let (mut rows, mut before) = (Vec::new(), None);
        loop {
            let NewsPage { rows: new, before: next, cut } = self.news_page(files_of.cloned(), before).await?;
            let is_last = next.is_none() || next == before || !goes_on(&new);
            rows.extend(new.into_vec());
            if is_last || rows.len() >= MAX_ROWS {
                rows.truncate(MAX_ROWS);
                return Ok((rows, cut));
            }
            before = next;
        }
    }

    /// A page before `before`. A tracker of an older release does not say what is a new version.
    async fn news_page(&self, files_of: Option<GroupName>, before: Option<NewsMark>) -> Result<NewsPage, Error> {
        let request = Request::NewsWithVersions { files_of: files_of.clone(), before };
        let answer = match self.trackers.call(request).await {
            Err(Error::OldTracker) => self.trackers.call(Request::News { files_of, before }).await,
            answer => answer,
        };
        match answer? {
            Response::News(page) => Ok(page),
            _ => Err(unexpected()),
        }
    }

    /// A row as a sentence. Of a new version of what this device has, it says how to come by it.
    fn told(&self, row: &Row) -> News {
        let news = told(row);
        let Some(Shared { name, file_id, .. }) = shared(row).filter(|shared| shared.new_version) else { return news };
        let Some((older, part)) = self.shares.other_version(&row.group, name, file_id) else { return news };
        // Of what came from a browser there is a copy that is not the user's.
        let is_theirs = |older: &&Path| !older.starts_with(self.copies.directory());
        let line = shared::how_to_fetch(&row.group, name, Some(older.as_path()).filter(is_theirs), part);
        News { text: format!("{}: {line}", news.text), ..news }
    }

    /// Keeps that a download is complete. Of a script it is told by the command.
    pub(super) async fn keep_download(&self, row: &DownloadRow, done: &Downloaded) {
        let session = self.trackers.session();
        let user = session.borrow().as_ref().map(|s| s.user_id).filter(|_| self.stays());
        if let Some(user) = user {
            let text = format!("`{}` of `{}` has come: {}", row.label(), row.group, shown(&done.path));
            self.keep_news(user, &News::in_group(Happening::Downloaded, &row.group, text), Some(row.name.to_string()))
                .await;
        }
    }

    /// Keeps what this device has to tell until somebody asks.
    pub(super) async fn keep_news(&self, user: UserId, news: &News, name: Option<String>) {
        let row = NewsRow {
            at: Moment(now()),
            event: news.event,
            group: news.group.clone(),
            user: news.user.clone(),
            name,
            size: None,
            file_id: None,
            new_version: news.new_version,
            text: news.text.clone(),
        };
        let (marks, was_told) = (self.news.clone(), self.is_watched());
        let kept = blocking(move || marks.add(user, row, was_told)).await;
        kept.unwrap_or_else(|e| tracing::warn!("news of this device are not kept: {e}"));
    }

    /// The marks of what was shown. Who cannot save them is told the same again.
    async fn save_marks(&self, user: UserId, shown: HashSet<u64>, at: u64) {
        let marks = self.news.clone();
        let saved = blocking(move || marks.set_read(user, shown, at)).await;
        saved.unwrap_or_else(|e| tracing::warn!("what was shown of the news is not noted: {e}"));
    }
}

/// By this machine's clock, in seconds since 1970.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// A row, which is told so.
fn of_tracker(row: &Row, News { event, group, user, new_version, text, .. }: News) -> NewsRow {
    let shared = shared(row);
    NewsRow {
        at: Moment(row.mark.at()),
        event,
        group,
        user,
        name: shared.map(|shared| shared.name.to_string()),
        size: shared.map(|shared| shared.size),
        file_id: shared.map(|shared| shared.file_id),
        new_version,
        text,
    }
}

/// A row as a sentence, as it would have been told at the time.
fn told(Row { group, what, .. }: &Row) -> News {
    let in_group = |event, text| News::in_group(event, group, text);
    match what {
        Happened::JoinRequested { user } => News::join_requested(group, user),
        Happened::Accepted => News::accepted(group),
        Happened::Rejected => News::rejected(group),
        Happened::Removed => News::removed(group),
        Happened::MadeAdmin => News::made_admin(group),
        Happened::FileShared { name, size: bytes, user, entries, .. }
        | Happened::NewVersion { name, size: bytes, user, entries, .. } => {
            let share = match entries {
                Some(entries) => {
                    format!("the folder {name} ({}, {})", count((*entries).into(), "file", "files"), size(*bytes))
                }
                None => format!("{name} ({})", size(*bytes)),
            };
            let new_version = matches!(what, Happened::NewVersion { .. });
            let shared = if new_version { "has shared a new version of" } else { "shared" };
            let text = format!("{user} {shared} {share} in `{group}`");
            News { user: Some(user.clone()), new_version, ..in_group(Happening::FileShared, text) }
        }
        Happened::InvitationUsed { user } => {
            let text = format!("{user} has come to `{group}` by an invitation");
            News { user: Some(user.clone()), ..in_group(Happening::InvitationUsed, text) }
        }
    }
}

/// Many new files of one group, or many new versions, in one sentence.
fn told_together(group: &GroupName, many: usize, new_version: bool) -> News {
    let what = if new_version { "new versions" } else { "new files" };
    let text = format!("{many} {what} in `{group}`: `list_files {group} --sort age` shows them");
    News { new_version, ..News::in_group(Happening::FileShared, group, text) }
}

#[cfg(test)]
mod tests {
    use common::id::FileId;
    use common::wire::client::NewsMark;

    use super::*;

    fn shared(name: &str, entries: Option<u32>) -> Row {
        let (name, user) = (name.parse().expect("a name"), "bob".parse().expect("a name"));
        row(Happened::FileShared { name, size: 2048, file_id: FileId::new([7; 32]), user, entries })
    }

    fn new_version(name: &str, entries: Option<u32>) -> Row {
        let (name, user) = (name.parse().expect("a name"), "bob".parse().expect("a name"));
        row(Happened::NewVersion { name, size: 2048, file_id: FileId::new([7; 32]), user, entries })
    }

    fn row(what: Happened) -> Row {
        Row { mark: NewsMark { stamp: (1_700_000_000_000) << 16, key: 1 }, group: "lab".parse().expect("a name"), what }
    }

    #[test]
    fn a_row_is_a_sentence_and_many_files_are_one() {
        let of_tracker = |row: &Row| of_tracker(row, told(row));
        let row = of_tracker(&shared("a b.bin", None));
        assert_eq!(row.text, "bob shared a b.bin (2.0 KiB) in `lab`");
        assert_eq!((row.at, row.event, row.size), (Moment(1_700_000_000), Happening::FileShared, Some(2048)));
        assert_eq!(of_tracker(&shared("src", Some(3))).text, "bob shared the folder src (3 files, 2.0 KiB) in `lab`");
        let version = of_tracker(&new_version("src", Some(3)));
        assert_eq!(version.text, "bob has shared a new version of the folder src (3 files, 2.0 KiB) in `lab`");
        assert!(version.new_version && !row.new_version && version.event == row.event && version.name.is_some());
        let lab = "lab".parse().expect("a name");
        let text = "2 new files in `lab`: `list_files lab --sort age` shows them";
        assert_eq!(told_together(&lab, 2, false).text, text);
        assert_eq!(told_together(&lab, 2, true).text, text.replace("files in", "versions in"));
    }
}
