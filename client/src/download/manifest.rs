//! Getting a share's manifest and its tree, and keeping them.

use std::sync::Arc;

use common::id::{FileId, GroupId, GroupName, Sha1Digest, TreeId};
use common::manifest::{Manifest, PieceHash};
use common::pieces::PieceLayout;
use common::tree::{MAX_TREE_BYTES, Tree, id_of};
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

/// The tree of a share whose files have `len` bytes: from the disk, or else from the trackers, in parts.
pub(crate) async fn tree(
    ground: &Ground,
    group: &GroupName,
    group_id: GroupId,
    tree: TreeId,
    len: u64,
) -> Result<Arc<Tree>, Error> {
    let trees = ground.shares.trees().clone();
    if let Some(known) = blocking(move || Ok(trees.load(tree))).await? {
        return Ok(Arc::new(known));
    }
    let mut encoded = Vec::new();
    loop {
        let request = Request::GetTree { group: group.reference(group_id), tree, offset: encoded.len() as u64 };
        let present = || ground.shares.group_names().present(group_id, group);
        match ground.directory.call(request).await.map_err(|e| called(e, &present()))? {
            Response::TreePart(part) if part.is_empty() => break,
            Response::TreePart(part) if encoded.len() + part.len() <= MAX_TREE_BYTES => {
                encoded.extend_from_slice(&part)
            }
            _ => return Err(unexpected()),
        }
    }
    let trees = ground.shares.trees().clone();
    blocking(move || {
        let lies = |why: String| Error::Integrity(format!("{why}; its publisher has to upload it again"));
        if id_of(&encoded) != tree {
            return Err(lies("the share's list of files is not the one that was announced".to_owned()));
        }
        let decoded =
            Tree::decode(&encoded).map_err(|e| lies(format!("the share's list of files cannot be used: {e}")))?;
        if decoded.len() != len {
            return Err(lies("the share's list of files does not fit its content".to_owned()));
        }
        trees.save(tree, &encoded)?;
        Ok(Arc::new(decoded))
    })
    .await
}
