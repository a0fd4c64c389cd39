//! What is in a folder that a group shares.

use common::id::GroupName;
use common::tree::{Entry, Node};
use common::wire::client::{FileSelector, Request, Response};

use super::outcome::{Kind, Outcome, TreeRow};
use super::{Engine, Error, unexpected};

impl Engine {
    /// The files of a folder, in the order of their paths.
    pub(super) async fn list_folder(&self, group: GroupName, folder: FileSelector) -> Result<Outcome, Error> {
        self.who().await?;
        let request = Request::FindShare { group: group.clone(), file: folder };
        let Response::Share(share) = self.trackers.call(request).await? else { return Err(unexpected()) };
        let Some(head) = share.tree else {
            let text = format!("`{}` is a file, and not a folder with something in it", share.file.name);
            return Err(Error::InvalidArgument(text));
        };
        let tree = self.downloads.tree(&group, &share.file, &head).await?;
        let files = tree.iter().map(|node| row(&node)).collect();
        Ok(Outcome::Tree { group, name: share.file.name, size: tree.len(), entries: tree.entries() as u64, files })
    }
}

fn row(node: &Node<'_>) -> TreeRow {
    let (kind, size, file_id, executable) = match node.entry {
        Entry::File { len, hash, executable } => (Kind::File, len, Some(hash.to_string()), executable),
        Entry::EmptyFolder => (Kind::Folder, 0, None, false),
    };
    TreeRow { path: node.path.to_owned(), kind, size, file_id, executable }
}
