//! What serving and fetching have in common: buffers, the memory budget, rates, manifests on disk,
//! and marks by which a changed file is recognised.
//!
//! Knows no trackers, neither peers nor pieces' states; [`share`](crate::share) and
//! [`download`](crate::download) build on it, never the other way round.

pub(crate) mod beneath;
pub(crate) mod manifests;
pub(crate) mod meter;
pub(crate) mod pool;
pub mod rate;
pub(crate) mod saved;
pub(crate) mod scatter;
pub(crate) mod stamp;
pub(crate) mod trees;

pub use self::rate::Limits;
