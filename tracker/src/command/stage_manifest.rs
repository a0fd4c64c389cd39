//! Parts of a manifest that the next publication of the connection refers to. They are kept in the
//! session, and take a share of a bounded room that all sessions have together.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use common::id::{FileId, UserId};
use common::manifest::PieceHash;
use common::pieces::MAX_PIECES;
use common::wire::limits::Text;
use common::wire::refusal::Refusal;

/// How long parts wait for the next part, or the upload.
pub(crate) const STAGING_LIFE: Duration = Duration::from_secs(30);
/// Pieces that all sessions together may have staged: eight of the longest manifests, 104 MiB.
const ROOM: usize = 8 * MAX_PIECES as usize;
/// Pieces that all sessions of one user may have staged: two of the longest manifests, 26 MiB.
const ROOM_OF_USER: usize = 2 * MAX_PIECES as usize;

/// The room that is taken.
#[derive(Debug, Clone, Default)]
pub(crate) struct StagingRoom(Arc<Mutex<Taken>>);

/// In pieces.
#[derive(Debug, Default)]
struct Taken {
    all: usize,
    /// Users who have something staged.
    of: HashMap<UserId, usize>,
}

impl StagingRoom {
    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A user's place in the room, given back when it is dropped.
#[derive(Debug)]
struct Held {
    room: StagingRoom,
    user: UserId,
    pieces: usize,
}

impl Held {
    /// Takes so much more, if there is room.
    fn grow(&mut self, more: usize) -> Result<(), Refusal> {
        let mut taken = self.room.lock();
        let of_user = taken.of.get(&self.user).copied().unwrap_or_default();
        if taken.all + more > ROOM || of_user + more > ROOM_OF_USER {
            return Err(Refusal::Busy);
        }
        taken.all += more;
        taken.of.insert(self.user, of_user + more);
        self.pieces += more;
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut taken = self.room.lock();
        taken.all = taken.all.saturating_sub(self.pieces);
        let left = taken.of.get(&self.user).map_or(0, |n| n.saturating_sub(self.pieces));
        if left == 0 {
            taken.of.remove(&self.user)
        } else {
            taken.of.insert(self.user, left)
        };
    }
}

/// A manifest, as far as it has come.
#[derive(Debug)]
pub(crate) struct Staged {
    file: FileId,
    pieces: Vec<PieceHash>,
    held: Held,
}

impl Staged {
    /// The pieces, if they are of this file.
    pub(super) fn into_pieces(self, file: FileId) -> Option<Vec<PieceHash>> {
        (self.file == file).then_some(self.pieces)
    }
}

/// Adds a part. A part that begins at piece 0 begins a new manifest; any other must follow on.
///
/// # Errors
/// When it does not follow on, or there is no room until other uploads have ended.
pub(crate) fn stage(
    room: &StagingRoom,
    user: UserId,
    staged: &mut Option<Staged>,
    file: FileId,
    first: u32,
    part: Vec<PieceHash>,
) -> Result<(), Refusal> {
    if first == 0 {
        let held = Held { room: room.clone(), user, pieces: 0 };
        *staged = Some(Staged { file, pieces: Vec::new(), held });
    }
    let follows = |s: &&mut Staged| s.file == file && s.pieces.len() == first as usize;
    let Some(s) = staged.as_mut().filter(follows) else {
        *staged = None;
        return Err(Refusal::Invalid(Text::clipped("the parts of a manifest come in order, from piece 0")));
    };
    if s.pieces.len() + part.len() > MAX_PIECES as usize {
        *staged = None;
        return Err(Refusal::Invalid(Text::clipped("the manifest has too many pieces")));
    }
    s.held.grow(part.len())?;
    s.pieces.extend(part);
    Ok(())
}

#[cfg(test)]
mod tests {
    use common::id::Sha1Digest;
    use common::wire::limits::MAX_PART;

    use super::*;

    fn part(n: usize) -> Vec<PieceHash> {
        vec![PieceHash { sha1: Sha1Digest::new([0; 20]), chain: [0; 32] }; n]
    }

    const FILE: FileId = FileId::new([1; 32]);
    const ME: UserId = UserId::new([2; 16]);

    #[test]
    fn parts_come_in_order_and_of_one_file() {
        let (room, mut s) = (StagingRoom::default(), None);
        assert!(stage(&room, ME, &mut s, FILE, 3, part(3)).is_err(), "no beginning");
        assert!(stage(&room, ME, &mut s, FILE, 0, part(3)).is_ok());
        assert!(stage(&room, ME, &mut s, FILE, 3, part(2)).is_ok());
        assert!(stage(&room, ME, &mut s, FileId::new([2; 32]), 5, part(1)).is_err(), "another file");
        assert!(s.is_none());
        assert!(stage(&room, ME, &mut s, FILE, 0, part(3)).is_ok());
        assert!(stage(&room, ME, &mut s, FILE, 4, part(1)).is_err(), "a gap");
        drop(s);
        assert!(room.lock().all == 0 && room.lock().of.is_empty(), "what was dropped is given back");
    }

    fn fill(room: &StagingRoom, user: u8, s: &mut Option<Staged>) -> Result<(), Refusal> {
        let parts = MAX_PIECES as usize / MAX_PART;
        let user = UserId::new([user; 16]);
        let part_of = |n| stage(room, user, s, FILE, (n * MAX_PART) as u32, part(MAX_PART));
        (0..parts).try_for_each(part_of)
    }

    #[test]
    fn the_room_is_bounded_and_given_back() {
        let room = StagingRoom::default();
        let mut full: Vec<Option<Staged>> = (0..8).map(|_| None).collect();
        for (n, s) in full.iter_mut().enumerate() {
            assert_eq!(fill(&room, n as u8, s), Ok(()));
        }
        let mut another = None;
        assert_eq!(fill(&room, 99, &mut another), Err(Refusal::Busy));
        assert!(stage(&room, UserId::new([0; 16]), &mut full[0], FILE, MAX_PIECES as u32, part(1)).is_err());
        full.pop();
        assert_eq!(fill(&room, 99, &mut another), Ok(()));
    }

    #[test]
    fn one_user_does_not_take_all_of_it() {
        let (room, mut s) = (StagingRoom::default(), [None, None, None]);
        assert_eq!(fill(&room, 1, &mut s[0]), Ok(()));
        assert_eq!(fill(&room, 1, &mut s[1]), Ok(()));
        assert_eq!(fill(&room, 1, &mut s[2]), Err(Refusal::Busy));
        assert_eq!(fill(&room, 2, &mut s[2]), Ok(()));
    }
}
