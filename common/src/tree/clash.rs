//! Finds paths that would be one file on some system.
//!
//! Every file and every folder is reduced to a hash of its folded path; two that are equal are then looked at. So a million
//! entries take 8 bytes each here, and what their paths have in common is folded once.

use std::hash::{BuildHasher, DefaultHasher, Hasher, RandomState};

use unicode_normalization::UnicodeNormalization;

use super::{MAX_FOLDERS, TreeError};
use crate::look::fold;

/// What a path is on a system that tells neither upper from lower case nor one form of an accent from another. Equal for two
/// paths, or two names, that are one there.
pub fn folded(path: &str) -> String {
    if path.is_ascii() {
        return path.to_ascii_lowercase();
    }
    path.nfd().flat_map(fold).nfd().collect()
}

/// Checks the paths that `paths` shows, in order, each time it is called.
///
/// # Errors
/// When two of them, or of the folders that they go through, are one; when there are too many folders; and what `paths` fails with.
pub(super) fn check<F>(paths: F) -> Result<(), TreeError>
where
    F: Fn(&mut dyn FnMut(&str) -> Result<(), TreeError>) -> Result<(), TreeError>,
{
    // An attacker does not know what its paths hash to.
    let seed = RandomState::new();
    let mut walk = Walk::new(&seed);
    let mut hashes = Vec::new();
    paths(&mut |path| walk.step(path, |hash, _| hashes.push(hash)))?;
    hashes.sort_unstable();
    let twice: Vec<u64> = hashes.windows(2).filter(|two| two[0] == two[1]).map(|two| two[0]).collect();
    drop(hashes);
    // Of paths that are not one, some hash alike by chance, once in a lifetime: so this ends with the first, or nearly.
    for hash in twice {
        match first_clash(&paths, &seed, hash)? {
            None => {}
            Some((first, second)) if first == second => return Err(TreeError::FileAndFolder(first)),
            Some((first, second)) => return Err(TreeError::Clash { first, second }),
        }
    }
    Ok(())
}

/// Of the paths that hash to `wanted`, the first two that are one.
fn first_clash<F>(paths: &F, seed: &RandomState, wanted: u64) -> Result<Option<(String, String)>, TreeError>
where
    F: Fn(&mut dyn FnMut(&str) -> Result<(), TreeError>) -> Result<(), TreeError>,
{
    let (mut walk, mut clash) = (Walk::new(seed), None);
    let mut found = Vec::<String>::new();
    let mut see = |hash, path: &str| {
        if hash != wanted || clash.is_some() {
            return;
        }
        match found.iter().find(|other| folded(other) == folded(path)) {
            Some(first) => clash = Some((first.clone(), path.to_owned())),
            None => found.push(path.to_owned()),
        }
    };
    paths(&mut |path| walk.step(path, &mut see))?;
    Ok(clash)
}

/// Goes through paths in order, and so through each folder once.
struct Walk {
    seed: DefaultHasher,
    path: String,
    /// The folders of `path`: where each ends there, and the state of the hash up to its end.
    folders: Vec<(usize, DefaultHasher)>,
    count: usize,
}

impl Walk {
    fn new(seed: &RandomState) -> Self {
        Self { seed: seed.build_hasher(), path: String::new(), folders: Vec::new(), count: 0 }
    }

    /// Tells of the folders that `path` is the first to go through, and of `path`, with their hashes.
    fn step(&mut self, path: &str, mut tell: impl FnMut(u64, &str)) -> Result<(), TreeError> {
        let shared = common_len(self.path.as_bytes(), path.as_bytes());
        let kept = |end: usize| end <= shared && path.as_bytes().get(end) == Some(&b'/');
        self.folders.truncate(self.folders.partition_point(|(end, _)| kept(*end)));
        let (mut at, mut hash) = match self.folders.last() {
            Some((end, hash)) => (*end + 1, hash.clone()),
            None => (0, self.seed.clone()),
        };
        while let Some(len) = path[at..].find('/') {
            write(&mut hash, &path[at..at + len]);
            tell(hash.finish(), &path[..at + len]);
            self.folders.push((at + len, hash.clone()));
            self.count += 1;
            if self.count > MAX_FOLDERS {
                return Err(TreeError::Folders);
            }
            at += len + 1;
        }
        write(&mut hash, &path[at..]);
        tell(hash.finish(), path);
        self.path.clear();
        self.path.push_str(path);
        Ok(())
    }
}

/// Adds a name to a hash of a path.
fn write(hash: &mut DefaultHasher, name: &str) {
    let mut add = |c: char| hash.write(c.encode_utf8(&mut [0; 4]).as_bytes());
    if name.is_ascii() {
        hash.write(name.to_ascii_lowercase().as_bytes());
    } else {
        name.nfd().flat_map(fold).nfd().for_each(&mut add);
    }
    hash.write(b"/");
}

/// Length of the beginning that both have.
pub(super) fn common_len(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}
