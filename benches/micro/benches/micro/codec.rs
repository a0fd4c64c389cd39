//! Messages to bytes and back.

use common::codec::{decode, encode};
use common::id::{FileId, FileName, UserName};
use common::pieces::BlockRange;
use common::wire::client::{FileRow, Page, Response};
use common::wire::limits::{List, MAX_FRAME, MAX_PEER_FRAME};
use common::wire::peer::{LeecherFrame, SeederFrame};
use divan::{Bencher, black_box};

#[divan::bench]
fn request_of_a_block(bencher: Bencher) {
    let frame = LeecherFrame::Request { number: 9, block: BlockRange { piece: 3, offset: 65_536, len: 1 << 20 } };
    bencher.bench(|| encode(black_box(&frame), MAX_PEER_FRAME).unwrap());
}

#[divan::bench]
fn announcement_of_a_run(bencher: Bencher) {
    let bytes = encode(&SeederFrame::Run { number: 9, len: 256 << 10 }, MAX_PEER_FRAME).unwrap();
    bencher.bench(|| decode::<SeederFrame>(black_box(&bytes), MAX_PEER_FRAME).unwrap());
}

fn page(rows: usize) -> Response {
    let row = |i: usize| FileRow {
        name: format!("measurement {i}.csv").parse::<FileName>().unwrap(),
        size: 1 << 20,
        file_id: FileId::new([i as u8; 32]),
        uploader: "alice".parse::<UserName>().unwrap(),
        seeders: 2,
    };
    let rows: Vec<FileRow> = (0..rows).map(row).collect();
    Response::Files(Page { rows: List::new(rows).unwrap(), more: false })
}

#[divan::bench]
fn page_of_100_files_out(bencher: Bencher) {
    let page = page(100);
    bencher.bench(|| encode(black_box(&page), MAX_FRAME).unwrap());
}

#[divan::bench]
fn page_of_100_files_in(bencher: Bencher) {
    let bytes = encode(&page(100), MAX_FRAME).unwrap();
    bencher.bench(|| decode::<Response>(black_box(&bytes), MAX_FRAME).unwrap());
}
