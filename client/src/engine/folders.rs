//! What is in a folder that a group shares.

use common::escape::Escaped;
use common::id::GroupName;
use common::tree::{Entry, Node, TreePath};
use common::wire::client::{Request, Response};

use super::command::ShareFile;
use super::outcome::{Kind, Outcome, TreeRow};
use super::{Engine, Error, unexpected};

impl Engine {
    /// The files of a folder, or of a folder in it, in the order of their paths.
    pub(super) async fn list_folder(&self, group: GroupName, folder: ShareFile) -> Result<Outcome, Error> {
        self.who().await?;
        let request = Request::FindShare { group: group.clone(), file: folder.share };
        let Response::Share(share) = self.trackers.call(request).await? else { return Err(unexpected()) };
        let Some(head) = share.tree else {
            let text = format!("`{}` is a file, and not a folder with something in it", share.file.name);
            return Err(Error::InvalidArgument(text));
        };
        let tree = self.downloads.tree(&group, &share.file, &head).await?;
        let within = folder.path.as_ref().map_or("", TreePath::as_str);
        let wanted = tree.under(within);
        let is_empty_folder =
            || tree.find(within).and_then(|at| tree.get(at)).map(|n| n.entry) == Some(Entry::EmptyFolder);
        if wanted.is_empty() && !within.is_empty() && !is_empty_folder() {
            return Err(Error::InvalidArgument(format!(
                "there is no folder `{}` in `{}`; `list_files {group} {}` shows what there is",
                Escaped(within),
                share.file.name,
                share.file.name
            )));
        }
        let files: Vec<_> = wanted.filter_map(|at| tree.get(at)).map(|node| row(&node)).collect();
        let size = files.iter().map(|file| file.size).sum();
        Ok(Outcome::Tree { group, name: share.file.name, size, entries: files.len() as u64, files })
    }
}

fn row(node: &Node<'_>) -> TreeRow {
    let (kind, size, file_id, executable) = match node.entry {
        Entry::File { len, hash, executable } => (Kind::File, len, Some(hash.to_string()), executable),
        Entry::EmptyFolder => (Kind::Folder, 0, None, false),
    };
    TreeRow { path: node.path.to_owned(), kind, size, file_id, executable }
}
