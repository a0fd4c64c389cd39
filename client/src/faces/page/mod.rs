//! The page: the running client in a browser on this machine.
//!
//! It has no logic of its own: it runs commands and shows outcomes and events. All is rendered here; the browser gets HTML,
//! one style sheet and one vendored script, and is told over server-sent events what has changed ([`live`]).
//!
//! Participants: the user's browser; and, kept out by [`guard`] and [`entry`], every other page in it and every other
//! program on this machine. Goal: who holds a link that this client printed acts as its user, nobody else. Non-goal: to
//! withstand whoever may read this user's files or memory, who has the keys anyway.
//!
//! Every request passes the guard's Host list and, if it may change something, the CSRF layer; all but the way in and the
//! assets need the cookie. `GET` changes nothing.

mod act;
mod answers;
mod assets;
mod certificate;
mod entry;
mod fields;
mod guard;
mod invited;
mod live;
mod log;
mod opener;
mod receive;
mod replaced;
mod share_at;
mod tls_listener;
mod under_way;
mod uploads;
mod views;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{get, post};
use common::task::TaskGroup;
use common::wire::client::Relation;
use common::wire::limits::MAX_PASSWORD;
use tokio::net::TcpListener;
use tokio::sync::{broadcast, watch};
use tower_http::csrf::CsrfLayer;

use self::answers::Answers;
use self::certificate::Certificate;
use self::entry::Entry;
use self::invited::Invited;
use self::log::{Log, SAMPLE};
pub(crate) use self::opener::Opener;
use self::under_way::UnderWay;
use crate::engine::{Command, Engine, PageLink};
use crate::error::Error;
use crate::share::blocking;

/// Where the page is if nobody says otherwise.
const USUAL: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 7080);
/// How often who asks to join is counted, in case nobody told.
const COUNT: Duration = Duration::from_secs(15);
/// Longest form, in bytes: a password twice, percent-encoded, and names.
const MAX_FORM: usize = 8 * MAX_PASSWORD + (16 << 10);

/// What the page has to know beside the running client.
#[derive(Clone)]
pub(crate) struct PageConfig {
    /// Where the certificate is.
    pub(crate) data_dir: PathBuf,
    /// Whether it may be opened where others can reach it.
    pub(crate) public: bool,
    /// What the tasks belong to.
    pub(crate) tasks: TaskGroup,
}

/// The page of one client, open.
pub(crate) struct Page {
    // Immutable.
    engine: Arc<Engine>,
    tasks: TaskGroup,
    address: SocketAddr,
    hosts: Vec<String>,
    /// What tells the certificate, where the page is encrypted.
    fingerprint: Option<String>,
    /// The cookie's name. Cookies know no ports: two clients on this machine must not sign each other's browsers out.
    cookie: String,
    // Each guards itself.
    entry: Entry,
    answers: Answers,
    invited: Invited,
    log: Log,
    /// Files that are shared: those that come from browsers, and those that lie on this machine.
    uploads: UnderWay,
    /// Shares that are read again.
    verifying: UnderWay,
    /// How many ask to join groups that the user administers, as far as is known.
    requests: watch::Sender<usize>,
    /// Where the last download went.
    destination: Mutex<PathBuf>,
}

impl Page {
    /// Opens the page at `address`; port 0 lets the system choose. Where others can reach it, it is encrypted.
    ///
    /// # Errors
    /// When others could reach `address` and nobody has said that they may, or it cannot be listened on.
    async fn open(engine: Arc<Engine>, config: PageConfig, address: SocketAddr) -> Result<Arc<Self>, Error> {
        let certificate = certificate(&config, address).await?;
        let failed = |e| Error::from_io_about(format!("open the page at {address}"), e);
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let PageConfig { tasks, .. } = config;
        let page = Arc::new(Self {
            answers: Answers::new(Arc::clone(&engine)),
            engine,
            tasks: tasks.clone(),
            address,
            hosts: guard::hosts(address),
            fingerprint: certificate.as_ref().map(|c| c.fingerprint.clone()),
            cookie: format!("shoal-{}", address.port()),
            entry: Entry::default(),
            invited: Invited::default(),
            log: Log::default(),
            uploads: UnderWay::default(),
            verifying: UnderWay::default(),
            requests: watch::Sender::default(),
            destination: Mutex::new(usual_destination()),
        });
        let router = router(&page);
        match certificate {
            None => drop(tasks.spawn("page", serve(listener, router, tasks.clone()))),
            Some(Certificate { tls, .. }) => {
                drop(tasks.spawn("page", tls_listener::serve(listener, tls, router, tasks.clone())));
            }
        }
        tasks.spawn("page log", Arc::clone(&page).follow());
        tasks.spawn("page rates", Arc::clone(&page).sample());
        tasks.spawn("page requests", Arc::clone(&page).count_requests());
        tasks.spawn("page invitation", Arc::clone(&page).follow_invitation());
        Ok(page)
    }

    /// A link that signs one browser in.
    fn link(&self) -> PageLink {
        let link = format!("{}/enter?token={}", self.origin(), self.entry.link());
        PageLink { link, fingerprint: self.fingerprint.clone() }
    }

    const fn scheme(&self) -> &'static str {
        if self.fingerprint.is_some() { "https" } else { "http" }
    }

    /// Scheme, address and port.
    fn origin(&self) -> String {
        format!("{}://{}", self.scheme(), self.address)
    }

    /// Where a download goes unless the user says otherwise: where the last one went.
    fn destination(&self) -> PathBuf {
        self.destination.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes note of where a download goes.
    fn remember(&self, command: &Command) {
        if let Command::DownloadFile { destination, .. } = command {
            self.destination.lock().unwrap_or_else(PoisonError::into_inner).clone_from(destination);
        }
    }

    async fn follow(self: Arc<Self>) {
        let mut events = self.engine.events();
        loop {
            match events.recv().await {
                Ok(event) => {
                    if answers::is_old_after(&event) {
                        self.answers.forget();
                    }
                    self.log.note(&event);
                }
                Err(broadcast::error::RecvError::Lagged(_)) => self.answers.forget(),
                Err(broadcast::error::RecvError::Closed) => return,
            }
        }
    }

    /// Counts who asks to join, apart from whoever shows the number: that one must not wait for the trackers.
    async fn count_requests(self: Arc<Self>) {
        let mut tick = tokio::time::interval(COUNT);
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = self.answers.forgotten() => {}
            }
            if self.requests.receiver_count() == 0 {
                continue;
            }
            let mut count = 0;
            let groups = self.answers.groups().await;
            for group in groups.iter().flat_map(|rows| rows.iter()).filter(|g| g.relation == Relation::Admin) {
                count += self.answers.requests(&group.group).await.map_or(0, |users| users.len());
            }
            self.requests.send_if_modified(|known| std::mem::replace(known, count) != count);
        }
    }

    async fn follow_invitation(self: Arc<Self>) {
        self.invited.follow(&self.engine).await;
    }

    async fn sample(self: Arc<Self>) {
        let mut tick = tokio::time::interval(SAMPLE);
        loop {
            tick.tick().await;
            let rates: Vec<_> = self.engine.downloads().list().iter().map(|d| (d.n.0, d.progress.rate)).collect();
            self.log.sample(&rates);
        }
    }
}

/// What encrypts a page at `address`: nothing, where only this machine can reach it.
async fn certificate(config: &PageConfig, address: SocketAddr) -> Result<Option<Certificate>, Error> {
    let ip = address.ip().to_canonical();
    if ip.is_loopback() {
        return Ok(None);
    }
    if !config.public {
        return Err(Error::InvalidArgument(format!(
            "the page is for this machine only: others can reach {address}, and whoever has a link acts as you; choose an \
             address such as {USUAL}, and reach it from elsewhere over `ssh -L {port}:{USUAL}`; or say --web-public as well",
            port = USUAL.port(),
        )));
    }
    if ip.is_unspecified() {
        return Err(Error::InvalidArgument(format!(
            "{ip} is no address that a browser can ask for; write the one of this machine that others reach"
        )));
    }
    let data_dir = config.data_dir.clone();
    blocking(move || Certificate::load_or_create(&data_dir, ip)).await.map(Some)
}

async fn serve(listener: TcpListener, router: Router, tasks: TaskGroup) {
    let served = axum::serve(listener, router).with_graceful_shutdown(async move { tasks.cancelled().await });
    if let Err(error) = served.await {
        tracing::error!(%error, "the page is closed");
    }
}

/// The user's `Downloads`, if there is one, or the directory that the client was started in.
fn usual_destination() -> PathBuf {
    let downloads = std::env::home_dir().map(|home| home.join("Downloads")).filter(|d| d.is_dir());
    downloads.or_else(|| std::env::current_dir().ok()).unwrap_or_else(|| PathBuf::from("."))
}

fn router(page: &Arc<Page>) -> Router {
    let inside = Router::new()
        .route("/", get(views::home))
        .route("/groups", get(views::show))
        .route("/groups/{group}", get(views::show))
        .route("/groups/{group}/upload", post(receive::upload).layer(axum::extract::DefaultBodyLimit::disable()))
        .route("/groups/{group}/files/{id}", get(views::show))
        .route("/search", get(views::show))
        .route("/transfers", get(views::show))
        .route("/transfers/{n}", get(views::show))
        .route("/transfers/{n}/open", post(act::open_folder))
        .route("/health", get(views::show))
        .route("/account", get(views::show))
        .route("/live", get(live::live))
        .route("/run/{command}", post(act::run))
        .route("/account/create", post(act::create_account))
        .route("/leave", post(act::leave))
        .fallback(views::not_found)
        .layer(from_fn_with_state(Arc::clone(page), guard::signed_in));
    Router::new()
        .route("/enter", get(act::enter).post(act::sign_in).layer(from_fn(guard::in_time)))
        .route("/assets/{name}", get(assets::asset))
        .merge(inside)
        .layer(axum::extract::DefaultBodyLimit::max(MAX_FORM))
        .layer(CsrfLayer::new())
        .layer(from_fn_with_state(Arc::clone(page), guard::from_our_page))
        .layer(from_fn_with_state(Arc::clone(page), guard::for_us))
        .with_state(Arc::clone(page))
}
