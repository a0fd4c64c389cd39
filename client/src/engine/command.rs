//! The one table of commands: parsing, usage, help and completion all come from it.
//!
//! The names of the arguments are part of the table: completion goes by them (see
//! `Argument::of`). Knows no terminal and no network.

mod argument;
mod effect;
pub(crate) mod guide;

use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::{Parser, Subcommand};
use common::id::{FileName, GroupName, UserName};
use common::wire::client::FileSelector;
use serde::Serialize;
use serde_json::{Map, Value};

pub(crate) use self::argument::as_argument;
pub use self::argument::{DevicePrefix, Hours, InviteLine, Lifetime, MaxRate, Order, Secret, ShareFile};
use self::argument::{
    download_number, invitation_number, joined, pattern, positive, selector, share, subscription_number, uses,
};
use super::arrange::{Glob, SortBy};
use super::paths;
use crate::settings::{Direction, SettingName};
use crate::units;

/// A line at the prompt or in a script.
#[derive(Debug, Clone, Parser)]
#[command(
    multicall = true,
    name = "",
    disable_help_subcommand = true,
    disable_help_flag = true,
    subcommand_value_name = "command",
    subcommand_help_heading = "Commands"
)]
pub(crate) struct Line {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What can be typed.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand, Serialize)]
#[command(rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Make a new account; does not log in
    CreateUser {
        /// The name to claim
        #[arg(value_name = "user")]
        user: UserName,
        /// 8 to 1024 bytes; asked for when left out
        #[arg(value_name = "password", allow_hyphen_values = true)]
        password: Option<Secret>,
        /// An invitation, where accounts are for those who are invited; `accept_invite` then joins its group
        #[arg(long, value_name = "line")]
        invite: Option<InviteLine>,
    },
    /// Log in, and stay so until logout
    Login {
        /// Who you are
        #[arg(value_name = "user")]
        user: UserName,
        /// Asked for when left out
        #[arg(value_name = "password", allow_hyphen_values = true)]
        password: Option<Secret>,
        /// A one-time code of the tracker's operator, in place of the password; asks for a new one
        #[arg(long, value_name = "code", conflicts_with = "password")]
        code: Option<Secret>,
        /// With a code, the new password; asked for when left out
        #[arg(long = "new-password", value_name = "password", requires = "code", allow_hyphen_values = true)]
        new_password: Option<Secret>,
    },
    /// End this login
    Logout,
    /// Show who is logged in
    Whoami,
    /// Change your password, and end your logins on other devices
    ChangePassword {
        /// The present one; asked for when left out
        #[arg(value_name = "old", allow_hyphen_values = true, requires = "new")]
        old: Option<Secret>,
        /// The new one, 8 to 1024 bytes
        #[arg(value_name = "new", allow_hyphen_values = true)]
        new: Option<Secret>,
    },
    /// Make a new group, with you as its admin
    CreateGroup {
        /// The name to claim
        #[arg(value_name = "group")]
        group: GroupName,
    },
    /// List all groups, and what you are to each
    ListGroups,
    /// Ask a group's admin to let you in
    JoinGroup {
        /// Which group
        #[arg(value_name = "group")]
        group: GroupName,
    },
    /// Leave a group, or withdraw your request; your shares there go with you
    ///
    /// The role of an admin goes to whoever has been a member for longest; `make_admin` chooses before.
    LeaveGroup {
        /// Which group
        #[arg(value_name = "group")]
        group: GroupName,
    },
    /// List who asks to join (admin)
    ListRequests {
        /// Which group
        #[arg(value_name = "group")]
        group: GroupName,
    },
    /// Let a user in (admin)
    AcceptRequest {
        /// Which group
        #[arg(value_name = "group")]
        group: GroupName,
        /// Whom
        #[arg(value_name = "user")]
        user: UserName,
    },
    /// Turn a user's request down (admin)
    RejectRequest {
        /// Which group
        #[arg(value_name = "group")]
        group: GroupName,
        /// Whose
        #[arg(value_name = "user")]
        user: UserName,
    },
    /// List a group's members
    ListMembers {
        /// Which group
        #[arg(value_name = "group")]
        group: GroupName,
    },
    /// Put a member out of the group, at once and also in mid-download (admin)
    RemoveMember {
        /// Which group
        #[arg(value_name = "group")]
        group: GroupName,
        /// Whom
        #[arg(value_name = "user")]
        user: UserName,
    },
    /// Hand the admin's role over to a member (admin)
    MakeAdmin {
        /// Which group
        #[arg(value_name = "group")]
        group: GroupName,
        /// To whom
        #[arg(value_name = "user")]
        user: UserName,
    },
    /// Make an invitation: a line that lets whoever has it in, at once (admin)
    Invite {
        /// Into which group
        #[arg(value_name = "group")]
        group: GroupName,
        /// How many may come by it, at most 10000
        #[arg(long, value_name = "n", value_parser = uses, default_value = "10")]
        uses: NonZeroU32,
        /// How long it is good, such as 30m, 12h or 7d, at most 365d
        #[arg(long, value_name = "time", default_value = "7d")]
        expires: Lifetime,
    },
    /// Join a group by an invitation
    AcceptInvite {
        /// The line that you were sent: `shoal-invite:…`; asked for when left out
        #[arg(value_name = "line")]
        line: Option<InviteLine>,
    },
    /// See which group an invitation is for, and whether it is still good; needs no login
    CheckInvite {
        /// The line that you were sent: `shoal-invite:…`; asked for when left out
        #[arg(value_name = "line")]
        line: Option<InviteLine>,
    },
    /// List a group's invitations: how often each was used, and whether it is still good (admin)
    ListInvites {
        /// Which group
        #[arg(value_name = "group")]
        group: GroupName,
    },
    /// End an invitation; who has come by it stays (admin)
    RevokeInvite {
        /// Into which group
        #[arg(value_name = "group")]
        group: GroupName,
        /// Its number in list_invites
        #[arg(value_name = "n", value_parser = invitation_number)]
        n: u64,
    },
    /// Share a file or a folder with a group, and seed it
    #[command(visible_alias = "upload")]
    UploadFile {
        /// The file or the folder
        #[arg(value_name = "path", value_parser = paths::parser())]
        path: PathBuf,
        /// With whom
        #[arg(value_name = "group")]
        group: GroupName,
        /// Power of two, 16KiB to 16MiB; chosen by the file's size when left out
        #[arg(long = "piece-size", value_name = "size", value_parser = units::parse_size)]
        piece_size: Option<u64>,
        /// Share it under this name; otherwise the last part of its path
        #[arg(long, value_name = "share name", allow_hyphen_values = true)]
        name: Option<FileName>,
        /// Take the place of what you, or as the admin anybody, shared under that name
        #[arg(long)]
        replace: bool,
    },
    /// List what a group shares, or what is in a folder that it shares
    ListFiles {
        /// Which group; or a link, perhaps with `/` and a path, in place of group and folder
        #[arg(value_name = "group")]
        group: GroupName,
        /// Which folder: its name, or `id:` and at least 8 digits of its id; with `/` and a path, what is there in it
        #[arg(id = "folder", value_name = "folder")]
        folder: Option<ShareFile>,
        /// By name, or the largest, newest or most seeded first; in a folder by name or size
        #[arg(long, value_name = "sort", value_enum, default_value = "name")]
        sort: SortBy,
        /// Only names that fit a pattern, such as '*.bin'; one with `/` is about paths in a folder
        #[arg(long = "match", value_name = "glob")]
        #[serde(rename = "match")]
        pattern: Option<Glob>,
        /// Only so many rows, this page of them, from 1
        #[arg(long, value_name = "n", value_parser = positive)]
        page: Option<NonZeroU32>,
        /// Rows of a page, 100 if not given
        #[arg(long, value_name = "n", value_parser = positive)]
        rows: Option<NonZeroU32>,
    },
    /// Download a file or a folder from everyone in the group who has it
    #[command(visible_alias = "download")]
    DownloadFile {
        /// Which group; or a link, perhaps with `/` and a path, in place of group and file
        #[arg(value_name = "group")]
        group: GroupName,
        /// Its name, or `id:` and at least 8 digits of its id; with `/` and a path, a file of a folder
        #[arg(value_name = "file_name")]
        file_name: ShareFile,
        /// A directory, or the path to give the file
        #[arg(value_name = "destination", value_parser = paths::parser())]
        destination: PathBuf,
        /// In which order pieces are fetched
        #[arg(long, value_name = "strategy", value_enum, default_value = "rarest")]
        strategy: Order,
        /// Replace what is at the destination; in a folder only the files of the share
        #[arg(long)]
        force: bool,
        /// Of a folder only what this pattern fits; repeatable
        #[arg(long, value_name = "glob", allow_hyphen_values = true, value_parser = pattern)]
        only: Vec<String>,
        /// Of a folder not what this pattern fits; repeatable
        #[arg(long, value_name = "glob", allow_hyphen_values = true, value_parser = pattern)]
        except: Vec<String>,
    },
    /// Show downloads: state, progress, rate and peers
    ShowDownloads,
    /// Pause a download
    PauseDownload {
        /// Its number in show_downloads
        #[arg(value_name = "n", value_parser = download_number)]
        n: u64,
    },
    /// Go on with a paused or failed download
    ResumeDownload {
        /// Its number in show_downloads
        #[arg(value_name = "n", value_parser = download_number)]
        n: u64,
    },
    /// Give a download up, and remove what it has fetched
    CancelDownload {
        /// Its number in show_downloads
        #[arg(value_name = "n", value_parser = download_number)]
        n: u64,
    },
    /// List what this device seeds: state, rate, peers and bytes given
    ListShares,
    /// Stop seeding a file from this device
    StopShare {
        /// Which group; or a link, in place of group and file
        #[arg(value_name = "group")]
        group: GroupName,
        /// Its name, or `id:` and at least 8 digits of its id
        #[arg(value_name = "file_name", value_parser = share)]
        #[serde(serialize_with = "selector")]
        file_name: FileSelector,
    },
    /// Find shares, and files in folders, in all your groups
    ///
    /// A word of one or two letters is found where a word begins; beside a longer one, anywhere in the name.
    Search {
        /// What the name has to contain: words, or parts of them
        #[arg(value_name = "words", required = true, num_args = 1..)]
        #[serde(serialize_with = "joined")]
        words: Vec<String>,
        /// Which page of the hits, from 1
        #[arg(long, value_name = "n", value_parser = positive)]
        page: Option<NonZeroU32>,
    },
    /// Show all there is to know of a file: ids, link, pieces, and how much each seeder has
    Info {
        /// Which group; or a link, in place of group and file
        #[arg(value_name = "group")]
        group: GroupName,
        /// Its name, or `id:` and at least 8 digits of its id
        #[arg(value_name = "file_name", value_parser = share)]
        #[serde(serialize_with = "selector")]
        file_name: FileSelector,
    },
    /// Read a file that this device shares again, and compare it with what was published
    Verify {
        /// Which group; or a link, in place of group and file
        #[arg(value_name = "group")]
        group: GroupName,
        /// Its name, or `id:` and at least 8 digits of its id
        #[arg(value_name = "file_name", value_parser = share)]
        #[serde(serialize_with = "selector")]
        file_name: FileSelector,
    },
    /// Show what has happened in your groups and here since you last looked
    News {
        /// All of the last 30 days, also what was shown before
        #[arg(long)]
        all: bool,
    },
    /// Fetch what is shared in a group from now on, while a client runs here
    ///
    /// What this device has already, by hand or by another subscription, is not fetched again.
    #[command(allow_missing_positional = true)]
    Subscribe {
        /// Which group
        #[arg(value_name = "group")]
        group: GroupName,
        /// Only names that fit a pattern, such as '*.bin'
        #[arg(value_name = "glob")]
        glob: Option<Glob>,
        /// The directory where it goes; made if it is missing
        #[arg(value_name = "destination", value_parser = paths::parser())]
        destination: PathBuf,
        /// Also what is shared already; may be added to the same subscription later
        #[arg(long)]
        existing: bool,
    },
    /// List your subscriptions on this device
    ListSubscriptions,
    /// End a subscription; what has come stays
    Unsubscribe {
        /// Its number in list_subscriptions
        #[arg(value_name = "n", value_parser = subscription_number)]
        n: u64,
    },
    /// List the devices on which you are logged in
    ListDevices,
    /// End your login on a device, as `logout` there would
    EndLogin {
        /// The beginning of its id, as list_devices shows it
        #[arg(value_name = "device")]
        device: DevicePrefix,
    },
    /// Show all limits, or limit what is sent or fetched, at once and after restarts
    Limit {
        /// `up` is what this client sends to others, `down` what it fetches
        #[arg(value_name = "up|down", value_enum, requires = "rate")]
        direction: Option<Direction>,
        /// Bytes per second, for example 500K or 10M; or `off`. The smallest limit that concerns a transfer holds
        #[arg(value_name = "rate|off")]
        rate: Option<MaxRate>,
        /// Only what goes to or comes from members of this group
        #[arg(long, value_name = "group", requires = "direction")]
        group: Option<GroupName>,
        /// Only this download: its number in show_downloads. `down` until it is over, `up` while it is listed there
        #[arg(long, value_name = "n", value_parser = download_number, requires = "direction", conflicts_with = "group")]
        download: Option<u64>,
        /// Only at these hours of each day, by this machine's clock, such as 08:00-18:00; repeatable. A line without it
        /// holds at any time, and removes these
        #[arg(long, value_name = "hours", requires = "direction")]
        at: Vec<Hours>,
    },
    /// Show all settings, or set one, at once and after restarts
    Set {
        /// Which one
        #[arg(value_name = "name", value_enum, requires = "value")]
        name: Option<SettingName>,
        /// Its value; `default` removes it from settings.toml
        #[arg(value_name = "value", allow_hyphen_values = true)]
        value: Option<String>,
    },
    /// Show settings, and where the value of each comes from
    Show {
        /// Which one; all when left out
        #[arg(value_name = "name", value_enum)]
        name: Option<SettingName>,
    },
    /// Show trackers, login, address, limits and rates
    Status,
    /// Look whether all is well: clock, trackers, reachability, disks, permissions; with remedies
    Doctor,
    /// Open the page for your browser, and show a link that signs it in
    Web,
    /// Show all commands, or one
    Help {
        /// Which one
        #[arg(value_name = "command")]
        command: Option<String>,
    },
    /// Leave (also Ctrl-D); shares are seeded again at the next start
    #[command(visible_alias = "exit")]
    Quit,
    /// End the client that runs on this data directory, for all who are attached to it
    Shutdown,
}

impl Command {
    /// The listing of all that a group shares.
    pub fn all_files(group: GroupName) -> Self {
        Self::ListFiles { group, folder: None, sort: SortBy::default(), pattern: None, page: None, rows: None }
    }

    /// What is in a folder.
    pub(crate) fn folder(group: GroupName, folder: ShareFile) -> Self {
        let folder = Some(folder);
        Self::ListFiles { group, folder, sort: SortBy::default(), pattern: None, page: None, rows: None }
    }

    /// The name of the command in the table, whatever alias was typed.
    pub fn name(&self) -> &'static str {
        match self {
            Self::CreateUser { .. } => "create_user",
            Self::Login { .. } => "login",
            Self::Logout => "logout",
            Self::Whoami => "whoami",
            Self::ChangePassword { .. } => "change_password",
            Self::CreateGroup { .. } => "create_group",
            Self::ListGroups => "list_groups",
            Self::JoinGroup { .. } => "join_group",
            Self::LeaveGroup { .. } => "leave_group",
            Self::ListRequests { .. } => "list_requests",
            Self::AcceptRequest { .. } => "accept_request",
            Self::RejectRequest { .. } => "reject_request",
            Self::ListMembers { .. } => "list_members",
            Self::RemoveMember { .. } => "remove_member",
            Self::MakeAdmin { .. } => "make_admin",
            Self::Invite { .. } => "invite",
            Self::AcceptInvite { .. } => "accept_invite",
            Self::CheckInvite { .. } => "check_invite",
            Self::ListInvites { .. } => "list_invites",
            Self::RevokeInvite { .. } => "revoke_invite",
            Self::UploadFile { .. } => "upload_file",
            Self::ListFiles { .. } => "list_files",
            Self::DownloadFile { .. } => "download_file",
            Self::ShowDownloads => "show_downloads",
            Self::PauseDownload { .. } => "pause_download",
            Self::ResumeDownload { .. } => "resume_download",
            Self::CancelDownload { .. } => "cancel_download",
            Self::ListShares => "list_shares",
            Self::StopShare { .. } => "stop_share",
            Self::Search { .. } => "search",
            Self::Info { .. } => "info",
            Self::Verify { .. } => "verify",
            Self::News { .. } => "news",
            Self::Subscribe { .. } => "subscribe",
            Self::ListSubscriptions => "list_subscriptions",
            Self::Unsubscribe { .. } => "unsubscribe",
            Self::ListDevices => "list_devices",
            Self::EndLogin { .. } => "end_login",
            Self::Limit { .. } => "limit",
            Self::Set { .. } => "set",
            Self::Show { .. } => "show",
            Self::Status => "status",
            Self::Doctor => "doctor",
            Self::Help { .. } => "help",
            Self::Web => "web",
            Self::Quit => "quit",
            Self::Shutdown => "shutdown",
        }
    }

    /// Its arguments by their names in the table, as another process is told them.
    ///
    /// # Errors
    /// When a path is not UTF-8.
    pub(crate) fn fields(&self) -> serde_json::Result<Map<String, Value>> {
        let Value::Object(variant) = serde_json::to_value(self)? else { return Ok(Map::new()) };
        // The only field is the variant, and what that has are the arguments.
        let fields = variant.into_iter().next().map(|(_, fields)| fields);
        Ok(fields
            .and_then(|fields| if let Value::Object(fields) = fields { Some(fields) } else { None })
            .unwrap_or_default())
    }

    /// Whether the line held a password or an invitation: then it is kept nowhere.
    pub(crate) fn holds_password(&self) -> bool {
        match self {
            Self::CreateUser { password, invite, .. } => password.is_some() || invite.is_some(),
            Self::Login { password, code, new_password, .. } => {
                password.is_some() || code.is_some() || new_password.is_some()
            }
            Self::AcceptInvite { line } | Self::CheckInvite { line } => line.is_some(),
            Self::ChangePassword { old, new } => old.is_some() || new.is_some(),
            _ => false,
        }
    }
}

/// What an argument stands for, so that it can be completed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Argument {
    /// A command of the table.
    Command,
    /// A group.
    Group,
    /// A user.
    User,
    /// A share of the group named before.
    File,
    /// A path on this machine.
    Path,
    /// A number in show_downloads.
    Download,
    /// Something that only the user knows.
    Other,
}

impl Argument {
    /// By the argument's id in the table.
    pub(crate) fn of(id: &str) -> Self {
        match id {
            "command" => Self::Command,
            "group" => Self::Group,
            "user" => Self::User,
            "file_name" | "folder" => Self::File,
            "path" | "destination" => Self::Path,
            "n" | "download" => Self::Download,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_table_is_sound() {
        Line::command().debug_assert();
    }

    #[test]
    fn names_are_those_of_the_table() {
        let names: Vec<_> = Line::command().get_subcommands().map(|c| c.get_name().to_owned()).collect();
        let expected = [
            "create_user",
            "login",
            "logout",
            "whoami",
            "change_password",
            "create_group",
            "list_groups",
            "join_group",
            "leave_group",
            "list_requests",
            "accept_request",
            "reject_request",
            "list_members",
            "remove_member",
            "make_admin",
            "invite",
            "accept_invite",
            "check_invite",
            "list_invites",
            "revoke_invite",
            "upload_file",
            "list_files",
            "download_file",
            "show_downloads",
            "pause_download",
            "resume_download",
            "cancel_download",
            "list_shares",
            "stop_share",
            "search",
            "info",
            "verify",
            "news",
            "subscribe",
            "list_subscriptions",
            "unsubscribe",
            "list_devices",
            "end_login",
            "limit",
            "set",
            "show",
            "status",
            "doctor",
            "web",
            "help",
            "quit",
            "shutdown",
        ];
        assert_eq!(names, expected);
        for (line, name) in [
            ("upload a b", "upload_file"),
            ("download g f .", "download_file"),
            ("exit", "quit"),
            ("pause_download 3", "pause_download"),
            ("change_password a b", "change_password"),
        ] {
            let parsed = Line::try_parse_from(line.split(' ')).expect(line);
            assert_eq!(parsed.command.name(), name);
        }
    }

    #[test]
    fn a_share_is_named_by_itself_or_with_a_path_in_it() {
        let parsed = |text: &str| text.parse::<ShareFile>().map(|file| file.to_string());
        for text in ["a.bin", "src/lib/a.rs", "id:0011223344/a b"] {
            assert_eq!(parsed(text).as_deref(), Ok(text));
        }
        assert_eq!(parsed("src/").as_deref(), Ok("src"));
        assert!(parsed("src/../x").is_err() && parsed("/x").is_err() && parsed("src//x").is_err());
    }

    #[test]
    fn a_password_is_never_shown() {
        let line = Line::try_parse_from(["login", "alice", "-hunter2"]).expect("a line");
        assert!(line.command.holds_password());
        assert!(!format!("{line:?}").contains("hunter2"));
    }
}
