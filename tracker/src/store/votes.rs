//! This tracker's votes on names, on disk: see [`crate::vote`] for the rule.
//!
//! A vote for a group that has no member any more is void: it counts for nothing against another, from
//! whichever side. Once both trackers see a group closed nobody can be accepted there any more, so that a name that
//! both have given away again cannot come back.

use common::id::{OriginId, UserName};
use common::wire::sync::{NameKind, NameVote, VoteStage};
use rusqlite::{Connection, OptionalExtension, Row};

use super::error::{Result, StoreError};
use super::facts::Fact;
use super::live;
use super::mutation::{Mutation, Mutations};
use super::tables::Tables;
use crate::fact::{Delta, Hlc, Stamp};
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

/// Votes for the first claim on a name.
pub(super) fn on_claim(tx: &Connection, delta: &Delta, stamp: Stamp, mutations: &mut Mutations) -> Result<()> {
    let (kind, name, owner) = match delta {
        Delta::User { id, name } => (NameKind::User, name.as_str(), *id.as_bytes()),
        Delta::Group { id, name, .. } => (NameKind::Group, name.as_str(), *id.as_bytes()),
        _ => return Ok(()),
    };
    let name = name.to_ascii_lowercase();
    match current(tx, kind, &name)? {
        Some(vote) if vote.claim.owner == owner || !is_void(tx, kind, vote)? => Ok(()),
        _ => cast(tx, kind, &name, Vote::first(Claim { stamp, owner }), mutations),
    }
}

/// What a vote of the sibling has changed.
#[derive(Debug, Default)]
pub(super) struct Met {
    /// The own vote is another, or has come further.
    pub(super) changed: bool,
    /// Who has lost the name by it.
    pub(super) lost: Option<Fact>,
}

/// Takes the sibling's current vote into account.
pub(super) fn on_vote(tx: &Connection, theirs: &NameVote, mutations: &mut Mutations) -> Result<Met> {
    let name = theirs.name.as_str().to_ascii_lowercase();
    let stamp = Stamp { hlc: Hlc::from_stored(theirs.hlc.cast_signed()), origin: theirs.origin };
    let vote = Vote { claim: Claim { stamp, owner: theirs.owner }, stage: theirs.stage };
    let mine = current(tx, theirs.kind, &name)?;
    let alike = mine.is_some_and(|m| m.claim.owner == vote.claim.owner);
    if !alike && is_void(tx, theirs.kind, vote)? {
        return Ok(Met::default());
    }
    let base = match mine {
        Some(m) if alike || !is_void(tx, theirs.kind, m)? => m,
        _ => Vote::first(vote.claim),
    };
    let met = base.meet(vote);
    if mine == Some(met) && alike {
        return Ok(Met::default());
    }
    // Cast anew even if it stands: the sibling votes otherwise, so it does not know this vote, perhaps
    // because it had given a closed group's name away.
    cast(tx, theirs.kind, &name, met, mutations)?;
    let lost = match mine.filter(|m| m.claim.owner != met.claim.owner) {
        Some(before) => claim_of(tx, theirs.kind, before)?,
        None => None,
    };
    Ok(Met { changed: true, lost })
}

/// The fact that made a claim.
fn claim_of(tx: &Connection, kind: NameKind, vote: Vote) -> Result<Option<Fact>> {
    let owner = vote.claim.owner;
    let delta = match kind {
        NameKind::User => {
            let mut find = tx.prepare_cached("SELECT name FROM users WHERE id = ?1")?;
            let name: Option<String> = find.query_row([owner], |r| r.get(0)).optional()?;
            name.and_then(|n| n.try_into().ok()).map(|name| Delta::User { id: owner.into(), name })
        }
        NameKind::Group => {
            let mut find = tx.prepare_cached("SELECT name, creator FROM groups WHERE id = ?1")?;
            let row: Option<(String, [u8; 16])> = find.query_row([owner], |r| Ok((r.get(0)?, r.get(1)?))).optional()?;
            let group = |(name, creator): (String, [u8; 16])| {
                Some(Delta::Group { id: owner.into(), name: name.try_into().ok()?, creator: creator.into() })
            };
            row.and_then(group)
        }
    };
    Ok(delta.map(|d| (vote.claim.stamp, d)))
}

fn current(tx: &Connection, kind: NameKind, name: &str) -> Result<Option<Vote>> {
    let sql = "SELECT owner, hlc, origin, stage FROM votes WHERE kind = ?1 AND name = ?2";
    Ok(tx.prepare_cached(sql)?.query_row((kind_number(kind), name), vote_of).optional()?)
}

/// Reads owner, hlc, origin and stage.
fn vote_of(r: &Row<'_>) -> rusqlite::Result<Vote> {
    let stamp = Stamp { hlc: Hlc::from_stored(r.get(1)?), origin: OriginId::new(r.get(2)?) };
    Ok(Vote { claim: Claim { stamp, owner: r.get(0)? }, stage: stage_of(r.get(3)?) })
}

/// Whether it is for a group that is known here, and closed.
fn is_void(tx: &Connection, kind: NameKind, vote: Vote) -> Result<bool> {
    let sql = "SELECT 1 FROM groups WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM live WHERE group_id = ?1)
                  AND EXISTS (SELECT 1 FROM memberships WHERE group_id = ?1)";
    let void = || Ok::<_, StoreError>(tx.prepare_cached(sql)?.exists([vote.claim.owner])?);
    if kind != NameKind::Group || !void()? {
        return Ok(false);
    }
    // A name that is given away does not come back when a row that was lost does.
    live::refresh_group(tx, vote.claim.owner.into())?;
    void()
}

fn cast(tx: &Connection, kind: NameKind, name: &str, vote: Vote, mutations: &mut Mutations) -> Result<()> {
    let sql = "
        INSERT INTO votes (kind, name, owner, hlc, origin, stage, change)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, (SELECT coalesce(max(change), 0) + 1 FROM votes))
        ON CONFLICT DO UPDATE SET owner = excluded.owner, hlc = excluded.hlc, origin = excluded.origin,
            stage = excluded.stage, change = excluded.change";
    let Claim { stamp, owner } = vote.claim;
    let origin = stamp.origin.as_bytes();
    tx.prepare_cached(sql)?.execute((
        kind_number(kind),
        name,
        owner,
        stamp.hlc.to_stored(),
        origin,
        vote.stage as i64,
    ))?;
    mutations.push(Mutation::Voted(kind, name.to_owned(), vote));
    Ok(())
}

impl Tables<'_> {
    /// How far the vote on a name, given in lower case, has come.
    pub fn vote_stage(&self, kind: NameKind, name: &str) -> Result<Option<VoteStage>> {
        Ok(current(self.conn, kind, name)?.map(|vote| vote.stage))
    }
}

/// Every vote that was cast after change `after`, and on which name.
pub(super) fn all_since(conn: &Connection, after: u64) -> Result<Vec<(NameKind, String, Vote)>> {
    let mut find = conn.prepare("SELECT owner, hlc, origin, stage, kind, name FROM votes WHERE change > ?1")?;
    let rows = find.query_map([after], |r| Ok((kind_of(r.get(4)?), r.get(5)?, vote_of(r)?)))?;
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
