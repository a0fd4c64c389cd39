//! Subscriptions: what is shared in a group from now on comes by itself, also after restarts.
//!
//! What is wanted is kept on this device, per user, and by the group's id. A client that stays looks ([`look`]) at what was
//! published since, whenever it hears that something was, or meets another tracker, and fetches it ([`run`]) as a download like
//! any other. So a hint that is lost, or a tracker that is away, loses nothing.

mod kept;
mod look;
pub(super) mod run;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use common::id::{FileId, FileName, GroupId, GroupName};

pub use self::kept::Subscriptions;
use self::kept::{Added, Item, Subscription};
use super::arrange::Glob;
use super::outcome::{Outcome, Subscribed, SubscriptionRow};
use super::{Engine, Error};
use crate::download::unlisted::Publication;
use crate::error::shown;
use crate::own_files;
use crate::share::blocking;

/// A share that may be fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Found {
    name: FileName,
    file_id: FileId,
    publication: Publication,
}

impl Engine {
    /// From now on what is shared in `group` comes to `destination`; with `existing`, so does what is there, also where the same
    /// subscription was made without.
    pub(super) async fn subscribe(
        &self,
        group: GroupName,
        glob: Option<Glob>,
        destination: PathBuf,
        existing: bool,
    ) -> Result<Outcome, Error> {
        let user = self.who().await?.user_id;
        let group_id = self.group_id(&group).await?;
        let known = look::Known::begin(self, group_id, &group).await?;
        let wanted = if existing { self.shares_since(group_id, &group, 0).await? } else { Vec::new() };
        let destination = blocking(move || directory(&destination)).await?;
        let text = glob.as_ref().map(ToString::to_string);
        let fits = |found: &Found| glob.as_ref().is_none_or(|glob| glob.fits(found.name.as_str()));
        let has = self.here(group_id);
        let (here, waiting): (Vec<_>, Vec<_>) =
            wanted.into_iter().filter(fits).partition(|found| has.contains_key(&found.file_id));
        let is_inside = |found: &&Found| has.get(&found.file_id).is_some_and(|path| path.starts_with(&destination));
        let inside = here.iter().filter(is_inside).count() as u64;
        let here = here.len() as u64;
        let new = Subscription {
            n: 0,
            user,
            group: group.clone(),
            group_id,
            glob: text.clone(),
            destination: destination.clone(),
            fetched: 0,
            here,
            problem: None,
            problem_of: None,
            known,
            waiting: waiting.into_iter().map(Item::from).collect(),
        };
        let all = self.subscriptions.clone();
        let wanted = new.waiting.len() as u64;
        let (n, waiting, here, extended) = match blocking(move || all.add(new, existing.then_some(inside))).await? {
            Added::New(n) => (n, wanted, here, false),
            Added::Extended { n, items, here } => (n, items, here, true),
        };
        let acts = self.stays();
        Ok(Outcome::Subscribed(Subscribed { n, group, glob: text, destination, waiting, here, acts, extended }))
    }

    pub(super) async fn list_subscriptions(&self) -> Result<Outcome, Error> {
        let user = self.who().await?.user_id;
        let names = self.shares.group_names();
        let row = |s: Subscription| SubscriptionRow {
            n: s.n,
            group: names.present(s.group_id, &s.group),
            glob: s.glob,
            destination: s.destination,
            fetched: s.fetched,
            waiting: s.waiting.len() as u64,
            here: s.here,
            problem: s.problem,
        };
        Ok(Outcome::Subscriptions { subscriptions: self.subscriptions.of(user).into_iter().map(row).collect() })
    }

    /// Ends one. What has begun to come goes on, as any download.
    pub(super) async fn unsubscribe(&self, n: u64) -> Result<Outcome, Error> {
        let user = self.who().await?.user_id;
        let all = self.subscriptions.clone();
        let ended = blocking(move || all.remove(user, n)).await?;
        let none = || Error::InvalidArgument(format!("there is no subscription {n}; `list_subscriptions` shows all"));
        let group = ended.map(|s| self.shares.group_names().present(s.group_id, &s.group)).ok_or_else(none)?;
        Ok(Outcome::Unsubscribed { n, group })
    }

    /// What this device shares in a group, whole, and where it lies.
    fn here(&self, group: GroupId) -> HashMap<FileId, PathBuf> {
        let own = self.shares.list().unwrap_or_default().into_iter();
        own.filter(|share| share.here && share.group_id == group).map(|share| (share.file_id, share.path)).collect()
    }
}

/// A directory, made if it is missing, as it is called whatever the working directory.
fn directory(path: &Path) -> Result<PathBuf, Error> {
    if path.exists() && !path.is_dir() {
        let text = format!(
            "{} is not a directory; a subscription needs one, since files come under their own names",
            shown(path)
        );
        return Err(Error::InvalidArgument(text));
    }
    std::fs::create_dir_all(path).map_err(|e| Error::from_io("make the directory", path, e))?;
    let path = path.canonicalize().map_err(|e| Error::from_io("open", path, e))?;
    own_files::refuse_at(&path)?;
    Ok(path)
}
