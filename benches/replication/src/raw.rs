//! A connection that asks one thing after the other, without what a client does besides.

use std::net::{Ipv4Addr, SocketAddr};

use common::connection::{FrameReader, FrameWriter, split};
use common::id::RequestId;
use common::tls::{ClusterTrust, DeviceKey, Stream, TrackerConnector};
use common::wire::client::{Call, ClientFrame, Hello, Mode, Password, Request, Response, ServerFrame, VERSION};
use common::wire::limits::MAX_FRAME;
use common::wire::refusal::Refusal;
use common::wire::sync::VersionVector;
use tokio::io::{ReadHalf, WriteHalf};
use tokio::net::{TcpSocket, TcpStream};

const PASSWORD: &str = "password of somebody";

pub(crate) struct Raw {
    reader: FrameReader<ReadHalf<Stream<TcpStream>>, ServerFrame>,
    writer: FrameWriter<WriteHalf<Stream<TcpStream>>, ClientFrame>,
}

impl Raw {
    /// Connects from `from`, greets, makes the account `user` and logs in.
    pub(crate) async fn user(tracker: SocketAddr, from: Ipv4Addr, user: &str) -> Self {
        let device = DeviceKey::generate().expect("a key");
        let connector = TrackerConnector::new(&device, ClusterTrust::FirstContact).expect("a connector");
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind((from, 0).into()).expect("bound");
        let socket = socket.connect(tracker).await.expect("connected");
        socket.set_nodelay(true).expect("set");
        let (stream, _) = connector.connect(socket).await.expect("encrypted");
        let (reader, mut writer) = split(stream, MAX_FRAME);
        writer.send(&ClientFrame::Hello(Hello { version: VERSION })).await.expect("sent");
        let mut raw = Self { reader, writer };
        assert!(matches!(raw.reader.next().await, Ok(Some(ServerFrame::Welcome(_)))), "greeted");
        let name: common::id::UserName = user.parse().expect("a name");
        let password = || Password::try_from(PASSWORD.to_owned()).expect("a password");
        raw.ask(Request::CreateUser { user: name.clone(), password: password() }).await.0.expect("created");
        raw.ask(Request::Login { user: name, password: password() }).await.0.expect("logged in");
        raw
    }

    /// Asks, and waits for the answer.
    pub(crate) async fn ask(&mut self, request: Request) -> (Result<Response, Refusal>, Mode) {
        let call = Call { number: 1, request_id: RequestId::random(), seen: VersionVector::default(), request };
        self.writer.send(&ClientFrame::Call(call)).await.expect("sent");
        loop {
            match self.reader.next().await {
                Ok(Some(ServerFrame::Reply(reply))) => return (reply.result, reply.mode),
                Ok(Some(ServerFrame::Push(_))) => {}
                other => panic!("{other:?}"),
            }
        }
    }
}
