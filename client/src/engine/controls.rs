//! What a person has set, as it holds now: kept in the file, and applied to the rooms.
//!
//! Invariant: what is in the file and what holds are changed together, one change at a time, where whoever gives up waiting
//! (Ctrl-C) cannot come between. What the command line or the environment said at the start holds until somebody says
//! something else, and again from the next start.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use common::id::{GroupId, GroupName};
use tokio::sync::Notify;

use crate::download::{DownloadId, Downloads};
use crate::error::Error;
use crate::settings::limit::{DAY, Hours, Limit, Rate, parse_limit, written};
use crate::settings::{Direction, Given, GroupLimit, Origin, SettingName, Settings, UploadSlots, Values, Ways};
use crate::share::Shares;
use crate::transfer::Limits;
use crate::transfer::rate::RateLimit;

/// How long a limit by the clock may be late when somebody sets the clock.
const LOOK: Duration = Duration::from_secs(60);

/// See the module. Clones are the same.
#[derive(Clone)]
pub(crate) struct Controls(Arc<Inner>);

struct Inner {
    // Immutable.
    settings: Settings,
    given: Given,
    limits: Limits,
    shares: Shares,
    downloads: Downloads,
    // Each guards itself.
    /// Held while the file and what holds are changed.
    changing: Mutex<()>,
    active: Mutex<Active>,
    changed: Notify,
}

/// The rooms that keep to what is set.
pub(crate) struct Governed {
    /// The limits of the client, its groups and its shares.
    pub(crate) limits: Limits,
    /// Which serve so many at a time.
    pub(crate) shares: Shares,
    /// Which have limits of their own.
    pub(crate) downloads: Downloads,
}

/// What holds, and where it comes from.
#[derive(Debug, Clone)]
pub(crate) struct Active {
    pub(crate) limit: Ways<Limit>,
    pub(crate) groups: BTreeMap<GroupId, GroupLimit>,
    pub(crate) slots: UploadSlots,
    origins: [Origin; SettingName::ALL.len()],
}

impl Active {
    /// What the file says, where nothing that was given goes before it.
    pub(crate) fn new(values: Values, given: &Given) -> Self {
        let Values { limit, groups, seeding_slots, .. } = values;
        let is_set = [limit.up.is_some(), limit.down.is_some(), seeding_slots.is_some()];
        let mut active = Self {
            limit: Ways { up: limit.up.unwrap_or_default(), down: limit.down.unwrap_or_default() },
            groups,
            slots: seeding_slots.unwrap_or_default(),
            origins: is_set.map(|is_set| if is_set { Origin::File } else { Origin::Default }),
        };
        for direction in Direction::ALL {
            if let Some((rate, origin)) = given.limit.of(direction) {
                *active.limit.of_mut(direction) = Limit::always(*rate);
                active.note(limit_of(direction), *origin);
            }
        }
        if let Some((slots, origin)) = given.slots {
            active.slots = slots;
            active.note(SettingName::SeedingSlots, origin);
        }
        active
    }

    /// Where a value comes from.
    pub(crate) fn origin(&self, name: SettingName) -> Origin {
        SettingName::ALL.iter().position(|n| *n == name).map_or(Origin::Default, |at| self.origins[at])
    }

    fn note(&mut self, name: SettingName, origin: Origin) {
        if let Some(at) = SettingName::ALL.iter().position(|n| *n == name) {
            self.origins[at] = origin;
        }
    }

    /// A setting as it is typed.
    pub(crate) fn value(&self, name: SettingName) -> String {
        match name {
            SettingName::LimitUp => written(self.limit.up.rate),
            SettingName::LimitDown => written(self.limit.down.rate),
            SettingName::SeedingSlots => self.slots.to_string(),
        }
    }

    /// Whether a setting has another value at some hours.
    pub(crate) fn follows_the_clock(&self, name: SettingName) -> bool {
        match name {
            SettingName::LimitUp => !self.limit.up.windows.is_empty(),
            SettingName::LimitDown => !self.limit.down.windows.is_empty(),
            SettingName::SeedingSlots => false,
        }
    }

    /// Minutes from `minute` on until another limit may hold.
    fn until_next(&self, minute: u16) -> Option<u16> {
        let groups = self.groups.values().map(|group| &group.limit);
        let all = groups.chain([&self.limit]).flat_map(|ways| [&ways.up, &ways.down]);
        all.filter_map(|limit| limit.until_next(minute)).min()
    }
}

/// The setting that is the limit of a direction.
const fn limit_of(direction: Direction) -> SettingName {
    match direction {
        Direction::Up => SettingName::LimitUp,
        Direction::Down => SettingName::LimitDown,
    }
}

/// Minutes of the day and seconds of the minute, in local time.
fn now() -> (u16, u64) {
    let now = jiff::Zoned::now();
    let minute = i16::from(now.hour()) * 60 + i16::from(now.minute());
    (minute.unsigned_abs() % DAY, u64::from(now.second().unsigned_abs()))
}

/// The minute of the day, in local time.
pub(crate) fn minute_now() -> u16 {
    now().0
}

impl Controls {
    /// What `values` of the file and what was `given` come to. Applied at once.
    pub(crate) fn new(settings: Settings, values: Values, given: Given, governed: Governed) -> Self {
        let Governed { limits, shares, downloads } = governed;
        let active = Active::new(values, &given);
        let inner = Inner {
            settings,
            given,
            limits,
            shares,
            downloads,
            changing: Mutex::default(),
            active: Mutex::new(active),
            changed: Notify::new(),
        };
        let controls = Self(Arc::new(inner));
        controls.apply(minute_now());
        controls
    }

    /// The file.
    pub(crate) fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// What holds.
    pub(crate) fn active(&self) -> Active {
        self.locked().clone()
    }

    /// What was said at the start of this setting, where that goes before the file at the next one.
    pub(crate) fn overridden_by(&self, name: SettingName) -> Option<Origin> {
        match name {
            SettingName::LimitUp => self.0.given.limit.up.map(|(_, origin)| origin),
            SettingName::LimitDown => self.0.given.limit.down.map(|(_, origin)| origin),
            SettingName::SeedingSlots => self.0.given.slots.map(|(_, origin)| origin),
        }
    }

    /// Limits the whole client, or a group. Blocks on the disk.
    ///
    /// # Errors
    /// When it cannot be kept; then nothing is changed.
    pub(crate) fn limit(
        &self,
        direction: Direction,
        group: Option<(GroupId, &GroupName)>,
        rate: Rate,
        hours: &[Hours],
    ) -> Result<(), Error> {
        let _one = self.0.changing.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.settings.set_limit(direction, group, rate, hours)?;
        // With hours, what the file says besides holds as well, from now on: not what was said at the start.
        let kept = self.0.settings.read().ok().map(|values| values.limit.of(direction).clone().unwrap_or_default());
        let mut active = self.locked();
        if let Some((id, name)) = group {
            let known = active.groups.entry(id).or_default();
            known.name = name.to_string();
            known.limit.of_mut(direction).change(rate, hours);
        } else {
            match kept {
                Some(kept) => *active.limit.of_mut(direction) = kept,
                None => active.limit.of_mut(direction).change(rate, hours),
            }
            active.note(limit_of(direction), Origin::File);
        }
        drop(active);
        self.apply_and_tell();
        Ok(())
    }

    /// Limits one download. Blocks on the disk.
    ///
    /// # Errors
    /// When there is no such download, or it cannot be kept; then nothing is changed.
    pub(crate) fn limit_download(
        &self,
        id: DownloadId,
        direction: Direction,
        rate: Rate,
        hours: &[Hours],
    ) -> Result<(), Error> {
        let _one = self.0.changing.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.downloads.limit(id, direction, rate, hours)?;
        self.apply_and_tell();
        Ok(())
    }

    /// Sets a setting; the word `default` takes it out of the file. Blocks on the disk.
    ///
    /// # Errors
    /// When the value is none, or cannot be kept; then nothing is changed.
    pub(crate) fn set(&self, name: SettingName, value: &str) -> Result<(), Error> {
        if value == "default" {
            return self.unset(name);
        }
        let wrong = |why: String| Error::InvalidArgument(format!("{why}; or `default`"));
        match name {
            SettingName::LimitUp => self.limit(Direction::Up, None, parse_limit(value).map_err(wrong)?, &[]),
            SettingName::LimitDown => self.limit(Direction::Down, None, parse_limit(value).map_err(wrong)?, &[]),
            SettingName::SeedingSlots => {
                let slots: UploadSlots = value.parse().map_err(wrong)?;
                let _one = self.0.changing.lock().unwrap_or_else(PoisonError::into_inner);
                self.0.settings.set_slots(slots)?;
                let mut active = self.locked();
                active.slots = slots;
                active.note(name, Origin::File);
                drop(active);
                self.apply_and_tell();
                Ok(())
            }
        }
    }

    fn unset(&self, name: SettingName) -> Result<(), Error> {
        let _one = self.0.changing.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.settings.unset(name)?;
        let mut active = self.locked();
        match name {
            SettingName::LimitUp => active.limit.up = Limit::default(),
            SettingName::LimitDown => active.limit.down = Limit::default(),
            SettingName::SeedingSlots => active.slots = UploadSlots::default(),
        }
        active.note(name, Origin::Default);
        drop(active);
        self.apply_and_tell();
        Ok(())
    }

    fn apply_and_tell(&self) {
        self.apply(minute_now());
        // After it has been lifted.
        self.locked().groups.retain(|_, group| group.limit != Ways::default());
        self.0.changed.notify_one();
    }

    /// Makes the rooms keep to what holds at a minute of the day.
    fn apply(&self, minute: u16) {
        let active = self.locked();
        let set = |limit: &RateLimit, rate: Rate| {
            if limit.get() != rate {
                limit.set(rate);
            }
        };
        set(&self.0.limits.up, active.limit.up.at(minute));
        set(&self.0.limits.down, active.limit.down.at(minute));
        for (id, GroupLimit { limit, .. }) in &active.groups {
            let rates = self.0.limits.of(*id);
            set(&rates.up, limit.up.at(minute));
            set(&rates.down, limit.down.at(minute));
        }
        self.0.shares.set_slots(active.slots.0);
        self.0.downloads.apply_limits(minute);
    }

    /// Minutes from `minute` on until another limit may hold.
    fn until_next(&self, minute: u16) -> Option<u16> {
        let next = [self.locked().until_next(minute), self.0.downloads.until_next_limit(minute)];
        next.into_iter().flatten().min()
    }

    /// Applies what the clock changes, and calls `changed` each time. Sleeps while there is nothing that it could change.
    pub(crate) async fn follow_clock(self, changed: impl Fn()) {
        let mut before = self.rates();
        loop {
            let (minute, second) = now();
            self.apply(minute);
            let holds = self.rates();
            if holds != before {
                before = holds;
                changed();
            }
            let next = self.until_next(minute).map(|minutes| u64::from(minutes) * 60 - second);
            tokio::select! {
                () = self.0.changed.notified() => {}
                () = sleep_for(next.map(Duration::from_secs)) => {}
            }
        }
    }

    fn rates(&self) -> (Rate, Rate) {
        (self.0.limits.up.get(), self.0.limits.down.get())
    }

    fn locked(&self) -> MutexGuard<'_, Active> {
        self.0.active.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// For so long, and no longer than a set clock may go unnoticed; for ever where there is nothing to wait for.
async fn sleep_for(time: Option<Duration>) {
    match time {
        Some(time) => tokio::time::sleep(time.min(LOOK)).await,
        None => std::future::pending().await,
    }
}
