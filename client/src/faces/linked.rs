//! A link in place of a group and a share: which commands take one, and what it stands for. Pure.

use std::any::TypeId;

use clap::{Arg, Command};

use crate::engine::command::{Argument, ShareFile};
use crate::error::Error;
use crate::link::ShareLink;

/// The argument that names a share, of a command that begins with a group and that: a link may stand for both.
pub(super) fn share_argument(command: &Command) -> Option<&Arg> {
    let mut positionals = command.get_positionals();
    let (group, share) = (positionals.next()?, positionals.next()?);
    let names_share = group.get_id() == "group" && Argument::of(share.get_id().as_str()) == Argument::File;
    names_share.then_some(share)
}

/// Whether that argument may name something in a folder.
pub(super) fn takes_path(share: &Arg) -> bool {
    share.get_value_parser().type_id() == TypeId::of::<ShareFile>()
}

/// The words that `text`, a link, stands for: a group, and what its argument `share` is to be.
///
/// # Errors
/// When it is no link, or one into a folder where that makes no sense.
pub(super) fn expanded(text: &str, share: &Arg) -> Result<[String; 2], Error> {
    let ShareLink { group, file_id, path } = text.parse().map_err(Error::InvalidArgument)?;
    let file = match path {
        None => format!("id:{file_id}"),
        Some(path) if takes_path(share) => format!("id:{file_id}/{}", path.as_str()),
        Some(_) => {
            let text = "this is about a whole share: leave out what follows the file id in the link";
            return Err(Error::InvalidArgument(text.to_owned()));
        }
    };
    Ok([group.as_str().to_owned(), file])
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::engine::command::Line;

    #[test]
    fn every_command_with_a_group_and_a_share_takes_a_link() {
        let table = Line::command();
        let taking = table.get_subcommands().filter_map(|c| Some((c.get_name(), takes_path(share_argument(c)?))));
        let expected =
            [("list_files", true), ("download_file", true), ("stop_share", false), ("info", false), ("verify", false)];
        assert_eq!(taking.collect::<Vec<_>>(), expected);
    }
}
