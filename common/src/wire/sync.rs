//! Between trackers. So far only what a client carries from one tracker to the other: how much of
//! the common history it has seen.

use serde::{Deserialize, Serialize};

use crate::id::OriginId;
use crate::wire::limits::{List, MAX_ORIGINS};

/// For each origin the number of its last event that is known; see docs/REPLICATION.md.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct VersionVector(pub List<(OriginId, u64), MAX_ORIGINS>);
