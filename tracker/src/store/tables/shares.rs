//! Shares and who seeds them. A share is seen while one of its publications stands on a live
//! membership and is not withdrawn (the view `shares`).

use common::id::{DeviceId, FileId, FileName, GroupId, MembershipId, PublicationId, UserId};
use common::pieces::PieceLayout;
use rusqlite::Row;
use rusqlite::types::FromSqlError;

use super::{Tables, id, name, split_reference};
use crate::fact::ManifestId;
use crate::state::{Seeder, SeedingFact, Share};
use crate::store::error::{Result, StoreError};
use crate::store::looks;

const COLUMNS: &str = "
    SELECT s.id, s.shown, s.file_id, s.manifest, s.len, s.piece_len, s.sha1, u.name
    FROM shares s JOIN user_names u ON u.id = s.user_id WHERE s.group_id = ?1 ";

/// Publications that members see (the view `listed`), along the index by content. Said, because statistics of a group in
/// which one content has most names tell SQLite to read all of it.
const LISTED_BY_FILE: &str = "
    FROM publications p INDEXED BY publications_by_file
    CROSS JOIN live l ON l.membership = p.membership CROSS JOIN manifests m ON m.id = p.manifest
    WHERE p.withdrawn = 0 AND p.group_id = ?1 ";

fn share(r: &Row<'_>) -> rusqlite::Result<Share> {
    let (len, piece_len): (i64, i64) = (r.get(4)?, r.get(5)?);
    let layout = PieceLayout::new(len.cast_unsigned(), piece_len.cast_unsigned())
        .map_err(|e| rusqlite::Error::from(FromSqlError::Other(Box::new(e))))?;
    Ok(Share {
        publication: id(r, 0)?,
        name: name(r, 1)?,
        file: id(r, 2)?,
        manifest: ManifestId(r.get(3)?),
        layout,
        sha1: id(r, 6)?,
        uploader: name(r, 7)?,
    })
}

impl Tables<'_> {
    /// Up to `most` shares of a group, by name, after `after`.
    pub fn shares_after(&self, group: GroupId, after: Option<&FileName>, most: usize) -> Result<Vec<Share>> {
        let shown = after.map_or("", FileName::as_str);
        let sql = "SELECT 1 FROM listed WHERE group_id = ?1 AND name = ?2";
        let claimed = self.exists(sql, (group.as_bytes(), shown))?;
        let name = if claimed { shown } else { split_reference(shown).0 };
        let sql = format!(
            "{COLUMNS} AND s.name >= ?2 AND (s.name, s.shown) > (?2, ?3) ORDER BY s.name, s.shown, s.hlc, s.origin LIMIT ?4"
        );
        self.all(&sql, (group.as_bytes(), name, shown, most as u64), share)
    }

    /// The share of this name.
    pub fn share_named(&self, group: GroupId, name: &FileName) -> Result<Option<Share>> {
        let base = split_reference(name.as_str()).0;
        let sql = format!("{COLUMNS} AND s.name IN (?2, ?3) AND s.shown = ?2 ORDER BY s.hlc, s.origin LIMIT 1");
        self.one(&sql, (group.as_bytes(), name.as_str(), base), share)
    }

    /// The name of another share that a person would take for this one.
    pub fn twin_of(&self, group: GroupId, name: &FileName) -> Result<Option<FileName>> {
        let twin = looks::twin(self.conn, group, name.as_str())?;
        twin.map(|t| t.try_into().map_err(|_| StoreError::Content("a share without a name"))).transpose()
    }

    /// The share of this content that was published first.
    pub fn share_of(&self, group: GroupId, file: FileId) -> Result<Option<Share>> {
        // Looked up first, and then shown: one content may have thousands of names.
        let first = format!("SELECT p.id {LISTED_BY_FILE} AND p.file_id = ?2 ORDER BY p.hlc, p.origin LIMIT 1");
        let sql = format!("{COLUMNS} AND s.id = ({first})");
        self.one(&sql, (group.as_bytes(), file.as_bytes()), share)
    }

    /// Shares whose file id lies in a range; of each file the one that was published first comes
    /// first. At most `most`.
    pub fn shares_between(&self, group: GroupId, low: FileId, high: FileId, most: usize) -> Result<Vec<Share>> {
        let sql = format!("{COLUMNS} AND s.file_id BETWEEN ?2 AND ?3 ORDER BY s.file_id, s.hlc, s.origin LIMIT ?4");
        self.all(&sql, (group.as_bytes(), low.as_bytes(), high.as_bytes(), most as u64), share)
    }

    /// Every publication under a name that is still seen.
    pub fn publications_named(&self, group: GroupId, name: &FileName) -> Result<Vec<PublicationId>> {
        let sql = "SELECT id FROM listed WHERE group_id = ?1 AND name = ?2";
        self.all(sql, (group.as_bytes(), name.as_str()), |r| id(r, 0))
    }

    /// Whether this membership carries a publication of this file under this name.
    pub fn has_published(&self, membership: MembershipId, name: &FileName, file: FileId) -> Result<bool> {
        let sql = "SELECT 1 FROM listed WHERE membership = ?1 AND name = ?2 AND file_id = ?3";
        self.exists(sql, (membership.as_bytes(), name.as_str(), file.as_bytes()))
    }

    /// How many shares nobody else has published, and go when this user does.
    pub fn shares_only_of(&self, group: GroupId, user: UserId) -> Result<u32> {
        let sql = "
            SELECT count(*) FROM (
                SELECT DISTINCT p.name, p.file_id
                FROM live l CROSS JOIN publications p CROSS JOIN manifests m ON m.id = p.manifest
                WHERE l.group_id = ?1 AND l.user_id = ?2 AND p.membership = l.membership AND p.withdrawn = 0
                  AND NOT EXISTS (
                    SELECT 1 FROM publications o INDEXED BY publications_by_name
                    CROSS JOIN live k ON k.membership = o.membership CROSS JOIN manifests n ON n.id = o.manifest
                    WHERE o.withdrawn = 0 AND o.group_id = ?1 AND o.name = p.name AND o.file_id = p.file_id
                      AND o.user_id <> ?2))";
        Ok(self.one(sql, (group.as_bytes(), user.as_bytes()), |r| r.get(0))?.unwrap_or_default())
    }

    /// Devices of members that say they seed a file, wherever they are now.
    pub fn seeders(&self, group: GroupId, file: FileId) -> Result<Vec<Seeder>> {
        let sql = "
            SELECT s.device, s.user_id, u.name FROM seeders s
            JOIN live l ON l.membership = s.membership JOIN user_names u ON u.id = s.user_id
            WHERE s.group_id = ?1 AND s.file_id = ?2 AND s.seeding";
        self.all(sql, (group.as_bytes(), file.as_bytes()), |r| {
            Ok(Seeder { device: id(r, 0)?, user: id(r, 1)?, name: name(r, 2)? })
        })
    }

    /// Devices of one user that say they seed a file, and the memberships that this stands on.
    pub fn devices_seeding(&self, group: GroupId, file: FileId, user: UserId) -> Result<Vec<(DeviceId, MembershipId)>> {
        let sql = "
            SELECT s.device, s.membership FROM seeders s JOIN live l ON l.membership = s.membership
            WHERE s.group_id = ?1 AND s.file_id = ?2 AND s.user_id = ?3 AND s.seeding ORDER BY s.device";
        self.all(sql, (group.as_bytes(), file.as_bytes(), user.as_bytes()), |r| Ok((id(r, 0)?, id(r, 1)?)))
    }

    /// What a device last said about a file.
    pub fn seeding(&self, group: GroupId, file: FileId, device: DeviceId) -> Result<Option<SeedingFact>> {
        let sql = "SELECT user_id, membership, seeding FROM seeders
                   WHERE group_id = ?1 AND file_id = ?2 AND device = ?3";
        self.one(sql, (group.as_bytes(), file.as_bytes(), device.as_bytes()), |r| {
            Ok(SeedingFact { user: id(r, 0)?, membership: id(r, 1)?, on: r.get(2)? })
        })
    }

    /// What a user's device seeds, at most `most` files.
    pub fn seeded_by(&self, device: DeviceId, user: UserId, most: usize) -> Result<Vec<(GroupId, FileId)>> {
        let sql = "SELECT s.group_id, s.file_id FROM seeders s JOIN live l ON l.membership = s.membership
                   WHERE s.device = ?1 AND s.user_id = ?2 AND s.seeding LIMIT ?3";
        self.all(sql, (device.as_bytes(), user.as_bytes(), most as u64), |r| Ok((id(r, 0)?, id(r, 1)?)))
    }
}

/// The smallest and the largest file id that begin with these hexadecimal digits.
pub fn prefix_range(digits: &str) -> Option<(FileId, FileId)> {
    let fill = |with: &str| format!("{digits}{}", with.repeat((2 * FileId::LEN).saturating_sub(digits.len()))).parse();
    Some((fill("0").ok()?, fill("f").ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_spans_what_begins_with_it() {
        let (low, high) = prefix_range("abcdef012").expect("a range");
        assert!(low.to_string().starts_with("abcdef0120000"));
        assert!(high.to_string().starts_with("abcdef012ffff"));
        let whole = "12".repeat(32);
        assert_eq!(prefix_range(&whole).map(|(a, b)| a == b), Some(true));
        assert!(prefix_range("xyz").is_none() && prefix_range(&"a".repeat(65)).is_none());
    }
}
