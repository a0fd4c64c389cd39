//! What is done to every byte of content.

use std::io::Write;
use std::sync::atomic::AtomicBool;

use client::share::hash::manifest_of;
use common::manifest::{hash_piece, hash_pieces};
use common::pieces::PieceLayout;
use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use sha1::{Digest, Sha1};

use crate::content;

const PIECE: usize = 512 << 10;
const PIECES: usize = 16;

#[divan::bench]
fn sha1_of_8_mib(b: Bencher) {
    let bytes = content(PIECE * PIECES);
    b.counter(BytesCount::new(bytes.len())).bench(|| Sha1::digest(black_box(&bytes)));
}

#[divan::bench]
fn blake3_of_8_mib(b: Bencher) {
    let bytes = content(PIECE * PIECES);
    b.counter(BytesCount::new(bytes.len())).bench(|| blake3::hash(black_box(&bytes)));
}

/// Both hashes of sixteen pieces, one after the other.
#[divan::bench]
fn sixteen_pieces_alone(b: Bencher) {
    let bytes = content(PIECE * PIECES);
    let layout = PieceLayout::new(bytes.len() as u64, PIECE as u64).unwrap();
    let one = |(p, bytes)| hash_piece(layout, p, bytes);
    let all = || layout.pieces().zip(black_box(&bytes).chunks(PIECE)).map(one).collect::<Vec<_>>();
    b.counter(BytesCount::new(bytes.len())).bench(all);
}

/// Both hashes of sixteen pieces, together.
#[divan::bench]
fn sixteen_pieces_together(b: Bencher) {
    let bytes = content(PIECE * PIECES);
    let layout = PieceLayout::new(bytes.len() as u64, PIECE as u64).unwrap();
    let parts: Vec<[&[u8]; 1]> = bytes.chunks(PIECE).map(|c| [c]).collect();
    let pieces: Vec<_> = layout.pieces().zip(&parts).map(|(p, parts)| (p, &parts[..])).collect();
    b.counter(BytesCount::new(bytes.len())).bench(|| hash_pieces(layout, black_box(&pieces)));
}

/// A whole file from the page cache, as for `upload_file`.
#[divan::bench(sample_count = 5, sample_size = 1)]
fn manifest_of_512_mib(b: Bencher) {
    let mut file = tempfile::tempfile().unwrap();
    let len: u64 = 512 << 20;
    let part = content(8 << 20);
    (0..len / part.len() as u64).for_each(|_| file.write_all(&part).unwrap());
    let layout = PieceLayout::new(len, 256 << 10).unwrap();
    b.counter(BytesCount::new(len)).bench(|| manifest_of(&file, layout, &|_| (), &AtomicBool::new(false)).unwrap());
}

/// The same file through `sha1sum`, which most people would use.
#[divan::bench(sample_count = 5, sample_size = 1)]
fn sha1sum_of_512_mib(b: Bencher) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let len: u64 = 512 << 20;
    let part = content(8 << 20);
    (0..len / part.len() as u64).for_each(|_| file.write_all(&part).unwrap());
    let sum = || std::process::Command::new("sha1sum").arg(file.path()).output().expect("sha1sum is there");
    b.counter(BytesCount::new(len)).bench(sum);
}
