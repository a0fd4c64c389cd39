//! Sharing and downloading, as commands.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use common::id::{FileId, GroupName};
use common::wire::client::FileSelector;
use common::wire::refusal::Refusal;

use super::command::Order;
use super::events::ShareChange;
use super::outcome::{DownloadRow, Outcome, Uploaded};
use super::progress::Hashing;
use super::{Call, Engine, Event, Progress, ProgressSink};
use crate::download::{Choice, DownloadId, Strategy};
use crate::error::{Error, shown};
use crate::link::ShareLink;
use crate::share::{HashProgress, UploadAs, blocking};
use crate::transfer::stamp::Stamp;

/// How often is told how far a download that is waited for, or a hashing, is.
const TOLD: Duration = Duration::from_millis(200);

impl Engine {
    pub(super) async fn upload(
        &self,
        path: PathBuf,
        group: GroupName,
        wanted: UploadAs,
        call: &Call,
    ) -> Result<Outcome, Error> {
        self.who().await?;
        self.trackers.serve_at(self.shares.listen_addr());
        let done = self.shares.upload_as(&path, group, wanted, self.hashing(&path, call)).await?;
        let (group, name) = (done.group.clone(), done.name.clone());
        self.tell(Event::Share(ShareChange { group, name, seeded: true, reason: None }));
        let link = ShareLink::new(done.group.clone(), done.file_id).to_string();
        Ok(Outcome::Uploaded(Uploaded { link, ..done.into() }))
    }

    /// Tells whoever called, and whoever listens, how far the hashing of a file is: some times a second, and at the end.
    fn hashing(&self, path: &Path, call: &Call) -> impl Fn(HashProgress) + Send + Sync + use<> {
        self.reading(last_part(path), call, Progress::Hashing)
    }

    /// The same of whatever reads a file named so.
    pub(super) fn reading(
        &self,
        name: String,
        call: &Call,
        of: fn(Hashing) -> Progress,
    ) -> impl Fn(HashProgress) + Send + Sync + use<> {
        let (sink, events) = (Arc::clone(&call.progress), self.events.clone());
        let told: Mutex<Option<Instant>> = Mutex::new(None);
        move |HashProgress { done, total }| {
            let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
            if done < total && told.is_some_and(|at| at.elapsed() < TOLD) {
                return;
            }
            *told = Some(Instant::now());
            let progress = of(Hashing { name: name.clone(), done, total });
            sink(&progress);
            let _ = events.send(Event::Progress(progress)); // Nobody listens: then nobody wants to know.
        }
    }

    pub(super) async fn download(
        &self,
        group: GroupName,
        file: FileSelector,
        choice: Choice,
        destination: PathBuf,
        (order, force): (Order, bool),
        call: &Call,
    ) -> Result<Outcome, Error> {
        self.who().await?;
        self.trackers.serve_at(self.shares.listen_addr());
        let asked_for = file.to_string();
        let id = self.downloads.start_some(group.clone(), file, choice, &destination, strategy(order), force).await?;
        if !call.wait {
            // `id:` and digits stand for a name.
            let row = self.downloads.row(id);
            let name = row.as_ref().map_or(asked_for, |row| row.name.as_str().to_owned());
            let within = row.as_ref().and_then(|row| row.within.clone());
            let group = row.map_or(group, |row| row.group);
            return Ok(Outcome::Downloading { n: id.0, group, name, within });
        }
        let done = tokio::select! {
            done = self.downloads.finished(id) => done?,
            // It stays, and goes on after the next login.
            ended = self.logged_out() => return Err(ended),
            never = self.tell_progress(id, &call.progress) => match never {},
        };
        Ok(Outcome::Downloaded(done.into()))
    }

    /// Waits until the login ends.
    async fn logged_out(&self) -> Error {
        let mut session = self.trackers.session();
        let _ = session.wait_for(Option::is_none).await; // Fails only when the client stops.
        Error::Refused(Refusal::SessionEnded)
    }

    /// What this device seeds.
    pub(super) async fn list_shares(&self) -> Result<Outcome, Error> {
        match self.who().await {
            // What is here is known without them.
            Err(Error::TrackersUnreachable(_) | Error::Timeout(_)) if self.user().is_some() => {}
            other => _ = other?,
        }
        Ok(Outcome::Shares { shares: self.shares.list()?.into_iter().map(Into::into).collect() })
    }

    /// Stops seeding a share from this device.
    pub(super) async fn stop(&self, group: GroupName, file: FileSelector) -> Result<Outcome, Error> {
        self.who().await?;
        match self.shares.stop(&group, &file).await {
            Ok(stopped) => {
                let (group, name) = (stopped.group.clone(), stopped.name.clone());
                self.tell(Event::Share(ShareChange { group, name, seeded: false, reason: None }));
                let removed = self.remove_copy(stopped.file, stopped.file_id).await;
                Ok(Outcome::Stopped { group: stopped.group, name: stopped.name, removed })
            }
            Err(not_ours @ Error::InvalidArgument(_)) => {
                // Perhaps there is no such group or share, or it is not the user's to see.
                self.shares.find(group, file).await?;
                Err(not_ours)
            }
            Err(e) => Err(e),
        }
    }

    /// Removes a copy that was made of a file from a browser, and nothing else; where it was, if it was one. It is not shared any
    /// more, whatever becomes of it.
    pub(super) async fn remove_copy(&self, file: Option<(PathBuf, Stamp)>, file_id: FileId) -> Option<PathBuf> {
        let (path, stamp) = file?;
        let copies = Arc::clone(&self.copies);
        let removed = blocking(move || Ok(copies.remove(&path, file_id, stamp)?.then_some(path))).await;
        removed.unwrap_or_else(|error| {
            tracing::warn!(%error, "a copy of a file from a browser stays");
            None
        })
    }

    /// Tells how far a download is for as long as it is polled.
    async fn tell_progress(&self, id: DownloadId, sink: &ProgressSink) -> std::convert::Infallible {
        let mut tick = tokio::time::interval(TOLD);
        loop {
            tick.tick().await;
            if let Some(row) = self.downloads.row(id) {
                sink(&Progress::Download(row.into()));
            }
        }
    }

    pub(super) fn download_rows(&self) -> Vec<DownloadRow> {
        self.downloads.list().into_iter().map(Into::into).collect()
    }

    pub(super) async fn pause(&self, n: u64) -> Result<Outcome, Error> {
        self.downloads.pause(DownloadId(n)).await?;
        Ok(Outcome::Paused { n })
    }

    pub(super) async fn resume(&self, n: u64) -> Result<Outcome, Error> {
        self.downloads.resume(DownloadId(n)).await?;
        Ok(Outcome::Resumed { n })
    }

    pub(super) async fn cancel(&self, n: u64) -> Result<Outcome, Error> {
        self.downloads.cancel(DownloadId(n)).await?;
        Ok(Outcome::Cancelled { n })
    }
}

const fn strategy(order: Order) -> Strategy {
    match order {
        Order::Random => Strategy::Random,
        Order::Rarest => Strategy::Rarest,
        Order::Sequential => Strategy::Sequential,
    }
}

fn last_part(path: &Path) -> String {
    shown(path.file_name().map_or(path, Path::new))
}
