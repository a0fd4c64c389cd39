//! One encrypted connection to one tracker, from the dial to its end.
//!
//! Invariant: a [`Link`] exists only after the tracker has shown the expected key and has answered
//! the greeting; before that, nothing of the user's is sent. What is said over it is the hub's
//! business.

use std::io;
use std::time::Duration;

use common::address::HostPort;
use common::connection::{self, ConnectionError, FrameReader, FrameWriter, Step};
use common::task::TaskGroup;
use common::tls::{DeviceKey, Stream, TlsError, TrackerConnector};
use common::wire::client::{Call, ClientFrame, Hello, ServerFrame, VERSION, Welcome};
use common::wire::limits::MAX_FRAME;
use common::wire::refusal::Refusal;
use tokio::io::{BufReader, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::DropGuard;

use super::trust::{Learnt, Trust};
use crate::error::Error;

/// How long a tracker may take to accept the connection.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a tracker may take from there to its welcome.
const GREETING_TIMEOUT: Duration = Duration::from_secs(4);
/// Calls that may wait for the socket.
pub(super) const OUTBOX: usize = 64;
/// Bytes that the reader beneath TLS fetches at once; control messages are small.
const READ_BUFFER: usize = 32 << 10;

type Tls = Stream<BufReader<TcpStream>>;
type Reader = FrameReader<ReadHalf<Tls>, ServerFrame>;
type Writer = FrameWriter<WriteHalf<Tls>, ClientFrame>;

/// Why a tracker could not be reached.
#[derive(Debug, Clone)]
pub enum DialError {
    /// It does not answer, or not as a tracker does. Another attempt may help.
    Unreachable(String),
    /// It answers, and may not be used: an untrusted key, another release.
    Unusable(Error),
}

/// A connection that has been greeted.
pub(super) struct Link {
    reader: Reader,
    writer: Writer,
    /// What the tracker said of itself.
    pub(super) welcome: Welcome,
    /// What its key told us.
    pub(super) learnt: Learnt,
}

impl Link {
    /// Dials the tracker. Dropping the future closes the connection.
    pub(super) async fn dial(address: &HostPort, device: &DeviceKey, trust: &Trust) -> Result<Self, DialError> {
        let socket = timeout(CONNECT_TIMEOUT, address.connect()).await;
        let socket = socket.map_err(|_| silent())?.map_err(|e| DialError::Unreachable(e.to_string()))?;
        timeout(GREETING_TIMEOUT, Self::greet(address, socket, device, trust)).await.map_err(|_| silent())?
    }

    async fn greet(
        address: &HostPort,
        socket: TcpStream,
        device: &DeviceKey,
        trust: &Trust,
    ) -> Result<Self, DialError> {
        let tls = |e| tls_error(address, trust, e);
        socket.set_nodelay(true).map_err(|e| DialError::Unreachable(e.to_string()))?;
        let connector = TrackerConnector::new(device, trust.expectation()).map_err(tls)?;
        let (stream, cluster) = connector.connect(BufReader::with_capacity(READ_BUFFER, socket)).await.map_err(tls)?;
        let learnt = trust.learn(address, &cluster).map_err(DialError::Unusable)?;
        let (mut reader, mut writer): (Reader, Writer) = connection::split(stream, MAX_FRAME);
        writer.send(&ClientFrame::Hello(Hello { version: VERSION })).await.map_err(broken)?;
        let welcome = match reader.next().await.map_err(broken)? {
            Some(ServerFrame::Welcome(welcome)) => welcome,
            Some(ServerFrame::Reply(reply)) => return Err(turned_away(reply.result.err())),
            _ => return Err(DialError::Unreachable("it closed the connection instead of greeting".to_owned())),
        };
        if welcome.version != VERSION {
            return Err(turned_away(Some(Refusal::Version { ours: VERSION, theirs: welcome.version })));
        }
        Ok(Self { reader, writer, welcome, learnt })
    }

    /// Starts to carry calls out; the rest is to be read. When either direction ends, `tasks` are
    /// stopped, and with them the other.
    pub(super) fn start(self, mut calls: mpsc::Receiver<Call>, tasks: TaskGroup) -> Frames {
        let Self { reader, mut writer, .. } = self;
        let stop = tasks.clone();
        // One writer: a frame that has been begun is always finished, whatever the reader does.
        tasks.spawn("tracker writer", async move {
            while let Some(call) = calls.recv().await {
                if writer.send(&ClientFrame::Call(call)).await.is_err() {
                    break;
                }
            }
            let _ = writer.shutdown().await; // The connection ends either way.
            stop.cancel();
        });
        Frames { reader, parts: 0, _ended: tasks.guard(), tasks }
    }
}

/// What comes in on a connection.
pub(super) struct Frames {
    reader: Reader,
    /// How often something was read since the last whole frame.
    parts: u32,
    tasks: TaskGroup,
    _ended: DropGuard,
}

/// What was read.
pub(super) enum Heard {
    /// A frame.
    Frame(Box<ServerFrame>),
    /// Part of a long one.
    Part,
}

impl Frames {
    /// What comes next, or why nothing will. Cancel safe.
    pub(super) async fn next(&mut self) -> Result<Heard, String> {
        loop {
            let step = tokio::select! {
                () = self.tasks.cancelled() => return Err("the connection was closed".to_owned()),
                step = self.reader.step() => step.map_err(reason)?,
            };
            match step {
                Step::Message(frame) => {
                    self.parts = 0;
                    return Ok(Heard::Frame(Box::new(frame)));
                }
                // Most frames are whole when something has been read once.
                Step::Part => {
                    self.parts += 1;
                    if self.parts > 1 {
                        return Ok(Heard::Part);
                    }
                }
                Step::End => return Err("the tracker closed the connection".to_owned()),
            }
        }
    }
}

fn silent() -> DialError {
    DialError::Unreachable("it does not answer in time".to_owned())
}

fn broken(error: ConnectionError) -> DialError {
    DialError::Unreachable(reason(error))
}

/// What a failing connection says, with TLS alerts in words.
fn reason(error: ConnectionError) -> String {
    match error {
        ConnectionError::Io(e) if e.kind() == io::ErrorKind::UnexpectedEof => "the tracker is gone".to_owned(),
        ConnectionError::Io(e) => common::tls::classify(e).to_string(),
        other => other.to_string(),
    }
}

fn turned_away(refusal: Option<Refusal>) -> DialError {
    match refusal {
        Some(refusal @ Refusal::Version { .. }) => DialError::Unusable(refusal.into()),
        Some(refusal) => DialError::Unreachable(refusal.to_string()),
        None => DialError::Unreachable("it answers out of turn".to_owned()),
    }
}

fn tls_error(address: &HostPort, trust: &Trust, error: TlsError) -> DialError {
    match error {
        TlsError::UntrustedCluster { expected, presented } => {
            DialError::Unusable(trust.mismatch(address, expected, presented))
        }
        other => DialError::Unreachable(other.to_string()),
    }
}
