//! States of any size, as a tracker has them that has run for weeks: the log has been cut, and the facts are there.
//!
//! They are written with the schema of the first release, in one large transaction, and not by asking a tracker for a
//! million things. Whatever release is measured brings them up to date when it first starts. Every row is the image of a
//! fact that some event stated, each event with a time of its own; the version vector says how many there were, and the
//! floor that all of them have been cut off. Names are confirmed, as after a while with two trackers.

use std::fs;
use std::path::{Path, PathBuf};

use common::id::{DeviceId, FileId, GroupName, SessionId, UserId, UserName};
use common::secret::{ClusterKey, ClusterSecret};
use common::ticket::{self, SessionToken, Signed};
use common::tls::DeviceKey;
use rusqlite::Connection;

mod fill;

/// Devices that logins are on, in turn.
pub(crate) const DEVICES: u64 = 128;
/// Who seeds the first share: the first so many users.
pub(crate) const SEEDERS: u64 = 20;
/// The group that has the shares; the first users are its members.
pub(crate) const LAB: &str = "lab";
/// Members of the lab.
const LAB_MEMBERS: u64 = 96;
/// Logins that one user may have; a further one ends the oldest.
pub(crate) const MOST_LOGINS: u64 = 64;
/// The password of all users.
pub(crate) const PASSWORD: &str = "password of somebody";

/// How much of what there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size {
    /// Accounts, at least as many as there are devices.
    pub(crate) users: u64,
    /// Groups besides the lab, each with the one who made it as its admin and only member.
    pub(crate) groups: u64,
    /// So many of those groups
    pub(crate) crowds: u64,
    /// have so many members, the first users.
    pub(crate) crowd: u64,
    /// Shares of the lab, seeded by one member each, and the first by twenty.
    pub(crate) shares: u64,
    /// Logins of each user; the first is on a device that the benchmark has.
    pub(crate) logins: u64,
}

impl Size {
    /// Next to nothing.
    pub(crate) const SMALL: Self = Self { users: DEVICES, groups: 10, crowds: 0, crowd: 0, shares: 20, logins: 1 };

    fn name(self) -> String {
        let Self { users, groups, crowds, crowd, shares, logins } = self;
        format!("u{users}-g{groups}-c{crowds}x{crowd}-s{shares}-l{logins}")
    }
}

/// A database with such a state, and the keys to it.
#[derive(Debug)]
pub(crate) struct Dataset {
    dir: PathBuf,
    pub(crate) size: Size,
    key: ClusterKey,
    devices: Vec<DeviceKey>,
    /// When the logins end.
    expires: u64,
}

impl Dataset {
    /// The one of this size in `root`, made if it is not there.
    pub(crate) fn open(root: &Path, size: Size) -> Self {
        let dir = root.join(size.name());
        let keys = root.join("devices");
        for dir in [&dir, &keys] {
            fs::create_dir_all(dir).expect("a directory");
        }
        let (secret, _) = ClusterSecret::load_or_create(&dir.join("cluster.secret")).expect("a secret");
        let device = |n| DeviceKey::load_or_create(&keys.join(format!("{n}.pem"))).expect("a device key");
        let devices: Vec<_> = (0..DEVICES).map(device).collect();
        let mut made = Self { dir, size, key: secret.cluster_key(), devices, expires: 0 };
        if !made.database().exists() {
            made.make();
        }
        let conn = Connection::open(made.database()).expect("opened");
        let expires = conn.query_row("SELECT min(expires) FROM sessions", [], |r| r.get::<_, i64>(0));
        made.expires = expires.expect("a login").cast_unsigned();
        made
    }

    fn make(&self) {
        let began = std::time::Instant::now();
        let unfinished = self.dir.join("unfinished.db");
        let _ = fs::remove_file(&unfinished);
        let ids: Vec<DeviceId> = self.devices.iter().map(DeviceKey::id).collect();
        fill::fill(&unfinished, self.size, &ids, ticket::now()).expect("filled");
        fs::rename(&unfinished, self.database()).expect("renamed");
        eprintln!("made the state {} in {:.1} s", self.size.name(), began.elapsed().as_secs_f64());
    }

    /// The cluster's secret.
    pub(crate) fn secret(&self) -> PathBuf {
        self.dir.join("cluster.secret")
    }

    /// The database.
    pub(crate) fn database(&self) -> PathBuf {
        self.dir.join("tracker.db")
    }

    /// The device that user `n` is logged in on.
    pub(crate) fn device(&self, n: u64) -> &DeviceKey {
        &self.devices[(n % DEVICES) as usize]
    }

    /// The token of user `n`'s first login.
    pub(crate) fn token(&self, n: u64) -> Signed<SessionToken> {
        let (session, user) = (SessionId::new(id(Kind::Session, n)), UserId::new(id(Kind::User, n)));
        let device = self.device(n).id();
        let token = SessionToken { session, user, device, credentials: 1, expires: self.expires };
        Signed::sign(&token, &self.key).expect("signed")
    }
}

/// What an id is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Origin,
    User,
    Credential,
    Session,
    Device,
    Group,
    File,
    Publication,
}

/// The id of the `n`th of a kind: the same in every run, and as spread as random ones are.
fn id<const N: usize>(kind: Kind, n: u64) -> [u8; N] {
    let mut hasher = blake3::Hasher::new_derive_key("shoal benchmark ids 1");
    hasher.update(&[kind as u8]).update(&n.to_le_bytes());
    let mut id = [0; N];
    hasher.finalize_xof().fill(&mut id);
    id
}

/// A login is the `k`th of user `n`: those that are not the first have numbers of their own.
const fn login_number(n: u64, k: u64) -> u64 {
    n + (k << 40)
}

/// The name of user `n`. Numbers are mixed, so that names do not come in the order in which they were taken.
pub(crate) fn user_name(n: u64) -> UserName {
    format!("user-{:06x}-{n}", mixed(n)).parse().expect("a name")
}

/// The name of group `n`.
pub(crate) fn group_name(n: u64) -> GroupName {
    format!("group-{:06x}-{n}", mixed(n)).parse().expect("a name")
}

/// The name of share `n`.
pub(crate) fn file_name(n: u64) -> String {
    format!("file-{:06x}-{n}.bin", mixed(n))
}

/// The content of share `n`.
pub(crate) fn file_id(n: u64) -> FileId {
    FileId::new(id(Kind::File, n))
}

/// The lab's name.
pub(crate) fn lab() -> GroupName {
    LAB.parse().expect("a name")
}

const fn mixed(n: u64) -> u64 {
    n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40
}
