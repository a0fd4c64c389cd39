//! What is set, and where it comes from.

use serde::{Deserialize, Serialize};

use crate::settings::{Direction, Origin, SettingName};

/// All limits.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LimitTable {
    /// Bytes per second that the whole client may send now; `None` is no limit.
    pub up: Option<u64>,
    /// And fetch.
    pub down: Option<u64>,
    /// Where these follow the clock, what they follow; and the limits of groups and downloads, which hold besides. Left out
    /// where there is nothing of that.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<LimitRow>,
}

/// One limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitRow {
    /// Of what is sent, or of what is fetched.
    pub direction: Direction,
    /// In this group only; left out for the whole client, and for a download.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Of this download only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n: Option<u64>,
    /// Bytes per second; `None` is no limit.
    pub rate: Option<u64>,
    /// At these hours, in local time; left out for what holds at any other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// Whether it is the one that holds now.
    pub now: bool,
}

/// A setting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettingRow {
    /// Its name.
    pub name: SettingName,
    /// Its value, as it is typed.
    pub value: String,
    /// Where that comes from.
    pub from: Origin,
    /// What goes before it at the next start, with the same command line and environment; left out where nothing does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_start: Option<Origin>,
    /// Whether another value holds at some hours: `limit` shows which. Left out where none does.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub by_hours: bool,
}
