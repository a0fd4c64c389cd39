//! Getting a share's manifest, and keeping it.

use std::sync::Arc;

use common::id::{FileId, GroupId, GroupName, Sha1Digest};
use common::manifest::{Manifest, PieceHash};
use common::pieces::PieceLayout;
use common::wire::client::{Request, Response};

use super::swarm::Ground;
use crate::error::Error;
use crate::share::blocking;
use crate::trackers::group_names::called;
use crate::trackers::unexpected;

/// Which manifest is needed.
pub(crate) struct Sought<'a> {
    /// What the group was called once.
    pub(crate) group: &'a GroupName,
    pub(crate) group_id: GroupId,
    pub(crate) file_id: FileId,
    pub(crate) layout: PieceLayout,
    pub(crate) sha1: Sha1Digest,
    /// The pieces that are known already, from the first on.
    pub(crate) begun: Vec<PieceHash>,
}

/// The manifest of a share: from the disk, or else from the trackers, in parts.
pub(crate) async fn manifest(ground: &Ground, sought: Sought<'_>) -> Result<Arc<Manifest>, Error> {
    let Sought { group, group_id, file_id, layout, sha1, begun } = sought;
    let manifests = ground.shares.manifests().clone();
    if let Some(known) = blocking(move || Ok(manifests.load(file_id, layout))).await? {
        return Ok(Arc::new(known));
    }
    let mut pieces = begun;
    while (pieces.len() as u64) < u64::from(layout.count()) {
        let first = pieces.len() as u32;
        let request = Request::GetManifest { group: group.reference(group_id), file_id, first };
        let present = || ground.shares.group_names().present(group_id, group);
        match ground.directory.call(request).await.map_err(|e| called(e, &present()))? {
            Response::ManifestPart(part) if !part.is_empty() => pieces.extend(part.into_vec()),
            _ => return Err(unexpected()),
        }
    }
    let manifests = ground.shares.manifests().clone();
    blocking(move || {
        let manifest = Manifest::new(layout, file_id, sha1, pieces);
        let manifest = manifest.map_err(|e| Error::Integrity(format!("{e}; its publisher has to upload it again")))?;
        manifests.save(&manifest)?;
        Ok(Arc::new(manifest))
    })
    .await
}
