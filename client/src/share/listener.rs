//! The door that other peers come to: accepts connections, finds out which device each is, and hands it
//! to [`upload::serve`].
//!
//! Invariant: a connection is accepted only when there is a permit for it, so that neither descriptors nor
//! memory run out; one address and one device have only a part of the permits.

use std::collections::HashMap;
use std::hash::Hash;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use common::backoff::Backoff;
use common::id::DeviceId;
use common::task::TaskGroup;
use common::tls::PeerAcceptor;
use socket2::SockRef;
use tokio::io::BufReader;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::upload::{self, Host};

/// Connections at a time, in all.
const MAX_CONNECTIONS: usize = 512;
/// Connections at a time from one address; a whole lab may stand behind one.
const MAX_PER_ADDRESS: usize = 256;
/// Connections at a time from one device, which has one for each file it fetches.
const MAX_PER_DEVICE: usize = 32;
/// Bytes read from the socket at a time: a leecher says little.
const READ_BUFFER: usize = 16 << 10;
/// Delays after an accept that failed: mostly for want of descriptors, which others give back.
const ACCEPT_RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// Accepts peers on one socket.
pub(crate) struct Listener {
    pub(crate) socket: TcpListener,
    pub(crate) acceptor: PeerAcceptor,
    pub(crate) host: Arc<Host>,
    pub(crate) tasks: TaskGroup,
}

impl Listener {
    /// Accepts until cancelled.
    pub(crate) async fn run(self) {
        let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let (addresses, devices) = (Quota::new(MAX_PER_ADDRESS), Quota::new(MAX_PER_DEVICE));
        let mut backoff = Backoff::new(ACCEPT_RETRY.0, ACCEPT_RETRY.1);
        loop {
            let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
            match self.socket.accept().await {
                Ok((stream, address)) => {
                    backoff.reset();
                    if let Some(place) = addresses.take(address.ip()) {
                        let connection = self.connection(stream, address, devices.clone(), (permit, place));
                        self.tasks.spawn("serve", connection);
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(backoff.next_delay()).await;
                }
            }
        }
    }

    fn connection(
        &self,
        stream: TcpStream,
        address: SocketAddr,
        devices: Quota<DeviceId>,
        held: (OwnedSemaphorePermit, Place<IpAddr>),
    ) -> impl Future<Output = ()> + use<> {
        let (acceptor, host) = (self.acceptor.clone(), Arc::clone(&self.host));
        async move {
            let _held = held;
            if let Err(error) = prepare(&stream) {
                tracing::debug!(%error, %address, "cannot set up a connection");
                return;
            }
            let (stream, device) = match acceptor.accept(BufReader::with_capacity(READ_BUFFER, stream)).await {
                Ok(accepted) => accepted,
                Err(error) => return tracing::debug!(%error, %address, "a handshake failed"),
            };
            let Some(_place) = devices.take(device) else { return };
            let end = upload::serve(stream, device, &host).await;
            tracing::debug!(%address, device = %format_args!("{device:.16}"), "stopped serving: {end}");
        }
    }
}

/// Small frames leave at once; and when a connection is dropped, what the system still holds of it is
/// thrown away: that is what ends a transfer to a device that was thrown out. (A connection that
/// ends well is closed by the leecher first.)
fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    SockRef::from(stream).set_linger(Some(Duration::ZERO))
}

/// How many of each kind there are, up to a limit. Clones count together.
#[derive(Debug)]
struct Quota<K> {
    most: usize,
    taken: Arc<Mutex<HashMap<K, usize>>>,
}

impl<K> Clone for Quota<K> {
    fn clone(&self) -> Self {
        Self { most: self.most, taken: Arc::clone(&self.taken) }
    }
}

impl<K: Eq + Hash + Copy> Quota<K> {
    fn new(most: usize) -> Self {
        Self { most, taken: Arc::default() }
    }

    fn take(&self, key: K) -> Option<Place<K>> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let n = taken.entry(key).or_default();
        if *n >= self.most {
            return None;
        }
        *n += 1;
        Some(Place { key, quota: self.clone() })
    }
}

/// One of a [`Quota`], until dropped.
struct Place<K: Eq + Hash + Copy> {
    key: K,
    quota: Quota<K>,
}

impl<K: Eq + Hash + Copy> Drop for Place<K> {
    fn drop(&mut self) {
        let mut taken = self.quota.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(n) = taken.get_mut(&self.key) {
            *n -= 1;
            if *n == 0 {
                taken.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_counts_per_key_and_forgets_who_left() {
        let quota = Quota::new(2);
        let held = (quota.take(1), quota.take(1));
        assert!(held.0.is_some() && held.1.is_some());
        assert!(quota.take(1).is_none() && quota.take(2).is_some());
        drop(held);
        assert!(quota.take(1).is_some());
        assert!(quota.taken.lock().expect("unpoisoned").is_empty());
    }
}
