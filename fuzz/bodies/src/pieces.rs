//! Lengths: every layout that is accepted cuts a file into pieces and blocks without gap or overlap,
//! and a bitfield is the set of pieces that it is said to be.

use std::collections::BTreeSet;

use common::codec;
use common::pieces::{
    Bitfield, BlockRange, LayoutError, MAX_BLOCK_LEN, MAX_PIECE_LEN, MAX_PIECES, MIN_PIECE_LEN, PieceIndex, PieceLayout,
};

use crate::input::Input;

/// Pieces and blocks that are looked at one by one, at most.
const WALK: usize = 64;

/// Two lengths, then blocks to judge, then what is done to a bitfield.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let (len, piece_len) = lengths(&mut input);
    by_default(len);
    let Some(layout) = cut(len, piece_len) else { return };
    walk(layout, input.u16());
    for _ in 0..input.below(8) {
        judge(layout, BlockRange { piece: near(&mut input, layout.count()), offset: input.u32(), len: input.u32() });
        let offset = near(&mut input, u32::try_from(piece_len).unwrap_or(u32::MAX));
        judge(layout, BlockRange { piece: near(&mut input, layout.count()), offset, len: near(&mut input, 1 << 20) });
    }
    if layout.count() <= 512 {
        operate(layout, &mut input);
        parse(layout, input.rest());
    }
}

fn lengths(input: &mut Input<'_>) -> (u64, u64) {
    let piece_len = match input.byte() {
        0 => input.u64(),
        shift => 1 << (shift % 32),
    };
    let len = match input.byte() % 4 {
        0 => input.u64(),
        1 => piece_len.wrapping_mul(u64::from(input.u32())),
        // Few pieces, and a rest that may be missing.
        _ => piece_len.wrapping_mul(input.byte().into()).wrapping_add(input.u32().into()),
    };
    (len, piece_len)
}

/// A number around the edge `n`, or below it, or near the end of all numbers.
fn near(input: &mut Input<'_>, n: u32) -> u32 {
    match input.byte() % 5 {
        4 => u32::MAX - u32::from(input.byte()),
        0 => n.wrapping_sub(1),
        1 => n,
        2 => input.u32(),
        _ => input.u32().checked_rem(n).unwrap_or(0),
    }
}

fn by_default(len: u64) {
    match PieceLayout::with_default_piece_len(len) {
        Ok(layout) => assert!((256 << 10..=MAX_PIECE_LEN).contains(&layout.piece_len()) && layout.len() == len),
        Err(e) => assert!(len > MAX_PIECES * MAX_PIECE_LEN, "{len} bytes can be cut, yet: {e}"),
    }
}

fn cut(len: u64, piece_len: u64) -> Option<PieceLayout> {
    let fits_piece = piece_len.count_ones() == 1 && (MIN_PIECE_LEN..=MAX_PIECE_LEN).contains(&piece_len);
    let fits = fits_piece && u128::from(len) <= u128::from(piece_len) * u128::from(MAX_PIECES);
    let layout = PieceLayout::new(len, piece_len);
    assert_eq!(layout.is_ok(), fits, "{len} bytes in pieces of {piece_len}");
    assert_eq!(matches!(layout, Err(LayoutError::PieceLen(_))), !fits_piece);

    let sent = codec::encode(&(len, piece_len), 64).expect("two numbers");
    assert_eq!(codec::decode::<PieceLayout>(&sent, 64).ok(), layout.ok(), "the wire has another rule");
    layout.ok()
}

/// Pieces follow each other, and the blocks of some of them too.
fn walk(layout: PieceLayout, step: u16) {
    let last = layout.count().checked_sub(1).and_then(|n| layout.piece(n));
    assert_eq!(last.map_or(0, |p| layout.range(p).end), layout.len());
    assert_eq!(layout.piece(layout.count()), None);

    let block_len = 1024 * (1 + u32::from(step) % 1100);
    let mut at = 0;
    for piece in layout.pieces().take(WALK) {
        assert_eq!(layout.range(piece).start, at);
        assert_eq!(layout.range(piece).end - at, u64::from(layout.len_of(piece)));
        let few = layout.len_of(piece) / block_len < 16;
        for block in layout.blocks(piece, block_len).filter(|_| few) {
            assert_eq!((layout.position(block), layout.check(block)), (at, Some((piece, block))));
            at += u64::from(block.len);
        }
        at = if few { at } else { layout.range(piece).end };
        assert_eq!(layout.range(piece).end, at);
    }
}

fn judge(layout: PieceLayout, block: BlockRange) {
    let start = u128::from(block.piece) * u128::from(layout.piece_len());
    let piece_end = (start + u128::from(layout.piece_len())).min(layout.len().into());
    let end = start + u128::from(block.offset) + u128::from(block.len);
    let good = (1..=MAX_BLOCK_LEN).contains(&block.len) && end <= piece_end;
    let judged = layout.check(block);
    assert_eq!(judged.is_some(), good, "{block:?} of {layout:?}");
    if let Some((piece, same)) = judged {
        assert_eq!((piece.get(), same), (block.piece, block));
        assert_eq!(u128::from(layout.position(block)), start + u128::from(block.offset));
    }
}

/// Sets and clears pieces, beside a set that does the same.
fn operate(layout: PieceLayout, input: &mut Input<'_>) {
    let mut field = if input.flag() { Bitfield::full(layout) } else { Bitfield::empty(layout) };
    let mut model: BTreeSet<PieceIndex> = layout.pieces().filter(|p| field.has(*p)).collect();
    assert!(model.is_empty() || field.is_full());
    for _ in 0..input.byte() {
        let (set, number) = (input.flag(), u32::from(input.u16()));
        let Some(piece) = number.checked_rem(layout.count()).and_then(|n| layout.piece(n)) else { break };
        if set {
            assert_eq!(field.set(piece), model.insert(piece));
        } else {
            assert_eq!(field.clear(piece), model.remove(&piece));
        }
    }
    assert_eq!(field.ones() as usize, model.len());
    assert_eq!(field.is_full(), model.len() == layout.count() as usize);
    assert!(layout.pieces().all(|p| field.has(p) == model.contains(&p)));
    assert_eq!(Bitfield::from_bytes(layout, field.as_bytes()), Some(field));
}

fn parse(layout: PieceLayout, bytes: &[u8]) {
    let bits: Vec<bool> = bytes.iter().flat_map(|b| (0..8).map(move |i| b & (0x80 >> i) != 0)).collect();
    let count = layout.count() as usize;
    let good = bytes.len() == count.div_ceil(8) && !bits.iter().skip(count).any(|set| *set);
    let field = Bitfield::from_bytes(layout, bytes);
    assert_eq!(field.is_some(), good, "{bytes:?} for {count} pieces");
    if let Some(field) = field {
        assert!(layout.pieces().all(|p| field.has(p) == bits[p.index()]));
        assert_eq!(field.ones() as usize, bits.iter().filter(|set| **set).count());
    }
}

/// Files of no, of some and of very many pieces.
pub fn seeds() -> Vec<Vec<u8>> {
    let shift =
        |shift, how, len: &[u8]| [&[shift, how][..], len, &[3, 7, 3], &[1; 40], &[1, 4, 1, 0, 3, 0, 0, 3]].concat();
    vec![
        shift(14, 2, &[0, 0, 0, 0, 0]),
        shift(14, 2, &[11, 0, 0, 0, 0, 1]),
        shift(18, 2, &[200, 0, 3, 0xff, 0xff]),
        shift(24, 0, &[0, 0, 4, 0, 0, 0, 0, 0]),
        shift(24, 0, &[0, 0, 4, 0, 0, 0, 0, 1]),
        shift(20, 1, &[0, 4, 0, 0]),
        shift(13, 2, &[1, 0, 0, 0, 0]),
        [&[0][..], &(48u64 << 10).to_be_bytes(), &[0; 20]].concat(),
    ]
}
