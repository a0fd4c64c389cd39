//! How everything is.

use common::id::UserName;
use common::wire::client::Mode;
use serde::{Deserialize, Serialize};

use super::{Moment, json};

/// How everything is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// All of the list, in its order.
    pub trackers: Vec<TrackerRow>,
    /// Whether both hold everything; `none` while no tracker can be reached.
    #[serde(with = "json::mode")]
    pub mode: Option<Mode>,
    /// Events that the tracker that is not current is known to lack, if the current one says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag: Option<u64>,
    /// Who is logged in.
    pub user: Option<UserName>,
    /// Where this client serves.
    pub listen: String,
    /// This device's id, in hex.
    pub device: String,
    /// Bytes per second fetched now.
    pub rate_down: u64,
    /// What may be sent and fetched.
    #[serde(default)]
    pub limits: Limits,
    /// Whether others can connect.
    #[serde(default)]
    pub reach: Reach,
}

/// What may be sent and fetched, in bytes per second; `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Sent.
    pub up: Option<u64>,
    /// Fetched.
    pub down: Option<u64>,
}

/// A link to the page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageLink {
    /// Signs one browser in.
    pub link: String,
    /// SHA-256 of the page's certificate as browsers show it; left out where the page is for this machine only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
}

/// Whether others can connect to where this client serves, as far as that is known.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Reach {
    /// How it is.
    pub state: ReachState,
    /// When a member last connected; left out where none has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Moment>,
}

/// See [`Reach`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReachState {
    /// It listens at an address that only this machine has.
    Loopback,
    /// A member on another machine has connected.
    Reached,
    /// Members on this machine have, and nobody else.
    Local,
    /// Nobody has connected since this client started.
    #[default]
    Unknown,
}

/// One tracker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrackerRow {
    /// Where it is.
    pub address: String,
    /// Whether it answers.
    pub up: bool,
    /// Whether commands go to it.
    pub current: bool,
    /// Whether it has refused something because its disk is full; left out if it has not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub disk_full: bool,
}
