//! What is true of each kind of request, in one place. The match has no wildcard: whoever adds a request decides
//! here how it is treated.

use common::wire::client::Request;

/// How a request is treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Properties {
    /// Its answer may show what both trackers have. So it waits until this tracker has what its client has seen, and
    /// its answer waits until what it shows is on both disks: a client that was shown what the sibling lacks could not
    /// go on there if this tracker died at that moment. Signs of life do not wait.
    pub(crate) history: bool,
    /// It changes who is logged in on its connection, and so runs alone there.
    pub(crate) changes_login: bool,
    /// It takes something away from somebody: it goes before everything that does not, and is carried out even if its
    /// caller is gone.
    pub(crate) overtakes: bool,
    /// Its answer may be long, or be found among much: pages, parts of manifests, and what begins with some digits. A user
    /// has few of these under way.
    pub(crate) long_answer: bool,
    /// From then on its connection is told that there may be news.
    pub(crate) hears_hints: bool,
    /// What it takes of its user's allowance for commands of which others are told.
    pub(crate) cost: u32,
}

/// What a command costs to which nobody has to agree: asking to join, and leaving.
const ALONE: u32 = 8;
/// What an admin does about those who have asked: a script may let a whole class in. Ending a login is as dear.
const ADMIN: u32 = 1;

const PLAIN: Properties = Properties {
    history: true,
    changes_login: false,
    overtakes: false,
    long_answer: false,
    hears_hints: false,
    cost: 0,
};
const SIGN_OF_LIFE: Properties = Properties { history: false, ..PLAIN };
const LISTING: Properties = Properties { long_answer: true, ..PLAIN };
const NEWS: Properties = Properties { hears_hints: true, ..LISTING };
const LOGIN: Properties = Properties { changes_login: true, ..PLAIN };
const END_OF_LOGIN: Properties = Properties { overtakes: true, ..LOGIN };

/// How `request` is treated.
pub(crate) const fn properties(request: &Request) -> Properties {
    match request {
        Request::Status
        | Request::Cluster
        | Request::Announce { .. }
        | Request::AnnounceAs { .. }
        | Request::ProbeMe { .. }
        | Request::ProbeResult { .. }
        | Request::StageManifest { .. }
        | Request::StageTree { .. } => SIGN_OF_LIFE,
        Request::Login { .. } | Request::Resume { .. } => LOGIN,
        Request::LoginWithCode { .. } => END_OF_LOGIN,
        Request::Logout | Request::ChangePassword { .. } => END_OF_LOGIN,
        Request::JoinGroup { .. } | Request::AcceptInvite { .. } => Properties { cost: ALONE, ..PLAIN },
        Request::LeaveGroup { .. } => Properties { cost: ALONE, overtakes: true, ..PLAIN },
        Request::RemoveMember { .. } | Request::EndLogin { .. } | Request::RevokeInvite { .. } => {
            Properties { cost: ADMIN, overtakes: true, ..PLAIN }
        }
        Request::AcceptRequest { .. }
        | Request::RejectRequest { .. }
        | Request::MakeAdmin { .. }
        | Request::Invite { .. } => Properties { cost: ADMIN, ..PLAIN },
        Request::ListGroups { .. }
        | Request::ListRequests { .. }
        | Request::ListMembers { .. }
        | Request::ListFiles { .. }
        | Request::GetManifest { .. }
        | Request::FindFile { .. }
        | Request::FindPeers { .. }
        | Request::OpenFile { .. }
        | Request::FindShare { .. }
        | Request::OpenShare { .. }
        | Request::GetTree { .. }
        | Request::ListShares { .. }
        | Request::ListInvites { .. }
        | Request::Search { .. } => LISTING,
        Request::News { .. } | Request::NewsWithVersions { .. } => NEWS,
        Request::CreateUser { .. }
        | Request::CreateInvitedUser { .. }
        | Request::CreateGroup { .. }
        | Request::UploadFile { .. }
        | Request::Publish { .. }
        | Request::StartSeeding { .. }
        | Request::StopSeeding { .. }
        | Request::ListDevices
        | Request::CheckInvite { .. }
        | Request::GetTicket { .. } => PLAIN,
    }
}

#[cfg(test)]
mod tests {
    use common::wire::refusal::Refusal;

    use crate::command::tests::Fixture;

    #[tokio::test]
    async fn who_asks_and_withdraws_for_ever_is_slowed() {
        let f = Fixture::new().await;
        let (a, b, m) = (f.user("alice").await, f.user("bob").await, f.user("mallory").await);
        a.create_group("lab").await.expect("created");
        let mut asked = 0;
        let refused = loop {
            if let Err(refusal) = m.join("lab").await {
                break refusal;
            }
            asked += 1;
            if let Err(refusal) = m.leave("lab").await {
                break refusal;
            }
        };
        assert!(matches!(refused, Refusal::RateLimited { .. }), "{refused:?}");
        assert!(asked <= 40, "{asked}");
        assert!(a.heard().len() <= 40);
        f.admit(&a, &b, "lab").await;
    }

    #[tokio::test]
    async fn an_admin_lets_a_class_in_at_once() {
        let f = Fixture::new().await;
        let a = f.user("alice").await;
        a.create_group("lab").await.expect("created");
        for n in 0..30 {
            let student = f.user(&format!("student{n}")).await;
            f.admit(&a, &student, "lab").await;
        }
    }
}
