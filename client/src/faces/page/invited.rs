//! What the invitation is for that the client was started with.
//!
//! Asked apart from whoever shows it, one question at a time: a page is not held up by trackers that are slow, and one that is looked at
//! again and again does not ask each time.

use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};

use crate::engine::outcome::CheckedInvite;
use crate::engine::{Call, Command, Engine, Outcome};

/// How long an answer is used.
const FRESH: Duration = Duration::from_secs(15);
/// The same of one that no tracker knows: there each question counts as a guess of this address, as a wrong password does.
const UNKNOWN: Duration = Duration::from_secs(300);
/// How long the page is held up where nothing is known yet.
const SOON: Duration = Duration::from_millis(800);
/// How long an answer is waited for.
const WAIT: Duration = Duration::from_secs(10);
/// Time between two questions where the first was not answered,
const PAUSE: Duration = Duration::from_secs(1);
/// or was one too many.
const LONG_PAUSE: Duration = Duration::from_secs(30);

/// What it is for, or why nobody can say.
pub(super) type Standing = Result<CheckedInvite, String>;

/// See the module.
#[derive(Default)]
pub(super) struct Invited {
    wanted: Notify,
    said: watch::Sender<Option<(Instant, Standing)>>,
}

impl Invited {
    /// What is known, or will be in a moment; nothing, where the trackers have not said anything.
    pub(super) async fn standing(&self, engine: &Engine) -> Option<Standing> {
        self.wanted.notify_one();
        let mut said = self.said.subscribe();
        // Without a tracker there is no answer to wait for.
        if said.borrow().is_none() && engine.known_status().mode.is_some() {
            let _ = timeout(SOON, said.wait_for(Option::is_some)).await; // What comes later is shown later.
        }
        said.borrow().as_ref().map(|(_, standing)| standing.clone())
    }

    /// Asks when somebody wants to know. For ever.
    pub(super) async fn follow(&self, engine: &Engine) {
        loop {
            self.wanted.notified().await;
            let fresh = |said: &Standing| if said.is_ok() { FRESH } else { UNKNOWN };
            let is_fresh = self.said.borrow().as_ref().is_some_and(|(at, said)| at.elapsed() < fresh(said));
            let Some(line) = engine.invited_by().filter(|_| !is_fresh) else { continue };
            let check = Command::CheckInvite { line: Some(line) };
            let standing = match timeout(WAIT, engine.run(check, &Call::unwatched(false))).await {
                Ok(Ok(Outcome::Checked(invite))) => Ok(invite),
                Ok(Err(e)) if e.code() == "no_such_invite" => Err(e.to_string()),
                Ok(Err(e)) if e.code() == "rate_limited" => {
                    sleep(LONG_PAUSE).await;
                    continue;
                }
                _ => {
                    sleep(PAUSE).await;
                    continue;
                }
            };
            self.said.send_replace(Some((Instant::now(), standing)));
        }
    }
}
