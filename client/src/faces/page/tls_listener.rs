//! Connections to a page that others can reach, encrypted: what the web server gets has a finished handshake.
//!
//! Whoever reaches the port may connect, so what one address can hold is bounded, and what all can: a stranger's
//! connection costs a permit from its first byte to its end. Handshakes run beside each other; a slow one delays nobody.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use common::backoff::Backoff;
use common::task::TaskGroup;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Connections at a time: of a browser up to seven, and one for each view that is kept up to date.
const MAX_CONNECTIONS: usize = 256;
/// The same, from one address.
const MAX_CONNECTIONS_PER_ADDRESS: usize = 64;
/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long the head of a request may take, from the end of the one before: a connection that says nothing holds no place.
const HEAD: Duration = Duration::from_secs(20);
/// Connections that wait to be served.
const QUEUE: usize = 16;
/// Delays after an accept that failed: mostly for want of descriptors, which others give back.
const ACCEPT_RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// Serves `router` at `listener` until the client stops, in tasks of `tasks`.
pub(super) async fn serve(listener: TcpListener, tls: Arc<ServerConfig>, router: Router, tasks: TaskGroup) {
    let (sender, mut ready) = mpsc::channel(QUEUE);
    let accept = Accept { listener, acceptor: tls.into(), places: Places::default(), sender, tasks: tasks.clone() };
    tasks.spawn("page tls", accept.run());
    while let Some((connection, from)) = ready.recv().await {
        let (stream, service) = (TokioIo::new(connection), TowerToHyperService::new(router.clone()));
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(HEAD);
        let served = http.serve_connection(stream, service);
        tasks.spawn("page connection", async move {
            if let Err(error) = served.await {
                tracing::debug!(%from, %error, "a connection to the page ended");
            }
        });
    }
}

struct Accept {
    listener: TcpListener,
    acceptor: TlsAcceptor,
    places: Places,
    sender: mpsc::Sender<(Connection, SocketAddr)>,
    tasks: TaskGroup,
}

impl Accept {
    async fn run(self) {
        let mut backoff = Backoff::new(ACCEPT_RETRY.0, ACCEPT_RETRY.1);
        loop {
            match self.listener.accept().await {
                Ok((stream, from)) => {
                    backoff.reset();
                    match self.places.take(from.ip()) {
                        Some(place) => drop(self.tasks.spawn("page handshake", self.handshake(stream, from, place))),
                        None => tracing::debug!(%from, "too many connections to the page"),
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection to the page");
                    tokio::time::sleep(backoff.next_delay()).await;
                }
            }
        }
    }

    fn handshake(&self, stream: TcpStream, from: SocketAddr, place: Place) -> impl Future<Output = ()> + use<> {
        let (acceptor, sender) = (self.acceptor.clone(), self.sender.clone());
        async move {
            match timeout(HANDSHAKE, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => {
                    // Nobody is there to serve it: the client stops.
                    let _ = sender.send((Connection { stream, _place: place }, from)).await;
                }
                Ok(Err(error)) => tracing::debug!(%from, %error, "a handshake with a browser failed"),
                Err(_) => tracing::debug!(%from, "a browser's handshake took too long"),
            }
        }
    }
}

/// How many connections there are from where.
#[derive(Clone, Default)]
struct Places(Arc<Mutex<HashMap<IpAddr, usize>>>);

impl Places {
    fn take(&self, from: IpAddr) -> Option<Place> {
        let from = common::address::subscriber(from);
        let mut taken = self.locked();
        let own = taken.get(&from).copied().unwrap_or(0);
        if own >= MAX_CONNECTIONS_PER_ADDRESS || taken.values().sum::<usize>() >= MAX_CONNECTIONS {
            return None;
        }
        taken.insert(from, own + 1);
        Some(Place { places: self.clone(), from })
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One of them; given back when dropped.
struct Place {
    places: Places,
    from: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.locked();
        match taken.get_mut(&self.from) {
            Some(own) if *own > 1 => *own -= 1,
            _ => drop(taken.remove(&self.from)),
        }
    }
}

/// An encrypted connection, with its place.
struct Connection {
    stream: TlsStream<TcpStream>,
    _place: Place,
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_cannot_take_all_places_and_each_comes_back() {
        let places = Places::default();
        let own: Vec<_> = (0..MAX_CONNECTIONS_PER_ADDRESS).filter_map(|_| places.take([192, 0, 2, 1].into())).collect();
        assert_eq!(own.len(), MAX_CONNECTIONS_PER_ADDRESS);
        assert!(places.take([192, 0, 2, 1].into()).is_none());
        let other = places.take([192, 0, 2, 2].into());
        assert!(other.is_some());
        drop((own, other));
        assert!(places.locked().is_empty());
    }
}
