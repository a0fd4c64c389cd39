//! The index follows the state, over restarts and losses.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use common::id::{DeviceId, FileId, GroupId, MembershipId, OriginId, PublicationId, RequestId, Sha1Digest, UserId};
use common::manifest::{Manifest, PieceHash};
use common::pieces::PieceLayout;
use common::task::TaskGroup;

use super::*;
use crate::fact::Fact;
use crate::store::{Asked, Change, NewManifest};

const GROUP: GroupId = GroupId::new([1; 16]);

fn open(dir: &Path) -> Store {
    Store::open_as(dir, Arc::new(|| 1_700_000_000_000), OriginId::random()).expect("opened")
}

async fn state(store: &Store, facts: Vec<Fact>, manifest: Option<NewManifest>) {
    let asked = Asked { device: DeviceId::new([1; 32]), request: RequestId::random() };
    let change = Change { facts, manifest, answer: Vec::new(), value: () };
    store.write(asked, move |_| Ok::<_, StoreError>(change)).await.expect("written");
}

async fn begin(store: &Store) {
    let (user, membership) = (UserId::new([1; 16]), MembershipId::new([1; 16]));
    let name = "alice".parse().expect("a name");
    let member =
        [Fact::Requested { membership, group: GROUP, user }, Fact::Accepted { membership, kicks_seen: vec![] }];
    state(store, [Fact::User { id: user, name }].into_iter().chain(member).collect(), None).await;
}

async fn publish(store: &Store, n: u8, name: &str) {
    let layout = PieceLayout::new(10, 1 << 14).expect("layout");
    let sha1 = Sha1Digest::new([n; 20]);
    let manifest = Manifest::of_hashed(layout, sha1, vec![PieceHash { sha1, chain: [n; 32] }]).expect("a manifest");
    let manifest = NewManifest::new(manifest);
    let published = Fact::Published {
        id: PublicationId::new([n; 16]),
        group: GROUP,
        name: name.parse().expect("a name"),
        file: FileId::new([n; 32]),
        manifest: manifest.id(),
        user: UserId::new([1; 16]),
        membership: MembershipId::new([1; 16]),
    };
    state(store, vec![published], Some(manifest)).await;
}

async fn names(store: &Store, typed: &str) -> Vec<String> {
    let found = store.search(&Caller::tracker(), vec![GROUP], typed, 10).await.expect("searched").expect("words");
    found.into_iter().map(|found| found.share.name.as_str().to_owned()).collect()
}

async fn finds(store: &Store, typed: &str, expected: &[&str]) {
    let until = async {
        while names(store, typed).await != expected {
            tokio::task::yield_now().await;
        }
    };
    if tokio::time::timeout(Duration::from_secs(20), until).await.is_err() {
        assert_eq!(names(store, typed).await, expected);
    }
}

#[tokio::test]
async fn it_goes_on_where_it_was_and_is_made_anew_when_it_is_lost() {
    let dir = tempfile::tempdir().expect("directory");
    let file = dir.path().join(FILE);
    let run = async |n: u8, all: &[&str]| {
        let (store, tasks) = (open(dir.path()), TaskGroup::new());
        if n == 1 {
            begin(&store).await;
        }
        let following = tasks.spawn("search", store.clone().follow_search());
        publish(&store, n, &format!("share {n}")).await;
        finds(&store, "share", all).await;
        store.close().await;
        let _ = tokio::time::timeout(Duration::from_secs(20), following).await.expect("it ends with the database");
    };
    run(1, &["share 1"]).await;
    run(2, &["share 1", "share 2"]).await;
    // What happens while nobody follows.
    let store = open(dir.path());
    state(&store, vec![Fact::Withdrawn { publication: PublicationId::new([1; 16]) }], None).await;
    publish(&store, 3, "share 3").await;
    store.close().await;
    run(4, &["share 2", "share 3", "share 4"]).await;
    std::fs::write(&file, b"no database").expect("damaged");
    run(5, &["share 2", "share 3", "share 4", "share 5"]).await;
    std::fs::remove_file(&file).expect("removed");
    run(6, &["share 2", "share 3", "share 4", "share 5", "share 6"]).await;
}

/// A word of two letters was found only where a word begins, also beside one that says well enough where to look.
#[tokio::test]
async fn a_short_word_beside_a_longer_one_may_stand_anywhere() {
    let dir = tempfile::tempdir().expect("directory");
    let (store, tasks) = (open(dir.path()), TaskGroup::new());
    begin(&store).await;
    let following = tasks.spawn("search", store.clone().follow_search());
    for (n, name) in (1..).zip(["report-7q.bin", "report of qualms.bin", "report.bin", "sequel.bin"]) {
        publish(&store, n, name).await;
    }
    finds(&store, "sequel", &["sequel.bin"]).await;
    finds(&store, "report q", &["report of qualms.bin", "report-7q.bin"]).await;
    finds(&store, "epor 7q", &["report-7q.bin"]).await;
    finds(&store, "epor q", &["report of qualms.bin", "report-7q.bin"]).await;
    finds(&store, "q", &["report of qualms.bin"]).await;
    finds(&store, "report qx", &[]).await;
    store.close().await;
    let _ = tokio::time::timeout(Duration::from_secs(20), following).await.expect("it ends with the database");
}

#[test]
fn one_folder_under_many_names_has_its_paths_in_the_index_a_few_times() {
    use common::tree::{Entry, Tree};
    const NAMES: u8 = 10;
    let dir = tempfile::tempdir().expect("directory");
    let mut index = index::Index::open(&dir.path().join(FILE)).expect("opened");
    let entry = Entry::File { len: 1, hash: FileId::new([1; 32]), executable: false };
    let tree = Tree::new([("a/deep/path".parse().expect("a path"), entry)]).expect("a tree");
    let listed = crate::state::ListedShare { manifest: ManifestId([1; 32]), size: 1, tree: Some(tree.id()) };
    let other = GroupId::new([2; 16]);
    let share = |group, n: u8| {
        let name = format!("n{n}").parse().expect("a name");
        (ShareId { group, file: FileId::new([1; 32]), name }, Some(listed))
    };
    let all: Vec<_> = (0..NAMES).map(|n| share(GROUP, n)).chain([share(other, 0)]).collect();
    for (folder, _) in index.put(&all).expect("put") {
        index.add_paths(folder, &tree.encode()).expect("added");
    }
    assert_eq!(index.put(&all).expect("put"), vec![], "each of them is whole");
    let conn = index::connect(&dir.path().join(FILE), false).expect("opened");
    let found = |group: GroupId, typed: &str| {
        let query = Query::new(typed).expect("words");
        Look::new(&conn, &query, (100, Instant::now() + PATIENCE)).run(&[group]).expect("searched").len()
    };
    let few = usize::try_from(index::SHARES_WITH_PATHS).expect("few");
    let counts = (found(GROUP, "deep"), found(GROUP, "n9"), found(other, "deep"));
    assert_eq!(counts, (few, 1, 1), "each group has its own");
}

/// `cargo test --release -p shoal-tracker --lib a_million_names -- --ignored --nocapture`.
#[tokio::test]
#[ignore = "takes minutes, and measures"]
async fn a_million_names_are_searched_in_twenty_milliseconds() {
    use common::tree::{Entry, Tree};
    let dir = tempfile::tempdir().expect("directory");
    let mut index = index::Index::open(&dir.path().join(FILE)).expect("opened");
    let share = ShareId { group: GROUP, file: FileId::new([1; 32]), name: "everything".parse().expect("a name") };
    let words = ["report", "invoice", "holiday", "draft", "final", "budget", "minutes", "sample", "figure", "notes"];
    let path = |n: usize| {
        let (a, b) = (words[n % 10], words[n / 10 % 10]);
        format!("archive/{}/{a} {b}/file-{n:07}-{:05x}.txt", n / 1000, n * 7919 % 1_048_576)
    };
    let entry = Entry::File { len: 1, hash: FileId::new([1; 32]), executable: false };
    let tree = Tree::new((0..1_000_000).map(|n| (path(n).parse().expect("a path"), entry))).expect("a tree");
    let listed = crate::state::ListedShare { manifest: ManifestId([1; 32]), size: 1, tree: Some(tree.id()) };
    let began = Instant::now();
    let folders = index.put(&[(share, Some(listed))]).expect("put");
    index.add_paths(folders[0].0, &tree.encode()).expect("added");
    let bytes = std::fs::metadata(dir.path().join(FILE)).expect("file").len();
    println!("indexed in {:?}, {} MiB", began.elapsed(), bytes >> 20);
    let conn = index::connect(&dir.path().join(FILE), false).expect("opened");
    let mut slowest = Duration::ZERO;
    for typed in [
        "file-0123456",
        "0123456-",
        "zzz",
        "report",
        "archive",
        "txt",
        "file",
        "r",
        "fi",
        "report budget",
        "budget report txt",
        "port ill",
        "e/f",
        "archive file txt report",
        "figure figure",
        "nal/fil",
        "12345",
        "report invoice holiday",
        "xyz archive",
        "archive txt file 9999999",
        "0123456- x",
        "report q",
        "archive zq",
    ] {
        let query = Query::new(typed).expect("words");
        let mut times: Vec<Duration> = (0..5)
            .map(|_| {
                let (until, began) = (Instant::now() + PATIENCE, Instant::now());
                let found = Look::new(&conn, &query, (101, until)).run(&[GROUP]).expect("searched").len();
                if typed == "report" {
                    assert_eq!(found, 101);
                }
                began.elapsed()
            })
            .collect();
        times.sort_unstable();
        slowest = slowest.max(times[2]);
        println!("{typed:?}: {:?}", times[2]);
    }
    assert!(slowest < Duration::from_millis(120), "{slowest:?}");
}
