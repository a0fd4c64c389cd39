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
/// Time until the next question where one was not answered.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Time until the next question where one was refused as one too many.
const RETRY_AFTER_RATE_LIMIT: Duration = Duration::from_secs(30);

/// What a check of it has come to: what it is for, or why nobody can say.
pub(super) type Checked = Result<CheckedInvite, String>;

/// See the module.
#[derive(Default)]
pub(super) struct Invited {
    wanted: Notify,
    last: watch::Sender<Option<(Instant, Checked)>>,
}

impl Invited {
    /// What is known, or will be in a moment; nothing, where the trackers have not said anything.
    pub(super) async fn checked(&self, engine: &Engine) -> Option<Checked> {
        self.wanted.notify_one();
        let mut last = self.last.subscribe();
        // Without a tracker there is no answer to wait for.
        if last.borrow().is_none() && engine.known_status().mode.is_some() {
            let _ = timeout(SOON, last.wait_for(Option::is_some)).await; // What comes later is shown later.
        }
        last.borrow().as_ref().map(|(_, checked)| checked.clone())
    }

    /// Asks when somebody wants to know. For ever.
    pub(super) async fn follow(&self, engine: &Engine) {
        loop {
            self.wanted.notified().await;
            let fresh = |checked: &Checked| if checked.is_ok() { FRESH } else { UNKNOWN };
            let is_fresh = self.last.borrow().as_ref().is_some_and(|(at, checked)| at.elapsed() < fresh(checked));
            let Some(line) = engine.invited_by().filter(|_| !is_fresh) else { continue };
            let check = Command::CheckInvite { line: Some(line) };
            let checked = match timeout(WAIT, engine.run(check, &Call::unwatched(false))).await {
                Ok(Ok(Outcome::Checked(invite))) => Ok(invite),
                Ok(Err(e)) if e.code() == "no_such_invite" => Err(e.to_string()),
                Ok(Err(e)) if e.code() == "rate_limited" => {
                    sleep(RETRY_AFTER_RATE_LIMIT).await;
                    continue;
                }
                _ => {
                    sleep(RETRY_AFTER).await;
                    continue;
                }
            };
            self.last.send_replace(Some((Instant::now(), checked)));
        }
    }
}
