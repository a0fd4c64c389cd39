//! Beginning a download: everything that can be known beforehand is looked at before it is on the list.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;

use common::id::GroupName;
use common::manifest::PieceHash;
use common::wire::client::{FileInfo, FileSelector, OpenedFile, Request, Response};

use super::destination::Destination;
use super::disk::Disk;
use super::job::{Job, Opened};
use super::manifest::{Sought, manifest};
use super::spec::{Draft, Spec};
use super::swarm::Seeded;
use super::{DownloadId, Downloads, Strategy};
use crate::error::Error;
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
        let _one = self.0.starting.lock().await;
        let user = self.user()?;
        let Found { info, begun, seeded } = self.find(&group, file).await?;
        let destination = blocking({
            let (path, name) = (destination.to_owned(), info.name.clone());
            move || Destination::resolve(&path, &name)
        })
        .await?;
        if let Some(job) = self.at(&destination.path()) {
            return self.go_on(&job, &info).await;
        }
        let destination = blocking(move || destination.check_free(force).map(|()| destination)).await?;
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
        };
        let n = self.next_number();
        let specs = self.0.specs.clone();
        let (spec, disk, manifest) = blocking(move || {
            let mut spec = draft.finish(n, destination.directory().to_owned(), destination.name().to_owned());
            // Stopped in between, it is on the list, and begins anew.
            let note = |part: &OsStr| specs.save(&Spec { part: part.to_owned(), ..spec.clone() });
            match Disk::create(destination, &specs.journal(n), &manifest, note) {
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
        self.drive(&job, Some(Opened { disk, manifest, seeded }));
        self.0.listed.send_replace(());
        Ok(DownloadId(n))
    }

    /// The same file to the same place again: the download that is there goes on.
    async fn go_on(&self, job: &Arc<Job>, info: &FileInfo) -> Result<DownloadId, Error> {
        let id = DownloadId(job.spec.n);
        if (job.spec.group_id, job.spec.file_id) != (info.group_id, info.file_id) {
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
        match directory.open_file(group, file.clone()).await {
            Ok(OpenedFile { info, pieces, peers, ticket }) => {
                let seeded = Seeded { peers: peers.into_vec(), ticket };
                Ok(Found { info, begun: pieces.into_vec(), seeded: Some(seeded) })
            }
            Err(Error::OldTracker) => {
                let request = Request::FindFile { group: group.clone(), file };
                // The ticket will be needed. If there is none, the discovery of peers will say why.
                let (found, _) = tokio::join!(directory.call(request), directory.ticket(group));
                match found? {
                    Response::File(info) => Ok(Found { info, begun: Vec::new(), seeded: None }),
                    _ => Err(unexpected()),
                }
            }
            Err(error) => Err(error),
        }
    }
}

/// What the trackers say of a file.
struct Found {
    info: FileInfo,
    /// The first of its pieces.
    begun: Vec<PieceHash>,
    seeded: Option<Seeded>,
}
