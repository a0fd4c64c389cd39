//! What this device shares, remembered over restarts: small versioned files, one for files and one for folders. A release
//! from before there were folders leaves the second alone.
//!
//! Invariant: what [`Registry`] holds is what is on the disk, but for how a changed file was at the last look; a change that
//! cannot be saved is undone. Knows nothing about serving or trackers.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use common::id::{FileId, FileName, GroupId, GroupName, Sha1Digest, TreeId, UserId};
use common::pieces::PieceLayout;
use common::wire::client::FileSelector;
use serde::{Deserialize, Serialize};

use super::key_of;
use super::withheld::Withheld;
use crate::error::Error;
use crate::private_file;
use crate::transfer::saved::{path, text};
use crate::transfer::stamp::Stamp;

const VERSION: u32 = 1;

/// What makes a share a folder's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FolderShare {
    #[serde(with = "text")]
    pub(crate) tree: TreeId,
    /// Files and empty folders in its tree.
    pub(crate) entries: u64,
    /// Whether some of its files are not here.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) partial: bool,
}

/// One complete file, or a folder, that this device shares in one group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Share {
    /// Who shared it.
    #[serde(with = "text")]
    pub(crate) user: UserId,
    /// What the group was called when this was shared; see [`GroupNames`](crate::trackers::group_names::GroupNames).
    pub(crate) group: GroupName,
    #[serde(with = "text")]
    pub(crate) group_id: GroupId,
    pub(crate) name: FileName,
    #[serde(with = "text")]
    pub(crate) file_id: FileId,
    pub(crate) layout: PieceLayout,
    #[serde(with = "text")]
    pub(crate) sha1: Sha1Digest,
    /// Where the file lies, absolute.
    #[serde(with = "path")]
    pub(crate) path: PathBuf,
    /// How it was when it was hashed.
    pub(crate) stamp: Stamp,
    /// Why the trackers do not let this device seed it, when they were asked last. It is kept all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) refused: Option<String>,
    /// Why nothing of it can be given, if so. It is kept all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) withheld: Option<Withheld>,
    /// What there is to know of a folder. Its stamp is its own; those of its files are kept apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) folder: Option<FolderShare>,
}

impl Share {
    /// Whether `selector` means this share, among those of its group.
    pub(crate) fn is(&self, selector: &FileSelector) -> bool {
        match selector {
            FileSelector::Name(name) => self.name == *name,
            FileSelector::IdPrefix(prefix) => self.file_id.to_string().starts_with(prefix.as_str()),
        }
    }

    /// Whether it is of the same user, in the same group, under the same name.
    pub(crate) fn same_place(&self, other: &Self) -> bool {
        (self.user, self.group_id, &self.name) == (other.user, other.group_id, &other.name)
    }

    /// Whether this is the same content in the same group under the same name and user, wherever it lies.
    pub(crate) fn is_same_share(&self, other: &Self) -> bool {
        self.same_place(other) && key_of(self) == key_of(other)
    }
}

#[derive(Serialize, Deserialize)]
struct Stored {
    version: u32,
    shares: Vec<Share>,
}

/// The shares of one data directory.
#[derive(Debug)]
pub(crate) struct Registry {
    file: PathBuf,
    folders: PathBuf,
    shares: Vec<Share>,
}

impl Registry {
    /// Reads the registry under `data_dir`; none there is an empty one. Blocks on the disk.
    ///
    /// # Errors
    /// When the file cannot be read, is damaged, or was written by a newer version: it is left as it is.
    pub(crate) fn open(data_dir: &Path) -> Result<Self, Error> {
        let [file, folders] = ["shares.json", "folders.json"].map(|name| data_dir.join(name));
        let mut shares = read(&file)?;
        shares.extend(read(&folders)?);
        Ok(Self { file, folders, shares })
    }

    /// All shares.
    pub(crate) fn shares(&self) -> &[Share] {
        &self.shares
    }

    /// Adds `share`, in place of one with the same user, group and name. Blocks on the disk.
    pub(crate) fn put(&mut self, share: Share) -> Result<(), Error> {
        let mut shares: Vec<_> = self.shares.iter().filter(|s| !s.same_place(&share)).cloned().collect();
        shares.push(share);
        self.replace(shares)
    }

    /// Gives `share` another name in its group, if it is still there and nothing else goes by that: whether it was given. Blocks on the
    /// disk.
    pub(crate) fn rename(&mut self, share: &Share, name: &FileName) -> Result<bool, Error> {
        let renamed = |share: &Share| Share { name: name.clone(), ..share.clone() };
        let is_free = !self.shares.iter().any(|s| s.same_place(&renamed(share)));
        if !is_free || !self.shares.iter().any(|s| s.is_same_share(share)) {
            return Ok(false);
        }
        let shares = self.shares.iter().map(|s| if s.is_same_share(share) { renamed(s) } else { s.clone() });
        self.replace(shares.collect())?;
        Ok(true)
    }

    /// Notes why each of `judged` is refused, if it is. One that was stopped or replaced meanwhile stays as it is. Blocks on
    /// the disk, once, if that changes anything.
    pub(crate) fn note_refusals(&mut self, judged: Vec<(Share, Option<String>)>) -> Result<(), Error> {
        let place = |s: &Share| (s.user, s.group_id, s.name.clone());
        let mut judged: HashMap<_, _> = judged.into_iter().map(|(share, why)| (place(&share), (share, why))).collect();
        let mut changed = false;
        let mut noted = |share: &Share| match judged.remove(&place(share)) {
            Some((same, refused)) if same == *share && share.refused != refused => {
                changed = true;
                Share { refused, ..same }
            }
            _ => share.clone(),
        };
        let shares = self.shares.iter().map(&mut noted).collect();
        if changed { self.replace(shares) } else { Ok(()) }
    }

    /// Records the stamp and the reason found at `looked.path`, for every name that this content has there in its group. What
    /// was stopped or replaced meanwhile stays as it is. Returns what was there before, if it is there still.
    /// Blocks on the disk if that changes anything. How a changed file is now is written with the next change: it may be another
    /// every few seconds.
    pub(crate) fn note_look(&mut self, looked: &Share) -> Result<Option<Share>, Error> {
        let what = |s: &Share| (key_of(s), s.layout, s.folder.clone());
        let is_meant = |s: &Share| s.path == looked.path && what(s) == what(looked);
        let before = self.shares.iter().find(|s| s.is_same_share(looked) && is_meant(s)).cloned();
        if before.is_none() {
            return Ok(None);
        }
        let noted = |share: &Share| match is_meant(share) {
            true => Share { stamp: looked.stamp, withheld: looked.withheld.clone(), ..share.clone() },
            false => share.clone(),
        };
        let shares: Vec<Share> = self.shares.iter().map(noted).collect();
        match self.shares.iter().zip(&shares).all(|(was, is)| is_same_look(was, is)) {
            true => self.shares = shares,
            false => self.replace(shares)?,
        }
        Ok(before)
    }

    /// Removes the shares that `gone` picks, and returns them. Blocks on the disk if there are any.
    pub(crate) fn remove(&mut self, gone: impl Fn(&Share) -> bool) -> Result<Vec<Share>, Error> {
        let (removed, kept): (Vec<_>, Vec<_>) = self.shares.iter().cloned().partition(gone);
        if !removed.is_empty() {
            self.replace(kept)?;
        }
        Ok(removed)
    }

    fn replace(&mut self, shares: Vec<Share>) -> Result<(), Error> {
        self.write(&self.file, &shares, |share| share.folder.is_none())?;
        self.write(&self.folders, &shares, |share| share.folder.is_some())?;
        self.shares = shares;
        Ok(())
    }

    /// Writes those of `shares` that belong into `file`, if they are others than before.
    fn write(&self, file: &Path, shares: &[Share], belongs: impl Fn(&Share) -> bool) -> Result<(), Error> {
        let of = |shares: &[Share]| shares.iter().filter(|share| belongs(share)).cloned().collect::<Vec<_>>();
        let shares = of(shares);
        if shares == of(&self.shares) {
            return Ok(());
        }
        let stored = Stored { version: VERSION, shares };
        let text = serde_json::to_vec_pretty(&stored).map_err(|e| Error::from_io("write", file, e.into()))?;
        private_file::replace(file, &text)
    }
}

/// Whether two looks at one share have found the same, whenever that was.
fn is_same_look(was: &Share, is: &Share) -> bool {
    let is_same_finding = match (&was.withheld, &is.withheld) {
        (Some(was), Some(is)) => was.is_same_finding(is),
        (None, None) => true,
        _ => false,
    };
    is_same_finding && was.stamp == is.stamp
}

fn read(file: &Path) -> Result<Vec<Share>, Error> {
    let text = private_file::read(file)?;
    text.map_or(Ok(Vec::new()), |text| parse(&text)).map_err(|e| Error::from_io("read", file, e))
}

fn parse(text: &str) -> io::Result<Vec<Share>> {
    #[derive(Deserialize)]
    struct Version {
        version: u32,
    }
    let Version { version } = serde_json::from_str(text)?;
    if version != VERSION {
        let text =
            format!("it is of version {version}, and this program knows version {VERSION}; install a newer release");
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    Ok(serde_json::from_str::<Stored>(text)?.shares)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::share::NamedFiles;
    use std::ffi::OsString;
    use std::fs;
    use std::os::unix::ffi::OsStringExt;

    pub(crate) fn share(name: &str) -> Share {
        Share {
            user: UserId::new([1; 16]),
            group: "lab".parse().expect("a name"),
            group_id: GroupId::new([2; 16]),
            name: name.parse().expect("a name"),
            file_id: FileId::new([0xab; 32]),
            layout: PieceLayout::new(100, 16 << 10).expect("a layout"),
            sha1: Sha1Digest::new([4; 20]),
            path: OsString::from_vec(b"/tmp/not-\xff-text".to_vec()).into(),
            stamp: Stamp { len: 100, seconds: -1, nanos: 5, device: 6, inode: 7 },
            refused: None,
            withheld: None,
            folder: None,
        }
    }

    #[test]
    fn shares_survive_a_restart_and_replace_each_other_by_name() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut registry = Registry::open(dir.path()).expect("opened");
        registry.put(share("a")).expect("saved");
        registry.put(share("b")).expect("saved");
        let newer = Share { file_id: FileId::new([9; 32]), ..share("a") };
        registry.put(newer.clone()).expect("saved");
        let again = Registry::open(dir.path()).expect("opened");
        assert_eq!(again.shares(), [share("b"), newer.clone()]);
        assert_eq!(registry.remove(|s| s.name.as_str() == "b").expect("saved"), [share("b")]);
        assert_eq!(Registry::open(dir.path()).expect("opened").shares(), [newer]);
    }

    #[test]
    fn a_file_of_before_is_read_and_one_of_now_can_be_read_by_the_release_before() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut registry = Registry::open(dir.path()).expect("opened");
        registry.put(share("a")).expect("saved");
        let text = fs::read_to_string(dir.path().join("shares.json")).expect("read");
        assert!(!text.contains("refused") && !text.contains("withheld"), "as it was written before");
        let refused = Share { refused: Some("why".to_owned()), ..share("a") };
        registry.put(refused.clone()).expect("saved");
        assert_eq!(Registry::open(dir.path()).expect("opened").shares(), [refused]);
    }

    #[test]
    fn what_a_look_has_found_is_kept_of_what_is_still_there_and_of_nothing_else() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut registry = Registry::open(dir.path()).expect("opened");
        let elsewhere = Share { path: "/elsewhere".into(), ..share("c") };
        for share in [share("a"), share("b"), elsewhere.clone()] {
            registry.put(share).expect("saved");
        }
        let stamp = Stamp { nanos: 6, ..share("a").stamp };
        let changed = Withheld::Changed { at: Some(stamp), files: NamedFiles::default() };
        for withheld in [Some(Withheld::Away("gone".to_owned())), Some(changed.clone()), None] {
            let found = |name| Share { stamp, withheld: withheld.clone(), ..share(name) };
            let before = registry.shares()[0].clone();
            assert_eq!(registry.note_look(&found("a")).expect("saved"), Some(before));
            assert_eq!(registry.shares(), [found("a"), found("b"), elsewhere.clone()], "two names of one file");
            assert_eq!(Registry::open(dir.path()).expect("opened").shares(), registry.shares());
        }
        let replaced = Share { file_id: FileId::new([9; 32]), withheld: Some(changed.clone()), ..share("a") };
        assert_eq!(registry.note_look(&replaced).expect("nothing to save"), None);
        assert!(registry.shares().iter().all(|share| share.withheld.is_none()));
    }

    #[test]
    fn nothing_is_written_where_a_changed_file_has_only_changed_again() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut registry = Registry::open(dir.path()).expect("opened");
        registry.put(share("a")).expect("saved");
        let at = |nanos| Stamp { nanos, ..share("a").stamp };
        let mut look = |nanos| {
            let found = Share { withheld: Some(Withheld::file(at(nanos))), ..share("a") };
            registry.note_look(&found).expect("saved").expect("there");
            let known = registry.shares()[0].withheld.clone().expect("changed");
            assert!(known.is_known_at(&at(nanos)), "it is not read again before it changes");
            fs::read_to_string(dir.path().join("shares.json")).expect("read")
        };
        let first = look(6);
        assert!(first.contains("withheld") && look(7) == first);
        registry.put(share("b")).expect("saved");
        assert_eq!(Registry::open(dir.path()).expect("opened").shares(), registry.shares(), "with the next change");
    }

    #[test]
    fn folders_are_kept_apart_so_that_a_release_before_them_leaves_them_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut registry = Registry::open(dir.path()).expect("opened");
        registry.put(share("a")).expect("saved");
        let file = fs::read_to_string(dir.path().join("shares.json")).expect("read");
        let folder = FolderShare { tree: TreeId::new([3; 32]), entries: 5, partial: false };
        let folder = Share { folder: Some(folder), ..share("b") };
        registry.put(folder.clone()).expect("saved");
        assert_eq!(fs::read_to_string(dir.path().join("shares.json")).expect("read"), file);
        assert_eq!(Registry::open(dir.path()).expect("opened").shares(), [share("a"), folder]);
        // The same name, as a file.
        registry.put(share("b")).expect("saved");
        assert_eq!(Registry::open(dir.path()).expect("opened").shares(), [share("a"), share("b")]);
    }

    #[test]
    fn a_damaged_or_newer_file_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("shares.json");
        for bad in ["", "{", r#"{"version":2,"shares":[]}"#, r#"{"version":1,"shares":[{}]}"#] {
            fs::write(&file, bad).expect("written");
            assert!(Registry::open(dir.path()).is_err(), "{bad}");
            assert_eq!(fs::read_to_string(&file).expect("read"), bad);
        }
    }

    #[test]
    fn selectors_mean_a_name_or_the_beginning_of_an_id() {
        let is = |s: &str| share("a b").is(&s.parse().expect("a selector"));
        assert!(is("a b") && is("id:abababab") && is("id:ABABABABAB"));
        assert!(!is("a") && !is("id:abababac"));
    }
}
