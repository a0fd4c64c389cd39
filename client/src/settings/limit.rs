//! A limit, and the times of day at which it is another one. Pure.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

use common::escape::Escaped;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::units;

/// Minutes of a day.
pub const DAY: u16 = 24 * 60;

/// A part of the day, in minutes of local time: from one to another that is not in it; over midnight where the end is
/// before the beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hours {
    from: u16,
    until: u16,
}

impl Hours {
    /// Whether a minute of the day is in it.
    pub fn contains(self, minute: u16) -> bool {
        if self.from < self.until {
            (self.from..self.until).contains(&minute)
        } else {
            minute >= self.from || minute < self.until
        }
    }
}

impl FromStr for Hours {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        let wrong = || format!("`{}` is no part of a day; write it like 08:00-18:00 or 22:00-06:00", Escaped(s));
        let (from, until) = s.split_once('-').ok_or_else(wrong)?;
        let (from, until) = minute(from).zip(minute(until)).ok_or_else(wrong)?;
        if from == until || from == DAY {
            return Err(wrong());
        }
        Ok(Self { from, until })
    }
}

/// `08:00`, or `8`; 24:00 is the end of a day.
fn minute(text: &str) -> Option<u16> {
    let (hour, minute) = text.trim().split_once(':').unwrap_or((text.trim(), "0"));
    let is_number = |text: &str| !text.is_empty() && text.len() <= 2 && text.bytes().all(|b| b.is_ascii_digit());
    if !is_number(hour) || !is_number(minute) {
        return None;
    }
    let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
    let minutes = hour * 60 + minute;
    (minute < 60 && minutes <= DAY).then_some(minutes)
}

impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, until } = self;
        write!(f, "{:02}:{:02}-{:02}:{:02}", from / 60, from % 60, until / 60, until % 60)
    }
}

/// As it has to be typed.
impl Serialize for Hours {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hours {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What may pass, in bytes per second; `None` is no limit.
pub type Rate = Option<NonZeroU64>;

/// A limit by the time of day.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "Saved", into = "Saved")]
pub struct Limit {
    /// Outside of all windows.
    pub rate: Rate,
    /// At these hours, in their order.
    pub windows: Vec<(Hours, Rate)>,
}

/// A limit as it is kept with a download: a number, unless it follows the clock.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Saved {
    Always(Rate),
    ByHours { rate: Rate, at: Vec<(Hours, Rate)> },
}

impl From<Limit> for Saved {
    fn from(Limit { rate, windows }: Limit) -> Self {
        if windows.is_empty() { Self::Always(rate) } else { Self::ByHours { rate, at: windows } }
    }
}

impl From<Saved> for Limit {
    fn from(saved: Saved) -> Self {
        match saved {
            Saved::Always(rate) => Self::always(rate),
            Saved::ByHours { rate, at } => Self { rate, windows: at },
        }
    }
}

impl Limit {
    /// The same at any time.
    pub const fn always(rate: Rate) -> Self {
        Self { rate, windows: Vec::new() }
    }

    /// Whether it never limits anything.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// What holds at a minute of the day: where windows overlap, the smallest.
    pub fn at(&self, minute: u16) -> Rate {
        let mut inside = self.windows.iter().filter(|(hours, _)| hours.contains(minute)).peekable();
        if inside.peek().is_none() { self.rate } else { inside.filter_map(|(_, rate)| *rate).min() }
    }

    /// Makes it another one: at these hours, or where there are none, at any time.
    pub fn change(&mut self, rate: Rate, hours: &[Hours]) {
        if hours.is_empty() {
            *self = Self::always(rate);
        }
        for hours in hours {
            self.windows.retain(|(known, _)| known != hours);
            self.windows.push((*hours, rate));
        }
        self.windows.sort_unstable();
    }

    /// Minutes from `minute` on until another rate may hold; `None` where none ever does.
    pub fn until_next(&self, minute: u16) -> Option<u16> {
        let ends = self.windows.iter().flat_map(|(hours, _)| [hours.from, hours.until % DAY]);
        ends.map(|end| (end + DAY - minute - 1) % DAY + 1).min()
    }
}

/// A limit as typed: a rate in bytes per second, or `off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaxRate(pub Rate);

impl FromStr for MaxRate {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        parse_limit(s).map(Self)
    }
}

/// As it has to be typed.
impl Serialize for MaxRate {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Some(rate) => s.serialize_u64(rate.get()),
            None => s.serialize_str("off"),
        }
    }
}

/// A rate, or `off`.
///
/// # Errors
/// With a sentence that says what is accepted.
pub(crate) fn parse_limit(text: &str) -> Result<Rate, String> {
    if text.trim() == "off" {
        return Ok(None);
    }
    units::parse_rate(text).map(Some).map_err(|e| format!("{e}, or `off`"))
}

/// A rate as it is read back.
pub(crate) fn written(rate: Rate) -> String {
    rate.map_or_else(|| "off".to_owned(), |rate| units::exact(rate.get()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hours(text: &str) -> Hours {
        text.parse().expect(text)
    }

    fn rate(n: u64) -> Rate {
        NonZeroU64::new(n)
    }

    #[test]
    fn hours_are_read_and_written() {
        for (text, written) in [
            ("08:00-18:00", "08:00-18:00"),
            ("8-18", "08:00-18:00"),
            ("22:30-6:15", "22:30-06:15"),
            ("18:00-24:00", "18:00-24:00"),
            (" 8:00 - 9:00 ", "08:00-09:00"),
        ] {
            assert_eq!(hours(text).to_string(), written);
            assert_eq!(hours(written), hours(text));
        }
        for bad in ["", "8", "8-8", "08:00-08:00", "24:00-25:00", "24-1", "8:60-9", "-1-2", "8-+9", "a-b", "8:0:0-9"] {
            assert!(bad.parse::<Hours>().is_err(), "{bad}");
        }
    }

    #[test]
    fn at_these_hours_the_window_counts_and_otherwise_the_plain_limit() {
        let mut limit = Limit::always(rate(10));
        limit.change(rate(1), &[hours("08:00-18:00")]);
        limit.change(None, &[hours("22:00-06:00")]);
        limit.change(rate(5), &[hours("17:00-23:00")]);
        for (hour, expected) in [
            (7, rate(10)),
            (8, rate(1)),
            (17, rate(1)),
            (18, rate(5)),
            (22, rate(5)),
            (23, None),
            (5, None),
            (6, rate(10)),
        ] {
            assert_eq!(limit.at(hour * 60), expected, "{hour}");
        }
        limit.change(rate(2), &[hours("8-18")]);
        assert_eq!((limit.at(9 * 60), limit.windows.len()), (rate(2), 3), "in the place of the same hours");
        limit.change(rate(7), &[]);
        assert_eq!(limit, Limit::always(rate(7)), "a line without hours holds at all of them");
    }

    #[test]
    fn what_is_kept_with_a_download_is_read_back() {
        let mut limit = Limit::always(rate(10));
        for (hours, written) in [(&[][..], "10"), (&[hours("8-18")], r#"{"rate":10,"at":[["08:00-18:00",3]]}"#)] {
            if !hours.is_empty() {
                limit.change(rate(3), hours);
            }
            assert_eq!(serde_json::to_string(&limit).expect("text"), written);
            assert_eq!(serde_json::from_str::<Limit>(written).expect("a limit"), limit);
        }
        assert!(serde_json::from_str::<Limit>("null").expect("a limit").is_none());
        for bad in ["0", "-1", "\"10\"", r#"{"rate":10,"at":[["8-8",3]]}"#, r#"{"rate":10}"#] {
            assert!(serde_json::from_str::<Limit>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_next_change_is_never_now() {
        let mut limit = Limit::default();
        assert_eq!(limit.until_next(3), None);
        limit.change(rate(1), &[hours("08:00-24:00")]);
        for (minute, left) in [(0, 480), (479, 1), (480, 960), (1439, 1)] {
            assert_eq!(limit.until_next(minute), Some(left), "{minute}");
        }
    }
}
