//! What happens to shares without the user's doing, as a sentence for people.

use std::fmt;
use std::path::PathBuf;

use common::id::{FileName, GroupName};

use super::NamedFiles;
use crate::error::shown;

/// Most files that a sentence about a changed folder names.
pub(super) const NAMED: usize = 5;

/// A share is no longer seeded by this device, or not as before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Where it was shared.
    pub group: GroupName,
    /// Under which name.
    pub name: FileName,
    /// Where the file lies, or lay.
    pub path: PathBuf,
    /// Why.
    pub reason: Withdrawal,
}

/// Why a share is no longer seeded, or what is different.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Withdrawal {
    /// The file's content is not what was shared; or these files of a folder are not, and nothing can be given without them.
    Modified(NamedFiles),
    /// Some files of the folder are not what was shared. The rest is seeded.
    FilesModified(NamedFiles),
    /// The file is gone or cannot be read; what the system said.
    Unreadable(String),
    /// It is a key, or has keys in it; which, and why it is one. An earlier release shared such things.
    Secret(String),
    /// The user left the group.
    Left,
    /// The group calls it so: another file has its name. It is seeded as before.
    Renamed(FileName),
    /// The trackers do not let this device seed it: the user is no longer a member of the group, or the share was
    /// withdrawn there. This device keeps it, and asks again.
    Refused(String),
}

impl Notice {
    /// What it is called now, if that is all that has changed.
    pub(crate) const fn new_name(&self) -> Option<&FileName> {
        if let Withdrawal::Renamed(to) = &self.reason { Some(to) } else { None }
    }
}

/// What helps where what is there is not what was shared.
const MENDS: &str = "`upload_file --replace`, by whoever shared it or the admin, shares what is there now, and `download_file --force` \
                     brings back what was shared, from others who have it";

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { group, name, path, reason } = self;
        let path = shown(path);
        if let Withdrawal::FilesModified(files) = reason {
            return write!(f, "`{name}` in `{group}` is no longer shared whole: {}", modified(files));
        }
        if let Withdrawal::Renamed(to) = reason {
            return write!(
                f,
                "the name `{name}` went to another file of `{group}`; yours is `{to}` there now, and is shared as before"
            );
        }
        write!(f, "`{name}` is no longer shared in `{group}`: ")?;
        match reason {
            Withdrawal::FilesModified(..) | Withdrawal::Renamed(_) => Ok(()),
            Withdrawal::Modified(files) => write!(f, "{}", modified_whole(&path, files)),
            Withdrawal::Unreadable(why) => write!(f, "{}", unreadable(&path, why)),
            Withdrawal::Secret(which) => write!(
                f,
                "{which}. Members may have fetched it: who was logged in there has to log in anew with another password, and of a \
                 cluster's secret the trackers need a new one. Of a folder, `upload_file --replace` shares the rest"
            ),
            Withdrawal::Left => f.write_str("you left the group"),
            Withdrawal::Refused(why) => {
                write!(f, "{why}. What is here stays, and is shared again if that ends; `stop_share` forgets it")
            }
        }
    }
}

/// That nothing can be given of what lies at `path`, for these files of a folder, and what to do.
pub(super) fn modified_whole(path: &str, files: &NamedFiles) -> String {
    match files.count() {
        0 => format!("{path} was modified; {MENDS}"),
        1 => format!("{files} was modified, and no piece of the folder is without it; {MENDS}"),
        _ => format!("{files} were modified, and no piece of the folder is without them; {MENDS}"),
    }
}

/// That nothing can be read at `path`, and what becomes of that.
pub(super) fn unreadable(path: &str, why: &str) -> String {
    format!("{path} cannot be read ({why}). It is shared again once it is back as it was; `stop_share` forgets it")
}

/// Which files of a folder are no longer what was shared, and what to do.
pub(super) fn modified(files: &NamedFiles) -> String {
    let were = if files.count() == 1 { "was" } else { "were" };
    format!("{files} {were} modified; {MENDS}")
}
