//! The shapes that scripts rely on, to the letter, and the text that people see.

use std::path::PathBuf;

use common::id::{FileId, FileName};
use common::invitation::{Invitation, InviteSecret};
use common::wire::client::{Mode, Push};
use common::wire::refusal::Refusal;

use super::*;
use crate::engine::Progress;
use crate::engine::command::InviteLine;
use crate::engine::news::{Happening, News};
use crate::engine::outcome::{
    CheckedInvite, DeviceRow, DownloadRow, InviteEnd, InviteRow, LimitRow, LimitTable, Member, MemberRow, PeerShare,
    SettingRow, ShareRow, ShareState, Skipped, State, SubscriptionRow, TreeRow, UploadedFolder, User,
};
use crate::units::age;

fn name<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().expect("a name")
}

fn user(text: &str) -> User {
    User { user: name(text) }
}

fn file_id() -> FileId {
    FileId::new([0xab; 32])
}

fn group_row(group: &str, relation: Relation) -> GroupRow {
    GroupRow { group: name(group), admin: name("alice"), members: 2, relation }
}

fn file_row() -> FileRow {
    FileRow {
        name: name("my file.pdf"),
        claimed: None,
        size: 3 << 20,
        file_id: file_id(),
        uploader: name("alice"),
        seeders: 2,
        kind: Kind::File,
        entries: None,
        published: None,
        here: false,
    }
}

fn download_row(state: State) -> DownloadRow {
    DownloadRow {
        n: 1,
        group: name("lab"),
        name: name::<FileName>("a.bin"),
        within: None,
        state,
        have: 999,
        size: 1000,
        files_have: None,
        files: None,
        rate: 0,
        peers: 0,
        reason: None,
    }
}

fn downloaded_row() -> Downloaded {
    let peers = vec![PeerShare { device: "c0ffee".to_owned(), user: name("bob"), bytes: 2048 }];
    let (group, name, path) = (name("lab"), name("a.bin"), PathBuf::from("/tmp/a.bin"));
    Downloaded { group, name, path, size: 2048, file_id: file_id(), seconds: 0.5, peers, files: None, reused: None }
}

/// Accepts the invitation of [`new_invite`].
static ACCEPT: std::sync::LazyLock<String> =
    std::sync::LazyLock::new(|| format!("accept_invite {}", *new_invite(false).invite.0.to_line()));

/// Asks what it is for.
static CHECK: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| ACCEPT.replace("accept", "check"));

fn checked_invite(state: InviteState) -> CheckedInvite {
    let left = if state == InviteState::Open { 3 } else { 0 };
    CheckedInvite { group: name("lab"), by: name("alice"), left, expires: Moment(1_700_000_000), state }
}

fn new_invite(local: bool) -> NewInvite {
    let pin = common::secret::ClusterPin::from_bytes([7; 32]);
    let (trackers, secret) = (vec![name("tracker.example:5000")], InviteSecret::new([9; 16]));
    let invite = InviteLine(Invitation { trackers, pin, secret });
    NewInvite { invite, group: name("lab"), n: 3, uses: 10, expires: Moment(1_700_000_000), local }
}

fn invite_rows() -> Vec<InviteRow> {
    let states = [InviteState::Open, InviteState::UsedUp, InviteState::Expired, InviteState::Revoked];
    let row = |(n, state)| InviteRow { n, uses: 2, used: 3, expires: Moment(1_700_000_000), by: name("alice"), state };
    (1..).zip(states).map(row).collect()
}

fn status_row() -> Status {
    let row = |address: &str, up, current| TrackerRow { address: address.to_owned(), up, current, disk_full: false };
    Status {
        trackers: vec![row("127.0.0.1:5000", true, true), row("127.0.0.1:5001", false, false)],
        mode: Some(Mode::Solo),
        lag: None,
        user: Some(name("alice")),
        listen: "127.0.0.1:7000".to_owned(),
        device: "ab".to_owned(),
        rate_down: 0,
        limits: Limits { up: None, down: Some(10 << 20) },
        reach: Reach::default(),
    }
}

fn data(outcome: Outcome) -> String {
    let line = json(Some("x"), &Ok(outcome));
    let data = line.split_once(r#""data":"#).expect("the envelope").1;
    let end = data.rfind(r#","error":{"code":"unhealthy""#).unwrap_or(data.len() - 1);
    data[..end].to_owned()
}

#[test]
fn json_has_the_shapes_of_the_interface() {
    let id = "ab".repeat(32);
    let cases = [
        (Outcome::LoggedIn(user("alice")), r#"{"user":"alice"}"#.to_owned()),
        (Outcome::Whoami(user("alice")), r#"{"user":"alice"}"#.to_owned()),
        (Outcome::LoggedOut {}, "{}".to_owned()),
        (Outcome::Quit {}, "{}".to_owned()),
        (Outcome::LoggedOut {}.of_one_tracker(), r#"{"provisional":true}"#.to_owned()),
        (
            Outcome::Removed(Member { group: name("lab"), user: name("bob") }).of_one_tracker(),
            r#"{"group":"lab","user":"bob","provisional":true}"#.to_owned(),
        ),
        (
            Outcome::Left { group: name("lab"), was: Relation::Pending, withdrawn: 0 },
            r#"{"group":"lab","was":"pending","withdrawn":0}"#.to_owned(),
        ),
        (
            Outcome::GroupCreated { group: name("lab"), provisional: false },
            r#"{"group":"lab","provisional":false}"#.to_owned(),
        ),
        (
            Outcome::Groups { groups: vec![group_row("lab", Relation::None)] },
            r#"{"groups":[{"group":"lab","admin":"alice","members":2,"relation":"none"}]}"#.to_owned(),
        ),
        (
            Outcome::Invited(new_invite(false)),
            format!(
                r#"{{"invite":"{}","group":"lab","n":3,"uses":10,"expires":"2023-11-14T22:13:20Z"}}"#,
                *new_invite(false).invite.0.to_line()
            ),
        ),
        (
            Outcome::Invites { group: name("lab"), invites: invite_rows()[..1].to_vec() },
            r#"{"invites":[{"n":1,"uses":2,"used":3,"expires":"2023-11-14T22:13:20Z","by":"alice","state":"open"}]}"#
                .to_owned(),
        ),
        (
            Outcome::Requests { group: name("lab"), requests: vec![user("bob")] },
            r#"{"requests":[{"user":"bob"}]}"#.to_owned(),
        ),
        (
            Outcome::Members { members: vec![MemberRow { user: name("alice"), admin: true }] },
            r#"{"members":[{"user":"alice","admin":true}]}"#.to_owned(),
        ),
        (
            Outcome::Uploaded(Uploaded {
                group: name("lab"),
                name: name("a.bin"),
                size: 5,
                piece_size: 262_144,
                pieces: 1,
                sha1: "cd".repeat(20),
                file_id: file_id(),
                link: "shoal:lab/ab".to_owned(),
                replaced: false,
                folder: None,
            }),
            format!(
                r#"{{"group":"lab","name":"a.bin","size":5,"piece_size":262144,"pieces":1,"sha1":"{}","file_id":"{id}","link":"shoal:lab/ab"}}"#,
                "cd".repeat(20)
            ),
        ),
        (
            Outcome::Files { group: name("lab"), files: vec![file_row()], total: 1, filtered: false },
            format!(
                r#"{{"files":[{{"name":"my file.pdf","size":3145728,"file_id":"{id}","uploader":"alice","seeders":2,"kind":"file","here":false}}],"total":1}}"#
            ),
        ),
        (
            Outcome::Tree { group: name("lab"), name: name("src"), size: 9, entries: 2, files: Vec::new(), total: 1 },
            r#"{"group":"lab","name":"src","size":9,"entries":2,"files":[],"total":1}"#.to_owned(),
        ),
        (
            Outcome::Downloaded(downloaded_row()),
            format!(
                r#"{{"group":"lab","name":"a.bin","path":"/tmp/a.bin","size":2048,"file_id":"{id}","seconds":0.5,"peers":[{{"device":"c0ffee","user":"bob","bytes":2048}}]}}"#
            ),
        ),
        (
            Outcome::Downloads { downloads: vec![download_row(State::Waiting)] },
            r#"{"downloads":[{"n":1,"group":"lab","name":"a.bin","state":"waiting","have":999,"size":1000,"rate":0,"peers":0}]}"#
                .to_owned(),
        ),
        (
            Outcome::Status(status_row()),
            r#"{"trackers":[{"address":"127.0.0.1:5000","up":true,"current":true},{"address":"127.0.0.1:5001","up":false,"current":false}],"mode":"solo","user":"alice","listen":"127.0.0.1:7000","device":"ab","rate_down":0,"limits":{"up":null,"down":10485760},"reach":{"state":"unknown"}}"#
                .to_owned(),
        ),
    ];
    for (outcome, expected) in cases {
        assert_eq!(data(outcome), expected);
    }
}

#[test]
fn json_errors_have_a_code_and_a_sentence() {
    let line = json(Some("login"), &Err(Refusal::BadCredentials.into()));
    let expected =
        r#"{"v":1,"command":"login","ok":false,"error":{"code":"bad_credentials","message":"wrong user or password"}}"#;
    assert_eq!(line, expected);
    let before = json(None, &Err(Error::InUse("taken".to_owned())));
    assert_eq!(before, r#"{"v":1,"command":null,"ok":false,"error":{"code":"in_use","message":"taken"}}"#);
    let hostile = json(Some("\u{1b}\n"), &Err(Error::Usage("x".to_owned())));
    assert!(!hostile.contains('\u{1b}') && !hostile.contains('\n'), "{hostile}");
}

#[test]
fn tables_are_aligned_with_names_last() {
    let groups = vec![group_row("lab", Relation::Admin), group_row("a-long-name", Relation::None)];
    let expected = "\
GROUP        ADMIN  MEMBERS  YOU
lab          alice  2        admin
a-long-name  alice  2        -";
    assert_eq!(text(&Outcome::Groups { groups }).data, expected);

    let expected = "\
SIZE     SEEDERS  AGE  HERE  UPLOADER  ID        NAME
3.0 MiB  2        -    -     alice     abababab  my file.pdf";
    assert_eq!(
        text(&Outcome::Files { group: name("lab"), files: vec![file_row()], total: 1, filtered: false }).data,
        expected
    );

    let waiting = DownloadRow { reason: Some("nobody\u{1b} is there".to_owned()), ..download_row(State::Waiting) };
    let expected = "\
N  STATE    DONE  SIZE    RATE  PEERS  GROUP  NAME
1  waiting  99%   1000 B  -     0      lab    a.bin  (nobody\\u{1b} is there)";
    assert_eq!(text(&Outcome::Downloads { downloads: vec![waiting] }).data, expected);
}

#[test]
fn a_long_name_puts_only_its_own_row_out_of_line() {
    let long = "n".repeat(64);
    let groups = vec![group_row("lab", Relation::Admin), group_row(&long, Relation::Member)];
    let expected = format!(
        "\
GROUP  ADMIN  MEMBERS  YOU
lab    alice  2        admin
{long}  alice  2        member"
    );
    assert_eq!(text(&Outcome::Groups { groups }).data, expected);
}

#[test]
fn a_name_like_an_option_is_suggested_in_a_form_that_works() {
    let row = FileRow { name: name("-rf"), ..file_row() };
    let hint =
        text(&Outcome::Files { group: name("lab"), files: vec![row], total: 1, filtered: false }).hint.expect("a hint");
    assert_eq!(hint, "download_file lab -- -rf .");
    let parsed = crate::faces::parse::parse(&hint).expect("a command").command.expect("a good one");
    assert!(matches!(parsed, crate::engine::Command::DownloadFile { file_name, .. } if file_name.to_string() == "-rf"));
}

#[test]
fn data_goes_to_stdout_and_messages_to_stderr() {
    let empty = text(&Outcome::Groups { groups: Vec::new() });
    assert_eq!((empty.data.as_str(), empty.message.as_str()), ("", "there are no groups yet"));
    assert_eq!(empty.hint.as_deref(), Some("create_group <group>"));
    assert_eq!(text(&Outcome::Whoami(user("alice"))).data, "alice");
    let made = text(&Outcome::UserCreated { user: name("alice"), provisional: false });
    assert_eq!((made.data.as_str(), made.hint.as_deref()), ("", Some("login alice")));
    let left = text(&Outcome::Left { group: name("lab"), was: Relation::Member, withdrawn: 2 });
    assert_eq!(left.message, "you are no longer in `lab`; 2 shares there withdrawn");
    let withdrawn = text(&Outcome::Left { group: name("lab"), was: Relation::Pending, withdrawn: 0 });
    assert_eq!(withdrawn.message, "your request to join `lab` is withdrawn");
    let files = text(&Outcome::Files { group: name("lab"), files: vec![file_row()], total: 1, filtered: false });
    assert_eq!(files.hint.as_deref(), Some("download_file lab 'my file.pdf' ."));
    let removed = text(&Outcome::Removed(Member { group: name("lab"), user: name("bob") }));
    assert_eq!(removed.message, "bob is no longer a member of `lab`");
}

#[test]
fn a_finished_download_tells_where_it_is_and_who_gave() {
    let expected = format!(
        "/tmp/a.bin: 2.0 KiB in 0.5 s, verified (4.0 KiB/s)\n  2.0 KiB from bob (c0ffee)\nfile id {}",
        "ab".repeat(32)
    );
    assert_eq!(text(&Outcome::Downloaded(downloaded_row())).data, expected);
}

#[test]
fn status_shows_every_tracker() {
    let expected = "\
tracker    127.0.0.1:5000 up, in use
tracker    127.0.0.1:5001 down
mode       solo
user       alice
listening  127.0.0.1:7000
reachable  not known: no member has connected since this client started
device     ab
fetching   0 B/s
limits     sends without limit, fetches at most 10.0 MiB/s";
    assert_eq!(text(&Outcome::Status(status_row())).data, expected);
}

#[test]
fn json_says_which_names_were_lost() {
    let renamed = user("alice~0a1b2c3d");
    assert_eq!(data(Outcome::Whoami(renamed.clone())), r#"{"user":"alice~0a1b2c3d","claimed":"alice"}"#);
    let groups = data(Outcome::Groups { groups: vec![group_row("lab~0a1b2c3d", Relation::Member)] });
    assert!(groups.starts_with(r#"{"groups":[{"group":"lab~0a1b2c3d","claimed":"lab","admin""#), "{groups}");
    let members = data(Outcome::Members { members: vec![MemberRow { user: renamed.user, admin: false }] });
    assert_eq!(members, r#"{"members":[{"user":"alice~0a1b2c3d","claimed":"alice","admin":false}]}"#);
    let share = |text: &str| {
        let row = common::wire::client::FileRow {
            name: name(text),
            size: 1,
            file_id: file_id(),
            uploader: name("alice"),
            seeders: 0,
        };
        data(Outcome::Files { group: name("lab"), files: vec![row.into()], total: 1, filtered: false })
    };
    assert!(share("a.bin~abababab").contains(r#""name":"a.bin~abababab","claimed":"a.bin","#));
    assert!(!share("a.bin~12345678").contains("claimed"), "that is its name");
}

#[test]
fn json_news_are_objects() {
    let line = |push: Push| news(&News::of_push(&push).expect("for people")).expect("a line");
    let renamed = Push::GroupRenamed { claimed: name("lab"), now: name("lab~0a1b2c3d") };
    assert_eq!(line(renamed), r#"{"v":1,"event":"group_renamed","group":"lab~0a1b2c3d","claimed":"lab"}"#);
    let renamed = Push::UserRenamed { claimed: name("alice"), now: name("alice~0a1b2c3d") };
    assert_eq!(line(renamed), r#"{"v":1,"event":"user_renamed","user":"alice~0a1b2c3d","claimed":"alice"}"#);
    assert_eq!(News::of_push(&Push::SessionEnded), None);
}

#[test]
fn json_tells_progress_by_lines() {
    let hashing = crate::engine::progress::Hashing { name: "a\n".to_owned(), done: 1, total: 2 };
    let line = progress(&Progress::Hashing(hashing)).expect("a line");
    assert_eq!(line, r#"{"v":1,"event":"progress","what":"hashing","name":"a\n","done":1,"total":2}"#);
    let line = progress(&Progress::Download(download_row(State::Waiting))).expect("a line");
    assert!(line.starts_with(r#"{"v":1,"event":"progress","what":"download","n":1,"#), "{line}");
}

#[test]
fn no_tracker_is_neither_dual_nor_solo() {
    let status = Status { mode: None, ..status_row() };
    assert!(data(Outcome::Status(status.clone())).contains(r#""mode":"none""#));
    assert!(text(&Outcome::Status(status)).data.contains("no tracker can be reached"));
}

/// What was there before it went on did not come at this rate.
#[test]
fn a_resumed_download_tells_the_rate_of_what_came_since() {
    let peers = |bytes| vec![PeerShare { device: "c0ffee".to_owned(), user: name("bob"), bytes }];
    let shown =
        |peers| text(&Outcome::Downloaded(Downloaded { size: 100 << 20, seconds: 2.0, peers, ..downloaded_row() }));
    let resumed = shown(peers(2 << 20)).data;
    assert!(resumed.contains("(1.0 MiB/s)"), "{resumed}");
    let nothing = shown(Vec::new()).data;
    assert!(!nothing.contains("/s)"), "{nothing}");
}

fn findings() -> Vec<crate::engine::outcome::Finding> {
    use crate::engine::outcome::Finding;
    vec![Finding::good("the clocks agree"), Finding::good("nobody was there\u{1b}"), Finding::bad("full", "make room")]
}

#[test]
fn a_doctor_who_finds_something_fails_and_tells_what() {
    let line = json(Some("doctor"), &Ok(Outcome::Findings { findings: findings() }));
    let expected = r#"{"v":1,"command":"doctor","ok":false,"data":{"findings":[{"what":"the clocks agree","ok":true,"remedy":null},"#;
    assert!(line.starts_with(expected), "{line}");
    let end = r#""error":{"code":"unhealthy","message":"1 of 3 things is not as it should be"}}"#;
    assert!(line.ends_with(end), "{line}");
    let well = json(Some("doctor"), &Ok(Outcome::Findings { findings: findings()[..2].to_vec() }));
    assert!(well.contains(r#""ok":true,"data""#) && !well.contains("error"), "{well}");
}

fn limits() -> LimitTable {
    use crate::settings::Direction;
    let row = |direction, group: Option<&str>, at: Option<&str>, now| LimitRow {
        direction,
        group: group.map(str::to_owned),
        n: None,
        rate: Some(10 << 20),
        at: at.map(str::to_owned),
        now,
    };
    let limits = vec![
        row(Direction::Up, None, Some("08:00-18:00"), true),
        LimitRow { rate: None, ..row(Direction::Up, None, None, false) },
        row(Direction::Down, Some("lab"), None, true),
        LimitRow { n: Some(3), ..row(Direction::Down, None, None, true) },
    ];
    LimitTable { up: Some(10 << 20), down: None, limits }
}

fn setting(next_start: Option<crate::settings::Origin>) -> SettingRow {
    let (name, from) = (crate::settings::SettingName::SeedingSlots, crate::settings::Origin::File);
    SettingRow { name, value: "4".to_owned(), from, next_start, by_hours: false }
}

/// Every outcome, and a line that comes to it.
fn every_outcome() -> Vec<(&'static str, Outcome)> {
    let member = || Member { group: name("lab"), user: name("bob") };
    let group = || name("lab");
    let uploaded = Uploaded {
        group: group(),
        name: name("a.bin"),
        size: 5,
        piece_size: 262_144,
        pieces: 1,
        sha1: "cd".repeat(20),
        file_id: file_id(),
        link: format!("shoal:lab/{}", "ab".repeat(32)),
        replaced: false,
        folder: None,
    };
    let seeder = |complete, pieces, reason: Option<&str>| crate::engine::outcome::SeederRow {
        device: "c0ffee".repeat(8),
        user: name("bob"),
        address: "192.0.2.1:7000".to_owned(),
        complete,
        pieces,
        reason: reason.map(str::to_owned),
    };
    let info = |path: Option<&str>| Info {
        group: group(),
        name: name("a.bin"),
        link: format!("shoal:lab/{}", "ab".repeat(32)),
        kind: Kind::File,
        entries: None,
        tree: None,
        published: None,
        size: 5 << 20,
        piece_size: 262_144,
        pieces: 20,
        sha1: "cd".repeat(20),
        file_id: file_id(),
        uploader: name("alice"),
        here: path.is_some(),
        path: path.map(PathBuf::from),
        seeders: vec![
            seeder(true, Some(20), None),
            seeder(false, Some(7), None),
            seeder(false, None, Some("away\u{1b}")),
        ],
    };
    let hit = |path: Option<&str>| HitRow {
        group: group(),
        name: name("a.bin"),
        path: path.map(str::to_owned),
        size: 5,
        file_id: file_id(),
    };
    let hits = |hits, short, page| Outcome::Hits { more: !Vec::is_empty(&hits), hits, short, page };
    let verified = crate::engine::outcome::VerifiedRow {
        group: group(),
        name: name("a.bin"),
        path: PathBuf::from("/x"),
        size: 5,
        pieces: 1,
        file_id: file_id(),
    };
    let folder = UploadedFolder {
        kind: Kind::Folder,
        entries: 2,
        tree: "ef".repeat(32),
        skipped: vec![Skipped { path: "li\u{1b}nk".to_owned(), why: "it is a link".to_owned() }],
    };
    let shared_folder = Uploaded { replaced: true, folder: Some(folder), ..uploaded.clone() };
    let file = TreeRow {
        path: "a/b\u{1b}".to_owned(),
        kind: Kind::File,
        size: 5,
        file_id: Some("ab".repeat(32)),
        executable: true,
    };
    let empty = TreeRow { path: "e".to_owned(), kind: Kind::Folder, size: 0, file_id: None, executable: false };
    let tree =
        |size, entries, files, total| Outcome::Tree { group: group(), name: name("src"), size, entries, files, total };
    let (rows, page) = (vec![file.clone(), empty], vec![file]);
    let fetched = Downloaded { files: Some(2), reused: Some(7), ..downloaded_row() };
    let shared = NewsRow {
        at: Moment(1_700_000_000),
        event: Happening::FileShared,
        group: Some(group()),
        user: Some(name("bob")),
        name: Some("a.bin".to_owned()),
        size: Some(5),
        file_id: Some(file_id()),
        new_version: false,
        text: "bob shared a.bin".to_owned(),
    };
    let (event, text) = (Happening::Downloaded, "it has come".to_owned());
    let done = NewsRow { event, text, user: None, name: None, size: None, file_id: None, ..shared.clone() };
    let subscribed = |glob: Option<&str>, acts| Subscribed {
        n: 1,
        group: group(),
        glob: glob.map(str::to_owned),
        destination: PathBuf::from("/x"),
        waiting: 2,
        here: u64::from(glob.is_some()),
        acts,
        extended: false,
    };
    let extended = |waiting| Subscribed { extended: true, waiting, ..subscribed(None, true) };
    let subscription = SubscriptionRow {
        n: 1,
        group: group(),
        glob: None,
        destination: PathBuf::from("/x y"),
        fetched: 3,
        waiting: 0,
        here: 1,
        problem: Some("a.bin: why".to_owned()),
    };
    let share = ShareRow {
        group: group(),
        name: name("a b"),
        file_id: file_id(),
        size: 5,
        state: ShareState::Refused,
        rate: 7,
        peers: 1,
        sent: 9,
        reason: Some("not a member\u{7}".to_owned()),
        entries: Some(3),
        changed: Vec::new(),
    };
    let changed = ShareRow {
        state: ShareState::Seeding,
        reason: Some("`a` and `b` were modified".to_owned()),
        changed: vec!["a".to_owned(), "b".to_owned()],
        ..share.clone()
    };
    let device = |here| DeviceRow { device: "ab".repeat(32), since: "2023-11-14T22:13:20Z".to_owned(), here };
    let reached = Reach { state: ReachState::Reached, at: Some(crate::engine::outcome::Moment(1_700_000_000)) };
    let full = TrackerRow { address: "[::1]:5000".to_owned(), up: true, current: false, disk_full: true };
    let status = Status { trackers: vec![full], mode: None, lag: Some(3), user: None, reach: reached, ..status_row() };
    let row = |state, reason: Option<&str>| DownloadRow { reason: reason.map(str::to_owned), ..download_row(state) };
    let downloads = vec![
        row(State::Downloading, None),
        row(State::Paused, None),
        row(State::Waiting, Some("nobody")),
        row(State::Complete, None),
        row(State::Failed, Some("why")),
        DownloadRow { within: Some("in/a\u{1b}.bin".to_owned()), name: name("src"), ..download_row(State::Waiting) },
    ];
    let begun = |name: &str, within: Option<&str>| {
        let (name, within) = (name.to_owned(), within.map(str::to_owned));
        Outcome::Downloading { n: 3, group: group(), name, within }
    };
    let relations = [Relation::Admin, Relation::Member, Relation::Pending, Relation::None];
    let lost = MemberRow { user: name("bob~0a1b2c3d"), admin: true };
    let published = Some(crate::engine::outcome::Moment(1_700_000_000));
    let folder = FileRow { kind: Kind::Folder, entries: Some(7), published, here: true, ..file_row() };
    let renamed = FileRow { claimed: Some("a".to_owned()), name: name("a~abababab"), ..file_row() };
    vec![
        ("create_user bob secret99", Outcome::UserCreated { user: name("bob"), provisional: true }),
        ("login bob secret99", Outcome::LoggedIn(user("bob"))),
        ("logout", Outcome::LoggedOut {}),
        ("logout", Outcome::LoggedOut {}.of_one_tracker()),
        ("login bob secret99", Outcome::LoggedIn(user("bob")).of_one_tracker()),
        ("whoami", Outcome::Whoami(user("bob~0a1b2c3d"))),
        ("change_password one-secret two-secret", Outcome::PasswordChanged {}),
        ("create_group lab", Outcome::GroupCreated { group: group(), provisional: false }),
        ("list_groups", Outcome::Groups { groups: relations.map(|r| group_row("lab~0a1b2c3d", r)).to_vec() }),
        ("join_group lab", Outcome::JoinRequested(crate::engine::outcome::Group { group: group() })),
        ("leave_group lab", Outcome::Left { group: group(), was: Relation::Pending, withdrawn: 2 }),
        ("list_requests lab", Outcome::Requests { group: group(), requests: vec![user("bob")] }),
        ("list_requests lab", Outcome::Requests { group: group(), requests: Vec::new() }),
        ("accept_request lab bob", Outcome::Accepted(member())),
        ("reject_request lab bob", Outcome::Rejected(member())),
        ("list_members lab", Outcome::Members { members: vec![lost] }),
        ("remove_member lab bob", Outcome::Removed(member())),
        ("remove_member lab bob", Outcome::Removed(member()).of_one_tracker()),
        ("make_admin lab bob", Outcome::AdminMade(member())),
        ("invite lab --uses 3", Outcome::Invited(new_invite(false))),
        ("invite lab", Outcome::Invited(new_invite(true))),
        ("invite lab", Outcome::Invited(new_invite(false)).of_one_tracker()),
        (ACCEPT.as_str(), Outcome::Joined(crate::engine::outcome::Group { group: group() })),
        (CHECK.as_str(), Outcome::Checked(checked_invite(InviteState::Open))),
        (CHECK.as_str(), Outcome::Checked(checked_invite(InviteState::UsedUp))),
        (CHECK.as_str(), Outcome::Checked(checked_invite(InviteState::Expired))),
        (CHECK.as_str(), Outcome::Checked(checked_invite(InviteState::Revoked))),
        (CHECK.as_str(), Outcome::Checked(checked_invite(InviteState::Closed))),
        ("list_invites lab", Outcome::Invites { group: group(), invites: invite_rows() }),
        ("list_invites lab", Outcome::Invites { group: group(), invites: Vec::new() }),
        ("revoke_invite lab 2", Outcome::InviteRevoked(InviteEnd { group: group(), n: 2 })),
        ("upload_file /x lab", Outcome::Uploaded(uploaded)),
        ("upload_file --replace /x lab", Outcome::Uploaded(shared_folder)),
        ("list_files lab src", tree(5, 2, rows, 2)),
        ("list_files lab src --sort size --rows 1", tree(5, 2, page, 2)),
        ("list_files lab src --page 9", tree(5, 2, Vec::new(), 2)),
        ("list_files lab src --match '*.exe'", tree(5, 2, Vec::new(), 0)),
        ("list_files lab src", tree(0, 0, Vec::new(), 0)),
        ("download_file lab src /x --only '*.rs'", Outcome::Downloaded(fetched)),
        (
            "list_files lab",
            Outcome::Files { group: group(), files: vec![file_row(), renamed, folder], total: 9, filtered: false },
        ),
        ("list_files lab", Outcome::Files { group: group(), files: Vec::new(), total: 0, filtered: false }),
        ("list_files lab --match x", Outcome::Files { group: group(), files: Vec::new(), total: 0, filtered: true }),
        ("download_file lab a /x", begun("a\u{1b}", None)),
        ("download_file lab src/in/a /x", begun("src", Some("in/a\u{1b}"))),
        ("download_file lab a /x", Outcome::Downloaded(downloaded_row())),
        ("show_downloads", Outcome::Downloads { downloads }),
        ("pause_download 3", Outcome::Paused { n: 3 }),
        ("resume_download 3", Outcome::Resumed { n: 3 }),
        ("cancel_download 3", Outcome::Cancelled { n: 3 }),
        ("list_shares", Outcome::Shares { shares: vec![share, changed] }),
        ("stop_share lab a", Outcome::Stopped { group: group(), name: name("a"), removed: None }),
        ("stop_share lab a", Outcome::Stopped { group: group(), name: name("a"), removed: Some(PathBuf::from("/x")) }),
        ("search a b", hits(vec![hit(None), hit(Some("in/a\u{1b}.txt"))], true, None)),
        ("search a", hits(Vec::new(), true, None)),
        ("search abc", hits(Vec::new(), false, None)),
        ("search abc --page 1", hits(Vec::new(), false, NonZeroU32::new(1))),
        ("search abc --page 9", hits(Vec::new(), false, NonZeroU32::new(9))),
        ("search a --page 9", hits(Vec::new(), true, NonZeroU32::new(9))),
        ("info lab a.bin", Outcome::Info(info(None))),
        ("info lab a.bin", Outcome::Info(Info { seeders: Vec::new(), ..info(Some("/x/a.bin")) })),
        (
            "info lab src",
            Outcome::Info(Info {
                kind: Kind::Folder,
                entries: Some(3),
                tree: Some("ef".repeat(32)),
                published: Some(Moment(1_700_000_000)),
                ..info(None)
            }),
        ),
        ("verify lab a.bin", Outcome::Verified(verified)),
        ("news", Outcome::News { news: vec![shared, done], since: Some(Moment(1_700_000_000)), all: false }),
        ("news", Outcome::News { news: Vec::new(), since: None, all: false }),
        ("news --all", Outcome::News { news: Vec::new(), since: None, all: true }),
        ("subscribe lab '*.bin' /x", Outcome::Subscribed(subscribed(Some("*.bin"), false))),
        ("subscribe lab /x", Outcome::Subscribed(subscribed(None, true))),
        ("subscribe lab /x --existing", Outcome::Subscribed(extended(2))),
        ("subscribe lab /x --existing", Outcome::Subscribed(extended(0))),
        ("list_subscriptions", Outcome::Subscriptions { subscriptions: vec![subscription] }),
        ("list_subscriptions", Outcome::Subscriptions { subscriptions: Vec::new() }),
        ("unsubscribe 1", Outcome::Unsubscribed { n: 1, group: group() }),
        ("list_devices", Outcome::Devices { devices: vec![device(true), device(false)] }),
        ("end_login abcdef", Outcome::LoginEnded { device: "ab".repeat(32), here: false }),
        ("limit up 10M", Outcome::Limits(limits())),
        ("limit", Outcome::Limits(LimitTable::default())),
        ("set seeding_slots 4", Outcome::Settings { settings: vec![setting(None)] }),
        ("show", Outcome::Settings { settings: vec![setting(Some(crate::settings::Origin::Flag))] }),
        ("status", Outcome::Status(status)),
        ("status", Outcome::Status(status_row())),
        ("doctor", Outcome::Findings { findings: findings() }),
        ("help", Outcome::Help { help: "text\nand more".to_owned() }),
        ("web", Outcome::Web(PageLink { link: "http://127.0.0.1:7080/enter?token=x".to_owned(), fingerprint: None })),
        ("web", Outcome::Web(PageLink { link: "https://x".to_owned(), fingerprint: Some("AB:CD".to_owned()) })),
        ("quit", Outcome::Quit {}),
        ("shutdown", Outcome::ShutDown {}),
    ]
}

/// A face in another process shows what one in this process does.
#[test]
fn every_outcome_is_shown_the_same_after_the_way_through_json() {
    let mut commands = std::collections::BTreeSet::new();
    for (line, outcome) in every_outcome() {
        let command = crate::faces::parse::parse(line).expect("a command").command.expect(line);
        let read: serde_json::Value = serde_json::from_str(&data(outcome.clone())).expect("JSON");
        let again = Outcome::decode(&command, &read).expect(line);
        assert_eq!((&again, text(&again)), (&outcome, text(&outcome)), "{line}");
        assert_eq!(data(again), data(outcome), "{line}");
        commands.insert(command.name());
    }
    let table = <crate::engine::command::Line as clap::CommandFactory>::command();
    let missing: Vec<_> = table.get_subcommands().filter(|c| !commands.contains(c.get_name())).collect();
    assert!(missing.is_empty(), "{missing:?}");
    assert!(Outcome::decode(&crate::engine::Command::Whoami, &serde_json::json!({})).is_err());
}

/// What people see of every outcome, by command.
#[test]
fn every_outcome_is_as_people_have_seen_it() {
    let mut shown = std::collections::BTreeMap::<_, String>::new();
    for (line, outcome) in every_outcome() {
        let command = crate::faces::parse::parse(line).expect("a command").command.expect(line);
        let Text { data, message, hint } = text(&outcome);
        let parts = [("", data), ("stderr: ", message), ("next: ", hint.unwrap_or_default())];
        let parts =
            parts.into_iter().filter(|(_, text)| !text.is_empty()).map(|(what, text)| format!("{what}{text}\n"));
        *shown.entry(command.name()).or_default() += &format!("> {line}\n{}\n", parts.collect::<String>());
    }
    for (command, text) in shown {
        // Ages grow.
        let moment = crate::engine::outcome::Moment(1_700_000_000);
        let text = text.replace(&age(moment.age()), "[age]").replace(&ago(moment.age()), "[ago]");
        insta::assert_snapshot!(format!("outcome_{command}"), text);
    }
}
