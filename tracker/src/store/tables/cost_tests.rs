//! What questions cost in steps of SQLite's machine, which do not depend on how fast this one is: twice as much of
//! anything that one member may make may cost twice as much, and not four times.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::id::{DeviceId, FileId, FileName, GroupId, MembershipId, PublicationId, RequestId, Sha1Digest, UserId};
use common::manifest::{Manifest, PieceHash};
use common::pieces::PieceLayout;
use rusqlite::Connection;

use super::*;
use crate::fact::Delta;
use crate::store::{Asked, Change, NewManifest, Store, StoreError};

const GROUP: GroupId = GroupId::new([1; 16]);
const USER: UserId = UserId::new([2; 16]);
const MEMBERSHIP: MembershipId = MembershipId::new([3; 16]);

fn manifest() -> NewManifest {
    let layout = PieceLayout::new(1, 1 << 14).expect("layout");
    let piece = PieceHash { sha1: Sha1Digest::new([0; 20]), chain: [0; 32] };
    NewManifest::new(Manifest::of_hashed(layout, Sha1Digest::new([0; 20]), vec![piece]).expect("manifest"))
}

async fn state(store: &Store, deltas: Vec<Delta>) {
    let asked = Asked { device: DeviceId::new([9; 32]), request: RequestId::random() };
    let change = Change { deltas, manifest: Some(manifest()), answer: Vec::new(), value: () };
    store.write(asked, move |_| Ok::<_, StoreError>(change)).await.expect("written");
}

/// A database with a group and one member, and what `more` states.
async fn made(more: Vec<Delta>) -> (tempfile::TempDir, Connection) {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Store::open(dir.path(), Arc::new(|| 1_700_000_000_000)).expect("opened");
    let mut deltas = vec![Delta::User { id: USER, name: "mallory".parse().expect("a name") }];
    deltas.extend(group(GROUP, "lab", MEMBERSHIP));
    state(&store, deltas).await;
    for some in more.chunks(500) {
        state(&store, some.to_vec()).await;
    }
    store.close().await;
    let conn = Connection::open(dir.path().join("tracker.db")).expect("opened");
    (dir, conn)
}

fn group(id: GroupId, name: &str, membership: MembershipId) -> [Delta; 3] {
    [
        Delta::Group { id, name: name.parse().expect("a name"), creator: USER },
        Delta::Requested { membership, group: id, user: USER },
        Delta::Accepted { membership, kicks_seen: Vec::new() },
    ]
}

fn published(id: PublicationId, name: &str, file: FileId) -> Delta {
    let (name, manifest) = (name.parse().expect("a name"), manifest().id());
    Delta::Published { id, group: GROUP, name, file, manifest, user: USER, membership: MEMBERSHIP }
}

fn steps<T>(conn: &mut Connection, ask: impl FnOnce(&Tables<'_>) -> Result<T>) -> usize {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let step = move || {
        counted.fetch_add(1, Ordering::Relaxed);
        false
    };
    conn.progress_handler(1, Some(step)).expect("set");
    ask(&Tables::new(conn)).expect("answered");
    conn.progress_handler(1, None::<fn() -> bool>).expect("set");
    count.load(Ordering::Relaxed)
}

/// Asks of a database with so many, and of one with twice as many, before and after SQLite has looked at how many there
/// are.
async fn costs<T>(make: impl Fn(usize) -> Vec<Delta>, ask: impl Fn(&Tables<'_>) -> Result<T>) -> [(usize, usize); 2] {
    const MANY: usize = 400;
    let ((_one, mut small), (_other, mut large)) = (made(make(MANY)).await, made(make(2 * MANY)).await);
    let before = (steps(&mut small, &ask), steps(&mut large, &ask));
    for conn in [&small, &large] {
        conn.execute_batch("ANALYZE").expect("analyzed");
    }
    [before, (steps(&mut small, &ask), steps(&mut large, &ask))]
}

const FILE: FileId = FileId::new([7; 32]);

fn one_content(names: usize) -> Vec<Delta> {
    (0..names).map(|n| published(PublicationId::random(), &format!("f{n:05}"), FILE)).collect()
}

#[tokio::test]
async fn one_content_under_many_names_costs_a_decision_nothing() {
    let of = costs(one_content, |s| s.share_of(GROUP, FILE)).await;
    let name: FileName = "f00100".parse().expect("a name");
    let named = costs(one_content, |s| s.share_named(GROUP, &name)).await;
    let published = costs(one_content, |s| s.has_published(MEMBERSHIP, &name, FILE)).await;
    let shares = costs(one_content, |s| s.shares_in(GROUP, USER, 100)).await;
    println!("steps, before and after ANALYZE: first {of:?}, name {named:?}, published {published:?}, all {shares:?}");
    for (few, many) in [of, named, published].into_iter().flatten() {
        assert!(many <= few + few / 10, "{few} to {many}: the same answer");
    }
    for (few, many) in shares {
        assert!(many <= 2 * few + few / 10, "{few} to {many}: twice as many to count");
    }
}

#[tokio::test]
async fn what_was_replaced_costs_nothing() {
    let replaced = |times: usize| {
        let replace = |n: usize| {
            let (id, file) = (PublicationId::random(), FileId::new(*blake3::hash(&n.to_le_bytes()).as_bytes()));
            [published(id, "again", file), Delta::Withdrawn { publication: id }]
        };
        (0..times).flat_map(replace).chain([published(PublicationId::random(), "again", FILE)]).collect()
    };
    let name: FileName = "again".parse().expect("a name");
    let named = costs(replaced, |s| s.share_named(GROUP, &name)).await;
    let of = costs(replaced, |s| s.share_of(GROUP, FILE)).await;
    println!("steps, before and after ANALYZE: name {named:?}, first {of:?}");
    for (few, many) in [named, of].into_iter().flatten() {
        assert!(many <= few + few / 10 && few < 5000, "{few} to {many}");
    }
}
