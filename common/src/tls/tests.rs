//! Every conversation in memory, between honest sides and with each kind of impostor.

use std::io::ErrorKind;

use rustls::client::WebPkiServerVerifier;
use rustls::{HandshakeKind, ProtocolVersion};
use sha2::Digest;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader, DuplexStream, duplex};

use super::verify::{AnyDevice, OneDevice, only_root};
use super::*;
use crate::secret::{ClusterKey, ClusterSecret, SecretError};

fn cluster_key() -> ClusterKey {
    ClusterSecret::generate().cluster_key()
}

fn device() -> DeviceKey {
    DeviceKey::generate().unwrap()
}

fn pipe() -> (DuplexStream, DuplexStream) {
    duplex(64 * 1024)
}

type Met<C, A> = (Result<C, TlsError>, Result<A, TlsError>);

/// A client with this trust meets a tracker of this cluster.
async fn client_meets(
    trust: ClusterTrust,
    key: &ClusterKey,
) -> Met<(Stream<DuplexStream>, ClusterCertificate), (Stream<DuplexStream>, Identity)> {
    let (near, far) = pipe();
    let (connector, acceptor) = (TrackerConnector::new(&device(), trust).unwrap(), TrackerAcceptor::new(key).unwrap());
    tokio::join!(connector.connect(near), acceptor.accept(far))
}

/// Someone with this configuration meets a tracker.
async fn dialler_meets(
    config: Arc<ClientConfig>,
    acceptor: &TrackerAcceptor,
) -> Met<Stream<DuplexStream>, (Stream<DuplexStream>, Identity)> {
    let (near, far) = pipe();
    tokio::join!(connect(config, near), acceptor.accept(far))
}

/// A client with this trust meets a listener with this configuration.
async fn client_meets_listener(trust: ClusterTrust, config: Arc<ServerConfig>) -> TlsError {
    let (near, far) = pipe();
    let connector = TrackerConnector::new(&device(), trust).unwrap();
    let (client, listener) = tokio::join!(connector.connect(near), accept(far, |_| config));
    assert!(listener.is_err(), "the listener has heard nothing from the client");
    client.err().unwrap()
}

/// Accepts whatever tracker answers, to play a dialler that is itself the impostor.
fn careless(identity: &Arc<CertifiedKey>, alpn: &[u8], root: &ClusterCertificate) -> Arc<ClientConfig> {
    let verifier = WebPkiServerVerifier::builder_with_provider(only_root(root).unwrap(), provider());
    client_config(verifier.build().unwrap(), identity, &[alpn]).unwrap()
}

#[tokio::test]
async fn client_and_tracker_meet_and_remember_each_other() {
    let key = cluster_key();
    let (client, tracker) = client_meets(ClusterTrust::FirstContact, &key).await;
    let (_, remembered) = client.unwrap();
    assert!(matches!(tracker.unwrap().1, Identity::Device(_)));
    assert_eq!(remembered.public(), key.public());

    let kept = ClusterCertificate::from_der(remembered.der()).unwrap();
    for trust in [ClusterTrust::Known(kept), ClusterTrust::Pinned(key.public().pin())] {
        // A new acceptor each time: the other tracker, or the same after a restart.
        let (client, _) = client_meets(trust, &key).await;
        assert_eq!(client.unwrap().1, remembered, "the same certificate to the byte");
    }
}

#[test]
fn the_clusters_certificate_keeps_its_form() {
    // Golden: clients keep this certificate, and would take another form for another cluster.
    let certificate = ClusterCertificate::issue(&ClusterSecret::from_bytes([7; 32]).cluster_key()).unwrap();
    let digest = data_encoding::HEXLOWER.encode(&sha2::Sha256::digest(certificate.der()));
    assert_eq!(digest, "8a74a68a99e887748a0768bd4b5255efd6c52d37fad01ea4189626db52aeeaef");
}

#[tokio::test]
async fn both_sides_learn_who_the_other_is_and_talk() {
    let (key, device) = (cluster_key(), device());
    // Eight bytes at a time, through a buffered reader as over a socket.
    let (near, far) = duplex(8);
    let connector = TrackerConnector::new(&device, ClusterTrust::FirstContact).unwrap();
    let acceptor = TrackerAcceptor::new(&key).unwrap();
    let (client, tracker) =
        tokio::join!(connector.connect(BufReader::new(near)), acceptor.accept(BufReader::with_capacity(3, far)));
    let ((mut client, _), (mut tracker, identity)) = (client.unwrap(), tracker.unwrap());
    assert_eq!(identity, Identity::Device(device.id()));

    let sent = vec![7; 100_000];
    let mut got = vec![0; sent.len()];
    let (written, read) = tokio::join!(
        async {
            client.write_all(&sent).await?;
            client.flush().await
        },
        tracker.read_exact(&mut got)
    );
    written.unwrap();
    read.unwrap();
    assert_eq!(got, sent);
}

#[tokio::test]
async fn a_wrong_cluster_is_refused_and_both_pins_are_told() {
    let (ours, other) = (cluster_key(), cluster_key());
    let known = client_meets(ClusterTrust::FirstContact, &ours).await.0.unwrap().1;
    for trust in [ClusterTrust::Known(known), ClusterTrust::Pinned(ours.public().pin())] {
        let (client, tracker) = client_meets(trust, &other).await;
        match client.err().unwrap() {
            TlsError::UntrustedCluster { expected, presented } => {
                assert_eq!(expected, ours.public().pin());
                assert_eq!(presented, other.public().pin());
            }
            error => panic!("{error}"),
        }
        assert!(matches!(tracker.err().unwrap(), TlsError::Refused(_)), "the handshake never ended");
    }
}

#[tokio::test]
async fn a_copied_certificate_without_its_key_is_refused() {
    let key = cluster_key();
    let genuine = client_meets(ClusterTrust::FirstContact, &key).await.0.unwrap();
    let chain = common_state(&genuine.0).peer_certificates().unwrap().to_vec();
    let stolen = Arc::new(CertifiedKey::new(chain, Arc::clone(&device().certified().key)));
    let config = server_config(Arc::new(AnyDevice), &stolen, &[ALPN_CLIENT]).unwrap();
    for trust in [ClusterTrust::FirstContact, ClusterTrust::Pinned(key.public().pin()), ClusterTrust::Known(genuine.1)]
    {
        let error = client_meets_listener(trust, Arc::clone(&config)).await;
        let bad_signature = rustls::Error::InvalidCertificate(CertificateError::BadSignature);
        assert!(matches!(&error, TlsError::Tls(e) if *e == bad_signature), "{error}");
    }
}

#[tokio::test]
async fn a_certificate_that_only_appends_the_clusters_is_refused() {
    let (ours, other) = (cluster_key(), cluster_key());
    let root = client_meets(ClusterTrust::FirstContact, &ours).await.0.unwrap().1;

    // Signed by another cluster of the same name; and not signed by any.
    let foreign = client_meets(ClusterTrust::FirstContact, &other).await.0.unwrap().0;
    let foreign_leaf = common_state(&foreign).peer_certificates().unwrap()[0].clone();
    let own_leaf = device().certified().cert[0].clone();
    for leaf in [foreign_leaf, own_leaf] {
        for chain in [vec![leaf.clone(), root.der().clone()], vec![leaf]] {
            let impostor = Arc::new(CertifiedKey::new(chain, Arc::clone(&device().certified().key)));
            let config = server_config(Arc::new(AnyDevice), &impostor, &[ALPN_CLIENT]).unwrap();
            for trust in [ClusterTrust::Pinned(ours.public().pin()), ClusterTrust::Known(root.clone())] {
                let error = client_meets_listener(trust, Arc::clone(&config)).await;
                assert!(matches!(error, TlsError::Tls(rustls::Error::InvalidCertificate(_))), "{error}");
            }
        }
    }
}

#[tokio::test]
async fn siblings_meet_on_the_clients_port() {
    let key = cluster_key();
    let (near, far) = pipe();
    let (connector, acceptor) = (SiblingConnector::new(&key).unwrap(), TrackerAcceptor::new(&key).unwrap());
    let (dialled, accepted) = tokio::join!(connector.connect(near), acceptor.accept(far));
    dialled.unwrap();
    assert_eq!(accepted.unwrap().1, Identity::Sibling);
}

#[tokio::test]
async fn a_tracker_of_another_cluster_is_no_sibling() {
    let (ours, other) = (cluster_key(), cluster_key());
    let acceptor = TrackerAcceptor::new(&ours).unwrap();

    // It refuses us, as the dialler.
    let (near, far) = pipe();
    let connector = SiblingConnector::new(&other).unwrap();
    let (dialled, accepted) = tokio::join!(connector.connect(near), acceptor.accept(far));
    assert!(matches!(dialled.err().unwrap(), TlsError::UntrustedCluster { .. }));
    assert!(accepted.is_err());

    // We refuse it, if as the dialler it does not care.
    let root = client_meets(ClusterTrust::FirstContact, &ours).await.0.unwrap().1;
    let identity = cluster::tracker_identity(&other, &ClusterCertificate::issue(&other).unwrap()).unwrap();
    let (_, accepted) = dialler_meets(careless(&identity, ALPN_SYNC, &root), &acceptor).await;
    let error = accepted.err().unwrap();
    assert!(matches!(error, TlsError::Tls(rustls::Error::InvalidCertificate(_))), "{error}");
}

#[tokio::test]
async fn a_device_is_no_sibling() {
    let key = cluster_key();
    let acceptor = TrackerAcceptor::new(&key).unwrap();
    let root = client_meets(ClusterTrust::FirstContact, &key).await.0.unwrap().1;
    let config = careless(device().certified(), ALPN_SYNC, &root);

    // Also if it offers the clients' protocol besides, in either order.
    for offered in [vec![ALPN_SYNC], vec![ALPN_SYNC, ALPN_CLIENT], vec![ALPN_CLIENT, ALPN_SYNC]] {
        let mut config = (*config).clone();
        config.alpn_protocols = offered.into_iter().map(<[u8]>::to_vec).collect();
        let (dialled, accepted) = dialler_meets(Arc::new(config), &acceptor).await;
        let error = accepted.err().unwrap();
        assert!(matches!(error, TlsError::Tls(rustls::Error::InvalidCertificate(_))), "{error}");
        // The dialler was done before it was judged: it learns of that when it reads.
        let refused = dialled.unwrap().read_u8().await.unwrap_err();
        assert!(matches!(classify(refused), TlsError::Refused(_)));
    }
}

#[tokio::test]
async fn only_the_known_protocols_are_spoken() {
    let key = cluster_key();
    let acceptor = TrackerAcceptor::new(&key).unwrap();
    let root = client_meets(ClusterTrust::FirstContact, &key).await.0.unwrap().1;

    let (dialled, accepted) = dialler_meets(careless(device().certified(), ALPN_PEER, &root), &acceptor).await;
    assert!(matches!(dialled.err().unwrap(), TlsError::Refused(AlertDescription::NoApplicationProtocol)));
    assert!(accepted.is_err());

    let mut silent = (*careless(device().certified(), ALPN_CLIENT, &root)).clone();
    silent.alpn_protocols.clear();
    let (_, accepted) = dialler_meets(Arc::new(silent), &acceptor).await;
    assert!(matches!(accepted.err().unwrap(), TlsError::WrongProtocol));
}

#[tokio::test]
async fn who_shows_no_certificate_is_refused() {
    let key = cluster_key();
    let root = client_meets(ClusterTrust::FirstContact, &key).await.0.unwrap().1;
    let nobody = ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[&TLS13]).unwrap();
    let mut nobody = nobody.with_root_certificates(only_root(&root).unwrap()).with_no_client_auth();
    for alpn in [ALPN_CLIENT, ALPN_SYNC] {
        nobody.alpn_protocols = vec![alpn.to_vec()];
        let (_, accepted) = dialler_meets(Arc::new(nobody.clone()), &TrackerAcceptor::new(&key).unwrap()).await;
        assert!(matches!(accepted.err().unwrap(), TlsError::Tls(rustls::Error::NoCertificatesPresented)));
    }
}

/// `dialler` means to reach `expected`, and `listener` answers.
async fn peers_meet(
    dialler: &DeviceKey,
    expected: DeviceId,
    listener: &DeviceKey,
) -> Met<Stream<DuplexStream>, (Stream<DuplexStream>, DeviceId)> {
    let (near, far) = pipe();
    let (connector, acceptor) = (PeerConnector::new(dialler), PeerAcceptor::new(listener).unwrap());
    tokio::join!(connector.connect(near, expected), acceptor.accept(far))
}

#[tokio::test]
async fn peers_know_each_other() {
    let (alice, bob) = (device(), device());
    let (dialled, accepted) = peers_meet(&alice, bob.id(), &bob).await;
    assert_eq!(device_of(&dialled.unwrap()).unwrap(), bob.id());
    assert_eq!(accepted.unwrap().1, alice.id());
}

#[tokio::test]
async fn an_unexpected_peer_is_refused() {
    let (alice, bob, mallory) = (device(), device(), device());
    let (dialled, accepted) = peers_meet(&alice, bob.id(), &mallory).await;
    match dialled.err().unwrap() {
        TlsError::UnexpectedDevice { expected, presented } => {
            assert_eq!((expected, presented), (bob.id(), mallory.id()));
        }
        error => panic!("{error}"),
    }
    assert!(matches!(accepted.err().unwrap(), TlsError::Refused(_)));
}

#[tokio::test]
async fn a_peers_copied_certificate_is_refused_on_either_side() {
    let (alice, bob, mallory) = (device(), device(), device());
    let copy_of = |victim: &DeviceKey| {
        Arc::new(CertifiedKey::new(victim.certified().cert.clone(), Arc::clone(&mallory.certified().key)))
    };
    let bad_signature = rustls::Error::InvalidCertificate(CertificateError::BadSignature);

    let (near, far) = pipe();
    let listener = server_config(Arc::new(AnyDevice), &copy_of(&bob), &[ALPN_PEER]).unwrap();
    let connector = PeerConnector::new(&alice);
    let (dialled, _) = tokio::join!(connector.connect(near, bob.id()), accept(far, |_| listener));
    assert!(matches!(dialled.err().unwrap(), TlsError::Tls(e) if e == bad_signature));

    let (near, far) = pipe();
    let dialler = client_config(Arc::new(OneDevice(bob.id())), &copy_of(&alice), &[ALPN_PEER]).unwrap();
    let acceptor = PeerAcceptor::new(&bob).unwrap();
    let (_, accepted) = tokio::join!(connect(dialler, near), acceptor.accept(far));
    assert!(matches!(accepted.err().unwrap(), TlsError::Tls(e) if e == bad_signature));
}

#[tokio::test]
async fn peers_of_the_first_release_are_met_and_told_apart() {
    let (near_key, far_key) = (device(), device());
    let dialler =
        |protocols| client_config(Arc::new(OneDevice(far_key.id())), near_key.certified(), protocols).unwrap();
    let listener = |protocols| server_config(Arc::new(AnyDevice), far_key.certified(), protocols).unwrap();
    let first: &[&[u8]] = &[ALPN_PEER];
    for (dialling, listening, again) in
        [(PEER_PROTOCOLS, PEER_PROTOCOLS, true), (first, PEER_PROTOCOLS, false), (PEER_PROTOCOLS, first, false)]
    {
        let (near, far) = pipe();
        let (dialled, accepted) = tokio::join!(connect(dialler(dialling), near), accept(far, |_| listener(listening)));
        assert_eq!([dialled, accepted].map(|met| serves_again(&met.unwrap())), [again; 2]);
    }
}

#[tokio::test]
async fn every_handshake_is_full() {
    let (near_key, far_key) = (device(), device());
    let config = client_config(Arc::new(OneDevice(far_key.id())), near_key.certified(), &[ALPN_PEER]).unwrap();
    let acceptor = PeerAcceptor::new(&far_key).unwrap();
    for _ in 0..3 {
        let (near, far) = pipe();
        let (dialled, accepted) = tokio::join!(connect(Arc::clone(&config), near), acceptor.accept(far));
        let (mut dialled, (mut accepted, _)) = (dialled.unwrap(), accepted.unwrap());
        // Where a ticket would arrive, if one were sent.
        accepted.write_all(b"x").await.unwrap();
        accepted.flush().await.unwrap();
        dialled.read_u8().await.unwrap();
        for state in [common_state(&dialled), common_state(&accepted)] {
            assert_eq!(state.protocol_version(), Some(ProtocolVersion::TLSv1_3));
            let kind = state.handshake_kind();
            assert!(matches!(kind, Some(HandshakeKind::Full | HandshakeKind::FullWithHelloRetryRequest)), "{kind:?}");
        }
    }
}

#[tokio::test]
async fn only_tls_1_3_is_offered_and_accepted() {
    let (near, mut far) = pipe();
    let connector = PeerConnector::new(&device());
    let mut hello = vec![0; 4096];
    let (_, read) = tokio::join!(connector.connect(near, device().id()), async {
        let read = far.read(&mut hello).await;
        drop(far);
        read
    });
    hello.truncate(read.unwrap());
    // RFC 8446, 4.2.1: extension 43, 3 bytes long, holds a list of 2 bytes: 0x0304, TLS 1.3.
    let supported_versions = [0, 43, 0, 3, 2, 3, 4];
    assert!(hello.windows(supported_versions.len()).any(|w| w == supported_versions));
    for name in [&b"shoal.internal"[..], b"tracker"] {
        assert!(!hello.windows(name.len()).any(|w| w == name), "no server name travels in the clear");
    }

    // A hello for TLS 1.2: the same without that extension (renamed to one that nobody knows).
    let at = hello.windows(supported_versions.len()).position(|w| w == supported_versions).unwrap();
    hello[at..at + 2].copy_from_slice(&[0xfa, 0xfa]);
    let (mut near, far) = pipe();
    near.write_all(&hello).await.unwrap();
    let accepted = PeerAcceptor::new(&device()).unwrap().accept(far).await;
    assert!(matches!(accepted.err().unwrap(), TlsError::Tls(rustls::Error::PeerIncompatible(_))));
    let mut alert = Vec::new();
    near.read_to_end(&mut alert).await.unwrap();
    // RFC 8446, 6: record type alert, then level fatal, protocol_version.
    assert_eq!((alert[0], &alert[5..]), (21, &[2, 70][..]));
}

#[tokio::test]
async fn plain_text_is_refused_and_the_end_of_the_stream_is_seen() {
    let acceptor = PeerAcceptor::new(&device()).unwrap();
    let (mut near, far) = pipe();
    near.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    assert!(matches!(acceptor.accept(far).await.err().unwrap(), TlsError::Tls(_)));

    let (near, far) = pipe();
    drop(near);
    let error = acceptor.accept(far).await.err().unwrap();
    assert!(matches!(error, TlsError::Io(e) if e.kind() == ErrorKind::UnexpectedEof));
}

#[tokio::test]
async fn a_silent_peer_is_given_up() {
    let (_near, far) = pipe();
    let acceptor = PeerAcceptor::new(&device()).unwrap();
    let handshake = async { acceptor.accept(far).await.map_err(io::Error::other) };
    assert!(matches!(within(Duration::from_millis(20), handshake).await.err().unwrap(), TlsError::Timeout));
}

#[test]
fn a_device_keeps_its_key() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("device.key");
    let made = DeviceKey::load_or_create(&path).unwrap();
    assert_eq!(DeviceKey::load_or_create(&path).unwrap().id(), made.id());
    assert_eq!(verify::device_id(&made.certified().cert[0]).unwrap(), made.id(), "the id others see");
    assert!(!format!("{made:?}").contains("PRIVATE"));

    std::fs::write(&path, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n").unwrap();
    assert!(matches!(DeviceKey::load_or_create(&path), Err(SecretError::Damaged { .. })));
}

#[cfg(unix)]
#[test]
fn a_device_key_open_to_others_is_refused() {
    use std::os::unix::fs::PermissionsExt;

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("device.key");
    DeviceKey::load_or_create(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
    let refused = DeviceKey::load_or_create(&path).unwrap_err();
    assert!(refused.to_string().contains("chmod 600"), "{refused}");
}

#[tokio::test]
async fn between_trackers_something_can_be_read_long_before_a_message_is_whole() {
    let key = cluster_key();
    // A slow line: what is read is one record, however much was written at once.
    let (near, far) = duplex(256);
    let (connector, acceptor) = (SiblingConnector::new(&key).unwrap(), TrackerAcceptor::new(&key).unwrap());
    let (dialler, listener) = tokio::join!(connector.connect(near), acceptor.accept(far));
    let (mut dialler, mut listener) = (dialler.unwrap(), listener.unwrap().0);
    let (sent, mut got) = (vec![7; 16 << 10], vec![0; 16 << 10]);
    for dialler_writes in [true, false] {
        let (from, to) = if dialler_writes { (&mut dialler, &mut listener) } else { (&mut listener, &mut dialler) };
        let first = tokio::join!(
            async {
                from.write_all(&sent).await.unwrap();
                from.flush().await.unwrap();
            },
            async {
                let first = to.read(&mut got).await.unwrap();
                to.read_exact(&mut got[first..]).await.unwrap();
                first
            }
        );
        assert!(first.1 <= SYNC_RECORD_BYTES, "{}", first.1);
    }
}
