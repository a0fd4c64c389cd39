//! Trees round-trip, have one form, and hostile ones are refused by name.

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use super::*;

fn file(len: u64) -> Entry {
    let hash = if len == 0 { of_nothing() } else { FileId::new([len as u8; 32]) };
    Entry::File { len, hash, executable: false }
}

fn tree(entries: &[(&str, Entry)]) -> Result<Tree, TreeError> {
    Tree::new(entries.iter().map(|(path, entry)| (path.parse().expect("a path"), *entry)))
}

/// Names of any script that are good, of which few differ only in their case.
fn name() -> impl Strategy<Value = String> {
    let any_script = any::<String>().prop_map(|s| s.chars().take(8).collect::<String>());
    prop_oneof![4 => "[a-f]{1,3}", 1 => "[a-z0-9._ -]{1,12}", 2 => any_script]
        .prop_filter("a name", |name| check_name(name).is_ok())
}

fn check_name(name: &str) -> Result<(), TreeError> {
    name.parse::<TreePath>().and_then(|path| match path.names().count() {
        1 => Ok(()),
        _ => Err(TreeError::Malformed("a path")),
    })
}

fn entry() -> impl Strategy<Value = Entry> {
    (any::<Entry>(), 0..5u64).prop_map(|(entry, few)| match entry {
        Entry::File { len, hash, executable } if few > 0 => Entry::File { len: (len >> 20).max(1), hash, executable },
        Entry::File { executable, .. } => Entry::File { len: 0, hash: of_nothing(), executable },
        Entry::EmptyFolder => Entry::EmptyFolder,
    })
}

/// Entries, some of which may not be side by side.
fn entries() -> impl Strategy<Value = Vec<(TreePath, Entry)>> {
    let path = vec(name(), 1..5).prop_map(|names| names.join("/").parse().expect("a path"));
    btree_map(path, entry(), 0..40).prop_map(|all| all.into_iter().collect())
}

/// Those of `entries` that are a tree together.
fn fitting(entries: Vec<(TreePath, Entry)>) -> Vec<(TreePath, Entry)> {
    let mut kept: Vec<(TreePath, Entry)> = Vec::new();
    for entry in entries {
        kept.push(entry);
        if Tree::new(kept.clone()).is_err() {
            kept.pop();
        }
    }
    kept
}

proptest! {
    #[test]
    fn any_tree_round_trips(entries in entries(), seed: u64) {
        let kept = fitting(entries);
        let mut shuffled = kept.clone();
        fastrand::Rng::with_seed(seed).shuffle(&mut shuffled);
        let tree = Tree::new(shuffled).expect("a tree");
        let read: Vec<_> = tree.iter().map(|n| (n.path.parse::<TreePath>().expect("a path"), n.entry)).collect();
        prop_assert_eq!(&read, &kept);
        let bytes = tree.encode();
        prop_assert_eq!(bytes.len(), form::encoded_len(&tree));
        prop_assert_eq!(Tree::decode(&bytes), Ok(tree.clone()));
        prop_assert_eq!(check(&bytes), Ok(Checked { entries: kept.len() as u32, len: tree.len() }));
        for (at, (path, _)) in kept.iter().enumerate() {
            prop_assert_eq!(tree.find(path.as_str()), Some(at));
        }
    }

    #[test]
    fn a_tree_has_one_form(entries in entries(), at: prop::sample::Index, bit in 0..8u8) {
        let tree = Tree::new(fitting(entries)).expect("a tree");
        let mut bytes = tree.encode();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert_eq!(check(&bytes).err(), Tree::decode(&bytes).err());
        if let Ok(other) = Tree::decode(&bytes) {
            prop_assert_ne!(&other, &tree);
            prop_assert_eq!(other.encode(), bytes);
        }
    }

    #[test]
    fn bytes_are_a_tree_or_refused(mut bytes in vec(any::<u8>(), 0..200)) {
        if let Some(version) = bytes.first_mut() {
            *version = 1;
        }
        match Tree::decode(&bytes) {
            Ok(tree) => prop_assert_eq!(tree.encode(), bytes),
            Err(e) => prop_assert_eq!(check(&bytes), Err(e)),
        }
    }

    #[test]
    fn the_bytes_of_the_files_are_the_piece_space(entries in entries(), from: u64, len in 0..1u64 << 50) {
        let tree = Tree::new(fitting(entries)).expect("a tree");
        let mut end = 0;
        for node in tree.iter() {
            prop_assert_eq!(node.offset, end);
            if let Entry::File { len, .. } = node.entry {
                end += len;
            }
        }
        prop_assert_eq!(tree.len(), end);
        let range = from % (end + 1)..(from % (end + 1) + len).min(end);
        let mut covered = range.start;
        for (at, part) in tree.touching(range.clone()) {
            let node = tree.get(at).expect("an entry");
            let Entry::File { len, .. } = node.entry else { panic!("no file") };
            prop_assert!(part.start < part.end && part.end <= len);
            prop_assert_eq!(node.offset + part.start, covered);
            covered = node.offset + part.end;
        }
        prop_assert_eq!(covered, range.end.max(range.start));
    }

    #[test]
    fn paths_fold_name_by_name(names in vec(name(), 1..5)) {
        let each: Vec<_> = names.iter().map(|n| folded(n)).collect();
        prop_assert_eq!(folded(&names.join("/")), each.join("/"));
    }

    #[test]
    fn what_one_system_takes_for_one_is_refused(names in vec(name(), 1..4), below in name(), at: prop::sample::Index) {
        let at = at.index(names.len());
        let mut other = names.clone();
        other[at] = other[at].to_uppercase();
        let (path, other) = (names.join("/"), other.join("/"));
        prop_assume!(path != other && other.parse::<TreePath>().is_ok());
        let paths = [path.clone(), format!("{other}/{below}")].map(|p| (p.parse().expect("a path"), file(1)));
        let clash = Tree::new(paths);
        prop_assert!(matches!(clash, Err(TreeError::Clash { .. })), "{:?}", clash);
    }
}

#[test]
fn hostile_paths_are_refused_by_name() {
    let long = vec!["x".repeat(255); 17].join("/");
    let deep = ["a"; 257].join("/");
    for path in [
        "",
        "/",
        "a/",
        "/a",
        "a//b",
        ".",
        "..",
        "../x",
        "a/../b",
        "a/./b",
        "a\\b",
        "C:/x",
        "a/b:c",
        "nul",
        "a/CON/b",
        "a/com1.txt",
        "a\0",
        "a/\u{202e}b",
        "a/\n",
        "end./x",
        "end /x",
        "\u{200b}",
        &long,
        &deep,
    ] {
        let refused = path.parse::<TreePath>().expect_err(path);
        assert!(matches!(refused, TreeError::Path { .. }), "{refused}");
        let raw = [&[1, 0][..], &[path.len() as u8 & 0x7f], path.as_bytes(), &[2]].concat();
        if path.len() < 128 {
            assert!(Tree::decode(&raw).is_err(), "{path:?}");
        }
    }
    let refused = "a/nul".parse::<TreePath>().expect_err("a device").to_string();
    assert!(refused.contains("`a/nul`") && refused.contains("device"), "{refused}");
    for fine in ["a", ".git/config", "-rf/x", "a/b/c.tar.gz", "Grüße/データ/한국어", "a b/c d", &["a"; 256].join("/")]
    {
        assert_eq!(fine.parse::<TreePath>().map(|p| p.as_str().to_owned()), Ok(fine.to_owned()));
    }
    assert!(vec!["x".repeat(255); 16].join("/").parse::<TreePath>().is_ok(), "4,095 bytes");
}

#[test]
fn trees_that_cannot_be_made_everywhere_are_refused_by_name() {
    let clash =
        |first: &str, second: &str| Err::<Tree, _>(TreeError::Clash { first: first.into(), second: second.into() });
    assert_eq!(tree(&[("b", file(1)), ("a", file(1)), ("b", file(2))]), Err(TreeError::Duplicate("b".into())));
    assert_eq!(tree(&[("a", file(1)), ("a!", file(1)), ("a/b", file(1))]), Err(TreeError::FileAndFolder("a".into())));
    assert_eq!(tree(&[("a/b", file(1)), ("a", Entry::EmptyFolder)]), Err(TreeError::FileAndFolder("a".into())));
    assert_eq!(tree(&[("x/Make", file(1)), ("x/make", file(1))]), clash("x/Make", "x/make"));
    assert_eq!(tree(&[("A/one", file(1)), ("a/two", file(1))]), clash("A", "a"));
    assert_eq!(tree(&[("\u{e9}/x", file(1)), ("e\u{301}/y", file(1))]), clash("e\u{301}", "\u{e9}"));
    assert_eq!(tree(&[("k/long-name", file(1)), ("\u{212a}/other", file(1))]), clash("k", "\u{212a}"));
    assert_eq!(tree(&[("Stra\u{df}e", file(1)), ("STRASSE", file(1))]), clash("STRASSE", "Stra\u{df}e"));
    let lied = Entry::File { len: 0, hash: FileId::new([1; 32]), executable: false };
    assert_eq!(tree(&[("e", lied)]), Err(TreeError::EmptyFile("e".into())));
    assert_eq!(tree(&[("a", file(u64::MAX)), ("b", file(1))]), Err(TreeError::Content));
    assert!(tree(&[("x1", file(1)), ("xl", file(1)), ("a/x", file(1)), ("b/x", file(1))]).is_ok());
    let shown = TreeError::Duplicate("\u{1b}[2J".into()).to_string();
    assert!(!shown.contains('\u{1b}'), "escaped");
}

#[test]
fn forms_that_are_not_canonical_are_refused() {
    let good = tree(&[("aa", file(300)), ("ab", Entry::EmptyFolder)]).expect("a tree");
    let hash = [44u8; 32];
    let bytes = [&[1, 0, 2][..], b"aa", &[0, 0xac, 0x02], &hash, &[1, 1], b"b", &[2]].concat();
    assert_eq!(good.encode(), bytes);
    assert_eq!(Tree::decode(&bytes), Ok(good));
    for (what, bytes) in [
        ("no bytes", vec![]),
        ("another version", vec![2]),
        ("cut short", bytes[..bytes.len() - 1].to_vec()),
        ("trailing", [&bytes[..], &[0]].concat()),
        ("shares less than it could", [&bytes[..38], &[0, 2], b"ab", &[2]].concat()),
        ("shares more than there is", [&bytes[..38], &[3, 1], b"b", &[2]].concat()),
        ("twice", [&bytes[..38], &[2, 0], &[2]].concat()),
        ("out of order", [&bytes[..38], &[1, 1], b"A", &[2]].concat()),
        ("unknown kind", [&bytes[..38], &[1, 1], b"b", &[3]].concat()),
        ("a long number", [&[1, 0x80, 0, 1][..], b"a", &[2]].concat()),
        ("a huge number", [&[1, 0, 1][..], b"a", &[0], &[0xff; 9], &[2], &hash].concat()),
        ("a number without end", [&[1, 0, 1][..], b"a", &[0], &[0xff; 12]].concat()),
        ("a path longer than the bytes", [&[1, 0, 0xff, 0x1f][..], b"a", &[2]].concat()),
        ("half a character", [&[1, 0, 1][..], &[0xc3], &[2]].concat()),
        ("the bytes of an empty file", [&[1, 0, 1][..], b"a", &[0, 0], &hash].concat()),
    ] {
        assert!(Tree::decode(&bytes).is_err(), "{what}");
        assert_eq!(check(&bytes).err(), Tree::decode(&bytes).err(), "{what}");
    }
}

#[test]
fn a_few_bytes_do_not_become_many() {
    // Each entry takes 4 bytes in the form, and nearly 4,096 written out.
    let stem = vec!["x".repeat(250); 16].join("/");
    let (mut bytes, mut before) = (vec![1], String::new());
    for n in 0..100_000u32 {
        let path = format!("{stem}/{n:08}");
        let shared = clash::common_len(before.as_bytes(), path.as_bytes());
        for len in [shared, path.len() - shared] {
            match len {
                0..0x80 => bytes.push(len as u8),
                _ => bytes.extend([len as u8 | 0x80, (len >> 7) as u8]),
            }
        }
        bytes.extend(&path.as_bytes()[shared..]);
        bytes.push(2);
        before = path;
    }
    assert!(bytes.len() < 1 << 20);
    assert_eq!(Tree::decode(&bytes), Err(TreeError::Length));
    assert_eq!(check(&bytes), Err(TreeError::Length));
}

#[test]
fn what_is_below_a_folder() {
    let t = tree(&[
        ("a", file(3)),
        ("b/c", file(1)),
        ("b/d/e", file(0)),
        ("b/d/f", file(2)),
        ("b!", file(4)),
        ("b0", Entry::EmptyFolder),
    ])
    .expect("a tree");
    let below = |folder: &str| t.under(folder).filter_map(|at| t.get(at)).map(|n| n.path).collect::<Vec<_>>();
    assert_eq!(below("b"), ["b/c", "b/d/e", "b/d/f"]);
    assert_eq!(below("b/d"), ["b/d/e", "b/d/f"]);
    assert_eq!(below("").len(), 6);
    assert!(below("a").is_empty() && below("c").is_empty());
    assert_eq!((t.find("b"), t.find("b/c"), t.get(6)), (None, Some(2), None));
    let touched: Vec<_> = t.touching(2..9).collect();
    assert_eq!(touched, [(0, 2..3), (1, 0..4), (2, 0..1), (4, 0..1)]);
    assert_eq!(t.touching(0..0).count() + t.touching(3..3).count() + t.touching(10..20).count(), 0);
}

#[test]
fn an_empty_folder_is_a_tree() {
    let nothing = tree(&[]).expect("a tree");
    assert_eq!(nothing.encode(), [1]);
    assert_eq!((nothing.len(), nothing.entries(), nothing.is_empty()), (0, 0, true));
    assert_eq!(Tree::decode(&[1]), Ok(nothing.clone()));
    assert_eq!(nothing.id(), id_of(&[1]));
}
