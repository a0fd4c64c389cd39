//! Connections of the load: the real protocol over TLS, without what a client does besides.
//!
//! A frame that is asked again and again is encoded once. Of its answers the beginning is compared with one that was
//! decoded and judged: number, mode, version vector, and which response it is. Where that differs, and now and then
//! anyway, the whole answer is decoded and judged, so that the load takes little of the processors that it shares with the
//! tracker, and no refusal counts as an answer.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use common::codec;
use common::connection::frame;
use common::id::RequestId;
use common::tls::{ClusterTrust, DeviceKey, Stream, TrackerConnector};
use common::wire::client::{Call, ClientFrame, Hello, Reply, Request, Response, ServerFrame, VERSION};
use common::wire::limits::MAX_FRAME;
use common::wire::refusal::Refusal;
use common::wire::sync::VersionVector;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::dataset::Dataset;

/// Bytes of the length before a frame.
const HEADER: usize = 4;
const READ_STEP: usize = 16 << 10;
/// How long who is told that the tracker is busy waits, at first and at most.
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(4);
/// One in so many answers is decoded whatever it begins with.
const DECODED: u64 = 64;

/// What went wrong with a connection.
type Failed = Box<dyn std::error::Error>;

/// A connection after its greeting.
pub(crate) struct Connection {
    stream: Stream<TcpStream>,
    buffer: BytesMut,
}

impl Connection {
    /// Connects from `from` and greets.
    pub(crate) async fn open(tracker: SocketAddr, device: &DeviceKey, from: Ipv4Addr) -> Result<Self, Failed> {
        let connector = TrackerConnector::new(device, ClusterTrust::FirstContact)?;
        let socket = TcpSocket::new_v4()?;
        socket.bind((from, 0).into())?;
        let socket = socket.connect(tracker).await?;
        socket.set_nodelay(true)?;
        let (stream, _) = connector.connect(socket).await?;
        let mut opened = Self { stream, buffer: BytesMut::new() };
        opened.write(&frame(&ClientFrame::Hello(Hello { version: VERSION }), MAX_FRAME)?).await?;
        match opened.receive().await? {
            ServerFrame::Welcome(_) => Ok(opened),
            other => Err(format!("{other:?}").into()),
        }
    }

    /// The same, and goes on with the login of user `n`.
    pub(crate) async fn of_user(
        tracker: SocketAddr,
        dataset: &Dataset,
        n: u64,
        from: Ipv4Addr,
    ) -> Result<Self, Failed> {
        let mut opened = Self::open(tracker, dataset.device(n), from).await?;
        match opened.ask(Request::Resume { token: dataset.token(n) }).await?.result {
            Ok(Response::LoggedIn { .. }) => Ok(opened),
            other => Err(format!("{other:?}").into()),
        }
    }

    /// Asks, and waits for the answer.
    pub(crate) async fn ask(&mut self, request: Request) -> Result<Reply, Failed> {
        self.write(&encoded(request)).await?;
        loop {
            match self.receive().await? {
                ServerFrame::Reply(reply) => return Ok(reply),
                ServerFrame::Push(_) => {}
                ServerFrame::Welcome(_) => return Err("a second greeting".into()),
            }
        }
    }

    async fn write(&mut self, frame: &[u8]) -> Result<(), Failed> {
        self.stream.write_all(frame).await?;
        Ok(self.stream.flush().await?)
    }

    async fn receive(&mut self) -> Result<ServerFrame, Failed> {
        let body = self.body().await?;
        Ok(codec::decode(&body, MAX_FRAME)?)
    }

    /// The next frame without its length.
    async fn body(&mut self) -> Result<BytesMut, Failed> {
        loop {
            if let Some(header) = self.buffer.first_chunk::<HEADER>() {
                let len = u32::from_be_bytes(*header) as usize;
                if self.buffer.len() >= HEADER + len {
                    self.buffer.advance(HEADER);
                    return Ok(self.buffer.split_to(len));
                }
            }
            self.buffer.reserve(READ_STEP);
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err("the tracker has ended the connection".into());
            }
        }
    }
}

/// A call as it goes over the line.
pub(crate) fn encoded(request: Request) -> Vec<u8> {
    let call = Call { number: 1, request_id: RequestId::random(), seen: VersionVector::default(), request };
    frame(&ClientFrame::Call(call), MAX_FRAME).expect("short")
}

/// Whether an answer is what was asked for.
pub(crate) type Judge = fn(&Response) -> bool;

/// What a connection asks.
enum Questions {
    /// These frames in turn, again and again.
    InTurn(Vec<Vec<u8>>),
    /// The `n`th is made when it comes to it: a command that is repeated under its request id would have no effect.
    Fresh(Box<dyn FnMut(u64) -> Request>),
}

/// A connection that asks one thing after another.
pub(crate) struct Asker {
    connection: Connection,
    questions: Questions,
    judge: Judge,
    /// How an answer begins that was judged to be good.
    known: Vec<u8>,
    asked: u64,
    refused: u64,
    refusal: Option<Refusal>,
}

impl Asker {
    /// Asks `requests`, which only read, in turn.
    pub(crate) fn new(connection: Connection, requests: Vec<Request>, judge: Judge) -> Self {
        Self::asking(connection, Questions::InTurn(requests.into_iter().map(encoded).collect()), judge)
    }

    /// Asks what `request` makes of 0, 1, 2 …, each under a request id of its own.
    pub(crate) fn of_commands(
        connection: Connection,
        request: impl FnMut(u64) -> Request + 'static,
        judge: Judge,
    ) -> Self {
        Self::asking(connection, Questions::Fresh(Box::new(request)), judge)
    }

    fn asking(connection: Connection, questions: Questions, judge: Judge) -> Self {
        Self { connection, questions, judge, known: Vec::new(), asked: 0, refused: 0, refusal: None }
    }

    /// Asks once. Says how long the answer took; nothing, if it was a refusal, which is counted.
    pub(crate) async fn ask(&mut self) -> Option<Duration> {
        let began = Instant::now();
        match &mut self.questions {
            Questions::InTurn(frames) => {
                let next = (self.asked % frames.len() as u64) as usize;
                self.connection.write(&frames[next]).await.expect("asked");
            }
            Questions::Fresh(request) => self.connection.write(&encoded(request(self.asked))).await.expect("asked"),
        }
        self.asked += 1;
        loop {
            let body = self.connection.body().await.expect("answered");
            match self.understand(&body) {
                Some(Ok(())) => return Some(began.elapsed()),
                Some(Err(refusal)) => {
                    self.refused += 1;
                    self.refusal = Some(refusal);
                    return None;
                }
                None => {}
            }
        }
    }

    /// What `body` says to the question; `None` if it is news.
    fn understand(&mut self, body: &[u8]) -> Option<Result<(), Refusal>> {
        if !self.known.is_empty() && body.starts_with(&self.known) && !self.asked.is_multiple_of(DECODED) {
            return Some(Ok(()));
        }
        let ServerFrame::Reply(reply) = codec::decode(body, MAX_FRAME).expect("a frame") else { return None };
        let response = match &reply.result {
            Ok(response) => response,
            Err(refusal) => return Some(Err(refusal.clone())),
        };
        assert!((self.judge)(response), "{response:?}");
        // An answer with nothing in it is as long as the beginning of every other: its kind is one byte.
        let bare = ServerFrame::Reply(Reply { result: Ok(Response::Done), ..reply });
        let len = codec::encode(&bare, MAX_FRAME).expect("short").len();
        self.known = body[..len].to_vec();
        Some(Ok(()))
    }

    /// How many questions have been refused since it was last asked for, and why the last of them.
    pub(crate) fn take_refused(&mut self) -> (u64, Option<Refusal>) {
        (std::mem::take(&mut self.refused), self.refusal.take())
    }
}

/// Addresses of this machine to come from, so many that no bound on one address is met.
pub(crate) fn source(n: u64) -> Ipv4Addr {
    let n = u32::try_from(n).expect("few");
    Ipv4Addr::from(0x7f01_0000 + (n / 250) * 256 + n % 250 + 1)
}

/// Whether somebody who was told this may try again, and after how long: a client doubles its wait each time.
pub(crate) fn try_again(refusal: &Refusal, tries: u32) -> Option<Duration> {
    match refusal {
        Refusal::Busy => {
            let most = FIRST_WAIT.saturating_mul(1 << tries.min(16)).min(LONGEST_WAIT);
            Some(most.mul_f64(fastrand::f64().midpoint(1.0)))
        }
        Refusal::RateLimited { seconds } => Some(Duration::from_secs((*seconds).into())),
        _ => None,
    }
}
