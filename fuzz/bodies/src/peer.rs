//! Messages between peers: what decodes can be sent on unchanged; a bitfield or a block that a layout
//! accepts lies within the file.

use common::pieces::{Bitfield, MAX_BLOCK_LEN, PieceLayout};
use common::wire::limits::MAX_PEER_FRAME;
use common::wire::peer::{LeecherFrame, SeederFrame};

use crate::input::Input;
use crate::{golden, harmless, stable};

/// Who speaks and the number of pieces of the file in question, then one message.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let (who, pieces) = (input.byte(), input.byte());
    let layout = PieceLayout::new(u64::from(pieces) * (16 << 10), 16 << 10).expect("a small file");
    let bytes = input.rest();
    if who % 2 == 0 {
        let frame = stable::<LeecherFrame>(bytes, MAX_PEER_FRAME);
        if let Some(LeecherFrame::Request { block, .. }) = frame
            && let Some((piece, block)) = layout.check(block)
        {
            let end = layout.position(block) + u64::from(block.len);
            assert!(end <= layout.range(piece).end && (1..=MAX_BLOCK_LEN).contains(&block.len));
        }
    } else {
        match stable::<SeederFrame>(bytes, MAX_PEER_FRAME) {
            Some(SeederFrame::Bitfield(bits)) => {
                if let Some(field) = Bitfield::from_bytes(layout, &bits) {
                    assert_eq!(field.as_bytes(), &bits[..]);
                    assert!(field.ones() <= layout.count());
                }
            }
            Some(SeederFrame::Goodbye(goodbye)) => harmless(&goodbye.to_string()),
            _ => {}
        }
    }
}

/// Every sample, for a file of 11 pieces.
pub fn seeds() -> Vec<Vec<u8>> {
    let leecher = golden::after(0, golden::after(11, golden::bytes("LeecherFrame")));
    let goodbyes = golden::after(5, golden::bytes("Goodbye"));
    let seeder = golden::bytes("SeederFrame").into_iter().chain(goodbyes);
    [leecher, golden::after(1, golden::after(11, seeder))].concat()
}
