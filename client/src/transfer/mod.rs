//! What serving and fetching have in common: buffers, the memory budget, rates, manifests on disk,
//! marks by which a changed file is recognised, and the little that both ask of the trackers.
//!
//! Knows neither peers nor pieces' states; [`share`](crate::share) and
//! [`download`](crate::download) build on it, never the other way round.

pub mod directory;
#[cfg(test)]
pub(crate) mod fake;
pub(crate) mod group_names;
pub(crate) mod manifests;
pub(crate) mod meter;
pub(crate) mod pool;
pub mod rate;
pub(crate) mod saved;
pub(crate) mod stamp;

pub use self::directory::Directory;
pub use self::rate::Limits;
