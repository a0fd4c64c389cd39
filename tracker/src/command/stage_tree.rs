//! What the next publication of a connection refers to: the pieces of its manifest, kept in the session, and the parts of its
//! tree, which go to the disk as they come, within a room that all have together.

use std::time::Instant;

use common::id::{FileId, TreeId, UserId};
use common::manifest::PieceHash;
use common::tree::MAX_TREE_BYTES;
use common::wire::client::Response;
use common::wire::limits::{MAX_TREE_PART, Text};
use common::wire::refusal::Refusal;

use super::stage_manifest::{STAGING_LIFE, Staged, StagingRoom, stage};
use super::{Call, Effect, Outcome};
use crate::store::{StagedTree, Store, TreePlace};

/// What is staged. It goes as a whole when neither has grown for a while.
#[derive(Debug, Default)]
pub(crate) struct Staging {
    manifest: Option<Staged>,
    tree: Option<StagedTree>,
    last: Option<Instant>,
}

impl Staging {
    /// When it is dropped if nothing follows.
    pub(crate) fn expires(&self) -> Option<Instant> {
        self.last.map(|last| last + STAGING_LIFE)
    }

    /// Adds pieces of a manifest: see [`stage`].
    ///
    /// # Errors
    /// As there.
    pub(crate) fn add_pieces(
        &mut self,
        (room, user): (&StagingRoom, UserId),
        file: FileId,
        first: u32,
        part: Vec<PieceHash>,
        now: Instant,
    ) -> Result<(), Refusal> {
        self.last = Some(now);
        stage(room, user, &mut self.manifest, file, first, part)
    }

    /// Takes note of a part of a tree, and says where it goes. One that begins at byte 0 begins a new tree; any other must
    /// follow on, and only the last may be shorter than [`MAX_TREE_PART`].
    ///
    /// # Errors
    /// When it does not follow on, or there is no room until other uploads have ended.
    pub(crate) fn add_tree_part(
        &mut self,
        (store, user): (&Store, UserId),
        tree: TreeId,
        offset: u64,
        len: usize,
        now: Instant,
    ) -> Result<TreePlace, Refusal> {
        self.last = Some(now);
        if offset == 0 {
            self.tree = Some(store.begin_tree(tree, Some(user)));
        }
        let follows = |s: &&mut StagedTree| {
            s.tree() == tree && s.staged_len() == offset && offset.is_multiple_of(MAX_TREE_PART as u64) && len > 0
        };
        let Some(staged) = self.tree.as_mut().filter(follows) else {
            self.tree = None;
            let text =
                format!("the parts of a tree come in order, from byte 0, each of {MAX_TREE_PART} bytes but the last");
            return Err(Refusal::Invalid(Text::clipped(&text)));
        };
        if offset + len as u64 > MAX_TREE_BYTES as u64 {
            self.tree = None;
            return Err(Refusal::Invalid(Text::clipped("the tree is too long; share parts of the folder one by one")));
        }
        staged.grow(len).ok_or(Refusal::Busy)
    }

    /// The pieces, if they are of this file, and the tree.
    pub(super) fn into_parts(self, file: FileId) -> (Vec<PieceHash>, Option<StagedTree>) {
        (self.manifest.and_then(|s| s.into_pieces(file)).unwrap_or_default(), self.tree)
    }
}

pub(super) async fn run(call: &Call, place: TreePlace, bytes: Vec<u8>) -> Outcome {
    if !call.services.store.disk_has_room() {
        return Err(Refusal::TrackerDiskFull.into());
    }
    call.services.store.stage_tree_part(&call.caller, place, bytes).await?;
    Ok(Effect::plain(Response::Done))
}

#[cfg(test)]
mod tests {
    use common::id::TreeId;
    use common::wire::client::Request;
    use common::wire::limits::{List, MAX_TREE_PART};
    use common::wire::refusal::Refusal;

    use crate::command::tests::Fixture;

    fn part(tree: u8, offset: usize, len: usize) -> Request {
        Request::StageTree { tree: TreeId::new([tree; 32]), offset: offset as u64, bytes: List::first_of(vec![7; len]) }
    }

    #[tokio::test]
    async fn parts_come_in_order_and_of_one_tree() {
        let f = Fixture::new().await;
        let a = f.user("alice").await;
        let full = MAX_TREE_PART;
        let invalid = |r| matches!(r, Err(Refusal::Invalid(_)));
        assert!(invalid(a.ask(part(1, full, 5)).await), "no beginning");
        a.ask(part(1, 0, full)).await.expect("staged");
        a.ask(part(1, full, 5)).await.expect("staged");
        assert!(invalid(a.ask(part(1, full + 5, 5)).await), "one before was short");
        a.ask(part(1, 0, full)).await.expect("staged");
        assert!(invalid(a.ask(part(2, full, 5)).await), "another tree");
        assert!(invalid(a.ask(part(1, full, 5)).await), "it was given up");
        assert!(invalid(a.ask(part(1, 0, 0)).await), "nothing");
        assert_eq!(f.device().ask(part(1, 0, 5)).await, Err(Refusal::NotLoggedIn));
    }

    /// What was staged and never published does not stay.
    #[tokio::test]
    async fn what_was_given_up_is_deleted() {
        let f = Fixture::new().await;
        let a = f.user("alice").await;
        for tree in 1..=3 {
            a.ask(part(tree, 0, MAX_TREE_PART)).await.expect("staged");
        }
        assert_eq!(f.services().store.tree_part_count().await.expect("read"), 1, "only what is being staged");
    }

    #[tokio::test]
    async fn a_full_disk_takes_no_tree() {
        let f = Fixture::new().await;
        let a = f.user("alice").await;
        f.set_free(1 << 20);
        assert_eq!(a.ask(part(1, 0, 100)).await, Err(Refusal::TrackerDiskFull));
    }
}
