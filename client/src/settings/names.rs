//! The settings by name: what each is, and where its value may come from.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// A setting, as it is typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[value(rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum SettingName {
    /// What this client sends.
    LimitUp,
    /// What it fetches.
    LimitDown,
    /// How many it serves at a time.
    SeedingSlots,
}

impl SettingName {
    /// All, in the order in which they are shown.
    pub const ALL: [Self; 3] = [Self::LimitUp, Self::LimitDown, Self::SeedingSlots];

    /// As it is typed.
    pub const fn word(self) -> &'static str {
        match self {
            Self::LimitUp => "limit_up",
            Self::LimitDown => "limit_down",
            Self::SeedingSlots => "seeding_slots",
        }
    }

    /// Where it is in the file: table and key.
    pub(super) const fn place(self) -> (&'static str, &'static str) {
        match self {
            Self::LimitUp => ("limit", "up"),
            Self::LimitDown => ("limit", "down"),
            Self::SeedingSlots => ("seeding", "slots"),
        }
    }

    /// The environment variable that goes before the file.
    pub const fn variable(self) -> &'static str {
        match self {
            Self::LimitUp => "SHOAL_LIMIT_UP",
            Self::LimitDown => "SHOAL_LIMIT_DOWN",
            Self::SeedingSlots => "SHOAL_SEEDING_SLOTS",
        }
    }

    /// The option that goes before both.
    pub const fn option(self) -> &'static str {
        match self {
            Self::LimitUp => "--limit-up",
            Self::LimitDown => "--limit-down",
            Self::SeedingSlots => "--seeding-slots",
        }
    }

    /// What it is, for people.
    pub const fn about(self) -> &'static str {
        match self {
            Self::LimitUp => "bytes per second that are sent to others, such as 500K or 10M, or off",
            Self::LimitDown => "bytes per second that are fetched from others, or off",
            Self::SeedingSlots => "uploads at the same time, while others wait for their turn; off is without bound",
        }
    }
}

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// It is nowhere set.
    Default,
    /// settings.toml.
    File,
    /// A variable of the environment that the client was started in.
    Environment,
    /// The client's command line.
    Flag,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_typed_as_it_is_shown() {
        let names = SettingName::ALL.map(|name| name.to_possible_value().map(|value| value.get_name().to_owned()));
        assert_eq!(names, SettingName::ALL.map(|name| Some(name.word().to_owned())));
        assert_eq!(SettingName::value_variants(), SettingName::ALL);
    }
}
