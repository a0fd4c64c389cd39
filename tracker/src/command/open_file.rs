//! All that a download needs to begin, in one answer: over a long line, each question costs a round trip.
//!
//! The share, its first pieces, its seeders and the ticket are those of `FindFile`, `GetManifest`, `FindPeers` and
//! `GetTicket`, by the same rules; share, seeders and membership are seen at one moment.

use std::sync::Arc;

use common::id::{GroupId, GroupName};
use common::manifest::PieceHash;
use common::ticket::{self, Signed, Ticket};
use common::wire::client::{FileSelector, OpenedFile, OpenedShare, PeerRow, Response};
use common::wire::limits::{FIRST_PART, List, MAX_PART, MAX_ROWS};

use super::{Call, Effect, Halt, Outcome, as_member, files, find_peers, get_ticket};
use crate::rules::Login;
use crate::store::{Share, State};

pub(super) async fn run(call: &Call, me: &Login, name: GroupName, file: FileSelector) -> Outcome {
    let (group, Opened { share, pieces, peers, ticket }) = open(call, me, name, file).await?;
    files::no_folder(&share)?;
    let opened = OpenedFile { info: files::info(group, share), pieces, peers, ticket };
    Ok(Effect::plain(Response::Opened(Box::new(opened))))
}

/// The same, of a file or folder.
pub(super) async fn run_share(call: &Call, me: &Login, name: GroupName, file: FileSelector) -> Outcome {
    let (group, Opened { share, pieces, peers, ticket }) = open(call, me, name, file).await?;
    let opened = OpenedShare { info: files::share_info(group, share), pieces, peers, ticket };
    Ok(Effect::plain(Response::OpenedShare(Box::new(opened))))
}

struct Opened {
    share: Share,
    pieces: List<PieceHash, MAX_PART>,
    peers: List<PeerRow, MAX_ROWS>,
    ticket: Signed<Ticket>,
}

async fn open(call: &Call, me: &Login, name: GroupName, file: FileSelector) -> Result<(GroupId, Opened), Halt> {
    // Before the state is read: what ends in between must cover the ticket.
    let issued = ticket::now();
    let services = Arc::clone(&call.services);
    let query = move |state: &State, me: &Login| {
        let (group, membership) = as_member(state, me, &name)?;
        let share = files::select(state, group, &name, &file)?;
        let peers = find_peers::seeders(state, &services.presence, me, group, share.file);
        Ok((group, get_ticket::footing(state, me, membership), share, peers))
    };
    let (group, on, share, peers) = call.read(me, query).await?;
    let ticket = get_ticket::issue(call, me, group, on, issued)?;
    let manifest = share.manifest;
    let part =
        call.services.store.read_tables_for(&call.caller, move |tables| tables.manifest_part(manifest, 0)).await?;
    let pieces = List::first_of(part.into_iter().take(FIRST_PART));
    Ok((group, Opened { share, pieces, peers: find_peers::some_of(peers), ticket }))
}

#[cfg(test)]
mod tests {
    use common::id::FileId;
    use common::ticket;
    use common::wire::client::{OpenedFile, Request, Response};
    use common::wire::limits::FIRST_PART;
    use common::wire::refusal::Refusal;

    use crate::command::tests::{Device, Fixture, big_manifest, group};

    async fn open(device: &Device, file: &str) -> Result<OpenedFile, Refusal> {
        let file = file.parse().expect("a selector");
        match device.ask(Request::OpenFile { group: group("lab"), file }).await? {
            Response::Opened(opened) => Ok(*opened),
            other => panic!("not an opened file: {other:?}"),
        }
    }

    #[tokio::test]
    async fn it_answers_what_four_questions_answer() {
        let f = Fixture::new().await;
        let (a, b) = (f.user("alice").await, f.user("bob").await);
        a.create_group("lab").await.expect("created");
        f.admit(&a, &b, "lab").await;
        let id = a.upload("lab", "f", b"content").await.expect("uploaded");
        a.announce(1).await.expect("announced");
        for file in ["f".to_owned(), format!("id:{id:.8}")] {
            let opened = open(&b, &file).await.expect("opened");
            assert_eq!(opened.info, b.find("lab", "f").await.expect("found"));
            let manifest = Request::GetManifest { group: group("lab"), file_id: id, first: 0 };
            assert_eq!(b.ask(manifest).await, Ok(Response::ManifestPart(opened.pieces)));
            let peers = Request::FindPeers { group: group("lab"), file_id: id };
            assert_eq!(b.ask(peers).await, Ok(Response::Peers(opened.peers)));
            let (now, cluster) = (ticket::now(), f.key().public());
            assert!(opened.ticket.admit(&cluster, b.device(), opened.info.group_id, (now, now)).is_ok());
        }
        assert!(open(&a, "f").await.expect("opened").peers.is_empty(), "nobody but the one who asks");
    }

    #[tokio::test]
    async fn a_long_manifest_only_begins() {
        let f = Fixture::new().await;
        let a = f.user("alice").await;
        a.create_group("lab").await.expect("created");
        let manifest = big_manifest(FIRST_PART as u32 + 1);
        a.publish("lab", "big", &manifest).await.expect("published");
        assert_eq!(open(&a, "big").await.expect("opened").pieces[..], manifest.pieces()[..FIRST_PART]);
    }

    #[tokio::test]
    async fn who_was_a_member_gets_neither_seeders_nor_a_ticket() {
        let f = Fixture::new().await;
        let (a, b) = (f.user("alice").await, f.user("bob").await);
        a.create_group("lab").await.expect("created");
        f.admit(&a, &b, "lab").await;
        a.upload("lab", "f", b"content").await.expect("uploaded");
        assert!(open(&b, "f").await.is_ok());
        assert!(matches!(open(&b, "g").await, Err(Refusal::NoSuchFile { .. })));
        let nobody = FileId::new([9; 32]);
        assert!(matches!(open(&b, &format!("id:{nobody}")).await, Err(Refusal::NoSuchFile { .. })));
        a.remove("lab", "bob").await.expect("removed");
        assert!(matches!(open(&b, "f").await, Err(Refusal::NotAMember(_))));
        b.logout().await.expect("logged out");
        assert_eq!(open(&b, "f").await, Err(Refusal::NotLoggedIn));
    }
}
