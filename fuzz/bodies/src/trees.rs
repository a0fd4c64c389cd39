//! Trees of folders from bytes that anyone may have sent: taken exactly when they are the one form of a tree whose paths stay below a
//! directory, side by side, on every system; and then every byte of the piece space belongs to one file.

use std::collections::BTreeSet;

use common::id::FileId;
use common::tree::{Entry, MAX_DEPTH, MAX_PATH_BYTES, Tree, TreeError, TreePath, check, folded, id_of};

use crate::harmless;
use crate::input::Input;

/// Bytes as they come, or a tree of made-up entries.
pub fn run(data: &[u8]) {
    match data.split_first() {
        Some((kind, rest)) if kind.is_multiple_of(4) => made_up(&mut Input::new(rest)),
        Some((_, rest)) => received(rest),
        None => {}
    }
}

fn received(bytes: &[u8]) {
    let decoded = Tree::decode(bytes);
    assert_eq!(check(bytes).err(), decoded.as_ref().err().cloned(), "with and without a tree in memory");
    match decoded {
        Ok(tree) => {
            assert_eq!(tree.encode(), bytes, "one tree has one form");
            assert_eq!(tree.id(), id_of(bytes));
            sound(&tree);
        }
        Err(e) => harmless(&e.to_string()),
    }
}

fn made_up(input: &mut Input<'_>) {
    let mut entries = Vec::new();
    for _ in 0..input.below(20) {
        let names: Vec<&str> = (0..=input.below(3)).map(|_| NAMES[input.below(NAMES.len())]).collect();
        let Ok(path) = names.join("/").parse::<TreePath>() else { continue };
        let executable = input.byte() & 1 == 1;
        let entry = match u64::from(input.u16() % 300) {
            0 => Entry::EmptyFolder,
            1 => Entry::File { len: 0, hash: common::tree::of_nothing(), executable },
            len => Entry::File { len, hash: FileId::new(input.array()), executable },
        };
        entries.push((path, entry));
    }
    match Tree::new(entries.clone()) {
        Ok(tree) => {
            assert_eq!(tree.entries(), entries.len());
            received(&tree.encode());
        }
        Err(e) => {
            harmless(&e.to_string());
            assert!(!matches!(e, TreeError::Malformed(_)), "{e}");
        }
    }
}

/// Some of these are the same somewhere.
const NAMES: [&str; 9] = ["a", "A", "b", "b.txt", "a!", "\u{e9}", "e\u{301}", "c d", "0"];

fn sound(tree: &Tree) {
    let (mut end, mut before, mut nodes) = (0, None, BTreeSet::new());
    for (at, node) in tree.iter().enumerate() {
        let path: TreePath = node.path.parse().expect("a path");
        assert!(node.path.len() <= MAX_PATH_BYTES && path.names().count() <= MAX_DEPTH);
        assert!(path.names().all(|name| !matches!(name, "" | "." | "..") && !name.contains(['\\', ':', '\0'])));
        assert!(before.is_none_or(|before| before < node.path), "in order");
        assert!(nodes.insert(folded(node.path)), "{:?} is there twice on some system", node.path);
        assert_eq!((node.offset, tree.find(node.path)), (end, Some(at)));
        if let Entry::File { len, .. } = node.entry {
            end += len;
        }
        before = Some(node.path);
    }
    assert_eq!(tree.len(), end);
    let covered = tree.touching(0..end).map(|(_, part)| part.end - part.start).sum::<u64>();
    assert_eq!(covered, end);
}

/// Trees of a few kinds.
pub fn seeds() -> Vec<Vec<u8>> {
    let file = |len: u64| Entry::File { len, hash: FileId::new([len as u8; 32]), executable: len % 2 == 1 };
    let trees: [&[(&str, Entry)]; 4] = [
        &[],
        &[
            ("README", file(100)),
            ("src/lib.rs", file(3)),
            ("src/main.rs", file(70_000)),
            ("target", Entry::EmptyFolder),
        ],
        &[("a/b/c/d", file(1)), ("a/b/c/e", file(u64::MAX >> 1)), ("a/b0", file(2)), ("Grüße/データ", file(5))],
        &[("x", Entry::File { len: 0, hash: common::tree::of_nothing(), executable: true })],
    ];
    let form = |entries: &&[(&str, Entry)]| {
        let entries = entries.iter().map(|(path, entry)| (path.parse().expect("a path"), *entry));
        [&[1][..], &Tree::new(entries).expect("a tree").encode()].concat()
    };
    let mut seeds: Vec<Vec<u8>> = trees.iter().map(form).collect();
    seeds.push((0..200u8).map(|n| n.wrapping_mul(4)).collect());
    seeds
}
