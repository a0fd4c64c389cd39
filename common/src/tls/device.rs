//! A device's key, and conversations between two devices.
//!
//! The listener learns who dialled and demands a ticket for that key; the dialler knows beforehand
//! whom it means to reach, and reaches nobody else.

use std::fmt::{self, Debug};
use std::io;
use std::path::Path;
use std::sync::Arc;

use rcgen::{KeyPair, PKCS_ED25519, PublicKeyData};
use rustls::ServerConfig;
use rustls::sign::CertifiedKey;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncWrite};
use zeroize::Zeroizing;

use super::verify::{AnyDevice, OneDevice};
use super::{
    PEER_PROTOCOLS, Stream, TlsError, accept, certified, client_config, connect, device_of, end_entity, server_config,
};
use crate::id::DeviceId;
use crate::secret::{SecretError, file};

/// The key pair of one client installation, with the self-signed certificate that carries it.
/// Cheap to clone.
///
/// Ed25519 (RFC 8032) rather than P-256: aws-lc-rs signs and verifies both in tens of microseconds,
/// while Ed25519 has one encoding of a key, which the device id hashes, and needs no randomness to
/// sign safely.
#[derive(Clone)]
pub struct DeviceKey {
    id: DeviceId,
    certified: Arc<CertifiedKey>,
}

impl DeviceKey {
    /// Reads the key at `path` (PKCS#8, PEM), or makes the file (mode 0600). Of two processes that
    /// do this at once both get the same key. Blocks on the disk.
    ///
    /// # Errors
    /// See [`SecretError`]. A file that exists is never replaced.
    pub fn load_or_create(path: &Path) -> Result<Self, SecretError> {
        let (pem, _) = file::load_or_create(path, || {
            let pair = KeyPair::generate_for(&PKCS_ED25519);
            let pair = pair.map_err(|e| SecretError::io("create", path, io::Error::other(e)))?;
            Ok(Zeroizing::new(pair.serialize_pem()))
        })?;
        let pair = KeyPair::from_pkcs8_pem_and_sign_algo(&pem, &PKCS_ED25519);
        let pair = pair.map_err(|_| SecretError::damaged(path, "it is not an Ed25519 key in PKCS#8 PEM"))?;
        Self::from_pair(pair).map_err(|_| SecretError::damaged(path, "its key cannot be used"))
    }

    /// A fresh key that is kept nowhere.
    ///
    /// # Errors
    /// When the cryptography library fails to make one.
    pub fn generate() -> Result<Self, TlsError> {
        Self::from_pair(KeyPair::generate_for(&PKCS_ED25519)?)
    }

    fn from_pair(pair: KeyPair) -> Result<Self, TlsError> {
        let id = DeviceId::new(Sha256::digest(pair.subject_public_key_info()).into());
        let certificate = end_entity("Shoal device").self_signed(&pair)?;
        Ok(Self { id, certified: certified(vec![certificate.into()], pair)? })
    }

    /// SHA-256 of the public key (SPKI, DER): what others know this device by.
    pub fn id(&self) -> DeviceId {
        self.id
    }

    pub(super) fn certified(&self) -> &Arc<CertifiedKey> {
        &self.certified
    }
}

impl Debug for DeviceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeviceKey({:.16}, ..)", self.id)
    }
}

/// Accepts peers: any device that proves its key. Cheap to clone.
#[derive(Clone)]
pub struct PeerAcceptor(Arc<ServerConfig>);

impl PeerAcceptor {
    /// A listener that shows `key`.
    ///
    /// # Errors
    /// When rustls refuses the configuration.
    pub fn new(key: &DeviceKey) -> Result<Self, TlsError> {
        Ok(Self(server_config(Arc::new(AnyDevice), key.certified(), PEER_PROTOCOLS)?))
    }

    /// Answers a handshake over `stream`: the encrypted stream, and the device at its other end.
    ///
    /// # Errors
    /// See [`TlsError`]; the stream is closed. Dropping the future closes it too.
    pub async fn accept<S>(&self, stream: S) -> Result<(Stream<S>, DeviceId), TlsError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let stream = accept(stream, |_| Arc::clone(&self.0)).await?;
        let device = device_of(&stream)?;
        Ok((stream, device))
    }
}

/// Dials peers. Cheap to clone.
#[derive(Clone)]
pub struct PeerConnector(DeviceKey);

impl PeerConnector {
    /// A dialler that shows `key`.
    pub fn new(key: &DeviceKey) -> Self {
        Self(key.clone())
    }

    /// Reaches the device `expected` over `stream`, or nobody.
    ///
    /// # Errors
    /// [`TlsError::UnexpectedDevice`] if another answers; otherwise see [`TlsError`]. The stream is
    /// closed. Dropping the future closes it too.
    pub async fn connect<S>(&self, stream: S, expected: DeviceId) -> Result<Stream<S>, TlsError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let config = client_config(Arc::new(OneDevice(expected)), self.0.certified(), PEER_PROTOCOLS)?;
        connect(config, stream).await
    }
}
