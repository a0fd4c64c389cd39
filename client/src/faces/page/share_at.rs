//! Which share an address of the page is about: `/groups/GROUP/files/ID?name=NAME`. Pure.
//!
//! The id says which content. A file, and a folder that holds only that file, have the same one; the name tells them apart,
//! and is looked at only where that is needed.

use axum::extract::Query;
use axum::http::Uri;
use common::id::{FileId, FileName, GroupName};
use common::wire::client::FileSelector;
use serde::Deserialize;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ShareAt {
    pub(super) group: GroupName,
    pub(super) file_id: FileId,
    /// As the address has it; the share may have lost it since.
    pub(super) name: Option<FileName>,
}

impl ShareAt {
    /// The share that an address is about, if it is about one. What is no name counts as none.
    pub(super) fn of(path: &str, query: &str) -> Option<Self> {
        #[derive(Deserialize)]
        struct Named {
            name: FileName,
        }
        let (group, file_id) = path.trim_matches('/').strip_prefix("groups/")?.split_once("/files/")?;
        let uri = format!("/?{query}").parse::<Uri>().ok();
        let named = uri.and_then(|uri| Query::<Named>::try_from_uri(&uri).ok());
        Some(Self {
            group: group.parse().ok()?,
            file_id: file_id.parse().ok()?,
            name: named.map(|Query(named)| named.name),
        })
    }
}

/// A share as the field of a form has it, and a command reads it back: no name begins with `id:` (see [`FileName`]).
pub(super) fn field(share: &FileSelector) -> String {
    match share {
        FileSelector::Name(name) => name.as_str().to_owned(),
        id @ FileSelector::IdPrefix(_) => id.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_says_which_share() {
        let path = format!("/groups/lab/files/{}", "ab".repeat(32));
        let name = |query: &str| ShareAt::of(&path, query).expect("a share").name.map(|name| name.as_str().to_owned());
        assert_eq!(name("name=a%20b%2Epdf&under=c"), Some("a b.pdf".to_owned()));
        for none in ["", "name=", "name=a%2Fb", "name=..", "under=a"] {
            assert_eq!(name(none), None, "{none}");
        }
        for other in ["/groups/lab", "/groups/lab/files/abcd", "/groups/../files/x"] {
            assert_eq!(ShareAt::of(other, "name=a"), None, "{other}");
        }
    }
}
