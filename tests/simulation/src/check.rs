//! What must hold: on one disk at any time, and on both when they have synchronised.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use common::id::{GroupId, MembershipId, OriginId};
use rusqlite::{Connection, OpenFlags, Row};
use tokio::runtime::Runtime;
use tracker::store::{Absent, Applied, Store, Versions};

/// A name and whose it is for good.
pub(crate) type Confirmed = BTreeMap<(u8, String), [u8; 16]>;

pub(crate) fn open(database: &Path) -> Connection {
    Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_ONLY).expect("opened")
}

/// What a tracker has confirmed.
pub(crate) fn confirmed(conn: &Connection) -> Confirmed {
    rows(conn, "SELECT kind, name, owner FROM votes WHERE stage = 2", |r| Ok(((r.get(0)?, r.get(1)?), r.get(2)?)))
        .into_iter()
        .collect()
}

/// All of its votes.
pub(crate) fn votes(conn: &Connection) -> Vec<(u8, String, [u8; 16], u8)> {
    let sql = "SELECT kind, name, owner, stage FROM votes v
               WHERE kind = 0 OR EXISTS (SELECT 1 FROM live WHERE group_id = v.owner) ORDER BY kind, name";
    rows(conn, sql, |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?)))
}

fn rows<T>(conn: &Connection, sql: &str, read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>) -> Vec<T> {
    let mut find = conn.prepare(sql).expect("prepared");
    find.query_map([], read).expect("queried").collect::<rusqlite::Result<_>>().expect("rows")
}

/// Names under which groups were made.
pub(crate) fn group_names(database: &Path) -> BTreeSet<String> {
    if !database.exists() {
        return BTreeSet::new();
    }
    rows(&open(database), "SELECT name FROM votes WHERE kind = 1", |r| r.get(0)).into_iter().collect()
}

/// Memberships that have ended.
pub(crate) fn ended(conn: &Connection) -> Vec<[u8; 16]> {
    rows(conn, "SELECT membership FROM ends", |r| r.get(0))
}

/// Members who should not be: without an acceptance that has seen every kick, or ended.
pub(crate) fn unsound_members(conn: &Connection, members: impl IntoIterator<Item = MembershipId>) -> Vec<MembershipId> {
    let sql = "
        SELECT 1 FROM memberships m WHERE m.id = ?1
          AND NOT EXISTS (SELECT 1 FROM ends e WHERE e.membership = m.id)
          AND EXISTS (
            SELECT 1 FROM accepts a WHERE a.membership = m.id
              AND NOT EXISTS (
                SELECT 1 FROM kicks k WHERE k.group_id = m.group_id AND k.user_id = m.user_id
                  AND k.id NOT IN (SELECT s.kick FROM accept_kicks s
                                   WHERE s.membership = a.membership AND s.hlc = a.hlc AND s.origin = a.origin)))";
    let mut sound = conn.prepare(sql).expect("prepared");
    members.into_iter().filter(|m| !sound.exists([m.as_bytes()]).expect("asked")).collect()
}

/// Memberships that were accepted, by someone who knew of every kick, have not ended, and do not count.
pub(crate) fn missing_members(conn: &Connection) -> Vec<[u8; 16]> {
    let sql = "
        SELECT m.id FROM memberships m JOIN accepts a ON a.membership = m.id
        WHERE m.id NOT IN (SELECT membership FROM live) AND m.id NOT IN (SELECT membership FROM ends)
          AND NOT EXISTS (
            SELECT 1 FROM kicks k WHERE k.group_id = m.group_id AND k.user_id = m.user_id
              AND k.id NOT IN (SELECT s.kick FROM accept_kicks s
                               WHERE s.membership = a.membership AND s.hlc = a.hlc AND s.origin = a.origin))";
    rows(conn, sql, |r| r.get(0))
}

/// How often each id is there that a request makes: more than once would be two effects.
pub(crate) fn doubled(conn: &Connection) -> Vec<String> {
    // A request that was carried out at both trackers has two events; their facts must be the same things.
    let sql = "SELECT hex(device) || hex(request_id) FROM events GROUP BY device, request_id HAVING count(*) > 2";
    rows(conn, sql, |r| r.get(0))
}

/// The shares that members see, and the forms of the trees of folders among them.
pub(crate) async fn shares(store: &Store, groups: &[GroupId]) -> BTreeSet<String> {
    let groups = groups.to_vec();
    let listed = store.read(move |state| {
        let mut all = Vec::new();
        for group in groups {
            all.extend(state.shares_after(group, None, usize::MAX).into_iter().map(|share| (group, share)));
        }
        Ok::<_, tracker::store::StoreError>(all)
    });
    let mut said = BTreeSet::new();
    for (group, share) in listed.await.expect("read") {
        let tree = match share.folder {
            Some(folder) => Some(store.tree_frame(folder.tree, 0, usize::MAX).await.expect("read")),
            None => None,
        };
        said.insert(format!(
            "{group:?} {:?} {:?} {:?} {:?} {tree:?}",
            share.name, share.file, share.manifest, share.folder
        ));
    }
    said
}

pub(crate) fn versions(store: &Store) -> Versions {
    (*store.versions()).clone()
}

/// The state is what the events say: applied to an empty database, they give the same. `None` if the log does
/// not reach back far enough for that.
pub(crate) fn replayed(rt: &Runtime, store: &Store, dir: &Path) -> Option<(Vec<u64>, Vec<u64>)> {
    let fresh = Store::open_as(dir, Arc::new(|| 1), OriginId::new([0xee; 16])).expect("opened");
    let done = rt.block_on(async {
        let mut after = Versions::new();
        loop {
            let out = store.outbox(after.clone(), (u64::MAX >> 1, 0), usize::MAX).await.expect("read");
            if out.events.is_empty() {
                break;
            }
            for event in &out.events {
                // Manifests are not events; a database without them cannot list the shares, and need not.
                after.insert(event.origin, event.seq);
            }
            let applied = with_manifests(store, &fresh, out.events).await;
            if applied.early {
                return None;
            }
        }
        let (mine, replayed) = (store.digest().await.expect("read"), fresh.digest().await.expect("read"));
        (mine.0 == replayed.0).then_some((mine.1, replayed.1))
    });
    rt.block_on(fresh.close());
    done
}

async fn with_manifests(from: &Store, to: &Store, events: Vec<common::wire::sync::Event>) -> Applied {
    let events: Arc<[_]> = events.into();
    let (mut at, mut absent) = (0, Absent::default());
    loop {
        let applied = to.apply(events[at..].into(), vec![], Arc::clone(&absent)).await.expect("applied");
        let Some(missing) = applied.missing else { return applied };
        at += applied.done;
        match from.manifest_frame(missing.0, 0, usize::MAX, true).await.expect("read") {
            common::wire::sync::SyncFrame::Manifest(part) => {
                to.store_manifest(missing, vec![part], None).await.expect("stored")
            }
            common::wire::sync::SyncFrame::FolderManifest { part, tree } => {
                let frame = from.tree_frame(tree, 0, usize::MAX).await.expect("read");
                let common::wire::sync::SyncFrame::Tree(bytes) = frame else { panic!("a manifest without its tree") };
                to.stage_sibling_tree(tree, 0, bytes.bytes.into_vec()).await.expect("staged");
                to.store_manifest(missing, vec![part], Some(tree)).await.expect("stored")
            }
            // Of a share that is gone for good.
            _ => drop(Arc::make_mut(&mut absent).insert(missing)),
        }
    }
}
