//! Fetches what subscriptions are for, while a client stays: looks when there is cause to, and has a few downloads going at a
//! time.
//!
//! Every item stays kept until its file is there. What fails is tried again, ever more rarely; only what can never succeed
//! is given up, and told.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use common::file_names::TRACKER_INFO;
use common::id::{FileId, FileName, GroupId, GroupName, UserId};
use common::wire::client::{FileSelector, Push, Request, Response, ShareInfo};
use common::wire::refusal::Refusal;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::sync::broadcast;
use tokio::time::Instant;

use super::Found;
use super::kept::{Item, Subscription};
use super::look::Look;
use crate::download::unlisted::Publication;
use crate::download::{Choice, DownloadId, DownloadRow, State, Strategy};
use crate::engine::arrange::Glob;
use crate::engine::missed::follow::concerns;
use crate::engine::news::{Happening, News};
use crate::engine::{Engine, Event};
use crate::error::{Error, unexpected};
use crate::own_files;
use crate::share::blocking;

/// Downloads that all subscriptions together have going at a time.
const AT_ONCE: usize = 3;
/// What is told within this time is looked at together.
const TOGETHER: Duration = Duration::from_millis(300);
/// How often is looked in any case: a hint may be lost.
const IN_ANY_CASE: Duration = Duration::from_secs(300);
/// How long after a look that failed there is another.
const AGAIN: Duration = Duration::from_secs(5);
/// How long a download may wait for a seeder before another has its place; it stays on the list, and may come meanwhile.
const WAITS: Duration = Duration::from_secs(20);
/// Delays before is asked again for seeders of what nobody had who was there; the trackers tell of one who comes.
const ASK_AGAIN: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(600));
/// How long such a question holds a place: there may be thousands.
const PACE: Duration = Duration::from_millis(500);
/// How soon what has waited for a seeder is asked about when one is told of.
const CAME: Duration = Duration::from_secs(2);
/// Delays before a failed item is tried again, in seconds: the first, and the longest.
const RETRY_FIRST: u64 = 5;
const RETRY_MOST: u64 = 600;

/// Which item of which subscription.
type Key = (u64, FileName, FileId);
type Running = FuturesUnordered<BoxFuture<'static, (Key, End)>>;

/// How the fetching of one item has ended.
enum End {
    /// It is there now.
    Fetched,
    /// It was there already.
    Here,
    /// It is not shared any more, or nobody wants it.
    Over,
    /// It can never come, for this reason.
    Never(Error),
    /// Nobody who has it is there.
    Absent,
    /// Not now.
    Later(Error),
}

/// Runs for as long as the client.
pub(in crate::engine) async fn run(engine: Arc<Engine>) {
    let mut session = engine.trackers.session();
    let (mut pushes, mut view, mut changed) =
        (engine.trackers.pushes(), engine.trackers.view(), engine.subscriptions.changed());
    let mut worker = Worker {
        engine: Arc::clone(&engine),
        user: None,
        running: Running::new(),
        begun: HashSet::new(),
        absent: HashMap::new(),
    };
    let (mut look_at, mut connection) = (Instant::now(), engine.trackers.connection());
    loop {
        let user = session.borrow_and_update().as_ref().map(|s| s.user_id);
        if user != worker.user {
            // Downloads of another user rest; those of this one are on the list again.
            (worker.user, worker.running, worker.begun) = (user, Running::new(), HashSet::new());
            worker.absent.clear();
            look_at = Instant::now();
        }
        if look_at <= Instant::now() {
            let looked = worker.look_all().await;
            look_at = Instant::now() + if looked { IN_ANY_CASE } else { AGAIN };
        }
        let next = worker.fill().await.map_or(look_at, |wait| look_at.min(Instant::now() + wait));
        tokio::select! {
            Some((key, end)) = worker.running.next() => worker.ended(key, end).await,
            cause = pushes.recv() => match cause {
                Ok(Push::SeederUp { group_id, file_id, .. }) => worker.seeder_came(group_id, file_id),
                Ok(push) if !concerns(&push) => {}
                Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => look_at = look_at.min(Instant::now() + TOGETHER),
                Err(broadcast::error::RecvError::Closed) => return,
            },
            ok = changed.changed() => match ok {
                Ok(()) => look_at = look_at.min(Instant::now() + TOGETHER),
                Err(_) => return,
            },
            ok = view.changed() => {
                if !ok {
                    return;
                }
                // Another tracker may know of something that this client has not heard.
                let now = engine.trackers.connection();
                if std::mem::replace(&mut connection, now) != now {
                    look_at = look_at.min(Instant::now() + TOGETHER);
                }
            }
            ok = session.changed() => if ok.is_err() {
                return;
            },
            () = tokio::time::sleep_until(next) => {}
        }
    }
}

/// Its methods take it whole: what is running may be sent to another thread, and not shared with one.
struct Worker {
    engine: Arc<Engine>,
    user: Option<UserId>,
    running: Running,
    begun: HashSet<Key>,
    /// What nobody had who was there: when to ask again, and how long to wait after that.
    absent: HashMap<Key, (Instant, Duration)>,
}

impl Worker {
    fn subscriptions(&self) -> Vec<Subscription> {
        self.user.map(|user| self.engine.subscriptions.of(user)).unwrap_or_default()
    }

    /// Looks for what is new in every group; whether all could be looked at.
    async fn look_all(&mut self) -> bool {
        let mut all_well = true;
        for subscription in self.subscriptions() {
            match self.look(&subscription).await {
                Ok(()) => {}
                // By the word of both trackers, and about this user: one that is behind, or alone, may not have heard of the
                // acceptance.
                Err(Error::Refused(Refusal::NotAMember(_) | Refusal::NoSuchGroup(_)))
                    if !self.engine.trackers.is_apart() && self.is_of_session() =>
                {
                    self.end(&subscription).await;
                }
                Err(e) => {
                    all_well = false;
                    // That no tracker answers is told elsewhere.
                    if !matches!(e, Error::TrackersUnreachable(_) | Error::Timeout(_)) {
                        self.note(subscription.n, move |s| (s.problem, s.problem_of) = (Some(e.to_string()), None))
                            .await;
                    }
                }
            }
        }
        all_well
    }

    /// Whether the user is still the one who is logged in.
    fn is_of_session(&self) -> bool {
        self.engine.trackers.session().borrow().as_ref().map(|s| s.user_id) == self.user
    }

    async fn look(&mut self, subscription: &Subscription) -> Result<(), Error> {
        let Subscription { n, group, group_id, glob, known, waiting, .. } = subscription;
        let now = self.engine.looked_at(known.at());
        let (rows, cut) = self.engine.published(*group_id, group).await?;
        let Look { mut new, missed_since, known: next } = known.look(&rows, cut, now);
        let fresh: HashSet<FileId> = new.iter().map(|found| found.file_id).collect();
        if let Some(since) = missed_since {
            // Clocks differ, and what was published at the same moment counts.
            new.extend(self.engine.shares_since(*group_id, group, since.saturating_sub(60)).await?);
        }
        if new.is_empty() && *known == next {
            return Ok(());
        }
        let glob: Option<Glob> = glob.as_ref().map(|text| text.parse()).transpose().map_err(Error::InvalidArgument)?;
        let here = self.engine.here(*group_id);
        let mut seen: HashSet<(FileName, FileId)> =
            waiting.iter().map(|item| (item.name.clone(), item.file_id)).collect();
        let wanted = |found: &Found| {
            glob.as_ref().is_none_or(|glob| glob.fits(found.name.as_str()))
                && seen.insert((found.name.clone(), found.file_id))
        };
        new.retain(wanted);
        let (had, new): (Vec<Found>, Vec<Found>) = new.into_iter().partition(|found| here.contains_key(&found.file_id));
        // What is named once more was perhaps fetched by this one.
        let had = had.iter().filter(|found| fresh.contains(&found.file_id)).count() as u64;
        let items: Vec<Item> = new.into_iter().map(Item::from).collect();
        let all = self.engine.subscriptions.clone();
        let n = *n;
        blocking(move || {
            all.change(n, |s| {
                s.known = next;
                s.here += had;
                s.waiting.extend(items);
            })
        })
        .await
    }

    /// The user is out of the group.
    async fn end(&mut self, subscription: &Subscription) {
        let Some(user) = self.user else { return };
        let (all, n) = (self.engine.subscriptions.clone(), subscription.n);
        if let Err(e) = blocking(move || all.remove(user, n)).await {
            return tracing::warn!("a subscription that has ended is not removed: {e}");
        }
        let group = self.engine.shares.group_names().present(subscription.group_id, &subscription.group);
        let text = format!("subscription {n} has ended: you are not a member of `{group}` any more");
        self.tell(News::in_group(Happening::SubscriptionEnded, &group, text), None).await;
    }

    /// What has waited for a seeder of this need not wait much longer.
    fn seeder_came(&mut self, group_id: GroupId, file_id: FileId) {
        let Some(user) = self.user.filter(|_| self.absent.keys().any(|(.., of)| *of == file_id)) else { return };
        let of_group = self.engine.subscriptions.numbers_in(user, group_id);
        let soon = Instant::now() + CAME;
        for ((n, _, of), (until, _)) in &mut self.absent {
            if *of == file_id && of_group.contains(n) {
                *until = soon.min(*until);
            }
        }
    }

    async fn tell(&mut self, news: News, name: Option<String>) {
        if let Some(user) = self.user {
            self.engine.keep_news(user, &news, name).await;
        }
        self.engine.tell(Event::News(news));
    }

    async fn note(&mut self, n: u64, change: impl FnOnce(&mut Subscription) + Send + 'static) {
        let all = self.engine.subscriptions.clone();
        let noted = blocking(move || all.change(n, change)).await;
        noted.unwrap_or_else(|e| tracing::warn!("subscription {n} is not kept as it is: {e}"));
    }

    /// Begins what may be begun; how long the first of the others has to wait.
    async fn fill(&mut self) -> Option<Duration> {
        let now = crate::engine::missed::now();
        let mut next = None;
        let all = self.subscriptions();
        let groups: HashMap<u64, GroupId> = all.iter().map(|s| (s.n, s.group_id)).collect();
        self.absent.retain(|(n, ..), _| groups.contains_key(n));
        for subscription in all {
            // What has failed waits for what has not been tried.
            let mut waiting: Vec<&Item> = subscription.waiting.iter().collect();
            waiting.sort_by_key(|item| item.tries);
            for item in waiting {
                let key = (subscription.n, item.name.clone(), item.file_id);
                if self.running.len() >= AT_ONCE {
                    return None;
                }
                // What another subscription is fetching is here when that has ended.
                let comes_already =
                    |(n, _, file_id): &Key| *file_id == item.file_id && groups.get(n) == Some(&subscription.group_id);
                if self.begun.iter().any(comes_already) {
                    continue;
                }
                if let Some((until, _)) = self.absent.get(&key)
                    && let left @ 1.. = until.saturating_duration_since(Instant::now()).as_secs()
                {
                    next = Some(next.map_or(now + left, |next: u64| next.min(now + left)));
                    continue;
                }
                // A clock that was ahead is not waited for.
                if item.not_before > now && item.not_before <= now + RETRY_MOST {
                    next = Some(next.map_or(item.not_before, |next: u64| next.min(item.not_before)));
                    continue;
                }
                let (engine, of, item, running) =
                    (Arc::clone(&self.engine), subscription.clone(), item.clone(), key.clone());
                self.begun.insert(key);
                self.running.push(Box::pin(async move { (running, fetch(&engine, &of, &item).await) }));
            }
        }
        next.map(|at| Duration::from_secs(at.saturating_sub(now).max(1)))
    }

    async fn ended(&mut self, key: Key, end: End) {
        self.begun.remove(&key);
        let waited = self.absent.remove(&key).map(|(_, delay)| delay);
        let (n, name, file_id) = key;
        let subscriptions = self.subscriptions();
        let Some(of) = subscriptions.iter().find(|s| s.n == n) else { return };
        let is_it = {
            let name = name.clone();
            move |item: &Item| item.file_id == file_id && item.name == name
        };
        match end {
            End::Fetched => {
                self.note(n, move |s| {
                    s.waiting.retain(|item| !is_it(item));
                    (s.fetched, s.problem, s.problem_of) = (s.fetched + 1, None, None);
                })
                .await;
            }
            End::Here => {
                self.note(n, move |s| {
                    s.waiting.retain(|item| !is_it(item));
                    s.here += 1;
                    s.forget_problem(&name);
                })
                .await;
            }
            End::Over => {
                self.note(n, move |s| {
                    s.waiting.retain(|item| !is_it(item));
                    s.forget_problem(&name);
                })
                .await;
            }
            End::Never(e) => {
                let group = self.engine.shares.group_names().present(of.group_id, &of.group);
                let text = format!("subscription {n} leaves `{name}` of `{group}` alone: {e}");
                self.tell(News::in_group(Happening::SubscriptionProblem, &group, text), Some(name.as_str().to_owned()))
                    .await;
                self.note(n, move |s| {
                    s.waiting.retain(|item| !is_it(item));
                    s.set_problem(name, e);
                })
                .await;
            }
            End::Absent => {
                let delay = waited.map_or(ASK_AGAIN.0, |delay| (2 * delay).min(ASK_AGAIN.1));
                self.absent.insert((n, name.clone(), file_id), (Instant::now() + delay, delay));
                // Of many one is named: the file is not written for each.
                if of.problem.is_none() {
                    let what = "nobody who has it is there; it comes when somebody does";
                    self.note(n, move |s| s.set_problem(name, what)).await;
                }
            }
            End::Later(e) => {
                self.note(n, move |s| {
                    if let Some(item) = s.waiting.iter_mut().find(|item| is_it(item)) {
                        let delay = RETRY_FIRST.saturating_mul(1 << item.tries.min(10)).min(RETRY_MOST);
                        (item.tries, item.not_before) = (item.tries + 1, crate::engine::missed::now() + delay);
                    }
                    s.set_problem(name, e);
                })
                .await;
            }
        }
    }
}

/// Fetches one item, to the end.
async fn fetch(engine: &Engine, of: &Subscription, item: &Item) -> End {
    // After a kill, or because it was fetched by hand or by another subscription.
    if engine.here(of.group_id).contains_key(&item.file_id) {
        return End::Here;
    }
    if !of.destination.is_dir() {
        let text = format!("there is no directory {} any more", crate::error::shown(&of.destination));
        return End::Later(Error::InvalidArgument(text));
    }
    if item.name.as_str() == TRACKER_INFO {
        let text =
            "a client that is started there would take it for its own list of trackers; `download_file` fetches it";
        return End::Never(Error::InvalidArgument(text.to_owned()));
    }
    let path = of.destination.join(item.name.as_str());
    let group = name_of(engine, of).await;
    let downloads = engine.downloads.list();
    let is_paused = |row: &DownloadRow| row.path == path && row.progress.state == State::Paused;
    if downloads.iter().any(is_paused) {
        return End::Later(paused());
    }
    // To another subscription's directory, say, and nobody who has it is there.
    let is_coming = |row: &&DownloadRow| {
        let is_alive = matches!(row.progress.state, State::Downloading | State::Waiting);
        is_alive && row.path != path && row.file_id == item.file_id && row.group == group
    };
    if let Some(row) = downloads.iter().find(is_coming) {
        let text = format!("it is coming to {} already", crate::error::shown(&row.path));
        return End::Later(Error::InvalidArgument(text));
    }
    let file = match selector(engine, &group, item).await {
        Ok(file) => file,
        Err(end) => return end,
    };
    // A place is for what can come.
    if nobody_has(engine, &group, item).await {
        tokio::time::sleep(PACE).await;
        return End::Absent;
    }
    engine.trackers.serve_at(engine.shares.listen_addr());
    let started =
        engine.downloads.start_some(group, file, Choice::default(), &of.destination, Strategy::Rarest, false).await;
    match started {
        // What has taken its place meanwhile is an item of its own.
        Ok(id) if engine.downloads.row(id).is_some_and(|row| row.file_id != item.file_id) => End::Later(taken()),
        Ok(id) => finished(engine, id).await,
        Err(e @ Error::Refused(Refusal::NoSuchFile { .. })) => {
            if engine.trackers.is_apart() {
                End::Later(e)
            } else {
                End::Over
            }
        }
        Err(e @ Error::DestinationExists(_)) => End::Never(e),
        // Such as a directory of that name, or a name of ours.
        Err(e @ Error::InvalidArgument(_)) if own_files::is_refused(item.name.as_str()) || path.exists() => {
            End::Never(e)
        }
        Err(e) => End::Later(e),
    }
}

/// How this content is asked for now.
///
/// # Errors
/// How it ends where another content has its name: that is another item, and not fetched for this one.
async fn selector(engine: &Engine, group: &GroupName, item: &Item) -> Result<FileSelector, End> {
    let is_apart = engine.trackers.is_apart();
    let by_name = FileSelector::Name(item.name.clone());
    let named = match find(engine, group, by_name.clone()).await {
        Ok(named) if named.file.file_id == item.file_id => return Ok(by_name),
        Ok(named) => Some(named),
        Err(Error::Refused(Refusal::NoSuchFile { .. })) => None,
        // Whatever that is, the start of the download meets it, too.
        Err(_) => return Ok(by_name),
    };
    // Told apart by another name, since the trackers have met.
    if let Ok(by_content) = format!("id:{}", item.file_id).parse::<FileSelector>()
        && find(engine, group, by_content.clone()).await.is_ok()
    {
        return Ok(by_content);
    }
    match named {
        None => Ok(by_name),
        Some(named) => {
            let is_over = is_replaced(item, &named.into(), is_apart || engine.trackers.is_apart());
            Err(if is_over { End::Over } else { End::Later(taken()) })
        }
    }
}

/// Whether what has the name of an item that is not listed has taken its place. A tracker that lags behind the other one may
/// only know the older version.
fn is_replaced(item: &Item, named: &Publication, is_apart: bool) -> bool {
    !is_apart || item.publication.as_ref().is_some_and(|own| named.replaces(own))
}

async fn find(engine: &Engine, group: &GroupName, file: FileSelector) -> Result<ShareInfo, Error> {
    match engine.trackers.call(Request::FindShare { group: group.clone(), file }).await? {
        Response::Share(share) => Ok(*share),
        _ => Err(unexpected()),
    }
}

/// Whether nobody is there who has this, which is shared.
async fn nobody_has(engine: &Engine, group: &GroupName, item: &Item) -> bool {
    let request = Request::FindPeers { group: group.clone(), file_id: item.file_id };
    if !matches!(engine.trackers.call(request).await, Ok(Response::Peers(peers)) if peers.is_empty()) {
        return false;
    }
    let Ok(content) = format!("id:{}", item.file_id).parse() else { return false };
    find(engine, group, content).await.is_ok()
}

/// What the group is called now, if that means it; else its reference, which always does.
async fn name_of(engine: &Engine, of: &Subscription) -> GroupName {
    let present = engine.shares.group_names().present(of.group_id, &of.group);
    match engine.group_id(&present).await {
        Ok(id) if id == of.group_id => present,
        _ => of.group.reference(of.group_id),
    }
}

fn taken() -> Error {
    Error::InvalidArgument("another version has its name at the tracker that answers".to_owned())
}

fn paused() -> Error {
    Error::InvalidArgument("its download is paused; `resume_download` goes on with it".to_owned())
}

/// Waits for the end of a download. One that was paused is left to whoever did that, and one that waits for a seeder to its
/// luck: neither keeps the place of others.
async fn finished(engine: &Engine, id: DownloadId) -> End {
    let Some(mut progress) = engine.downloads.watch(id) else { return End::Over };
    let mut waits_until = None;
    loop {
        {
            let now = progress.borrow_and_update();
            if now.done.is_some() {
                return End::Fetched;
            }
            // What has taken its place is an item of its own.
            if matches!(now.error, Some(Error::Withdrawn(_))) {
                return End::Over;
            }
            if now.state == State::Failed {
                let unknown = || Error::Internal(now.reason.clone().unwrap_or_else(|| "it has failed".to_owned()));
                return End::Later(now.error.clone().unwrap_or_else(unknown));
            }
            match now.state {
                State::Paused => return End::Later(paused()),
                State::Waiting => waits_until = waits_until.or_else(|| Some(Instant::now() + WAITS)),
                _ => waits_until = None,
            }
        }
        let waited = async {
            match waits_until {
                Some(until) => tokio::time::sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = waited => {
                let text = "nobody who has it is there; it goes on when somebody comes";
                return End::Later(Error::Timeout(text.to_owned()));
            }
            changed = progress.changed() => if changed.is_err() {
                return End::Over;
            },
            () = gone(engine, id) => return End::Over,
        }
    }
}

/// Waits until a download has left the list: its user has given it up.
async fn gone(engine: &Engine, id: DownloadId) {
    loop {
        let change = engine.downloads.change();
        if engine.downloads.row(id).is_none() {
            return;
        }
        change.await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_is_given_up_for_a_later_version_and_by_one_tracker_alone_for_no_other() {
        let by = |uploader: &str, published| Publication { published, uploader: uploader.parse().expect("a name") };
        let item = |publication| {
            let (name, file_id) = ("z.bin".parse().expect("a name"), FileId::new([1; 32]));
            Item { name, file_id, tries: 0, not_before: 0, publication }
        };
        let own = || Some(by("alice", 100));
        assert!(is_replaced(&item(own()), &by("alice", 101), true));
        for (named, own) in
            [(by("alice", 100), own()), (by("alice", 99), own()), (by("bob", 200), own()), (by("alice", 101), None)]
        {
            assert!(!is_replaced(&item(own.clone()), &named, true), "{named:?} {own:?}");
            assert!(is_replaced(&item(own), &named, false), "by the word of both");
        }
    }
}
