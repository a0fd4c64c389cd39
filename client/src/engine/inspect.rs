//! A closer look at one share: what it is, who has how much of it, and whether what lies here is right.

use std::path::PathBuf;

use common::id::{FileId, GroupId, GroupName};
use common::ticket::{Signed, Ticket};
use common::wire::client::{
    FileInfo, FileSelector, OpenedFile, OpenedShare, PeerRow, Request, Response, ShareInfo, TreeHead,
};

use super::outcome::{Info, Kind, Moment, Outcome, SeederRow, VerifiedRow};
use super::{Call, Engine, Progress, unexpected};
use crate::download::{Inquiry, SeederAnswer};
use crate::error::{Error, shown};
use crate::link::ShareLink;
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

impl Engine {
    /// All that there is to know of a share; each seeder is asked how much it has.
    pub(super) async fn info(&self, group: GroupName, file: FileSelector) -> Result<Outcome, Error> {
        self.who().await?;
        let (share, known) = self.look_up(&group, file).await?;
        let info = &share.file;
        let seeders = match known {
            Some((peers, ticket)) => {
                let inquiry = Inquiry { group: info.group_id, file_id: info.file_id, layout: info.layout, ticket };
                self.seeders(&inquiry, peers).await
            }
            None => Vec::new(),
        };
        let group = self.shares.group_names().present(info.group_id, &group);
        Ok(Outcome::Info(self.described(share, group, seeders)))
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

    fn described(&self, share: Described, group: GroupName, seeders: Vec<SeederRow>) -> Info {
        let Described { file, tree, published } = share;
        let FileInfo { group_id, name, file_id, layout, sha1, uploader } = file;
        let path = self.path_of(group_id, file_id);
        Info {
            link: ShareLink { group: group.clone(), file_id }.to_string(),
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

    /// Where this device has a share whole.
    fn path_of(&self, group: GroupId, file_id: FileId) -> Option<PathBuf> {
        let mut own = self.shares.list().unwrap_or_default().into_iter();
        own.find(|s| s.group_id == group && s.file_id == file_id).map(|s| s.path)
    }

    async fn seeders(&self, inquiry: &Inquiry, peers: Vec<PeerRow>) -> Vec<SeederRow> {
        // Nobody dials himself, and trackers name only others.
        let others = peers.into_iter().filter(|peer| peer.device != self.device).collect();
        let all = inquiry.layout.count();
        let own = self.path_of(inquiry.group, inquiry.file_id).and(self.user()).map(|user| SeederRow {
            device: self.device.to_string(),
            user,
            address: self.shares.listen_addr().to_string(),
            complete: true,
            pieces: Some(all),
            reason: None,
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
        let v = self.shares.verify(&group, &file, progress).await?;
        if v.bad > 0 {
            return Err(Error::Integrity(format!(
                "{} of {} of `{}` at {} {} not what was published, and it is no longer seeded from here; `download_file` with \
                 --force fetches it again from others",
                v.bad,
                count(v.pieces.into(), "piece", "pieces"),
                v.name,
                shown(&v.path),
                if v.bad == 1 { "is" } else { "are" },
            )));
        }
        let (group, name, path, size) = (v.group, v.name, v.path, v.size);
        Ok(Outcome::Verified(VerifiedRow { group, name, path, size, pieces: v.pieces, file_id: v.file_id }))
    }
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
