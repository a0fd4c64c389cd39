//! What this device shares, for people and scripts.

use std::path::PathBuf;
use std::time::Instant;

use common::id::{FileId, FileName, GroupId, GroupName, TreeId};
use serde::{Deserialize, Serialize};

use super::notice::{NAMED, modified, modified_whole, unreadable};
use super::recheck::{Looks, look_key};
use super::stats::Given;
use super::withheld::{MAX_CHANGED, Withheld};
use super::{NamedFiles, Share, Shares, key_of};
use crate::error::{Error, shown};

/// What becomes of a share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ShareState {
    /// The group can fetch it from here.
    Seeding,
    /// This client does not offer it (yet), nothing can be read where it lies, or the trackers could not be told; see the reason.
    Waiting,
    /// The trackers do not let this device seed it; see the reason.
    Refused,
    /// What is there is not what was shared, so that nothing of it can be given; see the reason.
    Changed,
}

impl ShareState {
    /// The word for it, as scripts and people see it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Seeding => "seeding",
            Self::Waiting => "waiting",
            Self::Refused => "refused",
            Self::Changed => "changed",
        }
    }
}

/// A share in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareRow {
    /// What its group is called now.
    pub group: GroupName,
    /// Which group that is.
    pub group_id: GroupId,
    /// Its name there.
    pub name: FileName,
    /// Its content.
    pub file_id: FileId,
    /// Length in bytes.
    pub size: u64,
    /// Where the file lies.
    pub path: PathBuf,
    /// What becomes of it.
    pub state: ShareState,
    /// Why it is not seeded, or not whole.
    pub reason: Option<String>,
    /// Files and empty folders, if it is a folder.
    pub entries: Option<u64>,
    /// Its tree then.
    pub tree: Option<TreeId>,
    /// The first files of a folder that are no longer what was shared, by their paths in it.
    pub changed: Vec<String>,
    /// Whether anything of it is here as it was shared, as far as the last look has found.
    pub here: bool,
    /// Pieces that are here, where the share is offered.
    pub pieces: Option<u32>,
    /// What it has given.
    pub given: Given,
}

impl Shares {
    /// The shares of the user who is logged in, by group and name.
    ///
    /// # Errors
    /// When nobody is logged in.
    pub fn list(&self) -> Result<Vec<ShareRow>, Error> {
        let user = self.user()?;
        let shares: Vec<Share> = self.registry(|r| r.shares().iter().filter(|s| s.user == user).cloned().collect());
        let mut rows: Vec<_> = shares.into_iter().map(|share| self.row(share)).collect();
        rows.sort_by(|a, b| (&a.group, &a.name).cmp(&(&b.group, &b.name)));
        Ok(rows)
    }

    fn row(&self, share: Share) -> ShareRow {
        let key = key_of(&share);
        let (state, reason) = self.state(&share);
        ShareRow {
            group: self.0.names.present(share.group_id, &share.group),
            group_id: share.group_id,
            size: share.layout.len(),
            state,
            reason,
            given: self.0.host.stats.given(key, Instant::now()),
            entries: share.folder.as_ref().map(|f| f.entries),
            tree: share.folder.as_ref().map(|f| f.tree),
            changed: match &share.withheld {
                Some(Withheld::Changed { files, .. }) => files.first.clone(),
                Some(Withheld::Away(_)) => Vec::new(),
                None => self.changed(&share, |looks| looks.changed().take(MAX_CHANGED).map(str::to_owned).collect()),
            },
            here: share.withheld.is_none(),
            pieces: self.0.host.offers.get(key).map(|offer| offer.pieces().borrow().ones()),
            name: share.name,
            file_id: share.file_id,
            path: share.path,
        }
    }

    fn state(&self, share: &Share) -> (ShareState, Option<String>) {
        let waiting = |why: &str| (ShareState::Waiting, Some(why.to_owned()));
        match &share.withheld {
            Some(Withheld::Changed { files, .. }) => {
                return (ShareState::Changed, Some(modified_whole(&shown(&share.path), &files.at_most(NAMED))));
            }
            Some(Withheld::Away(why)) => return waiting(&unreadable(&shown(&share.path), why)),
            None => {}
        }
        if share.refused.is_some() {
            return (ShareState::Refused, share.refused.clone());
        }
        match self.0.host.offers.get(key_of(share)) {
            None => waiting("it is seeded by a client that stays"),
            Some(_) if self.is_unannounced(key_of(share)) => waiting("no tracker could be told yet"),
            Some(_) => (ShareState::Seeding, self.what_is_missing(share)),
        }
    }

    /// What there is to say of a folder that is not seeded whole.
    fn what_is_missing(&self, share: &Share) -> Option<String> {
        let folder = share.folder.as_ref()?;
        let changed = self.changed(share, |looks| NamedFiles::of(looks.changed(), NAMED));
        match changed.count() {
            0 => folder.partial.then(|| "only the files that were chosen are here".to_owned()),
            _ => Some(modified(&changed)),
        }
    }

    /// What the last look at a folder has found to be changed, as `told` has it.
    pub(super) fn changed<T>(&self, share: &Share, told: impl FnOnce(&Looks) -> T) -> T {
        self.looks(|looks| match looks.get(&look_key(share)) {
            Some(looks) => told(looks),
            None => told(&Looks::default()),
        })
    }
}
