//! A time as scripts see it: RFC 3339 in UTC, to the second.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A time in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(pub u64);

impl Moment {
    /// How long ago it is by this machine's clock; nothing, where it is in the future.
    pub fn age(self) -> Duration {
        let then = UNIX_EPOCH.checked_add(Duration::from_secs(self.0));
        then.and_then(|then| SystemTime::now().duration_since(then).ok()).unwrap_or_default()
    }
}

/// One that is out of any calendar is shown as its number of seconds.
impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = i64::try_from(self.0).ok().and_then(|s| OffsetDateTime::from_unix_timestamp(s).ok());
        match time.and_then(|time| time.format(&Rfc3339).ok()) {
            Some(text) => f.write_str(&text),
            None => write!(f, "{}", self.0),
        }
    }
}

impl Moment {
    /// As people write it, to the minute: `2024-05-17 09:03 UTC`.
    pub fn minute(self) -> String {
        let text = self.to_string();
        text.get(..16).map_or_else(|| text.clone(), |minute| format!("{} UTC", minute.replace('T', " ")))
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        let parsed = OffsetDateTime::parse(&text, &Rfc3339).ok().and_then(|t| u64::try_from(t.unix_timestamp()).ok());
        let seconds = parsed.or_else(|| text.parse().ok());
        seconds.map(Self).ok_or_else(|| de::Error::custom(format!("{text:?} is not a time of RFC 3339")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_as_rfc_3339_in_utc_and_read_back() {
        assert_eq!(Moment(1_700_000_000).to_string(), "2023-11-14T22:13:20Z");
        assert_eq!(Moment(u64::MAX).to_string(), u64::MAX.to_string());
        for moment in [Moment(0), Moment(1_700_000_000), Moment(u64::MAX)] {
            let json = serde_json::to_string(&moment).expect("text");
            assert_eq!(serde_json::from_str::<Moment>(&json).expect("a time"), moment);
        }
        assert!(serde_json::from_str::<Moment>("\"yesterday\"").is_err());
    }

    #[test]
    fn what_is_to_come_is_not_ago() {
        assert_eq!(Moment(u64::MAX).age(), Duration::ZERO);
        assert!(Moment(0).age() > Duration::from_secs(1_700_000_000));
    }
}
