//! How a download ends: the file gets its name and is seeded from then on, or what has come is let go.
//!
//! Invariant: the download is forgotten only after the share is remembered, so a stop in between loses neither.

use std::sync::Arc;
use std::time::Duration;

use super::driver::{Driver, Open};
use crate::download::destination::Destination;
use crate::download::progress::{Downloaded, State};
use crate::download::spec::Spec;
use crate::error::Error;
use crate::share::{Offer, Share, blocking};
use crate::transfer::stamp::Stamp;

impl Driver {
    /// All pieces are there: the file gets its name, and is seeded from now on.
    pub(super) async fn finish(&mut self, offer: Option<Arc<Offer>>, announced: bool) -> Result<(), Error> {
        let Some(Open { disk, .. }) = &self.open else { return Ok(()) };
        let (disk, force) = (Arc::clone(disk), self.job.spec.force);
        let (_, stamp) = blocking(move || disk.finish(force)).await?;
        self.open = None;
        self.settle(stamp, offer, announced).await
    }

    /// The file has its name: what is left is to remember it as a share and forget the download.
    pub(super) async fn settle(&self, stamp: Stamp, offer: Option<Arc<Offer>>, announced: bool) -> Result<(), Error> {
        let spec = self.job.spec.clone();
        // A share that is there stays where it is; this is a copy of it.
        let is_copy = offer.is_none() && self.ground.shares.offers(self.key());
        let (shares, specs) = (self.ground.shares.clone(), self.specs.clone());
        let share = share(&spec, stamp);
        blocking(move || {
            if !is_copy {
                shares.settle(share)?;
            }
            specs.remove(spec.n)
        })
        .await?;
        self.complete();
        if !is_copy
            && !announced
            && let Err(error) = self.ground.shares.tell_seeding(&self.job.spec.group, self.key()).await
        {
            // The next login announces it again.
            tracing::warn!(%error, name = %self.job.spec.name, "a finished download could not be announced as a share");
        }
        Ok(())
    }

    fn complete(&self) {
        let Spec { group, group_id, name, file_id, layout, .. } = &self.job.spec;
        let group = self.ground.shares.group_names().present(*group_id, group);
        let seconds = self.begun.elapsed().as_secs_f64();
        self.job.progress.send_modify(|p| {
            let peers = p.peers.iter().filter(|peer| peer.bytes > 0).cloned().collect();
            let done = Downloaded {
                group,
                name: name.clone(),
                path: self.job.spec.path(),
                size: layout.len(),
                file_id: *file_id,
                seconds,
                peers,
            };
            p.halt(State::Complete, None);
            p.have = layout.len();
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

fn share(spec: &Spec, stamp: Stamp) -> Share {
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
    }
}

/// Removes what an unfinished download left in its destination. Blocks on the disk.
pub(crate) fn discard(spec: &Spec) -> Result<(), Error> {
    let place = Destination::open(&spec.directory, spec.file_name.clone())?;
    place.remove_part(&spec.part).map_err(|e| Error::from_io("remove the unfinished file of", &spec.path(), e))
}
