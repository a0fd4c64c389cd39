//! What may be sent and fetched, and all else that is set, changed while the client runs; and whether others can reach it.

use common::id::{GroupId, GroupName};

use super::command::{Hours, MaxRate};
use super::controls::{Active, minute_now};
use super::outcome::{self, LimitRow, LimitTable, Moment, Outcome, Reach, ReachState, SettingRow};
use super::{Engine, Event};
use crate::download::DownloadId;
use crate::error::Error;
use crate::settings::limit::{Limit, Rate};
use crate::settings::{Direction, GroupLimit, SettingName, Ways};
use crate::share::{Reached, blocking};
use crate::trackers::{Directory, unexpected};

/// What is limited.
pub(super) enum Scope {
    /// All that this client sends or fetches.
    Client,
    /// What goes to or comes from members of a group.
    Group(GroupName),
    /// One download.
    Download(u64),
}

impl Engine {
    /// Limits what is sent or fetched, from now on and after the next start; of a download until it is over, or is no longer
    /// on the list.
    ///
    /// # Errors
    /// When there is no such group or download, or it cannot be kept; then nothing is changed.
    pub(super) async fn limit(
        &self,
        direction: Direction,
        MaxRate(rate): MaxRate,
        scope: Scope,
        hours: Vec<Hours>,
    ) -> Result<Outcome, Error> {
        let controls = self.controls.clone();
        match scope {
            Scope::Client => blocking(move || controls.limit(direction, None, rate, &hours)).await?,
            Scope::Group(name) => {
                // A limit of a group that this user is out of can be lifted all the same.
                let id = match self.group_id(&name).await {
                    Ok(id) if rate.is_some() || self.controls.active().groups.contains_key(&id) => id,
                    // There may be one of a group that had the name before.
                    Ok(id) => self.limited(&name).unwrap_or(id),
                    Err(Error::Refused(e)) if rate.is_none() => self.limited(&name).ok_or(Error::Refused(e))?,
                    Err(e) => return Err(e),
                };
                blocking(move || controls.limit(direction, Some((id, &name)), rate, &hours)).await?;
            }
            Scope::Download(n) => {
                blocking(move || controls.limit_download(DownloadId(n), direction, rate, &hours)).await?;
            }
        }
        self.tell(Event::Status(self.known_status()));
        Ok(Outcome::Limits(self.limit_table()))
    }

    /// The group with a limit here that is called so.
    fn limited(&self, name: &GroupName) -> Option<GroupId> {
        let (names, groups) = (self.shares.group_names(), self.controls.active().groups);
        let is_it = |(id, group): &(GroupId, crate::settings::GroupLimit)| {
            group.name.parse().is_ok_and(|known| names.means(name, *id, &known))
        };
        groups.into_iter().find(is_it).map(|(id, _)| id)
    }

    /// Which group is called so: only its members learn that.
    pub(super) async fn group_id(&self, name: &GroupName) -> Result<GroupId, Error> {
        let ticket = Directory::ticket(&self.trackers, name).await?;
        let cluster = Directory::cluster(&self.trackers).ok_or_else(unexpected)?;
        Ok(ticket.verify(&cluster).map_err(|_| unexpected())?.group)
    }

    /// All limits, and which of them hold now.
    pub(crate) fn limit_table(&self) -> LimitTable {
        let outcome::Limits { up, down } = self.known_limits();
        let minute = minute_now();
        let mut limits = rows(&self.controls.active(), minute, |id, name| {
            let name: GroupName = name.parse().ok()?;
            Some(self.shares.group_names().present(id, &name).to_string())
        });
        for (DownloadId(n), limit) in self.downloads.limits() {
            limits.extend(rows_of_all(&Whose::Download(n), &limit, minute));
        }
        LimitTable { up, down, limits }
    }

    /// Those of the whole client, whatever the clock says.
    pub(crate) fn client_limits(&self) -> Ways<Limit> {
        self.controls.active().limit
    }

    /// How many are served at a time, as it is typed.
    pub(crate) fn seeding_slots(&self) -> String {
        self.controls.active().value(SettingName::SeedingSlots)
    }

    pub(super) fn known_limits(&self) -> outcome::Limits {
        outcome::Limits { up: self.limits.up.get().map(Into::into), down: self.limits.down.get().map(Into::into) }
    }

    /// Sets a setting, from now on and after the next start.
    ///
    /// # Errors
    /// When the value is none, or cannot be kept; then nothing is changed.
    pub(super) async fn set(&self, name: SettingName, value: String) -> Result<Outcome, Error> {
        let controls = self.controls.clone();
        blocking(move || controls.set(name, &value)).await?;
        self.tell(Event::Status(self.known_status()));
        Ok(self.show(Some(name)))
    }

    /// Settings, and where their values come from.
    pub(super) fn show(&self, name: Option<SettingName>) -> Outcome {
        let active = self.controls.active();
        let wanted = SettingName::ALL.into_iter().filter(|known| name.is_none_or(|name| name == *known));
        let row = |name: SettingName| {
            let origin = active.origin(name);
            let given = self.controls.overridden_by(name).filter(|given| *given != origin);
            let (value, by_hours) = (active.value(name), active.follows_the_clock(name));
            SettingRow { name, value, from: origin, next_start: given, by_hours }
        };
        Outcome::Settings { settings: wanted.map(row).collect() }
    }

    /// Whether others can connect, as far as has been seen.
    pub(super) fn reach(&self) -> Reach {
        reach(self.shares.listen_addr().ip().is_loopback(), self.shares.reached())
    }
}

/// The limits of the client and of groups, at a minute of the day. One of the client that holds at any time is told already.
fn rows(active: &Active, minute: u16, name_of: impl Fn(GroupId, &str) -> Option<String>) -> Vec<LimitRow> {
    let mut rows: Vec<_> = Direction::ALL
        .into_iter()
        .filter(|direction| !active.limit.of(*direction).windows.is_empty())
        .flat_map(|direction| rows_of(direction, &Whose::Client, active.limit.of(direction), minute))
        .collect();
    for (id, GroupLimit { name, limit }) in &active.groups {
        let group = name_of(*id, name).unwrap_or_else(|| id.to_string());
        rows.extend(rows_of_all(&Whose::Group(group), limit, minute));
    }
    rows
}

/// Whose limit a row is of.
enum Whose {
    Client,
    Group(String),
    Download(u64),
}

/// The limits of a group or a download that there are.
fn rows_of_all(whose: &Whose, limit: &Ways<Limit>, minute: u16) -> Vec<LimitRow> {
    let limited = Direction::ALL.into_iter().filter(|direction| !limit.of(*direction).is_none());
    limited.flat_map(|direction| rows_of(direction, whose, limit.of(direction), minute)).collect()
}

/// One limit: a row for each of its hours, and one for the rest of the day.
fn rows_of(direction: Direction, whose: &Whose, limit: &Limit, minute: u16) -> Vec<LimitRow> {
    let (group, n) = match whose {
        Whose::Client => (None, None),
        Whose::Group(name) => (Some(name), None),
        Whose::Download(n) => (None, Some(*n)),
    };
    let row = |rate: Rate, at: Option<Hours>, now| LimitRow {
        direction,
        group: group.cloned(),
        n,
        rate: rate.map(Into::into),
        at: at.map(|hours| hours.to_string()),
        now,
    };
    let holds = limit.at(minute);
    let mut is_inside = false;
    let mut rows = Vec::new();
    for (hours, rate) in &limit.windows {
        let is_now = hours.contains(minute) && *rate == holds;
        is_inside |= hours.contains(minute);
        rows.push(row(*rate, Some(*hours), is_now));
    }
    rows.push(row(limit.rate, None, !is_inside));
    rows
}

fn reach(is_loopback: bool, Reached { from_elsewhere, from_here }: Reached) -> Reach {
    match (from_elsewhere, from_here) {
        (_, at) if is_loopback => Reach { state: ReachState::Loopback, at: at.map(Moment) },
        (Some(at), _) => Reach { state: ReachState::Reached, at: Some(Moment(at)) },
        (None, Some(at)) => Reach { state: ReachState::Local, at: Some(Moment(at)) },
        (None, None) => Reach::default(),
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use super::*;

    #[test]
    fn only_a_connection_from_another_machine_shows_that_others_can_reach_it() {
        let of = |is_loopback, from_elsewhere, from_here| reach(is_loopback, Reached { from_elsewhere, from_here });
        assert_eq!(of(true, None, Some(7)), Reach { state: ReachState::Loopback, at: Some(Moment(7)) });
        assert_eq!(of(false, Some(5), Some(7)), Reach { state: ReachState::Reached, at: Some(Moment(5)) });
        assert_eq!(of(false, None, Some(7)).state, ReachState::Local);
        assert_eq!(of(false, None, None), Reach::default());
    }

    #[test]
    fn of_a_limit_by_the_clock_the_row_that_holds_is_marked() {
        let mut limit = Limit::always(NonZeroU64::new(9));
        limit.change(NonZeroU64::new(1), &["8-18".parse().expect("hours")]);
        let now = |hour: u16| {
            rows_of(Direction::Up, &Whose::Client, &limit, hour * 60).iter().map(|r| r.now).collect::<Vec<_>>()
        };
        assert_eq!((now(9), now(19)), (vec![true, false], vec![false, true]));
    }
}
