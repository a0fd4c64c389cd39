//! Keeps the index up to date with the state, behind it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::codec;
use common::wire::limits::MAX_FRAME;
use tokio::sync::Mutex;

use super::index::Index;
use super::{Rounds, Search};
use crate::limits::Caller;
use crate::state::{ListedShare, ShareId};
use crate::store::error::Result;
use crate::store::{Store, StoreError, Versions};

/// Changes are gathered for so long.
const GATHER: Duration = Duration::from_millis(50);
/// After a failure.
const PAUSE: Duration = Duration::from_secs(10);
/// Shares that are taken at a time.
const AT_ONCE: usize = 250;
/// The longest pause between two such: it is as long as the work before it, so that an index that has much to do takes half of a
/// processor and leaves the disk to commands.
const LONGEST_REST: Duration = Duration::from_millis(250);

impl Store {
    /// Follows the state with the index, for as long as the database is open.
    pub async fn follow_search(self) {
        let mut versions = self.watch();
        let index = loop {
            match self.open_search().await {
                Ok(index) => break index,
                Err(e) => tracing::warn!("the index for `search` cannot be opened: {e}"),
            }
            tokio::time::sleep(PAUSE).await;
        };
        let index = Arc::new(Mutex::new(index));
        let mut is_whole = true;
        loop {
            versions.borrow_and_update();
            self.search_rounds.send_modify(|rounds| rounds.runs = true);
            let caught_up = self.catch_up_search(&index, is_whole).await;
            self.search_rounds.send_modify(|rounds| *rounds = Rounds { ended: rounds.ended + 1, runs: false });
            if let Err(e) = caught_up {
                tracing::warn!("the index for `search` lacks something until the next start: {e}");
                // What had been taken is lost to this run: the next one looks at everything.
                is_whole = false;
                tokio::time::sleep(PAUSE).await;
            }
            if versions.changed().await.is_err() {
                return;
            }
            tokio::time::sleep(GATHER).await;
        }
    }

    /// Opens the index. If it is not known to have the state as it is, all of the state is looked at again.
    async fn open_search(&self) -> Result<Index> {
        let store = self.clone();
        let open = tokio::task::spawn_blocking(move || Search::open(&store));
        let (search, index) = open.await.map_err(|_| StoreError::Panicked)??;
        let place: Option<Vec<(common::id::OriginId, u64)>> =
            index.place()?.and_then(|bytes| codec::decode(&bytes, MAX_FRAME).ok());
        let place: Option<Versions> = place.map(|place| place.into_iter().collect());
        let is_level = match place {
            Some(place) => self.forget_changed_shares(&place)?,
            None => false,
        };
        let index = if is_level { index } else { self.drop_stale(index).await? };
        let _ = self.search.set(search);
        Ok(index)
    }

    /// Takes away what is in the index, and not in the state any more.
    async fn drop_stale(&self, mut index: Index) -> Result<Index> {
        let store = self.clone();
        let work = tokio::task::spawn_blocking(move || {
            index.set_place(None)?;
            let mut after = i64::MIN;
            loop {
                let page = index.shares_after(after, AT_ONCE)?;
                let Some((last, _)) = page.last() else { return Ok(index) };
                after = *last;
                let ids: Vec<ShareId> = page.into_iter().map(|(_, share)| share).collect();
                let gone: Vec<_> =
                    store.listed_shares(ids)?.into_iter().filter(|(_, listed)| listed.is_none()).collect();
                index.put(&gone)?;
            }
        });
        work.await.map_err(|_| StoreError::Panicked)?
    }

    /// Takes in what has changed, until there is nothing more. Says how far the index is only if it `is_whole`.
    async fn catch_up_search(&self, index: &Arc<Mutex<Index>>, is_whole: bool) -> Result<()> {
        loop {
            let (changed, level) = self.take_changed_shares(AT_ONCE)?;
            if changed.is_empty() {
                return Ok(());
            }
            let (begun, is_much) = (Instant::now(), changed.len() == AT_ONCE);
            let folders = self.with_index(index, move |index| {
                index.set_place(None)?;
                index.put(&changed)
            });
            for (id, listed) in folders.await? {
                self.add_paths(index, id, listed).await?;
            }
            if let Some(versions) = level.filter(|_| is_whole) {
                let versions: Vec<_> = versions.into_iter().collect();
                let bytes = codec::encode(&versions, MAX_FRAME).map_err(|_| StoreError::Content("too many origins"))?;
                self.with_index(index, move |index| index.set_place(Some(&bytes))).await?;
            }
            if is_much {
                tokio::time::sleep(begun.elapsed().min(LONGEST_REST)).await;
            }
        }
    }

    async fn add_paths(&self, index: &Arc<Mutex<Index>>, id: i64, listed: ListedShare) -> Result<()> {
        let Some(tree) = listed.tree else { return Ok(()) };
        let bytes = self.readers.read(&Caller::tracker(), move |tables| tables.whole_tree(tree)).await?;
        let Some(bytes) = bytes else { return Ok(()) };
        self.with_index(index, move |index| index.add_paths(id, &bytes)).await
    }

    async fn with_index<T, F>(&self, index: &Arc<Mutex<Index>>, work: F) -> Result<T>
    where
        F: FnOnce(&mut Index) -> Result<T> + Send + 'static,
        T: Send + 'static,
    {
        let mut index = Arc::clone(index).lock_owned().await;
        tokio::task::spawn_blocking(move || work(&mut index)).await.map_err(|_| StoreError::Panicked)?
    }
}
