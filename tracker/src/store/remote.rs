//! Takes in what the sibling has: events of its log, or facts where its log does not reach; and says
//! what of ours it lacks.
//!
//! Invariant: of each origin the events are entered in order, each on the one whose hash it names, and
//! after everything it depends on. What does not fit is left out, and said: nothing here is ever
//! rejected for its time, and nothing of a quarantined origin is applied.

use std::collections::HashSet;
use std::sync::Arc;

use common::codec;
use common::id::{MembershipId, OriginId, PublicationId, TreeId};
use common::pieces::PieceLayout;
use common::wire::limits::{List, MAX_BATCH_BYTES, MAX_EVENTS, MAX_FRAME, MAX_PART};
use common::wire::sync::{Event, Head, Hello, ManifestPart, NameVote};
use rusqlite::{Connection, OptionalExtension, Row};

use super::batch::Batch;
use super::error::{Result, StoreError};
use super::facts::{self, StampedFact};
use super::log::{self, KIND_FACTS, Versions};
use super::mutation::{Mutation, Mutations};
use super::tables::Tables;
use super::{fact_rows, log_rows, votes};
use crate::fact::{Fact, Hlc, LATEST_VERSION, ManifestId, Stamp};
use crate::state::State;
use crate::vote::Vote;

/// What a vote weighs on the line, about, in bytes.
const VOTE_BYTES: usize = 64;

/// What became of a batch.
#[derive(Debug, Clone, Default)]
pub struct Applied {
    /// How many of the events, in the order they came, are done with.
    pub done: usize,
    /// A manifest that has to be here before the next one.
    pub missing: Option<ManifestId>,
    /// What the next one waits for, if it came too early.
    pub early: bool,
    /// Origins that were found to be used twice.
    pub forked: Vec<OriginId>,
    /// The version vector now.
    pub versions: Versions,
    /// Whether one of the own votes has changed.
    pub votes: bool,
    /// What is new in the state; and claims that have lost their name.
    pub facts: Vec<StampedFact>,
    /// How far the latest of the events is ahead of the wall clock, in milliseconds.
    pub ahead_ms: u64,
}

/// What the sibling lacks, next.
#[derive(Debug, Clone, Default)]
pub struct Outbox {
    /// Events in the order in which they can be applied.
    pub events: Vec<Event>,
    /// Votes, if those were the last events.
    pub votes: Vec<NameVote>,
    /// Where to go on with votes.
    pub votes_after: u64,
    /// Whether that is all there is.
    pub complete: bool,
    /// What it weighs, in bytes.
    pub bytes: usize,
}

/// Manifests that the sibling does not have either: its share was known to be gone for good when the event that
/// names it came there, or is since.
pub type Absent = Arc<HashSet<ManifestId>>;

/// Applies what can be applied of `events`, and then, if that was all of them, `theirs`.
pub(super) fn apply(
    batch: &mut Batch<'_>,
    (events, theirs): (&[Event], &[NameVote]),
    absent: &HashSet<ManifestId>,
) -> Result<Applied> {
    let mut out = Applied::default();
    for event in events {
        if !batch.log.quarantined().contains(&event.origin) {
            match apply_event(batch, event, absent, &mut out)? {
                Verdict::Done => {}
                Verdict::Fork => {
                    batch.quarantine(event.origin, event.seq);
                    out.forked.push(event.origin);
                }
                Verdict::Stop => break,
            }
        }
        out.done += 1;
    }
    if out.done == events.len() {
        for vote in theirs {
            if let Some(cast) = votes::on_vote(batch.state, vote, batch.log.quarantined().is_empty()) {
                batch.cast(cast.kind, cast.name, cast.vote);
                out.votes = true;
                out.facts.extend(cast.lost);
            }
        }
    }
    out.versions = batch.log.versions().clone();
    Ok(out)
}

enum Verdict {
    Done,
    Fork,
    Stop,
}

fn apply_event(batch: &mut Batch<'_>, e: &Event, absent: &HashSet<ManifestId>, out: &mut Applied) -> Result<Verdict> {
    let have = batch.log.versions().get(&e.origin).copied().unwrap_or_default();
    if e.seq <= have {
        // A repetition; of what is no longer in the log nothing can be said.
        let known =
            if e.seq == have { Some(batch.log.head(e.origin)) } else { batch.ledger.hash_at(e.origin, e.seq)? };
        return Ok(if known.is_none_or(|k| log::hash_of(e).is_ok_and(|h| h == k)) {
            Verdict::Done
        } else {
            Verdict::Fork
        });
    }
    let covered = |(origin, seq): &(OriginId, u64)| {
        let has = batch.log.versions().get(origin).is_some_and(|have| have >= seq);
        has || batch.log.quarantined().contains(origin)
    };
    if e.seq > have + 1 || !e.deps.0.iter().all(covered) {
        out.early = true;
        return Ok(Verdict::Stop);
    }
    if batch.log.head(e.origin) != e.prev_hash {
        return Ok(Verdict::Fork);
    }
    let (hash, facts) = (log::hash_of(e)?, log::facts_of(e)?);
    if let Some(missing) = missing_manifest(batch.state, facts.iter(), absent) {
        out.missing = Some(missing);
        return Ok(Verdict::Stop);
    }
    let stamp = log::stamp_of(e);
    batch.state_facts(stamp, &facts);
    out.ahead_ms = out.ahead_ms.max(stamp.hlc.millis().saturating_sub(batch.now_ms));
    out.facts.extend(facts.iter().map(|d| (stamp, d.clone())));
    batch.enter(e.clone(), hash, facts);
    Ok(Verdict::Done)
}

/// A manifest that `facts` name and that is not here. Of a share that is gone for good, as these facts or
/// the state say, nobody needs it, and the sibling may have forgotten it.
fn missing_manifest<'a>(
    state: &State,
    facts: impl Iterator<Item = &'a Fact> + Clone,
    absent: &HashSet<ManifestId>,
) -> Option<ManifestId> {
    let (mut withdrawn, mut ended) = (HashSet::new(), HashSet::new());
    for fact in facts.clone() {
        match fact {
            Fact::Withdrawn { publication } => drop(withdrawn.insert(publication)),
            Fact::Ended { membership, .. } => drop(ended.insert(membership)),
            _ => {}
        }
    }
    let mut published = facts.filter_map(|fact| match fact {
        Fact::Published { id, manifest, membership, .. } => Some((id, manifest, membership)),
        _ => None,
    });
    let is_missing = |(id, manifest, membership): &(&PublicationId, &ManifestId, &MembershipId)| {
        let is_gone = withdrawn.contains(id) || ended.contains(membership);
        let is_here = absent.contains(manifest) || state.has_manifest(**manifest);
        !is_gone && !is_here && !state.is_withdrawn(**id) && !state.has_ended(**membership)
    };
    published.find(is_missing).map(|(_, manifest, _)| *manifest)
}

/// Compares what the sibling says it has with what is here, and quarantines origins whose events differ: these.
pub(super) fn compare(batch: &mut Batch<'_>, theirs: &[Head]) -> Result<Vec<OriginId>> {
    let mut forked = Vec::new();
    for head in theirs {
        let ours = match batch.log.versions().get(&head.origin) {
            Some(seq) if *seq == head.seq => Some(batch.log.head(head.origin)),
            _ => batch.ledger.hash_at(head.origin, head.seq)?,
        };
        if ours.is_some_and(|ours| ours != head.hash) {
            batch.quarantine(head.origin, head.seq);
            forked.push(head.origin);
        }
    }
    Ok(forked)
}

/// What to say first, except who says it.
pub(super) fn introduction(conn: &Connection, origin: OriginId, tracker_no: u16) -> Result<Hello> {
    Ok(Hello {
        version: common::wire::sync::VERSION,
        schema: Hello::schema_and_revision(conn.query_row(
            "SELECT max(version) FROM refinery_schema_history",
            [],
            |r| r.get(0),
        )?),
        tracker_no,
        origin,
        heads: List::new(log_rows::heads(conn)?)
            .ok_or(StoreError::Content("too many runs of trackers are on record"))?,
        names: votes::confirmed_digest(conn)?,
    })
}

/// What follows on `after`: about `room` bytes of it, and at least one event.
pub(super) fn outbox(
    conn: &Connection,
    after: &Versions,
    (votes_after, agreed): (u64, u64),
    room: usize,
) -> Result<Outbox> {
    let (events, complete) = events_after(conn, after, room.min(MAX_BATCH_BYTES))?;
    let bytes = events.iter().map(|e| log::weight(e) as usize).sum();
    if !complete {
        return Ok(Outbox { events, votes: Vec::new(), votes_after, complete, bytes });
    }
    let most = (room / VOTE_BYTES).clamp(1, MAX_EVENTS);
    let (votes, last) = votes::since(conn, votes_after, agreed, most)?;
    let complete = votes.len() < most;
    // What was left out on purpose is not new either.
    let last = if complete { last.max(agreed) } else { last };
    let bytes = bytes + votes.len() * VOTE_BYTES;
    Ok(Outbox { events, votes, votes_after: last, complete, bytes })
}

/// By time, which is an order in which nothing comes before what it depends on. Where an origin has
/// more than is looked at, nothing is taken that is later than the last of those.
fn events_after(conn: &Connection, after: &Versions, room: usize) -> Result<(Vec<Event>, bool)> {
    let quarantined = log_rows::quarantined(conn)?;
    let mut found: Vec<Event> = Vec::new();
    let mut horizon = None;
    for head in log_rows::heads(conn)?.iter().filter(|h| !quarantined.contains(&h.origin)) {
        let seen = after.get(&head.origin).copied().unwrap_or_default();
        if head.seq <= seen {
            continue;
        }
        let page = log_rows::events_of(conn, head.origin, seen, room)?;
        if let Some(last) = page.last().filter(|last| last.seq < head.seq) {
            let last = (last.hlc, last.origin);
            horizon = Some(horizon.map_or(last, |h: (u64, OriginId)| h.min(last)));
        }
        found.extend(page);
    }
    found.sort_by_key(|e| (e.hlc, e.origin));
    let within = |e: &Event| horizon.is_none_or(|h| (e.hlc, e.origin) <= h);
    let mut room = room as u64;
    let mut taken = Vec::new();
    let mut complete = true;
    for event in found {
        let weight = log::weight(&event);
        if !within(&event) || taken.len() == MAX_EVENTS || (weight > room && !taken.is_empty()) {
            complete = false;
            break;
        }
        room = room.saturating_sub(weight);
        taken.push(event);
    }
    Ok((taken, complete && horizon.is_none()))
}

/// Joins `packed`, facts of the sibling's state; with `complete`, its heads, they were all.
pub(super) fn join_facts(
    batch: &mut Batch<'_>,
    (packed, complete): (&[u8], Option<&[Head]>),
    absent: &HashSet<ManifestId>,
) -> Result<Applied> {
    let mut out = Applied::default();
    let facts = facts::unpack(packed)?;
    if let Some(missing) = missing_manifest(batch.state, facts.iter().map(|(_, d)| d), absent) {
        out.missing = Some(missing);
        out.versions = batch.log.versions().clone();
        return Ok(out);
    }
    let mut latest = Hlc::default();
    for (stamp, fact) in facts {
        latest = latest.max(stamp.hlc);
        if batch.join(stamp, &fact) {
            out.facts.push((stamp, fact));
        }
    }
    batch.keep_facts(out.facts.clone());
    out.ahead_ms = latest.millis().saturating_sub(batch.now_ms);
    batch.log.absorb(latest);
    if let Some(heads) = complete {
        for head in heads {
            if !batch.log.quarantined().contains(&head.origin) {
                batch.adopt(*head);
            }
        }
        // Only now is it known which groups are closed.
        for (kind, name, claim) in batch.state.unvoted() {
            batch.cast(kind, name, Vote::first(claim));
        }
    }
    out.versions = batch.log.versions().clone();
    Ok(out)
}

/// Joins `packed`, the sibling's facts of parts that differ from ours. A row of either that says what the log says
/// otherwise is not believed: it is replaced by what the log says. Returns how many rows of ours that were.
pub(super) fn mend(conn: &Connection, mutations: &mut Mutations, packed: &[u8], cut: facts::Cut) -> Result<usize> {
    let join = |mutations: &mut Mutations, fact: &Fact, stamp: Stamp| {
        mutations.push(Mutation::Joined(stamp, fact.clone()));
        fact_rows::join(conn, fact, stamp).map(drop)
    };
    let mut mended = 0;
    let theirs = facts::unpack(packed)?;
    for (stamp, fact) in &theirs {
        match said_at(conn, *stamp)? {
            Some(said) if !said.contains(fact) && !matches!(fact, Fact::SessionBound { .. }) => {}
            _ => join(mutations, fact, *stamp)?,
        }
    }
    let digest_parts: Vec<usize> = (0..facts::BUCKETS).collect();
    for (stamp, fact) in facts::in_buckets(conn, &digest_parts, cut)? {
        let Some(said) = said_at(conn, stamp)? else { continue };
        if said.contains(&fact) {
            continue;
        }
        // Not the fact itself: it may hold a password's hash.
        tracing::error!("a row of {} differs from what the log says, and is replaced", stamp.origin);
        facts::forget(conn, &fact)?;
        mutations.push(Mutation::Forgotten(fact));
        said.iter().try_for_each(|d| join(mutations, d, stamp))?;
        mended += 1;
    }
    for (stamp, fact) in &theirs {
        if said_at(conn, *stamp)?.is_none_or(|said| said.contains(fact)) {
            join(mutations, fact, *stamp)?;
        }
    }
    Ok(mended)
}

/// What was stated at a time, if the log still has it.
fn said_at(conn: &Connection, stamp: Stamp) -> Result<Option<Vec<Fact>>> {
    let sql = "SELECT body FROM events WHERE hlc = ?1 AND origin = ?2 AND kind = ?3 AND ver <= ?4";
    let row = (stamp.hlc.to_stored(), stamp.origin.as_bytes(), KIND_FACTS, LATEST_VERSION);
    let body: Option<Vec<u8>> = conn.prepare_cached(sql)?.query_row(row, |r| r.get(0)).optional()?;
    body.map(|b| codec::decode(&b, MAX_FRAME).map_err(|_| StoreError::Content("an event is damaged"))).transpose()
}

impl Tables<'_> {
    /// Part of a manifest as it travels, at most `most` pieces, and the tree that it names; `None` if it is not here.
    pub(crate) fn manifest_to_send(
        &self,
        id: ManifestId,
        first: u32,
        most: usize,
    ) -> Result<Option<(ManifestPart, Option<TreeId>)>> {
        let sql = "SELECT file_id, len, piece_len, sha1, tree FROM manifests WHERE id = ?1";
        let row = |r: &Row<'_>| {
            let (file, sha1): ([u8; 32], [u8; 20]) = (r.get(0)?, r.get(3)?);
            let tree = r.get::<_, Option<[u8; 32]>>(4)?.map(TreeId::from);
            Ok((file, r.get::<_, i64>(1)?.cast_unsigned(), r.get::<_, i64>(2)?.cast_unsigned(), sha1, tree))
        };
        let Some((file, len, piece_len, sha1, tree)) =
            self.conn.prepare_cached(sql)?.query_row([id.0], row).optional()?
        else {
            return Ok(None);
        };
        let layout = PieceLayout::new(len, piece_len).map_err(|_| StoreError::Content("a manifest is damaged"))?;
        let pieces = List::first_of(self.manifest_part(id, first)?.into_iter().take(most.clamp(1, MAX_PART)));
        Ok(Some((ManifestPart { id: id.0, file_id: file.into(), layout, sha1: sha1.into(), first, pieces }, tree)))
    }
}
