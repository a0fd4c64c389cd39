//! A closer look at one share: what it is, who has how much of it, and whether what lies here is right.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use common::id::{FileId, FileName, GroupName, TreeId};
use common::ticket::{Signed, Ticket};
use common::wire::client::{
    FileInfo, FileSelector, OpenedFile, OpenedShare, PeerRow, Request, Response, ShareInfo, TreeHead,
};

use super::command::as_argument;
use super::outcome::{FileRow, Info, Kind, Moment, Outcome, SeederRow, VerifiedRow};
use super::{Call, Engine, Progress, unexpected};
use crate::download::{Inquiry, SeederAnswer};
use crate::error::{Error, shown};
use crate::link::ShareLink;
use crate::share::{Damage, ShareRow, Verified};
use crate::units::count;

/// Who seeds a share, and what entitles us to ask them.
type Seeded = (Vec<PeerRow>, Signed<Ticket>);

/// What a tracker tells of a share; one of an older release tells less.
struct Described {
    file: FileInfo,
    tree: Option<TreeHead>,
    published: Option<Moment>,
}

impl Described {
    fn file(file: FileInfo) -> Self {
        Self { file, tree: None, published: None }
    }
}

/// The shares of this device in a group of which anything is here as it was shared, by their bytes: a file and folders have the same
/// where they hold the same.
pub(crate) struct SharedHere(HashMap<FileId, Vec<ShareRow>>);

impl SharedHere {
    /// The share of this device that a share of the group is: the one with its name, or else one with another.
    pub(crate) fn get(&self, file_id: FileId, tree: Option<TreeId>, name: &FileName) -> Option<&ShareRow> {
        self.find(file_id, name, |share| share.tree == tree)
    }

    /// The same for the rows of a listing of the group, which does not tell the trees of folders: a folder with the bytes of another
    /// row may hold them under other names.
    pub(crate) fn listed<'a>(&'a self, rows: &'a [FileRow]) -> impl Fn(&FileRow) -> Option<&'a ShareRow> {
        let names: HashSet<_> = rows.iter().map(|row| (row.file_id, &row.name)).collect();
        move |row| {
            let share =
                self.find(row.file_id, &row.name, |share| share.tree.is_some() == (row.kind == Kind::Folder))?;
            let is_of_another = share.name != row.name && names.contains(&(share.file_id, &share.name));
            (row.kind == Kind::File || !is_of_another).then_some(share)
        }
    }

    fn find(&self, file_id: FileId, name: &FileName, is_it: impl Fn(&&ShareRow) -> bool) -> Option<&ShareRow> {
        self.0.get(&file_id)?.iter().filter(is_it).min_by_key(|share| share.name != *name)
    }
}

impl Engine {
    /// All that there is to know of a share; each seeder is asked how much it has.
    pub(super) async fn info(&self, group: GroupName, file: FileSelector) -> Result<Outcome, Error> {
        self.who().await?;
        let (share, known) = self.look_up(&group, file).await?;
        let info = &share.file;
        let own = self.shared_here(&group.reference(info.group_id));
        let own = own.get(info.file_id, share.tree.map(|tree| tree.id), &info.name).cloned();
        let path = own.as_ref().map(|own| own.path.clone());
        let seeders = match known {
            Some((peers, ticket)) => {
                let inquiry = Inquiry { group: info.group_id, file_id: info.file_id, layout: info.layout, ticket };
                self.seeders(&inquiry, own, peers).await
            }
            None => Vec::new(),
        };
        let group = self.shares.group_names().present(info.group_id, &group);
        Ok(Outcome::Info(described(share, group, path, seeders)))
    }

    /// A share, and who seeds it where the trackers say so at once.
    async fn look_up(&self, group: &GroupName, file: FileSelector) -> Result<(Described, Option<Seeded>), Error> {
        match self.trackers.open_share(group, file.clone()).await {
            Ok(OpenedShare { info, peers, ticket, .. }) => {
                let ShareInfo { file, tree, published } = info;
                let share = Described { file, tree, published: Some(Moment(published)) };
                return Ok((share, Some((peers.into_vec(), ticket))));
            }
            Err(Error::OldTracker) => {}
            Err(e) => return Err(e),
        }
        match self.trackers.open_file(group, file.clone()).await {
            Ok(OpenedFile { info, peers, ticket, .. }) => {
                return Ok((Described::file(info), Some((peers.into_vec(), ticket))));
            }
            Err(Error::OldTracker) => {}
            Err(e) => return Err(e),
        }
        match self.trackers.call(Request::FindFile { group: group.clone(), file }).await? {
            Response::File(info) => Ok((Described::file(info), None)),
            _ => Err(unexpected()),
        }
    }

    /// What this device shares in a group.
    pub(crate) fn shared_here(&self, group: &GroupName) -> SharedHere {
        let mut all: HashMap<_, Vec<_>> = HashMap::new();
        let is_meant = |s: &ShareRow| s.here && self.shares.group_names().means(group, s.group_id, &s.group);
        for share in self.shares.list().unwrap_or_default().into_iter().filter(is_meant) {
            all.entry(share.file_id).or_default().push(share);
        }
        SharedHere(all)
    }

    async fn seeders(&self, inquiry: &Inquiry, own: Option<ShareRow>, peers: Vec<PeerRow>) -> Vec<SeederRow> {
        // Nobody dials himself, and trackers name only others.
        let others = peers.into_iter().filter(|peer| peer.device != self.device).collect();
        let all = inquiry.layout.count();
        let own = own.zip(self.user()).map(|(share, user)| {
            let pieces = share.pieces.unwrap_or(all);
            SeederRow {
                device: self.device.to_string(),
                user,
                address: self.shares.listen_addr().to_string(),
                complete: pieces == all,
                pieces: Some(pieces),
                reason: share.reason.filter(|_| pieces < all),
            }
        });
        let answers = self.downloads.ask(inquiry, others).await;
        own.into_iter().chain(answers.into_iter().map(|answer| seeder_row(answer, all))).collect()
    }

    /// Reads a share of this device again.
    ///
    /// # Errors
    /// When it is not what was published, besides all else.
    pub(super) async fn verify(&self, group: GroupName, file: FileSelector, call: &Call) -> Result<Outcome, Error> {
        self.who().await?;
        let progress = self.reading(file.to_string(), call, Progress::Verifying);
        let v = self.shares.verify(&group, &file, progress).await.map_err(|e| if_away(e, &group, &file))?;
        if let Some(damage) = &v.damage {
            return Err(Error::Integrity(damaged(&v, damage)));
        }
        let (group, name, path, size) = (v.group, v.name, v.path, v.size);
        Ok(Outcome::Verified(VerifiedRow { group, name, path, size, pieces: v.pieces, file_id: v.file_id }))
    }
}

fn described(share: Described, group: GroupName, path: Option<PathBuf>, seeders: Vec<SeederRow>) -> Info {
    let Described { file, tree, published } = share;
    let FileInfo { name, file_id, layout, sha1, uploader, .. } = file;
    Info {
        link: ShareLink::new(group.clone(), file_id).to_string(),
        group,
        name,
        kind: if tree.is_some() { Kind::Folder } else { Kind::File },
        entries: tree.map(|tree| tree.entries),
        tree: tree.map(|tree| tree.id.to_string()),
        published,
        size: layout.len(),
        piece_size: layout.piece_len(),
        pieces: layout.count(),
        sha1: sha1.to_string(),
        file_id,
        uploader,
        here: path.is_some(),
        path,
        seeders,
    }
}

/// Says of what is not where it was shared from what to do.
fn if_away(error: Error, group: &GroupName, file: &FileSelector) -> Error {
    match error {
        Error::Io { action, source } if source.kind() == io::ErrorKind::NotFound => {
            let share = as_argument(&file.to_string());
            let remedy = format!("it is not there; put it back, or end the share with `stop_share {group} {share}`");
            Error::Io { action, source: Arc::new(io::Error::new(source.kind(), remedy)) }
        }
        other => other,
    }
}

/// What is not what was published, what becomes of the share, and what to do.
fn damaged(v: &Verified, damage: &Damage) -> String {
    let Verified { name, path, .. } = v;
    let (path, all) = (shown(path), count(v.pieces.into(), "piece", "pieces"));
    let Damage { pieces, files, left } = damage;
    if files.count() == 0 {
        let are = if *pieces == 1 { "is" } else { "are" };
        return format!(
            "{pieces} of {all} of `{name}` at {path} {are} not what was published, and it is no longer seeded from here; \
             `download_file` with --force fetches it again from others"
        );
    }
    let (they, are, them) = if files.count() == 1 { ("it", "is", "it") } else { ("they", "are", "them") };
    let goes_on = match left {
        0 => format!("no piece of the folder is without {them}, so that it is no longer seeded from here"),
        1 => format!("{they} {are} no longer given to anybody, and 1 of {all} goes on being seeded from here"),
        left => format!("{they} {are} no longer given to anybody, and {left} of {all} go on being seeded from here"),
    };
    format!(
        "{files} of `{name}` at {path} {are} not what was published; {goes_on}. `download_file` with --force fetches {them} again \
         from others; `upload_file --replace`, by whoever shared it or the admin, shares what is there now"
    )
}

fn seeder_row(SeederAnswer { peer, pieces }: SeederAnswer, all: u32) -> SeederRow {
    SeederRow {
        device: peer.device.to_string(),
        user: peer.user,
        address: peer.address.to_string(),
        complete: pieces == Ok(all),
        pieces: pieces.as_ref().ok().copied(),
        reason: pieces.err(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::share::NamedFiles;

    fn said(pieces: u32, files: &[&str], left: u32) -> String {
        let damage = Damage { pieces, files: NamedFiles::of(files.iter().copied(), 20), left };
        let v = Verified {
            group: "lab".parse().expect("a name"),
            name: "src".parse().expect("a name"),
            file_id: FileId::new([7; 32]),
            path: "/x/src".into(),
            size: 5,
            pieces: 14,
            damage: None,
        };
        damaged(&v, &damage)
    }

    #[test]
    fn what_verify_says_of_a_folder_names_its_files_and_what_goes_on() {
        let one = said(2, &["a/b\u{1b}"], 12);
        assert!(
            one.starts_with("`a/b\\u{1b}` of `src` at /x/src is not what was published; it is no longer given"),
            "{one}"
        );
        assert!(
            one.contains("and 12 of 14 pieces go on being seeded from here. `download_file` with --force"),
            "{one}"
        );
        let many: Vec<_> = (0..23).map(|n| format!("f{n:02}")).collect();
        let many = said(14, &many.iter().map(String::as_str).collect::<Vec<_>>(), 0);
        assert!(many.contains("`f19` and 3 other files of `src`") && !many.contains("f20"), "{many}");
        assert!(many.contains("no piece of the folder is without them, so that it is no longer seeded"), "{many}");
        let file = said(1, &[], 0);
        assert!(
            file.starts_with("1 of 14 pieces of `src` at /x/src is not what was published, and it is no"),
            "{file}"
        );
    }
}
