//! The state as the facts that it is made of, to be sent where the log does not reach, to be condensed and
//! compared, and to be mended.
//!
//! Every row is the image of one fact, with its stamp. Facts that take something away come first, so that
//! whoever joins part of them never sees a member who had left.

use common::codec;
use common::id::{OriginId, UserName};
use common::invitation::InviteDigest;
use common::ticket::UnixSeconds;
use common::wire::limits::{MAX_BATCH_BYTES, MAX_FRAME};
use rusqlite::types::Value;
use rusqlite::{Connection, Row, ToSql};

use super::error::{Result, StoreError};
use super::log::encode;
use crate::fact::{CredentialId, EndReason, Fact, Hlc, KickId, ManifestId, Stamp};

/// Logins that ended by then, in seconds since 1970, are not compared: each tracker forgets them when it
/// comes to it.
pub(super) type Cut = UnixSeconds;

/// The days at whose beginning the cut moves, in seconds.
const DAY: u64 = 24 * 3600;
/// How far from there two clocks may be apart, in seconds, and the cut is the same.
const CLOCKS_APART: u64 = 300;

/// What both trackers leave out at `now`: the same, as long as it is [`settled`].
pub(super) const fn cut(now: UnixSeconds) -> Cut {
    now / DAY * DAY
}

/// Whether the other tracker's cut is the same, if its clock is right to some minutes.
pub(super) const fn settled(now: UnixSeconds) -> bool {
    let since = now % DAY;
    since >= CLOCKS_APART && since < DAY - CLOCKS_APART
}

/// A fact and when it was stated.
pub type StampedFact = (Stamp, Fact);

/// Parts into which each table is condensed.
pub(crate) const BUCKETS_PER_TABLE: usize = 64;
/// How many there are in all.
pub(crate) const BUCKETS: usize = BUCKETS_PER_TABLE * TABLES.len();
/// Rows read at a time.
const STEP: u64 = 512;

/// Tables whose facts the releases before invitations know.
const TABLES_BEFORE_INVITATIONS: usize = 14;
/// The revision of the conversation between trackers from which on they know the others.
const INVITATIONS_REVISION: u16 = 3;

/// Where a reading of everything stands: the table, and the key of the last row; and how many tables it reads.
#[derive(Debug, Clone, PartialEq)]
pub struct Cursor {
    table: usize,
    after: Option<Vec<Value>>,
    tables: usize,
}

impl Default for Cursor {
    fn default() -> Self {
        Self { table: 0, after: None, tables: TABLES.len() }
    }
}

impl Cursor {
    /// The beginning of all facts that a sibling of this revision knows.
    pub(crate) fn for_revision(revision: u16) -> Self {
        let all = revision >= INVITATIONS_REVISION;
        Self { tables: if all { TABLES.len() } else { TABLES_BEFORE_INVITATIONS }, ..Self::default() }
    }

    /// The beginning of a table.
    #[cfg(test)]
    pub(crate) fn at_table(table: usize) -> Self {
        Self { table, ..Self::default() }
    }
}

/// A table: its name, its primary key, its columns, and how a row is read. The first of the key is an id.
struct Table {
    name: &'static str,
    key: &'static [&'static str],
    /// Which rows are compared, where ?2 is the [`Cut`].
    compared: &'static str,
    columns: &'static str,
    read: fn(&Connection, &Row<'_>, Stamp) -> Result<Fact>,
}

/// What belongs to a login that is compared.
const UNEXPIRED: &str = "EXISTS (SELECT 1 FROM sessions s WHERE s.id = session AND s.expires > ?2)";

const TABLES: [Table; 18] = [
    Table {
        name: "kicks",
        key: &["id"],
        compared: "",
        columns: "hlc, origin, id, group_id, user_id",
        read: |_, r, _| Ok(Fact::Kicked { id: KickId(r.get(2)?), group: get(r, 3)?, user: get(r, 4)? }),
    },
    Table {
        name: "ends",
        key: &["membership"],
        compared: "",
        columns: "hlc, origin, membership, reason",
        read: |_, r, _| {
            let reason = match r.get::<_, i64>(3)? {
                0 => EndReason::Left,
                1 => EndReason::Rejected,
                _ => EndReason::Kicked,
            };
            Ok(Fact::Ended { membership: get(r, 2)?, reason })
        },
    },
    Table {
        name: "withdrawals",
        key: &["publication"],
        compared: "",
        columns: "hlc, origin, publication",
        read: |_, r, _| Ok(Fact::Withdrawn { publication: get(r, 2)? }),
    },
    Table {
        name: "session_ends",
        key: &["session"],
        compared: UNEXPIRED,
        columns: "hlc, origin, session",
        read: |_, r, _| Ok(Fact::SessionEnded { session: get(r, 2)? }),
    },
    Table {
        name: "credentials",
        key: &["id"],
        compared: "",
        columns: "hlc, origin, id, user_id, phc",
        read: |_, r, _| Ok(Fact::Credential { id: CredentialId(r.get(2)?), user: get(r, 3)?, phc: r.get(4)? }),
    },
    Table {
        name: "users",
        key: &["id"],
        compared: "",
        columns: "hlc, origin, id, name",
        read: |_, r, _| Ok(Fact::User { id: get(r, 2)?, name: user_name(r, 3)? }),
    },
    Table {
        name: "groups",
        key: &["id"],
        compared: "",
        columns: "hlc, origin, id, name, creator",
        read: |_, r, _| {
            let name = r.get::<_, String>(3)?.try_into().map_err(|_| StoreError::Content("a group without a name"))?;
            Ok(Fact::Group { id: get(r, 2)?, name, creator: get(r, 4)? })
        },
    },
    Table {
        name: "memberships",
        key: &["id"],
        compared: "",
        columns: "hlc, origin, id, group_id, user_id",
        read: |_, r, _| Ok(Fact::Requested { membership: get(r, 2)?, group: get(r, 3)?, user: get(r, 4)? }),
    },
    Table {
        name: "sessions",
        key: &["id"],
        compared: "expires > ?2",
        columns: "hlc, origin, id, user_id, device, expires",
        read: |_, r, _| {
            let expires = r.get::<_, i64>(5)?.cast_unsigned();
            Ok(Fact::Session { id: get(r, 2)?, user: get(r, 3)?, device: get(r, 4)?, expires })
        },
    },
    // A count that only grows: it needs no stamp, and has none.
    Table {
        name: "session_bindings",
        key: &["session"],
        compared: UNEXPIRED,
        columns: "0, zeroblob(16), session, credentials",
        read: |_, r, _| Ok(Fact::SessionBound { session: get(r, 2)?, credentials: r.get(3)? }),
    },
    Table {
        name: "admins",
        key: &["group_id"],
        compared: "",
        columns: "hlc, origin, group_id, user_id, membership",
        read: |_, r, _| Ok(Fact::Admin { group: get(r, 2)?, user: get(r, 3)?, membership: get(r, 4)? }),
    },
    Table {
        name: "accepts",
        key: &["membership", "hlc", "origin"],
        compared: "",
        columns: "hlc, origin, membership",
        read: |conn, r, stamp| {
            let sql = "SELECT kick FROM accept_kicks WHERE membership = ?1 AND hlc = ?2 AND origin = ?3 ORDER BY kick";
            let membership: [u8; 16] = r.get(2)?;
            let mut find = conn.prepare_cached(sql)?;
            let kicks =
                find.query_map((membership, stamp.hlc.to_stored(), stamp.origin.as_bytes()), |k| k.get(0).map(KickId))?;
            Ok(Fact::Accepted { membership: membership.into(), kicks_seen: kicks.collect::<rusqlite::Result<_>>()? })
        },
    },
    Table {
        name: "publications",
        key: &["id"],
        compared: "",
        columns: "hlc, origin, id, group_id, name, file_id, manifest, user_id, membership",
        read: |_, r, _| {
            Ok(Fact::Published {
                id: get(r, 2)?,
                group: get(r, 3)?,
                name: r.get::<_, String>(4)?.try_into().map_err(|_| StoreError::Content("a share without a name"))?,
                file: get(r, 5)?,
                manifest: ManifestId(r.get(6)?),
                user: get(r, 7)?,
                membership: get(r, 8)?,
            })
        },
    },
    Table {
        name: "seeders",
        key: &["group_id", "file_id", "device"],
        compared: "",
        columns: "hlc, origin, group_id, file_id, device, user_id, membership, seeding",
        read: |_, r, _| {
            Ok(Fact::Seeding {
                group: get(r, 2)?,
                file: get(r, 3)?,
                device: get(r, 4)?,
                user: get(r, 5)?,
                membership: get(r, 6)?,
                on: r.get(7)?,
            })
        },
    },
    // From here on those that only later releases know; again, what takes something away comes first.
    Table {
        name: "invitation_ends",
        key: &["invitation"],
        compared: "",
        columns: "hlc, origin, invitation",
        read: |_, r, _| Ok(Fact::InvitationRevoked { invitation: get(r, 2)? }),
    },
    Table {
        name: "redemptions",
        key: &["membership"],
        compared: "",
        columns: "hlc, origin, membership, invitation",
        read: |_, r, _| Ok(Fact::Redeemed { membership: get(r, 2)?, invitation: get(r, 3)? }),
    },
    Table {
        name: "sponsors",
        key: &["user_id"],
        compared: "",
        columns: "hlc, origin, user_id, invitation",
        read: |_, r, _| Ok(Fact::Sponsored { user: get(r, 2)?, invitation: get(r, 3)? }),
    },
    Table {
        name: "invitations",
        key: &["id"],
        compared: "",
        columns: "hlc, origin, id, group_id, user_id, number, secret, uses, expires, kicks",
        read: |_, r, _| {
            let kicks = codec::decode(&r.get::<_, Vec<u8>>(9)?, MAX_BATCH_BYTES);
            Ok(Fact::Invited {
                id: get(r, 2)?,
                group: get(r, 3)?,
                user: get(r, 4)?,
                number: r.get(5)?,
                secret: InviteDigest(r.get(6)?),
                uses: r.get(7)?,
                expires: r.get::<_, i64>(8)?.cast_unsigned(),
                kicks_seen: kicks.map_err(|_| StoreError::Content("an invitation is damaged"))?,
            })
        },
    },
];

fn get<const N: usize, T: From<[u8; N]>>(row: &Row<'_>, column: usize) -> Result<T> {
    Ok(row.get::<_, [u8; N]>(column).map(T::from)?)
}

fn user_name(row: &Row<'_>, column: usize) -> Result<UserName> {
    row.get::<_, String>(column)?.try_into().map_err(|_| StoreError::Content("a user without a name"))
}

impl Table {
    /// Calls `each` with every fact after the key `after`, until it says that it has had enough.
    fn read_after(
        &self,
        conn: &Connection,
        after: Option<&[Value]>,
        most: u64,
        each: impl FnMut(Vec<Value>, StampedFact) -> Result<bool>,
    ) -> Result<()> {
        let marks = ["?2", "?3", "?4"].get(..self.key.len()).unwrap_or_default().join(", ");
        let bound =
            if after.is_some() { format!("WHERE ({}) > ({marks})", self.key.join(", ")) } else { String::new() };
        let params: Vec<&dyn ToSql> =
            std::iter::once(&most as &dyn ToSql).chain(after.into_iter().flatten().map(|v| v as &dyn ToSql)).collect();
        self.read_where(conn, &bound, &params, each)
    }

    /// Calls `each` with every fact that is compared.
    fn read_compared(
        &self,
        conn: &Connection,
        cut: Cut,
        mut each: impl FnMut(Vec<Value>, StampedFact) -> Result<()>,
    ) -> Result<()> {
        let (most, cut) = (i64::MAX, cut.cast_signed());
        let each = |key, fact| each(key, fact).map(|()| true);
        match self.compared {
            "" => self.read_where(conn, "", &[&most], each),
            condition => self.read_where(conn, &format!("WHERE {condition}"), &[&most, &cut], each),
        }
    }

    fn read_where(
        &self,
        conn: &Connection,
        bound: &str,
        params: &[&dyn ToSql],
        mut each: impl FnMut(Vec<Value>, StampedFact) -> Result<bool>,
    ) -> Result<()> {
        let Self { name, key, columns, read, .. } = self;
        let order = key.join(", ");
        let sql = format!("SELECT {columns}, {order} FROM {name} {bound} ORDER BY {order} LIMIT ?1");
        let mut find = conn.prepare_cached(&sql)?;
        let first = find.column_count() - key.len();
        let mut rows = find.query(params)?;
        while let Some(r) = rows.next()? {
            let stamp = Stamp { hlc: Hlc::from_stored(r.get(0)?), origin: OriginId::new(r.get(1)?) };
            let key = (first..first + key.len()).map(|c| r.get(c)).collect::<rusqlite::Result<Vec<Value>>>()?;
            if !each(key, (stamp, read(conn, r, stamp)?))? {
                break;
            }
        }
        Ok(())
    }
}

/// Facts from `cursor` on, as many as fit into one message, and where to go on; `None` at the end.
pub(super) fn part(conn: &Connection, cursor: &Cursor, room: usize) -> Result<(Vec<StampedFact>, Option<Cursor>)> {
    let room = room.min(MAX_BATCH_BYTES - 16);
    let (mut facts, mut size) = (Vec::new(), 0);
    let mut at = cursor.clone();
    while let Some(table) = TABLES.get(at.table).filter(|_| at.table < at.tables) {
        let mut count = 0;
        let mut full = false;
        let start = at.after.clone();
        table.read_after(conn, start.as_deref(), STEP, |key, fact| {
            let len = encode(&fact)?.len();
            if size > 0 && size + len > room {
                full = true;
                return Ok(false);
            }
            size += len;
            count += 1;
            facts.push(fact);
            at.after = Some(key);
            Ok(true)
        })?;
        if full {
            return Ok((facts, Some(at)));
        }
        if count < STEP {
            at = Cursor { table: at.table + 1, after: None, tables: at.tables };
        }
    }
    Ok((facts, None))
}

/// Calls `each` with every fact, those that take something away first.
pub(super) fn each(conn: &Connection, mut each: impl FnMut(Stamp, Fact) -> Result<()>) -> Result<()> {
    for Table { name, columns, read, .. } in &TABLES {
        let mut find = conn.prepare(&format!("SELECT {columns} FROM {name}"))?;
        let mut rows = find.query([])?;
        while let Some(r) = rows.next()? {
            let stamp = Stamp { hlc: Hlc::from_stored(r.get(0)?), origin: OriginId::new(r.get(1)?) };
            each(stamp, read(conn, r, stamp)?)?;
        }
    }
    Ok(())
}

/// Every row of the table that holds a fact like this is gone, so that the fact can be joined anew.
pub(super) fn forget(conn: &Connection, fact: &Fact) -> Result<()> {
    let gone = |sql: &str, key: &[&dyn ToSql]| Ok(conn.prepare_cached(sql)?.execute(key).map(|_| ())?);
    match fact {
        Fact::Kicked { id, .. } => gone("DELETE FROM kicks WHERE id = ?1", &[&id.0]),
        Fact::Ended { membership, .. } => gone("DELETE FROM ends WHERE membership = ?1", &[membership.as_bytes()]),
        Fact::Withdrawn { publication } => {
            gone("DELETE FROM withdrawals WHERE publication = ?1", &[publication.as_bytes()])
        }
        Fact::SessionEnded { session } => gone("DELETE FROM session_ends WHERE session = ?1", &[session.as_bytes()]),
        Fact::Credential { id, .. } => gone("DELETE FROM credentials WHERE id = ?1", &[&id.0]),
        Fact::User { id, .. } => gone("DELETE FROM users WHERE id = ?1", &[id.as_bytes()]),
        Fact::Group { id, .. } => gone("DELETE FROM groups WHERE id = ?1", &[id.as_bytes()]),
        Fact::Requested { membership, .. } => gone("DELETE FROM memberships WHERE id = ?1", &[membership.as_bytes()]),
        Fact::Session { id, .. } => gone("DELETE FROM sessions WHERE id = ?1", &[id.as_bytes()]),
        Fact::SessionBound { session, .. } => {
            gone("DELETE FROM session_bindings WHERE session = ?1", &[session.as_bytes()])
        }
        Fact::Admin { group, .. } => gone("DELETE FROM admins WHERE group_id = ?1", &[group.as_bytes()]),
        Fact::Accepted { membership, .. } => {
            gone("DELETE FROM accepts WHERE membership = ?1", &[membership.as_bytes()])?;
            gone("DELETE FROM accept_kicks WHERE membership = ?1", &[membership.as_bytes()])
        }
        Fact::Published { id, .. } => gone("DELETE FROM publications WHERE id = ?1", &[id.as_bytes()]),
        Fact::Seeding { group, file, device, .. } => gone(
            "DELETE FROM seeders WHERE group_id = ?1 AND file_id = ?2 AND device = ?3",
            &[group.as_bytes(), file.as_bytes(), device.as_bytes()],
        ),
        Fact::Invited { id, .. } => gone("DELETE FROM invitations WHERE id = ?1", &[&id.0]),
        Fact::InvitationRevoked { invitation } => {
            gone("DELETE FROM invitation_ends WHERE invitation = ?1", &[&invitation.0])
        }
        Fact::Redeemed { membership, .. } => {
            gone("DELETE FROM redemptions WHERE membership = ?1", &[membership.as_bytes()])
        }
        Fact::Sponsored { user, .. } => gone("DELETE FROM sponsors WHERE user_id = ?1", &[user.as_bytes()]),
    }
}

/// The number of the part of the state that a fact belongs to, and its own hash.
fn place(table: usize, key: &[Value], fact: &StampedFact) -> Result<(usize, u64)> {
    let mut h = blake3::Hasher::new_derive_key("shoal state digest 1");
    h.update(&[u8::try_from(table).unwrap_or(u8::MAX)]).update(&encode(fact)?);
    let mut hash = [0; 8];
    h.finalize_xof().fill(&mut hash);
    let first = match key.first() {
        Some(Value::Blob(id)) => id.first().copied().unwrap_or_default(),
        _ => 0,
    };
    let bucket = usize::from(first) % BUCKETS_PER_TABLE;
    Ok((table * BUCKETS_PER_TABLE + bucket, u64::from_le_bytes(hash)))
}

/// The whole state in condensed form: in each part the sum of the hashes of its facts that are compared.
pub(super) fn digest(conn: &Connection, cut: Cut) -> Result<Vec<u64>> {
    let mut buckets = vec![0u64; BUCKETS];
    for (number, table) in TABLES.iter().enumerate() {
        table.read_compared(conn, cut, |key, fact| {
            let (bucket, hash) = place(number, &key, &fact)?;
            buckets[bucket] = buckets[bucket].wrapping_add(hash);
            Ok(())
        })?;
    }
    Ok(buckets)
}

/// The facts of some parts of the state, as far as they are compared.
pub(super) fn in_buckets(conn: &Connection, wanted: &[usize], cut: Cut) -> Result<Vec<StampedFact>> {
    let mut facts = Vec::new();
    for (number, table) in TABLES.iter().enumerate() {
        let here = number * BUCKETS_PER_TABLE..(number + 1) * BUCKETS_PER_TABLE;
        if !wanted.iter().any(|w| here.contains(w)) {
            continue;
        }
        table.read_compared(conn, cut, |key, fact| {
            if wanted.contains(&place(number, &key, &fact)?.0) {
                facts.push(fact);
            }
            Ok(())
        })?;
    }
    Ok(facts)
}

/// Facts as they travel.
pub(super) fn pack(facts: &[StampedFact]) -> Result<Vec<u8>> {
    encode(&facts)
}

/// Facts in as many messages as they need.
pub(super) fn pack_all(facts: &[StampedFact]) -> Result<Vec<Vec<u8>>> {
    let (mut messages, mut start, mut size) = (Vec::new(), 0, 0);
    for (n, fact) in facts.iter().enumerate() {
        let len = encode(fact)?.len();
        if size + len > MAX_BATCH_BYTES - 16 {
            messages.push(pack(facts.get(start..n).unwrap_or_default())?);
            (start, size) = (n, 0);
        }
        size += len;
    }
    messages.push(pack(facts.get(start..).unwrap_or_default())?);
    Ok(messages)
}

/// What [`pack`] made.
pub(super) fn unpack(bytes: &[u8]) -> Result<Vec<StampedFact>> {
    codec::decode(bytes, MAX_FRAME).map_err(|_| StoreError::Content("facts that cannot be read"))
}
