//! One connection to a seeder, with the leecher played by hand over a pipe.

use common::connection::{FrameReader, FrameWriter, split};
use common::id::DeviceId;
use common::id::{GroupId, MembershipId, SessionId, TicketId};
use common::pieces::Bitfield;
use common::pieces::BlockRange;
use common::pieces::PieceIndex;
use common::secret::{ClusterKey, ClusterSecret};
use common::ticket::{EXPIRY_TOLERANCE, Revocation, Revoked, Signed, TICKET_LIFE, Ticket, now};
use common::wire::limits::{MAX_PEER_FRAME, MAX_QUEUE, MAX_RUN};
use common::wire::peer::{Goodbye, Hello, LeecherFrame, SeederFrame, VERSION};
use tokio::io::{DuplexStream, ReadHalf, WriteHalf, duplex};
use tokio::task::JoinHandle;

use super::*;
use crate::share::connection_limiter::{self, ConnectionLimiter};
use crate::share::counted::Counted;
use crate::share::upload::{End, Host, serve};
use crate::transfer::stamp::Stamp;

pub(super) const PIECE: u32 = 1 << 20;
pub(super) const LEECHER: DeviceId = DeviceId::new([7; 32]);

/// A host with one file of three and a bit pieces, and its key.
pub(super) struct Stage {
    pub(super) key: ClusterKey,
    pub(super) connection_limiter: Arc<ConnectionLimiter>,
    pub(super) host: Arc<Host>,
    offer: Arc<Offer>,
    pub(super) bytes: Vec<u8>,
    path: PathBuf,
    troubles: mpsc::Receiver<Key>,
    _dir: tempfile::TempDir,
}

impl Stage {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let bytes = content(3 * PIECE as usize + 5);
        let path = dir.path().join("file");
        fs::write(&path, &bytes).expect("written");
        let key = ClusterSecret::generate().cluster_key();
        let tracker: Arc<dyn Directory> = Arc::new(FakeTracker::new().join(LEECHER, "bob"));
        let (trouble, troubles) = mpsc::channel(8);
        let mut host = host(&tracker, &Limits::default(), trouble);
        let public = key.public();
        host.cluster = Box::new(move || Some(public));
        let layout = PieceLayout::new(bytes.len() as u64, u64::from(PIECE)).expect("a layout");
        let of = Key { group: GroupId::new([1; 16]), file_id: FileId::new([2; 32]) };
        let stamp = Stamp::of(&fs::metadata(&path).expect("there"));
        let offer = host.offers.put(Offer::complete(of, layout, path.clone(), stamp));
        Self {
            key,
            connection_limiter: ConnectionLimiter::new(connection_limiter::Limits::DEFAULT),
            host: Arc::new(host),
            offer,
            bytes,
            path,
            troubles,
            _dir: dir,
        }
    }

    pub(super) fn ticket(&self) -> Ticket {
        Ticket {
            id: TicketId::random(),
            user: UserId::new([3; 16]),
            user_name: "bob".parse().expect("a name"),
            session: SessionId::new([4; 16]),
            device: LEECHER,
            group: self.offer.key.group,
            membership: MembershipId::new([5; 16]),
            issued: now(),
            expires: now() + TICKET_LIFE.as_secs(),
        }
    }

    pub(super) fn signed(&self, ticket: &Ticket) -> Signed<Ticket> {
        Signed::sign(ticket, &self.key).expect("signed")
    }

    pub(super) fn revocation(&self, ticket: &Ticket) -> Signed<Revocation> {
        let what = Revoked::Membership { group: ticket.group, membership: ticket.membership };
        Signed::sign(&Revocation { what, at: now() }, &self.key).expect("signed")
    }

    pub(super) fn hello(&self, ticket: Signed<Ticket>) -> Hello {
        Hello { version: VERSION, group: self.offer.key.group, file_id: self.offer.key.file_id, ticket }
    }

    /// A connection through a pipe that holds `room` bytes.
    pub(super) fn connect(&self, room: usize) -> Leecher {
        let (ours, theirs) = duplex(room);
        let (host, connection_slot) = (Arc::clone(&self.host), self.connection_limiter.enter([127, 0, 0, 1].into()));
        let ours = Counted::new(ours, connection_slot.taken.clone());
        let end = TaskGroup::new().spawn("serve", async move { serve(ours, LEECHER, &host, &connection_slot).await });
        let (reader, writer) = split(theirs, MAX_PEER_FRAME);
        Leecher { reader, writer, end }
    }

    /// A connection that has been let in.
    pub(super) async fn enter(&self, room: usize) -> Leecher {
        self.enter_with(room, &self.ticket()).await
    }

    /// The same with this ticket.
    pub(super) async fn enter_with(&self, room: usize, ticket: &Ticket) -> Leecher {
        let mut leecher = self.connect(room);
        leecher.say(LeecherFrame::Hello(self.hello(self.signed(ticket)))).await;
        assert!(matches!(leecher.heard().await, Some(SeederFrame::Bitfield(_))));
        leecher
    }

    fn piece(&self, n: u32) -> PieceIndex {
        self.offer.layout.piece(n).expect("a piece")
    }
}

pub(super) struct Leecher {
    pub(super) reader: FrameReader<ReadHalf<DuplexStream>, SeederFrame>,
    pub(super) writer: FrameWriter<WriteHalf<DuplexStream>, LeecherFrame>,
    pub(super) end: JoinHandle<Option<End>>,
}

impl Leecher {
    pub(super) async fn say(&mut self, message: LeecherFrame) {
        self.writer.send(&message).await.expect("sent");
    }

    pub(super) async fn heard(&mut self) -> Option<SeederFrame> {
        self.reader.next().await.expect("a frame")
    }

    pub(super) async fn ask(&mut self, number: u32, piece: u32, len: u32) {
        self.say(LeecherFrame::Request { number, block: BlockRange { piece, offset: 0, len } }).await;
    }

    /// All runs of one answer.
    pub(super) async fn block(&mut self, number: u32, len: usize) -> Vec<u8> {
        let mut out = Vec::new();
        while out.len() < len {
            let Some(SeederFrame::Run { number: of, len }) = self.heard().await else { panic!("not a run") };
            assert!(of == number && len > 0 && len <= MAX_RUN);
            let mut run = vec![0; len as usize];
            self.reader.read_raw(&mut run).await.expect("bytes");
            out.extend_from_slice(&run);
        }
        out
    }

    /// The seeder's last word.
    pub(super) async fn goodbye(mut self) -> Goodbye {
        loop {
            match self.heard().await.expect("a goodbye") {
                SeederFrame::Goodbye(goodbye) => return goodbye,
                SeederFrame::Run { len, .. } => self.reader.read_raw(&mut vec![0; len as usize]).await.expect("bytes"),
                _ => {}
            }
        }
    }
}

#[tokio::test]
async fn blocks_are_served_in_order_and_are_the_files() {
    let stage = Stage::new();
    let mut leecher = stage.enter(4096).await;
    leecher.ask(1, 0, PIECE).await;
    leecher.ask(2, 3, 5).await;
    assert_eq!(leecher.block(1, PIECE as usize).await, stage.bytes[..PIECE as usize]);
    assert_eq!(leecher.block(2, 5).await, stage.bytes[3 * PIECE as usize..]);
}

#[tokio::test]
async fn nobody_enters_without_a_valid_ticket_for_this_door() {
    let stage = Stage::new();
    let good = stage.ticket();
    let other_key = ClusterSecret::generate().cluster_key();
    let old = now() - 10_000;
    let refused = [
        (Signed::sign(&good, &other_key).expect("signed"), Goodbye::Ticket),
        (stage.signed(&Ticket { device: DeviceId::new([8; 32]), ..good.clone() }), Goodbye::Ticket),
        (stage.signed(&Ticket { group: GroupId::new([8; 16]), ..good.clone() }), Goodbye::Ticket),
        (stage.signed(&Ticket { issued: old, expires: old + 120, ..good.clone() }), Goodbye::Ticket),
        (stage.signed(&Ticket { issued: now() + 10_000, expires: now() + 10_120, ..good.clone() }), Goodbye::Ticket),
    ];
    for (ticket, goodbye) in refused {
        let mut leecher = stage.connect(4096);
        leecher.say(LeecherFrame::Hello(stage.hello(ticket))).await;
        assert_eq!(leecher.goodbye().await, goodbye);
    }
    let hello = stage.hello(stage.signed(&good));
    for (hello, goodbye) in [
        (Hello { version: 9, ..hello.clone() }, Goodbye::Version(VERSION)),
        (Hello { file_id: FileId::new([9; 32]), ..hello.clone() }, Goodbye::NotShared),
    ] {
        let mut leecher = stage.connect(4096);
        leecher.say(LeecherFrame::Hello(hello)).await;
        assert_eq!(leecher.goodbye().await, goodbye);
    }
    stage.host.revocations.add(stage.revocation(&good), &stage.key.public());
    let mut leecher = stage.connect(4096);
    leecher.say(LeecherFrame::Hello(hello)).await;
    assert_eq!(leecher.goodbye().await, Goodbye::Revoked);
}

#[tokio::test]
async fn every_breach_ends_the_connection() {
    let stage = Stage::new();
    let block = |piece, offset, len| LeecherFrame::Request { number: 1, block: BlockRange { piece, offset, len } };
    for breach in [block(4, 0, 1), block(0, 0, 0), block(0, 1, PIECE), block(3, 0, 6), block(0, u32::MAX, 2)] {
        let mut leecher = stage.enter(4096).await;
        leecher.say(breach).await;
        assert_eq!(leecher.goodbye().await, Goodbye::Violation);
    }
    let mut leecher = stage.enter(4096).await;
    leecher.say(LeecherFrame::Hello(stage.hello(stage.signed(&stage.ticket())))).await;
    assert_eq!(leecher.goodbye().await, Goodbye::Violation);
    let mut leecher = stage.connect(4096);
    leecher.ask(1, 0, 1).await;
    assert_eq!(leecher.goodbye().await, Goodbye::Violation);
}

#[tokio::test]
async fn more_requests_than_the_queue_holds_are_a_breach() {
    let stage = Stage::new();
    // A pipe so small that no answer gets through.
    let Leecher { reader, mut writer, end } = stage.enter(64).await;
    for number in 0..=MAX_QUEUE as u32 {
        let block = BlockRange { piece: 0, offset: 0, len: PIECE };
        if writer.send(&LeecherFrame::Request { number, block }).await.is_err() {
            break;
        }
    }
    assert!(matches!(end.await.expect("no panic").expect("not cancelled"), End::Goodbye(Goodbye::Violation)));
    drop(reader);
}

#[tokio::test]
async fn a_revocation_cuts_a_leecher_off_in_the_middle_of_a_run() {
    let stage = Stage::new();
    let mut leecher = stage.enter(4096).await;
    leecher.ask(1, 0, PIECE).await;
    assert!(matches!(leecher.heard().await, Some(SeederFrame::Run { .. })));
    stage.host.revocations.add(stage.revocation(&stage.ticket()), &stage.key.public());
    let Leecher { mut reader, writer, end } = leecher;
    let end = tokio::time::timeout(Duration::from_secs(1), end)
        .await
        .expect("at once")
        .expect("no panic")
        .expect("not cancelled");
    assert!(matches!(end, End::Goodbye(Goodbye::Revoked)));
    let mut rest = vec![0; MAX_RUN as usize];
    assert!(reader.read_raw(&mut rest).await.is_err(), "the run is never completed");
    drop(writer);
}

#[tokio::test]
async fn a_revocation_carried_by_another_leecher_counts_and_a_forged_one_does_not() {
    let stage = Stage::new();
    let mut messenger = stage.enter(4096).await;
    let forged = Revocation { what: Revoked::Session(stage.ticket().session), at: now() };
    let forged = Signed::sign(&forged, &ClusterSecret::generate().cluster_key()).expect("signed");
    messenger.say(LeecherFrame::Revoked(forged)).await;
    messenger.ask(1, 3, 5).await;
    assert_eq!(messenger.block(1, 5).await.len(), 5, "still served");
    messenger.say(LeecherFrame::Revoked(stage.revocation(&stage.ticket()))).await;
    assert_eq!(messenger.goodbye().await, Goodbye::Revoked, "it covers the messenger too");
}

#[tokio::test]
async fn a_ticket_that_runs_out_ends_it_unless_it_is_renewed() {
    let stage = Stage::new();
    // One that has a second left.
    let expires = now() + 1 - EXPIRY_TOLERANCE.as_secs();
    let short = Ticket { issued: expires - 120, expires, ..stage.ticket() };
    let (mut one, mut two) = (stage.connect(4096), stage.connect(4096));
    for leecher in [&mut one, &mut two] {
        leecher.say(LeecherFrame::Hello(stage.hello(stage.signed(&short)))).await;
        assert!(matches!(leecher.heard().await, Some(SeederFrame::Bitfield(_))));
    }
    two.say(LeecherFrame::Renew(stage.signed(&stage.ticket()))).await;
    assert_eq!(one.goodbye().await, Goodbye::Ticket);
    two.ask(1, 3, 5).await;
    assert_eq!(two.block(1, 5).await.len(), 5);
    two.say(LeecherFrame::Renew(stage.signed(&Ticket { device: DeviceId::new([8; 32]), ..stage.ticket() }))).await;
    assert_eq!(two.goodbye().await, Goodbye::Ticket, "a renewal must be valid, too");
}

/// The seeder's own clock is an hour behind, or ahead, and it hears of no tracker any more.
#[tokio::test(start_paused = true)]
async fn a_ticket_is_honoured_for_its_life_by_the_trackers_clock_whatever_this_machines_says() {
    for trackers_time in [now() + 3600, now() - 3600] {
        let stage = Stage::new();
        stage.host.clock.measured(0, trackers_time);
        let (issued, expires) = (trackers_time, trackers_time + TICKET_LIFE.as_secs());
        let ticket = Ticket { issued, expires, ..stage.ticket() };
        let begun = tokio::time::Instant::now();
        let mut leecher = stage.enter_with(4096, &ticket).await;
        leecher.ask(1, 3, 5).await;
        assert_eq!(leecher.block(1, 5).await.len(), 5);
        assert_eq!(leecher.goodbye().await, Goodbye::Ticket);
        let served = begun.elapsed();
        assert!(
            served >= TICKET_LIFE && served <= TICKET_LIFE + EXPIRY_TOLERANCE + Duration::from_secs(2),
            "{served:?}"
        );
        let mut again = stage.connect(4096);
        again.say(LeecherFrame::Hello(stage.hello(stage.signed(&ticket)))).await;
        assert_eq!(again.goodbye().await, Goodbye::Ticket, "nor is it honoured anew");
    }
}

#[tokio::test]
async fn a_cancelled_request_is_answered_once_and_an_answered_one_cannot_be_cancelled() {
    let stage = Stage::new();
    let mut leecher = stage.enter(64 << 10).await;
    for number in 1..=4 {
        leecher.ask(number, 0, PIECE).await;
    }
    leecher.say(LeecherFrame::Cancel { number: 4 }).await;
    for number in 1..=3 {
        leecher.block(number, PIECE as usize).await;
    }
    assert_eq!(leecher.heard().await, Some(SeederFrame::Cancelled { number: 4 }));
    leecher.say(LeecherFrame::Cancel { number: 1 }).await;
    leecher.ask(1, 3, 5).await;
    assert_eq!(leecher.block(1, 5).await.len(), 5, "the number is free again");
}

#[tokio::test]
async fn pieces_that_come_and_go_are_announced() {
    let stage = Stage::new();
    stage.offer.lose(stage.piece(1));
    let mut leecher = stage.enter(4096).await;
    leecher.ask(1, 1, 5).await;
    assert_eq!(leecher.heard().await, Some(SeederFrame::Cancelled { number: 1 }));
    stage.offer.add(stage.piece(1));
    assert_eq!(leecher.heard().await, Some(SeederFrame::Have { piece: 1 }));
    stage.offer.lose(stage.piece(2));
    assert_eq!(leecher.heard().await, Some(SeederFrame::Lost { piece: 2 }));
    stage.offer.end();
    assert_eq!(leecher.goodbye().await, Goodbye::NotShared);
}

#[tokio::test]
async fn a_piece_that_cannot_be_read_is_withdrawn_and_said_to_be_lost() {
    let stage = Stage::new();
    // A file that is open for writing only: the system refuses to read from it.
    let file = Arc::new(fs::File::options().write(true).open(&stage.path).expect("opened"));
    let Offer { key, layout, .. } = *stage.offer;
    let offer = stage.host.offers.put(Offer::partial(key, layout, Opened::File(file), Bitfield::full(layout)));
    let mut leecher = stage.enter(4096).await;
    leecher.ask(1, 1, 5).await;
    assert_eq!(leecher.heard().await, Some(SeederFrame::Cancelled { number: 1 }));
    assert_eq!(leecher.heard().await, Some(SeederFrame::Lost { piece: 1 }));
    assert!(!offer.has(stage.piece(1)) && offer.has(stage.piece(0)), "the others are still on offer");
}

#[tokio::test]
async fn a_changed_file_is_not_served_and_reported() {
    let mut stage = Stage::new();
    let mut leecher = stage.enter(4096).await;
    fs::write(&stage.path, content(10)).expect("written");
    leecher.ask(1, 0, PIECE).await;
    assert_eq!(leecher.heard().await, Some(SeederFrame::Cancelled { number: 1 }));
    assert_eq!(stage.troubles.recv().await, Some(stage.offer.key));
}

#[tokio::test(start_paused = true)]
async fn who_says_nothing_is_not_waited_for() {
    let stage = Stage::new();
    let leecher = stage.connect(4096);
    assert_eq!(leecher.goodbye().await, Goodbye::Violation);
}

#[tokio::test]
async fn one_connection_serves_one_file_after_another_and_looks_at_a_ticket_each_time() {
    let stage = Stage::new();
    let mut leecher = stage.enter(1 << 20).await;
    for number in 0..3 {
        leecher.ask(number, 0, PIECE).await;
        assert_eq!(leecher.block(number, PIECE as usize).await, stage.bytes[..PIECE as usize]);
        leecher.say(LeecherFrame::Rest).await;
        leecher.say(LeecherFrame::Hello(stage.hello(stage.signed(&stage.ticket())))).await;
        assert!(matches!(leecher.heard().await, Some(SeederFrame::Bitfield(_))));
    }
    leecher.say(LeecherFrame::Rest).await;
    let ticket = stage.ticket();
    stage.host.revocations.add(stage.revocation(&ticket), &stage.key.public());
    leecher.say(LeecherFrame::Hello(stage.hello(stage.signed(&ticket)))).await;
    assert_eq!(leecher.heard().await, Some(SeederFrame::Goodbye(Goodbye::Revoked)));
}

#[tokio::test]
async fn who_is_between_two_files_is_asked_for_a_ticket_first_and_does_not_stay_for_ever() {
    let stage = Stage::new();
    let mut leecher = stage.enter(1 << 20).await;
    leecher.say(LeecherFrame::Rest).await;
    leecher.ask(1, 0, PIECE).await;
    assert_eq!(leecher.heard().await, Some(SeederFrame::Goodbye(Goodbye::Violation)));

    let mut other = stage.enter(1 << 20).await;
    other.say(LeecherFrame::Rest).await;
    tokio::time::pause();
    assert_eq!(other.heard().await, None, "its place is for others");
    let end = other.end.await.expect("no panic").expect("not cancelled");
    assert!(matches!(end, End::Left), "{end}");
}

#[tokio::test]
async fn who_rests_and_has_not_got_everything_breaks_the_protocol() {
    let stage = Stage::new();
    let mut leecher = stage.enter(1 << 10).await;
    leecher.ask(1, 0, PIECE).await;
    leecher.say(LeecherFrame::Rest).await;
    tokio::time::pause();
    let end = leecher.end.await.expect("no panic").expect("not cancelled");
    assert!(matches!(end, End::Goodbye(Goodbye::Violation)), "{end}");
}
