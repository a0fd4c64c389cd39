//! Passwords: argon2id (RFC 9106) on blocking threads, at most one per core at a time, so that a storm
//! of logins takes neither all memory nor the runtime. A few wait; the rest are told to come back.

use std::sync::Arc;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{Error, PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use common::wire::client::Password;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Memory of one computation, in KiB (OWASP Password Storage Cheat Sheet: 19 MiB, t = 2, p = 1).
pub const MEMORY_KIB: u32 = 19_456;
/// Passes over the memory.
const PASSES: u32 = 2;
/// Lanes of one computation.
const LANES: u32 = 1;
/// Computations that may wait for a core.
pub const QUEUE: usize = 32;

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// Too many wait already.
    #[error("too many passwords are being checked")]
    Busy,
    /// A stored hash is not one, or there is no memory.
    #[error("a password could not be hashed")]
    Failed,
}

/// Hashes and verifies.
#[derive(Debug, Clone)]
pub struct Passwords {
    /// One for each computation that runs or waits.
    places: Arc<Semaphore>,
    /// One for each that runs.
    cores: Arc<Semaphore>,
    /// What a password of nobody is compared with: the same work as a user's.
    nobody: Arc<str>,
}

impl Passwords {
    /// Uses at most `cores` at once. Hashes once itself, so it takes a moment.
    ///
    /// # Errors
    /// When there is not even memory for one computation.
    pub fn new(cores: usize) -> Result<Self, PasswordError> {
        let cores = cores.max(1);
        let nobody = hash(&rand::random::<[u8; 16]>())?.into();
        Ok(Self { places: Arc::new(Semaphore::new(cores + QUEUE)), cores: Arc::new(Semaphore::new(cores)), nobody })
    }

    /// The hash of a new password, in PHC form with a salt of its own.
    ///
    /// # Errors
    /// See [`PasswordError`].
    pub async fn hash(&self, password: Password) -> Result<String, PasswordError> {
        self.compute(move || hash(password.as_str().as_bytes())).await
    }

    /// Whether `password` is the one that `phc` was made of. Without `phc`, that is for a user that
    /// does not exist, it takes as long and is `false`.
    ///
    /// # Errors
    /// See [`PasswordError`].
    pub async fn verify(&self, password: Password, phc: Option<String>) -> Result<bool, PasswordError> {
        let nobody = Arc::clone(&self.nobody);
        let computed = move || {
            let right = verify(password.as_str().as_bytes(), phc.as_deref().unwrap_or(&nobody))?;
            Ok(right && phc.is_some())
        };
        self.compute(computed).await
    }

    async fn compute<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, PasswordError> + Send + 'static,
    ) -> Result<T, PasswordError> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| PasswordError::Busy)?;
        let core = Arc::clone(&self.cores).acquire_owned().await.map_err(|_| PasswordError::Busy)?;
        // The permits go with the work: it goes on when nobody waits for it any more.
        let work = move || {
            let _held: (OwnedSemaphorePermit, OwnedSemaphorePermit) = (place, core);
            work()
        };
        tokio::task::spawn_blocking(work).await.unwrap_or(Err(PasswordError::Failed))
    }
}

fn argon2() -> Result<Argon2<'static>, PasswordError> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(|_| PasswordError::Failed)?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

fn hash(password: &[u8]) -> Result<String, PasswordError> {
    let hashed: PasswordHash = argon2()?.hash_password(password).map_err(|_| PasswordError::Failed)?;
    Ok(hashed.to_string())
}

fn verify(password: &[u8], phc: &str) -> Result<bool, PasswordError> {
    let stored = PasswordHash::new(phc).map_err(|_| PasswordError::Failed)?;
    match argon2()?.verify_password(password, &stored) {
        Ok(()) => Ok(true),
        Err(Error::PasswordInvalid) => Ok(false),
        Err(_) => Err(PasswordError::Failed),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn password(s: &str) -> Password {
        Password::try_from(s.to_owned()).expect("a password")
    }

    #[tokio::test]
    async fn the_right_password_and_no_other() {
        let p = Passwords::new(2).expect("passwords");
        let phc = p.hash(password("correct horse")).await.expect("hashed");
        assert!(phc.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{phc}");
        assert_ne!(phc, p.hash(password("correct horse")).await.expect("hashed"), "salted");
        assert_eq!(p.verify(password("correct horse"), Some(phc.clone())).await, Ok(true));
        assert_eq!(p.verify(password("correct horsf"), Some(phc)).await, Ok(false));
        assert_eq!(p.verify(password("anything"), None).await, Ok(false));
        assert_eq!(p.verify(password("x"), Some("not a hash".into())).await, Err(PasswordError::Failed));
    }

    #[tokio::test]
    async fn a_storm_is_told_to_come_back() {
        let p = Passwords::new(2).expect("passwords");
        let storm = (0..500).map(|_| p.verify(password("guess"), None));
        let answers = futures::future::join_all(storm).await;
        let busy = answers.iter().filter(|a| **a == Err(PasswordError::Busy)).count();
        assert_eq!(busy, 500 - 2 - QUEUE);
        assert!(answers.iter().all(|a| matches!(a, Ok(false) | Err(PasswordError::Busy))));
        assert_eq!(p.verify(password("guess"), None).await, Ok(false), "places are given back");
    }

    /// The medians over interleaved samples differ by less than the noise of one: the long run,
    /// with 2,000 samples, is in the black-box tests.
    #[tokio::test]
    async fn unknown_users_cost_the_same() {
        let p = Passwords::new(1).expect("passwords");
        let phc = p.hash(password("correct horse")).await.expect("hashed");
        let (mut known, mut unknown) = (Vec::new(), Vec::new());
        for _ in 0..40 {
            for (phc, times) in [(Some(phc.clone()), &mut known), (None, &mut unknown)] {
                let start = Instant::now();
                assert_eq!(p.verify(password("wrong"), phc).await, Ok(false));
                times.push(start.elapsed());
            }
        }
        let median = |times: &mut Vec<Duration>| {
            times.sort();
            times[times.len() / 2].as_secs_f64()
        };
        let ratio = median(&mut known) / median(&mut unknown);
        assert!((0.67..1.5).contains(&ratio), "{ratio}");
    }
}
