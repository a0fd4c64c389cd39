//! Both sides of the socket, over a service that does what a test wants.

use std::sync::Arc;
use std::time::Duration;

use common::id::UserName;
use common::task::TaskGroup;
use futures::future::BoxFuture;
use tokio::sync::{Notify, broadcast};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::Control;
use super::attach::Attached;
use crate::engine::news::{Happening, News};
use crate::engine::outcome::{Status, User};
use crate::engine::progress::Hashing;
use crate::engine::{Call, Command, Event, Outcome, Progress};
use crate::error::Error;
use crate::faces::Service;

/// How long what must happen may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Logs in whoever asks; hashes for ever.
struct Fake {
    events: broadcast::Sender<Event>,
    begun: Notify,
    given_up: Notify,
}

struct OnDrop<'a>(&'a Notify);

impl Drop for OnDrop<'_> {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

impl Fake {
    fn new() -> Arc<Self> {
        Arc::new(Self { events: broadcast::Sender::new(8), begun: Notify::new(), given_up: Notify::new() })
    }

    async fn carry_out(&self, command: Command, call: Call) -> Result<Outcome, Error> {
        match command {
            Command::Login { user, .. } => Ok(Outcome::LoggedIn(User { user })),
            Command::UploadFile { .. } => {
                let _given_up = OnDrop(&self.given_up);
                let hashing = Hashing { name: "a".to_owned(), done: u64::from(call.wait), total: 2 };
                (call.progress)(&Progress::Hashing(hashing));
                self.begun.notify_one();
                std::future::pending().await
            }
            _ => Err(Error::TrackersUnreachable("it is a test".to_owned())),
        }
    }
}

impl Service for Fake {
    fn run(&self, command: Command, call: Call) -> BoxFuture<'_, Result<Outcome, Error>> {
        Box::pin(self.carry_out(command, call))
    }

    fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    fn known_status(&self) -> Status {
        Status {
            trackers: Vec::new(),
            mode: None,
            lag: None,
            user: None,
            listen: "127.0.0.1:7000".to_owned(),
            device: "ab".to_owned(),
            rate_down: 0,
            limits: crate::engine::outcome::Limits::default(),
            reach: crate::engine::outcome::Reach::default(),
        }
    }

    fn user(&self) -> Option<UserName> {
        None
    }

    fn ended(&self) -> CancellationToken {
        CancellationToken::new()
    }

    fn is_shut_down(&self) -> bool {
        false
    }

    fn outlives_this_face(&self) -> bool {
        false
    }
}

/// A service, and a face that is attached to it.
struct Pair {
    fake: Arc<Fake>,
    control: Control,
    attached: Arc<Attached>,
    tasks: TaskGroup,
    _dir: tempfile::TempDir,
}

impl Pair {
    async fn open() -> Self {
        Self::open_as(false).await
    }

    /// With a face that takes the client's place when that ends, or not.
    async fn open_as(is_successor: bool) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let (path, tasks, fake) = (dir.path().join("control.sock"), TaskGroup::new(), Fake::new());
        let service: Arc<dyn Service> = Arc::<Fake>::clone(&fake);
        let control = Control::open(&path, service, &tasks).expect("a socket");
        let (attached, listening) = Attached::open(&path, is_successor, &tasks).await.expect("it answers");
        listening.begin(&tasks);
        Self { fake, control, attached, tasks, _dir: dir }
    }

    fn upload() -> Command {
        crate::faces::parse::parse("upload_file /x lab").expect("a command").command.expect("a good one")
    }
}

#[tokio::test]
async fn outcomes_errors_and_the_login_come_across() {
    let pair = Pair::open().await;
    let login = crate::faces::parse::parse("login bob secret99").expect("a command").command.expect("a good one");
    let outcome = pair.attached.run(login, Call::unwatched(true)).await.expect("logged in");
    let bob: UserName = "bob".parse().expect("a name");
    assert_eq!(outcome, Outcome::LoggedIn(User { user: bob.clone() }));
    assert_eq!(pair.attached.user(), Some(bob), "known before any event tells");
    let error = pair.attached.run(Command::Whoami, Call::unwatched(true)).await.expect_err("no tracker");
    let ours = Error::TrackersUnreachable("it is a test".to_owned());
    assert_eq!((error.code(), error.to_string()), (ours.code(), ours.to_string()));
    assert_eq!(*pair.control.faces().borrow(), 1);
    timeout(PATIENCE, pair.tasks.stop()).await.expect("no task is left");
}

/// The end of the client costs it nothing then.
#[tokio::test]
async fn one_that_takes_over_is_counted_only_while_it_waits_for_an_answer() {
    let pair = Pair::open_as(true).await;
    let mut faces = pair.control.faces();
    assert_eq!(*faces.borrow(), 0);
    let attached = Arc::clone(&pair.attached);
    let call = pair.tasks.spawn("call", async move { attached.run(Pair::upload(), Call::unwatched(true)).await });
    timeout(PATIENCE, faces.wait_for(|faces| *faces == 1)).await.expect("counted").expect("open");
    call.abort();
    timeout(PATIENCE, faces.wait_for(|faces| *faces == 0)).await.expect("no more").expect("open");
}

/// As after Ctrl-C.
#[tokio::test]
async fn a_call_that_is_dropped_is_dropped_at_the_other_end() {
    let pair = Pair::open().await;
    let (sender, mut told) = tokio::sync::mpsc::channel(8);
    let progress = Arc::new(move |progress: &Progress| drop(sender.try_send(progress.clone())));
    let mut call = pair.attached.run(Pair::upload(), Call { wait: false, progress });
    let first = timeout(PATIENCE, async {
        tokio::select! {
            _ = &mut call => None,
            told = told.recv() => told,
        }
    });
    let hashing = Hashing { name: "a".to_owned(), done: 0, total: 2 };
    assert_eq!(first.await.expect("in time"), Some(Progress::Hashing(hashing)), "and nobody waits for a download");
    drop(call);
    timeout(PATIENCE, pair.fake.given_up.notified()).await.expect("given up");
}

#[tokio::test]
async fn the_end_of_a_client_is_told_to_its_faces_and_to_their_calls() {
    let pair = Pair::open().await;
    let mut events = pair.attached.events();
    let attached = Arc::clone(&pair.attached);
    let call = pair.tasks.spawn("call", async move { attached.run(Pair::upload(), Call::unwatched(true)).await });
    timeout(PATIENCE, pair.fake.begun.notified()).await.expect("begun");
    let news = News::of(Happening::ShutDown, "the client was shut down".to_owned());
    pair.fake.events.send(Event::News(news.clone())).expect("a face listens");
    pair.control.close().await;
    timeout(PATIENCE, pair.attached.ended().cancelled()).await.expect("told");
    assert_eq!(events.recv().await, Ok(Event::News(news)));
    assert_eq!(events.recv().await, Err(broadcast::error::RecvError::Closed));
    assert!(pair.attached.is_shut_down());
    let broken = timeout(PATIENCE, call).await.expect("ended").expect("no panic").expect("not cancelled");
    assert_eq!(broken.expect_err("never done").code(), "interrupted");
    let late = pair.attached.run(Command::Whoami, Call::unwatched(true)).await.expect_err("nobody is there");
    assert!(matches!(late, Error::ClientEnded), "{late}");
}

/// One that is killed cannot say anything.
#[tokio::test]
async fn a_client_that_only_goes_away_was_not_shut_down() {
    let pair = Pair::open().await;
    pair.control.close().await;
    timeout(PATIENCE, pair.attached.ended().cancelled()).await.expect("told");
    assert!(!pair.attached.is_shut_down());
    assert!(pair.attached.events().recv().await.is_err(), "nothing is told any more");
}
