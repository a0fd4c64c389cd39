//! Parts of a manifest that the next upload of the connection refers to. They are kept in the
//! session, and take a share of a bounded room that all sessions have together.

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::id::FileId;
use common::manifest::PieceHash;
use common::pieces::MAX_PIECES;
use common::wire::limits::Text;
use common::wire::refusal::Refusal;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How long parts wait for the next part, or the upload.
pub(crate) const STAGING_LIFE: Duration = Duration::from_secs(30);
/// Pieces that all sessions together may have staged: eight of the longest manifests, 104 MiB.
const ROOM: usize = 8 * MAX_PIECES as usize;

/// The room that is left.
#[derive(Debug, Clone)]
pub(crate) struct StagingRoom(Arc<Semaphore>);

impl Default for StagingRoom {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(ROOM)))
    }
}

/// A manifest, as far as it has come.
#[derive(Debug)]
pub(crate) struct Staged {
    file: FileId,
    pieces: Vec<PieceHash>,
    held: Option<OwnedSemaphorePermit>,
    last: Instant,
}

impl Staged {
    /// When it is dropped if nothing follows.
    pub(crate) fn expires(&self) -> Instant {
        self.last + STAGING_LIFE
    }

    /// The pieces, if they are of this file.
    pub(super) fn into_pieces(self, file: FileId) -> Option<Vec<PieceHash>> {
        (self.file == file).then_some(self.pieces)
    }
}

/// Adds a part. A part that begins at piece 0 begins a new manifest; any other must follow on.
///
/// # Errors
/// When it does not follow on, or there is no room.
pub(crate) fn stage(
    room: &StagingRoom,
    staged: &mut Option<Staged>,
    file: FileId,
    first: u32,
    part: Vec<PieceHash>,
    now: Instant,
) -> Result<(), Refusal> {
    if first == 0 {
        *staged = Some(Staged { file, pieces: Vec::new(), held: None, last: now });
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
    let more = u32::try_from(part.len()).unwrap_or(u32::MAX);
    let more = Arc::clone(&room.0).try_acquire_many_owned(more).map_err(|_| Refusal::Busy)?;
    match &mut s.held {
        Some(held) => held.merge(more),
        none => *none = Some(more),
    }
    s.pieces.extend(part);
    s.last = now;
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

    #[test]
    fn parts_come_in_order_and_of_one_file() {
        let (room, mut s, now) = (StagingRoom::default(), None, Instant::now());
        assert!(stage(&room, &mut s, FILE, 3, part(3), now).is_err(), "no beginning");
        assert!(stage(&room, &mut s, FILE, 0, part(3), now).is_ok());
        assert!(stage(&room, &mut s, FILE, 3, part(2), now).is_ok());
        assert!(stage(&room, &mut s, FileId::new([2; 32]), 5, part(1), now).is_err(), "another file");
        assert!(s.is_none());
        assert!(stage(&room, &mut s, FILE, 0, part(3), now).is_ok());
        assert!(stage(&room, &mut s, FILE, 4, part(1), now).is_err(), "a gap");
        assert_eq!(room.0.available_permits(), ROOM, "what was dropped is given back");
    }

    #[test]
    fn the_room_is_bounded_and_given_back() {
        let (room, now) = (StagingRoom::default(), Instant::now());
        let fill = |s: &mut Option<Staged>| {
            let parts = MAX_PIECES as usize / MAX_PART;
            (0..parts).try_for_each(|n| stage(&room, s, FILE, (n * MAX_PART) as u32, part(MAX_PART), now))
        };
        let mut full: Vec<Option<Staged>> = (0..8).map(|_| None).collect();
        for s in &mut full {
            assert_eq!(fill(s), Ok(()));
        }
        let mut another = None;
        assert_eq!(fill(&mut another), Err(Refusal::Busy));
        assert!(stage(&room, &mut full[0], FILE, MAX_PIECES as u32, part(1), now).is_err());
        full.pop();
        assert_eq!(fill(&mut another), Ok(()));
    }
}
