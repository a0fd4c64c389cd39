//! Manifests from parts that anyone may have sent: accepted exactly when their pieces hash to the file
//! id, and then only the content itself is found good.

use blake3::hazmat::{Mode, merge_subtrees_non_root, merge_subtrees_root};
use common::id::{FileId, Sha1Digest};
use common::manifest::{Manifest, ManifestError, PieceHash, Verdict, hash_piece, root};
use common::pieces::{MIN_PIECE_LEN, PieceLayout};
use sha1::{Digest, Sha1};

use crate::input::Input;

/// Made-up digests, or real content.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    if input.byte().is_multiple_of(4) { content(&mut input) } else { parts(&mut input) }
}

/// The smallest pieces, `count` of them, the last one of any length.
fn layout(count: usize, rest: u16) -> PieceLayout {
    let whole = (count as u64).saturating_sub(1) * MIN_PIECE_LEN;
    let last = if count == 0 { 0 } else { 1 + u64::from(rest) % MIN_PIECE_LEN };
    PieceLayout::new(whole + last, MIN_PIECE_LEN).expect("a small file")
}

fn parts(input: &mut Input<'_>) {
    let count = input.below(70);
    let layout = layout(count, input.u16());
    let sha1 = Sha1Digest::new(input.array());
    let mut pieces: Vec<_> = (0..count).map(|_| PieceHash::from_bytes(&input.array())).collect();
    for (i, piece) in (0u8..).zip(&mut pieces) {
        piece.chain[31] = i; // all different, so that another order is another manifest
    }
    let id = FileId::new(expected_root(&pieces));
    assert_eq!(root(layout, &pieces), id);
    let manifest = Manifest::new(layout, id, sha1, pieces.clone()).expect("it is consistent");
    assert_eq!(Manifest::of_hashed(layout, sha1, pieces.clone()).as_ref(), Ok(&manifest));

    let other = FileId::new(input.array());
    let judged = Manifest::new(layout, other, sha1, pieces.clone());
    assert!(judged.is_ok() == (other == id), "{judged:?}");
    falsify(layout, id, sha1, pieces, input);
}

/// Changes the pieces in one way, and asks again.
fn falsify(layout: PieceLayout, id: FileId, sha1: Sha1Digest, mut pieces: Vec<PieceHash>, input: &mut Input<'_>) {
    let (at, other) = (input.below(pieces.len().max(1)), input.below(pieces.len().max(1)));
    let expected = match input.byte() % 5 {
        0 => {
            pieces.push(PieceHash::from_bytes(&input.array()));
            false
        }
        1 => pieces.pop().is_none(),
        2 if !pieces.is_empty() => {
            pieces[at].chain[input.below(32)] ^= 1 << (input.byte() % 8);
            false
        }
        3 if !pieces.is_empty() => {
            pieces.swap(at, other);
            at == other
        }
        4 if !pieces.is_empty() => {
            // SHA-1 digests are the publisher's word, and judged with the content.
            pieces[at].sha1 = Sha1Digest::new(input.array());
            true
        }
        _ => true,
    };
    let count = pieces.len();
    let judged = Manifest::new(layout, id, sha1, pieces);
    assert_eq!(judged.is_ok(), expected, "{judged:?}");
    assert_eq!(matches!(judged, Err(ManifestError::Count { .. })), count != layout.count() as usize);
}

/// BLAKE3's tree as its paper puts it: the left subtree is the largest power of two that leaves
/// something for the right one. Says so in pieces, where the code under test counts bytes.
fn expected_root(pieces: &[PieceHash]) -> [u8; 32] {
    match pieces {
        [] => *blake3::hash(&[]).as_bytes(),
        [only] => only.chain,
        _ => {
            let (left, right) = pieces.split_at(pieces.len().next_power_of_two() / 2);
            *merge_subtrees_root(&expected_subtree(left), &expected_subtree(right), Mode::Hash).as_bytes()
        }
    }
}

fn expected_subtree(pieces: &[PieceHash]) -> [u8; 32] {
    if let [only] = pieces {
        return only.chain;
    }
    let (left, right) = pieces.split_at(pieces.len().next_power_of_two() / 2);
    merge_subtrees_non_root(&expected_subtree(left), &expected_subtree(right), Mode::Hash)
}

fn content(input: &mut Input<'_>) {
    let layout = layout(input.below(4), input.u16());
    let (flip, part) = (input.u16(), 64 + usize::from(input.u16()));
    let pattern = input.rest();
    let bytes: Vec<u8> = (0..layout.len() as usize)
        .map(|i| pattern.get(i % pattern.len().max(1)).copied().unwrap_or_default().wrapping_add((i >> 8) as u8))
        .collect();
    let slices: Vec<_> =
        layout.pieces().map(|p| (p, &bytes[layout.range(p).start as usize..layout.range(p).end as usize])).collect();
    let pieces = slices.iter().map(|(p, slice)| hash_piece(layout, *p, slice)).collect();
    let sha1 = Sha1Digest::new(Sha1::digest(&bytes).into());
    let manifest = Manifest::of_hashed(layout, sha1, pieces).expect("as many pieces as there are");
    assert_eq!(manifest.file_id().as_bytes(), blake3::hash(&bytes).as_bytes());

    for (piece, slice) in slices {
        let parts: Vec<_> = slice.chunks(part).collect();
        assert_eq!(manifest.verify_parts(piece, &parts), Verdict::Good);
        let mut other = slice.to_vec();
        other[usize::from(flip) % slice.len()] ^= 1 << (flip % 8);
        assert_eq!(manifest.verify(piece, &other), Verdict::Bad);
        assert_eq!(manifest.verify(piece, &slice[1..]), Verdict::Bad);

        // Another SHA-1 in the manifest helps nobody: it is a hint, and BLAKE3 decides.
        let mut forged = manifest.pieces().to_vec();
        forged[piece.index()].sha1 = Sha1Digest::new(Sha1::digest(&other).into());
        let forged = Manifest::new(layout, manifest.file_id(), sha1, forged).expect("the chaining values are the same");
        assert_eq!(forged.verify(piece, &other), Verdict::Bad);
        assert_eq!(forged.verify(piece, slice), Verdict::ManifestLies);
    }
}

/// Trees of several shapes, each falsified in each way, and some content.
pub fn seeds() -> Vec<Vec<u8>> {
    let trees = [0u8, 1, 2, 3, 5, 8, 33].into_iter().flat_map(|count| {
        (0..5).map(move |how| {
            let digests: Vec<u8> = (0..20 + 52 * usize::from(count) + 32).map(|i| i as u8).collect();
            [&[1, count, 1, 2], &digests[..], &[0, 1, how, 3, 3]].concat()
        })
    });
    let contents = (0..4).map(|count| vec![0, count, 0x3f, 0xff, 1, 2, 0, 200, 1, 2, 3, 4, 5, 6, 7]);
    trees.chain(contents).collect()
}
