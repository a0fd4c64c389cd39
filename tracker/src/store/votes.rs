//! This tracker's votes on names, on disk: see [`crate::vote`] for the rule.
//!
//! A vote for a group that has no member any more is void: it counts for nothing against another, from
//! whichever side. Once both trackers see a group closed nobody can be accepted there any more, so that a name that
//! both have given away again cannot come back.

use common::id::{GroupId, OriginId, UserId, UserName};
use common::wire::sync::{NameKind, NameVote, VoteStage};
use rusqlite::{Connection, Row};

use super::error::{Result, StoreError};
use super::facts::StampedFact;
use crate::fact::{Fact, Hlc, Stamp};
use crate::state::State;
use crate::vote::{Claim, Vote};

const fn kind_number(kind: NameKind) -> i64 {
    match kind {
        NameKind::User => 0,
        NameKind::Group => 1,
    }
}

fn kind_of(number: i64) -> NameKind {
    if number == 0 { NameKind::User } else { NameKind::Group }
}

fn stage_of(number: i64) -> VoteStage {
    match number {
        0 => VoteStage::Provisional,
        1 => VoteStage::Pledged,
        _ => VoteStage::Confirmed,
    }
}

/// A vote that is to be cast, on a name in lower case.
#[derive(Debug)]
pub(super) struct Cast {
    pub(super) kind: NameKind,
    pub(super) name: String,
    pub(super) vote: Vote,
    /// Who has lost the name by it.
    pub(super) lost: Option<StampedFact>,
}

/// The vote for a claim that is the first on its name.
pub(super) fn on_claim(state: &State, fact: &Fact, stamp: Stamp) -> Option<Cast> {
    let (kind, name, owner) = match fact {
        Fact::User { id, name } => (NameKind::User, name.as_str(), *id.as_bytes()),
        Fact::Group { id, name, .. } => (NameKind::Group, name.as_str(), *id.as_bytes()),
        _ => return None,
    };
    let name = name.to_ascii_lowercase();
    match state.vote(kind, &name) {
        Some(vote) if vote.claim.owner == owner || !is_void(state, kind, vote) => None,
        _ => Some(Cast { kind, name, vote: Vote::first(Claim { stamp, owner }), lost: None }),
    }
}

/// What the sibling's current vote makes of the own one.
///
/// `knows_all` says that the sibling takes in every event of ours.
pub(super) fn on_vote(state: &State, theirs: &NameVote, knows_all: bool) -> Option<Cast> {
    let (kind, name) = (theirs.kind, theirs.name.as_str().to_ascii_lowercase());
    let stamp = Stamp { hlc: Hlc::from_stored(theirs.hlc.cast_signed()), origin: theirs.origin };
    let vote = Vote { claim: Claim { stamp, owner: theirs.owner }, stage: theirs.stage };
    let mine = state.vote(kind, &name);
    let alike = mine.is_some_and(|m| m.claim.owner == vote.claim.owner);
    if !alike && is_void(state, kind, vote) {
        // It met the own vote while that group was open there, and has not kept it: nobody would say anything more. So the own
        // one is sent again, behind the events that close the group.
        let again = mine.filter(|m| knows_all && m.stage != VoteStage::Confirmed && !is_void(state, kind, *m));
        return again.map(|vote| Cast { kind, name, vote, lost: None });
    }
    let base = match mine {
        Some(m) if alike || !is_void(state, kind, m) => m,
        _ => Vote::first(vote.claim),
    };
    let met = base.meet(vote);
    if mine == Some(met) && alike {
        return None;
    }
    let before = mine.filter(|m| m.claim.owner != met.claim.owner);
    let lost = before.and_then(|before| claim_of(state, kind, before));
    // Cast anew even if it stands: the sibling votes otherwise, so it does not know this vote, perhaps
    // because it had given a closed group's name away.
    Some(Cast { kind, name, vote: met, lost })
}

/// The fact that made a claim.
fn claim_of(state: &State, kind: NameKind, vote: Vote) -> Option<StampedFact> {
    let Claim { stamp, owner } = vote.claim;
    let fact = match kind {
        NameKind::User => {
            let id = UserId::new(owner);
            Fact::User { id, name: state.user_claim(id)? }
        }
        NameKind::Group => {
            let id = GroupId::new(owner);
            let (name, creator) = state.group_claim(id)?;
            Fact::Group { id, name, creator }
        }
    };
    Some((stamp, fact))
}

/// Whether it is for a group that is known here, and closed.
fn is_void(state: &State, kind: NameKind, vote: Vote) -> bool {
    kind == NameKind::Group && state.is_closed(GroupId::new(vote.claim.owner))
}

/// Writes a vote on a name, given in lower case.
pub(super) fn write(tx: &Connection, kind: NameKind, name: &str, vote: Vote) -> Result<()> {
    let sql = "
        INSERT INTO votes (kind, name, owner, hlc, origin, stage, change)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, (SELECT coalesce(max(change), 0) + 1 FROM votes))
        ON CONFLICT DO UPDATE SET owner = excluded.owner, hlc = excluded.hlc, origin = excluded.origin,
            stage = excluded.stage, change = excluded.change";
    let Claim { stamp, owner } = vote.claim;
    let stage = vote.stage as i64;
    let row = (kind_number(kind), name, owner, stamp.hlc.to_stored(), stamp.origin.as_bytes(), stage);
    tx.prepare_cached(sql)?.execute(row)?;
    Ok(())
}

/// Reads owner, hlc, origin and stage.
fn vote_of(r: &Row<'_>) -> rusqlite::Result<Vote> {
    let stamp = Stamp { hlc: Hlc::from_stored(r.get(1)?), origin: OriginId::new(r.get(2)?) };
    Ok(Vote { claim: Claim { stamp, owner: r.get(0)? }, stage: stage_of(r.get(3)?) })
}

/// Every vote, and on which name.
pub(super) fn all(conn: &Connection) -> Result<Vec<(NameKind, String, Vote)>> {
    let mut find = conn.prepare("SELECT owner, hlc, origin, stage, kind, name FROM votes")?;
    let rows = find.query_map([], |r| Ok((kind_of(r.get(4)?), r.get(5)?, vote_of(r)?)))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// How many changes of votes there have been.
pub(super) fn changes(conn: &Connection) -> Result<u64> {
    Ok(conn.prepare_cached("SELECT coalesce(max(change), 0) FROM votes")?.query_row([], |r| r.get(0))?)
}

/// Up to `most` votes that changed after `after`, in that order, and the number of the last change among them.
/// Confirmed ones up to change `agreed` are left out.
pub(super) fn since(conn: &Connection, after: u64, agreed: u64, most: usize) -> Result<(Vec<NameVote>, u64)> {
    let sql = "SELECT kind, name, owner, hlc, origin, stage, change FROM votes
               WHERE change > ?1 AND (change > ?2 OR stage < 2) ORDER BY change LIMIT ?3";
    let mut last = after;
    let mut votes = Vec::new();
    let mut find = conn.prepare_cached(sql)?;
    let mut rows = find.query((after, agreed, most as u64))?;
    while let Some(r) = rows.next()? {
        votes.push(NameVote {
            kind: kind_of(r.get(0)?),
            name: UserName::try_from(r.get::<_, String>(1)?).map_err(|_| StoreError::Content("a vote on no name"))?,
            hlc: r.get(3)?,
            origin: OriginId::new(r.get(4)?),
            owner: r.get(2)?,
            stage: stage_of(r.get(5)?),
        });
        last = r.get(6)?;
    }
    Ok((votes, last))
}

/// A hash over the confirmed names.
pub(super) fn confirmed_digest(conn: &Connection) -> Result<[u8; 32]> {
    let mut h = blake3::Hasher::new_derive_key("shoal confirmed names 1");
    let mut find = conn.prepare_cached("SELECT kind, name, owner FROM votes WHERE stage = 2 ORDER BY kind, name")?;
    let mut rows = find.query([])?;
    while let Some(r) = rows.next()? {
        let (kind, name, owner): (u8, String, [u8; 16]) = (r.get(0)?, r.get(1)?, r.get(2)?);
        h.update(&[kind, u8::try_from(name.len()).unwrap_or(u8::MAX)]).update(name.as_bytes()).update(&owner);
    }
    Ok(*h.finalize().as_bytes())
}
