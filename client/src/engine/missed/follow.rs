//! Tells what is new while a client stays: how much was missed, once somebody is logged in; then new files, of many at once one
//! sentence, and whatever else was not told by a push of its own.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::id::{GroupName, UserId, UserName};
use common::wire::client::{Happened, NewsRow as Row, Push};
use tokio::sync::broadcast;

use super::{now, shared, told, told_together};
use crate::engine::news::{Happening, News};
use crate::engine::{Engine, Event};
use crate::error::Error;
use crate::share::blocking;
use crate::trackers::ViewChanges;
use crate::units::{ago, count};

/// What comes within this time is told together.
const TOGETHER: Duration = Duration::from_millis(500);
/// How long after a question that was not answered it is asked again.
const AGAIN: Duration = Duration::from_secs(5);
/// How soon is looked again where something may have come meanwhile.
const SOON: Duration = Duration::from_secs(1);
/// How often is looked in any case: a hint may be lost.
const IN_ANY_CASE: Duration = Duration::from_secs(600);
/// Pushes that are remembered as told, and for how long.
const RECENT: (usize, Duration) = (64, Duration::from_secs(120));

/// What is known of the user's news.
#[derive(Default)]
struct Known {
    user: Option<UserId>,
    keys: HashSet<u64>,
    /// What was asked for before a push of its own can have come: told at the next look, if none has.
    late: Vec<Row>,
    /// What pushes have told.
    told: VecDeque<(Instant, Happening, Option<GroupName>, Option<UserName>)>,
}

impl Known {
    fn note(&mut self, push: &Push) {
        let Some(News { event, group, user, .. }) = News::of_push(push) else { return };
        let (most, age) = RECENT;
        self.told.retain(|(at, ..)| at.elapsed() < age);
        if self.told.len() == most {
            self.told.pop_front();
        }
        self.told.push_back((Instant::now(), event, group, user));
    }

    /// Notes what has come meanwhile; whether there is cause to look again.
    fn note_all(&mut self, pushes: &mut broadcast::Receiver<Push>) -> bool {
        let mut is_cause = false;
        loop {
            match pushes.try_recv() {
                Ok(push) => {
                    self.note(&push);
                    is_cause |= concerns(&push);
                }
                Err(broadcast::error::TryRecvError::Lagged(_)) => is_cause = true,
                Err(_) => return is_cause,
            }
        }
    }

    fn was_told(&self, news: &News) -> bool {
        self.told.iter().any(|(_, event, group, user)| (*event, group, user) == (news.event, &news.group, &news.user))
    }
}

/// Runs for as long as the client.
pub(in crate::engine) async fn follow(engine: Arc<Engine>) {
    let (mut session, mut pushes, mut view) =
        (engine.trackers.session(), engine.trackers.pushes(), engine.trackers.view());
    let mut known = Known::default();
    let mut connection = None;
    loop {
        let user = session.borrow_and_update().as_ref().map(|s| s.user_id);
        if user != known.user {
            known = Known::default();
        }
        let at = Some(engine.trackers.connection());
        let patience = match user {
            None => IN_ANY_CASE,
            Some(user) => match look(&engine, &mut known, user, &mut pushes).await {
                Ok(is_over) => {
                    connection = at;
                    if is_over { IN_ANY_CASE } else { SOON }
                }
                Err(Error::OldTracker) => {
                    connection = at;
                    IN_ANY_CASE
                }
                Err(_) => AGAIN,
            },
        };
        let waited = wait(&mut pushes, &mut known, &mut view, &engine, connection);
        tokio::select! {
            goes_on = waited => {
                if !goes_on {
                    return;
                }
                tokio::time::sleep(TOGETHER).await;
            }
            changed = session.changed() => if changed.is_err() {
                return;
            },
            () = tokio::time::sleep(patience) => {}
        }
    }
}

/// Waits for something that may be news; `false` at the client's end.
async fn wait(
    pushes: &mut broadcast::Receiver<Push>,
    known: &mut Known,
    view: &mut ViewChanges,
    engine: &Engine,
    connection: Option<u64>,
) -> bool {
    loop {
        tokio::select! {
            push = pushes.recv() => match push {
                Ok(push) => {
                    known.note(&push);
                    if concerns(&push) {
                        return true;
                    }
                }
                Err(broadcast::error::RecvError::Lagged(_)) => return true,
                Err(broadcast::error::RecvError::Closed) => return false,
            },
            changed = view.changed() => {
                if !changed {
                    return false;
                }
                // Another tracker may know of something that this client has not heard.
                if connection.is_some_and(|connection| connection != engine.trackers.connection()) {
                    return true;
                }
            }
        }
    }
}

/// Whether a push may be followed by news.
pub(in crate::engine) const fn concerns(push: &Push) -> bool {
    match push {
        Push::JoinRequested { .. }
        | Push::Accepted { .. }
        | Push::Rejected { .. }
        | Push::Removed { .. }
        | Push::MadeAdmin { .. }
        | Push::NewsHint { .. } => true,
        Push::Revoked(_)
        | Push::SeederUp { .. }
        | Push::Probe { .. }
        | Push::SessionEnded
        | Push::UserRenamed { .. }
        | Push::GroupRenamed { .. } => false,
    }
}

/// Looks, and tells what is new; whether there is nothing to look for at once.
async fn look(
    engine: &Engine,
    known: &mut Known,
    user: UserId,
    pushes: &mut broadcast::Receiver<Push>,
) -> Result<bool, Error> {
    let is_first = known.user.is_none();
    let keys = &known.keys;
    let rows = engine.all_news(None, |page| is_first || page.iter().any(|row| !keys.contains(&row.mark.key))).await?;
    let new: Vec<&Row> = rows.iter().filter(|row| !known.keys.contains(&row.mark.key)).collect();
    let fresh: Vec<u64> = new.iter().map(|row| row.mark.key).collect();
    let is_cause = known.note_all(pushes);
    let names = new.iter().filter_map(|row| shared(row).map(|of| (&row.group, of.name, of.file_id, of.new_version)));
    engine.shares.reannounce_replaced(names);
    let is_known = |row: &Row| matches!(row.what, Happened::Accepted) && engine.joined.take(user, &row.group);
    let (answered, new): (Vec<&Row>, Vec<&Row>) = new.into_iter().partition(|row| is_known(row));
    let mut told: Vec<u64> = answered.iter().map(|row| row.mark.key).collect();
    if is_first {
        tell_missed(engine, user, new.iter().map(|row| row.mark.key));
    } else {
        known.late.retain(|row| !is_known(row));
        let late = tell_new(engine, known, &new);
        known.late = late;
        told.extend(new.iter().map(|row| row.mark.key));
    }
    if engine.is_watched() && !told.is_empty() {
        let marks = engine.news.clone();
        let noted = blocking(move || marks.add_read(user, told, now())).await;
        noted.unwrap_or_else(|e| tracing::warn!("what was told of the news is not noted: {e}"));
    }
    known.user = Some(user);
    known.keys.extend(fresh);
    Ok(known.late.is_empty() && !is_cause)
}

/// Says how much was not shown yet.
fn tell_missed(engine: &Engine, user: UserId, keys: impl Iterator<Item = u64>) {
    let read = engine.news.read(user);
    let own = engine.news.own(user);
    let unread = keys.chain(own.iter().map(|(key, _)| *key)).filter(|key| !read.contains(key)).count() as u64;
    if unread == 0 {
        return;
    }
    let since = engine.news.read_at(user).map(|at| {
        let age = Duration::from_secs(now().saturating_sub(at));
        format!(" since you looked {}", ago(age))
    });
    let text =
        format!("{}{}: `news` shows them", count(unread, "piece of news", "pieces of news"), since.unwrap_or_default());
    engine.tell(Event::News(News::of(Happening::Missed, text)));
}

/// Tells new files, and what was to be told by a push that has not come; what may still be is returned.
fn tell_new(engine: &Engine, known: &Known, new: &[&Row]) -> Vec<Row> {
    let untold = known.late.iter().map(told).filter(|news| !known.was_told(news));
    untold.for_each(|news| engine.tell(Event::News(news)));
    // The last come first.
    let (files, others): (Vec<&Row>, Vec<&Row>) = new.iter().rev().copied().partition(|row| shared(row).is_some());
    let mut groups: Vec<&GroupName> = files.iter().map(|row| &row.group).collect();
    groups.sort_unstable();
    groups.dedup();
    for (group, new_version) in groups.into_iter().flat_map(|group| [(group, false), (group, true)]) {
        let is_so = |row: &&&Row| row.group == *group && shared(row).is_some_and(|of| of.new_version == new_version);
        let news = match files.iter().filter(is_so).copied().collect::<Vec<&Row>>()[..] {
            [] => continue,
            [one] => engine.told(one),
            ref many => told_together(group, many.len(), new_version),
        };
        engine.tell(Event::News(news));
    }
    others.into_iter().filter(|row| !known.was_told(&told(row))).cloned().collect()
}
