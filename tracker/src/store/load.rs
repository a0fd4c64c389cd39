//! Reads the whole state from the tables.

use std::collections::{BTreeMap, BTreeSet};

use common::id::MembershipId;
use common::pieces::PieceLayout;
use rusqlite::Connection;

use super::error::Result;
use super::{facts, votes};
use crate::fact::{ManifestId, Stamp};
use crate::state::{ManifestHead, State};

/// The state as the tables have it.
pub(super) fn state(conn: &Connection) -> Result<State> {
    let mut state = State::default();
    let mut find = conn.prepare("SELECT id, len, piece_len, sha1 FROM manifests")?;
    let mut rows = find.query([])?;
    while let Some(r) = rows.next()? {
        let (len, piece_len): (i64, i64) = (r.get(1)?, r.get(2)?);
        match PieceLayout::new(len.cast_unsigned(), piece_len.cast_unsigned()) {
            Ok(layout) => {
                state.add_manifest(
                    ManifestId(r.get(0)?),
                    ManifestHead { layout, sha1: r.get::<_, [u8; 20]>(3)?.into() },
                );
            }
            Err(e) => tracing::error!("a manifest is damaged ({e}): its shares are not listed; look after the disk"),
        }
    }
    for (kind, name, vote) in votes::all_since(conn, 0)? {
        state.set_vote(kind, &name, vote);
    }
    facts::each(conn, |stamp, delta| {
        state.join(stamp, &delta);
    })?;
    Ok(state)
}

/// What is said by one of them and not by another: of the state in memory, the tables, and the facts in the tables when
/// they are joined in another order; and of who is a member, by the state and by the table that is derived.
pub(super) fn differences(state: &State, loaded: &State, live: &BTreeMap<MembershipId, Stamp>) -> Vec<String> {
    let mut all = differ("memory and the tables", &state.said(), &loaded.said());
    all.extend(differ("the tables and their facts in another order", &loaded.said(), &loaded.rebuilt().said()));
    let said = |live: &BTreeMap<MembershipId, Stamp>| live.iter().map(|row| format!("live {row:?}")).collect();
    all.extend(differ("memory and the table of members", &said(&state.live_memberships()), &said(live)));
    all
}

fn differ(what: &str, a: &BTreeSet<String>, b: &BTreeSet<String>) -> Vec<String> {
    a.symmetric_difference(b).map(|said| format!("{what} differ: {said}")).collect()
}
