//! Hashing a folder: one pass over the bytes of its files for the manifest and for the hash of each file.
//!
//! Some threads read chunks of the piece space and hash the files that lie wholly in them while they are at hand, one carries
//! the SHA-1 of all bytes, one the hashes of files that are longer than a chunk, the others hash pieces. They share the
//! buffers; the number of those is what bounds memory. Blocks: call it where blocking is allowed.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use common::id::{FileId, Sha1Digest};
use common::manifest::{Manifest, PieceHash};
use common::pieces::PieceLayout;
use sha1::{Digest, Sha1};

use super::walk::Found;
use crate::share::hash::{AHEAD, Chunk, HashProgress, chunk_len, done_with, hash_chunks};
use crate::transfer::beneath::{Beneath, met};

/// Threads that read.
const READERS: usize = 2;

/// What was hashed.
pub(in crate::share) struct Hashed {
    pub(in crate::share) manifest: Manifest,
    /// BLAKE3 of each file, in order.
    pub(in crate::share) files: Vec<FileId>,
}

/// Why nothing was.
#[derive(Debug)]
pub(in crate::share) enum HashError {
    /// These files cannot be opened; what the system said of each.
    Unreadable(Vec<(usize, io::Error)>),
    /// This file changed while it was read, or could not be read to its end.
    File(usize, io::Error),
    /// Something else; [`io::ErrorKind::Interrupted`] when it was stopped.
    Other(io::Error),
}

/// Hashes `files` of the folder `root`, which are as they were found, and cut by `layout`.
///
/// # Errors
/// See [`HashError`].
pub(in crate::share) fn hash_folder(
    root: &Beneath,
    files: &[Found],
    layout: PieceLayout,
    progress: &(dyn Fn(HashProgress) + Sync),
    stop: &AtomicBool,
) -> Result<Hashed, HashError> {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let hashers = cores.saturating_sub(1).max(1);
    let total = layout.len();
    let pieces = Mutex::new(vec![None; layout.count() as usize]);
    let buffers = AHEAD + hashers + READERS;
    let (recycle, recycled) = sync_channel::<Vec<u8>>(buffers);
    let [(whole_in, whole_out), (piece_in, piece_out), (long_in, long_out)] =
        [(); 3].map(|()| sync_channel::<Arc<Chunk>>(buffers));
    let piece_out = Mutex::new(piece_out);
    for _ in 0..buffers {
        // Cannot fail: the channel holds that many, and its other end is below.
        let _ = recycle.send(Vec::new());
    }
    let offsets = offsets(files);
    let reading = Reading {
        root,
        files,
        offsets: &offsets,
        layout,
        chunk_len: chunk_len(layout).min(total.max(1)),
        stop,
        hashes: &Mutex::new(vec![FileId::new(*blake3::hash(&[]).as_bytes()); files.len()]),
        turn: &Mutex::new(Turn { next: 0, free: recycled }),
        failed: &AtomicU64::new(u64::MAX),
    };
    let done = thread::scope(|scope| {
        let whole = scope.spawn({
            let recycle = recycle.clone();
            move || hash_whole(&whole_out, layout, &recycle, &|done| progress(HashProgress { done, total }))
        });
        let long = scope.spawn({
            let (recycle, reading) = (recycle.clone(), &reading);
            move || reading.hash_long(&long_out, &recycle)
        });
        for _ in 0..hashers {
            let (recycle, pieces, piece_out) = (recycle.clone(), &pieces, &piece_out);
            scope.spawn(move || hash_chunks(layout, piece_out, &recycle, pieces));
        }
        drop(recycle);
        let readers: Vec<_> = (0..READERS)
            .map(|_| {
                let outs = [whole_in.clone(), piece_in.clone(), long_in.clone()];
                let reading = &reading;
                scope.spawn(move || reading.run(&outs))
            })
            .collect();
        drop((whole_in, piece_in, long_in));
        let broken = || HashError::Other(io::Error::other("hashing failed"));
        let mut read = Ok(());
        for reader in readers {
            let result = reader.join().unwrap_or_else(|_| Err(broken()));
            // The first that went wrong is told; those after it only stopped.
            if !matches!(read, Err(HashError::File(..) | HashError::Unreadable(_))) && result.is_err() {
                read = result;
            }
        }
        let (whole, long) = (whole.join().map_err(|_| broken()), long.join().map_err(|_| broken()));
        read?;
        long?;
        whole
    });
    let sha1 = match done {
        Err(HashError::Unreadable(_)) => return Err(HashError::Unreadable(unreadable(root, files))),
        done => done?,
    };
    let pieces = pieces.into_inner().unwrap_or_else(PoisonError::into_inner);
    let pieces: Option<Vec<PieceHash>> = pieces.into_iter().collect();
    let pieces = pieces.ok_or_else(|| HashError::Other(io::Error::other("hashing failed")))?;
    let manifest = Manifest::of_hashed(layout, sha1, pieces).map_err(|e| HashError::Other(io::Error::other(e)))?;
    let files = std::mem::take(&mut *reading.hashes.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(Hashed { manifest, files })
}

/// Where each file begins in the piece space, and where the last one ends.
fn offsets(files: &[Found]) -> Vec<u64> {
    let mut at = 0;
    let mut offsets = Vec::with_capacity(files.len() + 1);
    for file in files {
        offsets.push(at);
        at += file.len;
    }
    offsets.push(at);
    offsets
}

/// All files that cannot be opened.
fn unreadable(root: &Beneath, files: &[Found]) -> Vec<(usize, io::Error)> {
    let opened = files.iter().enumerate().map(|(index, file)| (index, root.read(file.path.as_str())));
    opened.filter_map(|(index, opened)| opened.err().map(|e| (index, e))).collect()
}

/// Whose turn it is to read: a buffer comes with the next chunk, so that the first chunk that is missing always has one.
struct Turn {
    next: u64,
    free: Receiver<Vec<u8>>,
}

struct Reading<'a> {
    root: &'a Beneath,
    files: &'a [Found],
    offsets: &'a [u64],
    layout: PieceLayout,
    chunk_len: u64,
    stop: &'a AtomicBool,
    hashes: &'a Mutex<Vec<FileId>>,
    turn: &'a Mutex<Turn>,
    /// The first chunk that could not be read.
    failed: &'a AtomicU64,
}

impl Reading<'_> {
    fn run(&self, outs: &[SyncSender<Arc<Chunk>>; 3]) -> Result<(), HashError> {
        loop {
            let (number, mut bytes) = {
                let mut turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
                let at = turn.next * self.chunk_len;
                if at >= self.layout.len() || self.failed.load(Ordering::Relaxed) < turn.next {
                    return Ok(());
                }
                let bytes = turn.free.recv().map_err(|e| HashError::Other(io::Error::other(e)))?;
                turn.next += 1;
                (turn.next - 1, bytes)
            };
            let at = number * self.chunk_len;
            let len = self.chunk_len.min(self.layout.len() - at) as usize;
            bytes.resize(self.chunk_len as usize, 0);
            let read = if self.stop.load(Ordering::Relaxed) {
                Err(HashError::Other(io::ErrorKind::Interrupted.into()))
            } else {
                self.read_chunk(at, &mut bytes[..len])
            };
            if read.is_err() {
                self.failed.fetch_min(number, Ordering::Relaxed);
            }
            // Also what could not be read: those who wait for this chunk hold all buffers that the other readers wait for.
            let chunk = Arc::new(Chunk { first: (at / self.layout.piece_len()) as u32, bytes, len });
            for out in outs {
                let gone = |_| HashError::Other(io::Error::other("hashing failed"));
                out.send(Arc::clone(&chunk)).map_err(gone)?;
            }
            read?;
        }
    }

    /// The file that holds the byte at `at`.
    fn file_at(&self, at: u64) -> usize {
        self.offsets.partition_point(|offset| *offset <= at).saturating_sub(1)
    }

    fn read_chunk(&self, at: u64, bytes: &mut [u8]) -> Result<(), HashError> {
        let mut hashed = Vec::new();
        let end = at + bytes.len() as u64;
        let mut index = self.file_at(at);
        let mut done = at;
        while done < end {
            let (start, stop) = (self.offsets[index], self.offsets[index + 1]);
            let until = stop.min(end);
            if until > done {
                let part = &mut bytes[(done - at) as usize..(until - at) as usize];
                self.read_file(index, done - start, part)?;
                if (start, stop) == (done, until) {
                    hashed.push((index, FileId::new(*blake3::hash(part).as_bytes())));
                }
                done = until;
            }
            index += 1;
        }
        let mut hashes = self.hashes.lock().unwrap_or_else(PoisonError::into_inner);
        hashed.into_iter().for_each(|(index, hash)| hashes[index] = hash);
        Ok(())
    }

    fn read_file(&self, index: usize, at: u64, part: &mut [u8]) -> Result<(), HashError> {
        let found = &self.files[index];
        let file = self.root.open_any(found.path.as_str()).map_err(|e| HashError::Unreadable(vec![(index, e)]))?;
        let changed = || {
            let text = "it changed while it was read; try again when it is complete";
            HashError::File(index, io::Error::other(text))
        };
        file.read_exact_at(part, at).map_err(|e| match e.kind() {
            io::ErrorKind::UnexpectedEof => changed(),
            _ => HashError::File(index, e),
        })?;
        let met = met(&file).map_err(|e| HashError::File(index, e))?;
        if met.stamp.mark() == found.mark { Ok(()) } else { Err(changed()) }
    }

    /// Hashes the files that do not lie in one chunk.
    fn hash_long(&self, chunks: &Receiver<Arc<Chunk>>, recycle: &SyncSender<Vec<u8>>) {
        let mut current: Option<(usize, blake3::Hasher)> = None;
        in_order(chunks, self.layout, |chunk| {
            let at = u64::from(chunk.first) * self.layout.piece_len();
            let end = at + chunk.len as u64;
            let mut index = self.file_at(at);
            while index < self.files.len() && self.offsets[index] < end {
                let (start, stop) = (self.offsets[index], self.offsets[index + 1]);
                let (from, until) = (start.max(at), stop.min(end));
                if from < until && (from, until) != (start, stop) {
                    if current.as_ref().is_none_or(|(of, _)| *of != index) {
                        current = Some((index, blake3::Hasher::new()));
                    }
                    if let Some((_, hasher)) = &mut current {
                        hasher.update(&chunk.bytes()[(from - at) as usize..(until - at) as usize]);
                        if until == stop {
                            let hash = FileId::new(*hasher.finalize().as_bytes());
                            self.hashes.lock().unwrap_or_else(PoisonError::into_inner)[index] = hash;
                        }
                    }
                }
                index += 1;
            }
            done_with(chunk, recycle);
        });
    }
}

fn hash_whole(
    chunks: &Receiver<Arc<Chunk>>,
    layout: PieceLayout,
    recycle: &SyncSender<Vec<u8>>,
    progress: &dyn Fn(u64),
) -> Sha1Digest {
    let (mut sha1, mut done) = (Sha1::new(), 0);
    in_order(chunks, layout, |chunk| {
        sha1.update(chunk.bytes());
        done += chunk.len as u64;
        progress(done);
        done_with(chunk, recycle);
    });
    Sha1Digest::new(sha1.finalize().into())
}

/// Shows the chunks in their order; several threads read them.
fn in_order(chunks: &Receiver<Arc<Chunk>>, layout: PieceLayout, mut show: impl FnMut(Arc<Chunk>)) {
    let mut waiting: BTreeMap<u32, Arc<Chunk>> = BTreeMap::new();
    let mut next = 0;
    for chunk in chunks {
        waiting.insert(chunk.first, chunk);
        while let Some(chunk) = waiting.remove(&next) {
            next += (chunk.len as u64).div_ceil(layout.piece_len()) as u32;
            show(chunk);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::share::folder::walk;
    use std::fs;
    use std::path::Path;

    fn content(len: usize, seed: u64) -> Vec<u8> {
        let mut bytes = vec![0; len];
        fastrand::Rng::with_seed(seed).fill(&mut bytes);
        bytes
    }

    fn found(root: &Beneath) -> Vec<Found> {
        walk(root, &AtomicBool::new(false)).expect("walked").files
    }

    fn hashed(root: &Path, piece_len: u64) -> (Vec<Found>, Hashed) {
        let root = Beneath::open(root).expect("opened");
        let files = found(&root);
        let layout = PieceLayout::new(files.iter().map(|f| f.len).sum(), piece_len).expect("a layout");
        let hashed = hash_folder(&root, &files, layout, &|_| (), &AtomicBool::new(false)).expect("hashed");
        (files, hashed)
    }

    #[test]
    fn it_agrees_with_hashing_the_files_one_by_one() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut all = Vec::new();
        // In the order of their names; some empty, some longer than several chunks.
        for (n, len) in [0, 5, 70_000, 0, 9 << 20, 1, 16 << 10, (3 << 20) + 1, 40, 25 << 20, 0].iter().enumerate() {
            let bytes = content(*len, n as u64);
            fs::write(dir.path().join(format!("f{n:02}")), &bytes).expect("written");
            all.extend(bytes);
        }
        for piece_len in [16 << 10, 256 << 10, 4 << 20] {
            let (files, hashed) = hashed(dir.path(), piece_len);
            assert_eq!(hashed.manifest.file_id().as_bytes(), blake3::hash(&all).as_bytes());
            assert_eq!(hashed.manifest.sha1(), Sha1Digest::new(Sha1::digest(&all).into()));
            for (file, hash) in files.iter().zip(&hashed.files) {
                let bytes = fs::read(dir.path().join(file.path.as_str())).expect("read");
                assert_eq!(hash.as_bytes(), blake3::hash(&bytes).as_bytes(), "{}", file.path);
            }
        }
    }

    #[test]
    fn a_file_that_changes_meanwhile_is_named_and_stopping_stops() {
        let dir = tempfile::tempdir().expect("a directory");
        for n in 0..40 {
            fs::write(dir.path().join(format!("f{n:02}")), content(1 << 20, n)).expect("written");
        }
        let root = Beneath::open(dir.path()).expect("opened");
        let files = found(&root);
        let layout = PieceLayout::new(40 << 20, 16 << 10).expect("a layout");
        let hash = |stop| hash_folder(&root, &files, layout, &|_| (), &AtomicBool::new(stop)).map(|_| ());
        assert!(matches!(hash(true), Err(HashError::Other(e)) if e.kind() == io::ErrorKind::Interrupted));
        fs::write(dir.path().join("f07"), b"shorter").expect("written");
        assert!(matches!(hash(false), Err(HashError::File(7, _))));
        fs::remove_file(dir.path().join("f07")).expect("removed");
        fs::remove_file(dir.path().join("f30")).expect("removed");
        assert!(matches!(hash(false), Err(HashError::Unreadable(all)) if all.iter().map(|(n, _)| *n).eq([7, 30])));
    }
}
