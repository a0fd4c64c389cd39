//! The login that this device keeps between runs: the file `session` in the data directory.
//!
//! The token in it is worth nothing without the device's key; it is private all the same.

use std::path::{Path, PathBuf};

use common::codec;
use common::id::{UserId, UserName};
use common::ticket::{SessionToken, Signed};
use common::wire::limits::MAX_FRAME_BEFORE_LOGIN;
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::private_file;

const FILE_NAME: &str = "session";
const VERSION: u32 = 1;

/// Who is logged in on this device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedIn {
    /// The user's name.
    pub user: UserName,
    /// The user.
    pub user_id: UserId,
}

/// A login with what it takes to go on with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Who it is.
    pub who: LoggedIn,
    /// What the device shows to go on with it.
    pub token: Signed<SessionToken>,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    v: u32,
    user: UserName,
    user_id: String,
    token: String,
}

/// Where the login is kept.
#[derive(Debug, Clone)]
pub(crate) struct SessionFile(PathBuf);

impl SessionFile {
    pub(crate) fn new(data_dir: &Path) -> Self {
        Self(data_dir.join(FILE_NAME))
    }

    /// The kept login, if there is one that can be read: one that cannot is as good as none, since a
    /// new login replaces it.
    pub(crate) fn load(&self) -> Result<Option<Session>, Error> {
        Ok(private_file::read(&self.0)?.and_then(|text| parse(&text)))
    }

    /// Keeps `session` in place of any other. Blocks on the disk.
    pub(crate) fn save(&self, session: &Session) -> Result<(), Error> {
        let internal = |e: &dyn std::fmt::Display| Error::Internal(format!("cannot store the session: {e}"));
        let token = codec::encode(&session.token, MAX_FRAME_BEFORE_LOGIN).map_err(|e| internal(&e))?;
        let stored = Stored {
            v: VERSION,
            user: session.who.user.clone(),
            user_id: session.who.user_id.to_string(),
            token: HEXLOWER.encode(&token),
        };
        let text = serde_json::to_string(&stored).map_err(|e| internal(&e))?;
        private_file::replace(&self.0, text.as_bytes())
    }

    /// Forgets the login. Blocks on the disk.
    pub(crate) fn remove(&self) -> Result<(), Error> {
        private_file::remove(&self.0)
    }
}

fn parse(text: &str) -> Option<Session> {
    let stored: Stored = serde_json::from_str(text).ok().filter(|s: &Stored| s.v == VERSION)?;
    let token = HEXLOWER.decode(stored.token.as_bytes()).ok()?;
    let token = codec::decode(&token, MAX_FRAME_BEFORE_LOGIN).ok()?;
    let who = LoggedIn { user: stored.user, user_id: stored.user_id.parse().ok()? };
    Some(Session { who, token })
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::id::{DeviceId, SessionId};
    use common::secret::ClusterSecret;

    #[test]
    fn a_login_is_kept_and_forgotten() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = SessionFile::new(dir.path());
        assert_eq!(file.load().expect("readable"), None);
        let user_id = UserId::random();
        let token = SessionToken {
            session: SessionId::random(),
            user: user_id,
            device: DeviceId::new([1; 32]),
            credentials: 1,
            expires: u64::MAX,
        };
        let token = Signed::sign(&token, &ClusterSecret::generate().cluster_key()).expect("signed");
        let session = Session { who: LoggedIn { user: "alice".parse().expect("a name"), user_id }, token };
        file.save(&session).expect("kept");
        assert_eq!(file.load().expect("readable"), Some(session));
        file.remove().expect("forgotten");
        assert_eq!(file.load().expect("readable"), None);
    }

    #[test]
    fn a_damaged_file_is_as_good_as_none() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join(FILE_NAME), "{\"v\":1}").expect("written");
        assert_eq!(SessionFile::new(dir.path()).load().expect("readable"), None);
    }
}
