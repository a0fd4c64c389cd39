//! Where a program listens, by number or by name, and whose an address is, for whoever counts connections.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::str::FromStr;
use std::sync::Arc;

use tokio::net::{TcpStream, lookup_host};

/// Longest name of a machine, in bytes (RFC 1035), and longest part of it between dots.
const MAX_HOST: usize = 253;
const MAX_LABEL: usize = 63;

/// Where a program listens: `IP:PORT` or `NAME:PORT`. A name is looked up each time it is dialled, because the
/// machine behind it may move. Names are in lower case.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HostPort {
    /// By number.
    Ip(SocketAddr),
    /// By name.
    Name {
        /// The name of the machine (RFC 1123), in lower case.
        host: Arc<str>,
        /// The port.
        port: u16,
    },
}

/// Not of the form `IP:PORT` or `NAME:PORT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an address of the form IP:PORT or NAME:PORT")]
pub struct NotAnAddress;

impl HostPort {
    /// From its two parts.
    ///
    /// # Errors
    /// When `host` is neither an address nor a name.
    pub fn new(host: &str, port: u16) -> Result<Self, NotAnAddress> {
        if let Ok(ip) = host.parse::<IpAddr>() {
            return Ok(Self::Ip(SocketAddr::new(ip, port)));
        }
        if is_host(host) { Ok(Self::Name { host: host.to_ascii_lowercase().into(), port }) } else { Err(NotAnAddress) }
    }

    /// The port.
    pub fn port(&self) -> u16 {
        match self {
            Self::Ip(address) => address.port(),
            Self::Name { port, .. } => *port,
        }
    }

    /// Whether it means this machine, on whichever machine it is read.
    pub fn is_of_this_machine(&self) -> bool {
        match self {
            Self::Ip(address) => address.ip().to_canonical().is_loopback(),
            Self::Name { host, .. } => &**host == "localhost" || host.ends_with(".localhost"),
        }
    }

    /// The addresses behind it, IPv4 first: at least one.
    ///
    /// # Errors
    /// When the name cannot be looked up.
    pub async fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        match self {
            Self::Ip(address) => Ok(vec![*address]),
            Self::Name { host, port } => in_order(host, lookup_host((&**host, *port)).await),
        }
    }

    /// The same. Blocks until there is an answer.
    ///
    /// # Errors
    /// When the name cannot be looked up.
    pub fn resolve_now(&self) -> io::Result<Vec<SocketAddr>> {
        match self {
            Self::Ip(address) => Ok(vec![*address]),
            Self::Name { host, port } => in_order(host, (&**host, *port).to_socket_addrs()),
        }
    }

    /// Dials it: one address after the other, until one accepts.
    ///
    /// # Errors
    /// When the name cannot be looked up, or why the last address did not accept.
    pub async fn connect(&self) -> io::Result<TcpStream> {
        TcpStream::connect(&*self.resolve().await?).await
    }
}

/// What a lookup gave, in an order that all programs share, so that both ends of a name choose alike.
fn in_order(host: &str, found: io::Result<impl Iterator<Item = SocketAddr>>) -> io::Result<Vec<SocketAddr>> {
    let failed = |e: io::Error| io::Error::new(e.kind(), format!("the name `{host}` cannot be looked up: {e}"));
    let mut found: Vec<_> = found.map_err(failed)?.collect();
    found.sort_by_key(SocketAddr::is_ipv6);
    found.dedup();
    if found.is_empty() { Err(failed(io::ErrorKind::NotFound.into())) } else { Ok(found) }
}

/// Whether this can be the name of a machine. Nothing that looks like a number: that would be a mistyped address.
fn is_host(host: &str) -> bool {
    let label = |l: &str| {
        (1..=MAX_LABEL).contains(&l.len())
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
            && !l.starts_with('-')
            && !l.ends_with('-')
    };
    let last = host.rsplit('.').next().unwrap_or_default();
    host.len() <= MAX_HOST && host.split('.').all(label) && !last.bytes().all(|b| b.is_ascii_digit())
}

impl From<SocketAddr> for HostPort {
    fn from(address: SocketAddr) -> Self {
        Self::Ip(address)
    }
}

impl FromStr for HostPort {
    type Err = NotAnAddress;

    fn from_str(s: &str) -> Result<Self, NotAnAddress> {
        if let Ok(address) = s.parse() {
            return Ok(Self::Ip(address));
        }
        let (host, port) = s.rsplit_once(':').ok_or(NotAnAddress)?;
        // Digits alone: `parse` would take a sign.
        let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
        match port.parse() {
            Ok(port) if digits && is_host(host) => Self::new(host, port),
            _ => Err(NotAnAddress),
        }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Name { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

/// What one subscriber has: an IPv4 address, or an IPv6 network of 64 bits (RFC 6177).
pub fn subscriber(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) if !v6.is_loopback() => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_names_are_told_from_mistakes() {
        let parse = |s: &str| s.parse::<HostPort>();
        assert_eq!(parse("[::1]:7"), Ok(HostPort::Ip(([0, 0, 0, 0, 0, 0, 0, 1], 7).into())));
        for good in ["localhost:5000", "tracker.lab.example:1", "a-b_c.d1:65535", "127.0.0.1:5000"] {
            assert_eq!(parse(good).map(|a| a.to_string()).as_deref(), Ok(good));
        }
        assert_eq!(parse("LocalHost:5"), parse("localhost:5"));
        let long = format!("{}:1", "a.".repeat(127) + "bcd");
        for bad in [
            "",
            "localhost",
            ":1",
            "a b:1",
            "1.2.3:4",
            "999.1.1.1:5",
            "::1:80",
            "-a:1",
            "a..b:1",
            "a:+1",
            "a:65536",
            "é:1",
            &long,
        ] {
            assert_eq!(parse(bad), Err(NotAnAddress), "{bad}");
        }
    }

    #[tokio::test]
    async fn a_name_is_looked_up_when_it_is_dialled() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let address: HostPort = format!("localhost:{port}").parse().expect("a name");
        assert_eq!(address.resolve().await.expect("known")[0], SocketAddr::from(([127, 0, 0, 1], port)));
        assert!(address.connect().await.is_ok());
        let nowhere: HostPort = "no-such-machine.invalid:1".parse().expect("a name");
        let error = nowhere.connect().await.expect_err("RFC 2606").to_string();
        assert!(error.contains("`no-such-machine.invalid` cannot be looked up"), "{error}");
    }

    #[test]
    fn an_ipv6_network_is_one_subscriber() {
        let of = |s: &str| subscriber(s.parse().expect("address"));
        assert_eq!(of("2001:db8:1:2:3::1"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:10.0.0.1"), IpAddr::from([10, 0, 0, 1]));
        assert_eq!(of("::1"), IpAddr::from(Ipv6Addr::LOCALHOST));
    }
}
