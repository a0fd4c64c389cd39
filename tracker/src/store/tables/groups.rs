//! Groups and who is in them. An *open* group has a live member; others have no name any more.

use common::id::{GroupId, GroupName, MembershipId, UserId, UserName};

use super::{Tables, id, name, split_reference};
use crate::fact::{Hlc, KickId};
use crate::state::{GroupEntry, Seat, Standing};
use crate::store::error::Result;

impl Tables<'_> {
    /// The open group of this very name, or that is told apart by it.
    pub fn group(&self, name: &GroupName) -> Result<Option<GroupId>> {
        match split_reference(name.as_str()) {
            (name, None) => {
                let sql = "SELECT g.id FROM votes v JOIN groups g ON g.id = v.owner
                           WHERE v.kind = 1 AND v.name = lower(?1) AND g.name = ?1
                             AND EXISTS (SELECT 1 FROM live l WHERE l.group_id = g.id)";
                self.one(sql, [name], |r| id(r, 0))
            }
            (name, Some(digits)) => {
                let sql = "SELECT id FROM groups g WHERE name = ?1 AND lower(hex(substr(id, 1, 4))) = ?2
                           AND EXISTS (SELECT 1 FROM live l WHERE l.group_id = g.id) ORDER BY hlc, origin LIMIT 1";
                self.one(sql, (name, digits), |r| id(r, 0))
            }
        }
    }

    /// Groups of `user` whose name went to another group: what each claimed, and is called now.
    pub fn groups_renamed(&self, user: UserId) -> Result<Vec<(GroupName, GroupName)>> {
        let sql = "SELECT DISTINCT g.name, n.name FROM live l JOIN groups g ON g.id = l.group_id
                   JOIN group_names n ON n.id = g.id WHERE l.user_id = ?1 AND n.name <> g.name";
        self.all(sql, [user.as_bytes()], |r| Ok((name(r, 0)?, name(r, 1)?)))
    }

    /// The name of a group, as it is shown.
    pub fn group_name(&self, group: GroupId) -> Result<Option<GroupName>> {
        self.one("SELECT name FROM group_names WHERE id = ?1", [group.as_bytes()], |r| name(r, 0))
    }

    /// What name a group claimed, and who made it.
    pub fn group_claim(&self, group: GroupId) -> Result<Option<(GroupName, UserId)>> {
        let sql = "SELECT name, creator FROM groups WHERE id = ?1";
        self.one(sql, [group.as_bytes()], |r| Ok((name(r, 0)?, id(r, 1)?)))
    }

    /// Whether an open group has a name that differs at most in case.
    pub fn group_name_taken(&self, name: &GroupName) -> Result<bool> {
        let sql = "SELECT 1 FROM groups g WHERE name = ?1 COLLATE NOCASE
                   AND EXISTS (SELECT 1 FROM live l WHERE l.group_id = g.id)";
        self.exists(sql, [name.as_str()])
    }

    /// The admin of an open group: who was last made it and still is a member on the same
    /// membership, else whoever has been a member for longest.
    pub fn admin(&self, group: GroupId) -> Result<Option<UserId>> {
        self.admin_without(group, None)
    }

    /// Who would be the admin if `gone` were not a member.
    pub fn admin_without(&self, group: GroupId, gone: Option<UserId>) -> Result<Option<UserId>> {
        let sql = "
            SELECT l.user_id FROM live l LEFT JOIN admins a ON a.group_id = l.group_id AND a.membership = l.membership
            WHERE l.group_id = ?1 AND l.user_id IS NOT ?2
            ORDER BY a.membership IS NULL, l.hlc, l.origin, l.membership LIMIT 1";
        self.one(sql, (group.as_bytes(), gone.as_ref().map(UserId::as_bytes)), |r| id(r, 0))
    }

    /// What `user` is to `group`.
    pub fn standing(&self, group: GroupId, user: UserId) -> Result<Standing> {
        let sql = "
            SELECT m.id, l.membership IS NOT NULL FROM memberships m LEFT JOIN live l ON l.membership = m.id
            WHERE m.group_id = ?1 AND m.user_id = ?2 AND NOT EXISTS (SELECT 1 FROM ends e WHERE e.membership = m.id)
            ORDER BY l.hlc, l.origin, m.hlc, m.origin, m.id";
        let mut standing = Standing::default();
        for (membership, live) in self.all(sql, (group.as_bytes(), user.as_bytes()), |r| Ok((id(r, 0)?, r.get(1)?)))? {
            if live { standing.live.push(membership) } else { standing.pending.push(membership) }
        }
        Ok(standing)
    }

    /// Whose request to join this is, and where.
    pub fn membership(&self, membership: MembershipId) -> Result<Option<(GroupId, UserId)>> {
        let sql = "SELECT group_id, user_id FROM memberships WHERE id = ?1";
        self.one(sql, [membership.as_bytes()], |r| Ok((id(r, 0)?, id(r, 1)?)))
    }

    /// Whether anybody has accepted this request to join.
    pub fn was_accepted(&self, membership: MembershipId) -> Result<bool> {
        self.exists("SELECT 1 FROM accepts WHERE membership = ?1", [membership.as_bytes()])
    }

    /// Who is the admin of a group now because this membership, which was its admin's, has ended. Nobody, if the admin
    /// was made that by another, or has been it before.
    pub fn admin_by_end_of(&self, group: GroupId, ended: MembershipId) -> Result<Option<UserId>> {
        let Some(admin) = self.admin(group)? else { return Ok(None) };
        if self.admin_was_made(group, admin)? {
            return Ok(None);
        }
        let sql = "
            SELECT 1 FROM admins WHERE group_id = ?1 AND membership = ?2
            UNION ALL
            SELECT 1 FROM accepts a WHERE a.membership = ?2 AND (a.hlc, a.origin, a.membership) <
                (SELECT l.hlc, l.origin, l.membership FROM live l WHERE l.group_id = ?1
                 ORDER BY l.hlc, l.origin, l.membership LIMIT 1)";
        Ok(self.exists(sql, (group.as_bytes(), ended.as_bytes()))?.then_some(admin))
    }

    /// Whether this member was made the admin, as opposed to having become it when another left.
    pub fn admin_was_made(&self, group: GroupId, user: UserId) -> Result<bool> {
        let sql = "SELECT 1 FROM admins a JOIN live l ON l.membership = a.membership
                   WHERE a.group_id = ?1 AND a.user_id = ?2";
        self.exists(sql, (group.as_bytes(), user.as_bytes()))
    }

    /// Every kick of `user` in `group`.
    pub fn kicks(&self, group: GroupId, user: UserId) -> Result<Vec<KickId>> {
        let sql = "SELECT id FROM kicks WHERE group_id = ?1 AND user_id = ?2 ORDER BY id";
        self.all(sql, (group.as_bytes(), user.as_bytes()), |r| id(r, 0))
    }

    /// The members of a group.
    pub fn members(&self, group: GroupId) -> Result<Vec<UserId>> {
        self.all("SELECT DISTINCT user_id FROM live WHERE group_id = ?1", [group.as_bytes()], |r| id(r, 0))
    }

    /// Everyone who shares a group with `user`.
    pub fn fellows(&self, user: UserId) -> Result<Vec<UserId>> {
        let sql = "SELECT DISTINCT b.user_id FROM live a JOIN live b USING (group_id) WHERE a.user_id = ?1";
        self.all(sql, [user.as_bytes()], |r| id(r, 0))
    }

    /// Up to `most` open groups, by name, after `after`.
    pub fn groups_after(&self, after: Option<&GroupName>, most: usize) -> Result<Vec<GroupEntry>> {
        let sql = "
            WITH page AS (
                SELECT id, name, (
                    SELECT l.user_id FROM live l
                    LEFT JOIN admins a ON a.group_id = l.group_id AND a.membership = l.membership
                    WHERE l.group_id = g.id
                    ORDER BY a.membership IS NULL, l.hlc, l.origin, l.membership LIMIT 1) AS admin
                FROM group_names g
                WHERE name > ?1 AND EXISTS (SELECT 1 FROM live l WHERE l.group_id = g.id)
                ORDER BY name LIMIT ?2)
            SELECT p.id, p.name, p.admin, u.name,
                   (SELECT count(DISTINCT user_id) FROM live l WHERE l.group_id = p.id)
            FROM page p JOIN user_names u ON u.id = p.admin ORDER BY p.name";
        self.all(sql, (after.map_or("", GroupName::as_str), most as u64), |r| {
            Ok(GroupEntry {
                id: id(r, 0)?,
                name: name(r, 1)?,
                admin: id(r, 2)?,
                admin_name: name(r, 3)?,
                members: r.get(4)?,
            })
        })
    }

    /// Up to `most` members of a group, by name, after `after`.
    pub fn members_after(&self, group: GroupId, after: Option<&UserName>, most: usize) -> Result<Vec<Seat>> {
        let sql = "SELECT DISTINCT u.id, u.name FROM live l JOIN user_names u ON u.id = l.user_id
                   WHERE l.group_id = ?1 AND u.name > ?2 ORDER BY u.name LIMIT ?3";
        let row = |r: &rusqlite::Row<'_>| Ok(Seat { user: id(r, 0)?, name: name(r, 1)? });
        self.all(sql, (group.as_bytes(), after.map_or("", UserName::as_str), most as u64), row)
    }

    /// Up to `most` users who ask to join a group, by name, after `after`.
    pub fn requests_after(&self, group: GroupId, after: Option<&UserName>, most: usize) -> Result<Vec<UserName>> {
        let sql = "
            SELECT DISTINCT u.name FROM memberships m JOIN user_names u ON u.id = m.user_id
            WHERE m.group_id = ?1 AND u.name > ?2
              AND NOT EXISTS (SELECT 1 FROM ends e WHERE e.membership = m.id)
              AND NOT EXISTS (SELECT 1 FROM live l WHERE l.group_id = m.group_id AND l.user_id = m.user_id)
            ORDER BY u.name LIMIT ?3";
        self.all(sql, (group.as_bytes(), after.map_or("", UserName::as_str), most as u64), |r| name(r, 0))
    }

    /// Memberships that ended since `since`, in the groups of `user`. At most `most` of them.
    pub fn memberships_ended_around(
        &self,
        user: UserId,
        since: Hlc,
        most: u32,
    ) -> Result<Vec<(GroupId, MembershipId)>> {
        let sql = "
            SELECT m.group_id, m.id FROM ends e JOIN memberships m ON m.id = e.membership
            WHERE e.hlc >= ?2 AND EXISTS (SELECT 1 FROM accepts a WHERE a.membership = m.id)
              AND EXISTS (SELECT 1 FROM live l WHERE l.group_id = m.group_id AND l.user_id = ?1)
            ORDER BY e.hlc DESC LIMIT ?3";
        self.all(sql, (user.as_bytes(), since.to_stored(), most), |r| Ok((id(r, 0)?, id(r, 1)?)))
    }
}
