//! What it means for a download that the tracker that answers does not list its content.
//!
//! Pure. A tracker may lag behind the other one: that it lists nothing is no proof while it cannot be compared with the other.
//! Proof is what a tracker cannot say unless the content was withdrawn, whatever the other one knows.

use common::id::UserName;
use common::ticket::UnixSeconds;
use common::wire::client::ShareInfo;
use serde::{Deserialize, Serialize};

/// When a content was published under its name, by the trackers' clock, and by whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Publication {
    pub(crate) published: UnixSeconds,
    pub(crate) uploader: UserName,
}

impl From<ShareInfo> for Publication {
    fn from(ShareInfo { file, published, .. }: ShareInfo) -> Self {
        Self { published, uploader: file.uploader }
    }
}

impl Publication {
    /// Whether this is certain to be the later word of the same uploader. Of the same second it is not known which is later; and
    /// somebody else may only have given the same name while the trackers were cut off from each other: then the earlier one keeps
    /// it when they meet again.
    pub(crate) fn replaces(&self, other: &Self) -> bool {
        self.published > other.published && self.uploader == other.uploader
    }
}

/// What is known of a content that a tracker does not list.
#[derive(Debug)]
pub(crate) struct Unlisted<'a> {
    /// The other tracker may know more.
    pub(crate) is_apart: bool,
    /// The same tracker has listed it before.
    pub(crate) was_listed: bool,
    /// How it was published, where that is known.
    pub(crate) own: Option<&'a Publication>,
    /// The other content that has its name now.
    pub(crate) in_its_place: Option<&'a Publication>,
}

impl Unlisted<'_> {
    /// Whether it is certain that it was withdrawn: then nobody who has it will come.
    pub(crate) fn is_withdrawn(&self) -> bool {
        // Both trackers say so.
        if !self.is_apart {
            return true;
        }
        // This tracker knew of it: it has not missed the publication, but heard of its end, and that is final.
        if self.was_listed {
            return true;
        }
        // What a tracker that lags behind lists under the name is older than what took its place elsewhere.
        self.own.zip(self.in_its_place).is_some_and(|(own, other)| other.replaces(own))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by(uploader: &str, published: UnixSeconds) -> Publication {
        Publication { published, uploader: uploader.parse().expect("a name") }
    }

    fn judged(own: Option<&Publication>, in_its_place: Option<&Publication>) -> bool {
        Unlisted { is_apart: true, was_listed: false, own, in_its_place }.is_withdrawn()
    }

    #[test]
    fn one_tracker_ends_what_its_uploader_has_replaced_since() {
        let (own, later) = (by("alice", 100), by("alice", 101));
        assert!(judged(Some(&own), Some(&later)));
    }

    #[test]
    fn a_tracker_that_lags_behind_ends_nothing() {
        let own = by("alice", 100);
        assert!(!judged(Some(&own), Some(&by("alice", 50))), "it only knows the older version");
        assert!(!judged(Some(&own), Some(&by("alice", 100))), "of the same second");
        assert!(!judged(Some(&own), Some(&by("bob", 200))), "given the same name without knowing of ours");
        assert!(!judged(Some(&own), None), "it knows of no version");
        assert!(!judged(None, Some(&by("alice", 200))), "begun by a release that did not note when ours was published");
    }

    #[test]
    fn both_trackers_or_one_that_knew_it_end_it() {
        let unlisted = |is_apart, was_listed| Unlisted { is_apart, was_listed, own: None, in_its_place: None };
        assert!(unlisted(false, false).is_withdrawn() && unlisted(true, true).is_withdrawn());
        assert!(!unlisted(true, false).is_withdrawn());
    }
}
