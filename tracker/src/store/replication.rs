//! The store as the replica uses it. Each method is one reading, or one write that is on disk when it
//! returns.

use std::sync::Arc;

use common::id::{OriginId, TreeId};
use common::wire::sync::{Event, Head, Hello, ManifestPart, NameVote, SyncFrame};
use tokio::sync::watch;

use super::batch::Batch;
use super::bounds::{self, LogBounds};
use super::error::{Result, StoreError};
use super::facts::{self, Cursor};
use super::log::Versions;
use super::manifest::NewManifest;
use super::mutation::Mutations;
use super::remote::{self, Absent, Applied, Outbox};
use super::trees::CheckedTree;
use super::{Store, checkpoint, log_rows, votes};
use crate::fact::ManifestId;
use crate::limits::Caller;

/// Events that go in one transaction, so that commands do not wait for long.
const CUT_AT_ONCE: u64 = 1000;
/// Manifests that are looked for at the beginning of a connection, though no event brings them.
const MAX_LACKING: usize = 1000;

impl Store {
    /// This run: the origin of what is decided here.
    pub const fn origin(&self) -> OriginId {
        self.origin
    }

    /// The wall clock, in milliseconds since 1970.
    pub fn wall_ms(&self) -> u64 {
        (self.clock.0)()
    }

    /// Changes with every commit that brings something new.
    pub fn watch(&self) -> watch::Receiver<Arc<Versions>> {
        self.versions.clone()
    }

    /// What to say first to the sibling; where the log begins; and how many changes of votes there have been.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn introduction(&self, tracker_no: u16) -> Result<(Hello, Versions, u64)> {
        let origin = self.origin;
        self.readers
            .read(&Caller::replica(), move |s| {
                let hello = remote::introduction(s.conn, origin, tracker_no)?;
                Ok((hello, log_rows::floors(s.conn)?, votes::changes(s.conn)?))
            })
            .await
    }

    /// Compares the sibling's heads with ours, and quarantines origins that differ: these.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn compare(&self, theirs: Vec<Head>) -> Result<Vec<OriginId>> {
        self.replay(move |batch| remote::compare(batch, &theirs)).await
    }

    /// What of ours follows on `after`: about `room` bytes, and at least one event. Votes are those of later changes
    /// than `votes_after`; confirmed ones up to change `agreed` are left out.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn outbox(&self, after: Versions, (votes_after, agreed): (u64, u64), room: usize) -> Result<Outbox> {
        self.readers
            .read(&Caller::replica(), move |s| remote::outbox(s.conn, &after, (votes_after, agreed), room))
            .await
    }

    /// Takes in events and votes of the sibling, without the manifests that are `absent`.
    ///
    /// # Errors
    /// When the database fails, or an event cannot be read; then nothing of them has taken effect.
    pub async fn apply(&self, events: Arc<[Event]>, theirs: Vec<NameVote>, absent: Absent) -> Result<Applied> {
        self.replay(move |batch| remote::apply(batch, (&events, &theirs), &absent)).await
    }

    /// Joins facts of the sibling's state, without the manifests that are `absent`; with `complete` they were all.
    ///
    /// # Errors
    /// As for [`Self::apply`].
    pub async fn join_facts(
        &self,
        packed: Arc<[u8]>,
        complete: Option<Arc<[Head]>>,
        absent: Absent,
    ) -> Result<Applied> {
        self.replay(move |batch| remote::join_facts(batch, (&packed, complete.as_deref()), &absent)).await
    }

    /// Facts of our state from `cursor` on, as they travel, about `room` bytes of them, and where to go on.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn facts(&self, cursor: Cursor, room: usize) -> Result<(Vec<u8>, Option<Cursor>)> {
        self.readers
            .read(&Caller::replica(), move |s| {
                let (facts, next) = facts::part(s.conn, &cursor, room)?;
                Ok((facts::pack(&facts)?, next))
            })
            .await
    }

    /// What the tables of facts have of each origin: everything that was acknowledged before.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn heads(&self) -> Result<Vec<Head>> {
        self.checkpoint().await?;
        self.readers.read(&Caller::replica(), |s| checkpoint::heads(s.conn)).await
    }

    /// The state in condensed form, and of what.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn digest(&self) -> Result<(Versions, Vec<u64>)> {
        self.checkpoint().await?;
        let cut = facts::cut(self.clock.seconds());
        self.readers
            .read(&Caller::replica(), move |s| {
                let versions = checkpoint::heads(s.conn)?.iter().map(|h| (h.origin, h.seq)).collect();
                Ok((versions, facts::digest(s.conn, cut)?))
            })
            .await
    }

    /// Whether two states can be compared now: not while the trackers may disagree on which logins have expired.
    pub fn comparable(&self) -> bool {
        facts::settled(self.clock.seconds())
    }

    /// The facts of some parts of the state, as they travel.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn parts(&self, wanted: Vec<usize>) -> Result<Vec<Vec<u8>>> {
        self.checkpoint().await?;
        let cut = facts::cut(self.clock.seconds());
        self.readers.read(&Caller::replica(), move |s| facts::pack_all(&facts::in_buckets(s.conn, &wanted, cut)?)).await
    }

    /// Joins the sibling's facts where the two states differ, after rows that the log contradicts are
    /// gone. Returns how many rows that were.
    ///
    /// # Errors
    /// As for [`Self::apply`].
    pub async fn mend(&self, packed: Arc<[u8]>) -> Result<usize> {
        let mend = move |tx: &rusqlite::Connection, mutations: &mut Mutations, now_ms: u64| {
            remote::mend(tx, mutations, &packed, facts::cut(now_ms / 1000))
        };
        self.alone(Caller::replica(), true, mend).await
    }

    /// Origins of which nothing more is applied.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn quarantined(&self) -> Result<Vec<OriginId>> {
        self.readers.read(&Caller::replica(), |s| Ok(log_rows::quarantined(s.conn)?.into_iter().collect())).await
    }

    /// Applies nothing more of `origin`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn quarantine(&self, origin: OriginId) -> Result<()> {
        let quarantine = move |batch: &mut Batch<'_>| {
            batch.quarantine(origin, 0);
            Ok(())
        };
        self.replay(quarantine).await
    }

    /// Cuts the log off where it is heavier or older than `bounds`, a little at a time. Returns how many
    /// events have gone.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn trim_log(&self, bounds: LogBounds, now_ms: u64) -> Result<usize> {
        let mut gone = 0;
        let Some(until) =
            self.readers.read(&Caller::tracker(), move |s| bounds::beyond(s.conn, bounds, now_ms)).await?
        else {
            return Ok(gone);
        };
        loop {
            let cut = self.upkeep_of_facts(move |tx, _| bounds::cut(tx, until, CUT_AT_ONCE)).await?;
            gone += cut;
            if cut < CUT_AT_ONCE as usize {
                return Ok(gone);
            }
        }
    }

    /// What is wrong with the log, if anything is.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn log_flaw(&self) -> Result<Option<String>> {
        self.readers.read(&Caller::tracker(), |s| bounds::flaw(s.conn)).await
    }

    /// Part of a manifest, at most `most` pieces, in answer to the sibling. Of a folder, if it knows `folders`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn manifest_frame(&self, id: [u8; 32], first: u32, most: usize, folders: bool) -> Result<SyncFrame> {
        let part =
            self.readers.read(&Caller::replica(), move |s| s.manifest_to_send(ManifestId(id), first, most)).await?;
        Ok(match part {
            Some((part, None)) => SyncFrame::Manifest(part),
            Some((part, Some(tree))) if folders => SyncFrame::FolderManifest { part, tree },
            _ => SyncFrame::NoManifest(id),
        })
    }

    /// Stores a manifest that the sibling sent in `parts`, if it is the one that is called `id`; of a folder, with the tree that
    /// is here or that it sent, too.
    ///
    /// # Errors
    /// When it is not, or the database fails.
    pub async fn store_manifest(&self, id: ManifestId, parts: Vec<ManifestPart>, tree: Option<TreeId>) -> Result<()> {
        let checked = match tree {
            Some(tree) => Some(self.check_sibling_tree(tree).await?),
            None => None,
        };
        let made = tokio::task::spawn_blocking(move || assemble(id, parts, checked)).await;
        let manifest = made.unwrap_or(Err(StoreError::Panicked))?;
        self.add_manifest(manifest).await?;
        self.drop_sibling_tree();
        Ok(())
    }

    /// Manifests that shares name, and that are not here.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub async fn lacking_manifests(&self) -> Result<Vec<ManifestId>> {
        self.read(|state| Ok(state.lacking_manifests(MAX_LACKING))).await
    }

    /// Stores a manifest before anything refers to it.
    pub(super) async fn add_manifest(&self, manifest: NewManifest) -> Result<()> {
        let add = move |batch: &mut Batch<'_>| {
            batch.add_manifest(manifest);
            Ok(())
        };
        self.replay(add).await
    }
}

fn assemble(id: ManifestId, parts: Vec<ManifestPart>, tree: Option<CheckedTree>) -> Result<NewManifest> {
    let wrong = StoreError::Content("the sibling sent a manifest that is not what it is called");
    let Some(first) = parts.first() else { return Err(wrong) };
    let (file, layout, sha1) = (first.file_id, first.layout, first.sha1);
    let pieces = parts.into_iter().flat_map(|p| p.pieces.into_vec()).collect();
    let manifest = common::manifest::Manifest::new(layout, file, sha1, pieces).map_err(|_| wrong.clone())?;
    let manifest = match tree {
        None => NewManifest::new(manifest),
        Some(tree) => NewManifest::of_folder(manifest, tree).ok_or_else(|| wrong.clone())?,
    };
    if manifest.id() == id { Ok(manifest) } else { Err(wrong) }
}
