//! Where devices were last seen, for a tracker that has just started.

use std::net::SocketAddr;
use std::time::Duration;

use common::id::{DeviceId, UserId};
use common::ticket::UnixSeconds;
use rusqlite::Connection;

use super::error::Result;
use super::tables::Tables;

/// A device and where it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PresenceRow {
    /// The device.
    pub device: DeviceId,
    /// Who was logged in there.
    pub user: UserId,
    /// Where it served.
    pub address: SocketAddr,
    /// Number of its announcement.
    pub serial: u64,
}

impl Tables<'_> {
    /// Every device that was here when this was last noted, unless that was before `not_before`.
    pub fn presence(&self, lease: Duration, not_before: UnixSeconds) -> Result<Vec<PresenceRow>> {
        let sql = "SELECT device, user_id, address, serial FROM presence
                   WHERE last_seen >= max(?2, (SELECT max(last_seen) FROM presence) - ?1)";
        let mut find = self.conn.prepare_cached(sql)?;
        let rows = find.query_map((lease.as_secs(), not_before.cast_signed()), |r| {
            let (device, user) = (DeviceId::new(r.get(0)?), UserId::new(r.get(1)?));
            let (address, serial) = (r.get::<_, String>(2)?.parse(), r.get::<_, i64>(3)?.cast_unsigned());
            Ok(address.ok().map(|address| PresenceRow { device, user, address, serial }))
        })?;
        Ok(rows.collect::<rusqlite::Result<Vec<_>>>()?.into_iter().flatten().collect())
    }
}

/// Notes who is here at `now`, and that `gone` are not.
pub(super) fn save(tx: &Connection, here: &[PresenceRow], gone: &[DeviceId], now: UnixSeconds) -> Result<()> {
    let sql =
        "INSERT OR REPLACE INTO presence (device, user_id, address, serial, last_seen) VALUES (?1, ?2, ?3, ?4, ?5)";
    let mut put = tx.prepare_cached(sql)?;
    for p in here {
        let address = p.address.to_string();
        put.execute((p.device.as_bytes(), p.user.as_bytes(), address, p.serial.cast_signed(), now.cast_signed()))?;
    }
    let mut delete = tx.prepare_cached("DELETE FROM presence WHERE device = ?1")?;
    gone.iter().try_for_each(|device| delete.execute([device.as_bytes()]).map(|_| ()))?;
    Ok(())
}
