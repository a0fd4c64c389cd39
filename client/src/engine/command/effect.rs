//! Where one sees what became of a command whose answer has not come.

use super::Command;

impl Command {
    /// The line that shows whether this was carried out. None for what changes nothing at the trackers, and for what only the
    /// same line once more tells.
    pub(crate) fn shown_by(&self) -> Option<String> {
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
            Self::ChangePassword { .. } | Self::StopShare { .. } => None,
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
}
