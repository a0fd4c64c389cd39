//! Seeders that lie, stall, break off and break the rules.

use common::connection::split;
use common::id::{DeviceId, FileId, Sha1Digest};
use common::manifest::{Manifest, hash_piece};
use common::pieces::{Bitfield, BlockRange, PieceLayout};
use common::tls::PeerAcceptor;
use common::wire::client::FileInfo;
use common::wire::limits::{Bytes, MAX_PEER_FRAME};
use common::wire::peer::{LeecherFrame, SeederFrame};
use tokio::net::TcpListener;

use super::*;

/// What a hostile seeder does with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Vice {
    /// Sends wrong bytes for this percentage of the pieces.
    Lies(u32),
    /// Sends half of a block, and nothing more.
    Stalls,
    /// Sends half of a block, and hangs up.
    BreaksOff,
    /// Sends more than was asked for.
    Overdoes,
    /// Says that it has everything and refuses every request.
    Refuses,
    /// Loses every piece that it is asked for, as a seeder whose disk cannot read it.
    Loses,
    /// Sends a byte per second.
    Trickles,
    /// Sends bytes that nobody asked for.
    Imposes,
}

/// Serves `bytes` badly; returns its device.
async fn hostile(tracker: &FakeTracker, name: &str, bytes: Arc<Vec<u8>>, layout: PieceLayout, vice: Vice) -> DeviceId {
    let key = DeviceKey::generate().expect("a key");
    let acceptor = PeerAcceptor::new(&key).expect("an acceptor");
    let socket = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    tracker.join(key.id(), name);
    tracker.announce(key.id(), socket.local_addr().expect("an address"));
    let tasks = TaskGroup::new();
    tasks.clone().spawn("hostile", async move {
        while let Ok((stream, _)) = socket.accept().await {
            let (acceptor, bytes) = (acceptor.clone(), Arc::clone(&bytes));
            tasks.spawn("connection", async move {
                let (stream, _) = acceptor.accept(stream).await.expect("a handshake");
                misbehave(stream, &bytes, layout, vice).await;
            });
        }
    });
    key.id()
}

async fn misbehave<S: tokio::io::AsyncRead + tokio::io::AsyncWrite>(
    stream: S,
    bytes: &[u8],
    layout: PieceLayout,
    vice: Vice,
) -> Option<()> {
    let (mut reader, mut writer) = split::<S, LeecherFrame, SeederFrame>(stream, MAX_PEER_FRAME);
    while let Some(message) = reader.next().await.ok()? {
        match message {
            LeecherFrame::Hello(_) => {
                let all = Bytes::first_of(Bitfield::full(layout).as_bytes().to_vec());
                writer.send(&SeederFrame::Bitfield(all)).await.ok()?;
            }
            LeecherFrame::Request { number, block } => {
                let mut answer = part(bytes, layout, block);
                match vice {
                    Vice::Lies(percentage) if block.piece * 37 % 100 < percentage => answer[0] ^= 1,
                    Vice::Lies(_) | Vice::Trickles => {}
                    Vice::Imposes => {
                        writer.send(&SeederFrame::Run { number: number + 1000, len: 1 }).await.ok()?;
                        writer.write_raw(&[7]).await.ok()?;
                        writer.flush().await.ok()?;
                    }
                    Vice::Overdoes => answer.push(0),
                    Vice::Stalls | Vice::BreaksOff => answer.truncate(answer.len() / 2 + 1),
                    Vice::Loses => {
                        writer.send(&SeederFrame::Lost { piece: block.piece }).await.ok()?;
                        writer.send(&SeederFrame::Cancelled { number }).await.ok()?;
                        continue;
                    }
                    Vice::Refuses => {
                        writer.send(&SeederFrame::Cancelled { number }).await.ok()?;
                        continue;
                    }
                }
                if vice == Vice::Trickles {
                    writer.feed(&SeederFrame::Run { number, len: answer.len() as u32 }).await.ok()?;
                    for byte in answer.chunks(1) {
                        writer.write_raw(byte).await.ok()?;
                        writer.flush().await.ok()?;
                        tokio::time::sleep(Duration::from_secs(1)).await;
                    }
                    continue;
                }
                for run in answer.chunks(100_000) {
                    writer.feed(&SeederFrame::Run { number, len: run.len() as u32 }).await.ok()?;
                    writer.write_raw(run).await.ok()?;
                }
                writer.flush().await.ok()?;
                match vice {
                    Vice::Stalls => std::future::pending::<()>().await,
                    Vice::BreaksOff => return None,
                    _ => {}
                }
            }
            _ => {}
        }
    }
    Some(())
}

fn part(bytes: &[u8], layout: PieceLayout, block: BlockRange) -> Vec<u8> {
    let at = layout.position(block) as usize;
    bytes[at..at + block.len as usize].to_vec()
}

pub(super) struct Case {
    pub(super) tracker: FakeTracker,
    pub(super) bob: Device,
    pub(super) bytes: Arc<Vec<u8>>,
    pub(super) layout: PieceLayout,
    pub(super) file_id: FileId,
}

impl Case {
    /// A file that is published and seeded by nobody yet, and somebody who wants it.
    pub(super) async fn new(len: usize) -> Self {
        let tracker = FakeTracker::new();
        let bytes = Arc::new(content(len));
        let layout = PieceLayout::new(len as u64, 16 << 10).expect("a layout");
        let file_id = FileId::new(*blake3::hash(&bytes).as_bytes());
        let bob = Device::new(&tracker, "bob").await;
        let case = Self { tracker, bob, bytes, layout, file_id };
        case.publish();
        case
    }

    fn publish(&self) {
        let hash = |p| {
            let r = self.layout.range(p);
            hash_piece(self.layout, p, &self.bytes[r.start as usize..r.end as usize])
        };
        let pieces: Vec<_> = self.layout.pieces().map(hash).collect();
        let info = FileInfo {
            group_id: self.tracker.group_id(),
            name: "file".parse().expect("a name"),
            file_id: self.file_id,
            layout: self.layout,
            sha1: Sha1Digest::new([0; 20]),
            uploader: "alice".parse().expect("a name"),
        };
        self.tracker.publish(info, pieces);
    }

    pub(super) async fn add(&self, name: &str, vice: Vice) -> DeviceId {
        let device = hostile(&self.tracker, name, Arc::clone(&self.bytes), self.layout, vice).await;
        self.tracker.seeds(device, self.file_id);
        device
    }

    pub(super) async fn add_honest(&self) -> Device {
        let alice = Device::new(&self.tracker, "alice").await;
        let path = alice.files().join("file");
        fs::write(&path, &*self.bytes).expect("written");
        alice
            .shares
            .upload(&path, FakeTracker::group(), None, Some(self.layout.piece_len()), |_| ())
            .await
            .expect("uploaded");
        alice
    }

    pub(super) async fn fetched(&self) -> Downloaded {
        let done = tokio::time::timeout(Duration::from_secs(60), self.bob.fetch("file")).await;
        let done = done.expect("in time").expect("downloaded");
        assert_eq!(fs::read(&done.path).expect("read"), **self.bytes);
        done
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn liars_are_dropped_and_the_file_is_right() {
    for percentage in [1, 5, 50, 100] {
        let case = Case::new(4 << 20).await;
        let liar = case.add("mallory", Vice::Lies(percentage)).await;
        if percentage >= 50 {
            // Alone, it is asked for all 128 pieces, and caught before somebody honest comes.
            let id = case.bob.begin("file").await.expect("begun");
            let progress = case.bob.downloads.watch(id).expect("there");
            let caught = |p: &PeerProgress| p.device == liar && p.note.is_some();
            until("it is caught", || progress.borrow().peers.iter().any(caught)).await;
        }
        let _alice = case.add_honest().await;
        let done = case.fetched().await;
        assert_eq!(done.peers.iter().map(|p| p.bytes).sum::<u64>(), case.bytes.len() as u64, "{:?}", done.peers);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn seeders_that_break_off_overdo_or_refuse_are_replaced() {
    for vice in [Vice::BreaksOff, Vice::Overdoes, Vice::Refuses, Vice::Loses, Vice::Imposes] {
        let case = Case::new(2 << 20).await;
        case.add("mallory", vice).await;
        case.add("trudy", vice).await;
        let _alice = case.add_honest().await;
        case.fetched().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seeder_that_stalls_or_trickles_does_not_hold_up_the_others() {
    for vice in [Vice::Stalls, Vice::Trickles] {
        let case = Case::new(8 << 20).await;
        case.add("mallory", vice).await;
        let id = case.bob.begin("file").await.expect("begun");
        let progress = case.bob.downloads.watch(id).expect("there");
        until("it is asked", || progress.borrow().state == State::Downloading).await;
        let _alice = case.add_honest().await;
        case.fetched().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_lies_about_sha1_is_an_integrity_error() {
    let case = Case::new(100_000).await;
    case.tracker.publish_again(case.file_id, |pieces| pieces[2].sha1 = Sha1Digest::new([9; 20]));
    case.add("alice", Vice::Lies(0)).await;
    let error = case.bob.fetch("file").await.expect_err("never");
    assert_eq!(error.code(), "integrity");
    assert_eq!(case.bob.downloads.list()[0].progress.state, State::Failed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_of_another_content_is_refused() {
    let case = Case::new(100_000).await;
    case.tracker.publish_again(case.file_id, |pieces| pieces[2].chain[0] ^= 1);
    assert_eq!(case.bob.begin("file").await.expect_err("refused").code(), "integrity");
    assert_eq!(leftovers(&case.bob.files()).len(), 0);
}

#[test]
fn verdicts_do_not_depend_on_how_a_piece_was_cut() {
    use super::super::verify::{RawPiece, Rejected, verify};
    let bytes = content(40_000);
    let layout = PieceLayout::new(40_000, 16 << 10).expect("a layout");
    let pieces = layout.pieces().map(|p| {
        let r = layout.range(p);
        hash_piece(layout, p, &bytes[r.start as usize..r.end as usize])
    });
    let manifest = Manifest::of_hashed(layout, Sha1Digest::new([0; 20]), pieces.collect()).expect("a manifest");
    let piece = layout.piece(1).expect("a piece");
    let pool = crate::transfer::pool::Pool::new();
    let cut = |flip: Option<usize>| {
        let mut whole = bytes[16 << 10..32 << 10].to_vec();
        flip.into_iter().for_each(|at| whole[at] ^= 1);
        let parts = whole.chunks(5000).map(|c| {
            let mut buffer = pool.take(c.len());
            buffer.copy_from_slice(c);
            buffer
        });
        verify(&manifest, RawPiece { piece, parts: parts.collect() }).map(|v| v.piece())
    };
    assert_eq!(cut(None), Ok(piece));
    assert!((0..16 << 10).step_by(997).all(|at| cut(Some(at)) == Err(Rejected::Bad)));
}
