//! Sharing and downloading, as commands.

use std::path::{Path, PathBuf};
use std::time::Duration;

use common::escape::Escaped;
use common::id::{FileName, GroupName};
use common::wire::client::{FileSelector, Request};
use common::wire::refusal::Refusal;

use super::command::Order;
use super::outcome::{DownloadRow, Outcome, Uploaded};
use super::{App, Bar, Downloading};
use crate::download::{DownloadId, Progress, State, Strategy};
use crate::error::{Error, shown};
use crate::units;

/// How often a bar is drawn while somebody waits for it.
const REDRAW: Duration = Duration::from_millis(200);

impl App {
    pub(super) async fn upload(
        &self,
        path: PathBuf,
        group: GroupName,
        piece_size: Option<u64>,
        name: Option<FileName>,
    ) -> Result<Outcome, Error> {
        self.who().await?;
        self.trackers.serve_at(self.shares.listen_addr());
        let bar = self.bars.add(format!("hashing {}", last_part(&path)));
        let progress = move |p: crate::share::HashProgress| bar.set(p.done, p.total, "");
        let done = self.shares.upload(&path, group, name, piece_size, progress).await?;
        Ok(Outcome::Uploaded(Uploaded {
            group: done.group,
            name: done.name,
            size: done.size,
            piece_size: done.piece_size,
            pieces: done.pieces,
            sha1: done.sha1.to_string(),
            file_id: done.file_id,
        }))
    }

    pub(super) async fn download(
        &self,
        group: GroupName,
        file: FileSelector,
        destination: PathBuf,
        order: Order,
        force: bool,
    ) -> Result<Outcome, Error> {
        self.who().await?;
        self.trackers.serve_at(self.shares.listen_addr());
        let asked_for = file.to_string();
        let id = self.downloads.start(group.clone(), file, &destination, strategy(order), force).await?;
        // `id:` and digits stand for a name.
        let row = self.downloads.row(id);
        let name = row.as_ref().map_or(asked_for, |row| row.name.as_str().to_owned());
        let group = row.map_or(group, |row| row.group);
        match self.downloading {
            Downloading::Background => Ok(Outcome::Downloading { n: id.0, group, name }),
            Downloading::Wait => {
                let bar = self.bars.add(Escaped(&name).to_string());
                let done = tokio::select! {
                    done = self.downloads.finished(id) => done?,
                    // It stays, and goes on after the next login.
                    ended = self.logged_out() => return Err(ended),
                    never = self.draw(id, &*bar) => match never {},
                };
                Ok(Outcome::Downloaded(done.into()))
            }
        }
    }

    /// Waits until the login ends.
    async fn logged_out(&self) -> Error {
        let mut session = self.trackers.session();
        let _ = session.wait_for(Option::is_none).await; // Fails only when the client stops.
        Error::Refused(Refusal::SessionEnded)
    }

    /// What this device seeds.
    pub(super) async fn list_shares(&self) -> Result<Outcome, Error> {
        self.who().await?;
        Ok(Outcome::Shares { shares: self.shares.list()?.into_iter().map(Into::into).collect() })
    }

    /// Stops seeding a share from this device.
    pub(super) async fn stop(&self, group: GroupName, file: FileSelector) -> Result<Outcome, Error> {
        self.who().await?;
        match self.shares.stop(&group, &file).await {
            Ok(stopped) => Ok(Outcome::Stopped { group: stopped.group, name: stopped.name }),
            Err(not_ours @ Error::InvalidArgument(_)) => {
                // Perhaps there is no such group or share, or it is not the user's to see.
                self.trackers.call(Request::FindFile { group, file }).await?;
                Err(not_ours)
            }
            Err(e) => Err(e),
        }
    }

    /// Draws the progress of a download for as long as it is polled.
    async fn draw(&self, id: DownloadId, bar: &dyn Bar) -> std::convert::Infallible {
        let mut tick = tokio::time::interval(REDRAW);
        loop {
            tick.tick().await;
            if let Some(progress) = self.downloads.watch(id) {
                let progress = progress.borrow().clone();
                bar.set(progress.have, progress.size, &note(&progress));
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

/// What stands beside a download's bar: rate, time left and peers, or why there is none.
pub(crate) fn note(progress: &Progress) -> String {
    let Progress { state, have, size, rate, peers, reason, .. } = progress;
    match state {
        State::Downloading if *rate > 0 => {
            let left = units::duration(Duration::from_secs(size.saturating_sub(*have) / rate));
            let giving = peers.iter().filter(|p| p.rate > 0).count() as u64;
            format!("{}, {left} left, {}", units::rate(*rate), units::count(giving, "peer", "peers"))
        }
        State::Downloading => "connecting".to_owned(),
        State::Complete => "complete".to_owned(),
        State::Paused => because("paused", reason.as_deref()),
        State::Waiting => because("waiting", reason.as_deref()),
        State::Failed => because("failed", reason.as_deref()),
    }
}

fn because(state: &str, reason: Option<&str>) -> String {
    reason.map_or_else(|| state.to_owned(), |reason| format!("{state}: {reason}"))
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
