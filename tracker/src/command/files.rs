//! `list_files`, and what a download asks first: the shares of a group, for its members.

use std::sync::Arc;

use common::id::{FileId, FileName, GroupId, GroupName};
use common::look::composed;
use common::wire::client::{FileInfo, FileRow, FileSelector, Response, ShareInfo, ShareRow, TreeHead};
use common::wire::limits::Text;
use common::wire::refusal::Refusal;

use super::{Call, Effect, Halt, Outcome, PAGE_AND_ONE, as_member, now, page};
use crate::presence::Here;
use crate::rules::Login;
use crate::state::Folder;
use crate::store::{Share, State, StoreError};

pub(super) async fn list(call: &Call, me: &Login, name: GroupName, after: Option<FileName>) -> Outcome {
    let services = Arc::clone(&call.services);
    let query = move |state: &State, me: &Login| {
        let (group, _) = as_member(state, me, &name)?;
        let shares = state.shares_after(group, after.as_ref(), PAGE_AND_ONE);
        let here = services.presence.here(now());
        shares.into_iter().map(|share| row(state, &here, group, share)).collect::<Result<Vec<_>, Halt>>()
    };
    Ok(Effect::plain(Response::Files(page(call.read(me, query).await?))))
}

pub(super) async fn list_shares(call: &Call, me: &Login, name: GroupName, after: Option<FileName>) -> Outcome {
    let services = Arc::clone(&call.services);
    let query = move |state: &State, me: &Login| {
        let (group, _) = as_member(state, me, &name)?;
        let shares = state.shares_after(group, after.as_ref(), PAGE_AND_ONE);
        let here = services.presence.here(now());
        let share_row = |share: Share| {
            let (entries, published) = (share.folder.map(|folder| folder.entries), share.published.millis() / 1000);
            Ok::<_, Halt>(ShareRow { file: row(state, &here, group, share)?, entries, published })
        };
        shares.into_iter().map(share_row).collect::<Result<Vec<_>, Halt>>()
    };
    Ok(Effect::plain(Response::Shares(page(call.read(me, query).await?))))
}

fn row(state: &State, here: &Here<'_>, group: GroupId, share: Share) -> Result<FileRow, Halt> {
    let seeders = state.count_seeders(group, share.file, |device, user| here.address(device, user).is_some());
    Ok(FileRow { name: share.name, size: share.layout.len(), file_id: share.file, uploader: share.uploader, seeders })
}

pub(super) async fn find(call: &Call, me: &Login, name: GroupName, file: FileSelector) -> Outcome {
    let query = move |state: &State, me: &Login| {
        let (group, _) = as_member(state, me, &name)?;
        let share = select(state, group, &name, &file)?;
        no_folder(&share)?;
        Ok(info(group, share))
    };
    Ok(Effect::plain(Response::File(call.read(me, query).await?)))
}

pub(super) async fn find_share(call: &Call, me: &Login, name: GroupName, file: FileSelector) -> Outcome {
    let query = move |state: &State, me: &Login| {
        let (group, _) = as_member(state, me, &name)?;
        Ok(share_info(group, select(state, group, &name, &file)?))
    };
    Ok(Effect::plain(Response::Share(Box::new(call.read(me, query).await?))))
}

/// Refuses a folder to a client that asks as for a file: it would write the files into one.
pub(super) fn no_folder(share: &Share) -> Result<(), Refusal> {
    if share.folder.is_none() {
        return Ok(());
    }
    let text = format!("`{}` is a folder, which takes a newer client; install the present release", share.name);
    Err(Refusal::Invalid(Text::clipped(&text)))
}

pub(super) fn share_info(group: GroupId, share: Share) -> ShareInfo {
    let head = |folder: Folder| TreeHead { id: folder.tree, bytes: folder.bytes, entries: folder.entries };
    let (tree, published) = (share.folder.map(head), share.published.millis() / 1000);
    ShareInfo { file: info(group, share), tree, published }
}

pub(super) fn info(group: GroupId, share: Share) -> FileInfo {
    let Share { name, file, layout, sha1, uploader, .. } = share;
    FileInfo { group_id: group, name, file_id: file, layout, sha1, uploader }
}

/// The share that `file` means in `group`, which is called `name`.
pub(super) fn select(state: &State, group: GroupId, name: &GroupName, file: &FileSelector) -> Result<Share, Halt> {
    let none = || Refusal::NoSuchFile { group: name.clone(), name: Text::clipped(&file.to_string()) };
    match file {
        FileSelector::Name(file) => match state.share_named(group, file) {
            Some(share) => Ok(share),
            // Keyboards and file systems may give the decomposed form of what was published composed.
            None => {
                let composed = composed(file.as_str()).parse().map_err(|_| none())?;
                Ok(state.share_named(group, &composed).ok_or_else(none)?)
            }
        },
        FileSelector::IdPrefix(digits) => {
            let (low, high) =
                prefix_range(digits.as_str()).ok_or(StoreError::Content("digits that are not hexadecimal"))?;
            let first = state.shares_between(group, low, high, 1).pop().ok_or_else(none)?;
            // The same content under several names, however many, is not ambiguous; but a folder may have the bytes of a
            // file, or of another folder.
            let others = after(first.file).filter(|next| *next <= high);
            let other = others.map(|next| state.shares_between(group, next, high, 1)).unwrap_or_default();
            match other.is_empty() && state.is_one_thing(group, first.file) {
                true => Ok(first),
                false => Err(Refusal::AmbiguousId { group: name.clone() }.into()),
            }
        }
    }
}

/// The next id, if there is one.
fn after(id: FileId) -> Option<FileId> {
    let mut bytes = *id.as_bytes();
    for byte in bytes.iter_mut().rev() {
        *byte = byte.wrapping_add(1);
        if *byte > 0 {
            return Some(FileId::new(bytes));
        }
    }
    None
}

/// The smallest and the largest file id that begin with these hexadecimal digits.
fn prefix_range(digits: &str) -> Option<(FileId, FileId)> {
    let fill = |with: &str| format!("{digits}{}", with.repeat((2 * FileId::LEN).saturating_sub(digits.len()))).parse();
    Some((fill("0").ok()?, fill("f").ok()?))
}

#[cfg(test)]
mod tests {
    use common::id::{FileId, PublicationId};
    use common::wire::client::{FileSelector, Request, Response};
    use common::wire::refusal::Refusal;

    use super::{PAGE_AND_ONE, after};
    use crate::command::tests::{Fixture, group};
    use crate::fact::Fact;

    fn find(file: &str) -> Request {
        let file: FileSelector = file.parse().expect("a selector");
        Request::FindFile { group: group("lab"), file }
    }

    #[tokio::test]
    async fn by_name_by_id_and_by_the_beginning_of_an_id() {
        let f = Fixture::new().await;
        let a = f.user("alice").await;
        a.create_group("lab").await.expect("created");
        let id = a.upload("lab", "a file.bin", b"content").await.expect("uploaded");
        a.upload("lab", "same.bin", b"content").await.expect("under a second name");
        for file in ["a file.bin".to_owned(), format!("id:{id}"), format!("id:{id:.8}")] {
            let Ok(Response::File(info)) = a.ask(find(&file)).await else { panic!("{file}") };
            assert_eq!((info.file_id, info.layout.len(), info.uploader.as_str()), (id, 7, "alice"));
        }
        for missing in ["A FILE.bin", "id:0123456789"] {
            assert!(matches!(a.ask(find(missing)).await, Err(Refusal::NoSuchFile { .. })), "{missing}");
        }
    }

    /// Somebody who gives a file very many names must not hide that digits mean another one, too.
    #[tokio::test]
    async fn many_names_of_one_file_do_not_hide_another_that_begins_alike() {
        let f = Fixture::new().await;
        let a = f.user("alice").await;
        a.create_group("lab").await.expect("created");
        a.upload("lab", "some", b"content").await.expect("uploaded");
        let share = a.find("lab", "some").await.expect("found");
        let t = a.ticket("lab").await.expect("a ticket");
        let (group, membership, user) = (t.group, t.membership, a.user());
        let manifest =
            f.services().store.read(move |s| Ok::<_, crate::store::StoreError>(s.share_of(group, share.file_id))).await;
        let manifest = manifest.expect("read").expect("a share").manifest;
        let published = |id: u8, name: String| Fact::Published {
            id: PublicationId::random(),
            group,
            name: name.parse().expect("a name"),
            file: FileId::new([vec![7; 31], vec![id]].concat().try_into().expect("an id")),
            manifest,
            user,
            membership,
        };
        f.state((0..PAGE_AND_ONE).map(|n| published(1, format!("decoy {n}"))).collect()).await;
        let digits = "07".repeat(4);
        let find = async || a.ask(find(&format!("id:{digits}"))).await;
        let Ok(Response::File(info)) = find().await else { panic!("one file of many names") };
        assert_eq!(info.file_id.as_bytes()[31], 1);
        f.state(vec![published(2, "wanted".to_owned())]).await;
        assert!(matches!(find().await, Err(Refusal::AmbiguousId { .. })));
    }

    #[test]
    fn the_next_id_is_found_with_a_carry() {
        let id = |last: [u8; 2]| {
            let mut bytes = [0xff; 32];
            bytes[0] = 1;
            bytes[30..].copy_from_slice(&last);
            FileId::new(bytes)
        };
        assert_eq!(after(id([3, 0xff])), Some(id([4, 0])));
        let next = after(id([0xff, 0xff])).expect("there is one");
        assert!(next.as_bytes()[0] == 2 && next.as_bytes()[1..].iter().all(|b| *b == 0));
        assert_eq!(after(FileId::new([0xff; 32])), None);
    }

    #[tokio::test]
    async fn a_list_counts_the_seeders_that_are_here() {
        let f = Fixture::new().await;
        let (a, b) = (f.user("alice").await, f.user("bob").await);
        a.create_group("lab").await.expect("created");
        f.admit(&a, &b, "lab").await;
        let id = a.upload("lab", "f", b"content").await.expect("uploaded");
        b.start_seeding("lab", id).await.expect("seeding");
        let seeders = async || {
            let Ok(Response::Files(page)) = b.ask(Request::ListFiles { group: group("lab"), after: None }).await else {
                panic!("not a list");
            };
            page.rows[0].seeders
        };
        assert_eq!(seeders().await, 0, "nobody has said where it is");
        a.announce(1).await.expect("announced");
        b.announce(1).await.expect("announced");
        assert_eq!(seeders().await, 2);
        a.stop_seeding("lab", id).await.expect("stopped");
        assert_eq!(seeders().await, 1);
    }

    #[tokio::test]
    async fn strangers_see_nothing() {
        let f = Fixture::new().await;
        let (a, b) = (f.user("alice").await, f.user("bob").await);
        a.create_group("lab").await.expect("created");
        let id = a.upload("lab", "f", b"content").await.expect("uploaded");
        let lab = || group("lab");
        for request in [
            Request::ListFiles { group: lab(), after: None },
            find("f"),
            Request::OpenFile { group: lab(), file: "f".parse().expect("a selector") },
            Request::GetManifest { group: lab(), file_id: id, first: 0 },
            Request::FindPeers { group: lab(), file_id: id },
            Request::StartSeeding { group: lab(), file_id: id },
            Request::StopSeeding { group: lab(), file_id: id },
            Request::GetTicket { group: lab() },
        ] {
            assert!(matches!(b.ask(request.clone()).await, Err(Refusal::NotAMember(_))), "{request:?}");
            assert_eq!(f.device().ask(request).await, Err(Refusal::NotLoggedIn));
        }
    }
}
