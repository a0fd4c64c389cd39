//! What things take: the rows by the compiler's word, the whole by the system's.

use common::id::{DeviceId, FileId, GroupId, MembershipId, OriginId, PublicationId, Sha1Digest, UserId};
use common::pieces::PieceLayout;

use crate::fact::{Fact, Hlc, ManifestId, Stamp};
use crate::state::rows::{
    FileRow, GroupRow, ManifestRow, MembershipRow, PublicationRow, SeederRow, SessionRow, ShareRow, UserRow,
};
use crate::state::{ManifestHead, NewsQuery, State};

#[test]
fn rows_are_as_small_as_the_header_says() {
    let rows = [
        ("publication", size_of::<PublicationRow>(), 72),
        ("share", size_of::<ShareRow>(), 56),
        ("file", size_of::<FileRow>(), 96),
        ("seeder", size_of::<SeederRow>(), 28),
        ("manifest", size_of::<ManifestRow>(), 88),
        ("membership", size_of::<MembershipRow>(), 104),
        ("group", size_of::<GroupRow>(), 328),
        ("user", size_of::<UserRow>(), 184),
        ("login", size_of::<SessionRow>(), 80),
    ];
    for (what, bytes, most) in rows {
        assert!(bytes <= most, "{what}: {bytes} bytes");
    }
}

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("a process");
    let line = status.lines().find_map(|l| l.strip_prefix("RssAnon:")).expect("a figure");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
}

fn mixed<const N: usize, T: From<[u8; N]>>(n: u32, kind: u8) -> T {
    let mut id = [0; N];
    let hash = blake3::hash(&[&n.to_le_bytes()[..], &[kind]].concat());
    id.copy_from_slice(&hash.as_bytes()[..N]);
    T::from(id)
}

fn at(n: u32) -> Stamp {
    Stamp { hlc: Hlc::from_stored(i64::from(n) << 16), origin: OriginId::new([1; 16]) }
}

/// To be run alone: `cargo test -p shoal-tracker --lib a_million_shares -- --ignored --nocapture`.
#[test]
#[ignore = "takes a minute, and measures the whole process"]
fn a_million_shares_in_one_group_take_what_the_header_says() {
    let mut state = State::default();
    let (group, user, membership) = (GroupId::new([1; 16]), UserId::new([1; 16]), MembershipId::new([1; 16]));
    drop(state.join(at(1), &Fact::User { id: user, name: "alice".parse().expect("a name") }));
    drop(state.join(at(2), &Fact::Requested { membership, group, user }));
    drop(state.join(at(3), &Fact::Accepted { membership, kicks_seen: Vec::new() }));
    let (before, began) = (resident(), std::time::Instant::now());
    let count = 1_000_000;
    for n in 0..count {
        let (file, manifest) = (mixed::<32, FileId>(n, 1), ManifestId(mixed(n, 2)));
        let layout = PieceLayout::new(1 << 30, 1 << 20).expect("a layout");
        drop(state.add_manifest(manifest, ManifestHead { layout, sha1: Sha1Digest::new([1; 20]), folder: None }));
        let name = format!("some-file-{n:07}.bin").parse().expect("a name");
        let id = mixed::<16, PublicationId>(n, 3);
        drop(state.join(at(n + 4), &Fact::Published { id, group, name, file, manifest, user, membership }));
        let device = mixed::<32, DeviceId>(n % 1000, 4);
        drop(state.join(at(n + 4), &Fact::Seeding { group, file, device, user, membership, on: true }));
    }
    let (each, took) = ((resident() - before) / u64::from(count), began.elapsed() / count);
    println!("a share: {each} bytes, joined with its manifest and seeder in {took:?}");
    assert!(each <= 560, "{each} bytes");
}

/// Whatever the groups have: a thousand of them, with a thousand shares each, and a member of all.
#[test]
#[ignore = "takes a minute"]
fn a_page_of_news_takes_as_long_whatever_there_is() {
    let mut state = State::default();
    let (alice, bob) = (UserId::new([1; 16]), UserId::new([2; 16]));
    drop(state.join(at(1), &Fact::User { id: alice, name: "alice".parse().expect("a name") }));
    drop(state.join(at(1), &Fact::User { id: bob, name: "bob".parse().expect("a name") }));
    for n in 0..1000 {
        let (group, membership) = (mixed::<16, GroupId>(n, 1), mixed::<16, MembershipId>(n, 2));
        let name = format!("group-{n:04}").parse().expect("a name");
        drop(state.join(at(2), &Fact::Group { id: group, name, creator: alice }));
        for (user, membership) in [(alice, membership), (bob, mixed(n, 3))] {
            drop(state.join(at(n + 3), &Fact::Requested { membership, group, user }));
            drop(state.join(at(n + 3), &Fact::Accepted { membership, kicks_seen: Vec::new() }));
        }
        for m in 0..1000 {
            let number = n * 1000 + m;
            let (file, manifest) = (mixed::<32, FileId>(number, 4), ManifestId(mixed(number, 5)));
            let layout = PieceLayout::new(1 << 30, 1 << 20).expect("a layout");
            drop(state.add_manifest(manifest, ManifestHead { layout, sha1: Sha1Digest::new([1; 20]), folder: None }));
            let (id, name) = (mixed(number, 6), format!("file-{m:04}").parse().expect("a name"));
            let share = Fact::Published { id, group, name, file, manifest, user: alice, membership };
            drop(state.join(at(10_000 + m * 1000 + n), &share));
        }
    }
    let query = NewsQuery { user: bob, files_of: None, since: Hlc::default(), before: None, most: 200 };
    let (began, pages) = (std::time::Instant::now(), 100);
    for _ in 0..pages {
        assert_eq!(state.news(&query).rows.len(), 200);
    }
    let took = began.elapsed() / pages;
    println!("a page of 200 rows: {took:?}");
    assert!(took < std::time::Duration::from_millis(20), "{took:?}, without optimisation");
}

#[test]
#[ignore = "takes half a minute, and measures the whole process"]
fn a_million_members_take_what_the_header_says() {
    let mut state = State::default();
    let count = 1_000_000;
    for n in 0..count {
        drop(state.join(at(n), &Fact::User { id: mixed(n, 1), name: format!("user-{n:07}").parse().expect("a name") }));
    }
    let (before, began) = (resident(), std::time::Instant::now());
    for n in 0..count {
        let (group, membership) = (GroupId::new([(n % 10) as u8; 16]), mixed(n, 2));
        drop(state.join(at(n), &Fact::Requested { membership, group, user: mixed(n, 1) }));
        drop(state.join(at(n), &Fact::Accepted { membership, kicks_seen: Vec::new() }));
    }
    let (each, took) = ((resident() - before) / u64::from(count), began.elapsed() / count);
    println!("a member: {each} bytes, joined in {took:?}");
    assert!(each <= 300, "{each} bytes");
}
