//! What a row of news says of a share, new or a new version, and the line that fetches a new version over an older one that this
//! device has.

use std::path::Path;

use common::id::{FileId, FileName, GroupName, UserName};
use common::wire::client::{Happened, NewsRow as Row};

use crate::engine::command::as_argument;

/// What was shared.
#[derive(Debug, Clone, Copy)]
pub(in crate::engine) struct Shared<'a> {
    pub(in crate::engine) name: &'a FileName,
    /// By whom.
    pub(in crate::engine) user: &'a UserName,
    pub(in crate::engine) file_id: FileId,
    pub(super) size: u64,
    /// Whether it has taken the place of what had its name.
    pub(super) new_version: bool,
}

/// What a row says was shared, if that is what it is about.
pub(in crate::engine) const fn shared(row: &Row) -> Option<Shared<'_>> {
    match &row.what {
        Happened::FileShared { name, size, file_id, user, .. }
        | Happened::NewVersion { name, size, file_id, user, .. } => Some(Shared {
            name,
            user,
            file_id: *file_id,
            size: *size,
            new_version: matches!(row.what, Happened::NewVersion { .. }),
        }),
        Happened::JoinRequested { .. }
        | Happened::Accepted
        | Happened::Rejected
        | Happened::Removed
        | Happened::MadeAdmin
        | Happened::InvitationUsed { .. } => None,
    }
}

/// The line that fetches a new version over an older one, which lies at `older` if that is a place to fetch to; of a folder
/// perhaps only in `part`.
pub(super) fn how_to_fetch(group: &GroupName, name: &FileName, older: Option<&Path>, part: bool) -> String {
    let is_called_so = |older: &&Path| older.file_name().is_some_and(|called| called == name.as_str());
    let beside = older.filter(is_called_so).and_then(Path::parent).and_then(Path::to_str);
    let destination = beside.map_or_else(|| "<destination>".to_owned(), as_argument);
    let only = if part { "--only <glob> " } else { "" };
    format!("`download_file --force {only}{group} {} {destination}` fetches what changed", as_argument(name.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_version_is_fetched_over_the_older_one_where_that_has_its_name() {
        let lab: GroupName = "lab".parse().expect("a name");
        for (name, older, part, wanted) in [
            ("my src", Some("/home/bob/my src"), false, "lab 'my src' /home/bob"),
            ("my src", Some("/home/bob b/my src"), true, "--only <glob> lab 'my src' '/home/bob b'"),
            ("my src", Some("/home/bob/other"), false, "lab 'my src' <destination>"),
            ("my src", None, false, "lab 'my src' <destination>"),
            ("-x", Some("/home/bob/-x"), false, "lab -- -x /home/bob"),
        ] {
            let line = how_to_fetch(&lab, &name.parse().expect("a name"), older.map(Path::new), part);
            assert_eq!(line, format!("`download_file --force {wanted}` fetches what changed"));
        }
    }
}
