//! Finding names of shares, and of files in folders: an index in a file of its own, derived from the state.
//!
//! The index follows the state behind ([`Store::follow_search`]); it notes up to where, so that a start looks only for what has
//! changed since, and it is made anew if it is gone. Nobody is answered from it alone: what it finds is shown as the state
//! has it, or not at all. So neither a share that was withdrawn nor a group that was left is found any more at once,
//! however far behind the index is.
//!
//! A search asks the index for the rarest of what its words are made of. If few texts have that, all of them are looked at, and
//! ranked. Of a word that is everywhere the best are looked for first, and no more when there is enough: see [`words::Class`].
//! What it takes is bounded by the clock: a search that finds nothing among much ends with what it has ([`PATIENCE`]).

mod follow;
mod index;
mod words;

use std::collections::HashSet;
use std::time::{Duration, Instant};

use common::id::{FileName, GroupId};
use rusqlite::Connection;
use tokio::time::timeout;

use self::index::{Indexed, exact_hash, group_number, indexed, is_path, range};
use self::words::{Class, Query, all_of, plain};
use super::error::Result;
use super::readers::Readers;
use super::tables::Tables;
use super::{Store, StoreError};
use crate::fact::ManifestId;
use crate::limits::Caller;
use crate::state::ShareId;

/// Name of the index within the data directory.
const FILE: &str = "search.db";
/// Connections that read it.
const READERS: usize = 3;
/// For how long one search looks.
const PATIENCE: Duration = Duration::from_millis(50);
/// Numbers that are looked at between two looks at the clock.
const WINDOW: i64 = 1 << 17;
/// Texts that are looked at and ranked; of more, the best are looked for.
const FEW: usize = 800;
/// So many texts with a term say how rare it is.
const SAMPLE: u64 = 33;
/// A term that a larger part of the texts has is not asked for, if there is another.
const COMMON: f64 = 0.5;
/// Terms that are asked for beyond one of each word.
const MORE_TERMS: usize = 2;
/// Terms of one word of which it is looked how rare they are.
const MAX_RATED: usize = 12;

/// A text that has what is looked for, as the index knew it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The share, by the name that it was given.
    pub share: ShareId,
    /// Its manifest.
    pub manifest: ManifestId,
    /// The path of the file in it, if it is not the share itself.
    pub path: Option<String>,
    /// Length of the share, or of the file, in bytes.
    pub size: u64,
}

/// How long a search waits for what had changed before it.
const FOLLOW: Duration = Duration::from_millis(500);

/// How often the index has taken in what had changed.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Rounds {
    ended: u64,
    /// Whether it does so now.
    runs: bool,
}

/// The index, once it is open.
#[derive(Debug, Clone)]
pub(super) struct Search {
    readers: Readers,
}

impl Search {
    fn open(store: &Store) -> Result<(Self, index::Index)> {
        let path = store.data_dir.join(FILE);
        let index = index::Index::open(&path)?;
        let connections = (0..READERS).map(|_| index::connect(&path, false)).collect::<Result<Vec<_>>>()?;
        Ok((Self { readers: Readers::new(connections) }, index))
    }
}

impl Store {
    /// The first `most` texts in these groups that have all of the words that were `typed`, the best first. `None`, if there are
    /// no words, or too many. Until the index is open, nothing is found.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn search(
        &self,
        caller: &Caller,
        groups: Vec<GroupId>,
        typed: &str,
        most: usize,
    ) -> Result<Option<Vec<Found>>> {
        let Some(query) = Query::new(typed) else { return Ok(None) };
        let Some(search) = self.search.get() else { return Ok(Some(Vec::new())) };
        self.index_follows().await;
        // Waiting for a turn is not searching.
        let look =
            move |tables: &Tables<'_>| Look::new(tables.conn, &query, (most, Instant::now() + PATIENCE)).run(&groups);
        let found = search.readers.read(caller, look);
        found.await.map(Some)
    }
}

impl Store {
    /// Waits until the index has what the state has by now, but not for long: who has shared something finds it.
    async fn index_follows(&self) {
        let mut rounds = self.search_rounds.subscribe();
        let Rounds { ended, runs } = *rounds.borrow_and_update();
        let behind = self.state.read().is_ok_and(|state| !state.is_unchanged());
        // One that runs may have begun before.
        let wanted = ended + u64::from(runs) + u64::from(behind);
        let _ = timeout(FOLLOW, rounds.wait_for(|now| now.ended >= wanted)).await; // Then with what there is.
    }
}

/// One search.
struct Look<'a> {
    conn: &'a Connection,
    query: &'a Query,
    most: usize,
    until: Instant,
    seen: HashSet<i64>,
    /// How many texts were looked at.
    looked_at: usize,
    found: Vec<(Class, i64, Found)>,
}

/// The texts of one kind in one group: their numbers.
#[derive(Debug, Clone, Copy)]
struct Part {
    group: GroupId,
    number: i64,
    paths: bool,
    first: i64,
    last: i64,
}

impl<'a> Look<'a> {
    fn new(conn: &'a Connection, query: &'a Query, (most, until): (usize, Instant)) -> Self {
        Self { conn, query, most, until, seen: HashSet::new(), looked_at: 0, found: Vec::new() }
    }

    fn run(mut self, groups: &[GroupId]) -> Result<Vec<Found>> {
        let parts = self.parts(groups)?;
        for part in &parts {
            self.exact(part)?;
            if self.is_over() {
                return Ok(self.ranked());
            }
        }
        let exact = self.found.len();
        let mut chosen = Vec::new();
        for part in &parts {
            chosen.push(self.choose(part)?);
            if self.is_over() {
                return Ok(self.ranked());
            }
        }
        if self.look_at_all(&parts, &chosen)? {
            return Ok(self.ranked());
        }
        let looked = self.found.split_off(exact);
        self.seen = self.found.iter().map(|(_, id, _)| *id).collect();
        for class in self.query.classes() {
            for (part, terms) in parts.iter().zip(&chosen) {
                let mut terms = terms.clone();
                terms.extend(self.query.terms_of(class));
                self.scan(class, part, &terms, usize::MAX)?;
                if self.is_over() {
                    // When time ends, what was seen before counts as well.
                    let new = looked.into_iter().filter(|(_, id, _)| !self.seen.contains(id));
                    self.found.extend(new);
                    return Ok(self.ranked());
                }
            }
        }
        Ok(self.ranked())
    }

    /// What there is to look at: shares of all groups, then paths.
    fn parts(&self, groups: &[GroupId]) -> Result<Vec<Part>> {
        let mut parts = Vec::new();
        for group in groups {
            let Some(number) = group_number(self.conn, *group)? else { continue };
            for (paths, table) in [(false, "shares"), (true, "paths")] {
                let (first, high) = range(number, paths);
                let sql = format!("SELECT max(id) FROM {table} WHERE id BETWEEN ?1 AND ?2");
                let last: Option<i64> = self.conn.prepare_cached(&sql)?.query_row((first, high), |r| r.get(0))?;
                parts.extend(last.map(|last| Part { group: *group, number, paths, first, last }));
            }
        }
        parts.sort_unstable_by_key(|part| (part.paths, part.number));
        Ok(parts)
    }

    /// The terms that the index is asked for: of each word the rarest, unless it is everywhere, and some more.
    fn choose(&self, part: &Part) -> Result<Vec<String>> {
        let (mut chosen, mut others) = (Vec::new(), Vec::new());
        for terms in self.query.terms() {
            let mut rated = Vec::new();
            for term in terms.into_iter().take(MAX_RATED) {
                rated.push((self.rarity(part, &term)?, term));
            }
            rated.sort_by(|(a, _), (b, _)| a.total_cmp(b));
            let mut rated = rated.into_iter();
            chosen.extend(rated.next());
            others.extend(rated);
        }
        others.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        chosen.extend(others.into_iter().take(MORE_TERMS));
        chosen.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        let rare = chosen.iter().filter(|(part, _)| *part < COMMON).count().max(1);
        Ok(chosen.into_iter().take(rare).map(|(_, term)| term).collect())
    }

    /// The part of the texts that have a term, by the first of them.
    fn rarity(&self, part: &Part, term: &str) -> Result<f64> {
        let sql = "SELECT count(*), max(rowid) FROM (
                       SELECT rowid FROM texts WHERE texts MATCH ?1 AND rowid BETWEEN ?2 AND ?3 ORDER BY rowid LIMIT ?4)";
        let row = (all_of(&[term.to_owned()]), part.first, part.last, SAMPLE);
        let mut find = self.conn.prepare_cached(sql)?;
        let (count, highest): (u32, Option<i64>) = find.query_row(row, |r| Ok((r.get(0)?, r.get(1)?)))?;
        let among = if u64::from(count) < SAMPLE { part.last } else { highest.unwrap_or(part.last) } - part.first + 1;
        Ok(f64::from(count) / among as f64)
    }

    /// Looks at every text that has the chosen terms; says whether they were few.
    fn look_at_all(&mut self, parts: &[Part], chosen: &[Vec<String>]) -> Result<bool> {
        for (part, terms) in parts.iter().zip(chosen) {
            if terms.is_empty() {
                return Ok(false);
            }
            self.scan(Class::Within, part, terms, FEW)?;
            if self.looked_at >= FEW || Instant::now() >= self.until {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What was found, the best first.
    fn ranked(mut self) -> Vec<Found> {
        self.found.sort_by_key(|(class, id, _)| (*class, is_path(*id), *id));
        self.found.into_iter().take(self.most).map(|(_, _, found)| found).collect()
    }

    fn is_over(&self) -> bool {
        self.found.len() >= self.most || Instant::now() >= self.until
    }

    fn exact(&mut self, part: &Part) -> Result<()> {
        let sql = "SELECT id FROM exact WHERE hash = ?1 AND id BETWEEN ?2 AND ?3 LIMIT ?4";
        let row = (exact_hash(part.number, &self.query.whole), part.first, part.last, self.most as u64);
        let mut find = self.conn.prepare_cached(sql)?;
        let ids: Vec<i64> = find.query_map(row, |r| r.get(0))?.collect::<rusqlite::Result<_>>()?;
        ids.into_iter().try_for_each(|id| self.look_at(Class::Name, part.group, id))
    }

    /// Looks at texts of a class that have all of the terms, a window of numbers at a time, until there is enough or so many were
    /// looked at.
    fn scan(&mut self, class: Class, part: &Part, terms: &[String], few: usize) -> Result<()> {
        if terms.is_empty() {
            return Ok(());
        }
        let is_all = few < usize::MAX;
        let (conn, terms, mut from) = (self.conn, all_of(terms), part.first);
        let sql = "SELECT rowid FROM texts WHERE texts MATCH ?1 AND rowid BETWEEN ?2 AND ?3 ORDER BY rowid";
        while from <= part.last && Instant::now() < self.until {
            let to = (from + WINDOW - 1).min(part.last);
            let mut find = conn.prepare_cached(sql)?;
            let mut rows = find.query((&terms, from, to))?;
            while let Some(row) = rows.next()? {
                self.look_at(class, part.group, row.get(0)?)?;
                let is_enough = if is_all { self.looked_at >= few } else { self.is_over() };
                if is_enough {
                    return Ok(());
                }
            }
            from = to + 1;
        }
        Ok(())
    }

    /// Takes what a number stands for, if it is of that class, or a better one.
    fn look_at(&mut self, class: Class, group: GroupId, id: i64) -> Result<()> {
        if self.seen.contains(&id) {
            return Ok(());
        }
        self.looked_at += 1;
        let Some(Indexed { name, file, manifest, path, size }) = indexed(self.conn, id)? else { return Ok(()) };
        let text = plain(path.as_deref().unwrap_or(&name));
        let Some(found) = self.query.class_of(&text).filter(|found| *found <= class) else { return Ok(()) };
        let name = FileName::try_from(name).map_err(|_| StoreError::Content("a name in the index is none"))?;
        self.seen.insert(id);
        self.found.push((found, id, Found { share: ShareId { group, file, name }, manifest, path, size }));
        Ok(())
    }
}

#[cfg(test)]
mod tests;
