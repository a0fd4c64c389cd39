//! Outcomes read back from the JSON that they are written as. Which one it is follows from the command.

use serde::de::DeserializeOwned;
use serde_json::{Result, Value};

use super::Outcome;
use super::json::relation;
use crate::engine::Command;
use crate::engine::search::are_short;

impl Outcome {
    /// What `command` came to, from the `data` of its answer.
    ///
    /// # Errors
    /// When that is not what the command answers.
    pub(crate) fn decode(command: &Command, data: &Value) -> Result<Self> {
        let done = Self::decode_done(command, data)?;
        let is_provisional = data.get("provisional").and_then(Value::as_bool).unwrap_or_default();
        Ok(if is_provisional { done.of_one_tracker() } else { done })
    }

    fn decode_done(command: &Command, data: &Value) -> Result<Self> {
        Ok(match command {
            Command::CreateUser { .. } => {
                Self::UserCreated { user: get(data, "user")?, provisional: get(data, "provisional")? }
            }
            Command::Login { .. } => Self::LoggedIn(all(data)?),
            Command::Logout => Self::LoggedOut {},
            Command::Whoami => Self::Whoami(all(data)?),
            Command::ChangePassword { .. } => Self::PasswordChanged {},
            Command::CreateGroup { .. } => {
                Self::GroupCreated { group: get(data, "group")?, provisional: get(data, "provisional")? }
            }
            Command::ListGroups => Self::Groups { groups: get(data, "groups")? },
            Command::JoinGroup { .. } => Self::JoinRequested(all(data)?),
            Command::LeaveGroup { .. } => Self::Left {
                group: get(data, "group")?,
                was: relation::deserialize(data.get("was").unwrap_or(&Value::Null))?,
                withdrawn: get(data, "withdrawn")?,
            },
            Command::ListRequests { group } => {
                Self::Requests { group: group.clone(), requests: get(data, "requests")? }
            }
            Command::AcceptRequest { .. } => Self::Accepted(all(data)?),
            Command::RejectRequest { .. } => Self::Rejected(all(data)?),
            Command::ListMembers { .. } => Self::Members { members: get(data, "members")? },
            Command::RemoveMember { .. } => Self::Removed(all(data)?),
            Command::MakeAdmin { .. } => Self::AdminMade(all(data)?),
            Command::Invite { .. } => Self::Invited(all(data)?),
            Command::AcceptInvite { .. } => Self::Joined(all(data)?),
            Command::CheckInvite { .. } => Self::Checked(all(data)?),
            Command::ListInvites { group } => Self::Invites { group: group.clone(), invites: get(data, "invites")? },
            Command::RevokeInvite { .. } => Self::InviteRevoked(all(data)?),
            Command::UploadFile { .. } => Self::Uploaded(all(data)?),
            Command::ListFiles { folder: Some(_), .. } => Self::Tree {
                group: get(data, "group")?,
                name: get(data, "name")?,
                size: get(data, "size")?,
                entries: get(data, "entries")?,
                files: get(data, "files")?,
                total: get(data, "total")?,
            },
            Command::ListFiles { group, pattern, .. } => Self::Files {
                group: group.clone(),
                files: get(data, "files")?,
                total: get(data, "total")?,
                filtered: pattern.is_some(),
            },
            // Begun, or there.
            Command::DownloadFile { .. } => match data.get("n") {
                Some(_) => Self::Downloading {
                    n: get(data, "n")?,
                    group: get(data, "group")?,
                    name: get(data, "name")?,
                    within: get(data, "within")?,
                },
                None => Self::Downloaded(all(data)?),
            },
            Command::ShowDownloads => Self::Downloads { downloads: get(data, "downloads")? },
            Command::PauseDownload { .. } => Self::Paused { n: get(data, "n")? },
            Command::ResumeDownload { .. } => Self::Resumed { n: get(data, "n")? },
            Command::CancelDownload { .. } => Self::Cancelled { n: get(data, "n")? },
            Command::ListShares => Self::Shares { shares: get(data, "shares")? },
            Command::StopShare { .. } => {
                Self::Stopped { group: get(data, "group")?, name: get(data, "name")?, removed: get(data, "removed")? }
            }
            Command::Search { words, page } => {
                Self::Hits { hits: get(data, "hits")?, more: get(data, "more")?, short: are_short(words), page: *page }
            }
            Command::Info { .. } => Self::Info(all(data)?),
            Command::Verify { .. } => Self::Verified(all(data)?),
            Command::News { all } => Self::News { news: get(data, "news")?, since: get(data, "since")?, all: *all },
            Command::Subscribe { .. } => Self::Subscribed(self::all(data)?),
            Command::ListSubscriptions => Self::Subscriptions { subscriptions: get(data, "subscriptions")? },
            Command::Unsubscribe { .. } => Self::Unsubscribed { n: get(data, "n")?, group: get(data, "group")? },
            Command::ListDevices => Self::Devices { devices: get(data, "devices")? },
            Command::EndLogin { .. } => Self::LoginEnded { device: get(data, "device")?, here: get(data, "here")? },
            Command::Limit { .. } => Self::Limits(all(data)?),
            Command::Set { .. } | Command::Show { .. } => Self::Settings { settings: get(data, "settings")? },
            Command::Status => Self::Status(all(data)?),
            Command::Doctor => Self::Findings { findings: get(data, "findings")? },
            Command::Help { .. } => Self::Help { help: get(data, "help")? },
            Command::Web => Self::Web(all(data)?),
            Command::Quit => Self::Quit {},
            Command::Shutdown => Self::ShutDown {},
        })
    }
}

fn all<T: DeserializeOwned>(data: &Value) -> Result<T> {
    T::deserialize(data)
}

fn get<T: DeserializeOwned>(data: &Value, field: &str) -> Result<T> {
    T::deserialize(data.get(field).unwrap_or(&Value::Null))
}
