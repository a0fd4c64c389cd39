//! What an unfinished download is, remembered over restarts: a small versioned file each, beside its
//! journal.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::{fs, io};

use common::id::{FileId, FileName, GroupId, GroupName, Sha1Digest, TreeId, UserId};
use common::pieces::PieceLayout;
use serde::{Deserialize, Serialize};

use super::folder::Choice;
use super::picker::Strategy;
use super::unlisted::Publication;
use crate::error::Error;
use crate::private_file;
use crate::settings::limit::Limit;
use crate::transfer::saved::{path, private_directory, text};

const VERSION: u32 = 1;

/// One download: what, from which group, whereto.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Spec {
    /// Of this form.
    pub(crate) version: u32,
    /// Its number, as shown.
    pub(crate) n: u64,
    /// Who started it.
    #[serde(with = "text")]
    pub(crate) user: UserId,
    /// What the group was called when the download began; see [`GroupNames`](crate::trackers::group_names::GroupNames).
    pub(crate) group: GroupName,
    #[serde(with = "text")]
    pub(crate) group_id: GroupId,
    pub(crate) name: FileName,
    #[serde(with = "text")]
    pub(crate) file_id: FileId,
    pub(crate) layout: PieceLayout,
    #[serde(with = "text")]
    pub(crate) sha1: Sha1Digest,
    /// Directory of the finished file, absolute.
    #[serde(with = "path")]
    pub(crate) directory: PathBuf,
    /// Name of the finished file.
    #[serde(with = "path")]
    pub(crate) file_name: OsString,
    /// Name of the unfinished file, in the same directory.
    #[serde(with = "path")]
    pub(crate) part: OsString,
    pub(crate) strategy: Strategy,
    pub(crate) force: bool,
    pub(crate) paused: bool,
    /// How fast it may be sent to others.
    #[serde(default, skip_serializing_if = "Limit::is_none")]
    pub(crate) up: Limit,
    /// How fast it may come.
    #[serde(default, skip_serializing_if = "Limit::is_none")]
    pub(crate) down: Limit,
    /// If it is a folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) folder: Option<FolderSpec>,
    /// How it was published. Earlier releases did not note it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) publication: Option<Publication>,
}

/// What there is to know of a folder besides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FolderSpec {
    #[serde(with = "text")]
    pub(crate) tree: TreeId,
    /// Which of its files are wanted.
    #[serde(flatten)]
    pub(crate) choice: Choice,
    /// Whether a folder that is at the destination is added to.
    pub(crate) merge: bool,
}

/// What a [`Spec`] is made of, but for what the store and the disk decide.
pub(crate) struct Draft {
    pub(crate) user: UserId,
    pub(crate) group: GroupName,
    pub(crate) group_id: GroupId,
    pub(crate) name: FileName,
    pub(crate) file_id: FileId,
    pub(crate) layout: PieceLayout,
    pub(crate) sha1: Sha1Digest,
    pub(crate) strategy: Strategy,
    pub(crate) force: bool,
    pub(crate) folder: Option<FolderSpec>,
    pub(crate) publication: Option<Publication>,
}

impl Draft {
    /// The download with number `n` to `directory`/`file_name`, whose unfinished file has no name yet.
    pub(crate) fn finish(self, n: u64, directory: PathBuf, file_name: OsString) -> Spec {
        let Self { user, group, group_id, name, file_id, layout, sha1, strategy, force, folder, publication } = self;
        Spec {
            version: VERSION,
            n,
            user,
            group,
            group_id,
            name,
            file_id,
            layout,
            sha1,
            directory,
            file_name,
            part: OsString::new(),
            strategy,
            force,
            paused: false,
            up: Limit::default(),
            down: Limit::default(),
            folder,
            publication,
        }
    }
}

impl Spec {
    /// Where the finished file goes.
    pub(crate) fn path(&self) -> PathBuf {
        self.directory.join(&self.file_name)
    }
}

/// The unfinished downloads of one data directory.
#[derive(Debug, Clone)]
pub(crate) struct Specs {
    directory: PathBuf,
    /// One change at a time.
    changing: Arc<Mutex<()>>,
}

impl Specs {
    /// Those under `data_dir`. Blocks on the disk, as all here.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub(crate) fn open(data_dir: &Path) -> Result<Self, Error> {
        let directory = data_dir.join("downloads");
        private_directory(&directory).map_err(|e| Error::from_io("create", &directory, e))?;
        Ok(Self { directory, changing: Arc::default() })
    }

    /// All that can be read, by number; the others are left alone, with a word in the log.
    pub(crate) fn load(&self) -> io::Result<Vec<Spec>> {
        let mut specs = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let path = entry?.path();
            if path.extension().is_some_and(|e| e == "json") {
                match read(&path) {
                    Ok(spec) => specs.push(spec),
                    Err(error) => {
                        tracing::warn!(%error, path = %path.display(), "an unfinished download cannot be read")
                    }
                }
            }
        }
        specs.sort_by_key(|s| s.n);
        Ok(specs)
    }

    /// Download `n`, as it is remembered.
    ///
    /// # Errors
    /// When it is not, or cannot be read.
    pub(crate) fn get(&self, n: u64) -> Result<Spec, Error> {
        let path = self.path(n);
        read(&path).map_err(|e| Error::from_io("read", &path, e))
    }

    /// The highest number that was ever given to a download whose files are still here.
    pub(crate) fn highest(&self) -> io::Result<u64> {
        let entries = fs::read_dir(&self.directory)?;
        let numbers = entries.filter_map(|e| e.ok()?.path().file_stem()?.to_str()?.parse().ok());
        Ok(numbers.max().unwrap_or(0))
    }

    /// Remembers `spec`.
    ///
    /// # Errors
    /// When the file system refuses.
    pub(crate) fn save(&self, spec: &Spec) -> Result<(), Error> {
        let path = self.path(spec.n);
        let text = serde_json::to_vec_pretty(spec).map_err(|e| Error::from_io("write", &path, e.into()))?;
        private_file::replace(&path, &text)
    }

    /// Changes what is remembered of download `n`.
    ///
    /// # Errors
    /// When it is not remembered, or the file system refuses.
    pub(crate) fn change(&self, n: u64, change: impl FnOnce(&mut Spec)) -> Result<(), Error> {
        let _one = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut spec = self.get(n)?;
        change(&mut spec);
        self.save(&spec)
    }

    /// Forgets download `n`, its journal last.
    ///
    /// # Errors
    /// When the file system refuses.
    pub(crate) fn remove(&self, n: u64) -> Result<(), Error> {
        let _one = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        private_file::remove(&self.path(n))?;
        private_file::remove(&self.journal(n))
    }

    fn path(&self, n: u64) -> PathBuf {
        self.directory.join(format!("{n}.json"))
    }

    /// Where the journal of download `n` is.
    pub(crate) fn journal(&self, n: u64) -> PathBuf {
        self.directory.join(format!("{n}.journal"))
    }
}

fn read(path: &Path) -> io::Result<Spec> {
    let spec: Spec = serde_json::from_slice(&fs::read(path)?)?;
    if spec.version == VERSION {
        Ok(spec)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidData, "of another version"))
    }
}
