//! Which memberships are live: the one table that is derived. It follows from requests, acceptances, ends and kicks,
//! is recomputed for whoever they concern whenever one of them is joined, and checked as a whole now and then.

use std::collections::BTreeMap;

use common::id::{GroupId, MembershipId, OriginId, UserId};
use rusqlite::Connection;

use super::Store;
use super::error::Result;
use crate::fact::{Hlc, Stamp};
use crate::limits::Caller;

/// What is live, of the memberships `m` for which the condition holds. An acceptance counts if it knew of every kick;
/// the first that counts dates the membership.
macro_rules! due {
    ($whose:literal) => {
        concat!(
            "SELECT id AS membership, group_id, user_id, hlc, origin FROM (
                SELECT m.id, m.group_id, m.user_id, a.hlc, a.origin,
                       row_number() OVER (PARTITION BY m.id ORDER BY a.hlc, a.origin) AS place
                FROM memberships m JOIN accepts a ON a.membership = m.id
                WHERE ",
            $whose,
            " AND NOT EXISTS (SELECT 1 FROM ends e WHERE e.membership = m.id)
                  AND NOT EXISTS (
                      SELECT 1 FROM kicks k
                      WHERE k.group_id = m.group_id AND k.user_id = m.user_id
                        AND NOT EXISTS (
                            SELECT 1 FROM accept_kicks s
                            WHERE s.membership = a.membership AND s.hlc = a.hlc AND s.origin = a.origin
                              AND s.kick = k.id))
            ) WHERE place = 1"
        )
    };
}

const FORGET: &str = "DELETE FROM live WHERE group_id = ?1 AND user_id = ?2";
const ENTER: &str = concat!(
    "INSERT OR REPLACE INTO live (membership, group_id, user_id, hlc, origin) ",
    due!("m.group_id = ?1 AND m.user_id = ?2")
);
const ENTER_GROUP: &str =
    concat!("INSERT OR REPLACE INTO live (membership, group_id, user_id, hlc, origin) ", due!("m.group_id = ?1"));
/// Who is in the table otherwise than follows.
const WRONG: &str = concat!(
    "WITH due AS MATERIALIZED (",
    due!("true"),
    "), has AS (SELECT membership, group_id, user_id, hlc, origin FROM live)
     SELECT group_id, user_id FROM (SELECT * FROM due EXCEPT SELECT * FROM has)
     UNION SELECT group_id, user_id FROM (SELECT * FROM has EXCEPT SELECT * FROM due)"
);

/// Recomputes which memberships of the holder of `membership` are live, if it is known whose it is.
pub(super) fn refresh_of(tx: &Connection, membership: MembershipId) -> Result<()> {
    let mut whose = tx.prepare_cached("SELECT group_id, user_id FROM memberships WHERE id = ?1")?;
    let mut rows = whose.query([membership.as_bytes()])?;
    match rows.next()? {
        Some(row) => {
            let (group, user): ([u8; 16], [u8; 16]) = (row.get(0)?, row.get(1)?);
            refresh(tx, group.into(), user.into())
        }
        None => Ok(()),
    }
}

/// Recomputes which memberships of `user` in `group` are live.
pub(super) fn refresh(tx: &Connection, group: GroupId, user: UserId) -> Result<()> {
    let whose = (group.as_bytes(), user.as_bytes());
    tx.prepare_cached(FORGET)?.execute(whose)?;
    tx.prepare_cached(ENTER)?.execute(whose)?;
    Ok(())
}

/// Recomputes who is a member of `group`: before something is decided by its having none that cannot be taken back.
pub(super) fn refresh_group(tx: &Connection, group: GroupId) -> Result<()> {
    tx.prepare_cached("DELETE FROM live WHERE group_id = ?1")?.execute([group.as_bytes()])?;
    tx.prepare_cached(ENTER_GROUP)?.execute([group.as_bytes()])?;
    Ok(())
}

/// Who is live by the table, and since when.
pub(super) fn rows(conn: &Connection) -> Result<BTreeMap<MembershipId, Stamp>> {
    let mut find = conn.prepare("SELECT membership, hlc, origin FROM live")?;
    let row = |r: &rusqlite::Row<'_>| {
        let stamp = Stamp { hlc: Hlc::from_stored(r.get(1)?), origin: OriginId::new(r.get(2)?) };
        Ok((MembershipId::new(r.get(0)?), stamp))
    };
    Ok(find.query_map([], row)?.collect::<rusqlite::Result<_>>()?)
}

/// The key of a row as it is on disk, which may have been altered: of any length.
type Whose = (Vec<u8>, Vec<u8>);

fn wrong(conn: &Connection) -> Result<Vec<Whose>> {
    let mut find = conn.prepare(WRONG)?;
    let rows = find.query_map([], |r| Ok((r.get(0)?, r.get(1)?)))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

impl Store {
    /// Recomputes what is derived, where it does not follow from the facts: a row was lost or altered. Returns for how
    /// many members that was.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn mend_live(&self) -> Result<usize> {
        if self.readers.read(&Caller::tracker(), |s| Ok::<_, super::StoreError>(wrong(s.conn)?.is_empty())).await? {
            return Ok(0);
        }
        let mended = self.upkeep(|tx| {
            let wrong = wrong(tx)?;
            // All of them first: an altered row may stand in the place of another.
            for whose in &wrong {
                tx.prepare_cached(FORGET)?.execute((&whose.0, &whose.1))?;
            }
            for whose in &wrong {
                tx.prepare_cached(ENTER)?.execute((&whose.0, &whose.1))?;
            }
            Ok(wrong.len())
        });
        let mended = mended.await?;
        tracing::error!(
            mended,
            "who is a member did not follow from what was decided, and was mended: look after the disk"
        );
        Ok(mended)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use common::id::{DeviceId, RequestId};
    use rusqlite::params;

    use super::*;
    use crate::fact::Delta;
    use crate::store::{Asked, Change, StoreError};

    async fn member(store: &Store, n: u8) -> (GroupId, UserId, MembershipId) {
        let (group, user, membership) = (GroupId::new([n; 16]), UserId::new([n; 16]), MembershipId::new([n; 16]));
        let asked = Asked { device: DeviceId::new([n; 32]), request: RequestId::random() };
        let deltas =
            vec![Delta::Requested { membership, group, user }, Delta::Accepted { membership, kicks_seen: Vec::new() }];
        let change = Change { deltas, manifest: None, answer: Vec::new(), value: () };
        store.write(asked, move |_| Ok::<_, StoreError>(change)).await.expect("written");
        (group, user, membership)
    }

    #[tokio::test]
    async fn a_name_is_not_given_away_for_a_row_that_was_lost() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::open(dir.path(), Arc::new(|| 1_700_000_000_000)).expect("opened");
        let claim = async |n: u8| {
            let (id, creator) = (GroupId::new([n; 16]), UserId::new([n; 16]));
            let asked = Asked { device: DeviceId::new([n; 32]), request: RequestId::random() };
            let deltas = vec![Delta::Group { id, name: "lab".parse().expect("a name"), creator }];
            let change = Change { deltas, manifest: None, answer: Vec::new(), value: () };
            store.write(asked, move |_| Ok::<_, StoreError>(change)).await.expect("written");
        };
        let conn = Connection::open(dir.path().join("tracker.db")).expect("opened");
        let owner = || conn.query_row("SELECT owner FROM votes", [], |r| r.get::<_, [u8; 16]>(0)).expect("a vote");
        claim(1).await;
        member(&store, 1).await;
        assert_eq!(conn.execute("DELETE FROM live", []).expect("lost"), 1);
        claim(2).await;
        assert_eq!(owner(), [1; 16], "it has a member");
        conn.execute_batch("DELETE FROM live; DELETE FROM accepts").expect("lost");
        claim(3).await;
        assert_eq!(owner(), [3; 16], "it has none");
        store.close().await;
    }

    #[tokio::test]
    async fn a_row_that_was_lost_altered_or_made_up_is_mended() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::open(dir.path(), Arc::new(|| 1_700_000_000_000)).expect("opened");
        for n in 1..=4 {
            member(&store, n).await;
        }
        let rows = || {
            let all = "SELECT hex(membership), hex(group_id), hex(user_id), hlc, hex(origin) FROM live ORDER BY 1";
            let conn = Connection::open(dir.path().join("tracker.db")).expect("opened");
            let mut rows = conn.prepare(all).expect("prepared");
            let row = |r: &rusqlite::Row<'_>| {
                Ok((r.get::<_, String>(0)?, r.get::<_, String>(1)?, r.get::<_, String>(2)?, r.get::<_, i64>(3)?))
            };
            rows.query_map([], row).expect("read").collect::<rusqlite::Result<Vec<_>>>().expect("rows")
        };
        let sound = rows();
        assert_eq!((sound.len(), store.mend_live().await.expect("looked")), (4, 0));
        let alter = |sql: &str, n: u8| {
            let conn = Connection::open(dir.path().join("tracker.db")).expect("opened");
            assert_eq!(conn.execute(sql, params![[n; 16], [9u8; 16]]).expect("altered"), 1, "{sql}");
        };
        let faults = [
            ("DELETE FROM live WHERE membership = ?1 OR user_id = ?2", 1),
            ("UPDATE live SET group_id = ?2 WHERE membership = ?1", 2),
            ("UPDATE live SET membership = ?2 WHERE membership = ?1", 2),
            ("UPDATE live SET user_id = zeroblob(3) WHERE membership = ?1 OR origin = ?2", 3),
            ("UPDATE live SET hlc = hlc + 1 WHERE membership = ?1 OR user_id = ?2", 4),
            ("INSERT INTO live SELECT ?2, group_id, user_id, hlc, origin FROM live WHERE membership = ?1", 4),
        ];
        for (fault, n) in faults {
            alter(fault, n);
            assert_ne!(rows(), sound, "{fault}");
            assert!(store.mend_live().await.expect("mended") > 0, "{fault}");
            assert_eq!(rows(), sound, "{fault}");
            assert_eq!(store.mend_live().await.expect("looked"), 0, "{fault}");
        }
        store.close().await;
    }
}
