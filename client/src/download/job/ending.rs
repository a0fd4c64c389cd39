//! How a download ends: the file gets its name and is seeded from then on, or what has come is let go.
//!
//! Invariant: the download is forgotten only after the share is remembered, so a stop in between loses neither.

use std::sync::Arc;
use std::time::Duration;

use super::driver::{Driver, Open};
use common::tree::Entry;

use crate::download::destination::Destination;
use crate::download::folder::{FolderPlan, Placed};
use crate::download::progress::{Downloaded, State};
use crate::download::spec::Spec;
use crate::error::Error;
use crate::share::{FolderShare, Offer, Share, Shares, blocking, pieces_of};
use crate::transfer::stamp::Stamp;
use crate::transfer::trees::{Marks, is_here};

impl Driver {
    /// All pieces are there: the file gets its name, and is seeded from now on.
    pub(super) async fn finish(&mut self, offer: Option<Arc<Offer>>, announced: bool) -> Result<(), Error> {
        let Some(Open { disk, .. }) = &self.open else { return Ok(()) };
        let (disk, force) = (Arc::clone(disk), self.job.spec.force);
        let plan = disk.folder().map(|folder| folder.plan());
        let placed = blocking(move || disk.finish(force)).await;
        if matches!(placed, Ok(_) | Err(Error::Integrity(_))) {
            // What is missing after all is looked up in the journal.
            self.open = None;
        }
        let placed = placed?;
        self.settle(placed, plan.as_ref(), offer, announced).await
    }

    /// The file has its name: what is left is to remember it as a share and forget the download.
    pub(super) async fn settle(
        &self,
        placed: Placed,
        plan: Option<&FolderPlan>,
        offer: Option<Arc<Offer>>,
        announced: bool,
    ) -> Result<(), Error> {
        let spec = self.job.spec.clone();
        let is_one_of_many = plan.is_some_and(|plan| plan.single);
        let known = self.ground.shares.folder_at(spec.group_id, &spec.path()).filter(|_| plan.is_some());
        let adds_to_share = known.is_some_and(|known| known.name == spec.name);
        // A share that is there stays where it is; this is a copy of it.
        let is_copy = offer.is_none() && self.ground.shares.offers(self.key()) && !adds_to_share;
        let seeds = !is_copy && !is_one_of_many;
        let (shares, specs) = (self.ground.shares.clone(), self.specs.clone());
        let share = share(&spec, placed.stamp, plan);
        let folder = plan.cloned().zip(placed.marks);
        if seeds {
            shares.make_way(&share).await;
        }
        blocking(move || {
            match folder {
                _ if !seeds => {}
                Some((plan, marks)) => settle_folder(&shares, share, &plan, marks)?,
                None => shares.settle(share)?,
            }
            specs.remove(spec.n)
        })
        .await?;
        if is_one_of_many {
            // The pieces went with the folder that was hidden.
            self.withdraw(offer).await;
        }
        self.complete(plan);
        if !seeds {
            return Ok(());
        }
        if !announced && let Err(error) = self.ground.shares.tell_seeding(&self.job.spec.group, self.key()).await {
            // The next login announces it again.
            tracing::warn!(%error, name = %self.job.spec.name, "a finished download could not be announced as a share");
        }
        Ok(())
    }

    fn complete(&self, plan: Option<&FolderPlan>) {
        let Spec { group, group_id, name, file_id, .. } = &self.job.spec;
        let files = plan.map(FolderPlan::files);
        let size = plan.map_or_else(|| self.job.spec.layout.len(), FolderPlan::bytes);
        let group = self.ground.shares.group_names().present(*group_id, group);
        let seconds = self.begun.elapsed().as_secs_f64();
        self.job.progress.send_modify(|p| {
            let peers = p.peers.iter().filter(|peer| peer.bytes > 0).cloned().collect();
            let done = Downloaded {
                group,
                name: name.clone(),
                path: self.job.spec.path(),
                size,
                file_id: *file_id,
                seconds,
                peers,
                files,
                reused: p.reused,
            };
            p.halt(State::Complete, None);
            p.have = p.size;
            p.files = files.map(|files| (files, files));
            p.done = Some(Arc::new(done));
        });
    }

    /// What has come is no longer served.
    pub(super) async fn withdraw(&self, offer: Option<Arc<Offer>>) {
        let Some(offer) = offer else { return };
        self.ground.shares.end_offer(&offer);
        let told = self.ground.shares.tell_withdrawn(&self.job.spec.group, self.key());
        // Nobody to tell: whoever asks for it here learns it then.
        let _ = tokio::time::timeout(Duration::from_secs(2), told).await;
    }
}

/// A folder that is complete, or the part of it that was chosen, is a share from now on. Files of it that were here before
/// still are. Blocks on the disk.
fn settle_folder(shares: &Shares, mut share: Share, plan: &FolderPlan, mut marks: Marks) -> Result<(), Error> {
    let Some(folder) = &mut share.folder else { return shares.settle(share) };
    let before = shares.trees().marks(folder.tree, &share.path).filter(|before| before.len() == marks.len());
    for (mark, before) in marks.iter_mut().zip(before.into_iter().flatten()) {
        if *mark == 0 {
            *mark = before;
        }
    }
    let is_file = |index: usize| plan.tree.get(index).is_some_and(|node| matches!(node.entry, Entry::File { .. }));
    folder.partial = marks.iter().enumerate().any(|(index, mark)| *mark == 0 && is_file(index));
    let have = pieces_of(&plan.tree, share.layout, |index| marks.get(index).is_some_and(|mark| is_here(*mark)));
    shares.settle_folder(share, &marks, have)
}

fn share(spec: &Spec, stamp: Stamp, plan: Option<&FolderPlan>) -> Share {
    let folder = spec.folder.as_ref().zip(plan);
    Share {
        user: spec.user,
        group: spec.group.clone(),
        group_id: spec.group_id,
        name: spec.name.clone(),
        file_id: spec.file_id,
        layout: spec.layout,
        sha1: spec.sha1,
        path: spec.path(),
        stamp,
        refused: None,
        withheld: None,
        folder: folder.map(|(folder, plan)| FolderShare {
            tree: folder.tree,
            entries: plan.tree.entries() as u64,
            partial: false,
        }),
    }
}

/// Removes what an unfinished download left in its destination. Blocks on the disk.
pub(crate) fn discard(spec: &Spec) -> Result<(), Error> {
    let place = Destination::open(&spec.directory, spec.file_name.clone())?;
    place.remove_part(&spec.part).map_err(|e| Error::from_io("remove the unfinished file of", &spec.path(), e))
}
