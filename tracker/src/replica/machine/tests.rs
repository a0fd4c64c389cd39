//! One state machine, told by hand what happens.

use common::id::TreeId;
use common::wire::limits::{MAX_PART, MAX_TREE_PART};
use common::wire::sync::{Ack, Batch, Event, Head, Hello, ManifestPart, REVISION, TreePart, VERSION};

use super::*;
use crate::fact::ManifestId;
use crate::store::{Applied, Cursor, Outbox};

const OURS: OriginId = OriginId::new([2; 16]);
const THEIRS: OriginId = OriginId::new([1; 16]);
const S: Duration = Duration::from_secs(1);

fn hello(tracker_no: u16, origin: OriginId, revision: u16, heads: &[(OriginId, u64)]) -> Hello {
    let head = |(origin, seq): &(OriginId, u64)| Head { origin: *origin, seq: *seq, hash: [0; 32] };
    let heads = List::first_of(heads.iter().map(head));
    Hello { version: VERSION, schema: u32::from(revision) << 16 | 1, tracker_no, origin, heads, names: [0; 32] }
}

/// Meets a sibling that has `theirs`.
fn meet(m: &mut Machine, now: Instant, revision: u16, theirs: &[(OriginId, u64)], floors: Versions) {
    m.connected(now);
    let ours: Vec<_> = m.versions.iter().map(|(o, seq)| (*o, *seq)).collect();
    let hello_of_ours = hello(2, OURS, REVISION, &ours);
    m.handle_done(now, Done::Introduced { hello: hello_of_ours, floors, votes: 0, quarantined: vec![] });
    m.handle_message(now, SyncFrame::Hello(hello(1, THEIRS, revision, theirs)));
    m.handle_done(now, Done::Compared(vec![]));
    while m.poll_transmit(now).is_some() {}
}

fn met(now: Instant, revision: u16) -> Machine {
    let mut m = Machine::new(2, OURS, Versions::from([(OURS, 1)]), now);
    meet(&mut m, now, revision, &[(OURS, 1)], Versions::new());
    let _ = jobs(&mut m);
    m.handle_done(now, Done::Outbox(Outbox { complete: true, ..Outbox::default() }));
    m
}

fn jobs(m: &mut Machine) -> Vec<Job> {
    std::iter::from_fn(|| m.poll_job()).collect()
}

fn frames(m: &mut Machine, now: Instant) -> Vec<SyncFrame> {
    std::iter::from_fn(|| m.poll_transmit(now)).collect()
}

fn part(first: u32, pieces: usize) -> ManifestPart {
    let layout = common::pieces::PieceLayout::new(100 << 14, 1 << 14).expect("a layout");
    let piece = common::manifest::PieceHash { sha1: common::id::Sha1Digest::new([0; 20]), chain: [0; 32] };
    let pieces = List::first_of(vec![piece; pieces]);
    let (file_id, sha1) = (common::id::FileId::new([0; 32]), common::id::Sha1Digest::new([0; 20]));
    ManifestPart { id: [7; 32], file_id, layout, sha1, first, pieces }
}

/// An event of the sibling names a manifest that is not here.
fn lacks_manifest(m: &mut Machine, now: Instant) {
    m.handle_message(now, SyncFrame::Batch(Batch { number: 1, ..Batch::default() }));
    let missing = Applied { missing: Some(ManifestId([7; 32])), versions: m.versions.clone(), ..Applied::default() };
    m.handle_done(now, Done::Applied(missing));
}

#[test]
fn a_message_that_takes_long_to_arrive_is_no_silence() {
    let mut now = Instant::now();
    let mut m = met(now, REVISION);
    for _ in 0..60 {
        now += S;
        m.arriving(now);
        m.handle_timeout(now);
        assert_eq!(m.wants_drop(), None);
    }
    m.handle_timeout(now + DEAD);
    assert_eq!(m.wants_drop(), Some(Trouble::Silent));
}

#[test]
fn a_sibling_that_falls_behind_is_not_waited_for_and_stays_connected() {
    let now = Instant::now();
    let mut m = met(now, REVISION);
    assert_eq!(m.view().mode, Mode::Dual);
    m.committed(now, &Versions::from([(OURS, 2)]));
    m.arriving(now + S);
    m.handle_timeout(now + PATIENCE);
    assert_eq!((m.view().mode, m.view().mode_since), (Mode::Solo, now + PATIENCE));
    assert!(m.wants_drop().is_none() && m.view().linked);
    // It has everything: dual again once it has kept up for long enough.
    let event = Event { origin: OURS, seq: 2, ..event() };
    let _ = jobs(&mut m);
    m.handle_done(now, Done::Outbox(Outbox { events: vec![event], complete: true, ..Outbox::default() }));
    let ack = Ack { number: 1, versions: common::wire::sync::VersionVector(List::first_of([(OURS, 2)])) };
    m.handle_message(now + 2 * S, SyncFrame::Ack(ack));
    assert_eq!(m.view().mode, Mode::Solo);
    m.handle_timeout(now + 4 * S);
    assert_eq!(m.view().mode, Mode::Dual);
}

fn event() -> Event {
    Event {
        origin: OURS,
        seq: 1,
        hlc: 1,
        deps: Default::default(),
        kind: 1,
        ver: 1,
        device: [0; 32].into(),
        request: [0; 16].into(),
        body: List::default(),
        answer: List::default(),
        prev_hash: [0; 32],
    }
}

#[test]
fn the_slowest_line_is_waited_for() {
    let now = Instant::now();
    let mut m = met(now, REVISION);
    m.committed(now, &Versions::from([(OURS, 2)]));
    let _ = jobs(&mut m);
    let event = Event { origin: OURS, seq: 2, ..event() };
    m.handle_done(
        now,
        Done::Outbox(Outbox { events: vec![event], bytes: 60 << 10, complete: true, ..Outbox::default() }),
    );
    for second in 1..70 {
        m.arriving(now + second * S);
        m.handle_timeout(now + second * S);
        assert_eq!(m.wants_drop(), None, "{second}");
    }
    m.arriving(now + 70 * S);
    m.handle_timeout(now + 70 * S);
    assert_eq!(m.wants_drop(), Some(Trouble::Slow(70 * S)));
}

#[test]
fn a_sibling_of_the_first_release_is_told_nothing_that_it_does_not_know() {
    let now = Instant::now();
    let mut m = met(now, 0);
    assert!(!m.listens_to_presence());
    assert_eq!(m.wants_presence(now + S), 0);
    lacks_manifest(&mut m, now);
    assert_eq!(frames(&mut m, now), [SyncFrame::WantManifest([7; 32])]);
    m.handle_timeout(now + S);
    assert_eq!(frames(&mut m, now), [SyncFrame::Ping], "and no clock");
    // It asks once, and gets as few parts as it takes.
    m.handle_message(now, SyncFrame::WantManifest([8; 32]));
    let read = |job: &Job| matches!(job, Job::ReadManifest { id, first: 0, pieces, .. } if *id == [8; 32] && *pieces >= MAX_PART);
    assert_eq!(jobs(&mut m).iter().filter(|job| read(job)).count(), 1);
}

#[test]
fn a_manifest_goes_on_over_another_connection_where_it_broke() {
    let now = Instant::now();
    let mut m = met(now, REVISION);
    lacks_manifest(&mut m, now);
    assert!(frames(&mut m, now).contains(&SyncFrame::WantManifestFrom { id: [7; 32], first: 0 }));
    m.handle_message(now, SyncFrame::Manifest(part(0, 30)));
    assert!(frames(&mut m, now).contains(&SyncFrame::WantManifestFrom { id: [7; 32], first: 30 }));
    m.disconnected(now);
    meet(&mut m, now, REVISION, &[(OURS, 1)], Versions::new());
    lacks_manifest(&mut m, now);
    assert!(frames(&mut m, now).contains(&SyncFrame::WantManifestFrom { id: [7; 32], first: 30 }));
    m.handle_message(now, SyncFrame::Manifest(part(30, 70)));
    let stored = |job: &Job| matches!(job, Job::StoreManifest(_, parts, None) if parts.len() == 2);
    assert!(jobs(&mut m).iter().any(stored));
}

/// A folder's tree of two runs and a bit.
#[test]
fn a_tree_goes_on_over_another_connection_where_it_was_staged() {
    let (now, tree, len) = (Instant::now(), TreeId::new([9; 32]), 2 * MAX_TREE_PART as u64 + 5);
    let bytes =
        |offset: u64, n: usize| SyncFrame::Tree(TreePart { tree, len, offset, bytes: List::first_of(vec![1; n]) });
    let wants = |m: &mut Machine, from| frames(m, now).contains(&SyncFrame::WantTree { tree, offset: from });
    let staged = |m: &mut Machine, from: u64, n: usize| {
        let is = |job: &Job| matches!(job, Job::StageTree { offset, bytes, .. } if *offset == from && bytes.len() == n);
        assert!(jobs(m).iter().any(is), "from {from}");
    };
    let full = MAX_TREE_PART as u64;
    let mut m = met(now, REVISION);
    lacks_manifest(&mut m, now);
    m.handle_message(now, SyncFrame::FolderManifest { part: part(0, 100), tree });
    assert!(jobs(&mut m).iter().any(|job| matches!(job, Job::FindTree(of) if *of == tree)));
    m.handle_done(now, Done::TreeFound(Some(0)));
    assert!(wants(&mut m, 0));
    m.handle_message(now, bytes(0, 1000));
    assert!(wants(&mut m, 1000), "a run comes in as many parts as the line takes");
    m.handle_message(now, bytes(1000, MAX_TREE_PART - 1000));
    staged(&mut m, 0, MAX_TREE_PART);
    m.handle_done(now, Done::TreeFound(Some(full)));
    assert!(wants(&mut m, full));
    m.disconnected(now);
    meet(&mut m, now, REVISION, &[(OURS, 1)], Versions::new());
    lacks_manifest(&mut m, now);
    assert!(frames(&mut m, now).contains(&SyncFrame::WantManifestFrom { id: [7; 32], first: 100 }));
    m.handle_message(now, SyncFrame::FolderManifest { part: part(100, 0), tree });
    m.handle_done(now, Done::TreeFound(Some(full)));
    assert!(wants(&mut m, full), "what was staged is kept");
    m.handle_message(now, bytes(full, MAX_TREE_PART));
    staged(&mut m, full, MAX_TREE_PART);
    m.handle_done(now, Done::TreeFound(Some(2 * full)));
    m.handle_message(now, bytes(2 * full, 5));
    staged(&mut m, 2 * full, 5);
    m.handle_done(now, Done::TreeFound(Some(len)));
    let stored = |job: &Job| matches!(job, Job::StoreManifest(_, _, Some(of)) if *of == tree);
    assert!(jobs(&mut m).iter().any(stored));
    assert_eq!(m.wants_drop(), None);
    m.handle_message(now, bytes(0, 5));
    assert!(matches!(m.wants_drop(), Some(Trouble::Violation(_))), "nobody asked for that");
}

#[test]
fn a_tree_is_served_part_by_part() {
    let (now, tree) = (Instant::now(), TreeId::new([9; 32]));
    let mut m = met(now, REVISION);
    let _ = frames(&mut m, now);
    m.handle_message(now, SyncFrame::WantTree { tree, offset: 70 });
    let read = |job: &Job| matches!(job, Job::ReadTree(of, 70, most) if *of == tree && *most <= MAX_TREE_PART);
    assert!(jobs(&mut m).iter().any(read));
    m.handle_message(now, SyncFrame::WantTree { tree, offset: 70 });
    assert!(matches!(m.wants_drop(), Some(Trouble::Violation(_))), "one at a time");
}

#[test]
fn facts_go_on_over_another_connection_where_they_were_acknowledged() {
    let (now, floors) = (Instant::now(), Versions::from([(OURS, 1)]));
    let cursor = Cursor::at_table;
    let mut m = Machine::new(2, OURS, Versions::from([(OURS, 1)]), now);
    meet(&mut m, now, REVISION, &[], floors.clone());
    let heads = vec![Head { origin: OURS, seq: 1, hash: [0; 32] }];
    assert!(jobs(&mut m).iter().any(|job| matches!(job, Job::Heads)));
    m.handle_done(now, Done::Heads(heads.clone()));
    for n in 1..=3 {
        assert!(jobs(&mut m).iter().any(|job| matches!(job, Job::Facts(..))));
        m.handle_done(now, Done::Facts(vec![0; 100], Some(cursor(n))));
    }
    // Two of three are on its disk.
    m.handle_message(now, SyncFrame::Ack(Ack { number: 2, versions: Default::default() }));
    m.disconnected(now);
    meet(&mut m, now, REVISION, &[], floors.clone());
    let resumed = |job: &Job| matches!(job, Job::Facts(at, _) if *at == cursor(2));
    assert!(jobs(&mut m).iter().any(resumed));
    // What is said in the end is what was here when the first part was read.
    m.handle_done(now, Done::Facts(vec![0; 100], None));
    let sent = frames(&mut m, now);
    let complete =
        |f: &SyncFrame| matches!(f, SyncFrame::Facts(f) if f.complete.as_ref().is_some_and(|h| h[..] == heads[..]));
    assert!(sent.iter().any(complete));
    // After a restart of the sibling nothing is known of its disk.
    m.disconnected(now);
    m.connected(now);
    let ours = hello(2, OURS, REVISION, &[(OURS, 1)]);
    m.handle_done(now, Done::Introduced { hello: ours, floors, votes: 0, quarantined: vec![] });
    m.handle_message(now, SyncFrame::Hello(hello(1, OriginId::new([9; 16]), REVISION, &[])));
    m.handle_done(now, Done::Compared(vec![]));
    assert!(jobs(&mut m).iter().any(|job| matches!(job, Job::Heads)), "from the beginning");
}

#[test]
fn a_sibling_cannot_make_this_tracker_keep_much() {
    let now = Instant::now();
    let mut m = met(now, REVISION);
    (0..1000).for_each(|_| m.handle_message(now, SyncFrame::Ping));
    assert_eq!(frames(&mut m, now), [SyncFrame::Pong]);
    let mut taken = 0;
    while m.takes_messages() {
        m.handle_message(now, SyncFrame::Repair(Facts { number: 0, facts: List::default(), complete: None }));
        taken += jobs(&mut m).len();
        assert!(taken <= MAX_JOBS, "jobs that were handed out and have not ended count, too");
    }
    // While it is not read from, it is not blamed for silence.
    m.handle_timeout(now + DEAD);
    assert_eq!(m.wants_drop(), None);
    (0..4).for_each(|_| m.handle_done(now, Done::Mended(0)));
    assert!(m.takes_messages());
    m.handle_message(now, SyncFrame::WantManifest([7; 32]));
    m.handle_message(now, SyncFrame::WantManifest([8; 32]));
    assert!(matches!(m.wants_drop(), Some(Trouble::Violation(_))), "one manifest at a time");
}

#[test]
fn who_is_where_takes_half_of_a_slow_line() {
    let now = Instant::now();
    let mut m = met(now, REVISION);
    m.sizer.observe(1 << 20, 512 * S);
    let most = m.wants_presence(now);
    assert_eq!(most, 16);
    let gone = List::first_of((0..most).map(|n| common::id::DeviceId::new([n as u8; 32])));
    m.tell_presence(now, Presence { here: List::default(), gone });
    let _ = frames(&mut m, now);
    assert_eq!([m.wants_presence(now + S / 2), m.wants_presence(now + S)], [0, most]);
}

#[test]
fn clocks_are_compared_and_a_slow_line_does_not_count() {
    let now = Instant::now();
    let mut m = met(now, REVISION);
    m.tell_wall_clock(1_000_000);
    m.handle_message(now, SyncFrame::Clock(1_090_000));
    assert_eq!(m.view().alarms.clock_ahead_s, Some(90));
    m.handle_message(now, SyncFrame::Clock(1_060_000));
    assert_eq!(m.view().alarms.clock_ahead_s, Some(90), "that took 30 s to arrive");
    (0..CLOCKS_COMPARED).for_each(|_| m.handle_message(now, SyncFrame::Clock(940_000)));
    assert_eq!(m.view().alarms.clock_ahead_s, Some(-60));
}

#[test]
fn what_one_of_two_releases_does_not_know_is_neither_compared_nor_sent() {
    let now = Instant::now();
    let mut m = met(now, 2);
    let theirs = common::wire::sync::StateDigest {
        versions: common::wire::sync::VersionVector(List::first_of([(OURS, 1)])),
        buckets: List::first_of([1, 2, 3]),
    };
    for (ours, differing) in [(vec![1, 2, 3, 4], 0), (vec![1, 9, 3, 4], 1)] {
        m.handle_message(now, SyncFrame::Digest(theirs.clone()));
        assert!(jobs(&mut m).iter().any(|job| matches!(job, Job::Digest)));
        m.handle_done(now, Done::Digest(Versions::from([(OURS, 1)]), ours));
        let _ = frames(&mut m, now);
        m.handle_timeout(now);
        assert_eq!(m.alarms.differing, differing);
    }
    let mut m = Machine::new(2, OURS, Versions::from([(OURS, 1)]), now);
    meet(&mut m, now, 2, &[], Versions::from([(OURS, 1)]));
    let _ = jobs(&mut m);
    m.handle_done(now, Done::Heads(vec![]));
    let begins =
        |job: &Job| matches!(job, Job::Facts(at, _) if *at == Cursor::for_revision(2) && *at != Cursor::default());
    assert!(jobs(&mut m).iter().any(begins));
}
