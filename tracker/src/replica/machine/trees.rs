//! Trees of folders, after the manifests that name them: asked for part by part, and staged as they come. What has been
//! staged outlives the connection.

use std::time::Instant;

use common::id::TreeId;
use common::tree::MAX_TREE_BYTES;
use common::wire::limits::MAX_TREE_PART;
use common::wire::sync::{ManifestPart, SyncFrame, TreePart};

use super::conn::{Fetching, IncomingTree, Serving, Wanted};
use super::{Job, Machine};
use crate::fact::ManifestId;

impl Machine {
    /// Part of a folder's manifest has come.
    pub(super) fn on_folder_manifest(&mut self, part: ManifestPart, tree: TreeId) {
        let Some(conn) = &mut self.conn else { return };
        if conn.revision < 2 {
            return self.violation("it sent a folder's manifest that nobody asked for");
        }
        if let Some(fetching) = &mut conn.fetching {
            let known = fetching.tree.get_or_insert(IncomingTree::new(tree));
            if known.id != tree {
                return self.violation("it sent parts of manifests of two folders");
            }
        }
        self.on_manifest(part);
    }

    /// All of a manifest is here: what it names, if anything, comes next.
    pub(super) fn after_manifest(&mut self) {
        let Some(fetching) = self.conn.as_mut().and_then(|conn| conn.fetching.as_mut()) else { return };
        let job = match &fetching.tree {
            Some(tree) => Job::FindTree(tree.id),
            None => Job::StoreManifest(fetching.id, std::mem::take(&mut fetching.parts), None),
        };
        self.jobs.push_back(job);
    }

    /// So many bytes of the tree are staged; `None`, if it is here already.
    pub(super) fn on_tree_found(&mut self, have: Option<u64>) {
        let Some((id, parts, tree)) = self.incoming_tree() else { return };
        match have {
            None => {
                let job = Job::StoreManifest(id, std::mem::take(parts), Some(tree.id));
                self.jobs.push_back(job);
            }
            Some(have) if tree.len == Some(have) => {
                let job = Job::StoreManifest(id, std::mem::take(parts), Some(tree.id));
                self.jobs.push_back(job);
            }
            Some(have) => {
                tree.have = have;
                tree.buffer.clear();
                let frame = SyncFrame::WantTree { tree: tree.id, offset: have };
                self.transmit.push_back(frame);
            }
        }
    }

    /// A part has come. It does not go beyond a run, as runs are stored.
    pub(super) fn on_tree(&mut self, part: TreePart) {
        let Some((_, _, tree)) = self.incoming_tree() else {
            return self.violation("it sent a tree that nobody asked for");
        };
        let at = tree.have + tree.buffer.len() as u64;
        let end = at.saturating_add(part.bytes.len() as u64);
        let fits = part.len <= MAX_TREE_BYTES as u64 && end <= part.len && tree.len.is_none_or(|len| len == part.len);
        let fills = tree.buffer.len() + part.bytes.len() <= MAX_TREE_PART;
        let moves = !part.bytes.is_empty() || end == part.len;
        if part.tree != tree.id || part.offset != at || !fits || !fills || !moves {
            return self.violation("it sent a tree out of order");
        }
        tree.len = Some(part.len);
        tree.buffer.extend(part.bytes.into_vec());
        let (id, offset) = (tree.id, tree.have);
        if tree.buffer.len() == MAX_TREE_PART || end == part.len {
            let job = Job::StageTree { tree: id, offset, bytes: std::mem::take(&mut tree.buffer) };
            self.jobs.push_back(job);
        } else {
            self.transmit.push_back(SyncFrame::WantTree { tree: id, offset: end });
        }
    }

    /// The sibling has lost the tree that its manifest names: the share has gone meanwhile.
    pub(super) fn on_no_tree(&mut self, tree: TreeId) {
        let wanted = self.incoming_tree().filter(|(_, _, wanted)| wanted.id == tree).map(|(id, ..)| id);
        match wanted {
            Some(id) => self.on_no_manifest(id.0),
            None => self.violation("it lacks a tree that nobody asked for"),
        }
    }

    /// The manifest that is being fetched, its parts, and its tree.
    fn incoming_tree(&mut self) -> Option<(ManifestId, &mut Vec<ManifestPart>, &mut IncomingTree)> {
        let Fetching { id, parts, tree } = self.conn.as_mut()?.fetching.as_mut()?;
        tree.as_mut().map(|tree| (*id, parts, tree))
    }

    /// The sibling wants part of a tree.
    pub(super) fn on_want_tree(&mut self, now: Instant, tree: TreeId, offset: u64) {
        let Some(conn) = &mut self.conn else { return };
        conn.last_ack = now;
        let before = conn.serving.take();
        match before.map(|before| (before.wanted, before.sent)) {
            Some((_, None)) => return self.violation("it asks for a tree before it has what it asked for"),
            Some((Wanted::Tree(of), Some((sent, bytes)))) if of == tree => {
                self.sizer.observe(bytes, now.saturating_duration_since(sent));
            }
            _ => {}
        }
        conn.serving = Some(Serving { wanted: Wanted::Tree(tree), next: Some(offset), on_request: true, sent: None });
    }
}
