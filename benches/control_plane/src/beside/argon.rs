//! How many passwords a second this machine can check: argon2id by the parameters of a stored hash, on every core,
//! with nothing around it.

use std::thread;
use std::time::{Duration, Instant};

use argon2::{Algorithm, Argon2, Block, Params, Version};
use data_encoding::BASE64_NOPAD;

/// Those of the tracker.
fn params() -> Params {
    Params::new(19_456, 2, 1, Some(32)).expect("parameters")
}

/// The hash of `password`, in PHC form.
pub(crate) fn phc(password: &str) -> String {
    let (params, salt, mut out) = (params(), [7; 16], [0; 32]);
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params.clone());
    argon2.hash_password_into(password.as_bytes(), &salt, &mut out).expect("hashed");
    format!(
        "$argon2id$v=19$m={},t={},p={}${}${}",
        params.m_cost(),
        params.t_cost(),
        params.p_cost(),
        BASE64_NOPAD.encode(&salt),
        BASE64_NOPAD.encode(&out)
    )
}

/// Hashes per second of `threads` threads in `time`.
pub(crate) fn hashes_per_second(threads: usize, time: Duration) -> f64 {
    let began = Instant::now();
    let work = || {
        let (params, mut out, mut count) = (params(), [0; 32], 0u32);
        let mut memory = vec![Block::new(); params.block_count()];
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        while began.elapsed() < time {
            argon2.hash_password_into_with_memory(b"password", &[7; 16], &mut out, &mut memory).expect("hashed");
            count += 1;
        }
        count
    };
    let count: u32 = thread::scope(|s| {
        let threads: Vec<_> = (0..threads).map(|_| s.spawn(work)).collect();
        threads.into_iter().map(|t| t.join().expect("a thread")).sum()
    });
    f64::from(count) / began.elapsed().as_secs_f64()
}
