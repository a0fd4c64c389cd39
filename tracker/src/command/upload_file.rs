//! `upload_file`: publishes a file or folder whose manifest, and tree, have been staged, seeded by the caller's device.

use common::id::{FileId, FileName, GroupId, GroupName, PublicationId, Sha1Digest, TreeId};
use common::look::check_new;
use common::manifest::{Manifest, PieceHash};
use common::pieces::PieceLayout;
use common::wire::limits::Text;
use common::wire::refusal::Refusal;

use super::{Answer, Call, Decision, Halt, Handed, Outcome, as_admin, as_member, start_seeding};
use crate::fact::{Fact, ManifestId};
use crate::quota::{self, Quota};
use crate::rules::{self, Login, Offer, Upload};
use crate::store::{BadTree, CheckedTree, NewManifest, Share, StagedTree, State, StoreError};

/// A content as it is offered.
#[derive(Debug, Clone)]
pub(super) struct Offered {
    pub(super) group: GroupName,
    pub(super) name: FileName,
    pub(super) file: FileId,
    pub(super) layout: PieceLayout,
    pub(super) sha1: Sha1Digest,
    /// What only newer clients say.
    pub(super) version: Option<Version>,
}

/// What kind of content it is, and whether it is to take the place of another.
#[derive(Debug, Clone, Copy)]
pub(super) struct Version {
    /// If it is a folder.
    pub(super) tree: Option<TreeId>,
    pub(super) replace: bool,
}

pub(super) async fn run(call: &Call, me: &Login, offered: Offered, handed: Handed) -> Outcome {
    // Asked again, what was staged is gone.
    if let Some(effect) = call.repeated().await? {
        return Ok(effect);
    }
    let (pieces, staged_tree) = match handed {
        Handed::Staging(staging) => staging.into_parts(offered.file),
        _ => Default::default(),
    };
    let wanted_tree = offered.version.and_then(|version| version.tree);
    let tree = checked_tree(call, wanted_tree, staged_tree.as_ref()).await?;
    let publication = call.mint().id("publication");
    let (offered, manifest) = verified(offered, pieces, tree).await?;
    // Beforehand: it may take counting up to the bounds, and nobody waits for that in the writer. So the uploads that a
    // user has under way may each take the last place.
    let weight = quota::weight(manifest.layout(), manifest.tree_bytes());
    let (quota, wanted, id) = (call.services.quota, offered.clone(), manifest.id());
    call.read(me, move |state, me| within_quota(state, me, quota, (&wanted, id), weight)).await?;
    let outcome = call.write(me, move |state, me| decide(state, me, publication, offered, manifest)).await;
    // Until here its parts are not to be deleted.
    drop(staged_tree);
    outcome
}

/// The tree that is offered, if one is: it has to have been staged.
async fn checked_tree(
    call: &Call,
    wanted: Option<TreeId>,
    staged: Option<&StagedTree>,
) -> Result<Option<CheckedTree>, Halt> {
    let refuse = |text: &str| Halt::Refused(Refusal::Invalid(Text::clipped(text)));
    let Some(wanted) = wanted else { return Ok(None) };
    let staged = staged.filter(|staged| staged.tree() == wanted);
    let staged = staged.ok_or_else(|| refuse("the parts of a folder's tree come before it is published"))?;
    match call.services.store.check_tree(&call.caller, staged).await {
        Ok(checked) => Ok(Some(checked)),
        Err(BadTree::Store(e)) => Err(e.into()),
        Err(bad) => Err(refuse(&bad.to_string())),
    }
}

/// Checks that the pieces make the content, off the runtime: there may be a quarter of a million.
async fn verified(
    offered: Offered,
    pieces: Vec<PieceHash>,
    tree: Option<CheckedTree>,
) -> Result<(Offered, NewManifest), Halt> {
    let check = move || {
        let manifest = Manifest::new(offered.layout, offered.file, offered.sha1, pieces).map_err(|e| e.to_string())?;
        let manifest = match tree {
            None => NewManifest::new(manifest),
            Some(tree) => NewManifest::of_folder(manifest, tree)
                .ok_or("the length of the folder's files is not that of its pieces; upload it again")?,
        };
        Ok((offered, manifest))
    };
    let checked = tokio::task::spawn_blocking(check).await.map_err(|_| StoreError::Panicked)?;
    checked.map_err(|e: String| Refusal::Invalid(Text::clipped(&e)).into())
}

fn decide(
    state: &State,
    me: &Login,
    publication: PublicationId,
    offered: Offered,
    manifest: NewManifest,
) -> Result<Decision, Halt> {
    let Offered { group: group_name, name, file, layout, version, .. } = offered;
    let (group, membership) = as_member(state, me, &group_name)?;
    let (same_name, same_content) = (state.share_named(group, &name), state.share_of(group, file));
    let seeded = match &same_name {
        Some(share) => !state.seeders(group, share.file).is_empty(),
        None => false,
    };
    let replaces = version.is_some_and(|version| version.replace);
    let offer = Offer {
        group: &group_name,
        name: &name,
        manifest: manifest.id(),
        plain: manifest.plain(),
        piece_len: layout.piece_len(),
        replace: replaces.then(|| may_replace(state, me, &group_name, same_name.as_ref())),
    };
    let upload = rules::upload(&offer, same_name.as_ref(), same_content.as_ref(), seeded)?;
    let mut facts = Vec::new();
    if upload == Upload::Replace {
        let old = replaced(state, me, &group_name, (group, &name), same_name.as_ref(), replaces);
        facts.extend(old.into_iter().map(|publication| Fact::Withdrawn { publication }));
    }
    let user = me.user;
    // What is carried already may be among what was withdrawn.
    if upload == Upload::Replace || !state.has_published(membership, &name, (file, manifest.id())) {
        if same_name.is_none() {
            tells_itself_apart(state, group, &name)?;
        }
        let manifest = manifest.id();
        facts.push(Fact::Published { id: publication, group, name, file, manifest, user, membership });
    }
    facts.extend(start_seeding::seeds(state, me, group, membership, file)?);
    let answer = match version {
        None => Answer::Done,
        Some(_) => Answer::Published { replaced: upload == Upload::Replace },
    };
    Ok(Decision { facts, manifest: Some(manifest), answer })
}

/// What a new version takes the place of: whatever stands for the share that is shown under the name. Who asks for that also ends
/// other versions, told apart from it, that are their own; the admin, all of them.
fn replaced(
    state: &State,
    me: &Login,
    group_name: &GroupName,
    (group, name): (GroupId, &FileName),
    shown: Option<&Share>,
    asked: bool,
) -> Vec<PublicationId> {
    let is_admin = as_admin(state, me, group_name).is_ok();
    let mut old: Vec<_> = shown.iter().flat_map(|share| state.publications_beside(share.publication)).collect();
    let others = state.publications_named(group, name).into_iter();
    old.extend(others.filter(|(_, user)| asked && (is_admin || *user == me.user)).map(|(publication, _)| publication));
    old.sort_unstable();
    old.dedup();
    old
}

/// Whoever published the present version may replace it, and so may the admin.
fn may_replace(state: &State, me: &Login, group: &GroupName, present: Option<&Share>) -> Result<(), Refusal> {
    if present.is_none_or(|share| share.publisher == me.user) {
        return Ok(());
    }
    as_admin(state, me, group).map(drop).map_err(Halt::into_refusal)
}

/// Whether a name that is new in the group is what it looks like, and looks like no other there.
fn tells_itself_apart(state: &State, group: GroupId, name: &FileName) -> Result<(), Halt> {
    let refuse = |text: String| Refusal::Invalid(Text::clipped(&text));
    check_new(name).map_err(|e| refuse(e.to_string()))?;
    match state.twin_of(group, name) {
        Some(twin) => {
            let text =
                format!("`{name}` looks like `{twin}`, which is shared there; give it another name with `--name`");
            Err(refuse(text).into())
        }
        None => Ok(()),
    }
}

/// Whether the user may have one more share, with a manifest of that weight, if it is one.
fn within_quota(
    state: &State,
    me: &Login,
    quota: Quota,
    (wanted, manifest): (&Offered, ManifestId),
    weight: Option<u64>,
) -> Result<(), Halt> {
    let (group, membership) = as_member(state, me, &wanted.group)?;
    if !quota.applies() || state.has_published(membership, &wanted.name, (wanted.file, manifest)) {
        return Ok(());
    }
    let here = state.shares_in(group, me.user, quota::SHARES_PER_GROUP);
    quota.new_share(here, state.shares_made(me.user))?;
    if let Some(more) = weight {
        quota.new_manifest(state.manifest_bytes(me.user), more)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use common::id::{FileId, PublicationId};
    use common::wire::client::Request;
    use common::wire::refusal::Refusal;

    use crate::command::tests::{Fixture, big_manifest, group, manifest_of, request_id};
    use crate::fact::Fact;
    use crate::quota;
    use crate::store::NewManifest;

    #[tokio::test]
    async fn a_name_stands_for_one_content() {
        let f = Fixture::new().await;
        let (a, b) = (f.user("alice").await, f.user("bob").await);
        a.create_group("lab").await.expect("created");
        f.admit(&a, &b, "lab").await;
        let old = a.upload("lab", "f", b"content").await.expect("uploaded");
        b.upload("lab", "f", b"content").await.expect("the same content is the same share");
        assert_eq!(a.file_names("lab").await, ["f"]);
        assert!(matches!(b.upload("lab", "f", b"other").await, Err(Refusal::FileExists { .. })));
        a.stop_seeding("lab", old).await.expect("stopped");
        assert!(matches!(b.upload("lab", "f", b"other").await, Err(Refusal::FileExists { .. })), "bob still seeds it");
        b.stop_seeding("lab", old).await.expect("stopped");
        let new = b.upload("lab", "f", b"other").await.expect("nobody seeded the old content");
        assert_eq!(a.file_names("lab").await, ["f"]);
        assert_eq!(a.find("lab", "f").await.expect("found").file_id, new);
    }

    #[tokio::test]
    async fn a_twin_of_a_name_is_refused_by_name() {
        let f = Fixture::new().await;
        let (a, b) = (f.user("alice").await, f.user("bob").await);
        a.create_group("lab").await.expect("created");
        f.admit(&a, &b, "lab").await;
        let first = a.upload("lab", "Gr\u{fc}\u{df}e.pdf", b"1").await.expect("uploaded");
        for twin in ["gr\u{fc}\u{df}e.pdf", "GR\u{dc}SSE.PDF", "Gr\u{fc}\u{df}e.\u{440}df"] {
            let refused = b.upload("lab", twin, b"2").await;
            let refused = refused.map(|_| twin).expect_err("a twin, or disguised");
            assert!(matches!(&refused, Refusal::Invalid(t) if t.to_string().contains("--name")), "{refused}");
        }
        let refused = b.upload("lab", "gr\u{fc}\u{df}e.pdf", b"2").await.map(|_| ()).expect_err("a twin");
        assert!(refused.to_string().contains("looks like `Gr\u{fc}\u{df}e.pdf`"), "{refused}");
        for hidden in ["-rf", ".bashrc", "Gru\u{308}n", "a\u{1bca0}b"] {
            assert!(matches!(b.upload("lab", hidden, b"2").await, Err(Refusal::Invalid(_))), "{hidden}");
        }
        b.upload("lab", "Gr\u{fc}\u{df}e.pdf", b"1").await.expect("the very name");
        a.create_group("other").await.expect("created");
        a.upload("other", "gr\u{fc}\u{df}e.pdf", b"2").await.expect("in another group nobody confuses them");
        for member in [&a, &b] {
            member.stop_seeding("lab", first).await.expect("stopped");
        }
        b.upload("lab", "gr\u{fc}\u{df}e.pdf", b"2").await.expect_err("it is still listed");
    }

    #[tokio::test]
    async fn names_from_before_the_rule_are_still_served() {
        let f = Fixture::new().await;
        let (a, b) = (f.user("alice").await, f.user("bob").await);
        a.create_group("lab").await.expect("created");
        f.admit(&a, &b, "lab").await;
        a.upload("lab", "first", b"content").await.expect("uploaded");
        let lab = a.ticket("lab").await.expect("a ticket");
        let share = a.find("lab", "first").await.expect("found");
        let old = ["-rf", "FIRST", "Gru\u{308}n", "a\u{1bca0}b", "\u{440}aypal"];
        let published = |name: &str| Fact::Published {
            id: PublicationId::random(),
            group: lab.group,
            name: name.parse().expect("a name"),
            file: share.file_id,
            manifest: NewManifest::new(manifest_of(b"content", 16 << 10)).id(),
            user: a.user(),
            membership: lab.membership,
        };
        f.state(old.iter().map(|n| published(n)).collect()).await;
        for name in old {
            assert_eq!(b.find("lab", name).await.expect("found").name.as_str(), name);
            b.upload("lab", name, b"content").await.expect("seeded by another, too");
        }
    }

    #[tokio::test]
    async fn what_the_pieces_do_not_add_up_to_is_refused() {
        let f = Fixture::new().await;
        let a = f.user("alice").await;
        a.create_group("lab").await.expect("created");
        let m = manifest_of(&[7; 100_000], 16 << 10);
        let upload = |m: &common::manifest::Manifest| Request::UploadFile {
            group: group("lab"),
            name: "f".parse().expect("a name"),
            file_id: m.file_id(),
            layout: m.layout(),
            sha1: m.sha1(),
        };
        assert!(matches!(a.ask(upload(&m)).await, Err(Refusal::Invalid(_))), "nothing was staged");
        a.stage(manifest_of(&[8; 100_000], 16 << 10).pieces(), m.file_id());
        assert!(matches!(a.ask(upload(&m)).await, Err(Refusal::Invalid(_))), "other pieces");
        assert!(a.file_names("lab").await.is_empty());
        a.stage(m.pieces(), m.file_id());
        let id = request_id(5);
        assert!(a.ask_as(id, upload(&m)).await.is_ok());
        assert!(a.ask_as(id, upload(&m)).await.is_ok(), "asked again, without the pieces");
        assert_eq!(a.file_names("lab").await, ["f"]);
    }

    #[tokio::test]
    async fn one_content_is_cut_in_one_way_within_a_group() {
        let f = Fixture::new().await;
        let (a, b) = (f.user("alice").await, f.user("bob").await);
        a.create_group("lab").await.expect("created");
        f.admit(&a, &b, "lab").await;
        let bytes = vec![3; 200_000];
        a.publish("lab", "f", &manifest_of(&bytes, 16 << 10)).await.expect("published");
        let refused = b.publish("lab", "g", &manifest_of(&bytes, 32 << 10)).await;
        assert_eq!(refused, Err(Refusal::OtherPieceSize { piece_len: 16 << 10 }));
    }

    #[tokio::test]
    async fn empty_files_have_no_pieces() {
        let f = Fixture::new().await;
        let a = f.user("alice").await;
        a.create_group("lab").await.expect("created");
        a.upload("lab", "empty", b"").await.expect("uploaded");
        assert_eq!(a.file_names("lab").await, ["empty"]);
    }

    #[tokio::test]
    async fn only_members_publish() {
        let f = Fixture::new().await;
        let (a, b) = (f.user("alice").await, f.user("bob").await);
        a.create_group("lab").await.expect("created");
        assert!(matches!(b.upload("lab", "f", b"content").await, Err(Refusal::NotAMember(_))));
    }

    #[tokio::test]
    async fn nobody_has_more_than_so_many_shares_in_a_group() {
        let f = Fixture::new().await;
        let (a, b) = (f.user("alice").await, f.user("bob").await);
        a.create_group("lab").await.expect("created");
        f.admit(&a, &b, "lab").await;
        a.upload("lab", "first", b"content").await.expect("uploaded");
        let lab = a.ticket("lab").await.expect("a ticket");
        let publication = |id, n: usize| Fact::Published {
            id,
            group: lab.group,
            name: format!("f{n}").parse().expect("a name"),
            file: FileId::new(*blake3::hash(&n.to_le_bytes()).as_bytes()),
            manifest: NewManifest::new(manifest_of(b"content", 16 << 10)).id(),
            user: a.user(),
            membership: lab.membership,
        };
        let ids: Vec<_> = (1..quota::SHARES_PER_GROUP).map(|_| PublicationId::random()).collect();
        for (n, some) in ids.chunks(2000).enumerate() {
            f.state(some.iter().zip(n * 2000..).map(|(id, n)| publication(*id, n)).collect()).await;
        }
        let refused = a.upload("lab", "another", b"other").await;
        assert!(
            matches!(refused, Err(Refusal::Invalid(text)) if text.to_string().contains("10000 shares in this group"))
        );
        a.upload("lab", "first", b"content").await.expect("that is no further share");
        b.upload("lab", "another", b"other").await.expect("others are not concerned");
        f.state(vec![Fact::Withdrawn { publication: ids[0] }]).await;
        a.upload("lab", "more", b"more").await.expect("there is room again");
    }

    #[tokio::test]
    async fn long_manifests_are_bounded_in_all() {
        let f = Fixture::new().await;
        let a = f.user("alice").await;
        a.create_group("lab").await.expect("created");
        let long = big_manifest(70);
        a.publish("lab", "long", &long).await.expect("published");
        f.outgrow_manifests(a.user()).await;
        let refused = a.publish("lab", "longer", &big_manifest(71)).await;
        assert!(matches!(refused, Err(Refusal::Invalid(text)) if text.to_string().contains("--piece-size")));
        a.upload("lab", "short", b"content").await.expect("short ones are not weighed");
    }
}
