//! Encryption between two peers without anything around it: one sends, the other reads, over TCP on loopback, as the
//! client sets it up.

use common::tls::{DeviceKey, PeerAcceptor, PeerConnector, SOCKET_BUFFER_BYTES, Stream};
use divan::Bencher;
use divan::counter::BytesCount;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

use crate::content;

const LEN: usize = 256 << 20;
const RUN: usize = 256 << 10;

async fn connected() -> (Stream<BufReader<TcpStream>>, Stream<BufReader<TcpStream>>) {
    let (ours, theirs) = (DeviceKey::generate().unwrap(), DeviceKey::generate().unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (far, _) = listener.accept().await.unwrap();
    let [near, far] = [near, far].map(|s| BufReader::with_capacity(SOCKET_BUFFER_BYTES, s));
    let (connector, acceptor) = (PeerConnector::new(&ours), PeerAcceptor::new(&theirs).unwrap());
    let (near, far) = tokio::join!(connector.connect(near, theirs.id()), acceptor.accept(far));
    (near.unwrap(), far.unwrap().0)
}

#[divan::bench(sample_count = 9, sample_size = 1)]
fn pipe_of_256_mib(b: Bencher) {
    let runtime = Runtime::new().unwrap();
    let run = content(RUN);
    b.counter(BytesCount::new(LEN)).with_inputs(|| runtime.block_on(connected())).bench_values(
        |(mut near, mut far)| {
            let run = run.clone();
            let sending = async move {
                for _ in 0..LEN / RUN {
                    near.write_all(&run).await.unwrap();
                }
                near.flush().await.unwrap();
                near
            };
            let reading = async move {
                let mut into = vec![0; RUN];
                for _ in 0..LEN / RUN {
                    far.read_exact(&mut into).await.unwrap();
                }
                far
            };
            // Each on a thread of its own, as in two processes.
            runtime.block_on(async { tokio::join!(runtime.spawn(sending), runtime.spawn(reading)) })
        },
    );
}
