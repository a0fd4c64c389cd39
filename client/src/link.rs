//! Links to shares: `shoal:<group>/<file id>`, as people pass them on; with `/` and a path, to what is there in a folder. They
//! carry no right: who follows one has to be a member of the group. Pure, and the only place that reads or writes them.

use std::fmt;
use std::str::FromStr;

use common::escape::Escaped;
use common::id::{FileId, GroupName};
use common::tree::TreePath;

/// What a link begins with.
const SCHEME: &str = "shoal:";

/// A share, by its group and its content, or something in a folder that is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareLink {
    /// Where it is shared.
    pub group: GroupName,
    /// Its content.
    pub file_id: FileId,
    /// Where it is in a folder.
    pub path: Option<TreePath>,
}

impl ShareLink {
    /// The link to a share.
    pub fn new(group: GroupName, file_id: FileId) -> Self {
        Self { group, file_id, path: None }
    }

    /// Whether `text` is meant as a link, a good one or not: no group and no file of a command begins so.
    pub fn is_meant(text: &str) -> bool {
        text.get(..SCHEME.len()).is_some_and(|start| start.eq_ignore_ascii_case(SCHEME))
    }
}

impl fmt::Display for ShareLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}/{}", self.group.as_str(), self.file_id)?;
        self.path.iter().try_for_each(|path| write!(f, "/{}", path.as_str()))
    }
}

impl FromStr for ShareLink {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| {
            format!(
                "`{}` is no link to a share: {why}; one looks like shoal:<group>/<64 digits of a file id>, as `info` shows it",
                Escaped(text)
            )
        };
        let trimmed = text.trim();
        if !Self::is_meant(trimmed) {
            return Err(wrong("it does not begin with `shoal:`"));
        }
        // Programs that take links for addresses add slashes, and may end them with one.
        let rest = trimmed[SCHEME.len()..].trim_start_matches('/').trim_end_matches('/');
        let (group, rest) = rest.split_once('/').ok_or_else(|| wrong("it has no group, or no file id"))?;
        let (file_id, path) = rest.split_once('/').map_or((rest, None), |(file_id, path)| (file_id, Some(path)));
        Ok(Self {
            group: group.parse().map_err(|_| wrong("its group is no name of a group"))?,
            file_id: file_id.parse().map_err(|_| wrong("its file id is not 64 hexadecimal digits"))?,
            path: path
                .map(str::parse)
                .transpose()
                .map_err(|_| wrong("what follows its file id is no path in a folder"))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> String {
        "ab".repeat(32)
    }

    #[test]
    fn what_is_written_is_read_back() {
        for group in ["lab", "a.b_c-9", "lab~0a1b2c3d"] {
            let link = ShareLink::new(group.parse().expect("a name"), FileId::new([0xab; 32]));
            assert_eq!(link.to_string(), format!("shoal:{group}/{}", id()));
            let below = ShareLink { path: Some("a b/c.rs".parse().expect("a path")), ..link.clone() };
            assert_eq!(below.to_string(), format!("shoal:{group}/{}/a b/c.rs", id()));
            for link in [link, below] {
                assert_eq!(link.to_string().parse(), Ok(link));
            }
        }
    }

    #[test]
    fn what_mail_programs_make_of_a_link_is_understood() {
        let link: ShareLink = format!("shoal:lab/{}", id()).parse().expect("a link");
        for text in ["shoal://lab/{}", " SHOAL:lab/{} ", "shoal:///lab/{}/", "Shoal:lab/{}\n"] {
            assert_eq!(text.replace("{}", &id()).parse(), Ok(link.clone()), "{text}");
        }
    }

    #[test]
    fn everything_else_is_refused_with_the_reason() {
        for (text, why) in [
            ("", "does not begin"),
            ("lab/a.bin", "does not begin"),
            ("shoal", "does not begin"),
            ("shoal:", "no group, or no file id"),
            ("shoal:lab", "no group, or no file id"),
            ("shoal:lab/", "no group, or no file id"),
            ("shoal:lab/abcd", "64 hexadecimal digits"),
            ("shoal:../{}", "no name of a group"),
            ("shoal:lab/x/{}", "64 hexadecimal digits"),
            ("shoal:lab/{}0", "64 hexadecimal digits"),
            ("shoal:lab/{}/../x", "no path in a folder"),
            ("shoal:lab/{}//x", "no path in a folder"),
            ("shoal:l\u{1b}ab/{}", "no name of a group"),
            ("säoal:lab/{}", "does not begin"),
        ] {
            let refused = text.replace("{}", &id()).parse::<ShareLink>().expect_err(text);
            assert!(refused.contains(why) && !refused.contains('\u{1b}'), "{text}: {refused}");
        }
        assert!(ShareLink::is_meant("shoal:") && !ShareLink::is_meant("shoa") && !ShareLink::is_meant("lab"));
    }
}
