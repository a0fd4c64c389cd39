//! The cluster's certificates, and conversations with a tracker.
//!
//! The cluster certificate is made from the cluster key alone, by whichever tracker, and comes out
//! the same to the byte: Ed25519 signs without randomness, and every field is fixed. Under it each
//! tracker signs, at each start, a certificate for a fresh key that never touches the disk.
//!
//! One port serves clients and the sibling. The dialler's ALPN protocol picks the configuration
//! before any certificate is looked at, so that for [`ALPN_SYNC`] rustls's standard verification
//! against the cluster certificate is the only way in.

use std::fmt::{self, Debug};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ED25519, PublicKeyData, SanType,
    SerialNumber, SignatureAlgorithm, SigningKey,
};
use rustls::pki_types::CertificateDer;
use rustls::server::WebPkiClientVerifier;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite};

use super::verify::{AnyDevice, ClusterRoot, only_root, spki};
use super::{
    ALPN_CLIENT, ALPN_SYNC, DeviceKey, Stream, TRACKER_NAME, TlsError, accept, certified, client_config, common_state,
    connect, device_of, end_entity, provider, server_config, timeless,
};
use crate::id::DeviceId;
use crate::secret::{ClusterKey, ClusterPin, ClusterPublic};

/// The certificate under which both trackers' certificates are signed. Clients keep it, so its
/// subject and form are part of the protocol: a change of them reads as a change of cluster.
#[derive(Clone, PartialEq, Eq)]
pub struct ClusterCertificate {
    der: CertificateDer<'static>,
    public: ClusterPublic,
}

impl ClusterCertificate {
    /// Reads a certificate in DER that was kept; `None` if it is not one with an Ed25519 key.
    /// Says nothing about trust.
    pub fn from_der(der: &[u8]) -> Option<Self> {
        let der = CertificateDer::from(der.to_vec());
        let public = ClusterPublic::from_spki(&spki(&der).ok()?)?;
        Some(Self { der, public })
    }

    /// The certificate in DER, to be kept.
    pub fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    /// The key that signs tickets, tokens and trackers' certificates.
    pub fn public(&self) -> ClusterPublic {
        self.public
    }

    pub(super) fn issue(key: &ClusterKey) -> Result<Self, TlsError> {
        let certificate = issuer_params().self_signed(&CertificateSigner::new(key))?;
        Ok(Self { der: certificate.into(), public: key.public() })
    }
}

impl Debug for ClusterCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClusterCertificate({})", self.public.pin())
    }
}

/// Lends the cluster key to rcgen.
struct CertificateSigner<'a> {
    key: &'a ClusterKey,
    public: ClusterPublic,
}

impl<'a> CertificateSigner<'a> {
    fn new(key: &'a ClusterKey) -> Self {
        Self { key, public: key.public() }
    }
}

impl PublicKeyData for CertificateSigner<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.public.as_bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ED25519
    }
}

impl SigningKey for CertificateSigner<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Ok(self.key.sign_certificate(message).to_vec())
    }
}

fn issuer_params() -> CertificateParams {
    let mut params = timeless("Shoal cluster");
    params.serial_number = Some(SerialNumber::from(1));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

/// A fresh key and its chain: the tracker's own certificate, then the cluster's.
pub(super) fn tracker_identity(key: &ClusterKey, root: &ClusterCertificate) -> Result<Arc<CertifiedKey>, TlsError> {
    let pair = KeyPair::generate_for(&PKCS_ED25519)?;
    let mut params = end_entity("Shoal tracker");
    params.subject_alt_names = vec![SanType::DnsName(TRACKER_NAME.try_into()?)];
    let issuer = Issuer::new(issuer_params(), CertificateSigner::new(key));
    let certificate = params.signed_by(&pair, &issuer)?;
    Ok(certified(vec![certificate.into(), root.der.clone()], pair)?)
}

/// Who dialled a tracker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity {
    /// A client, by the key it proved.
    Device(DeviceId),
    /// A tracker of the same cluster.
    Sibling,
}

/// Accepts clients and the sibling on one port. Cheap to clone.
#[derive(Clone)]
pub struct TrackerAcceptor {
    clients: Arc<ServerConfig>,
    siblings: Arc<ServerConfig>,
}

impl TrackerAcceptor {
    /// A listener of the cluster whose key this is, with a fresh certificate of its own.
    ///
    /// # Errors
    /// When a certificate or configuration cannot be made.
    pub fn new(key: &ClusterKey) -> Result<Self, TlsError> {
        let root = ClusterCertificate::issue(key)?;
        let identity = tracker_identity(key, &root)?;
        let siblings = WebPkiClientVerifier::builder_with_provider(only_root(&root)?, provider())
            .build()
            .map_err(|e| rustls::Error::General(e.to_string()))?;
        Ok(Self {
            clients: server_config(Arc::new(AnyDevice), &identity, &[ALPN_CLIENT])?,
            siblings: server_config(siblings, &identity, &[ALPN_SYNC])?,
        })
    }

    /// Answers a handshake over `stream`: the encrypted stream, and who is at its other end.
    ///
    /// # Errors
    /// See [`TlsError`]; the stream is closed. Dropping the future closes it too.
    pub async fn accept<S>(&self, stream: S) -> Result<(Stream<S>, Identity), TlsError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let choose = |offered: &[&[u8]]| {
            let sync = offered.contains(&ALPN_SYNC);
            Arc::clone(if sync { &self.siblings } else { &self.clients })
        };
        let stream = accept(stream, choose).await?;
        // `accept` saw to it that the agreed protocol is the one of the chosen configuration.
        let identity = if common_state(&stream).alpn_protocol() == Some(ALPN_SYNC) {
            Identity::Sibling
        } else {
            Identity::Device(device_of(&stream)?)
        };
        Ok((stream, identity))
    }
}

/// What a client knows of the cluster before it dials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClusterTrust {
    /// Its certificate, kept from before.
    Known(ClusterCertificate),
    /// Its pin, from the list of trackers.
    Pinned(ClusterPin),
    /// Nothing: whatever cluster answers is taken, and is to be remembered and said so.
    FirstContact,
}

impl ClusterTrust {
    /// The pin that a tracker's cluster key must have.
    pub fn pin(&self) -> Option<ClusterPin> {
        match self {
            Self::Known(certificate) => Some(certificate.public.pin()),
            Self::Pinned(pin) => Some(*pin),
            Self::FirstContact => None,
        }
    }
}

/// Dials trackers, for a client. Cheap to clone.
#[derive(Clone)]
pub struct TrackerConnector(Arc<ClientConfig>);

impl TrackerConnector {
    /// A dialler that shows `key` and accepts trackers by `trust`.
    ///
    /// # Errors
    /// When rustls refuses the configuration.
    pub fn new(key: &DeviceKey, trust: ClusterTrust) -> Result<Self, TlsError> {
        Ok(Self(client_config(Arc::new(ClusterRoot(trust)), key.certified(), &[ALPN_CLIENT])?))
    }

    /// Reaches a tracker over `stream`: the encrypted stream, and the cluster's certificate, to be
    /// kept for [`ClusterTrust::Known`].
    ///
    /// # Errors
    /// [`TlsError::UntrustedCluster`] if its key is not the expected one; otherwise see
    /// [`TlsError`]. The stream is closed. Dropping the future closes it too.
    pub async fn connect<S>(&self, stream: S) -> Result<(Stream<S>, ClusterCertificate), TlsError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let stream = connect(Arc::clone(&self.0), stream).await?;
        // The last of the chain: the verifier has held it against `trust`.
        let chain = common_state(&stream).peer_certificates().unwrap_or_default();
        let root = chain.last().and_then(|last| ClusterCertificate::from_der(last));
        let root = root.ok_or(rustls::Error::NoCertificatesPresented)?;
        Ok((stream, root))
    }
}

/// Dials the sibling, for a tracker. Cheap to clone.
#[derive(Clone)]
pub struct SiblingConnector(Arc<ClientConfig>);

impl SiblingConnector {
    /// A dialler of the cluster whose key this is, with a fresh certificate of its own.
    ///
    /// # Errors
    /// When a certificate or configuration cannot be made.
    pub fn new(key: &ClusterKey) -> Result<Self, TlsError> {
        let root = ClusterCertificate::issue(key)?;
        let identity = tracker_identity(key, &root)?;
        let verifier = ClusterRoot(ClusterTrust::Known(root));
        Ok(Self(client_config(Arc::new(verifier), &identity, &[ALPN_SYNC])?))
    }

    /// Reaches a tracker of the same cluster over `stream`, or nobody.
    ///
    /// # Errors
    /// [`TlsError::UntrustedCluster`] if it is of another cluster; otherwise see [`TlsError`]. The
    /// stream is closed. Dropping the future closes it too.
    pub async fn connect<S>(&self, stream: S) -> Result<Stream<S>, TlsError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        connect(Arc::clone(&self.0), stream).await
    }
}
