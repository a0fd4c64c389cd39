//! Beginning a download: everything that can be known beforehand is looked at before it is on the list.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;

use common::escape::Escaped;
use common::id::{FileName, GroupName};
use common::manifest::PieceHash;
use common::tree::Tree;
use common::wire::client::{FileInfo, FileSelector, OpenedFile, OpenedShare, Request, Response, TreeHead};

use super::destination::Destination;
use super::disk::Disk;
use super::folder::{Choice, FolderPlan};
use super::job::{Job, Opened};
use super::manifest::{Sought, manifest, tree};
use super::spec::{Draft, FolderSpec, Spec};
use super::swarm::Seeded;
use super::unlisted::Publication;
use super::{DownloadId, Downloads, Strategy};
use crate::error::Error;
use crate::own_files;
use crate::share::blocking;
use crate::trackers::unexpected;

impl Downloads {
    /// Begins to download `file` of `group` to `destination`, or goes on if that was begun before.
    /// Looks at everything that can be known beforehand: the file, the destination, the room on the disk.
    ///
    /// # Errors
    /// When there is no such file, the destination is taken or not there, or the disk is full.
    pub async fn start(
        &self,
        group: GroupName,
        file: FileSelector,
        destination: &Path,
        strategy: Strategy,
        force: bool,
    ) -> Result<DownloadId, Error> {
        self.start_some(group, file, Choice::default(), destination, strategy, force).await
    }

    /// As [`Downloads::start`]; of a folder only what is chosen.
    ///
    /// # Errors
    /// The same, and when nothing is.
    pub async fn start_some(
        &self,
        group: GroupName,
        file: FileSelector,
        choice: Choice,
        destination: &Path,
        strategy: Strategy,
        force: bool,
    ) -> Result<DownloadId, Error> {
        let _one = self.0.starting.lock().await;
        let user = self.user()?;
        let Found { info, head, publication, begun, seeded } = self.find(&group, file).await?;
        if head.is_none() && !choice.is_all() {
            let text = format!("`{}` is a file, and not a folder of which something could be chosen", info.name);
            return Err(Error::InvalidArgument(text));
        }
        let name = alone(&choice).unwrap_or_else(|| info.name.clone());
        let destination = blocking({
            let path = destination.to_owned();
            move || Destination::resolve(&path, &name)
        })
        .await?;
        let outdated = match self.at(&destination.path()) {
            Some(job) if is_outdated(&job, &info, publication.as_ref()) => Some(job),
            Some(job) => return self.go_on(&job, &info, &choice).await,
            None => None,
        };
        let merges = |folder: &TreeHead| self.is_known_copy(&info, folder, &destination) || force;
        let is_whole_folder = head.is_some() && choice.path.is_none();
        let may_merge = is_whole_folder && head.as_ref().is_some_and(merges);
        let (destination, merge) = blocking(move || {
            let merge = if is_whole_folder {
                destination.check_free_for_folder(may_merge)?
            } else {
                destination.check_free(force)?;
                false
            };
            Ok((destination, merge))
        })
        .await?;
        let group = self.0.ground.shares.group_names().present(info.group_id, &group);
        let sought = Sought {
            group: &group,
            group_id: info.group_id,
            file_id: info.file_id,
            layout: info.layout,
            sha1: info.sha1,
            begun,
        };
        let manifest = manifest(&self.0.ground, sought).await?;
        let folder = head.map(|head| FolderSpec { tree: head.id, choice: choice.clone(), merge });
        let plan = match &folder {
            Some(folder) => Some(self.plan(&group, &info, folder).await?),
            None => None,
        };
        if let Some(job) = outdated {
            // Somebody may have come meanwhile.
            if !is_outdated(&job, &info, publication.as_ref()) {
                return self.go_on(&job, &info, &choice).await;
            }
            self.cancel(DownloadId(job.spec.n)).await?;
        }
        let draft = Draft {
            user,
            group,
            group_id: info.group_id,
            name: info.name,
            file_id: info.file_id,
            layout: info.layout,
            sha1: info.sha1,
            strategy,
            force,
            folder,
            publication,
        };
        let n = self.next_number();
        let specs = self.0.specs.clone();
        let made = plan.clone();
        let (spec, disk, manifest) = blocking(move || {
            if let Some(plan) = made.as_ref().filter(|plan| plan.merge || force) {
                own_files::refuse_below(&destination.path(), plan.paths())?;
            }
            let mut spec = draft.finish(n, destination.directory().to_owned(), destination.name().to_owned());
            // Stopped in between, it is on the list, and begins anew.
            let note = |part: &OsStr| specs.save(&Spec { part: part.to_owned(), ..spec.clone() });
            match Disk::create(destination, &specs.journal(n), &manifest, made.as_ref(), note) {
                Ok(disk) => {
                    disk.part().clone_into(&mut spec.part);
                    Ok((spec, disk, manifest))
                }
                Err(e) => {
                    specs.remove(n)?;
                    Err(e)
                }
            }
        })
        .await?;
        let job = Arc::new(Job::new(spec, 0));
        self.locked().jobs.insert(n, Arc::clone(&job));
        self.drive(&job, Some(Opened { disk, manifest, plan, seeded }));
        self.0.listed.send_replace(());
        Ok(DownloadId(n))
    }

    /// The tree of a folder, from this disk or from the trackers.
    ///
    /// # Errors
    /// When it cannot be had.
    pub async fn tree(&self, group: &GroupName, info: &FileInfo, head: &TreeHead) -> Result<Arc<Tree>, Error> {
        tree(&self.0.ground, group, info.group_id, head.id, info.layout.len()).await
    }

    /// What is to be fetched of a folder.
    async fn plan(&self, group: &GroupName, info: &FileInfo, folder: &FolderSpec) -> Result<FolderPlan, Error> {
        let tree = tree(&self.0.ground, group, info.group_id, folder.tree, info.layout.len()).await?;
        let chosen = folder.choice.clone().among(Arc::clone(&tree)).await?;
        let plan = FolderPlan { tree, chosen, single: folder.choice.path.is_some(), merge: folder.merge };
        refuse_keys(&plan)?;
        Ok(plan)
    }

    /// Whether the destination is this very folder, of which this device shares something from there: what is missing
    /// may be added.
    fn is_known_copy(&self, info: &FileInfo, head: &TreeHead, destination: &Destination) -> bool {
        let share = self.0.ground.shares.folder_at(info.group_id, &destination.path());
        let share = share.filter(|share| share.withheld.is_none());
        share.is_some_and(|share| share.folder.is_some_and(|folder| folder.tree == head.id))
    }

    /// The same file to the same place again: the download that is there goes on.
    async fn go_on(&self, job: &Arc<Job>, info: &FileInfo, choice: &Choice) -> Result<DownloadId, Error> {
        let id = DownloadId(job.spec.n);
        let chosen = job.spec.folder.as_ref().map_or_else(Choice::default, |folder| folder.choice.clone());
        if (job.spec.group_id, job.spec.file_id, &chosen) != (info.group_id, info.file_id, choice) {
            let text = format!(
                "download {id}, of `{}`, is already going to that destination; choose another, or `cancel_download {id}`",
                job.spec.name
            );
            return Err(Error::InvalidArgument(text));
        }
        self.resume(id).await?;
        Ok(id)
    }

    /// Asks the trackers all at once: over a long line, each question costs a round trip.
    async fn find(&self, group: &GroupName, file: FileSelector) -> Result<Found, Error> {
        let directory = &self.0.ground.directory;
        let connection = directory.connection();
        match directory.open_share(group, file.clone()).await {
            Ok(OpenedShare { info, pieces, peers, ticket }) => {
                let seeded = Some(Seeded { peers: peers.into_vec(), ticket, connection });
                let (file, head, begun) = (info.file.clone(), info.tree, pieces.into_vec());
                Ok(Found { info: file, head, publication: Some(info.into()), begun, seeded })
            }
            Err(Error::OldTracker) => self.find_file(group, file).await,
            Err(error) => Err(error),
        }
    }

    /// The same of a tracker that knows no folders.
    async fn find_file(&self, group: &GroupName, file: FileSelector) -> Result<Found, Error> {
        let directory = &self.0.ground.directory;
        let connection = directory.connection();
        match directory.open_file(group, file.clone()).await {
            Ok(OpenedFile { info, pieces, peers, ticket }) => {
                let seeded = Some(Seeded { peers: peers.into_vec(), ticket, connection });
                Ok(Found { info, head: None, publication: None, begun: pieces.into_vec(), seeded })
            }
            Err(Error::OldTracker) => {
                let request = Request::FindFile { group: group.clone(), file };
                // The ticket will be needed. If there is none, the discovery of peers will say why.
                let (found, _) = tokio::join!(directory.call(request), directory.ticket(group));
                match found? {
                    Response::File(info) => {
                        Ok(Found { info, head: None, publication: None, begun: Vec::new(), seeded: None })
                    }
                    _ => Err(unexpected()),
                }
            }
            Err(error) => Err(error),
        }
    }
}

/// Whether a download was of a version that nobody shares any more, and this is what has its name now: then it gives way. So
/// does one that nobody serves to a version that its uploader has published later; to an older one, which is all that a tracker
/// that lags behind knows, it does not.
fn is_outdated(job: &Job, info: &FileInfo, publication: Option<&Publication>) -> bool {
    let spec = &job.spec;
    if (spec.group_id, &spec.name) != (info.group_id, &info.name) || spec.file_id == info.file_id {
        return false;
    }
    let is_later = publication.zip(spec.publication.as_ref()).is_some_and(|(new, old)| new.replaces(old));
    matches!(job.progress.borrow().error, Some(Error::Withdrawn(_))) || (is_later && job.is_unserved())
}

/// Refuses files that would make the folder that they come to one of our own.
///
/// # Errors
/// When there is such a one, with its path.
fn refuse_keys(plan: &FolderPlan) -> Result<(), Error> {
    match plan.paths().find(|path| path.split('/').any(own_files::is_refused)) {
        None => Ok(()),
        Some(path) => Err(Error::InvalidArgument(format!(
            "`{}` has a name by which clients and trackers know their own keys, and does not come; leave it out with --except",
            Escaped(path)
        ))),
    }
}

/// The name of the one file that is chosen.
fn alone(choice: &Choice) -> Option<FileName> {
    choice.path.as_deref().and_then(|path| path.rsplit('/').next()?.parse().ok())
}

/// What the trackers say of a share.
struct Found {
    info: FileInfo,
    /// If it is a folder.
    head: Option<TreeHead>,
    /// How it was published, where the trackers say so.
    publication: Option<Publication>,
    /// The first of its pieces.
    begun: Vec<PieceHash>,
    seeded: Option<Seeded>,
}

#[cfg(test)]
mod tests {
    use common::id::{FileId, GroupId, Sha1Digest, UserId};
    use common::pieces::PieceLayout;

    use super::*;
    use crate::download::progress::State;

    const LAB: GroupId = GroupId::new([9; 16]);

    fn published(published: u64) -> Option<Publication> {
        Some(Publication { published, uploader: "alice".parse().expect("a name") })
    }

    fn layout() -> PieceLayout {
        PieceLayout::new(9, 16 << 10).expect("a layout")
    }

    fn job(publication: Option<Publication>) -> Job {
        let draft = Draft {
            user: UserId::new([1; 16]),
            group: "lab".parse().expect("a name"),
            group_id: LAB,
            name: "z.bin".parse().expect("a name"),
            file_id: FileId::new([1; 32]),
            layout: layout(),
            sha1: Sha1Digest::new([0; 20]),
            strategy: Strategy::Rarest,
            force: false,
            folder: None,
            publication,
        };
        Job::new(draft.finish(1, "/x".into(), "z.bin".into()), 0)
    }

    fn info(name: &str, content: u8) -> FileInfo {
        let (name, uploader) = (name.parse().expect("a name"), "alice".parse().expect("a name"));
        let (file_id, sha1) = (FileId::new([content; 32]), Sha1Digest::new([0; 20]));
        FileInfo { group_id: LAB, name, file_id, layout: layout(), sha1, uploader }
    }

    #[test]
    fn what_nobody_serves_gives_way_to_a_later_version_and_not_to_an_older_one() {
        let (job, new) = (job(published(100)), info("z.bin", 2));
        let gives_way = |info: &FileInfo, new: Option<Publication>| is_outdated(&job, info, new.as_ref());
        job.progress.send_modify(|p| p.state = State::Waiting);
        assert!(gives_way(&new, published(101)));
        assert!(
            !gives_way(&new, published(100)) && !gives_way(&new, published(99)),
            "all that a lagging tracker knows"
        );
        assert!(!gives_way(&new, None) && !gives_way(&info("y.bin", 2), published(101)));
        let of_bob = Publication { published: 101, uploader: "bob".parse().expect("a name") };
        assert!(!gives_way(&new, Some(of_bob)), "he may only have given it the same name");
        assert!(!gives_way(&info("z.bin", 1), published(101)), "it is the same");
        for state in [State::Paused, State::Failed] {
            job.progress.send_modify(|p| p.state = state);
            assert!(!gives_way(&new, published(101)), "{state:?}");
        }
        job.progress.send_modify(|p| p.state = State::Downloading);
        assert!(gives_way(&new, published(101)), "nobody drives it");
        assert!(job.awaken() && !gives_way(&new, published(101)), "it comes");
        job.progress.send_modify(|p| p.halt(State::Failed, Some(Error::Withdrawn("lab".parse().expect("a name")))));
        assert!(gives_way(&new, None), "it was withdrawn");
    }

    #[test]
    fn what_an_earlier_release_began_gives_way_only_when_it_was_withdrawn() {
        let job = job(None);
        job.progress.send_modify(|p| p.state = State::Waiting);
        assert!(!is_outdated(&job, &info("z.bin", 2), published(101).as_ref()));
    }
}
