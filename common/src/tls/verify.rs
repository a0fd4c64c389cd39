//! Every trust decision that is not rustls's own, in one file.
//!
//! - [`AnyDevice`] and [`OneDevice`] treat a certificate as an envelope around a public key: they
//!   read the key and nothing else. A device *is* its key, so there is no issuer to ask.
//! - [`ClusterRoot`] decides only which certificate is the root; whether a tracker's certificate
//!   descends from it is decided by [`WebPkiServerVerifier`].
//!
//! Invariant: that the other side holds the private key is always checked, by the provider's
//! function, in `verify_tls13_signature`.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::verify_tls13_signature;
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore, SignatureScheme,
};
use sha2::{Digest, Sha256};

use super::cluster::{ClusterCertificate, ClusterTrust};
use super::provider;
use crate::id::DeviceId;
use crate::secret::ClusterPin;

/// A sound key, but not the one that was expected. Travels through rustls's error to `classify`.
#[derive(Debug, thiserror::Error)]
pub(super) enum Mismatch {
    #[error("the cluster's key is {presented}, not {expected}")]
    Cluster { expected: ClusterPin, presented: ClusterPin },
    #[error("the device is {presented:.16}, not {expected:.16}")]
    Device { expected: DeviceId, presented: DeviceId },
}

impl From<Mismatch> for Error {
    fn from(mismatch: Mismatch) -> Self {
        Self::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(mismatch))))
    }
}

/// The public key of a certificate, as SubjectPublicKeyInfo.
pub(super) fn spki(certificate: &CertificateDer<'_>) -> Result<SubjectPublicKeyInfoDer<'static>, Error> {
    Ok(ParsedCertificate::try_from(certificate)?.subject_public_key_info())
}

/// The device whose key a certificate carries.
pub(super) fn device_id(certificate: &CertificateDer<'_>) -> Result<DeviceId, Error> {
    Ok(DeviceId::new(Sha256::digest(spki(certificate)?).into()))
}

/// Only `certificate`, as the place where chains end.
pub(super) fn only_root(certificate: &ClusterCertificate) -> Result<Arc<RootCertStore>, Error> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.der().clone())?;
    Ok(Arc::new(roots))
}

/// The handshake signature, checked as rustls's own verifiers do; the same in every verifier here.
macro_rules! check_handshake_signature {
    () => {
        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Err(Error::General("only TLS 1.3 is spoken here".to_owned()))
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls13_signature(message, certificate, signed, &provider().signature_verification_algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            provider().signature_verification_algorithms.supported_schemes()
        }
    };
}

/// For a listener: any device that proves its key. Who that is, the caller reads afterwards.
#[derive(Debug)]
pub(super) struct AnyDevice;

impl ClientCertVerifier for AnyDevice {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        spki(end_entity)?;
        Ok(ClientCertVerified::assertion())
    }

    check_handshake_signature!();
}

/// For a dialler: this device and no other.
#[derive(Debug)]
pub(super) struct OneDevice(pub(super) DeviceId);

impl ServerCertVerifier for OneDevice {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let (expected, presented) = (self.0, device_id(end_entity)?);
        if presented == expected {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(Mismatch::Device { expected, presented }.into())
        }
    }

    check_handshake_signature!();
}

/// For a dialler: a tracker whose certificate descends from the cluster's.
#[derive(Debug)]
pub(super) struct ClusterRoot(pub(super) ClusterTrust);

impl ClusterRoot {
    /// The certificate to use as the only root: the known one, or else the last of the chain if it
    /// carries the pinned key. Says so when the tracker shows a key that is not the expected one.
    fn root(&self, intermediates: &[CertificateDer<'_>]) -> Result<ClusterCertificate, Error> {
        let last = intermediates.last().ok_or(CertificateError::UnknownIssuer)?;
        let presented = ClusterPin::of_spki(&spki(last)?);
        match self.0.pin() {
            Some(expected) if expected != presented => Err(Mismatch::Cluster { expected, presented }.into()),
            _ => match &self.0 {
                ClusterTrust::Known(certificate) => Ok(certificate.clone()),
                ClusterTrust::Pinned(_) | ClusterTrust::FirstContact => {
                    ClusterCertificate::from_der(last.as_ref()).ok_or(CertificateError::UnknownIssuer.into())
                }
            },
        }
    }
}

impl ServerCertVerifier for ClusterRoot {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let root = self.root(intermediates)?;
        WebPkiServerVerifier::builder_with_provider(only_root(&root)?, provider())
            .build()
            .map_err(|e| Error::General(e.to_string()))?
            .verify_server_cert(end_entity, intermediates, name, ocsp, now)
    }

    check_handshake_signature!();
}
