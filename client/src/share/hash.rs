//! Hashing a file for its manifest: one pass over the bytes, on all cores.
//!
//! One thread reads, one carries the SHA-1 of the whole (which cannot be split), the others hash
//! pieces. They share the buffers; the number of those is what bounds memory. Blocks: call it where blocking
//! is allowed. Knows nothing of groups or shares.
//!
//! No mmap: a file that shrinks under it would kill the process.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use common::id::Sha1Digest;
use common::manifest::{Manifest, PieceHash, hash_pieces, pieces_at_once};
use common::pieces::{PieceIndex, PieceLayout};
use sha1::{Digest, Sha1};

/// Bytes read at a time: at least one piece, as many as are hashed faster together, but no more than this if several.
const CHUNK: u64 = 8 << 20;
/// The same where pieces are hashed one after the other.
const SMALL_CHUNK: u64 = 1 << 20;
/// Chunks in memory at a time, besides one for each hashing thread.
pub(super) const AHEAD: usize = 2;

/// How far hashing has come, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HashProgress {
    /// Hashed so far.
    pub done: u64,
    /// Length of the file.
    pub total: u64,
}

/// Some whole pieces of the file (the last piece may be short).
pub(super) struct Chunk {
    pub(super) first: u32,
    pub(super) bytes: Vec<u8>,
    pub(super) len: usize,
}

impl Chunk {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// The manifest of `file` cut by `layout`. `stop` ends it early with [`io::ErrorKind::Interrupted`].
///
/// # Errors
/// When reading fails, or the file is shorter than the layout says.
pub fn manifest_of(
    file: &File,
    layout: PieceLayout,
    progress: &(dyn Fn(HashProgress) + Sync),
    stop: &AtomicBool,
) -> io::Result<Manifest> {
    let hashers = thread::available_parallelism().map_or(1, |n| n.get().saturating_sub(1).max(1));
    let pieces = Mutex::new(vec![None; layout.count() as usize]);
    let total = layout.len();

    // Chunks go out to both hashes and come back, as plain buffers, when the last of them is done.
    let (recycle, recycled) = sync_channel::<Vec<u8>>(AHEAD + hashers);
    let (whole_in, whole_out) = sync_channel::<Arc<Chunk>>(AHEAD + hashers);
    let (piece_in, piece_out) = sync_channel::<Arc<Chunk>>(AHEAD + hashers);
    let piece_out = Mutex::new(piece_out);
    let chunk_len = chunk_len(layout).min(total.max(1));
    for _ in 0..AHEAD + hashers {
        // Cannot fail: the channel holds that many, and its other end is below.
        let _ = recycle.send(Vec::new());
    }

    let sha1 = thread::scope(|scope| {
        let whole = scope.spawn({
            let recycle = recycle.clone();
            move || hash_whole(&whole_out, &recycle, &|done| progress(HashProgress { done, total }))
        });
        for _ in 0..hashers {
            let (recycle, pieces, piece_out) = (recycle.clone(), &pieces, &piece_out);
            scope.spawn(move || hash_chunks(layout, piece_out, &recycle, pieces));
        }
        drop(recycle);
        let reading = Reading { file, layout, chunk_len, stop };
        let read = reading.run(&recycled, &whole_in, &piece_in);
        drop((whole_in, piece_in));
        let sha1 = whole.join().map_err(|_| io::Error::other("hashing failed"));
        read.and(sha1)
    })?;

    let pieces = pieces.into_inner().unwrap_or_else(PoisonError::into_inner);
    let pieces: Option<Vec<PieceHash>> = pieces.into_iter().collect();
    let pieces = pieces.ok_or_else(|| io::Error::other("hashing failed"))?;
    Manifest::of_hashed(layout, sha1, pieces).map_err(io::Error::other)
}

/// A whole number of pieces, in bytes.
pub(super) fn chunk_len(layout: PieceLayout) -> u64 {
    let together = pieces_at_once() as u64 * layout.piece_len();
    together.clamp(SMALL_CHUNK, CHUNK).max(layout.piece_len())
}

struct Reading<'a> {
    file: &'a File,
    layout: PieceLayout,
    chunk_len: u64,
    stop: &'a AtomicBool,
}

impl Reading<'_> {
    fn run(
        &self,
        free: &Receiver<Vec<u8>>,
        whole: &SyncSender<Arc<Chunk>>,
        pieces: &SyncSender<Arc<Chunk>>,
    ) -> io::Result<()> {
        let mut at = 0;
        while at < self.layout.len() {
            if self.stop.load(Ordering::Relaxed) {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let mut bytes = free.recv().map_err(io::Error::other)?;
            let len = self.chunk_len.min(self.layout.len() - at) as usize;
            bytes.resize(self.chunk_len as usize, 0);
            self.file.read_exact_at(&mut bytes[..len], at)?;
            let chunk = Arc::new(Chunk { first: (at / self.layout.piece_len()) as u32, bytes, len });
            whole.send(Arc::clone(&chunk)).map_err(|_| io::Error::other("hashing failed"))?;
            pieces.send(chunk).map_err(|_| io::Error::other("hashing failed"))?;
            at += len as u64;
        }
        Ok(())
    }
}

/// Gives the buffer back once nobody else uses it.
pub(super) fn done_with(chunk: Arc<Chunk>, recycle: &SyncSender<Vec<u8>>) {
    if let Some(chunk) = Arc::into_inner(chunk) {
        // The reader is gone at the end of the file; then the buffer is no longer needed.
        let _ = recycle.send(chunk.bytes);
    }
}

pub(super) fn hash_whole(
    chunks: &Receiver<Arc<Chunk>>,
    recycle: &SyncSender<Vec<u8>>,
    progress: &dyn Fn(u64),
) -> Sha1Digest {
    let mut sha1 = Sha1::new();
    let mut done = 0;
    for chunk in chunks {
        sha1.update(chunk.bytes());
        done += chunk.len as u64;
        progress(done);
        done_with(chunk, recycle);
    }
    Sha1Digest::new(sha1.finalize().into())
}

pub(super) fn hash_chunks(
    layout: PieceLayout,
    chunks: &Mutex<Receiver<Arc<Chunk>>>,
    recycle: &SyncSender<Vec<u8>>,
    out: &Mutex<Vec<Option<PieceHash>>>,
) {
    loop {
        let next = chunks.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(chunk) = next else { return };
        let slices: Vec<[&[u8]; 1]> = chunk.bytes().chunks(layout.piece_len() as usize).map(|s| [s]).collect();
        let numbered = (chunk.first..).zip(&slices).filter_map(|(n, s)| layout.piece(n).map(|p| (p, &s[..])));
        let pieces: Vec<(PieceIndex, &[&[u8]])> = numbered.collect();
        let hashes = hash_pieces(layout, &pieces);
        let mut out = out.lock().unwrap_or_else(PoisonError::into_inner);
        for ((piece, _), hash) in pieces.into_iter().zip(hashes) {
            out[piece.index()] = Some(hash);
        }
        drop(out);
        done_with(chunk, recycle);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn file_with(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(bytes).expect("written");
        file
    }

    fn content(len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        fastrand::Rng::with_seed(len as u64).fill(&mut bytes);
        bytes
    }

    fn hashed(bytes: &[u8], piece_len: u64) -> Manifest {
        let layout = PieceLayout::new(bytes.len() as u64, piece_len).expect("a layout");
        manifest_of(&file_with(bytes), layout, &|_| (), &AtomicBool::new(false)).expect("hashed")
    }

    #[test]
    fn it_agrees_with_hashing_in_the_plainest_way() {
        let mib = 1 << 20;
        for len in [0, 1, 16 << 10, mib - 1, mib, mib + 1, 5 * mib + 12_345, 12 * mib] {
            let bytes = content(len);
            for piece_len in [16 << 10, 256 << 10, 1 << 20, 4 << 20] {
                let m = hashed(&bytes, piece_len);
                assert_eq!(m.file_id().as_bytes(), blake3::hash(&bytes).as_bytes());
                assert_eq!(m.sha1(), Sha1Digest::new(Sha1::digest(&bytes).into()));
                for p in m.layout().pieces() {
                    let r = m.layout().range(p);
                    let piece = &bytes[r.start as usize..r.end as usize];
                    assert_eq!(m.pieces()[p.index()].sha1, Sha1Digest::new(Sha1::digest(piece).into()));
                }
            }
        }
    }

    #[test]
    fn progress_ends_at_the_length() {
        let bytes = content(3 << 20);
        let last = Mutex::new(0);
        let layout = PieceLayout::new(bytes.len() as u64, 256 << 10).expect("a layout");
        let note = |p: HashProgress| *last.lock().expect("unpoisoned") = p.done;
        manifest_of(&file_with(&bytes), layout, &note, &AtomicBool::new(false)).expect("hashed");
        assert_eq!(*last.lock().expect("unpoisoned"), 3 << 20);
    }

    #[test]
    fn a_file_that_has_shrunk_is_an_error_and_stopping_stops() {
        let layout = PieceLayout::new(4 << 20, 256 << 10).expect("a layout");
        let file = file_with(&content(3 << 20));
        let run = |stop| manifest_of(&file, layout, &|_| (), &AtomicBool::new(stop)).map_err(|e| e.kind());
        assert_eq!(run(false).err(), Some(io::ErrorKind::UnexpectedEof));
        assert_eq!(run(true).err(), Some(io::ErrorKind::Interrupted));
    }
}
