//! Encrypted connections: who speaks to whom, and how each proves who it is.
//!
//! | conversation | listener shows | dialler shows | in |
//! |---|---|---|---|
//! | client to tracker ([`ALPN_CLIENT`]) | certificate signed by the cluster key | its device key | [`TrackerConnector`], [`TrackerAcceptor`] |
//! | tracker to tracker ([`ALPN_SYNC`]) | certificate signed by the cluster key | the same | [`SiblingConnector`], [`TrackerAcceptor`] |
//! | peer to peer ([`ALPN_PEER`]) | its device key, the one expected | its device key | [`PeerConnector`], [`PeerAcceptor`] |
//!
//! Invariants: TLS 1.3 (RFC 8446) by rustls on aws-lc-rs and nothing else; both sides authenticate;
//! every connection is a full handshake (no resumption, no 0-RTT), so that a key is proven each
//! time; a connector returns before it has sent a byte of the application. Certificates never
//! expire: they are only envelopes around keys, and what a key may do is revoked by the trackers.
//!
//! A dialler finishes before the listener has judged the dialler's certificate (RFC 8446, 2). So a
//! listener's refusal of a key shows at the first read: pass that error to [`classify`].
//!
//! Wrap a socket in a `tokio::io::BufReader` of [`SOCKET_BUFFER_BYTES`] before handing it in: rustls
//! reads in steps of 4 KiB, each of them a system call otherwise. Knows no sockets and no frames.

mod cluster;
mod device;
#[cfg(test)]
mod tests;
mod verify;

use std::future::Future;
use std::io;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};
use rustls::client::Resumption;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::aws_lc_rs::{self, cipher_suite};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::{CertificateDer, DnsName, PrivateKeyDer, ServerName};
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::TLS13;
use rustls::{AlertDescription, CertificateError, ClientConfig, CommonState, ServerConfig, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{LazyConfigAcceptor, TlsConnector};

pub use self::cluster::{
    ClusterCertificate, ClusterTrust, Identity, SiblingConnector, TrackerAcceptor, TrackerConnector,
};
pub use self::device::{DeviceKey, PeerAcceptor, PeerConnector};
use crate::id::DeviceId;
use crate::secret::ClusterPin;

/// ALPN protocol (RFC 7301) of a client that speaks to a tracker.
pub const ALPN_CLIENT: &[u8] = b"shoal-client/1";

/// ALPN protocol of a tracker that speaks to its sibling, on the same port.
pub const ALPN_SYNC: &[u8] = b"shoal-sync/1";

/// ALPN protocol of a peer that speaks to a peer.
pub const ALPN_PEER: &[u8] = b"shoal-peer/1";

/// The same, of a peer that knows that a connection can serve one file after another.
pub const ALPN_PEER_2: &[u8] = b"shoal-peer/2";

/// What peers offer and accept, the best first.
const PEER_PROTOCOLS: &[&[u8]] = &[ALPN_PEER_2, ALPN_PEER];

/// Longest time a handshake may take, from its first byte to its end.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Most bytes rustls keeps for the socket before a write waits. Its own default of 64 KiB makes a
/// seeder stop and go with every few records.
pub const OUTPUT_BUFFER_BYTES: usize = 1 << 20;

/// Bytes that the reader beneath a TLS stream should fetch from the socket at once.
pub const SOCKET_BUFFER_BYTES: usize = 256 * 1024;

/// Longest TLS record between trackers, in bytes. Nothing of a record can be read before all of it is there: on a slow
/// line the usual 16 KiB would be silence for many seconds.
const SYNC_RECORD_BYTES: usize = 2 << 10;

/// The DNS name in every tracker's certificate, whatever its address: the key decides, not the name.
const TRACKER_NAME: &str = "tracker.shoal.internal";

/// An encrypted stream over `S`, from either side.
pub type Stream<S> = tokio_rustls::TlsStream<S>;

/// What goes wrong between two keys.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The tracker's key is not the one we know. Nothing was sent to it.
    #[error("the tracker is not of the cluster we know: expected {expected}, presented {presented}")]
    UntrustedCluster {
        /// The pin we hold.
        expected: ClusterPin,
        /// The pin of the key it showed.
        presented: ClusterPin,
    },
    /// The peer's key is not the one the tracker named. Nothing was sent to it.
    #[error("the peer is not the expected device: expected {expected:.16}, presented {presented:.16}")]
    UnexpectedDevice {
        /// The device we meant to reach.
        expected: DeviceId,
        /// The device that answered.
        presented: DeviceId,
    },
    /// The other side speaks TLS, but not the protocol of this conversation.
    #[error("the other side does not speak the expected protocol")]
    WrongProtocol,
    /// The other side refused us: our key, protocol or version.
    #[error("the other side refused the connection: {0:?}")]
    Refused(AlertDescription),
    /// The handshake took longer than [`HANDSHAKE_TIMEOUT`].
    #[error("the handshake took longer than {} s", HANDSHAKE_TIMEOUT.as_secs())]
    Timeout,
    /// Anything else that TLS objects to: a bad signature, an unknown issuer, not TLS at all.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// A certificate of ours could not be made.
    #[error("cannot make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The connection itself broke.
    #[error(transparent)]
    Io(io::Error),
}

/// What an error of a TLS stream means: during the handshake, or at a later read or write.
pub fn classify(error: io::Error) -> TlsError {
    let Some(tls) = error.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>()) else {
        return TlsError::Io(error);
    };
    match tls {
        rustls::Error::AlertReceived(alert) => TlsError::Refused(*alert),
        rustls::Error::InvalidCertificate(CertificateError::Other(other)) => {
            match other.0.downcast_ref::<verify::Mismatch>() {
                Some(&verify::Mismatch::Cluster { expected, presented }) => {
                    TlsError::UntrustedCluster { expected, presented }
                }
                Some(&verify::Mismatch::Device { expected, presented }) => {
                    TlsError::UnexpectedDevice { expected, presented }
                }
                None => TlsError::Tls(tls.clone()),
            }
        }
        _ => TlsError::Tls(tls.clone()),
    }
}

/// The cryptography of every connection: passed explicitly, never taken from the process.
fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
        let base = aws_lc_rs::default_provider();
        Arc::new(CryptoProvider {
            // By speed where the processor knows AES: ten rounds, fourteen, and none.
            cipher_suites: vec![
                cipher_suite::TLS13_AES_128_GCM_SHA256,
                cipher_suite::TLS13_AES_256_GCM_SHA384,
                cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
            ],
            signature_verification_algorithms: ed25519_only(base.signature_verification_algorithms),
            ..base
        })
    });
    Arc::clone(&PROVIDER)
}

/// Every key of ours is Ed25519, so nobody else's RSA or P-384 is worth our time.
fn ed25519_only(all: WebPkiSupportedAlgorithms) -> WebPkiSupportedAlgorithms {
    let ed25519 = all.mapping.iter().find(|(scheme, _)| *scheme == SignatureScheme::ED25519);
    ed25519.map_or(all, |entry| WebPkiSupportedAlgorithms { all: entry.1, mapping: std::slice::from_ref(entry) })
}

/// Valid whatever the clocks say: a certificate is not how anything is revoked here, and a machine
/// with a dead clock battery should not be cut off. A cluster ends its key by changing its secret.
fn timeless(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.not_before = date_time_ymd(1975, 1, 1);
    params.not_after = date_time_ymd(4096, 1, 1);
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

/// A certificate for a key that takes part in conversations, from either side.
fn end_entity(name: &str) -> CertificateParams {
    let mut params = timeless(name);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params
}

/// A key and the chain that speaks for it, ready for rustls; refused if they do not match.
fn certified(chain: Vec<CertificateDer<'static>>, key: KeyPair) -> Result<Arc<CertifiedKey>, rustls::Error> {
    Ok(Arc::new(CertifiedKey::from_der(chain, PrivateKeyDer::from(key), &provider())?))
}

fn server_config(
    verifier: Arc<dyn ClientCertVerifier>,
    identity: &Arc<CertifiedKey>,
    alpn: &[&[u8]],
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(identity))));
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_fragment_size = alpn.contains(&ALPN_SYNC).then_some(SYNC_RECORD_BYTES);
    config.max_early_data_size = 0;
    Ok(Arc::new(config))
}

fn client_config(
    verifier: Arc<dyn ServerCertVerifier>,
    identity: &Arc<CertifiedKey>,
    alpn: &[&[u8]],
) -> Result<Arc<ClientConfig>, rustls::Error> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .dangerous() // Custom verifiers: those of `verify.rs`, and no others.
        .with_custom_certificate_verifier(verifier)
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(identity))));
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    config.max_fragment_size = alpn.contains(&ALPN_SYNC).then_some(SYNC_RECORD_BYTES);
    config.enable_sni = false; // It would travel in the clear, and tell nobody anything.
    Ok(Arc::new(config))
}

/// Dials over `stream`. Not resumable: dropping the future closes the stream.
async fn connect<S>(config: Arc<ClientConfig>, stream: S) -> Result<Stream<S>, TlsError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let alpn = config.alpn_protocols.clone();
    let name = DnsName::try_from_str(TRACKER_NAME).map_err(|e| rustls::Error::General(e.to_string()))?;
    let handshake = TlsConnector::from(config)
        .connect_with(ServerName::from(name), stream, |tls| tls.set_buffer_limit(Some(OUTPUT_BUFFER_BYTES)));
    let stream = Stream::from(within(HANDSHAKE_TIMEOUT, handshake).await?);
    require_protocol(&stream, &alpn)?;
    Ok(stream)
}

/// Accepts over `stream` by the configuration that `choose` picks from the protocols the dialler
/// offers. Not resumable: dropping the future closes the stream.
async fn accept<S>(stream: S, choose: impl FnOnce(&[&[u8]]) -> Arc<ServerConfig>) -> Result<Stream<S>, TlsError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let handshake = async {
        let start = LazyConfigAcceptor::new(Default::default(), stream).await?;
        let offered: Vec<_> = start.client_hello().alpn().into_iter().flatten().collect();
        let config = choose(&offered);
        let alpn = config.alpn_protocols.clone();
        let accepted = start.into_stream_with(config, |tls| tls.set_buffer_limit(Some(OUTPUT_BUFFER_BYTES)));
        Ok((Stream::from(accepted.await?), alpn))
    };
    let (stream, alpn) = within(HANDSHAKE_TIMEOUT, handshake).await?;
    require_protocol(&stream, &alpn)?;
    Ok(stream)
}

async fn within<T>(limit: Duration, handshake: impl Future<Output = io::Result<T>>) -> Result<T, TlsError> {
    match tokio::time::timeout(limit, handshake).await {
        Ok(done) => done.map_err(classify),
        Err(_) => Err(TlsError::Timeout),
    }
}

/// Who offers no protocol at all gets through a handshake; it ends here.
fn require_protocol<S>(stream: &Stream<S>, alpn: &[Vec<u8>]) -> Result<(), TlsError> {
    let agreed = common_state(stream).alpn_protocol();
    let known = agreed.is_some_and(|agreed| alpn.iter().any(|known| known == agreed));
    if known { Ok(()) } else { Err(TlsError::WrongProtocol) }
}

/// Whether both peers know that this connection can serve one file after another.
pub fn serves_again<S>(stream: &Stream<S>) -> bool {
    common_state(stream).alpn_protocol() == Some(ALPN_PEER_2)
}

/// The device whose key the other side has proven to hold.
fn device_of<S>(stream: &Stream<S>) -> Result<DeviceId, TlsError> {
    let chain = common_state(stream).peer_certificates().unwrap_or_default();
    let certificate = chain.first().ok_or(rustls::Error::NoCertificatesPresented)?;
    Ok(verify::device_id(certificate)?)
}

fn common_state<S>(stream: &Stream<S>) -> &CommonState {
    stream.get_ref().1
}
