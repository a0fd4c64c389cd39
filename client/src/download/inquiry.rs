//! Asking seeders how much of a file they have: each is dialled, greeted with a ticket, and let go once it has said so.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use common::id::{DeviceId, FileId, GroupId};
use common::pieces::{Bitfield, PieceLayout};
use common::ticket::{Signed, Ticket};
use common::wire::client::{PeerRow, ProbeOutcome};
use common::wire::peer::{Hello, LeecherFrame, SeederFrame, VERSION};
use futures::StreamExt;
use tokio::time::{Instant, timeout, timeout_at};

use super::Downloads;
use super::peer::PeerEnd;
use super::peer_stream::{PeerStream, Socket, dial};

/// Seeders that are asked at a time.
const AT_ONCE: usize = 16;
/// How long one may take to be reached and to answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long all of them may take together.
const PATIENCE_WITH_ALL: Duration = Duration::from_secs(6);

/// Which file is asked about, and what entitles us to an answer.
pub struct Inquiry {
    /// Where.
    pub group: GroupId,
    /// Its content.
    pub file_id: FileId,
    /// How it is cut.
    pub layout: PieceLayout,
    /// Ours, for the group.
    pub ticket: Signed<Ticket>,
}

/// What a seeder said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeederAnswer {
    /// Who.
    pub peer: PeerRow,
    /// How many pieces it has; or why that is not known.
    pub pieces: Result<u32, String>,
}

/// How long a device that is dialled for others may take to show its key: less than the tracker waits for the answer.
const KNOCK: Duration = Duration::from_secs(2);

impl Downloads {
    /// Whether `device` answers at `address`: connects, has it show its key, and leaves.
    pub async fn knock(&self, address: SocketAddr, device: DeviceId) -> ProbeOutcome {
        match timeout(KNOCK, dial(&self.0.ground.connector, address, device)).await {
            Ok(Ok(_)) => ProbeOutcome::Reached,
            Ok(Err(PeerEnd::Unreachable(e))) => match e.kind() {
                io::ErrorKind::ConnectionRefused => ProbeOutcome::Refused,
                io::ErrorKind::TimedOut => ProbeOutcome::Silent,
                // Something was there, and did not go on.
                io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
                    ProbeOutcome::Other
                }
                _ => ProbeOutcome::Unreachable,
            },
            Ok(Err(_)) => ProbeOutcome::Other,
            Err(_) => ProbeOutcome::Silent,
        }
    }

    /// Asks each of `peers`, in their order. Takes at most a few seconds, whoever does not answer.
    pub async fn ask(&self, inquiry: &Inquiry, peers: Vec<PeerRow>) -> Vec<SeederAnswer> {
        let last = Instant::now() + PATIENCE_WITH_ALL;
        let ask = |(at, peer): (usize, PeerRow)| async move {
            let began = Instant::now();
            let pieces = match timeout_at(last.min(began + PATIENCE), self.ask_one(inquiry, &peer)).await {
                Ok(Ok(pieces)) => Ok(pieces),
                Ok(Err(end)) => Err(end.to_string()),
                Err(_) if began >= last => Err("it was not asked: others took too long to answer".to_owned()),
                Err(_) => Err("it does not answer".to_owned()),
            };
            (at, SeederAnswer { peer, pieces })
        };
        // A slow one does not keep the next ones from being asked.
        let peers = peers.into_iter().enumerate();
        let mut answers: Vec<_> = futures::stream::iter(peers.map(ask)).buffer_unordered(AT_ONCE).collect().await;
        answers.sort_by_key(|(at, _)| *at);
        answers.into_iter().map(|(_, answer)| answer).collect()
    }

    async fn ask_one(&self, inquiry: &Inquiry, peer: &PeerRow) -> Result<u32, PeerEnd> {
        let ground = &self.0.ground;
        let rested = ground.idle.take(peer.device, peer.address).await;
        let mut stream = match rested {
            Some(stream) => stream,
            None => dial(&ground.connector, peer.address, peer.device).await?,
        };
        let has = bitfield(&mut stream, inquiry).await?;
        if stream.serves_again && stream.rest().await.is_ok() {
            ground.idle.keep(peer.device, peer.address, stream, &ground.tasks);
        }
        Ok(has.ones())
    }
}

async fn bitfield(stream: &mut PeerStream<Socket>, inquiry: &Inquiry) -> Result<Bitfield, PeerEnd> {
    let Inquiry { group, file_id, layout, ticket } = inquiry;
    let hello = Hello { version: VERSION, group: *group, file_id: *file_id, ticket: ticket.clone() };
    stream.writer.send(&LeecherFrame::Hello(hello)).await?;
    loop {
        return match stream.reader.next().await? {
            Some(SeederFrame::Bitfield(bytes)) => {
                Bitfield::from_bytes(*layout, &bytes).ok_or(PeerEnd::Violation("a bitfield that does not fit the file"))
            }
            // News of the file before.
            Some(SeederFrame::Have { .. } | SeederFrame::Lost { .. }) if stream.is_used => continue,
            Some(SeederFrame::Goodbye(goodbye)) => Err(PeerEnd::Goodbye(goodbye)),
            Some(_) => Err(PeerEnd::Violation("something else before its bitfield")),
            None => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
        };
    }
}
