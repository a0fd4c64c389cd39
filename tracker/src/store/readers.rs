//! A few connections that only read, each used by one blocking thread at a time.

use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use tokio::sync::Semaphore;

use super::error::StoreError;
use super::tables::Tables;

/// The connections. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Readers {
    /// Guards `free`: whoever holds a permit finds a connection there.
    permits: Arc<Semaphore>,
    free: Arc<Mutex<Vec<Connection>>>,
}

impl Readers {
    pub(super) fn new(connections: Vec<Connection>) -> Self {
        let permits = Arc::new(Semaphore::new(connections.len()));
        Self { permits, free: Arc::new(Mutex::new(connections)) }
    }

    /// Runs `query` on a state that does not change meanwhile.
    pub(super) async fn read<T, E, F>(&self, query: F) -> Result<T, E>
    where
        F: FnOnce(&Tables<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(|_| StoreError::Closed)?;
        let free = Arc::clone(&self.free);
        let reading = tokio::task::spawn_blocking(move || {
            let borrowed = Borrowed::take(&free)?;
            let outcome = snapshot(&borrowed, query);
            drop(borrowed);
            drop(permit);
            outcome
        });
        reading.await.unwrap_or_else(|_| Err(StoreError::Panicked.into()))
    }
}

fn snapshot<T, E: From<StoreError>>(
    conn: &Connection,
    query: impl FnOnce(&Tables<'_>) -> Result<T, E>,
) -> Result<T, E> {
    let tx = conn.unchecked_transaction().map_err(StoreError::from)?;
    let outcome = query(&Tables::new(conn));
    tx.finish().map_err(StoreError::from)?;
    outcome
}

/// A connection that goes back where it came from, also when its user panics.
struct Borrowed<'a> {
    conn: Option<Connection>,
    free: &'a Mutex<Vec<Connection>>,
}

impl<'a> Borrowed<'a> {
    fn take(free: &'a Mutex<Vec<Connection>>) -> Result<Self, StoreError> {
        let conn = free.lock().unwrap_or_else(PoisonError::into_inner).pop().ok_or(StoreError::Closed)?;
        Ok(Self { conn: Some(conn), free })
    }
}

impl std::ops::Deref for Borrowed<'_> {
    type Target = Connection;
    #[expect(clippy::expect_used, reason = "taken only by drop")]
    fn deref(&self) -> &Connection {
        self.conn.as_ref().expect("a connection until it is dropped")
    }
}

impl Drop for Borrowed<'_> {
    fn drop(&mut self) {
        if let Some(conn) = self.conn.take() {
            self.free.lock().unwrap_or_else(PoisonError::into_inner).push(conn);
        }
    }
}
