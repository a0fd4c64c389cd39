//! Which files of a shared folder are no longer what was hashed.
//!
//! A file whose mark is as it was is taken as unchanged. Another is read: if its content is what the tree says, only its mark
//! is new. Blocks on the disk.

use std::io::{self, Read};

use common::id::FileId;
use common::tree::{Entry, Tree};
use rustix::fs::FileType;

use crate::transfer::beneath::{Beneath, met};

/// Bytes that are read at a time.
const BUFFER: usize = 256 << 10;

/// A file whose mark is another than it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::share) struct Change {
    /// Which one.
    pub(in crate::share) index: usize,
    /// Its mark now; 0 if it is gone, or no file.
    pub(in crate::share) mark: u64,
    /// Whether its content is what it was.
    pub(in crate::share) same: bool,
}

/// Compares the files of `tree` below `root` with their `marks`; those with mark 0 were not there. `known` says of a file
/// with a new mark whether its content was looked at already, at that mark.
pub(in crate::share) fn changes(
    root: &Beneath,
    tree: &Tree,
    marks: &[u64],
    known: impl Fn(usize, u64) -> bool,
) -> Vec<Change> {
    let mut found = Vec::new();
    for (index, (node, &mark)) in tree.iter().zip(marks).enumerate() {
        let Entry::File { len, hash, .. } = node.entry else { continue };
        if mark == 0 {
            continue;
        }
        let now = root.look(node.path).ok().filter(|met| met.kind == FileType::RegularFile);
        let now_mark = now.map_or(0, |met| met.stamp.mark());
        if now_mark == mark {
            continue;
        }
        if known(index, now_mark) {
            found.push(Change { index, mark: now_mark, same: false });
            continue;
        }
        let content = now.filter(|met| met.stamp.len == len).and_then(|_| hash_file(root, node.path).ok());
        let (same, now_mark) = match content {
            Some((read, at)) => (read == hash, at),
            None => (false, now_mark),
        };
        found.push(Change { index, mark: now_mark, same });
    }
    found
}

/// BLAKE3 of a file, and its mark before and after that.
///
/// # Errors
/// When it cannot be read, or changes meanwhile.
pub(crate) fn hash_file(root: &Beneath, path: &str) -> io::Result<(FileId, u64)> {
    let mut file = root.read(path)?;
    let mark = met(&file)?.stamp.mark();
    let (mut hasher, mut buffer) = (blake3::Hasher::new(), vec![0; BUFFER]);
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            n => _ = hasher.update(&buffer[..n]),
        }
    }
    if met(&file)?.stamp.mark() != mark {
        return Err(io::Error::other("it changed while it was read"));
    }
    Ok((FileId::new(*hasher.finalize().as_bytes()), mark))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn only_a_file_with_other_content_has_changed() {
        let dir = tempfile::tempdir().expect("a directory");
        let at = |name: &str| dir.path().join(name);
        let names = ["a", "b", "c", "d", "e"];
        names.iter().for_each(|name| fs::write(at(name), name).expect("written"));
        let root = Beneath::open(dir.path()).expect("opened");
        let entry = |name: &str| {
            let hash = FileId::new(*blake3::hash(name.as_bytes()).as_bytes());
            (name.parse().expect("a path"), Entry::File { len: 1, hash, executable: false })
        };
        let tree = Tree::new(names.map(entry)).expect("a tree");
        let mut marks: Vec<_> = names.iter().map(|n| root.look(n).expect("there").stamp.mark()).collect();
        assert_eq!(changes(&root, &tree, &marks, |_, _| false), []);
        fs::remove_file(at("a")).expect("removed");
        fs::write(at("b"), "other").expect("written");
        fs::write(at("new"), "c").expect("written");
        fs::rename(at("new"), at("c")).expect("renamed");
        marks[3] = 0;
        fs::write(at("d"), "other").expect("written");
        let found = changes(&root, &tree, &marks, |_, _| false);
        let same: Vec<_> = found.iter().map(|c| (c.index, c.same)).collect();
        assert_eq!(same, [(0, false), (1, false), (2, true)]);
        assert_eq!(found[0].mark, 0);
        // What was looked at is not read again.
        let again = changes(&root, &tree, &marks, |index, mark| index == 2 && mark == found[2].mark);
        assert!(again.iter().any(|c| c.index == 2 && !c.same));
    }
}
