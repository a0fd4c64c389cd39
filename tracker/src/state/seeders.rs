//! Who says that it seeds what, wherever it is now.

use common::id::{DeviceId, FileId, GroupId, MembershipId, UserId, UserName};

use super::keys::{DeviceKey, FileKey, UserKey};
use super::rows::SeederRow;
use super::undo::{Earlier, Undo};
use super::{State, push, take_out};

/// A device that says it seeds a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seeder {
    /// It.
    pub device: DeviceId,
    /// Its user.
    pub user: UserId,
    /// The user's name.
    pub name: UserName,
}

/// What a device last said about a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeedingFact {
    /// Its user at that time.
    pub user: UserId,
    /// The membership that it stood on.
    pub membership: MembershipId,
    /// Whether it does.
    pub on: bool,
}

impl State {
    pub(super) fn seeder_row(&self, file: FileKey, device: DeviceKey) -> Option<&SeederRow> {
        let all = &self.files[file].seeders;
        all.binary_search_by_key(&device, |s| s.device).ok().map(|at| &all[at])
    }

    pub(super) fn set_seeder(&mut self, file: FileKey, device: DeviceKey, row: Option<SeederRow>) -> Undo {
        let before = self.seeder_row(file, device).copied();
        let did = before.is_some_and(|s| s.on);
        let does = row.is_some_and(|row| row.on);
        let all = &mut self.files[file].seeders;
        match (all.binary_search_by_key(&device, |s| s.device), row) {
            (Ok(at), Some(row)) => all[at] = row,
            (Ok(at), None) => drop(all.remove(at)),
            (Err(at), Some(row)) => {
                if all.len() < 4 {
                    all.reserve_exact(1);
                }
                all.insert(at, row);
            }
            (Err(_), None) => {}
        }
        match (did, does) {
            (false, true) => push(&mut self.devices[device].seeds, file),
            (true, false) => take_out(&mut self.devices[device].seeds, &file),
            _ => {}
        }
        Undo(Earlier::Seeder(file, device, before))
    }

    fn seeders_of(&self, group: GroupId, file: FileId) -> impl Iterator<Item = &SeederRow> {
        let file = self.groups.find(&group).and_then(|group| self.files.find(&(group, file)));
        let all = file.map_or(&[][..], |file| &self.files[file].seeders);
        all.iter().filter(|s| s.on && self.memberships[s.membership].live.is_some())
    }

    /// Devices of members that say they seed a file, wherever they are now.
    pub fn seeders(&self, group: GroupId, file: FileId) -> Vec<Seeder> {
        let seeder = |s: &SeederRow| {
            let user = &self.users[s.user];
            let (device, name) = (self.devices[s.device].id, user.shown.clone()?);
            Some(Seeder { device, user: user.id, name })
        };
        self.seeders_of(group, file).filter_map(seeder).collect()
    }

    /// How many of them are somewhere.
    pub fn count_seeders(&self, group: GroupId, file: FileId, is_here: impl Fn(DeviceId, UserId) -> bool) -> u32 {
        let here = |s: &&SeederRow| {
            let user = &self.users[s.user];
            user.shown.is_some() && is_here(self.devices[s.device].id, user.id)
        };
        u32::try_from(self.seeders_of(group, file).filter(here).count()).unwrap_or(u32::MAX)
    }

    /// Devices of one user that say they seed a file, and the memberships that this stands on.
    pub fn devices_seeding(&self, group: GroupId, file: FileId, user: UserId) -> Vec<(DeviceId, MembershipId)> {
        let Some(user) = self.users.find(&user) else { return Vec::new() };
        let of_user = self.seeders_of(group, file).filter(|s| s.user == user);
        let mut all: Vec<_> = of_user.map(|s| (self.devices[s.device].id, self.memberships[s.membership].id)).collect();
        all.sort_unstable();
        all
    }

    /// What a device last said about a file.
    pub fn seeding(&self, group: GroupId, file: FileId, device: DeviceId) -> Option<SeedingFact> {
        let file = self.files.find(&(self.groups.find(&group)?, file))?;
        let row = self.seeder_row(file, self.devices.find(&device)?)?;
        let (user, membership) = (self.users[row.user].id, self.memberships[row.membership].id);
        Some(SeedingFact { user, membership, on: row.on })
    }

    /// What a user's device seeds, at most `most` files, in order.
    pub fn seeded_by(&self, device: DeviceId, user: UserId, most: usize) -> Vec<(GroupId, FileId)> {
        let Some((device, user)) = self.devices.find(&device).zip(self.users.find(&user)) else { return Vec::new() };
        let seeds = self.devices[device].seeds.iter().filter(|file| self.seeds(**file, device, user));
        let mut all: Vec<_> = seeds.map(|f| (self.groups[self.files[*f].group].id, self.files[*f].id)).collect();
        all.sort_unstable();
        all.truncate(most);
        all
    }

    fn seeds(&self, file: FileKey, device: DeviceKey, user: UserKey) -> bool {
        let row = self.seeder_row(file, device);
        row.is_some_and(|s| s.user == user && self.memberships[s.membership].live.is_some())
    }
}
