//! A seeder that the trackers cannot reach learns from its leechers which tickets are void.

use common::connection::split;
use common::pieces::Bitfield;
use common::ticket::{Revocation, Signed};
use common::tls::PeerAcceptor;
use common::wire::limits::{Bytes, MAX_PEER_FRAME};
use common::wire::peer::{LeecherFrame, SeederFrame};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::hostile::Case;
use super::*;

/// A seeder that gives nothing and tells what it hears of revocations.
async fn listener(case: &Case, heard: mpsc::Sender<Signed<Revocation>>) {
    let key = DeviceKey::generate().expect("a key");
    let acceptor = PeerAcceptor::new(&key).expect("an acceptor");
    let socket = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    case.tracker.join(key.id(), "carol");
    case.tracker.announce(key.id(), socket.local_addr().expect("an address"));
    case.tracker.seeds(key.id(), case.file_id);
    let layout = case.layout;
    case.bob.tasks.spawn("listener", async move {
        let (stream, _) = socket.accept().await.expect("a connection");
        let (stream, _) = acceptor.accept(stream).await.expect("a handshake");
        let (mut reader, mut writer) = split::<_, LeecherFrame, SeederFrame>(stream, MAX_PEER_FRAME);
        while let Ok(Some(message)) = reader.next().await {
            match message {
                LeecherFrame::Hello(_) => {
                    let all = Bytes::first_of(Bitfield::full(layout).as_bytes().to_vec());
                    writer.send(&SeederFrame::Bitfield(all)).await.expect("sent");
                }
                LeecherFrame::Revoked(signed) => heard.send(signed).await.expect("wanted"),
                _ => {}
            }
        }
    });
}

/// On one thread, so that the swarm sees several changes as one.
#[tokio::test]
async fn revocations_that_come_together_are_all_passed_on() {
    let case = Case::new(1 << 20).await;
    let (heard, mut hears) = mpsc::channel(64);
    listener(&case, heard).await;
    let before = case.tracker.revocation();
    let revocations = case.bob.shares.revocations();
    revocations.add(before.clone(), &case.tracker.cluster());
    case.bob.begin("file").await.expect("begun");
    let patience = Duration::from_secs(20);
    let mut next = async || tokio::time::timeout(patience, hears.recv()).await.expect("in time").expect("a revocation");
    assert_eq!(next().await, before, "also what was known before");
    let together: Vec<_> = (0..20).map(|_| case.tracker.revocation()).collect();
    together.iter().for_each(|r| assert!(revocations.add(r.clone(), &case.tracker.cluster())));
    for expected in together.iter().rev() {
        assert_eq!(next().await, *expected, "each, newest first");
    }
}
