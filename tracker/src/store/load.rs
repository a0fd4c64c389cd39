//! Reads the whole state from the tables.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use common::id::{MembershipId, OriginId};
use common::pieces::PieceLayout;
use rusqlite::{Connection, Row};

use super::checkpoint::Behind;
use super::error::{Result, StoreError};
use super::facts::StampedFact;
use super::{facts, votes};
use crate::fact::{Hlc, ManifestId, Stamp};
use crate::state::{Folder, ManifestHead, State};
use crate::vote::{NameKind, Vote};

/// Rows that are handed over at a time: a thread that is woken for each row does nothing else.
const ROWS_AT_ONCE: usize = 1024;
/// Such lots that wait to be joined.
const WAITING: usize = 8;

/// One row of the tables.
enum Loaded {
    Manifest(ManifestId, ManifestHead),
    Vote(NameKind, String, Vote),
    Fact(StampedFact),
}

/// The state as the tables have it, with what is behind. One thread reads and another joins, since each takes about as long.
pub(super) fn state(conn: &Connection, behind: &Behind) -> Result<State> {
    let (send, lots) = sync_channel::<Vec<Loaded>>(WAITING);
    let state = thread::scope(|scope| {
        let joining = scope.spawn(move || lots.into_iter().flatten().fold(State::default(), joined));
        let read = read(conn, &send);
        drop(send);
        let state = joining.join().map_err(|_| StoreError::Panicked);
        read.and(state)
    });
    let mut state = state?;
    behind.iter().for_each(|(stamp, fact)| drop(state.join(stamp, fact)));
    Ok(state)
}

fn joined(mut state: State, loaded: Loaded) -> State {
    match loaded {
        Loaded::Manifest(id, head) => drop(state.add_manifest(id, head)),
        Loaded::Vote(kind, name, vote) => drop(state.set_vote(kind, &name, vote)),
        Loaded::Fact((stamp, fact)) => drop(state.join(stamp, &fact)),
    }
    state
}

fn read(conn: &Connection, send: &SyncSender<Vec<Loaded>>) -> Result<()> {
    let mut lot = Vec::with_capacity(ROWS_AT_ONCE);
    let mut hand_over = |loaded| {
        lot.push(loaded);
        if lot.len() < ROWS_AT_ONCE {
            return Ok(());
        }
        send.send(std::mem::replace(&mut lot, Vec::with_capacity(ROWS_AT_ONCE))).map_err(|_| StoreError::Panicked)
    };
    manifests(conn, |id, head| hand_over(Loaded::Manifest(id, head)))?;
    votes::all(conn)?.into_iter().try_for_each(|(kind, name, vote)| hand_over(Loaded::Vote(kind, name, vote)))?;
    facts::each(conn, |stamp, fact| hand_over(Loaded::Fact((stamp, fact))))?;
    send.send(lot).map_err(|_| StoreError::Panicked)
}

fn manifests(conn: &Connection, mut each: impl FnMut(ManifestId, ManifestHead) -> Result<()>) -> Result<()> {
    let sql = "SELECT m.id, m.len, m.piece_len, m.sha1, m.tree, m.plain, t.bytes, t.entries
               FROM manifests m LEFT JOIN trees t ON t.id = m.tree";
    let mut find = conn.prepare(sql)?;
    let mut rows = find.query([])?;
    while let Some(r) = rows.next()? {
        let (len, piece_len): (i64, i64) = (r.get(1)?, r.get(2)?);
        match PieceLayout::new(len.cast_unsigned(), piece_len.cast_unsigned()) {
            Ok(layout) => {
                let head = ManifestHead { layout, sha1: r.get::<_, [u8; 20]>(3)?.into(), folder: folder(r)? };
                each(ManifestId(r.get(0)?), head)?;
            }
            Err(e) => tracing::error!("a manifest is damaged ({e}): its shares are not listed; look after the disk"),
        }
    }
    Ok(())
}

/// What a row says of a folder, if it is one's.
fn folder(r: &Row<'_>) -> Result<Option<Folder>> {
    let Some(tree) = r.get::<_, Option<[u8; 32]>>(4)? else { return Ok(None) };
    Ok(Some(Folder { tree: tree.into(), plain: ManifestId(r.get(5)?), bytes: r.get(6)?, entries: r.get(7)? }))
}

/// Who is a member by the tables, and since when.
pub(super) fn live_memberships(conn: &Connection) -> Result<BTreeMap<MembershipId, Stamp>> {
    let mut find = conn.prepare("SELECT membership, hlc, origin FROM live")?;
    let row = |r: &Row<'_>| {
        let stamp = Stamp { hlc: Hlc::from_stored(r.get(1)?), origin: OriginId::new(r.get(2)?) };
        Ok((MembershipId::new(r.get(0)?), stamp))
    };
    Ok(find.query_map([], row)?.collect::<rusqlite::Result<_>>()?)
}

/// What is said by one of them and not by another: of the state in memory, the tables, and the facts in the tables when
/// they are joined in another order; and of who is a member, by the state and by SQL.
pub(super) fn differences(state: &State, loaded: &State, live: &BTreeMap<MembershipId, Stamp>) -> Vec<String> {
    let mut all = differ("memory and the tables", &state.said(), &loaded.said());
    all.extend(differ("the tables and their facts in another order", &loaded.said(), &loaded.rebuilt().said()));
    let said = |live: &BTreeMap<MembershipId, Stamp>| live.iter().map(|row| format!("live {row:?}")).collect();
    all.extend(differ("members in memory and by SQL", &said(&state.live_memberships()), &said(live)));
    all
}

fn differ(what: &str, a: &BTreeSet<String>, b: &BTreeSet<String>) -> Vec<String> {
    a.symmetric_difference(b).map(|said| format!("{what} differ: {said}")).collect()
}
