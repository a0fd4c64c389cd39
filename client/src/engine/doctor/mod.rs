//! Whether everything is as it should be: the command `doctor`, and what this device does for the doctors of others.
//!
//! What is looked at is gathered here; what it means is judged in [`judge`], purely.

mod disk;
mod judge;
pub(super) mod knock;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use common::address::HostPort;
use common::ticket;
use common::wire::client::{Request, Response};
use tokio::net::TcpStream;
use tokio::time::timeout;

use self::judge::Tried;
use super::Engine;
use super::outcome::{Finding, Outcome};
use crate::error::Error;
use crate::share::blocking;
use crate::trackers::{Status, unexpected};

/// How long the own listener may take to accept.
const OWN: Duration = Duration::from_secs(2);

impl Engine {
    /// Looks at everything. Takes some seconds, while others find out whether they can connect.
    ///
    /// # Errors
    /// Never for what is found, only when it could not be looked at.
    pub(super) async fn doctor(&self) -> Result<Outcome, Error> {
        let status = self.trackers.status().await;
        let mut findings = judge::trackers(&status);
        if status.trackers.iter().any(|tracker| tracker.up) {
            findings.push(judge::clock(ticket::now(), self.trackers.clock().span()));
        }
        findings.push(self.listener(&status).await);
        findings.push(judge::reach(&self.tried().await));
        let (controls, rows) = (self.controls.clone(), self.downloads.list());
        findings.extend(blocking(move || Ok(disk::look(controls.settings(), &rows))).await?);
        Ok(Outcome::Findings { findings })
    }

    /// Whether the listener answers, and at which address.
    async fn listener(&self, status: &Status) -> Finding {
        let listen = self.shares.listen_addr();
        let connected = timeout(OWN, TcpStream::connect(from_here(listen))).await;
        let answers = connected.is_ok_and(|connected| connected.is_ok());
        let is_trial = status.trackers.iter().all(|tracker| is_loopback(&tracker.address));
        judge::listener(listen, answers, is_trial)
    }

    /// Has others dial this device.
    async fn tried(&self) -> Tried {
        if self.user().is_none() {
            return Tried::Not("nobody is logged in".to_owned());
        }
        match self.trackers.call(Request::ProbeMe { listen: self.shares.listen_addr() }).await {
            Ok(Response::Probed(probed)) => Tried::By(probed),
            Ok(_) => Tried::Not(unexpected().to_string()),
            Err(e) => Tried::Not(e.to_string()),
        }
    }
}

/// Where this machine itself reaches what listens at `listen`.
fn from_here(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

fn is_loopback(address: &HostPort) -> bool {
    match address {
        HostPort::Ip(address) => address.ip().is_loopback(),
        HostPort::Name { host, .. } => &**host == "localhost",
    }
}
