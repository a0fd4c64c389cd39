//! The cluster's secret and the one key that comes of it.
//!
//! Both trackers hold the same 32 random bytes, and derive from them the same Ed25519 key
//! (RFC 8032), so it does not matter which of them signed a ticket, a session token or a TLS
//! certificate: there is one key to know. Whoever holds the secret can do everything.
//!
//! Every signature over a message of ours carries its domain, and starts with a fixed context. A
//! certificate's signed part starts with an ASN.1 SEQUENCE (0x30), so that no signature made for
//! one purpose can be shown for another.

use std::fmt::{self, Debug, Display};
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use data_encoding::BASE32_NOPAD_NOCASE as BASE32;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use hkdf::Hkdf;
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

pub(crate) mod file;

pub use file::check_directory;

/// Length of the cluster's secret, in bytes.
pub const SECRET_BYTES: usize = 32;

/// Length of a signature, in bytes.
pub const SIGNATURE_BYTES: usize = 64;

/// First bytes of everything that [`ClusterKey::sign`] signs.
const CONTEXT: &[u8] = b"shoal-signed/1\0";

/// HKDF's `info` for the cluster key: another key from the same secret takes another string.
const CLUSTER_KEY_INFO: &[u8] = b"shoal cluster key, ed25519, 1";
/// The same for the key of what only trackers make and check.
const CODES_KEY_INFO: &[u8] = b"shoal one-time codes, blake3 keyed hash, 1";

/// Bytes of SHA-256 kept beside the secret, so that a slip in copying it is noticed.
const CHECK_BYTES: usize = 4;

const HEADER: &str = "\
# Shoal cluster secret. Whoever has this can do everything in the cluster: keep it private
# (chmod 600), and put the same file on the other tracker's machine.
";

/// An Ed25519 public key as SPKI in DER is this, then the 32 bytes of the key (RFC 8410).
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// Why a secret file cannot be used. Each sentence says what to do about it, where we know.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// Others than the owner may read or write it.
    #[error("{} is open to others (mode {mode:03o}): run `chmod 600 {}`", path.display(), path.display())]
    LoosePermissions {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Others may put files of their own in place of those in the directory.
    #[error(
        "others can write to {} (mode {mode:03o}), and could have put their own keys there: run `chmod go-w {}`, and \
         make sure that what it holds is yours",
        path.display(), path.display()
    )]
    LooseDirectory {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A directory, a pipe or a device has that name.
    #[error("{} is not a regular file", path.display())]
    NotAFile {
        /// What was to be read.
        path: PathBuf,
    },
    /// The file is there, but does not hold what it should.
    #[error("{} is damaged: {reason}; put a good copy in its place", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The file system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// `read` or `create`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl SecretError {
    pub(crate) fn damaged(path: &Path, reason: &'static str) -> Self {
        Self::Damaged { path: path.to_owned(), reason }
    }

    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { action, path: path.to_owned(), source }
    }
}

/// What both trackers know and nobody else: 32 random bytes, wiped from memory when dropped.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct ClusterSecret([u8; SECRET_BYTES]);

impl ClusterSecret {
    /// A fresh secret from the system's random source.
    pub fn generate() -> Self {
        Self(rand::random())
    }

    #[cfg(test)]
    pub(crate) const fn from_bytes(bytes: [u8; SECRET_BYTES]) -> Self {
        Self(bytes)
    }

    /// Reads the secret at `path`, or makes the file (mode 0600): the flag says that it was made.
    /// Of two processes that do this at once both get the same secret. Blocks on the disk.
    ///
    /// # Errors
    /// See [`SecretError`]. A file that exists is never replaced.
    pub fn load_or_create(path: &Path) -> Result<(Self, bool), SecretError> {
        let (text, created) = file::load_or_create(path, || Ok(Self::generate().to_text()))?;
        let secret = Self::from_text(&text).map_err(|reason| SecretError::damaged(path, reason))?;
        Ok((secret, created))
    }

    /// The signing key that comes of this secret: the same for everyone who holds it.
    pub fn cluster_key(&self) -> ClusterKey {
        let seed = self.derive(CLUSTER_KEY_INFO);
        ClusterKey { signing: SigningKey::from_bytes(&seed), codes: self.derive(CODES_KEY_INFO) }
    }

    fn derive(&self, info: &[u8]) -> Zeroizing<[u8; 32]> {
        let mut key = Zeroizing::new([0; 32]);
        let expanded = Hkdf::<Sha256>::new(None, &self.0).expand(info, key.as_mut_slice());
        debug_assert!(expanded.is_ok(), "HKDF-SHA256 gives up to 8160 bytes");
        key
    }

    fn check(&self) -> [u8; CHECK_BYTES] {
        let [a, b, c, d, ..] = <[u8; 32]>::from(Sha256::digest(self.0));
        [a, b, c, d]
    }

    /// A header for people, then base32 of the secret and its check bytes.
    fn to_text(&self) -> Zeroizing<String> {
        let bytes = Zeroizing::new([&self.0[..], &self.check()].concat());
        let line = Zeroizing::new(BASE32.encode(&bytes));
        Zeroizing::new(format!("{HEADER}{}\n", line.as_str()))
    }

    /// Reads the text of a secret's file: comments, blank lines, and one line with the secret.
    ///
    /// # Errors
    /// With what is wrong; the text itself is never repeated.
    pub fn from_text(text: &str) -> Result<Self, &'static str> {
        let mut lines = text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#'));
        let (Some(line), None) = (lines.next(), lines.next()) else {
            return Err("it does not hold one line with the secret");
        };
        let bytes = Zeroizing::new(BASE32.decode(line.as_bytes()).map_err(|_| "the secret is not base32")?);
        let (secret, check) = bytes.split_at_checked(SECRET_BYTES).ok_or("the secret is cut short")?;
        let secret = Self(secret.try_into().map_err(|_| "the secret is cut short")?);
        if check == secret.check() { Ok(secret) } else { Err("the secret does not match its check digits") }
    }
}

impl Debug for ClusterSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClusterSecret(..)")
    }
}

/// The cluster's signing key (Ed25519), and one for what only trackers check; wiped from memory when dropped.
#[derive(Clone)]
pub struct ClusterKey {
    signing: SigningKey,
    codes: Zeroizing<[u8; 32]>,
}

impl ClusterKey {
    /// Signs `message` for one purpose. A signature made for one `domain` verifies in no other.
    pub fn sign(&self, domain: &[u8], message: &[u8]) -> [u8; SIGNATURE_BYTES] {
        self.signing.sign(&framed(domain, message)).to_bytes()
    }

    /// A keyed hash of `message` for one purpose (BLAKE3): who has the cluster's secret can make it, and only they can
    /// check it.
    pub fn authenticate(&self, domain: &[u8], message: &[u8]) -> [u8; 32] {
        *blake3::keyed_hash(&self.codes, &framed(domain, message)).as_bytes()
    }

    /// The public half.
    pub fn public(&self) -> ClusterPublic {
        ClusterPublic(self.signing.verifying_key())
    }

    /// Signs the to-be-signed part of a certificate, which has a fixed form of its own.
    pub(crate) fn sign_certificate(&self, tbs: &[u8]) -> [u8; SIGNATURE_BYTES] {
        debug_assert_eq!(tbs.first(), Some(&0x30), "a certificate starts with an ASN.1 SEQUENCE");
        self.signing.sign(tbs).to_bytes()
    }
}

impl Debug for ClusterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClusterKey({}, ..)", self.public().pin())
    }
}

/// What is signed: context, length of the domain (8 bytes, big-endian), domain, message.
fn framed(domain: &[u8], message: &[u8]) -> Vec<u8> {
    [CONTEXT, &(domain.len() as u64).to_be_bytes(), domain, message].concat()
}

/// The cluster's public key: verifies what either tracker signed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ClusterPublic(VerifyingKey);

impl ClusterPublic {
    /// From the 32 bytes of an Ed25519 public key; `None` if they encode no usable point.
    pub fn from_bytes(bytes: &[u8; 32]) -> Option<Self> {
        VerifyingKey::from_bytes(bytes).ok().filter(|key| !key.is_weak()).map(Self)
    }

    /// From a SubjectPublicKeyInfo in DER; `None` if it is not a usable Ed25519 key.
    pub fn from_spki(der: &[u8]) -> Option<Self> {
        let key = der.strip_prefix(&SPKI_PREFIX)?;
        Self::from_bytes(key.try_into().ok()?)
    }

    /// The 32 bytes of the Ed25519 public key.
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// The key as SubjectPublicKeyInfo in DER: 44 bytes.
    pub fn spki(&self) -> Vec<u8> {
        [&SPKI_PREFIX[..], self.as_bytes()].concat()
    }

    /// The short form by which people and files name the cluster.
    pub fn pin(&self) -> ClusterPin {
        ClusterPin::of_spki(&self.spki())
    }

    /// Whether the cluster signed `message` for `domain`. Strict: one valid encoding per signature.
    #[must_use]
    pub fn verify(&self, domain: &[u8], message: &[u8], signature: &[u8; SIGNATURE_BYTES]) -> bool {
        self.0.verify_strict(&framed(domain, message), &Signature::from_bytes(signature)).is_ok()
    }
}

impl Debug for ClusterPublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClusterPublic({})", self.pin())
    }
}

/// SHA-256 of the cluster's public key (SPKI, DER); shown as `sha256:` and base32 in lower case.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClusterPin([u8; 32]);

impl ClusterPin {
    const PREFIX: &str = "sha256:";

    /// The pin of any public key, given as SubjectPublicKeyInfo in DER.
    pub fn of_spki(der: &[u8]) -> Self {
        Self(Sha256::digest(der).into())
    }

    /// From its 32 bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl Display for ClusterPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", Self::PREFIX, BASE32.encode(&self.0).to_ascii_lowercase())
    }
}

impl Debug for ClusterPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClusterPin({self})")
    }
}

/// The text is not a pin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a cluster pin is `sha256:` and 52 characters of base32")]
pub struct InvalidPin;

impl FromStr for ClusterPin {
    type Err = InvalidPin;

    /// Upper and lower case are the same.
    fn from_str(s: &str) -> Result<Self, InvalidPin> {
        let (prefix, digest) = s.split_at_checked(Self::PREFIX.len()).ok_or(InvalidPin)?;
        if !prefix.eq_ignore_ascii_case(Self::PREFIX) {
            return Err(InvalidPin);
        }
        let bytes = BASE32.decode(digest.as_bytes()).map_err(|_| InvalidPin)?;
        bytes.try_into().map(Self).map_err(|_| InvalidPin)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Barrier;
    use std::thread;

    use super::*;

    fn directory() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    #[test]
    fn a_secret_survives_in_its_file() {
        let dir = directory();
        let path = dir.path().join("cluster.secret");
        let (first, created) = ClusterSecret::load_or_create(&path).unwrap();
        let (second, again) = ClusterSecret::load_or_create(&path).unwrap();
        assert!(created && !again);
        assert_eq!(first.0, second.0);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary file is left");
    }

    #[test]
    fn trackers_that_start_together_share_one_secret() {
        for _ in 0..50 {
            let dir = directory();
            let path = dir.path().join("cluster.secret");
            let start = Barrier::new(2);
            let run = || {
                start.wait();
                ClusterSecret::load_or_create(&path).unwrap()
            };
            let (a, b) = thread::scope(|s| {
                let (a, b) = (s.spawn(run), s.spawn(run));
                (a.join().unwrap(), b.join().unwrap())
            });
            assert_eq!(a.0.0, b.0.0);
            assert!(a.1 ^ b.1, "exactly one of them created it");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_directory_that_anybody_can_write_is_refused_with_the_remedy() {
        use std::os::unix::fs::PermissionsExt;

        let dir = directory();
        let path = dir.path().join("cluster.secret");
        let mode = |mode| fs::set_permissions(dir.path(), fs::Permissions::from_mode(mode)).unwrap();
        mode(0o777);
        let refused = ClusterSecret::load_or_create(&path).map(|_| ()).unwrap_err();
        assert!(matches!(refused, SecretError::LooseDirectory { mode: 0o777, .. }) && !path.exists());
        assert!(refused.to_string().contains(&format!("chmod go-w {}", dir.path().display())), "{refused}");
        mode(0o700);
        ClusterSecret::load_or_create(&path).unwrap();
        mode(0o1777);
        assert!(matches!(ClusterSecret::load_or_create(&path), Err(SecretError::LooseDirectory { .. })));
        mode(0o775);
        ClusterSecret::load_or_create(&path).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn loose_permissions_are_refused_with_the_remedy() {
        use std::os::unix::fs::PermissionsExt;

        let dir = directory();
        let path = dir.path().join("cluster.secret");
        ClusterSecret::load_or_create(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        for mode in [0o640, 0o604, 0o644, 0o620, 0o660] {
            fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            let refused = ClusterSecret::load_or_create(&path).unwrap_err();
            assert!(matches!(refused, SecretError::LoosePermissions { mode: m, .. } if m == mode));
            assert!(refused.to_string().contains(&format!("chmod 600 {}", path.display())));
        }
        fs::set_permissions(&path, PermissionsExt::from_mode(0o400)).unwrap();
        assert!(ClusterSecret::load_or_create(&path).is_ok());
    }

    #[test]
    fn what_is_not_a_secret_is_refused_and_left_alone() {
        let dir = directory();
        assert!(matches!(ClusterSecret::load_or_create(dir.path()), Err(SecretError::NotAFile { .. })));

        let path = dir.path().join("cluster.secret");
        ClusterSecret::load_or_create(&path).unwrap();
        let good = fs::read_to_string(&path).unwrap();
        let line = good.lines().last().unwrap();
        let altered = format!("{}{}", if line.starts_with('A') { 'B' } else { 'A' }, &line[1..]);
        let long = "#".repeat(5000);
        let twice = format!("{line}\n{line}\n");
        for bad in ["", "\n", "# only a comment\n", "not base32!", &line[..20], &altered, &twice, &long] {
            fs::write(&path, bad).unwrap();
            assert!(matches!(ClusterSecret::load_or_create(&path), Err(SecretError::Damaged { .. })), "{bad:?}");
            assert_eq!(fs::read_to_string(&path).unwrap(), bad);
        }
        fs::write(&path, [0xff, 0xfe]).unwrap();
        assert!(matches!(ClusterSecret::load_or_create(&path), Err(SecretError::Damaged { .. })));
        fs::write(&path, line.to_ascii_lowercase()).unwrap();
        assert!(ClusterSecret::load_or_create(&path).is_ok(), "case and comments do not matter");

        let nowhere = dir.path().join("missing").join("cluster.secret");
        assert!(matches!(ClusterSecret::load_or_create(&nowhere), Err(SecretError::Io { action: "create", .. })));
    }

    #[test]
    fn the_key_depends_on_the_secret_alone() {
        // Golden: another derivation would change every cluster's pin.
        let pin = ClusterSecret([7; 32]).cluster_key().public().pin();
        assert_eq!(pin, ClusterSecret([7; 32]).cluster_key().public().pin());
        assert_ne!(pin, ClusterSecret([8; 32]).cluster_key().public().pin());
        assert_eq!(pin.to_string(), "sha256:un2y2snlnsu5ulpnkopozdd73xja2nhbz2u2qmw2m7bpzdwc4e5a");
    }

    #[test]
    fn a_signature_holds_for_its_domain_message_and_key_only() {
        let key = ClusterSecret::generate().cluster_key();
        let signature = key.sign(b"ticket", b"message");
        assert!(key.public().verify(b"ticket", b"message", &signature));
        assert!(!key.public().verify(b"token", b"message", &signature));
        assert!(!key.public().verify(b"ticketm", b"essage", &signature));
        assert!(!key.public().verify(b"ticket", b"messagf", &signature));
        assert!(!ClusterSecret::generate().cluster_key().public().verify(b"ticket", b"message", &signature));
    }

    #[test]
    fn public_keys_and_pins_round_trip() {
        let public = ClusterSecret::generate().cluster_key().public();
        assert_eq!(ClusterPublic::from_spki(&public.spki()), Some(public));
        assert_eq!(ClusterPublic::from_spki(&public.spki()[1..]), None);
        // The identity point: under it a signature would hold for many messages.
        let mut identity = [0; 32];
        identity[0] = 1;
        assert_eq!(ClusterPublic::from_bytes(&identity), None);

        let text = public.pin().to_string();
        assert_eq!(text.len(), "sha256:".len() + 52);
        assert_eq!(text, text.to_ascii_lowercase());
        assert_eq!(text.parse(), Ok(public.pin()));
        assert_eq!(text.to_ascii_uppercase().parse(), Ok(public.pin()));
        for bad in ["", "sha256:", "sha1:abc", &text[7..], &text[..58], &format!("{text}a"), "sha256:é"] {
            assert_eq!(bad.parse::<ClusterPin>(), Err(InvalidPin), "{bad}");
        }
    }

    #[test]
    fn nothing_prints_a_secret() {
        assert_eq!(format!("{:?}", ClusterSecret([0xab; 32])), "ClusterSecret(..)");
        let shown = format!("{:?}", ClusterSecret([0xab; 32]).cluster_key());
        assert!(shown.starts_with("ClusterKey(sha256:") && shown.ends_with(", ..)"));
    }
}
