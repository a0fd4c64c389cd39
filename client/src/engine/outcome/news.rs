//! What was missed, and what comes by itself.

use std::path::PathBuf;

use common::id::{FileId, GroupName, UserName};
use serde::{Deserialize, Serialize};

use super::{Moment, json};
use crate::engine::news::Happening;

/// A piece of news in a listing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewsRow {
    /// When, in RFC 3339.
    pub at: Moment,
    /// What happened.
    pub event: Happening,
    /// In which group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<GroupName>,
    /// Who.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserName>,
    /// Which share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its length.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Its id, in hex.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "json::hex_if_any")]
    pub file_id: Option<FileId>,
    /// Whether it has taken the place of what had its name.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub new_version: bool,
    /// All of it as a sentence; what came from the network is escaped.
    pub text: String,
}

/// A subscription that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscribed {
    /// Its number.
    pub n: u64,
    /// Which group.
    pub group: GroupName,
    /// Only names that fit, if not all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub glob: Option<String>,
    /// The directory where it goes.
    #[serde(with = "json::path")]
    pub destination: PathBuf,
    /// Shares that are there already, and will come.
    pub waiting: u64,
    /// Of those that were asked for, what this device has and does not fetch again.
    #[serde(default)]
    pub here: u64,
    /// Whether this client stays, so that anything comes.
    pub acts: bool,
    /// Whether it was there before, and what is there already comes besides.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub extended: bool,
}

/// A subscription in a listing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubscriptionRow {
    /// Its number.
    pub n: u64,
    /// What the group is called now.
    pub group: GroupName,
    /// Only names that fit, if not all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub glob: Option<String>,
    /// The directory where it goes.
    #[serde(with = "json::path")]
    pub destination: PathBuf,
    /// Shares that have come.
    pub fetched: u64,
    /// Shares that are coming, or are to.
    pub waiting: u64,
    /// Shares that were not fetched, since this device had them.
    #[serde(default)]
    pub here: u64,
    /// What was last wrong, if nothing has come since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}
