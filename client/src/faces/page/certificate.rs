//! The certificate of a page that others can reach: made once for an address, kept in the data directory, and known to
//! its user by the fingerprint that is printed beside the link. No authority vouches for it.

use std::fmt::Write;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose, SanType};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::TLS13;
use sha2::{Digest, Sha256};

use crate::error::{Error, shown};
use crate::private_file;

/// A certificate, its key, and how people tell it.
pub(super) struct Certificate {
    pub(super) tls: Arc<ServerConfig>,
    /// SHA-256 of the certificate, as browsers show it: `AB:CD:…`.
    pub(super) fingerprint: String,
}

impl Certificate {
    /// The one for `address` in `data_dir`; a new one where there is none yet. Blocks on the disk.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub(super) fn load_or_create(data_dir: &Path, address: IpAddr) -> Result<Self, Error> {
        // One for each address: a browser that has accepted one goes on accepting it.
        let path = data_dir.join(format!("web-{}.pem", address.to_string().replace(':', "_")));
        let pem = match private_file::read_secret(&path)? {
            Some(pem) => pem,
            None => {
                let pem = create(address).map_err(|e| Error::Internal(format!("cannot make a certificate: {e}")))?;
                private_file::replace(&path, pem.as_bytes())?;
                pem
            }
        };
        Self::of(&pem).map_err(|why| {
            let path = shown(&path);
            Error::InvalidArgument(format!(
                "{path} holds no certificate with its key ({why}); remove it, and a new one is made at the next start"
            ))
        })
    }

    fn of(pem: &str) -> Result<Self, String> {
        let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|e| e.to_string())?;
        let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|e| e.to_string())?;
        let fingerprint = fingerprint(&certificate);
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&TLS13])
            .map(ServerConfigBuilder::with_no_client_auth);
        let config = config.and_then(|config| config.with_single_cert(vec![certificate], key));
        let mut config = config.map_err(|e| e.to_string())?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { tls: Arc::new(config), fingerprint })
    }
}

type ServerConfigBuilder = rustls::ConfigBuilder<ServerConfig, rustls::WantsVerifier>;

/// Certificate and key as text. P-256, since browsers know no Ed25519 in certificates.
fn create(address: IpAddr) -> Result<String, rcgen::Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "Shoal");
    params.subject_alt_names = vec![SanType::IpAddress(address)];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate()?;
    Ok(params.self_signed(&key)?.pem() + &key.serialize_pem())
}

fn fingerprint(certificate: &CertificateDer<'_>) -> String {
    let mut text = String::new();
    for byte in Sha256::digest(certificate) {
        let colon = if text.is_empty() { "" } else { ":" };
        let _ = write!(text, "{colon}{byte:02X}"); // Text takes everything.
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_made_once_for_an_address_and_is_the_users_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let address = "192.0.2.1".parse().expect("an address");
        let fingerprint = |address| Certificate::load_or_create(dir.path(), address).expect("one").fingerprint;
        let first = fingerprint(address);
        assert!(first.len() == 95 && first.split(':').count() == 32, "{first}");
        assert_eq!(fingerprint(address), first);
        assert_ne!(fingerprint("2001:db8::1".parse().expect("an address")), first);
        let path = dir.path().join("web-192.0.2.1.pem");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("set");
            assert_eq!(std::fs::metadata(&path).expect("a file").permissions().mode() & 0o777, 0o600);
            mode(0o644);
            let refused = Certificate::load_or_create(dir.path(), address).err().expect("refused").to_string();
            assert!(refused.contains("mode 644") && refused.contains("chmod 600"), "{refused}");
            mode(0o600);
        }
        std::fs::write(&path, "nonsense").expect("written");
        let refused = Certificate::load_or_create(dir.path(), address).err().expect("refused").to_string();
        assert!(refused.contains("web-192.0.2.1.pem") && refused.contains("remove it"), "{refused}");
        assert_eq!(std::fs::read_to_string(&path).expect("a file"), "nonsense", "left alone");
    }
}
