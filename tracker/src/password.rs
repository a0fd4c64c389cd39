//! Passwords: argon2id (RFC 9106) on blocking threads, at most one per core at a time, so that a storm
//! of logins takes neither all memory nor the runtime. A few wait; the rest are told to come back.
//!
//! One subscriber has only some of the places, so that a storm from one address keeps nobody else out. More
//! from there wait for those to be done, as long as a call may wait: a class that logs in at once is served.
//!
//! The memory that each computation needs is kept and used again: an allocator would keep what is given
//! back for each of many threads, and a storm would leave hundreds of megabytes behind.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use argon2::password_hash::phc::{Output, ParamsString, PasswordHash, Salt};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use common::wire::client::Password;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::limits::Payer;
use crate::limits::turns::{Turn, Turns};

/// Memory of one computation, in KiB (OWASP Password Storage Cheat Sheet: 19 MiB, t = 2, p = 1).
pub const MEMORY_KIB: u32 = 19_456;
/// Passes over the memory.
const PASSES: u32 = 2;
/// Lanes of one computation.
const LANES: u32 = 1;
/// Length of a hash, and of the salt that it is made with, in bytes (RFC 9106, section 3.1).
const HASH_LEN: usize = 32;
const SALT_LEN: usize = 16;
/// Computations that may wait for a core.
pub const QUEUE: usize = 32;
/// Computations of one subscriber that may run or wait for a core.
pub const OF_ONE: usize = 8;
/// How long one may wait for those before it from the same subscriber; less than a call may take.
const PATIENCE: Duration = Duration::from_secs(8);

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
    turns: Arc<Turns>,
    /// One for each computation that runs or waits.
    places: Arc<Semaphore>,
    /// One for each that runs.
    cores: Arc<Semaphore>,
    /// Working memory for one computation each, as many as have ever run at once.
    memory: Arc<Mutex<Vec<Vec<Block>>>>,
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
        let mut memory = Vec::new();
        let nobody = hash(&rand::random::<[u8; 16]>(), &mut memory)?.into();
        Ok(Self {
            turns: Arc::new(Turns::new(OF_ONE)),
            places: Arc::new(Semaphore::new(cores + QUEUE)),
            cores: Arc::new(Semaphore::new(cores)),
            memory: Arc::new(Mutex::new(vec![memory])),
            nobody,
        })
    }

    /// The hash of a new password from `address`, in PHC form with a salt of its own.
    ///
    /// # Errors
    /// See [`PasswordError`].
    pub async fn hash(&self, address: IpAddr, password: Password) -> Result<String, PasswordError> {
        self.compute(address, move |memory| hash(password.as_str().as_bytes(), memory)).await
    }

    /// Whether `password`, from `address`, is the one that `phc` was made of. Without `phc`, that is for a user that
    /// does not exist, it takes as long and is `false`.
    ///
    /// # Errors
    /// See [`PasswordError`].
    pub async fn verify(
        &self,
        address: IpAddr,
        password: Password,
        phc: Option<String>,
    ) -> Result<bool, PasswordError> {
        let nobody = Arc::clone(&self.nobody);
        let computed = move |memory: &mut _| {
            let right = verify(password.as_str().as_bytes(), phc.as_deref().unwrap_or(&nobody), memory)?;
            Ok(right && phc.is_some())
        };
        self.compute(address, computed).await
    }

    async fn compute<T: Send + 'static>(
        &self,
        address: IpAddr,
        work: impl FnOnce(&mut Vec<Block>) -> Result<T, PasswordError> + Send + 'static,
    ) -> Result<T, PasswordError> {
        let turn =
            timeout(PATIENCE, self.turns.next(Payer::of(None, address))).await.map_err(|_| PasswordError::Busy)?;
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| PasswordError::Busy)?;
        let core = Arc::clone(&self.cores).acquire_owned().await.map_err(|_| PasswordError::Busy)?;
        let memory = Arc::clone(&self.memory);
        // The permits go with the work: it goes on when nobody waits for it any more.
        let work = move || {
            let _held: (Turn, OwnedSemaphorePermit, OwnedSemaphorePermit) = (turn, place, core);
            let mut blocks = memory.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
            let done = work(&mut blocks);
            memory.lock().unwrap_or_else(PoisonError::into_inner).push(blocks);
            done
        };
        tokio::task::spawn_blocking(work).await.unwrap_or(Err(PasswordError::Failed))
    }
}

fn params() -> Result<Params, PasswordError> {
    Params::new(MEMORY_KIB, PASSES, LANES, Some(HASH_LEN)).map_err(|_| PasswordError::Failed)
}

fn compute(password: &[u8], salt: &[u8], params: &Params, memory: &mut Vec<Block>) -> Result<Output, PasswordError> {
    let failed = |_| PasswordError::Failed;
    memory.resize(params.block_count(), Block::new());
    let mut out = [0; HASH_LEN];
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params.clone());
    argon2.hash_password_into_with_memory(password, salt, &mut out, memory).map_err(failed)?;
    Output::new(&out).map_err(|_| PasswordError::Failed)
}

fn hash(password: &[u8], memory: &mut Vec<Block>) -> Result<String, PasswordError> {
    let (params, salt) = (params()?, rand::random::<[u8; SALT_LEN]>());
    let hashed = PasswordHash {
        algorithm: Algorithm::Argon2id.ident(),
        version: Some(Version::V0x13.into()),
        params: ParamsString::try_from(&params).map_err(|_| PasswordError::Failed)?,
        salt: Some(Salt::new(&salt).map_err(|_| PasswordError::Failed)?),
        hash: Some(compute(password, &salt, &params, memory)?),
    };
    Ok(hashed.to_string())
}

/// Compares in constant time, which is how an [`Output`] compares.
fn verify(password: &[u8], phc: &str, memory: &mut Vec<Block>) -> Result<bool, PasswordError> {
    let stored = PasswordHash::new(phc).map_err(|_| PasswordError::Failed)?;
    let params = Params::try_from(&stored).map_err(|_| PasswordError::Failed)?;
    let ours = stored.algorithm == Algorithm::Argon2id.ident() && stored.version == Some(Version::V0x13.into());
    let (Some(salt), Some(hash), true) = (stored.salt, stored.hash, ours) else { return Err(PasswordError::Failed) };
    Ok(compute(password, &salt, &params, memory)? == hash)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));

    fn password(s: &str) -> Password {
        Password::try_from(s.to_owned()).expect("a password")
    }

    #[tokio::test]
    async fn the_right_password_and_no_other() {
        let p = Passwords::new(2).expect("passwords");
        let phc = p.hash(HOME, password("correct horse")).await.expect("hashed");
        assert!(phc.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{phc}");
        assert_ne!(phc, p.hash(HOME, password("correct horse")).await.expect("hashed"), "salted");
        assert_eq!(p.verify(HOME, password("correct horse"), Some(phc.clone())).await, Ok(true));
        assert_eq!(p.verify(HOME, password("correct horsf"), Some(phc)).await, Ok(false));
        assert_eq!(p.verify(HOME, password("anything"), None).await, Ok(false));
        for bad in ["not a hash", "$argon2i$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaA", "$argon2id$v=19$m=19456,t=2,p=1"]
        {
            assert_eq!(p.verify(HOME, password("x"), Some(bad.into())).await, Err(PasswordError::Failed), "{bad}");
        }
        // Of the reference implementation, with less memory (phc-winner-argon2: "password", "somesalt", 2 x 256 KiB).
        let theirs = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
        assert_eq!(p.verify(HOME, password("password"), Some(theirs.into())).await, Ok(true));
    }

    #[tokio::test]
    async fn a_storm_is_told_to_come_back() {
        let p = Passwords::new(2).expect("passwords");
        let storm = (0..500u16).map(|n| {
            let [a, b] = n.to_be_bytes();
            p.verify([10, 1, a, b].into(), password("guess"), None)
        });
        let answers = futures::future::join_all(storm).await;
        let busy = answers.iter().filter(|a| **a == Err(PasswordError::Busy)).count();
        assert_eq!(busy, 500 - 2 - QUEUE);
        assert!(answers.iter().all(|a| matches!(a, Ok(false) | Err(PasswordError::Busy))));
        assert_eq!(p.verify(HOME, password("guess"), None).await, Ok(false), "places are given back");
        assert!(p.memory.lock().expect("lock").len() <= 2, "and so is memory");
    }

    /// With work that takes no time once it may begin: it does not matter how busy the machine is.
    #[tokio::test]
    async fn a_storm_from_one_address_keeps_nobody_else_out() {
        const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));
        let p = Passwords::new(1).expect("passwords");
        let (closed, gate) = std::sync::mpsc::sync_channel::<()>(0);
        let done = Arc::new(Mutex::new((gate, Vec::new())));
        let work = |whose: IpAddr| {
            let done = Arc::clone(&done);
            p.compute(whose, move |_| {
                let mut done = done.lock().expect("lock");
                let _ = done.0.recv();
                done.1.push(whose);
                Ok(())
            })
        };
        let mut storm = Box::pin(futures::future::join_all((0..64).map(|_| work(HOME))));
        assert!(futures::poll!(&mut storm).is_pending(), "all of it has begun");
        let mut other = Box::pin(work(OTHER));
        assert!(futures::poll!(&mut other).is_pending(), "and it does not go first");
        drop(closed);
        let (storm, other) = futures::join!(storm, other);
        assert_eq!(other, Ok(()));
        assert!(storm.iter().all(|a| *a == Ok(())), "the others waited, and none was refused");
        let order = done.lock().expect("lock").1.clone();
        assert_eq!(order.iter().position(|whose| *whose == OTHER), Some(OF_ONE), "after those that had a place");
    }

    /// The medians over interleaved samples differ by less than the noise of one: the long run,
    /// with 2,000 samples, is in the black-box tests.
    #[tokio::test]
    async fn unknown_users_cost_the_same() {
        let p = Passwords::new(1).expect("passwords");
        let phc = p.hash(HOME, password("correct horse")).await.expect("hashed");
        let (mut known, mut unknown) = (Vec::new(), Vec::new());
        for _ in 0..40 {
            for (phc, times) in [(Some(phc.clone()), &mut known), (None, &mut unknown)] {
                let start = Instant::now();
                assert_eq!(p.verify(HOME, password("wrong"), phc).await, Ok(false));
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
