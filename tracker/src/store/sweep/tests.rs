use std::sync::Arc;

use common::id::{DeviceId, FileId, GroupId, MembershipId, OriginId, PublicationId, RequestId, SessionId, UserId};
use common::manifest::{Manifest, PieceHash};
use common::pieces::PieceLayout;

use super::*;
use crate::fact::{EndReason, Fact};
use crate::store::{Absent, Asked, Change, Cursor, LogBounds, NewManifest, StoreError};

const HOUR: u64 = 3600;
const NOW: u64 = 1_700_000_000;

fn open(dir: &std::path::Path) -> Store {
    Store::open_as(dir, Arc::new(|| NOW * 1000), OriginId::random()).expect("opened")
}

async fn state(store: &Store, facts: Vec<Fact>, manifest: Option<NewManifest>) {
    let asked = Asked { device: DeviceId::new([1; 32]), request: RequestId::random() };
    let change = Change { facts, manifest, answer: Vec::new(), value: () };
    store.write(asked, move |_| Ok::<_, StoreError>(change)).await.expect("written");
}

/// A login that has been ended, though its token lasts until `expires`.
async fn login(store: &Store, n: u8, expires: u64) -> SessionId {
    let (id, user, device) = (SessionId::new([n; 16]), UserId::new([1; 16]), DeviceId::new([1; 32]));
    let bound = Fact::SessionBound { session: id, credentials: 1 };
    let facts = vec![Fact::Session { id, user, device, expires }, bound, Fact::SessionEnded { session: id }];
    state(store, facts, None).await;
    id
}

async fn knows(store: &Store, id: SessionId) -> (bool, bool) {
    let known = move |s: &crate::store::State| Ok::<_, StoreError>((s.session(id).is_some(), s.session_ended(id)));
    store.read(known).await.expect("read")
}

async fn sweeps(store: &Store, from: u64, hours: u64) -> Swept {
    let mut all = Swept::default();
    for n in 0..hours {
        let swept = store.sweep(from + n * HOUR).await.expect("swept");
        all.sessions += swept.sessions;
        all.manifests += swept.manifests;
    }
    all
}

#[tokio::test]
async fn an_expired_login_is_forgotten_a_week_later_and_the_digest_does_not_show_it() {
    let dir = tempfile::tempdir().expect("directory");
    let store = open(dir.path());
    let (old, good) = (login(&store, 1, NOW - 2 * 24 * HOUR).await, login(&store, 2, NOW + 1000 * 24 * HOUR).await);
    let digest = store.digest().await.expect("digest");
    assert_eq!(sweeps(&store, NOW, EXPIRED).await, Swept::default());
    assert_eq!(knows(&store, old).await, (true, true), "its end least of all");
    let swept = sweeps(&store, NOW + EXPIRED * HOUR, 1).await;
    assert_eq!(swept, Swept { sessions: 1, manifests: 0 });
    assert_eq!((knows(&store, old).await, knows(&store, good).await), ((false, false), (true, true)));
    assert_eq!(store.digest().await.expect("digest"), digest, "a tracker that has not swept yet says the same");
    // What the sibling still has comes back with its facts, and goes again.
    login(&store, 1, NOW - 2 * 24 * HOUR).await;
    assert_eq!(sweeps(&store, NOW + 300 * HOUR, EXPIRED + 1).await.sessions, 1);
}

#[tokio::test]
async fn a_clock_that_jumps_ends_nothing_before_its_time() {
    let dir = tempfile::tempdir().expect("directory");
    let store = open(dir.path());
    let id = login(&store, 1, NOW + 24 * HOUR).await;
    let far = NOW + 10 * 365 * 24 * HOUR;
    sweeps(&store, far, EXPIRED).await;
    // Put right; the sweeps before are void.
    store.sweep(NOW).await.expect("swept");
    assert_eq!(sweeps(&store, far, EXPIRED).await.sessions, 0);
    // Starting again and again is no passing of time.
    for _ in 0..2 * EXPIRED {
        store.sweep(far + (EXPIRED - 1) * HOUR + 1).await.expect("swept");
    }
    assert_eq!(knows(&store, id).await, (true, true));
    assert_eq!(sweeps(&store, far + EXPIRED * HOUR, 1).await.sessions, 1);
}

#[tokio::test]
async fn an_end_of_an_unknown_login_outlives_every_token() {
    let dir = tempfile::tempdir().expect("directory");
    let store = open(dir.path());
    assert!(UNKNOWN * HOUR > common::ticket::SESSION_LIFE.as_secs() + EXPIRED * HOUR);
    let session = SessionId::new([3; 16]);
    let digest = store.digest().await.expect("digest").1;
    state(&store, vec![Fact::SessionEnded { session }], None).await;
    assert_eq!(store.digest().await.expect("digest").1, digest, "one tracker may have forgotten the login");
    sweeps(&store, NOW, EXPIRED + 2 * LOOK_FOR_UNKNOWN).await;
    assert_eq!(knows(&store, session).await, (false, true));
    // The rest of the four months.
    let skipped = |tx: &Connection| Ok(tx.execute("UPDATE sweeps SET number = number + ?1", [UNKNOWN])?);
    store.upkeep(skipped).await.expect("counted");
    assert_eq!(sweeps(&store, NOW + 300 * HOUR, 1).await.sessions, 1);
}

fn manifest(n: u8) -> NewManifest {
    let layout = PieceLayout::new(1000, 1 << 14).expect("layout");
    let sha1 = common::id::Sha1Digest::new([n; 20]);
    NewManifest::new(Manifest::of_hashed(layout, sha1, vec![PieceHash { sha1, chain: [n; 32] }]).expect("a manifest"))
}

/// A share of manifest `n`, under a number of its own, by the member `m`.
async fn publish(store: &Store, publication: u8, n: u8, m: u8) -> NewManifest {
    let (membership, group, user) = (MembershipId::new([m; 16]), GroupId::new([1; 16]), UserId::new([m; 16]));
    let (made, id) = (manifest(n), PublicationId::new([publication; 16]));
    let (file, name) = (made.file(), "f".parse().expect("a name"));
    let facts = vec![
        Fact::Requested { membership, group, user },
        Fact::Accepted { membership, kicks_seen: Vec::new() },
        Fact::Published { id, group, name, file, manifest: made.id(), user, membership },
    ];
    state(store, facts, Some(made.clone())).await;
    made
}

async fn kept(store: &Store, manifest: &NewManifest) -> bool {
    let id = manifest.id();
    !store.read_tables(move |s| s.manifest_part(id, 0)).await.expect("read").is_empty()
}

async fn cut_log(store: &Store) {
    let none = LogBounds { bytes: 0, age_ms: u64::MAX };
    store.trim_log(none, NOW * 1000).await.expect("cut");
}

#[tokio::test]
async fn a_manifest_goes_with_the_last_share_that_can_be_seen_again() {
    let dir = tempfile::tempdir().expect("directory");
    let store = open(dir.path());
    let live = publish(&store, 1, 1, 1).await;
    let withdrawn = publish(&store, 2, 2, 1).await;
    let left = publish(&store, 3, 3, 2).await;
    let both = publish(&store, 4, 4, 2).await;
    publish(&store, 5, 4, 1).await;
    let kicked = publish(&store, 6, 5, 3).await;
    // Fetched for an event that is about to come.
    let next = manifest(6);
    let fetched = next.clone();
    store.add_manifest(fetched).await.expect("stored");
    let ended = Fact::Ended { membership: MembershipId::new([2; 16]), reason: EndReason::Left };
    // A kick that the acceptance has not seen: another acceptance may follow.
    let kick =
        Fact::Kicked { id: crate::fact::KickId([1; 16]), group: GroupId::new([1; 16]), user: UserId::new([3; 16]) };
    state(&store, vec![Fact::Withdrawn { publication: PublicationId::new([2; 16]) }, ended, kick], None).await;
    assert_eq!(store.sweep(NOW).await.expect("swept"), Swept::default(), "the sibling may ask for what the log names");
    cut_log(&store).await;
    assert_eq!(store.sweep(NOW).await.expect("swept").manifests, 2);
    for (manifest, stays) in
        [(&live, true), (&withdrawn, false), (&left, false), (&both, true), (&kicked, true), (&next, true)]
    {
        assert_eq!(kept(&store, manifest).await, stays, "{:?}", manifest.id());
    }
    publish(&store, 7, 2, 1).await;
    assert!(kept(&store, &withdrawn).await, "shared again, it is there again");
    let of: (FileId, ManifestId) = (withdrawn.file(), withdrawn.id());
    let name = "f".parse().expect("a name");
    assert!(
        store
            .read(move |s| Ok::<_, StoreError>(s.has_published(MembershipId::new([1; 16]), &name, of)))
            .await
            .expect("read"),
        "and seen"
    );
}

#[tokio::test]
async fn a_tracker_that_gets_the_state_needs_no_manifest_that_is_gone() {
    let dir = tempfile::tempdir().expect("directory");
    let (a, b) = (open(&dir.path().join("a")), open(&dir.path().join("b")));
    let live = publish(&a, 1, 1, 1).await;
    publish(&a, 2, 2, 1).await;
    state(&a, vec![Fact::Withdrawn { publication: PublicationId::new([2; 16]) }], None).await;
    cut_log(&a).await;
    assert_eq!(a.sweep(NOW).await.expect("swept").manifests, 1);
    let (packed, next) = a.facts(Cursor::default(), usize::MAX).await.expect("read");
    assert!(next.is_none());
    let (packed, heads): (Arc<[u8]>, Arc<[_]>) = (packed.into(), a.heads().await.expect("read").into());
    let applied = b.join_facts(Arc::clone(&packed), Some(Arc::clone(&heads)), Absent::default()).await.expect("joined");
    assert_eq!(applied.missing, Some(live.id()), "that one it must fetch");
    let fetched = live.clone();
    b.add_manifest(fetched).await.expect("stored");
    let applied = b.join_facts(Arc::clone(&packed), Some(Arc::clone(&heads)), Absent::default()).await.expect("joined");
    assert!(applied.missing.is_none() && !applied.facts.is_empty());
    assert_eq!(a.digest().await.expect("digest"), b.digest().await.expect("digest"));
    // Said once more, as after a broken connection, there is nothing to tell anybody.
    assert_eq!(b.join_facts(packed, Some(heads), Absent::default()).await.expect("joined").facts, []);
}
