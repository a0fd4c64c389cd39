//! Which pieces of an unfinished download are on the disk, and how sure that is.
//!
//! A file of checksummed records that is only appended to. A piece is *written* when its bytes
//! were handed to the system, *durable* when the data was synced after that. The journal may lag the
//! data, never lead it: a record is appended after what it says has happened. So after a crash of
//! this program everything in it holds; after a power loss, what it calls durable does, and what is only
//! written has to be hashed again. A clean stop leaves a mark by which nothing has to be.
//!
//! Invariant: the file is a header and whole, valid records; a torn or foreign tail is cut off when it is
//! opened.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use common::id::FileId;
use common::pieces::{Bitfield, PieceIndex, PieceLayout};

use super::durable_io;
use crate::transfer::stamp::Stamp;

const MAGIC: &[u8; 8] = b"shoaljn1";
/// Magic, file id, length, piece length, salt, checksum.
const HEADER: usize = 8 + 32 + 8 + 8 + 16 + 8;
/// Kind, number, value, checksum.
const RECORD: usize = 4 + 4 + 8 + 8;

const WRITTEN: u32 = 1;
const DURABLE: u32 = 2;
const CLEAN: u32 = 3;
const INODE: u32 = 4;
const LOST: u32 = 5;

/// One thing that has happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Record {
    /// The piece's bytes were handed to the system.
    Written(u32),
    /// The data was synced after the first so many records.
    Durable(u64),
    /// All is durable, and the file had this modification time when it was closed. The last record, or void.
    Clean {
        /// Nanoseconds of the time.
        nanos: u32,
        /// Seconds of the time since 1970, as two's complement.
        seconds: u64,
    },
    /// The data is in the file with this inode number.
    Inode(u64),
    /// The piece is not there after all.
    Lost(u32),
}

impl Record {
    const fn fields(self) -> (u32, u32, u64) {
        match self {
            Self::Written(piece) => (WRITTEN, piece, 0),
            Self::Durable(records) => (DURABLE, 0, records),
            Self::Clean { nanos, seconds } => (CLEAN, nanos, seconds),
            Self::Inode(inode) => (INODE, 0, inode),
            Self::Lost(piece) => (LOST, piece, 0),
        }
    }

    const fn from_fields(kind: u32, number: u32, value: u64) -> Option<Self> {
        Some(match kind {
            WRITTEN => Self::Written(number),
            DURABLE => Self::Durable(value),
            CLEAN => Self::Clean { nanos: number, seconds: value },
            INODE => Self::Inode(value),
            LOST => Self::Lost(number),
            _ => return None,
        })
    }
}

/// What a journal says about the past.
#[derive(Debug, PartialEq, Eq)]
pub struct Recovered {
    /// Pieces that are there whatever happened.
    pub durable: Bitfield,
    /// Pieces that are there unless the power failed; one that was written twice stands here twice.
    pub written: Vec<PieceIndex>,
    /// After a clean stop: the modification time (seconds, nanoseconds) that the file had.
    pub clean: Option<(i64, i64)>,
    /// The inode of the file with the data, if the journal says so.
    pub inode: Option<u64>,
}

impl Recovered {
    fn nothing(layout: PieceLayout) -> Self {
        Self { durable: Bitfield::empty(layout), written: Vec::new(), clean: None, inode: None }
    }

    /// Whether the journal speaks of the file that has `stamp`.
    pub(crate) fn is_about(&self, stamp: &Stamp) -> bool {
        self.inode == Some(stamp.inode)
    }

    /// Whether the file has been left alone since a clean stop; `None` if the stop was not clean.
    pub(crate) fn is_untouched(&self, stamp: &Stamp) -> Option<bool> {
        self.clean.map(|clean| clean == (stamp.seconds, stamp.nanos))
    }

    fn apply(&mut self, layout: PieceLayout, index: u64, record: Record, pending: &mut Vec<(u64, PieceIndex)>) {
        self.clean = None;
        match record {
            Record::Written(piece) => pending.extend(layout.piece(piece).map(|p| (index, p))),
            Record::Durable(records) => {
                for (_, piece) in pending.extract_if(.., |(at, _)| *at < records) {
                    self.durable.set(piece);
                }
            }
            Record::Clean { nanos, seconds } => self.clean = Some((seconds.cast_signed(), i64::from(nanos))),
            Record::Inode(inode) => self.inode = Some(inode),
            Record::Lost(piece) => {
                pending.retain(|(_, p)| p.get() != piece);
                if let Some(piece) = layout.piece(piece) {
                    self.durable.clear(piece);
                }
            }
        }
    }
}

/// An open journal.
#[derive(Debug)]
pub(crate) struct Journal {
    file: Arc<File>,
    salt: [u8; 16],
    records: u64,
    /// Pieces written since the last mark, each with its record's place.
    unsure: Vec<(u64, PieceIndex)>,
    /// Pieces that a sync which failed may have lost, and of which that is not said yet.
    doubtful: Vec<PieceIndex>,
}

impl Journal {
    fn at(file: File, salt: [u8; 16], records: u64) -> Self {
        Self { file: Arc::new(file), salt, records, unsure: Vec::new(), doubtful: Vec::new() }
    }

    /// What a journal at `path` says no longer counts, and does not count again after a power failure.
    ///
    /// To be done before the file that it may speak of is made or gets its length again: until then it is told from
    /// that one by the length, or by the inode number, which a new file may have been given again.
    pub(crate) fn void(path: &Path) -> io::Result<()> {
        match OpenOptions::new().write(true).open(path) {
            Ok(file) => {
                durable_io::set_len(&file, 0)?;
                durable_io::sync_all(&file)
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// A new journal at `path`, in place of one that is [void](Self::void), for data in the file `inode`. It becomes
    /// durable with the first mark that does.
    pub(crate) fn create(path: &Path, layout: PieceLayout, file_id: FileId, inode: u64) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        durable_io::set_len(&file, 0)?;
        let salt = rand::random();
        durable_io::write_at(&file, &header(layout, file_id, salt), 0)?;
        let mut journal = Self::at(file, salt, 0);
        journal.append(Record::Inode(inode))?;
        Ok(journal)
    }

    /// Opens the journal of an earlier run; `None` if there is none for this content.
    pub(crate) fn open(path: &Path, layout: PieceLayout, file_id: FileId) -> io::Result<Option<(Self, Recovered)>> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        let Some((salt, recovered, records)) = parse(&bytes, layout, file_id) else { return Ok(None) };
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let len = HEADER as u64 + records * RECORD as u64;
        if bytes.len() as u64 > len {
            // Durably: what is cut off could follow the records to come, and be taken for one of them.
            durable_io::set_len(&file, len)?;
            durable_io::sync_data(&file)?;
        }
        Ok(Some((Self::at(file, salt, records), recovered)))
    }

    /// Bytes that are there by the journal at `path`, for people; 0 if it says nothing.
    pub(crate) fn peek(path: &Path, layout: PieceLayout, file_id: FileId) -> u64 {
        let parsed = std::fs::read(path).ok().and_then(|bytes| parse(&bytes, layout, file_id));
        let Some((_, Recovered { durable: mut there, written, .. }, _)) = parsed else { return 0 };
        written.into_iter().for_each(|p| {
            there.set(p);
        });
        layout.pieces().filter(|&p| there.has(p)).map(|p| u64::from(layout.len_of(p))).sum()
    }

    /// The file is about to be written to again: an earlier clean stop no longer counts.
    pub(crate) fn begin(&mut self, stamp: &Stamp) -> io::Result<()> {
        self.append(Record::Inode(stamp.inode))
    }

    /// How many records there are: what [`Journal::durable`] takes.
    pub(crate) const fn len(&self) -> u64 {
        self.records
    }

    /// The piece's bytes have been handed to the system.
    pub(crate) fn written(&mut self, piece: PieceIndex) -> io::Result<()> {
        self.unsure.push((self.records, piece));
        self.append(Record::Written(piece.get()))
    }

    /// The data has been synced since there were `records` records.
    pub(crate) fn durable(&mut self, records: u64) -> io::Result<()> {
        self.admit()?;
        self.append(Record::Durable(records))?;
        self.unsure.retain(|(at, _)| *at >= records);
        Ok(())
    }

    /// A sync of the data failed: what was written since the last one that did not is not there. The system forgets
    /// what it could not write, so a later sync that succeeds says nothing about it.
    pub(crate) fn doubt(&mut self) -> io::Result<()> {
        self.doubtful.extend(self.unsure.drain(..).map(|(_, piece)| piece));
        self.admit()
    }

    fn admit(&mut self) -> io::Result<()> {
        while let Some(&piece) = self.doubtful.last() {
            self.lost(piece)?;
            self.doubtful.pop();
        }
        Ok(())
    }

    /// The piece is not there after all.
    pub(crate) fn lost(&mut self, piece: PieceIndex) -> io::Result<()> {
        self.append(Record::Lost(piece.get()))?;
        self.unsure.retain(|(_, p)| *p != piece);
        Ok(())
    }

    /// The data has been synced, its file has `stamp`, and nothing more will be written.
    pub(crate) fn clean(&mut self, stamp: &Stamp) -> io::Result<()> {
        self.durable(self.records)?;
        let nanos = u32::try_from(stamp.nanos).unwrap_or_default();
        self.append(Record::Clean { nanos, seconds: stamp.seconds.cast_unsigned() })?;
        durable_io::sync_data(&self.file)
    }

    /// The journal's file, for whoever makes it durable.
    pub(crate) fn file(&self) -> Arc<File> {
        Arc::clone(&self.file)
    }

    fn append(&mut self, record: Record) -> io::Result<()> {
        let at = HEADER as u64 + self.records * RECORD as u64;
        durable_io::write_at(&self.file, &encode(&self.salt, self.records, record), at)?;
        self.records += 1;
        Ok(())
    }
}

fn header(layout: PieceLayout, file_id: FileId, salt: [u8; 16]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER);
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(file_id.as_bytes());
    out.extend_from_slice(&layout.len().to_le_bytes());
    out.extend_from_slice(&layout.piece_len().to_le_bytes());
    out.extend_from_slice(&salt);
    let check = blake3::hash(&out);
    out.extend_from_slice(&check.as_bytes()[..8]);
    out
}

fn encode(salt: &[u8; 16], index: u64, record: Record) -> [u8; RECORD] {
    let (kind, number, value) = record.fields();
    let mut out = [0; RECORD];
    out[..4].copy_from_slice(&kind.to_le_bytes());
    out[4..8].copy_from_slice(&number.to_le_bytes());
    out[8..16].copy_from_slice(&value.to_le_bytes());
    let check = record_check(salt, index, &out[..16]);
    out[16..].copy_from_slice(&check);
    out
}

/// Bound to this journal and this place in it, so that no old bytes pass for a record.
fn record_check(salt: &[u8; 16], index: u64, fields: &[u8]) -> [u8; 8] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(salt).update(&index.to_le_bytes()).update(fields);
    let mut check = [0; 8];
    hasher.finalize_xof().fill(&mut check);
    check
}

fn decode(salt: &[u8; 16], index: u64, bytes: &[u8; RECORD]) -> Option<Record> {
    let (fields, check) = bytes.split_at(16);
    if record_check(salt, index, fields) != check {
        return None;
    }
    let (kind, rest) = fields.split_first_chunk()?;
    let (number, rest) = rest.split_first_chunk()?;
    let (value, _) = rest.split_first_chunk()?;
    Record::from_fields(u32::from_le_bytes(*kind), u32::from_le_bytes(*number), u64::from_le_bytes(*value))
}

/// A journal of `records`, as its bytes.
pub fn image(layout: PieceLayout, file_id: FileId, salt: [u8; 16], records: &[Record]) -> Vec<u8> {
    let encoded = (0..).zip(records).flat_map(|(index, record)| encode(&salt, index, *record));
    header(layout, file_id, salt).into_iter().chain(encoded).collect()
}

/// What the bytes of a journal say, and how many of them are valid; `None` for a journal of something else.
pub fn recover(bytes: &[u8], layout: PieceLayout, file_id: FileId) -> Option<(Recovered, usize)> {
    let (_, recovered, records) = parse(bytes, layout, file_id)?;
    Some((recovered, HEADER + records as usize * RECORD))
}

/// Salt, what is known, and the number of valid records; `None` for a journal of something else.
fn parse(bytes: &[u8], layout: PieceLayout, file_id: FileId) -> Option<([u8; 16], Recovered, u64)> {
    let (head, body) = bytes.split_at_checked(HEADER)?;
    let salt: [u8; 16] = head.get(HEADER - 24..HEADER - 8)?.try_into().ok()?;
    if head != header(layout, file_id, salt) {
        return None;
    }
    let mut recovered = Recovered::nothing(layout);
    let mut pending = Vec::new();
    let mut records = 0;
    for bytes in body.as_chunks::<RECORD>().0 {
        let Some(record) = decode(&salt, records, bytes) else { break };
        recovered.apply(layout, records, record, &mut pending);
        records += 1;
    }
    recovered.written = pending.into_iter().map(|(_, piece)| piece).collect();
    Some((salt, recovered, records))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PIECES: u32 = 40;
    const STAMP: Stamp = Stamp { len: 0, seconds: -3, nanos: 999_999_999, device: 1, inode: 77 };

    fn layout() -> PieceLayout {
        PieceLayout::new(u64::from(PIECES) * (16 << 10), 16 << 10).expect("a layout")
    }

    fn piece(n: u32) -> PieceIndex {
        layout().piece(n).expect("a piece")
    }

    fn id() -> FileId {
        FileId::new([5; 32])
    }

    fn open(path: &Path) -> Option<(Journal, Recovered)> {
        Journal::open(path, layout(), id()).expect("readable")
    }

    fn states(r: &Recovered) -> (Vec<u32>, Vec<u32>) {
        let durable = layout().pieces().filter(|&p| r.durable.has(p)).map(PieceIndex::get).collect();
        (durable, r.written.iter().map(|p| p.get()).collect())
    }

    #[test]
    fn durable_is_what_was_written_before_the_sync_began() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("journal");
        let mut j = Journal::create(&path, layout(), id(), 77).expect("created");
        j.written(piece(3)).expect("appended");
        j.written(piece(9)).expect("appended");
        let before = j.len();
        j.written(piece(5)).expect("appended");
        j.durable(before).expect("appended");
        j.written(piece(6)).expect("appended");
        j.lost(piece(9)).expect("appended");
        let (mut j, r) = open(&path).expect("a journal");
        assert_eq!(states(&r), (vec![3], vec![5, 6]));
        assert!(r.is_about(&STAMP) && r.is_untouched(&STAMP).is_none());

        j.clean(&STAMP).expect("appended");
        let (mut j, r) = open(&path).expect("a journal");
        assert_eq!(states(&r), (vec![3, 5, 6], vec![]));
        assert_eq!(r.is_untouched(&STAMP), Some(true));
        assert_eq!(r.is_untouched(&Stamp { nanos: 0, ..STAMP }), Some(false));

        j.begin(&STAMP).expect("appended");
        assert!(open(&path).expect("a journal").1.is_untouched(&STAMP).is_none(), "no longer clean");
    }

    #[test]
    fn a_journal_of_something_else_does_not_count() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("journal");
        assert!(open(&path).is_none());
        Journal::create(&path, layout(), FileId::new([6; 32]), 77).expect("created");
        assert!(open(&path).is_none());
        std::fs::write(&path, b"short").expect("written");
        assert!(open(&path).is_none());
    }

    proptest! {
        /// Whatever the disk kept of the file: what is recovered is what some prefix of the records says.
        #[test]
        fn any_cut_or_damage_leaves_a_prefix(ops in proptest::collection::vec((0..3u8, 0..PIECES), 0..60), at: prop::sample::Index, cut: bool) {
            let dir = tempfile::tempdir().expect("a directory");
            let path = dir.path().join("journal");
            let mut j = Journal::create(&path, layout(), id(), 77).expect("created");
            let mut prefixes = vec![states(&open(&path).expect("a journal").1)];
            for (op, n) in ops {
                match op {
                    0 => j.written(piece(n)),
                    1 => j.durable(j.len()),
                    _ => j.lost(piece(n)),
                }.expect("appended");
                prefixes.push(states(&open(&path).expect("a journal").1));
            }
            let mut bytes = std::fs::read(&path).expect("read");
            // The header is synced before anything else, as is the first record.
            let at = HEADER + RECORD + at.index(bytes.len() - HEADER - RECORD + 1);
            if cut { bytes.truncate(at) } else if let Some(b) = bytes.get_mut(at) { *b ^= 0x40 }
            std::fs::write(&path, bytes).expect("written");
            let (mut j, r) = open(&path).expect("a journal");
            prop_assert!(prefixes.contains(&states(&r)));
            j.written(piece(0)).expect("appended");
            let after = states(&open(&path).expect("a journal").1);
            prop_assert!(after.0.contains(&0) || after.1.contains(&0), "it can be continued");
        }
    }
}
