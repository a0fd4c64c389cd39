//! What was shared in a group since somebody last looked.
//!
//! The trackers tell a group's last publications by when they were made, each under a mark of its own. What is new is what was
//! not there at the last look: not what is later, since a tracker may hear late of what was published at the other one. Only
//! where so much was published since that not all of it is among the last ones, the whole list is gone through.

use std::collections::BTreeSet;

use common::id::{GroupId, GroupName};
use common::wire::client::{NewsMark, NewsRow, Page, Request, Response, ShareRow};
use serde::{Deserialize, Serialize};

use super::Found;
use crate::download::unlisted::Publication;
use crate::engine::Engine;
use crate::engine::missed::{Shared, shared};
use crate::error::{Error, unexpected};

/// What was there at the last look.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Known {
    /// Of the last publications.
    #[serde(default)]
    marks: BTreeSet<(u64, u64)>,
    /// What is before this was there, or is not asked for.
    #[serde(default)]
    floor: Option<(u64, u64)>,
    /// When it was, by the trackers' clock, in seconds since 1970.
    #[serde(default)]
    at: u64,
}

/// What a look has found.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Look {
    /// What is new, the first first.
    pub(super) new: Vec<Found>,
    /// Whether there may be more that is new, published since this time (seconds since 1970).
    pub(super) missed_since: Option<u64>,
    /// What is known from now on.
    pub(super) known: Known,
}

const fn pair(mark: NewsMark) -> (u64, u64) {
    (mark.stamp, mark.key)
}

impl Known {
    /// When it was.
    pub(super) const fn at(&self) -> u64 {
        self.at
    }

    /// All that is there now.
    pub(super) async fn begin(engine: &Engine, group_id: GroupId, group: &GroupName) -> Result<Self, Error> {
        let (rows, cut) = engine.published(group_id, group).await?;
        let look = Self { at: engine.trackers.now(), ..Self::default() }.look(&rows, cut, engine.trackers.now());
        Ok(look.known)
    }

    /// Compares what is there at `now` with what was. Pure.
    pub(super) fn look(&self, rows: &[NewsRow], cut: Option<NewsMark>, now: u64) -> Look {
        let is_new = |row: &&NewsRow| {
            let mark = pair(row.mark);
            !self.marks.contains(&mark) && self.floor.is_none_or(|floor| mark >= floor)
        };
        let found = |row: &NewsRow| {
            let Shared { name, file_id, user, .. } = shared(row)?;
            let publication = Publication { published: row.mark.at(), uploader: user.clone() };
            Some(Found { name: name.clone(), file_id, publication })
        };
        let new = rows.iter().rev().filter(is_new).filter_map(found);
        let cut = cut.map(pair);
        // If nothing that was known is among the last ones, some may have come and gone from there between the looks.
        let is_gap = cut.is_some_and(|cut| self.marks.last().is_none_or(|last| *last < cut));
        let known =
            Self { marks: rows.iter().map(|row| pair(row.mark)).collect(), floor: cut.max(self.floor), at: now };
        Look { new: new.collect(), missed_since: is_gap.then_some(self.at), known }
    }
}

impl Engine {
    /// From when on what is published may be new at the next look: now; but while the other tracker is away, which may know of
    /// something that was published earlier, as at the last look.
    pub(super) fn looked_at(&self, last: u64) -> u64 {
        if self.trackers.is_apart() { last } else { self.trackers.now() }
    }

    /// The last publications in a group, the last first, and from where on they are told.
    pub(super) async fn published(
        &self,
        group_id: GroupId,
        known_as: &GroupName,
    ) -> Result<(Vec<NewsRow>, Option<NewsMark>), Error> {
        self.news_pages(Some(&known_as.reference(group_id)), |_| true).await
    }

    /// Everything that a group shares and that was published since `since`, in seconds since 1970.
    pub(super) async fn shares_since(
        &self,
        group_id: GroupId,
        known_as: &GroupName,
        since: u64,
    ) -> Result<Vec<Found>, Error> {
        let group = known_as.reference(group_id);
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let request = Request::ListShares { group: group.clone(), after };
            let Response::Shares(Page { rows, more }) = self.trackers.call(request).await? else {
                return Err(unexpected());
            };
            after = rows.last().map(|row| row.file.name.clone());
            let late = rows.into_vec().into_iter().filter(|row| row.published >= since);
            found.extend(late.map(|ShareRow { file, published, .. }| Found {
                name: file.name,
                file_id: file.file_id,
                publication: Publication { published, uploader: file.uploader },
            }));
            if !more || after.is_none() {
                return Ok(found);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use common::id::FileId;
    use common::wire::client::Happened;

    use super::*;

    fn row(stamp: u64) -> NewsRow {
        let name = format!("f{stamp}").parse().expect("a name");
        let (file_id, user) = (FileId::new([7; 32]), "bob".parse().expect("a name"));
        let what = Happened::FileShared { name, size: 1, file_id, user, entries: None };
        NewsRow { mark: NewsMark { stamp, key: stamp }, group: "lab".parse().expect("a name"), what }
    }

    /// The last first, as trackers tell them.
    fn rows(stamps: &[u64]) -> Vec<NewsRow> {
        stamps.iter().rev().map(|stamp| row(*stamp)).collect()
    }

    fn mark(stamp: u64) -> Option<NewsMark> {
        Some(NewsMark { stamp, key: stamp })
    }

    fn names(look: &Look) -> Vec<&str> {
        look.new.iter().map(|found| found.name.as_str()).collect()
    }

    #[test]
    fn what_was_not_there_is_new_also_if_it_is_older() {
        let known = Known::default().look(&rows(&[5, 7]), None, 100).known;
        let same = known.look(&rows(&[5, 7]), None, 200);
        assert!(same.new.is_empty() && same.missed_since.is_none());
        let late = known.look(&rows(&[5, 6, 7, 8]), None, 200);
        assert_eq!(names(&late), ["f6", "f8"]);
        assert!(late.known.look(&rows(&[5, 6, 7, 8]), None, 300).new.is_empty());
        let gone = late.known.look(&rows(&[7, 8]), None, 300).known;
        assert_eq!(names(&gone.look(&rows(&[7, 8, 9]), None, 400)), ["f9"]);
    }

    #[test]
    fn what_is_before_the_cut_is_not_new_whenever_it_is_told() {
        let known = Known::default().look(&rows(&[5, 6]), mark(5), 100).known;
        let next = known.look(&rows(&[6, 7]), mark(6), 200);
        assert_eq!((names(&next), next.missed_since), (vec!["f7"], None));
        // Some were taken back, and earlier ones are told again.
        assert!(next.known.look(&rows(&[4, 5, 6]), mark(4), 300).new.is_empty());
    }

    #[test]
    fn more_than_the_trackers_tell_by_time_is_noticed() {
        let known = Known::default().look(&rows(&[5, 6]), None, 100).known;
        assert_eq!(known.look(&rows(&[6, 7, 8]), mark(6), 200).missed_since, None);
        let gap = known.look(&rows(&[7, 8, 9]), mark(7), 200);
        assert_eq!((gap.missed_since, names(&gap)), (Some(100), vec!["f7", "f8", "f9"]));
        let empty = Known::default().look(&[], None, 100).known;
        assert_eq!(empty.look(&rows(&[7, 8]), mark(7), 200).missed_since, Some(100), "nothing was there then");
        assert_eq!(empty.look(&rows(&[7, 8]), None, 200).missed_since, None);
    }
}
