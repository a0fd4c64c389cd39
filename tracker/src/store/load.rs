//! Reads the whole state from the tables.

use std::collections::{BTreeMap, BTreeSet};

use common::id::{MembershipId, OriginId};
use common::pieces::PieceLayout;
use rusqlite::{Connection, Row};

use super::checkpoint::Behind;
use super::error::Result;
use super::{facts, votes};
use crate::fact::{Hlc, ManifestId, Stamp};
use crate::state::{ManifestHead, State};

/// The state as the tables have it, with what is behind.
pub(super) fn state(conn: &Connection, behind: &Behind) -> Result<State> {
    let mut state = State::default();
    let mut find = conn.prepare("SELECT id, len, piece_len, sha1 FROM manifests")?;
    let mut rows = find.query([])?;
    while let Some(r) = rows.next()? {
        let (len, piece_len): (i64, i64) = (r.get(1)?, r.get(2)?);
        match PieceLayout::new(len.cast_unsigned(), piece_len.cast_unsigned()) {
            Ok(layout) => {
                let head = ManifestHead { layout, sha1: r.get::<_, [u8; 20]>(3)?.into() };
                drop(state.add_manifest(ManifestId(r.get(0)?), head));
            }
            Err(e) => tracing::error!("a manifest is damaged ({e}): its shares are not listed; look after the disk"),
        }
    }
    for (kind, name, vote) in votes::all(conn)? {
        drop(state.set_vote(kind, &name, vote));
    }
    facts::each(conn, |stamp, fact| drop(state.join(stamp, &fact)))?;
    behind.iter().for_each(|(stamp, fact)| drop(state.join(stamp, fact)));
    Ok(state)
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
