//! What a command does to what the trackers keep, and where one sees what became of it when its answer has not come.

use common::id::UserName;

use super::Command;

impl Command {
    /// The line that shows `user` whether this was carried out. None for what changes nothing at the trackers.
    pub(crate) fn shown_by(&self, user: Option<&UserName>) -> Option<String> {
        match self {
            Self::CreateUser { user, .. } => Some(format!("login {user}")),
            Self::Login { .. } | Self::Logout => Some("whoami".to_owned()),
            Self::CreateGroup { .. } | Self::JoinGroup { .. } | Self::LeaveGroup { .. } | Self::AcceptInvite { .. } => {
                Some("list_groups".to_owned())
            }
            Self::AcceptRequest { group, .. } | Self::RemoveMember { group, .. } | Self::MakeAdmin { group, .. } => {
                Some(format!("list_members {group}"))
            }
            Self::RejectRequest { group, .. } => Some(format!("list_requests {group}")),
            Self::Invite { group, .. } | Self::RevokeInvite { group, .. } => Some(format!("list_invites {group}")),
            Self::UploadFile { group, .. } => Some(format!("list_files {group}")),
            Self::EndLogin { .. } => Some("list_devices".to_owned()),
            Self::StopShare { .. } => Some("list_shares".to_owned()),
            // By whether it takes the new password.
            Self::ChangePassword { .. } => user.map(|user| format!("login {user}")),
            Self::Whoami | Self::ListGroups | Self::ListRequests { .. } | Self::ListMembers { .. } => None,
            Self::CheckInvite { .. } | Self::ListInvites { .. } | Self::ListFiles { .. } => None,
            Self::DownloadFile { .. } | Self::ShowDownloads | Self::PauseDownload { .. } => None,
            Self::ResumeDownload { .. } | Self::CancelDownload { .. } | Self::ListShares | Self::ListDevices => None,
            Self::Search { .. } | Self::Info { .. } | Self::Verify { .. } | Self::News { .. } => None,
            Self::Subscribe { .. } | Self::ListSubscriptions | Self::Unsubscribe { .. } => None,
            Self::Limit { .. } | Self::Set { .. } | Self::Show { .. } | Self::Status | Self::Doctor => None,
            Self::Web | Self::Help { .. } | Self::Quit | Self::Shutdown => None,
        }
    }

    /// Whether the command of this name changes what the trackers keep: then its answer may come from one of two trackers that
    /// alone has the change so far, and says so. None for a name that is not of the table.
    pub(crate) fn changes(name: &str) -> Option<bool> {
        Some(match name {
            "create_user" | "login" | "logout" | "change_password" | "end_login" => true,
            "create_group" | "join_group" | "leave_group" => true,
            "accept_request" | "reject_request" | "remove_member" | "make_admin" => true,
            "invite" | "accept_invite" | "revoke_invite" => true,
            // What is found to be something else than was published is withdrawn.
            "upload_file" | "stop_share" | "verify" => true,
            "whoami" | "list_devices" | "list_groups" | "list_requests" | "list_members" => false,
            "check_invite" | "list_invites" => false,
            "list_files" | "list_shares" | "search" | "info" | "news" => false,
            // That a download is there, and seeded, is told later, whatever was answered.
            "download_file" | "show_downloads" | "pause_download" | "resume_download" | "cancel_download" => false,
            // Kept by this client alone.
            "subscribe" | "list_subscriptions" | "unsubscribe" | "limit" | "set" | "show" => false,
            "status" | "doctor" | "web" | "help" | "quit" | "shutdown" => false,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;
    use crate::engine::command::Line;

    #[test]
    fn of_every_command_it_is_known_whether_it_changes_anything() {
        for command in Line::command().get_subcommands() {
            assert!(Command::changes(command.get_name()).is_some(), "{}", command.get_name());
        }
        assert_eq!(Command::changes("list_group"), None);
    }

    #[test]
    fn what_a_further_line_shows_has_changed_something() {
        let lines = [
            "create_user bob",
            "login bob",
            "logout",
            "create_group lab",
            "join_group lab",
            "leave_group lab",
            "accept_request lab bob",
            "reject_request lab bob",
            "remove_member lab bob",
            "make_admin lab bob",
            "invite lab",
            "revoke_invite lab 1",
            "accept_invite",
            "upload_file /x lab",
            "end_login abcdef",
            "stop_share lab x",
            "change_password",
        ];
        let alice = "alice".parse().expect("a name");
        for line in lines {
            let Line { command } = Line::try_parse_from(line.split(' ')).expect(line);
            assert!(command.shown_by(Some(&alice)).is_some(), "{line}");
            assert_eq!(Command::changes(command.name()), Some(true), "{line}");
        }
        for line in ["whoami", "list_groups", "show_downloads", "status"] {
            let Line { command } = Line::try_parse_from([line]).expect(line);
            assert_eq!(
                (command.shown_by(Some(&alice)), Command::changes(command.name())),
                (None, Some(false)),
                "{line}"
            );
        }
    }
}
