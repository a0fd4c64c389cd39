//! The journal of a download: whatever has become of its bytes, it claims what its intact records up to
//! the damage say, and nothing else. What records mean is stated here piece by piece, where the
//! journal goes through them in order.

use client::download::journal::{Record, image, recover};
use common::id::FileId;
use common::pieces::{PieceIndex, PieceLayout};

use crate::input::Input;

/// Bytes before the first record, and of one record: the format of the file.
const HEADER: usize = 80;
const RECORD: usize = 24;
/// Pieces of the largest file tried here.
const PIECES: usize = 40;
/// Length of a piece, in bytes.
const PIECE: u64 = 16 << 10;
const FILE: FileId = FileId::new([5; 32]);

/// How many pieces, what happened, and what then became of the bytes.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let layout = layout(input.below(PIECES + 1));
    let records: Vec<Record> = (0..input.byte()).map(|_| record(&mut input)).collect();
    let salt = input.array();
    let bytes = image(layout, FILE, salt, &records);
    assert_eq!(bytes.len(), HEADER + records.len() * RECORD);
    agrees(&bytes, layout, &records);

    let (damaged, intact) = damage(&mut input, bytes, &records);
    match intact {
        Some(intact) => agrees(&damaged, layout, &records[..intact]),
        None => assert_eq!(recover(&damaged, layout, FILE), None, "a journal of something else"),
    }
    let other = PieceLayout::new(layout.len() + 1, PIECE).expect("a layout");
    assert_eq!(recover(&damaged, other, FILE), None, "a journal of another length");
    assert_eq!(recover(&damaged, layout, FileId::new([6; 32])), None, "a journal of another file");
    foreign(input.rest(), layout);
}

fn layout(pieces: usize) -> PieceLayout {
    PieceLayout::new(pieces as u64 * PIECE, PIECE).expect("a layout")
}

fn record(input: &mut Input<'_>) -> Record {
    let kind = input.byte();
    // Mostly pieces and counts that are there, some that are not.
    let number = if kind & 0x80 == 0 { u32::from(input.byte()) % 64 } else { input.u32() };
    match kind % 8 {
        0..=2 => Record::Written(number),
        3 | 4 => Record::Durable(number.into()),
        5 => Record::Lost(number),
        6 => Record::Clean { nanos: number, seconds: input.u64() },
        _ => Record::Inode(number.into()),
    }
}

/// Does something to the bytes: what they are then, and how many records stay intact; `None` if even
/// the header does not.
fn damage(input: &mut Input<'_>, mut bytes: Vec<u8>, records: &[Record]) -> (Vec<u8>, Option<usize>) {
    let intact = |at: usize| at.checked_sub(HEADER).map(|body| (body / RECORD).min(records.len()));
    let at = input.u32() as usize % (bytes.len() + 1);
    match input.byte() % 4 {
        0 => {
            bytes.truncate(at);
            (bytes, intact(at))
        }
        1 => {
            let Some(byte) = bytes.get_mut(at) else { return (bytes, Some(records.len())) };
            *byte ^= input.byte().max(1);
            (bytes, intact(at))
        }
        2 => {
            // Old records where new ones belong, and what a crash leaves of a longer file.
            let from = at.max(HEADER) - (at.max(HEADER) - HEADER) % RECORD;
            bytes.extend_from_within(from..);
            bytes.extend_from_slice(input.take(3 * RECORD));
            (bytes, Some(records.len()))
        }
        _ => {
            let (one, two) = (intact(at).unwrap_or(0), input.below(256));
            let places = [one.min(two), one.max(two)];
            if places[0] == places[1] || places[1] >= records.len() {
                return (bytes, Some(records.len()));
            }
            let range = |n: usize| HEADER + n * RECORD..HEADER + (n + 1) * RECORD;
            let moved = bytes[range(places[0])].to_vec();
            bytes.copy_within(range(places[1]), range(places[0]).start);
            bytes[range(places[1])].copy_from_slice(&moved);
            (bytes, Some(places[0]))
        }
    }
}

/// The journal says exactly what `records` say, and counts no byte behind them.
fn agrees(bytes: &[u8], layout: PieceLayout, records: &[Record]) {
    let (recovered, valid) = recover(bytes, layout, FILE).expect("a journal of this file");
    assert_eq!(valid, HEADER + records.len() * RECORD);
    assert_eq!(recover(&bytes[..valid], layout, FILE), Some((recover(bytes, layout, FILE).expect("again").0, valid)));

    let mut written = Vec::new();
    for piece in layout.pieces() {
        let writes = standing(records, piece);
        let durable = |at: &usize| records[*at..].iter().any(|r| matches!(r, Record::Durable(n) if *n > *at as u64));
        assert_eq!(recovered.durable.has(piece), writes.iter().any(durable), "{piece:?} of {records:?}");
        written.extend(writes.into_iter().filter(|at| !durable(at)).map(|at| (at, piece)));
    }
    written.sort_unstable();
    assert_eq!(recovered.written, written.into_iter().map(|(_, piece)| piece).collect::<Vec<_>>());
    let clean = match records.last() {
        Some(Record::Clean { nanos, seconds }) => Some((seconds.cast_signed(), i64::from(*nanos))),
        _ => None,
    };
    assert_eq!(recovered.clean, clean);
    let inodes = records.iter().rev().find_map(|r| if let Record::Inode(inode) = r { Some(*inode) } else { None });
    assert_eq!(recovered.inode, inodes);
}

/// When `piece` was written, since it was last lost.
fn standing(records: &[Record], piece: PieceIndex) -> Vec<usize> {
    let lost = records.iter().rposition(|r| *r == Record::Lost(piece.get())).map_or(0, |at| at + 1);
    (lost..records.len()).filter(|&at| records[at] == Record::Written(piece.get())).collect()
}

/// Bytes that nobody here has written: no more of them is valid than there are.
fn foreign(bytes: &[u8], layout: PieceLayout) {
    if let Some((recovered, valid)) = recover(bytes, layout, FILE) {
        assert!((HEADER..=bytes.len()).contains(&valid) && (valid - HEADER).is_multiple_of(RECORD));
        assert!(recovered.written.len() <= (valid - HEADER) / RECORD);
    }
}

/// Journals of files of no, one and many pieces, with every kind of record and of damage; and one as it
/// lies on the disk.
pub fn seeds() -> Vec<Vec<u8>> {
    let story = [1, 0, 0, 0, 1, 3, 3, 6, 9, 0, 0, 0, 0, 0, 0, 0, 1, 7, 7, 5, 0, 0, 0, 3, 6, 0x80, 0, 0, 0, 2];
    let mut seeds = Vec::new();
    for pieces in [0, 1, 8, 40] {
        for damage in 0..4 {
            for at in [0u32, 85, 170, 400] {
                let tail = [&[7; 16][..], &at.to_be_bytes(), &[damage, 2, 1, 9, 9]].concat();
                seeds.push([&[pieces, 12][..], &story, &tail].concat());
            }
        }
    }
    let records = [Record::Inode(7), Record::Written(2), Record::Durable(2), Record::Lost(1)];
    seeds.push([&[8; 40][..], &image(layout(8), FILE, [1; 16], &records)].concat());
    seeds
}
