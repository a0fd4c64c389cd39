//! A seeder that is asked over two connections, played by hand over two pipes.

use common::connection::{FrameReader, FrameWriter, split};
use common::pieces::{Bitfield, BlockRange, PieceLayout};
use common::wire::limits::{Bytes, MAX_PEER_FRAME};
use common::wire::peer::{LeecherFrame, SeederFrame};
use tokio::io::{DuplexStream, ReadHalf, WriteHalf, duplex};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::*;
use crate::download::peer::{Event, Fetch, Fetched, FromPeer, Gauge, PeerEnd, ToPeer};
use crate::download::peer_stream::PeerStream;
use crate::download::picker::PeerKey;
use crate::download::striped_peer::fetch_striped;
use crate::transfer::pool::Pool;
use crate::transfer::rate::RateLimits;

const PIECE: u32 = 16 << 10;

fn layout() -> PieceLayout {
    PieceLayout::new(8 * u64::from(PIECE), u64::from(PIECE)).expect("a layout")
}

fn block(piece: u32) -> BlockRange {
    BlockRange { piece, offset: 0, len: PIECE }
}

/// The seeder's end of one connection.
struct End {
    reader: FrameReader<ReadHalf<DuplexStream>, LeecherFrame>,
    writer: FrameWriter<WriteHalf<DuplexStream>, SeederFrame>,
}

impl End {
    fn new(pipe: DuplexStream) -> Self {
        let (reader, writer) = split(pipe, MAX_PEER_FRAME);
        Self { reader, writer }
    }

    async fn heard(&mut self) -> LeecherFrame {
        self.reader.next().await.expect("a frame").expect("not the end")
    }

    async fn say(&mut self, message: SeederFrame) {
        self.writer.send(&message).await.expect("sent");
    }

    async fn greet(&mut self) {
        assert!(matches!(self.heard().await, LeecherFrame::Hello(_)));
        self.say(SeederFrame::Bitfield(Bytes::first_of(Bitfield::full(layout()).as_bytes().to_vec()))).await;
    }

    /// The blocks that are asked for next, by number.
    async fn asked(&mut self, count: usize) -> Vec<(u32, BlockRange)> {
        let mut asked = Vec::new();
        while asked.len() < count {
            match self.heard().await {
                LeecherFrame::Request { number, block } => asked.push((number, block)),
                other => panic!("{other:?}"),
            }
        }
        asked
    }

    async fn give(&mut self, number: u32) {
        self.writer.feed(&SeederFrame::Run { number, len: PIECE }).await.expect("sent");
        self.writer.write_raw(&[number as u8; PIECE as usize]).await.expect("sent");
        self.writer.flush().await.expect("sent");
    }
}

/// The orders and events of the swarm.
struct Stage {
    orders: mpsc::Sender<ToPeer>,
    events: mpsc::Receiver<Event>,
    end: JoinHandle<Option<Fetched<DuplexStream>>>,
    second: Option<oneshot::Sender<DuplexStream>>,
}

impl Stage {
    /// With a first connection that serves.
    async fn new() -> (Self, End) {
        let (ours, theirs) = duplex(256 << 10);
        let (orders, orders_in) = mpsc::channel(16);
        let (events, events_in) = mpsc::channel(16);
        let this = Fetch {
            key: PeerKey(7),
            layout: layout(),
            pool: Pool::new(),
            down: RateLimits::default(),
            gauge: Arc::<Gauge>::default(),
            events,
        };
        let (second, comes) = oneshot::channel();
        let stream = |pipe| PeerStream::new(pipe, Duration::ZERO, false);
        let dial = async move { Ok(stream(comes.await.expect("a second connection"))) };
        let tasks = TaskGroup::new();
        let end = tasks.spawn("fetch", fetch_striped(stream(ours), dial, hello(), this, orders_in, tasks.child()));
        let mut stage = Self { orders, events: events_in, end, second: Some(second) };
        let mut first = End::new(theirs);
        first.greet().await;
        assert!(matches!(stage.event().await, FromPeer::Greeted { .. }));
        assert!(matches!(stage.event().await, FromPeer::Ready { has } if has.is_full()));
        (stage, first)
    }

    /// With two that serve, the second known to.
    async fn two() -> (Self, End, End) {
        let (mut stage, mut first) = Self::new().await;
        let (ours, theirs) = duplex(256 << 10);
        stage.second.take().expect("once").send(ours).expect("wanted");
        let mut second = End::new(theirs);
        second.greet().await;
        // While the first owes a block, the next is asked for on the second, once it is known to serve.
        stage.ask(vec![block(0)]).await;
        let owed = first.asked(1).await[0].0;
        loop {
            stage.ask(vec![block(1)]).await;
            let there = tokio::select! {
                frame = first.heard() => Err(frame),
                frame = second.heard() => Ok(frame),
            };
            match there {
                Ok(LeecherFrame::Request { number, .. }) => {
                    second.give(number).await;
                    first.give(owed).await;
                    stage.blocks(2).await;
                    return (stage, first, second);
                }
                Err(LeecherFrame::Request { number, .. }) => first.give(number).await,
                other => panic!("{other:?}"),
            }
            stage.blocks(1).await;
        }
    }

    async fn ask(&self, blocks: Vec<BlockRange>) {
        self.orders.send(ToPeer::Request(blocks)).await.expect("taken");
    }

    async fn event(&mut self) -> FromPeer {
        let (key, event) = self.events.recv().await.expect("an event");
        assert_eq!(key, PeerKey(7), "to the swarm they are one");
        event
    }

    async fn blocks(&mut self, count: usize) -> Vec<BlockRange> {
        let mut blocks = Vec::new();
        while blocks.len() < count {
            match self.event().await {
                FromPeer::Block(block, _) => blocks.push(block),
                other => panic!("{other:?}"),
            }
        }
        blocks.sort_by_key(|block| block.piece);
        blocks
    }
}

#[tokio::test]
async fn blocks_are_asked_for_where_less_is_under_way() {
    let (mut stage, mut first, mut second) = Stage::two().await;
    stage.ask((0..6).map(block).collect()).await;
    let (one, two) = (first.asked(3).await, second.asked(3).await);
    for ((one, _), (two, _)) in one.into_iter().zip(two) {
        second.give(two).await;
        first.give(one).await;
    }
    assert_eq!(stage.blocks(6).await, (0..6).map(block).collect::<Vec<_>>());
    first.say(SeederFrame::Lost { piece: 2 }).await;
    second.say(SeederFrame::Lost { piece: 3 }).await;
    assert!(matches!(stage.event().await, FromPeer::Lost(p) if p.get() == 2));
    first.say(SeederFrame::Have { piece: 2 }).await;
    assert!(matches!(stage.event().await, FromPeer::Have(_)), "news of pieces count on the first");
}

#[tokio::test]
async fn what_the_second_owes_when_it_ends_is_asked_of_the_first() {
    let (mut stage, mut first, mut second) = Stage::two().await;
    stage.ask((0..4).map(block).collect()).await;
    let (mut asked, owed) = (first.asked(2).await, second.asked(2).await);
    stage.orders.send(ToPeer::Cancel(owed[0].1)).await.expect("taken");
    assert!(matches!(second.heard().await, LeecherFrame::Cancel { number } if number == owed[0].0));
    drop(second);
    assert!(matches!(stage.event().await, FromPeer::Cancelled(b) if b == owed[0].1), "that is not wanted any more");
    asked.extend(first.asked(1).await);
    assert_eq!(asked[2].1, owed[1].1);
    for (number, _) in asked {
        first.give(number).await;
    }
    assert!(!stage.blocks(3).await.contains(&owed[0].1));
    stage.ask(vec![block(7)]).await;
    assert_eq!(first.asked(1).await[0].1, block(7), "it goes on with one");
}

/// The line is dead and nobody says so: the swarm takes back what is owed, and asks anew.
#[tokio::test]
async fn what_a_silent_second_was_asked_for_can_be_asked_of_the_first() {
    let (mut stage, mut first, mut second) = Stage::two().await;
    stage.ask((0..4).map(block).collect()).await;
    let (asked, owed) = (first.asked(2).await, second.asked(2).await);
    for (number, _) in asked {
        first.give(number).await;
    }
    stage.blocks(2).await;
    for (_, block) in &owed {
        stage.orders.send(ToPeer::Cancel(*block)).await.expect("taken");
    }
    let again: Vec<_> = owed.iter().map(|(_, block)| *block).collect();
    stage.ask(again.clone()).await;
    let asked = first.asked(2).await;
    assert_eq!(asked.iter().map(|(_, block)| *block).collect::<Vec<_>>(), again);
    for (number, _) in asked {
        first.give(number).await;
    }
    stage.blocks(2).await;
}

#[tokio::test]
async fn whoever_breaks_the_protocol_on_the_second_is_done_with() {
    let (stage, _first, mut second) = Stage::two().await;
    second.say(SeederFrame::Run { number: 999, len: 1 }).await;
    let (end, _) = stage.end.await.expect("no panic").expect("not cancelled");
    assert!(matches!(end, PeerEnd::Violation(_)), "{end}");
}

#[tokio::test]
async fn the_end_of_the_first_is_the_end_after_what_had_come() {
    let (mut stage, mut first, mut second) = Stage::two().await;
    stage.ask(vec![block(0)]).await;
    let asked = first.asked(1).await;
    first.give(asked[0].0).await;
    drop(first);
    assert_eq!(stage.blocks(1).await, [block(0)]);
    let (end, _) = stage.end.await.expect("no panic").expect("not cancelled");
    assert!(matches!(end, PeerEnd::Lost(_)), "{end}");
    assert!(second.reader.next().await.is_ok_and(|frame| frame.is_none()) || second.reader.next().await.is_err());
}

#[tokio::test]
async fn without_a_second_it_is_as_with_one() {
    let (mut stage, mut first) = Stage::new().await;
    drop(stage.second.take());
    stage.ask((0..4).map(block).collect()).await;
    for (number, _) in first.asked(4).await {
        first.give(number).await;
    }
    stage.blocks(4).await;
    drop(stage.orders);
    assert!(matches!(first.reader.next().await, Ok(None) | Err(_)));
}
