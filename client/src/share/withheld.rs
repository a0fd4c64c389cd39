//! Shares of which nothing can be given for now: what lies at their path is not what was shared, or nothing can be read there.
//!
//! Invariant: such a share stays in the registry with the reason, and is neither offered nor announced. It is looked at again at the
//! start, now and then, and by `verify`; once it is as it was shared, it is offered and announced as before. Knows nothing of how
//! a look is done, which is in [`recheck`](super::recheck).

use common::id::UserId;
use serde::{Deserialize, Serialize};

use super::notice::{NAMED, Withdrawal};
use super::offer::Key;
use super::publish::blocking;
use super::recheck::Sound;
use super::{NamedFiles, Share, Shares, key_of};
use crate::transfer::stamp::Stamp;

/// Most changed files that are kept, and listed, by their names.
pub(super) const MAX_CHANGED: usize = 100;

/// Why nothing of a share can be given, as the last look has found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Withheld {
    /// What is there is not what was shared.
    Changed {
        /// How a file was when it was found to be another: it is not read again before that changes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at: Option<Stamp>,
        /// Of a folder, the files without which nothing can be given.
        #[serde(default)]
        files: NamedFiles,
    },
    /// It is gone or cannot be read; what the system said.
    Away(String),
}

impl Withheld {
    /// A file that was another than what was shared when it was like this.
    pub(super) fn file(at: Stamp) -> Self {
        Self::Changed { at: Some(at), files: NamedFiles::default() }
    }

    /// A folder of which these files are others than what was shared.
    pub(super) fn folder<'a>(files: impl ExactSizeIterator<Item = &'a str>) -> Self {
        Self::Changed { at: None, files: NamedFiles::of(files, MAX_CHANGED) }
    }

    /// Whether a file was found to be another when it was as it is now.
    pub(super) fn is_known_at(&self, now: &Stamp) -> bool {
        matches!(self, Self::Changed { at: Some(at), .. } if at == now)
    }

    /// Whether `other` has found the same, whenever that was.
    pub(super) fn is_same_finding(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Changed { files, .. }, Self::Changed { files: others, .. }) => files == others,
            (Self::Away(why), Self::Away(other)) => why == other,
            (Self::Changed { .. }, Self::Away(_)) | (Self::Away(_), Self::Changed { .. }) => false,
        }
    }

    /// How people are told of it.
    pub(super) fn told(&self) -> Withdrawal {
        match self {
            Self::Changed { files, .. } => Withdrawal::Modified(files.at_most(NAMED)),
            Self::Away(why) => Withdrawal::Unreadable(why.clone()),
        }
    }

    /// Whether it is news after what was known `before`. What has changed may go away and come back without a word.
    fn is_news_after(&self, before: Option<&Self>) -> bool {
        match before {
            None => true,
            Some(Self::Away(_)) => matches!(self, Self::Changed { .. }),
            Some(Self::Changed { .. }) => false,
        }
    }
}

impl Shares {
    /// Offers nothing of a share any more, keeps why, and says so once. The trackers are told as well as possible. To be called by
    /// one at a time, as all that brings back shares: `rechecking` is held.
    pub(super) async fn withhold(&self, share: &Share, found: Withheld) {
        let key = key_of(share);
        // What was published or fetched anew while the old one was read is not what the finding is about.
        let is_renewed = |s: &Share| {
            let is_other = s.path != share.path || s.stamp != share.stamp;
            is_other && !found.is_known_at(&s.stamp)
        };
        let is_sound = |s: &&Share| s.is_same_share(share) && s.withheld.is_none();
        let sound = self.registry(|r| r.shares().iter().find(is_sound).cloned());
        if sound.as_ref().is_some_and(is_renewed) {
            return self.request_reannounce(std::iter::once(key));
        }
        // It may have been brought back since the caller saw it.
        let ends = share.withheld.is_none() || sound.is_some();
        if ends {
            self.0.host.offers.end(key);
        }
        let (shares, looked) = (self.clone(), Share { withheld: Some(found.clone()), ..share.clone() });
        let noted = blocking(move || shares.registry(|r| r.note_look(&looked))).await;
        let before = match &noted {
            Ok(before) => before.as_ref().map(|before| before.withheld.as_ref()),
            Err(error) => {
                tracing::warn!(%error, "what became of a share could not be saved");
                Some(share.withheld.as_ref())
            }
        };
        // Unless it was stopped or replaced meanwhile.
        if before.is_some_and(|before| found.is_news_after(before)) {
            self.notify(share, found.told());
        }
        if ends {
            self.after_offer_end(share, noted.is_ok()).await;
        }
    }

    /// An offer ended, and with it every other place of the same content in that group. A file that also lies elsewhere is offered
    /// from there. `is_kept`: whether the registry has recorded why; if not, the trackers are asked again with back-off, since asking
    /// at once would loop.
    pub(super) async fn after_offer_end(&self, share: &Share, is_kept: bool) {
        let key = key_of(share);
        self.offer_twin_of(|s| s.user == share.user && key_of(s) == key && s.path != share.path);
        if let Err(error) = self.tell_withdrawn(&share.group, key).await {
            tracing::debug!(%error, "the tracker could not be told of a withheld share");
        }
        // What was announced while there was no offer was not; and folders are looked at before they are offered.
        if is_kept {
            self.request_reannounce(std::iter::once(key));
        }
        self.set_unannounced(key, !is_kept);
    }

    /// Offers a file from another of its places, where it is shared from several: the offer may have been read from one that went.
    pub(super) fn offer_twin(&self, user: UserId, key: Key) {
        self.offer_twin_of(|s| s.user == user && key_of(s) == key);
    }

    fn offer_twin_of(&self, is_meant: impl Fn(&Share) -> bool) {
        let is_twin = |s: &&Share| s.folder.is_none() && s.withheld.is_none() && is_meant(s);
        if let Some(twin) = self.registry(|r| r.shares().iter().find(is_twin).cloned()) {
            self.0.host.offers.put(self.whole_offer(&twin));
        }
    }

    /// This was read, and is as it was shared: it is offered and announced again, unless it was stopped or replaced meanwhile.
    pub(super) async fn restore_verified(&self, share: Share) {
        let _one = self.0.rechecking.lock().await;
        let (shares, looked) = (self.clone(), share.clone());
        match blocking(move || shares.registry(|r| r.note_look(&looked))).await {
            Ok(Some(_)) => self.bring_back_all(vec![share]).await,
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "a share's new state could not be saved"),
        }
    }

    /// Looks again at the shares of which nothing can be given, and brings back those that are as they were shared.
    pub(super) async fn look_for_mended(&self) {
        let Ok(user) = self.user() else { return };
        let _one = self.0.rechecking.lock().await;
        let is_withheld = |s: &&Share| s.user == user && s.withheld.is_some();
        let mut withheld: Vec<Share> = self.registry(|r| r.shares().iter().filter(is_withheld).cloned().collect());
        withheld.retain(|share| self.is_due(share, false));
        if withheld.is_empty() {
            return;
        }
        let suspects = blocking(move || Ok(withheld.into_iter().filter(looks_otherwise).collect::<Vec<_>>()));
        let mut mended = Vec::new();
        for share in suspects.await.unwrap_or_default() {
            if self.is_as_before(&share) {
                mended.extend(self.checked(share).await.map(|Sound { share, .. }| share));
            }
        }
        if !mended.is_empty() {
            self.bring_back_all(mended).await;
        }
    }
}

/// Whether a look may find anything else than the last one did. Blocks on the disk.
fn looks_otherwise(share: &Share) -> bool {
    match (&share.withheld, std::fs::metadata(&share.path)) {
        (Some(Withheld::Away(_)), Err(_)) => false,
        (Some(known), Ok(met)) => !known.is_known_at(&Stamp::of(&met)),
        _ => true,
    }
}
