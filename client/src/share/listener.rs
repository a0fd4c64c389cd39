//! The socket that other peers come to: accepts connections, finds out which device each is, and hands it
//! to [`upload::serve`].
//!
//! Invariant: a connection is accepted only when there is a permit for it, so that neither descriptors nor
//! memory run out; who may keep it is for the [`ConnectionLimiter`] to say.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use common::backoff::Backoff;
use common::task::TaskGroup;
use common::tls::PeerAcceptor;
use socket2::SockRef;
use tokio::io::BufReader;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::connection_limiter::{ConnectionLimiter, ConnectionSlot, Limits};
use super::counted::Counted;
use super::reached::Origin;
use super::upload::{self, Host};

/// Connections at a time: all that have a place at the limiter, and some that have lost it a moment ago.
const MAX_CONNECTIONS: usize = Limits::DEFAULT.strangers + Limits::DEFAULT.members + 16;
/// Bytes read from the socket at a time: a leecher says little.
const READ_BUFFER: usize = 16 << 10;
/// Delays after an accept that failed: mostly for want of descriptors, which others give back.
const ACCEPT_RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// Accepts peers on one socket.
pub(crate) struct Listener {
    pub(crate) socket: TcpListener,
    pub(crate) acceptor: PeerAcceptor,
    pub(crate) host: Arc<Host>,
    pub(crate) connection_limiter: Arc<ConnectionLimiter>,
    pub(crate) tasks: TaskGroup,
}

impl Listener {
    /// Accepts until cancelled.
    pub(crate) async fn run(self) {
        let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let mut backoff = Backoff::new(ACCEPT_RETRY.0, ACCEPT_RETRY.1);
        loop {
            let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
            match self.socket.accept().await {
                Ok((stream, address)) => {
                    backoff.reset();
                    let mut connection_slot = self.connection_limiter.enter(address.ip());
                    connection_slot.origin = Origin::of(address.ip(), stream.local_addr().ok());
                    self.tasks.spawn("serve", self.connection(stream, address, connection_slot, permit));
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
        connection_slot: ConnectionSlot,
        permit: OwnedSemaphorePermit,
    ) -> impl Future<Output = ()> + use<> {
        let (acceptor, host) = (self.acceptor.clone(), Arc::clone(&self.host));
        async move {
            let _permit = permit;
            if let Err(error) = prepare(&stream) {
                tracing::debug!(%error, %address, "cannot set up a connection");
                return;
            }
            let stream = Counted::new(stream, connection_slot.taken.clone());
            let accepted = tokio::select! {
                biased;
                () = connection_slot.evicted() => return tracing::debug!(%address, "another stranger took its place"),
                accepted = acceptor.accept(BufReader::with_capacity(READ_BUFFER, stream)) => accepted,
            };
            let (stream, device) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => return tracing::debug!(%error, %address, "a handshake failed"),
            };
            let end = upload::serve(stream, device, &host, &connection_slot).await;
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
