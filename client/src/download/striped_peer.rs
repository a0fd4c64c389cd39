//! One seeder over two connections, as one peer to the swarm.
//!
//! A connection is one task at either end, which encrypts or decrypts on one core. With several seeders that does not
//! matter; a lone one is asked over two. Each block is asked for where less is under way. What the seeder says of
//! pieces counts on the first connection, and when that ends, all ends. Invariant: whatever was asked for on the
//! second is answered, or asked for on the first when the second ends.

use std::collections::HashMap;
use std::pin::pin;

use common::pieces::BlockRange;
use common::task::TaskGroup;
use common::ticket::{Signed, Ticket};
use common::wire::peer::Hello;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

use super::peer::{Event, Fetch, Fetched, FromPeer, PeerEnd, ToPeer, fetch};
use super::peer_stream::PeerStream;
use super::picker::PeerKey;

const FIRST: PeerKey = PeerKey(1);
const SECOND: PeerKey = PeerKey(2);
const DEAF: PeerEnd = PeerEnd::Violation("it does not read what it is sent");
/// Events that a connection may be ahead of us.
const EVENTS: usize = 64;
/// Orders that we may be ahead of a connection.
const ORDERS: usize = 256;

/// Fetches over `first` what `orders` ask for, and over what `dial` connects to as soon as the seeder serves us, until
/// the orders end or the first connection does.
pub(crate) async fn fetch_striped<S, D>(
    first: PeerStream<S>,
    dial: D,
    hello: Hello,
    this: Fetch,
    mut orders: mpsc::Receiver<ToPeer>,
    tasks: TaskGroup,
) -> Fetched<S>
where
    S: AsyncRead + AsyncWrite + Send + 'static,
    D: Future<Output = Result<PeerStream<S>, PeerEnd>> + Send + 'static,
{
    let _guard = tasks.guard();
    let (events, mut heard) = mpsc::channel(EVENTS);
    let strand = |key| Fetch { key, events: events.clone(), ..this.clone() };
    let (say, said) = mpsc::channel(ORDERS);
    let mut end = pin!(fetch(first, hello.clone(), strand(FIRST), said));
    let mut dial = Some(dial);
    let mut striped_peer = Strands { first: Some(Strand::new(say)), second: None, ticket: None };
    let tell = async |event| drop(this.events.send((this.key, event)).await);
    loop {
        tokio::select! {
            end = &mut end => {
                while let Ok((_, event)) = heard.try_recv() {
                    if let FromPeer::Block(..) | FromPeer::Cancelled(_) = event {
                        tell(event).await;
                    }
                }
                return end;
            }
            order = orders.recv(), if striped_peer.first.is_some() => match order {
                Some(order) => if !striped_peer.pass_on(order) {
                    return (DEAF, None);
                }
                // The first ends by itself when nothing more can be ordered of it.
                None => striped_peer = Strands::default(),
            },
            Some((key, event)) = heard.recv() => {
                if let (FIRST, FromPeer::Ready { .. }) = (key, &event)
                    && let Some(dial) = dial.take()
                {
                    let (say, said) = mpsc::channel(ORDERS);
                    striped_peer.second = Some(Second { strand: Strand::new(say), serves: false });
                    let (hello, this) = (hello.clone(), strand(SECOND));
                    tasks.spawn("fetch", second(dial, hello, this, said));
                }
                match striped_peer.hear(key, event) {
                    Ok(news) => for event in news {
                        tell(event).await;
                    },
                    Err(end) => return (end, None),
                }
            }
        }
    }
}

async fn second<S, D>(dial: D, hello: Hello, this: Fetch, orders: mpsc::Receiver<ToPeer>)
where
    S: AsyncRead + AsyncWrite,
    D: Future<Output = Result<PeerStream<S>, PeerEnd>>,
{
    let (key, events) = (this.key, this.events.clone());
    let end = match dial.await {
        Ok(stream) => fetch(stream, hello, this, orders).await.0,
        Err(end) => end,
    };
    let _: Result<(), mpsc::error::SendError<Event>> = events.send((key, FromPeer::Ended(end))).await;
}

/// The connections, as far as orders go.
#[derive(Default)]
struct Strands {
    /// `None` once nothing more will be ordered.
    first: Option<Strand>,
    second: Option<Second>,
    /// The newest ticket, if the one of the hello was renewed.
    ticket: Option<Signed<Ticket>>,
}

struct Second {
    strand: Strand,
    serves: bool,
}

/// One connection, and what is under way on it.
struct Strand {
    orders: mpsc::Sender<ToPeer>,
    owed: HashMap<BlockRange, Owed>,
    bytes: u64,
}

/// How often a block was asked for and not answered, and how many of those were cancelled.
#[derive(Default)]
struct Owed {
    asked: u32,
    cancelled: u32,
}

impl Strand {
    fn new(orders: mpsc::Sender<ToPeer>) -> Self {
        Self { orders, owed: HashMap::new(), bytes: 0 }
    }

    fn order(&self, order: ToPeer) -> bool {
        self.orders.try_send(order).is_ok()
    }

    fn ask(&mut self, blocks: Vec<BlockRange>) -> bool {
        for block in &blocks {
            self.owed.entry(*block).or_default().asked += 1;
            self.bytes += u64::from(block.len);
        }
        blocks.is_empty() || self.order(ToPeer::Request(blocks))
    }

    /// Whether `block` is to come on this one.
    fn owes(&self, block: &BlockRange) -> bool {
        self.owed.get(block).is_some_and(|owed| owed.asked > owed.cancelled)
    }

    fn cancel(&mut self, block: BlockRange) -> bool {
        if let Some(owed) = self.owed.get_mut(&block) {
            owed.cancelled += 1;
        }
        self.order(ToPeer::Cancel(block))
    }

    fn answered(&mut self, block: &BlockRange, refused: bool) {
        if let Some(owed) = self.owed.get_mut(block) {
            self.bytes = self.bytes.saturating_sub(u64::from(block.len));
            owed.asked -= 1;
            owed.cancelled = owed.cancelled.saturating_sub(u32::from(refused)).min(owed.asked);
            if owed.asked == 0 {
                self.owed.remove(block);
            }
        }
    }
}

impl Strands {
    /// Passes an order on; `false` if the first connection does not keep up with its orders. If the second does not,
    /// it is about to end, and the first will be asked.
    fn pass_on(&mut self, order: ToPeer) -> bool {
        let Self { first: Some(first), second, ticket } = self else { return true };
        let mut second = second.as_mut().filter(|second| second.serves).map(|second| &mut second.strand);
        match order {
            ToPeer::Request(blocks) => {
                let (mut here, mut there) = (first.bytes, second.as_ref().map_or(u64::MAX, |second| second.bytes));
                let (two, one) = blocks.into_iter().partition(|block| {
                    let to_second = there < here;
                    *if to_second { &mut there } else { &mut here } += u64::from(block.len);
                    to_second
                });
                if let Some(second) = second {
                    second.ask(two);
                }
                first.ask(one)
            }
            ToPeer::Cancel(block) => match second.filter(|second| second.owes(&block)) {
                Some(second) => {
                    second.cancel(block);
                    true
                }
                None => first.cancel(block),
            },
            ToPeer::Renew(renewed) => {
                *ticket = Some(renewed.clone());
                if let Some(second) = &mut second {
                    second.order(ToPeer::Renew(renewed.clone()));
                }
                first.order(ToPeer::Renew(renewed))
            }
            ToPeer::Revoked(revocation) => {
                if let Some(second) = &mut second {
                    second.order(ToPeer::Revoked(revocation.clone()));
                }
                first.order(ToPeer::Revoked(revocation))
            }
        }
    }

    /// What the swarm is to hear of what a connection says.
    fn hear(&mut self, key: PeerKey, event: FromPeer) -> Result<Vec<FromPeer>, PeerEnd> {
        let second = self.second.as_mut().filter(|_| key == SECOND);
        match (&event, second) {
            (FromPeer::Ready { .. }, Some(second)) => {
                second.serves = true;
                if let Some(ticket) = &self.ticket {
                    second.strand.order(ToPeer::Renew(ticket.clone()));
                }
                return Ok(Vec::new());
            }
            (FromPeer::Greeted { .. } | FromPeer::Have(_) | FromPeer::Lost(_), Some(_)) => return Ok(Vec::new()),
            (FromPeer::Ended(_), _) => return self.second_ended(event),
            (FromPeer::Block(block, _), Some(second)) => second.strand.answered(block, false),
            (FromPeer::Cancelled(block), Some(second)) => second.strand.answered(block, true),
            (FromPeer::Block(block, _), None) => {
                self.first.iter_mut().for_each(|first| first.answered(block, false));
            }
            (FromPeer::Cancelled(block), None) => {
                self.first.iter_mut().for_each(|first| first.answered(block, true));
            }
            (FromPeer::Greeted { .. } | FromPeer::Ready { .. } | FromPeer::Have(_) | FromPeer::Lost(_), None) => {}
        }
        Ok(vec![event])
    }

    /// Without the second it goes on as before, unless the seeder broke the protocol there.
    fn second_ended(&mut self, event: FromPeer) -> Result<Vec<FromPeer>, PeerEnd> {
        if let FromPeer::Ended(end @ PeerEnd::Violation(_)) = event {
            return Err(end);
        }
        let Some((second, first)) = self.second.take().zip(self.first.as_mut()) else { return Ok(Vec::new()) };
        let (mut again, mut cancelled) = (Vec::new(), Vec::new());
        for (block, owed) in second.strand.owed {
            again.extend((owed.cancelled < owed.asked).then_some(block));
            cancelled.extend((0..owed.cancelled).map(|_| FromPeer::Cancelled(block)));
        }
        if first.ask(again) { Ok(cancelled) } else { Err(DEAF) }
    }
}
