//! Opens the page when somebody wants it, and gives out links to it.

use std::net::SocketAddr;
use std::sync::{Arc, Weak};

use futures::future::BoxFuture;
use tokio::sync::Mutex;

use super::{Page, PageConfig, USUAL};
use crate::engine::{Engine, OpenPage, PageLink};
use crate::error::Error;

/// The page of a client, open or not.
pub(crate) struct Opener {
    config: PageConfig,
    engine: Weak<Engine>,
    /// Owned by the tasks that serve it.
    page: Mutex<Weak<Page>>,
}

impl Opener {
    /// A page that is not open yet.
    pub(crate) fn new(engine: &Arc<Engine>, config: PageConfig) -> Self {
        Self { config, engine: Arc::downgrade(engine), page: Mutex::default() }
    }

    /// Opens the page, unless it is open, at `address`, or else at the usual one or any that is free; a link to it.
    ///
    /// # Errors
    /// When it cannot be opened there.
    pub(crate) async fn open(&self, address: Option<SocketAddr>) -> Result<PageLink, Error> {
        let mut page = self.page.lock().await;
        if let Some(page) = page.upgrade() {
            return Ok(page.link());
        }
        let engine = self.engine.upgrade().ok_or(Error::Interrupted)?;
        let open = |at| Page::open(Arc::clone(&engine), self.config.clone(), at);
        let opened = match (address, open(address.unwrap_or(USUAL)).await) {
            // Another client has it.
            (None, Err(Error::InUse(_))) => open(SocketAddr::new(USUAL.ip(), 0)).await?,
            (_, opened) => opened?,
        };
        *page = Arc::downgrade(&opened);
        Ok(opened.link())
    }
}

impl OpenPage for Arc<Opener> {
    fn link(&self) -> BoxFuture<'_, Result<PageLink, Error>> {
        Box::pin(self.open(None))
    }
}
