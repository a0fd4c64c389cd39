//! Writes the rows.

use std::path::Path;

use common::id::{DeviceId, Sha1Digest};
use common::manifest::{Manifest, PieceHash};
use common::pieces::PieceLayout;
use common::ticket::{SESSION_LIFE, UnixSeconds};
use refinery::Target;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, Params, Result, params};

use super::{
    DEVICES, Kind, LAB, LAB_MEMBERS, PASSWORD, SEEDERS, Size, file_name, group_name, id, login_number, user_name,
};
use crate::beside::argon;

mod embedded {
    #![allow(missing_docs, clippy::unwrap_used, reason = "generated; it parses names that were checked at build time")]
    refinery::embed_migrations!("../../migrations");
}

/// The schema that the rows below are of.
const SCHEMA: i32 = 6;
/// How long ago the first event was, in milliseconds.
const SINCE: u64 = 30 * 24 * 3600 * 1000;
/// Bits of a hybrid time below its milliseconds.
const COUNTER_BITS: u32 = 16;
/// The stage of a vote on a name that both trackers agree on.
const CONFIRMED: i64 = 2;
/// What each share has: one piece.
const FILE_BYTES: u64 = 200_000;
const PIECE_BYTES: u64 = 256 << 10;
/// The lab's number among the groups.
const LAB_NUMBER: u64 = u64::MAX;

type Id = [u8; 16];

/// Writes a state of this size to a new database at `path`.
pub(super) fn fill(path: &Path, size: Size, devices: &[DeviceId], now: UnixSeconds) -> Result<()> {
    let mut conn = Connection::open(path)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    conn.set_prepared_statement_cache_capacity(64);
    embedded::migrations::runner().set_target(Target::Version(SCHEMA)).run(&mut conn).expect("migrated");
    // Nobody reads it before it is whole.
    conn.pragma_update(None, "journal_mode", "off")?;
    conn.pragma_update(None, "synchronous", "off")?;
    conn.pragma_update(None, "cache_size", -2_000_000)?;
    conn.execute_batch("BEGIN EXCLUSIVE")?;
    let mut filler = Filler { conn: &conn, size, devices, now, events: 0, votes: 0 };
    filler.accounts()?;
    filler.groups()?;
    filler.shares()?;
    filler.history()?;
    conn.execute_batch("COMMIT")?;
    conn.pragma_update(None, "synchronous", "full")?;
    conn.pragma_update(None, "journal_mode", "wal")
}

struct Filler<'a> {
    conn: &'a Connection,
    size: Size,
    devices: &'a [DeviceId],
    now: UnixSeconds,
    events: u64,
    votes: u64,
}

impl Filler<'_> {
    /// The time of the next event.
    fn event(&mut self) -> i64 {
        self.events += 1;
        ((self.now * 1000 - SINCE + self.events) << COUNTER_BITS).cast_signed()
    }

    fn run(&self, sql: &str, row: impl Params) -> Result<()> {
        self.conn.prepare_cached(sql)?.execute(row).map(|_| ())
    }

    fn accounts(&mut self) -> Result<()> {
        let phc = argon::phc(PASSWORD);
        (0..self.size.users).try_for_each(|n| self.account(n, &phc))?;
        (0..self.size.users).try_for_each(|n| (0..self.size.logins).try_for_each(|k| self.login(n, k)))
    }

    fn account(&mut self, n: u64, phc: &str) -> Result<()> {
        let (user, credential): (Id, Id) = (id(Kind::User, n), id(Kind::Credential, n));
        let (at, origin, name) = (self.event(), origin(), user_name(n));
        self.run("INSERT INTO users VALUES (?1, ?2, ?3, ?4)", (user, name.as_str(), at, origin))?;
        self.run("INSERT INTO credentials VALUES (?1, ?2, ?3, ?4, ?5)", (credential, user, phc, at, origin))?;
        self.vote(0, name.as_str(), user, at)
    }

    fn login(&mut self, n: u64, k: u64) -> Result<()> {
        let number = login_number(n, k);
        let (session, user): (Id, Id) = (id(Kind::Session, number), id(Kind::User, n));
        let device: [u8; 32] = match k {
            0 => *self.devices[(n % DEVICES) as usize].as_bytes(),
            _ => id(Kind::Device, number),
        };
        let (at, expires) = (self.event(), (self.now + SESSION_LIFE.as_secs()).cast_signed());
        let row = (session, user, device, expires, at, origin());
        self.run("INSERT INTO sessions VALUES (?1, ?2, ?3, ?4, ?5, ?6)", row)?;
        self.run("INSERT INTO session_bindings VALUES (?1, 1)", [session])
    }

    fn groups(&mut self) -> Result<()> {
        self.group(LAB_NUMBER, LAB, 0)?;
        (1..LAB_MEMBERS).try_for_each(|n| self.member(LAB_NUMBER, n))?;
        for n in 0..self.size.groups {
            let admin = n % self.size.users;
            self.group(n, group_name(n).as_str(), admin)?;
            if n < self.size.crowds {
                (0..self.size.crowd).filter(|u| *u != admin).try_for_each(|u| self.member(n, u))?;
            }
        }
        Ok(())
    }

    fn group(&mut self, n: u64, name: &str, admin: u64) -> Result<()> {
        let (group, user): (Id, Id) = (id(Kind::Group, n), id(Kind::User, admin));
        let (at, origin, membership) = (self.event(), origin(), membership_of(group, user));
        self.run("INSERT INTO groups VALUES (?1, ?2, ?3, ?4, ?5)", (group, name, user, at, origin))?;
        self.requested(group, user, at)?;
        self.accepted(group, user, at)?;
        self.run("INSERT INTO admins VALUES (?1, ?2, ?3, ?4, ?5)", (group, user, membership, at, origin))?;
        self.vote(1, name, group, at)
    }

    /// User `n` asks to be in a group, and is let in.
    fn member(&mut self, group: u64, n: u64) -> Result<()> {
        let (group, user) = (id(Kind::Group, group), id(Kind::User, n));
        let at = self.event();
        self.requested(group, user, at)?;
        let at = self.event();
        self.accepted(group, user, at)
    }

    fn requested(&self, group: Id, user: Id, at: i64) -> Result<()> {
        let row = (membership_of(group, user), group, user, at, origin());
        self.run("INSERT INTO memberships VALUES (?1, ?2, ?3, ?4, ?5)", row)
    }

    fn accepted(&self, group: Id, user: Id, at: i64) -> Result<()> {
        let membership = membership_of(group, user);
        self.run("INSERT INTO accepts VALUES (?1, ?2, ?3)", (membership, at, origin()))
    }

    fn shares(&mut self) -> Result<()> {
        (0..self.size.shares).try_for_each(|n| self.share(n))?;
        let others = if self.size.shares > 0 { 1..SEEDERS } else { 0..0 };
        others.into_iter().try_for_each(|user| {
            let at = self.event();
            self.seeding(0, user, at)
        })
    }

    fn share(&mut self, n: u64) -> Result<()> {
        let (at, user) = (self.event(), n % SEEDERS);
        let (group, publication, publisher): (Id, Id, Id) =
            (id(Kind::Group, LAB_NUMBER), id(Kind::Publication, n), id(Kind::User, user));
        let file = id(Kind::File, n);
        let (name, manifest) = (file_name(n), self.manifest(file)?);
        let membership = membership_of(group, publisher);
        self.run(
            "INSERT INTO publications VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            params![publication, group, name.as_str(), file, manifest, publisher, membership, at, origin()],
        )?;
        self.seeding(n, user, at)
    }

    fn seeding(&self, share: u64, user: u64, at: i64) -> Result<()> {
        let (group, seeder): (Id, Id) = (id(Kind::Group, LAB_NUMBER), id(Kind::User, user));
        let (file, device): ([u8; 32], _) = (id(Kind::File, share), self.devices[user as usize].as_bytes());
        self.run(
            "INSERT INTO seeders VALUES (?1, ?2, ?3, ?4, ?5, 1, ?6, ?7)",
            params![group, file, device, seeder, membership_of(group, seeder), at, origin()],
        )
    }

    /// The manifest of a file of one piece, whose chaining value is the file's id.
    fn manifest(&self, file: [u8; 32]) -> Result<[u8; 32]> {
        let layout = PieceLayout::new(FILE_BYTES, PIECE_BYTES).expect("a layout");
        let mut sha1 = [0; 20];
        sha1.copy_from_slice(&file[..20]);
        let piece = PieceHash { sha1: Sha1Digest::new(sha1), chain: file };
        let manifest = Manifest::of_hashed(layout, piece.sha1, vec![piece]).expect("a manifest");
        assert_eq!(manifest.file_id().as_bytes(), &file, "the root of one piece is its chaining value");
        let mut hasher = blake3::Hasher::new_derive_key("shoal manifest 1");
        hasher.update(&file).update(&sha1);
        hasher.update(&FILE_BYTES.to_le_bytes()).update(&PIECE_BYTES.to_le_bytes()).update(&piece.to_bytes());
        let name = *hasher.finalize().as_bytes();
        let row = (name, file, FILE_BYTES.cast_signed(), PIECE_BYTES.cast_signed(), sha1);
        self.run("INSERT INTO manifests (id, file_id, len, piece_len, sha1) VALUES (?1, ?2, ?3, ?4, ?5)", row)?;
        self.run("INSERT INTO manifest_pieces VALUES (?1, 0, ?2)", (name, piece.to_bytes()))?;
        Ok(name)
    }

    fn vote(&mut self, kind: i64, name: &str, owner: Id, at: i64) -> Result<()> {
        self.votes += 1;
        let row = (kind, name.to_ascii_lowercase(), owner, at, origin(), CONFIRMED, self.votes.cast_signed());
        let sql =
            "INSERT INTO votes (kind, name, owner, hlc, origin, stage, change) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        self.run(sql, row)
    }

    /// The version vector, and that its events are in the log no more.
    fn history(&mut self) -> Result<()> {
        let (last, events) = (self.event(), self.events.cast_signed());
        let hash: [u8; 32] = id(Kind::Origin, 1);
        self.run("INSERT INTO versions VALUES (?1, ?2, ?3)", (origin(), events, hash))?;
        self.run("INSERT INTO checkpoints VALUES (?1, ?2, ?3)", (origin(), events, hash))?;
        self.run("INSERT INTO floors VALUES (?1, ?2)", (origin(), events))?;
        self.run("UPDATE clock SET hlc = ?1", [last])
    }
}

/// The run of a tracker that stated everything.
fn origin() -> Id {
    id(Kind::Origin, 0)
}

/// The one membership of a user in a group.
fn membership_of(group: Id, user: Id) -> Id {
    let mut hasher = blake3::Hasher::new_derive_key("shoal benchmark memberships 1");
    hasher.update(&group).update(&user);
    let mut id = [0; 16];
    hasher.finalize_xof().fill(&mut id);
    id
}
