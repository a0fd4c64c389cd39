//! Values of outcomes as JSON has them, there and back.

use common::wire::client::{InviteState, Mode, Relation};
use serde::Deserializer;
use serde::Serializer;
use serde::de::{Deserialize, Error};

/// A user's name as `user`; and as `claimed` what it was to be, if somebody else got that.
pub(super) mod user_name {
    use common::id::UserName;

    use super::{Deserialize, Deserializer, Serializer, named};

    #[derive(serde::Deserialize)]
    struct Named {
        user: UserName,
    }

    pub(in super::super) fn serialize<S: Serializer>(name: &UserName, s: S) -> Result<S::Ok, S::Error> {
        named("user", name.as_str(), s)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<UserName, D::Error> {
        Ok(Named::deserialize(d)?.user)
    }
}

/// A group's name as `group`; and as `claimed` what it was to be, if another group got that.
pub(super) mod group_name {
    use common::id::GroupName;

    use super::{Deserialize, Deserializer, Serializer, named};

    #[derive(serde::Deserialize)]
    struct Named {
        group: GroupName,
    }

    pub(in super::super) fn serialize<S: Serializer>(name: &GroupName, s: S) -> Result<S::Ok, S::Error> {
        named("group", name.as_str(), s)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<GroupName, D::Error> {
        Ok(Named::deserialize(d)?.group)
    }
}

fn named<S: Serializer>(key: &str, name: &str, s: S) -> Result<S::Ok, S::Error> {
    use serde::ser::SerializeMap;
    let mut map = s.serialize_map(None)?;
    map.serialize_entry(key, name)?;
    // No name that is claimed has a tilde.
    if let Some((claimed, _)) = name.rsplit_once('~') {
        map.serialize_entry("claimed", claimed)?;
    }
    map.end()
}

/// The word for a relation, as scripts and people see it.
pub(crate) const fn relation_word(relation: Relation) -> &'static str {
    match relation {
        Relation::Admin => "admin",
        Relation::Member => "member",
        Relation::Pending => "pending",
        Relation::None => "none",
    }
}

/// The word for a mode.
pub(crate) const fn mode_word(mode: Option<Mode>) -> &'static str {
    match mode {
        Some(Mode::Dual) => "dual",
        Some(Mode::Solo) => "solo",
        None => "none",
    }
}

/// The one of `all` whose word was read.
fn meant<'de, D: Deserializer<'de>, T>(d: D, all: impl IntoIterator<Item = (T, &'static str)>) -> Result<T, D::Error> {
    let read = String::deserialize(d)?;
    let found = all.into_iter().find(|(_, word)| *word == read);
    found.map(|(value, _)| value).ok_or_else(|| D::Error::custom(format!("the word {read:?} means nothing here")))
}

pub(super) mod relation {
    use super::{Deserializer, Relation, Serializer, meant, relation_word};

    pub(in super::super) fn serialize<S: Serializer>(relation: &Relation, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(relation_word(*relation))
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Relation, D::Error> {
        let all = [Relation::Admin, Relation::Member, Relation::Pending, Relation::None];
        meant(d, all.map(|relation| (relation, relation_word(relation))))
    }
}

/// The word for the state of an invitation.
pub(crate) const fn invite_word(state: InviteState) -> &'static str {
    match state {
        InviteState::Open => "open",
        InviteState::UsedUp => "used_up",
        InviteState::Expired => "expired",
        InviteState::Revoked => "revoked",
        InviteState::Closed => "closed",
    }
}

pub(super) mod invite_state {
    use super::{Deserializer, InviteState, Serializer, invite_word, meant};

    pub(in super::super) fn serialize<S: Serializer>(state: &InviteState, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(invite_word(*state))
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<InviteState, D::Error> {
        let over = [InviteState::UsedUp, InviteState::Expired, InviteState::Revoked, InviteState::Closed];
        let all = [InviteState::Open].into_iter().chain(over);
        meant(d, all.map(|state| (state, invite_word(state))))
    }
}

pub(super) mod mode {
    use super::{Deserializer, Mode, Serializer, meant, mode_word};

    pub(in super::super) fn serialize<S: Serializer>(mode: &Option<Mode>, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(mode_word(*mode))
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Mode>, D::Error> {
        let all = [Some(Mode::Dual), Some(Mode::Solo), None];
        meant(d, all.map(|mode| (mode, mode_word(mode))))
    }
}

/// A file id in lower-case hex.
pub(super) mod hex {
    use common::id::FileId;

    use super::{Deserialize, Deserializer, Error, Serializer};

    pub(in super::super) fn serialize<S: Serializer>(id: &FileId, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(id)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<FileId, D::Error> {
        String::deserialize(d)?.parse().map_err(D::Error::custom)
    }
}

/// A path, where there is one.
pub(super) fn path_if_any<S: Serializer>(path: &Option<std::path::PathBuf>, s: S) -> Result<S::Ok, S::Error> {
    match path {
        Some(path) => path::serialize(path, s),
        None => s.serialize_none(),
    }
}

/// A path; one that is not UTF-8 is shown as well as it can be.
pub(super) mod path {
    use std::path::{Path, PathBuf};

    use super::{Deserialize, Deserializer, Serializer};

    pub(in super::super) fn serialize<S: Serializer>(path: &Path, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&path.to_string_lossy())
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<PathBuf, D::Error> {
        PathBuf::deserialize(d)
    }
}

/// A file id in lower-case hex, where there is one.
pub(super) mod hex_if_any {
    use common::id::FileId;
    use serde::de::{Deserialize, Error};
    use serde::{Deserializer, Serializer};

    pub(in crate::engine::outcome) fn serialize<S: Serializer>(id: &Option<FileId>, s: S) -> Result<S::Ok, S::Error> {
        match id {
            Some(id) => s.collect_str(id),
            None => s.serialize_none(),
        }
    }

    pub(in crate::engine::outcome) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<FileId>, D::Error> {
        let text = Option::<String>::deserialize(d)?;
        text.map(|text| text.parse().map_err(D::Error::custom)).transpose()
    }
}
