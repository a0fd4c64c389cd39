//! The leecher's end of a connection, against a seeder that is played by hand over a pipe.

use common::connection::{FrameReader, FrameWriter, split};
use common::pieces::{Bitfield, BlockRange, PieceLayout};
use common::wire::limits::{Bytes, MAX_PEER_FRAME, MAX_RUN};
use common::wire::peer::{Goodbye, LeecherFrame, SeederFrame};
use tokio::io::{DuplexStream, ReadHalf, WriteHalf, duplex};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::*;
use crate::download::peer::{Event, Fetch, Fetched, FromPeer, Gauge, PeerEnd, ToPeer, fetch};
use crate::download::peer_stream::PeerStream;
use crate::download::picker::PeerKey;
use crate::transfer::pool::Pool;
use crate::transfer::rate::RateLimit;

const PIECE: u32 = 1 << 20;

fn layout() -> PieceLayout {
    PieceLayout::new(3 * u64::from(PIECE) + 5, u64::from(PIECE)).expect("a layout")
}

fn block(piece: u32, len: u32) -> BlockRange {
    BlockRange { piece, offset: 0, len }
}

/// A connection with us in the middle: the orders and events of the swarm, the frames of the seeder.
struct Stage {
    reader: FrameReader<ReadHalf<DuplexStream>, LeecherFrame>,
    writer: FrameWriter<WriteHalf<DuplexStream>, SeederFrame>,
    orders: mpsc::Sender<ToPeer>,
    events: mpsc::Receiver<Event>,
    gauge: Arc<Gauge>,
    end: JoinHandle<Option<Fetched<DuplexStream>>>,
}

impl Stage {
    fn new() -> Self {
        Self::with(RateLimit::default())
    }

    fn with(down: RateLimit) -> Self {
        let (ours, theirs) = duplex(64 << 10);
        let stage = Self::over(PeerStream::new(ours, Duration::from_millis(1), true), down);
        let (reader, writer) = split(theirs, MAX_PEER_FRAME);
        Self { reader, writer, ..stage }
    }

    /// The seeder's end is somebody else's.
    fn over(stream: PeerStream<DuplexStream>, down: RateLimit) -> Self {
        let (orders, orders_in) = mpsc::channel(16);
        let (events, events_in) = mpsc::channel(16);
        let gauge: Arc<Gauge> = Arc::default();
        let this = Fetch {
            key: PeerKey(7),
            layout: layout(),
            pool: Pool::new(),
            down: down.into(),
            gauge: Arc::clone(&gauge),
            events,
        };
        let end = TaskGroup::new().spawn("fetch", fetch(stream, hello(), this, orders_in));
        let (reader, writer) = split(duplex(1).0, MAX_PEER_FRAME);
        Self { reader, writer, orders, events: events_in, gauge, end }
    }

    /// Greeted, and known to have everything.
    async fn ready() -> Self {
        Self::limited(RateLimit::default()).await
    }

    async fn limited(down: RateLimit) -> Self {
        let mut stage = Self::with(down);
        assert!(matches!(stage.heard().await, LeecherFrame::Hello(_)));
        assert!(matches!(stage.event().await, FromPeer::Greeted { .. }));
        stage.answer().await;
        stage
    }

    /// The seeder has everything.
    async fn answer(&mut self) {
        self.say(SeederFrame::Bitfield(Bytes::first_of(Bitfield::full(layout()).as_bytes().to_vec()))).await;
        assert!(matches!(self.event().await, FromPeer::Ready { has } if has.is_full()));
    }

    async fn heard(&mut self) -> LeecherFrame {
        self.reader.next().await.expect("a frame").expect("not the end")
    }

    async fn say(&mut self, message: SeederFrame) {
        self.writer.send(&message).await.expect("sent");
    }

    async fn run(&mut self, number: u32, bytes: &[u8]) {
        self.writer.feed(&SeederFrame::Run { number, len: bytes.len() as u32 }).await.expect("sent");
        self.writer.write_raw(bytes).await.expect("sent");
        self.writer.flush().await.expect("sent");
    }

    async fn event(&mut self) -> FromPeer {
        self.events.recv().await.expect("an event").1
    }

    /// The number under which `block` is asked for.
    async fn ask(&mut self, block: BlockRange) -> u32 {
        self.orders.send(ToPeer::Request(vec![block])).await.expect("taken");
        match self.heard().await {
            LeecherFrame::Request { number, block: asked } if asked == block => number,
            other => panic!("{other:?}"),
        }
    }

    async fn ends(self) -> PeerEnd {
        self.fetched().await.0
    }

    async fn fetched(self) -> Fetched<DuplexStream> {
        // Kept open: the end must come from what was said, not from the line.
        let Self { end, reader, writer, .. } = self;
        let end = tokio::time::timeout(Duration::from_secs(5), end)
            .await
            .expect("in time")
            .expect("no panic")
            .expect("not cancelled");
        drop((reader, writer));
        end
    }

    /// Lets the orders end.
    fn no_more(&mut self) {
        self.orders = mpsc::channel(1).0;
    }
}

/// Over a long line, the answer to the greeting is a round trip in which nothing would be asked for.
#[tokio::test]
async fn the_first_requests_go_out_before_the_seeder_has_said_what_it_has() {
    let mut stage = Stage::new();
    assert!(matches!(stage.heard().await, LeecherFrame::Hello(_)));
    assert!(matches!(stage.event().await, FromPeer::Greeted { .. }));
    let (first, second) = (stage.ask(block(0, 5)).await, stage.ask(block(1, 5)).await);
    stage.answer().await;
    stage.say(SeederFrame::Cancelled { number: first }).await;
    assert!(matches!(stage.event().await, FromPeer::Cancelled(b) if b == block(0, 5)), "it has not got it after all");
    stage.run(second, b"12345").await;
    assert!(matches!(stage.event().await, FromPeer::Block(b, _) if b == block(1, 5)));
}

#[tokio::test]
async fn a_connection_on_which_nothing_is_under_way_is_left_for_the_next_file() {
    let mut stage = Stage::ready().await;
    let number = stage.ask(block(1, 5)).await;
    stage.run(number, b"12345").await;
    assert!(matches!(stage.event().await, FromPeer::Block(..)));
    stage.no_more();
    assert_eq!(stage.heard().await, LeecherFrame::Rest);
    stage.say(SeederFrame::Have { piece: 2 }).await;
    let Stage { end, mut reader, mut writer, .. } = stage;
    let (_, left) = end.await.expect("no panic").expect("not cancelled");
    let mut again = Stage::over(left.expect("the connection"), RateLimit::default());
    assert!(matches!(reader.next().await, Ok(Some(LeecherFrame::Hello(_)))));
    assert!(matches!(again.event().await, FromPeer::Greeted { .. }));
    writer.send(&SeederFrame::Lost { piece: 1 }).await.expect("sent");
    writer.send(&SeederFrame::Bitfield(Bytes::first_of(vec![0x80]))).await.expect("sent");
    let first = layout().piece(0).expect("a piece");
    let event = again.event().await;
    assert!(matches!(event, FromPeer::Ready { has } if has.ones() == 1 && has.has(first)), "not the file before");
}

#[tokio::test]
async fn a_connection_that_owes_something_or_whose_seeder_knows_no_rest_is_closed() {
    let mut stage = Stage::ready().await;
    stage.ask(block(1, 5)).await;
    stage.no_more();
    assert!(stage.fetched().await.1.is_none(), "a block is under way");
    let mut stage = Stage::new();
    stage.no_more();
    assert!(stage.fetched().await.1.is_none(), "the greeting is not answered");
    let (ours, _theirs) = duplex(64 << 10);
    let mut stage = Stage::over(PeerStream::new(ours, Duration::from_millis(1), false), RateLimit::default());
    stage.no_more();
    assert!(stage.end.await.expect("no panic").expect("not cancelled").1.is_none(), "it is of the first release");
}

#[tokio::test]
async fn blocks_come_in_runs_and_in_any_order() {
    let mut stage = Stage::ready().await;
    let bytes = content(PIECE as usize);
    let (first, second) = (stage.ask(block(0, PIECE)).await, stage.ask(block(1, 5)).await);
    stage.run(first, &bytes[..MAX_RUN as usize]).await;
    stage.run(second, b"12345").await;
    assert!(matches!(stage.event().await, FromPeer::Block(b, bytes) if b == block(1, 5) && *bytes == *b"12345"));
    for run in bytes[MAX_RUN as usize..].chunks(MAX_RUN as usize) {
        stage.run(first, run).await;
    }
    assert!(matches!(stage.event().await, FromPeer::Block(b, got) if b == block(0, PIECE) && *got == *bytes));
    assert_eq!(stage.gauge.received.load(std::sync::atomic::Ordering::Relaxed), u64::from(PIECE) + 5);
}

#[tokio::test]
async fn news_and_farewells_are_passed_on() {
    let mut stage = Stage::ready().await;
    stage.say(SeederFrame::Lost { piece: 2 }).await;
    assert!(matches!(stage.event().await, FromPeer::Lost(p) if p.get() == 2));
    stage.say(SeederFrame::Have { piece: 2 }).await;
    assert!(matches!(stage.event().await, FromPeer::Have(p) if p.get() == 2));
    stage.say(SeederFrame::Goodbye(Goodbye::Revoked)).await;
    assert!(matches!(stage.ends().await, PeerEnd::Goodbye(Goodbye::Revoked)));
}

#[tokio::test]
async fn a_block_can_be_asked_for_again_before_its_cancellation_is_answered() {
    let mut stage = Stage::ready().await;
    let first = stage.ask(block(0, 4)).await;
    stage.orders.send(ToPeer::Cancel(block(0, 4))).await.expect("taken");
    assert!(matches!(stage.heard().await, LeecherFrame::Cancel { number } if number == first));
    let second = stage.ask(block(0, 4)).await;
    assert_ne!(first, second);
    stage.say(SeederFrame::Cancelled { number: first }).await;
    assert!(matches!(stage.event().await, FromPeer::Cancelled(b) if b == block(0, 4)));
    stage.run(second, b"late").await;
    assert!(matches!(stage.event().await, FromPeer::Block(_, bytes) if *bytes == *b"late"));
}

#[tokio::test]
async fn every_breach_ends_the_connection() {
    let nothing_asked = [
        SeederFrame::Run { number: 1, len: 1 },
        SeederFrame::Cancelled { number: 1 },
        SeederFrame::Have { piece: 4 },
        SeederFrame::Lost { piece: u32::MAX },
        SeederFrame::Bitfield(Bytes::first_of(vec![0xf0])),
    ];
    for breach in nothing_asked {
        let mut stage = Stage::ready().await;
        stage.say(breach.clone()).await;
        assert!(matches!(stage.ends().await, PeerEnd::Violation(_)), "{breach:?}");
    }
    for len in [0, 6, MAX_RUN + 1, u32::MAX] {
        let mut stage = Stage::ready().await;
        let number = stage.ask(block(1, 5)).await;
        stage.say(SeederFrame::Run { number, len }).await;
        assert!(matches!(stage.ends().await, PeerEnd::Violation(_)), "{len} of 5 bytes");
    }
    let mut stage = Stage::ready().await;
    let number = stage.ask(block(1, 5)).await;
    stage.run(number, b"12345").await;
    stage.say(SeederFrame::Run { number, len: 1 }).await;
    assert!(matches!(stage.ends().await, PeerEnd::Violation(_)), "more than was asked for");
}

#[tokio::test]
async fn a_bad_greeting_ends_the_connection() {
    for bits in [vec![], vec![0xff], vec![0xf0, 0], vec![0; 1 << 15]] {
        let mut stage = Stage::new();
        stage.say(SeederFrame::Bitfield(Bytes::first_of(bits.clone()))).await;
        assert!(matches!(stage.ends().await, PeerEnd::Violation(_)), "{bits:?}");
    }
    let mut stage = Stage::new();
    stage.say(SeederFrame::Have { piece: 0 }).await;
    assert!(matches!(stage.ends().await, PeerEnd::Violation(_)));
    let mut stage = Stage::new();
    stage.say(SeederFrame::Goodbye(Goodbye::Busy)).await;
    assert!(matches!(stage.ends().await, PeerEnd::Goodbye(Goodbye::Busy)));
}

#[tokio::test(start_paused = true)]
async fn a_seeder_that_never_answers_is_given_up() {
    let stage = Stage::new();
    let Stage { end, reader, writer, .. } = stage;
    let (end, _) = tokio::time::timeout(Duration::from_secs(60), end)
        .await
        .expect("given up")
        .expect("no panic")
        .expect("not cancelled");
    assert!(matches!(end, PeerEnd::Lost(_)));
    drop((reader, writer));
}

#[tokio::test(start_paused = true)]
async fn it_shows_when_our_own_limit_holds_it_back() {
    let limit = RateLimit::new(std::num::NonZeroU64::new(1000));
    let mut stage = Stage::limited(limit).await;
    let held_back = |stage: &Stage| stage.gauge.held_back.load(std::sync::atomic::Ordering::Relaxed);
    let number = stage.ask(block(0, 100_000)).await;
    assert!(!held_back(&stage));
    stage.run(number, &[7; 100_000]).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(held_back(&stage), "100 s worth have come");
    assert!(matches!(stage.event().await, FromPeer::Block(..)));
    assert!(!held_back(&stage));
}
