//! Folders and new versions: published, found, listed, opened, and refused to whom they are not for.

use common::id::{FileId, TreeId};
use common::tree::{Entry, Tree};
use common::wire::client::{OpenedShare, Request, Response, ShareInfo, ShareRow};
use common::wire::limits::{List, MAX_TREE_PART};
use common::wire::refusal::Refusal;
use common::wire::sync::SyncFrame;

use crate::command::tests::{Device, Fixture, group, manifest_of, request_id};

/// A folder of files with these contents.
fn folder(files: &[(&str, &str)]) -> (Tree, Vec<u8>) {
    let entry = |content: &str| Entry::File {
        len: content.len() as u64,
        hash: FileId::new(*blake3::hash(content.as_bytes()).as_bytes()),
        executable: false,
    };
    let tree = Tree::new(files.iter().map(|(path, content)| (path.parse().expect("a path"), entry(content))));
    let mut sorted = files.to_vec();
    sorted.sort_unstable();
    (tree.expect("a tree"), sorted.iter().flat_map(|(_, content)| content.bytes()).collect())
}

async fn stage_tree(device: &Device, tree: TreeId, bytes: &[u8]) {
    for (n, part) in bytes.chunks(MAX_TREE_PART).enumerate() {
        let (offset, bytes) = ((n * MAX_TREE_PART) as u64, List::first_of(part.iter().copied()));
        device.ask(Request::StageTree { tree, offset, bytes }).await.expect("staged");
    }
}

fn publish_request(name: &str, content: &[u8], tree: Option<TreeId>, replace: bool) -> Request {
    let m = manifest_of(content, 16 << 10);
    let (file_id, layout, sha1) = (m.file_id(), m.layout(), m.sha1());
    Request::Publish { group: group("lab"), name: name.parse().expect("a name"), file_id, layout, sha1, tree, replace }
}

impl Device {
    /// Publishes a folder or file in `lab`; whether it took the place of another.
    async fn put(&self, name: &str, (tree, content): (Option<&Tree>, &[u8]), replace: bool) -> Result<bool, Refusal> {
        let m = manifest_of(content, 16 << 10);
        self.stage(m.pieces(), m.file_id());
        if let Some(tree) = tree {
            stage_tree(self, tree.id(), &tree.encode()).await;
        }
        match self.ask(publish_request(name, content, tree.map(Tree::id), replace)).await? {
            Response::Published { replaced } => Ok(replaced),
            other => panic!("not published: {other:?}"),
        }
    }

    pub(super) async fn put_folder(&self, name: &str, files: &[(&str, &str)]) -> Result<bool, Refusal> {
        let (tree, content) = folder(files);
        self.put(name, (Some(&tree), &content), false).await
    }

    pub(super) async fn put_again(&self, name: &str, files: &[(&str, &str)]) -> Result<bool, Refusal> {
        let (tree, content) = folder(files);
        self.put(name, (Some(&tree), &content), true).await
    }

    async fn share(&self, name: &str) -> Result<ShareInfo, Refusal> {
        let request = Request::FindShare { group: group("lab"), file: name.parse().expect("a selector") };
        match self.ask(request).await? {
            Response::Share(info) => Ok(*info),
            other => panic!("not a share: {other:?}"),
        }
    }

    async fn open_share(&self, name: &str) -> Result<OpenedShare, Refusal> {
        let request = Request::OpenShare { group: group("lab"), file: name.parse().expect("a selector") };
        match self.ask(request).await? {
            Response::OpenedShare(opened) => Ok(*opened),
            other => panic!("not an opened share: {other:?}"),
        }
    }

    async fn shares(&self) -> Vec<ShareRow> {
        match self.ask(Request::ListShares { group: group("lab"), after: None }).await {
            Ok(Response::Shares(page)) => page.rows.into_vec(),
            other => panic!("not a list: {other:?}"),
        }
    }

    async fn tree_from(&self, tree: TreeId, mut offset: u64) -> Result<Vec<u8>, Refusal> {
        let mut all = Vec::new();
        loop {
            match self.ask(Request::GetTree { group: group("lab"), tree, offset }).await? {
                Response::TreePart(part) if part.is_empty() => return Ok(all),
                Response::TreePart(part) => {
                    offset += part.len() as u64;
                    all.extend(part.into_vec());
                }
                other => panic!("not a part: {other:?}"),
            }
        }
    }
}

async fn lab() -> (Fixture, Device, Device) {
    let f = Fixture::new().await;
    let (a, b) = (f.user("alice").await, f.user("bob").await);
    a.create_group("lab").await.expect("created");
    f.admit(&a, &b, "lab").await;
    (f, a, b)
}

const FILES: [(&str, &str); 3] = [("src/main.rs", "fn main() {}"), ("README", "read me"), ("empty", "")];

#[tokio::test]
async fn a_folder_is_one_share_with_a_tree() {
    let (_f, a, b) = lab().await;
    let (tree, content) = folder(&FILES);
    assert_eq!(a.put("project", (Some(&tree), &content), false).await, Ok(false));
    let info = b.share("project").await.expect("found");
    let head = info.tree.expect("a folder");
    assert_eq!((head.id, head.bytes, head.entries), (tree.id(), tree.encode().len() as u64, 3));
    assert_eq!(info.file.file_id.as_bytes(), blake3::hash(&content).as_bytes());
    assert!(info.published > 1_700_000_000);
    assert_eq!(b.tree_from(tree.id(), 0).await, Ok(tree.encode()));
    let opened = b.open_share("project").await.expect("opened");
    assert_eq!((opened.info, opened.pieces.len()), (info, 1));
    a.upload("lab", "plain", b"content").await.expect("uploaded");
    let rows: Vec<_> = b.shares().await.into_iter().map(|r| (r.file.name.as_str().to_owned(), r.entries)).collect();
    assert_eq!(rows, [("plain".to_owned(), None), ("project".to_owned(), Some(3))]);
    assert_eq!(b.share("plain").await.expect("found").tree, None);
    assert_eq!(b.put_folder("project", &FILES).await, Ok(false), "another member has the same folder");
    assert_eq!(a.put_folder("nothing", &[]).await, Ok(false));
}

#[tokio::test]
async fn a_long_tree_comes_in_parts_from_anywhere() {
    let (_f, a, b) = lab().await;
    let names: Vec<String> = (0..20_000).map(|n| format!("folder {}/file {n}.txt", n % 40)).collect();
    let files: Vec<(&str, &str)> = names.iter().map(|n| (n.as_str(), &n[n.len() - 8..])).collect();
    let (tree, content) = folder(&files);
    let bytes = tree.encode();
    assert!(bytes.len() > 3 * MAX_TREE_PART);
    a.put("many", (Some(&tree), &content), false).await.expect("published");
    for offset in [0, 1, MAX_TREE_PART - 1, MAX_TREE_PART, 2 * MAX_TREE_PART + 99, bytes.len(), usize::MAX >> 1] {
        let got = b.tree_from(tree.id(), offset as u64).await.expect("parts");
        assert!(got == bytes[offset.min(bytes.len())..], "from {offset}");
    }
}

/// Whether it was refused with such a text.
fn invalid<T>(result: &Result<T, Refusal>, text: &str) -> bool {
    matches!(result, Err(Refusal::Invalid(t)) if t.to_string().contains(text))
}

#[tokio::test]
async fn what_is_no_tree_of_that_content_is_refused() {
    let (_f, a, _) = lab().await;
    let (tree, content) = folder(&FILES);
    let m = manifest_of(&content, 16 << 10);
    a.stage(m.pieces(), m.file_id());
    let r = a.ask(publish_request("p", &content, Some(tree.id()), false)).await;
    assert!(invalid(&r, "parts"), "no tree was staged: {r:?}");
    a.stage(m.pieces(), m.file_id());
    stage_tree(&a, tree.id(), &tree.encode()[1..]).await;
    let r = a.ask(publish_request("p", &content, Some(tree.id()), false)).await;
    assert!(invalid(&r, "not the one"), "other bytes: {r:?}");
    let r = a.put("p", (Some(&tree), b"other content"), false).await;
    assert!(invalid(&r, "length"), "{r:?}");
    // A tree by its hash, and none: `..` in it.
    let hostile = [&[1, 0, 4][..], b"../x", &[2]].concat();
    let id = common::tree::id_of(&hostile);
    let nothing = manifest_of(b"", 16 << 10);
    a.stage(nothing.pieces(), nothing.file_id());
    stage_tree(&a, id, &hostile).await;
    let r = a.ask(publish_request("p", b"", Some(id), false)).await;
    assert!(invalid(&r, "`../x`"), "{r:?}");
    assert!(a.shares().await.is_empty());
}

#[tokio::test]
async fn only_members_and_only_where_it_is_shared() {
    let (f, a, b) = lab().await;
    let c = f.user("carol").await;
    let (tree, _) = folder(&FILES);
    a.put_folder("project", &FILES).await.expect("published");
    let file = || "project".parse().expect("a selector");
    for request in [
        Request::FindShare { group: group("lab"), file: file() },
        Request::OpenShare { group: group("lab"), file: file() },
        Request::GetTree { group: group("lab"), tree: tree.id(), offset: 0 },
        Request::ListShares { group: group("lab"), after: None },
        publish_request("x", b"", None, true),
    ] {
        assert!(matches!(c.ask(request.clone()).await, Err(Refusal::NotAMember(_))), "{request:?}");
        assert_eq!(f.device().ask(request).await, Err(Refusal::NotLoggedIn));
    }
    c.create_group("other").await.expect("created");
    let elsewhere = Request::GetTree { group: group("other"), tree: tree.id(), offset: 0 };
    assert!(matches!(c.ask(elsewhere).await, Err(Refusal::NoSuchFile { .. })), "by a hash alone nothing is had");
    assert!(b.tree_from(tree.id(), 0).await.is_ok());
    a.remove("lab", "bob").await.expect("removed");
    assert!(matches!(b.tree_from(tree.id(), 0).await, Err(Refusal::NotAMember(_))));
}

#[tokio::test]
async fn a_new_version_takes_the_place_of_the_old_one() {
    let (f, a, b) = lab().await;
    let c = f.user("carol").await;
    f.admit(&a, &c, "lab").await;
    b.put_folder("project", &FILES).await.expect("published");
    let new = folder(&[("README", "read me again")]);
    let refused = b.put("project", (Some(&new.0), &new.1), false).await;
    assert!(matches!(refused, Err(Refusal::FileExists { .. })), "{refused:?}");
    let refused = c.put("project", (Some(&new.0), &new.1), true).await;
    assert!(matches!(refused, Err(Refusal::NotAdmin { .. })), "{refused:?}");
    assert_eq!(b.put("project", (Some(&new.0), &new.1), true).await, Ok(true), "its uploader");
    assert_eq!(c.share("project").await.expect("found").tree.map(|t| t.id), Some(new.0.id()));
    assert_eq!(a.put("project", (None, b"a file now"), true).await, Ok(true), "the admin");
    assert_eq!(a.put("project", (None, b"a file now"), true).await, Ok(false), "nothing has changed");
    assert_eq!(a.shares().await.len(), 1);
    let old = c.tree_from(new.0.id(), 0).await;
    assert!(matches!(old, Err(Refusal::NoSuchFile { .. })), "the old version is not shared any more");
}

/// The bytes of all files are the same; their names are not.
#[tokio::test]
async fn a_version_in_which_only_a_name_differs_is_a_new_one() {
    let (_f, a, b) = lab().await;
    let (one, other) = (folder(&[("a", "content")]), folder(&[("b", "content")]));
    a.put("p", (Some(&one.0), &one.1), false).await.expect("published");
    assert!(matches!(a.put("p", (Some(&other.0), &other.1), false).await, Err(Refusal::FileExists { .. })));
    assert_eq!(a.put("p", (Some(&other.0), &other.1), true).await, Ok(true));
    assert_eq!(b.share("p").await.expect("found").tree.map(|t| t.id), Some(other.0.id()));
    assert_eq!(b.put("q", (Some(&one.0), &one.1), false).await, Ok(false), "both under two names: they share seeders");
    b.upload("lab", "content", b"content").await.expect("and with a file");
}

#[tokio::test]
async fn asked_again_it_is_answered_the_same() {
    let (_f, a, _) = lab().await;
    a.put("p", (None, b"old"), false).await.expect("published");
    let m = manifest_of(b"new", 16 << 10);
    a.stage(m.pieces(), m.file_id());
    let request = publish_request("p", b"new", None, true);
    let first = a.ask_as(request_id(7), request.clone()).await;
    assert_eq!(first, Ok(Response::Published { replaced: true }));
    assert_eq!(a.ask_as(request_id(7), request).await, first, "without anything staged");
}

#[tokio::test]
async fn clients_that_do_not_know_folders_are_told_to_be_updated() {
    let (_f, a, b) = lab().await;
    a.put_folder("project", &FILES).await.expect("published");
    let file = || "project".parse().expect("a selector");
    for request in [
        Request::FindFile { group: group("lab"), file: file() },
        Request::OpenFile { group: group("lab"), file: file() },
    ] {
        let refused = b.ask(request).await;
        assert!(matches!(&refused, Err(Refusal::Invalid(t)) if t.to_string().contains("newer client")), "{refused:?}");
    }
    assert_eq!(b.file_names("lab").await, ["project"], "it is listed");
    assert!(matches!(b.upload("lab", "project", b"a file").await, Err(Refusal::FileExists { .. })));
}

#[tokio::test]
async fn a_tree_counts_in_its_owners_quota() {
    let (f, a, b) = lab().await;
    f.outgrow_manifests(a.user()).await;
    let names: Vec<String> = (0..100).map(|n| format!("file {n}")).collect();
    let files: Vec<(&str, &str)> = names.iter().map(|n| (n.as_str(), n.as_str())).collect();
    let refused = a.put_folder("many", &files).await;
    assert!(
        matches!(&refused, Err(Refusal::Invalid(t)) if t.to_string().contains("files of your shares")),
        "{refused:?}"
    );
    b.put_folder("many", &files).await.expect("others are not concerned");
    a.put_folder("few", &files[..10]).await.expect("short ones are not weighed");
}

#[tokio::test]
async fn a_tree_goes_with_the_last_share_of_it() {
    let (f, a, b) = lab().await;
    a.put_folder("p", &FILES).await.expect("published");
    b.put_folder("q", &FILES).await.expect("published");
    let store = &f.services().store;
    let old = async || {
        store.trim_log(crate::store::LogBounds { bytes: 0, age_ms: 0 }, u64::MAX >> 17).await.expect("trimmed");
        store.sweep(common::ticket::now()).await.expect("swept");
        store.tree_part_count().await.expect("read")
    };
    a.put("p", (None, b"file"), true).await.expect("replaced");
    assert_eq!(old().await, 1, "one share is left");
    b.put("q", (None, b"file"), true).await.expect("replaced");
    assert_eq!(old().await, 0);
}

/// What was decided at `from` is here, with manifests and trees, as the link brings them.
pub(super) async fn sync(to: &Fixture, from: &Fixture) {
    let (to, from) = (&to.services().store, &from.services().store);
    let out = from.outbox((*to.versions()).clone(), (u64::MAX >> 1, 0), usize::MAX).await.expect("read");
    let mut at = 0;
    loop {
        let rest = out.events[at..].into();
        let applied = to.apply(rest, Vec::new(), crate::store::Absent::default()).await.expect("applied");
        at += applied.done;
        let Some(missing) = applied.missing else { return };
        let (part, tree) = match from.manifest_frame(missing.0, 0, usize::MAX, true).await.expect("read") {
            SyncFrame::Manifest(part) => (part, None),
            SyncFrame::FolderManifest { part, tree } => (part, Some(tree)),
            other => panic!("not a manifest: {other:?}"),
        };
        if let Some(tree) = tree {
            let SyncFrame::Tree(bytes) = from.tree_frame(tree, 0, usize::MAX).await.expect("read") else {
                panic!("no tree");
            };
            to.stage_sibling_tree(tree, 0, bytes.bytes.into_vec()).await.expect("staged");
        }
        to.store_manifest(missing, vec![part], tree).await.expect("stored");
    }
}

#[tokio::test]
async fn two_versions_that_were_published_apart_both_remain() {
    let [one, two] = Fixture::pair().await;
    let (a, b) = (one.user("alice").await, one.user("bob").await);
    a.create_group("lab").await.expect("created");
    one.admit(&a, &b, "lab").await;
    b.put_folder("p", &FILES).await.expect("published");
    sync(&two, &one).await;
    let (a, b) = (a.twin(&two), b);
    let (mine, yours) = (folder(&[("mine", "1")]), folder(&[("yours", "2")]));
    assert_eq!(b.put("p", (Some(&mine.0), &mine.1), true).await, Ok(true));
    assert_eq!(a.put("p", (Some(&yours.0), &yours.1), true).await, Ok(true));
    sync(&two, &one).await;
    sync(&one, &two).await;
    let seen = b.shares().await;
    let names: Vec<_> = seen.iter().map(|row| row.file.name.as_str().to_owned()).collect();
    let later = &seen[1].file;
    assert_eq!(names, ["p".to_owned(), format!("p~{:.8}", later.file_id)]);
    assert_eq!(a.shares().await, seen, "the same at both");
    let of_later = b.share(&names[1]).await.expect("found").tree.expect("a folder").id;
    assert_eq!(b.tree_from(of_later, 0).await.expect("a tree"), a.tree_from(of_later, 0).await.expect("the same"));
    // Which of two that were published in the same millisecond is shown is the same at both, and for nobody to choose.
    let bobs_is_shown = seen[0].file.uploader.as_str() == "bob";
    let content = if bobs_is_shown {
        assert_eq!(a.put("p", (Some(&yours.0), &yours.1), true).await, Ok(true), "in favour of one that is there");
        yours.1
    } else {
        assert!(b.put("p", (None, b"bob's next"), true).await.is_err(), "what is alice's stays");
        assert_eq!(a.put("p", (None, b"the last word"), true).await, Ok(true), "and the admin ends it");
        b"the last word".to_vec()
    };
    let last = a.shares().await;
    assert_eq!(last.len(), 1, "{last:?}");
    assert_eq!(last[0].file.file_id, manifest_of(&content, 16 << 10).file_id());
}

#[tokio::test]
async fn one_content_that_was_cut_in_two_ways_apart_is_found_by_its_id() {
    let [one, two] = Fixture::pair().await;
    let (a, b) = (one.user("alice").await, one.user("bob").await);
    a.create_group("lab").await.expect("created");
    one.admit(&a, &b, "lab").await;
    sync(&two, &one).await;
    let bytes = vec![3; 200_000];
    let id = b.publish("lab", "here", &manifest_of(&bytes, 16 << 10)).await.expect("published");
    let there = a.twin(&two).publish("lab", "there", &manifest_of(&bytes, 32 << 10)).await;
    assert_eq!(there, Ok(id));
    sync(&two, &one).await;
    sync(&one, &two).await;
    assert_eq!(b.shares().await.len(), 2);
    assert_eq!(b.share(&format!("id:{id}")).await.expect("either is right").file.file_id, id);
}

/// A tracker of an earlier release is not sent what it would take for a file's manifest.
#[tokio::test]
async fn a_sibling_that_does_not_know_folders_is_told_that_there_is_none() {
    let (f, a, _) = lab().await;
    a.put_folder("p", &FILES).await.expect("published");
    let store = &f.services().store;
    let lab = a.share("p").await.expect("found").file.group_id;
    let share =
        store.read(move |s| Ok::<_, crate::store::StoreError>(s.shares_after(lab, None, 1))).await.expect("read");
    let id = share[0].manifest.0;
    assert_eq!(store.manifest_frame(id, 0, 10, false).await.expect("read"), SyncFrame::NoManifest(id));
    let known = store.manifest_frame(id, 0, 10, true).await.expect("read");
    assert!(matches!(known, SyncFrame::FolderManifest { tree, .. } if Some(tree) == share[0].folder.map(|f| f.tree)));
}

#[tokio::test]
async fn nobody_seeds_what_was_replaced() {
    let f = Fixture::new().await;
    let (a, b) = (f.user("alice").await, f.user("bob").await);
    a.create_group("lab").await.expect("created");
    f.admit(&a, &b, "lab").await;
    let old = a.upload("lab", "f", b"old").await.expect("uploaded");
    a.announce(1).await.expect("announced");
    assert_eq!(b.peers("lab", old).await, ["alice"]);
    a.put("f", (None, b"new"), true).await.expect("published");
    assert!(b.peers("lab", old).await.is_empty());
    let new = a.share("f").await.expect("there").file.file_id;
    assert_eq!(b.peers("lab", new).await, ["alice"]);
}

#[tokio::test]
async fn an_id_that_several_things_have_with_the_same_bytes_is_ambiguous() {
    let f = Fixture::new().await;
    let a = f.user("alice").await;
    a.create_group("lab").await.expect("created");
    a.put_folder("one", &[("a", "AAA"), ("b", "BBB")]).await.expect("published");
    let id = a.share("one").await.expect("there").file.file_id;
    let by_id = format!("id:{id}");
    a.put_folder("the same", &[("a", "AAA"), ("b", "BBB")]).await.expect("published");
    assert_eq!(a.share(&by_id).await.expect("either is right").file.name.as_str(), "one");
    a.put_folder("another", &[("x", "AAA"), ("y", "BBB")]).await.expect("published");
    assert_eq!(a.share("another").await.expect("there").file.file_id, id);
    assert_eq!(a.share(&by_id).await.err(), Some(Refusal::AmbiguousId { group: group("lab") }));
    assert_eq!(a.open_share(&by_id).await.err(), Some(Refusal::AmbiguousId { group: group("lab") }));
    // A folder, and a file with its bytes.
    a.put_folder("of one", &[("c", "CCC")]).await.expect("published");
    let id = a.share("of one").await.expect("there").file.file_id;
    assert!(a.share(&format!("id:{id}")).await.is_ok());
    a.put("c", (None, b"CCC"), false).await.expect("published");
    assert_eq!(a.share(&format!("id:{id}")).await.err(), Some(Refusal::AmbiguousId { group: group("lab") }));
}
