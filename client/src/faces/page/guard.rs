//! What stands before every request: it came for us, from our own page, from a browser that is signed in.
//!
//! Three locks, each for one attack. The Host list stops DNS rebinding: a foreign name that resolves to this machine is
//! none of ours. `Sec-Fetch-Site` and `Origin` (tower-http's layer, set up beside the routes, and [`from_our_page`]) stop a foreign page
//! from acting in the user's name. The cookie stops everybody else on this machine.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::{StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::time::timeout;

use super::{Page, views};

/// How long a request may take of whoever is not signed in yet.
const STRANGER: Duration = Duration::from_secs(10);

/// What the browser may do with what it gets: nothing but our own files, and no script or style in the text.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Headers of every answer.
const HEADERS: [(HeaderName, &str); 6] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (header::CACHE_CONTROL, "no-store"),
];

/// The names under which the page at `address` may be asked for.
pub(super) fn hosts(address: SocketAddr) -> Vec<String> {
    let port = address.port();
    let (is_local, ip) = (address.ip().is_loopback(), address.ip());
    let localhost = is_local.then(|| "localhost".to_owned());
    let names: Vec<_> = [ip.to_string(), format!("[{ip}]")].into_iter().chain(localhost).collect();
    let with_port = names.iter().map(|name| format!("{name}:{port}"));
    // A browser leaves the usual port out: where others can reach it, the page is encrypted.
    let usual = if is_local { 80 } else { 443 };
    let bare = names.iter().filter(|_| port == usual).cloned();
    with_port.chain(bare).collect()
}

/// Refuses a request that is for another host, whatever it asks for; and gives every answer its headers.
pub(super) async fn for_us(State(page): State<Arc<Page>>, request: Request, next: Next) -> Response {
    let asked = host(request.uri(), request.headers());
    let mut response = if asked.is_some_and(|host| page.hosts.iter().any(|ours| ours.eq_ignore_ascii_case(host))) {
        next.run(request).await
    } else {
        let text = format!("this is Shoal's page at {}, and answers to no other name\n", page.origin());
        (StatusCode::MISDIRECTED_REQUEST, text).into_response()
    };
    for (name, value) in HEADERS {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

/// Refuses a request that may change something and does not say that it comes from our own page: every browser says so.
pub(super) async fn from_our_page(State(page): State<Arc<Page>>, request: Request, next: Next) -> Response {
    let is_ours = request.method().is_safe() || says_ours(page.scheme(), &page.hosts, request.headers());
    if is_ours { next.run(request).await } else { StatusCode::FORBIDDEN.into_response() }
}

/// Whether the headers name a page of this scheme at one of these hosts. What `Sec-Fetch-Site` says is for tower-http's layer to judge: it
/// does not see that another scheme is another page, and lets in what says nothing.
fn says_ours(scheme: &str, hosts: &[String], headers: &HeaderMap) -> bool {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    match (origins.next().map(HeaderValue::as_bytes), origins.next()) {
        // A browser leaves its own out where a page wants no referrer, as ours does.
        (None | Some(b"null"), None) => headers.contains_key("sec-fetch-site"),
        (Some(origin), None) => {
            hosts.iter().any(|host| format!("{scheme}://{host}").as_bytes().eq_ignore_ascii_case(origin))
        }
        (_, Some(_)) => false,
    }
}

/// Refuses a request of a browser that is not signed in.
pub(super) async fn signed_in(State(page): State<Arc<Page>>, request: Request, next: Next) -> Response {
    if cookie(&page, request.headers()).is_some_and(|browser| page.entry.knows(browser)) {
        return next.run(request).await;
    }
    // A stranger's connection is not kept: there are only so many.
    let close = [(header::CONNECTION, HeaderValue::from_static("close"))];
    (close, views::no_entry(StatusCode::UNAUTHORIZED)).into_response()
}

/// Refuses a request of a stranger that does not come whole in time.
pub(super) async fn in_time(request: Request, next: Next) -> Response {
    match timeout(STRANGER, next.run(request)).await {
        Ok(response) => response,
        Err(_) => StatusCode::REQUEST_TIMEOUT.into_response(),
    }
}

fn host<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    let mut named = headers.get_all(header::HOST).iter();
    match (named.next(), named.next()) {
        (Some(host), None) => host.to_str().ok(),
        (None, _) => uri.authority().map(|a| a.as_str()),
        (Some(_), Some(_)) => None,
    }
}

/// The token in the browser's cookie.
pub(super) fn cookie<'a>(page: &Page, headers: &'a HeaderMap) -> Option<&'a str> {
    let all = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = all.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == page.cookie).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machines_names_are_ours() {
        assert_eq!(
            hosts(SocketAddr::from(([127, 0, 0, 1], 7080))),
            ["127.0.0.1:7080", "[127.0.0.1]:7080", "localhost:7080"]
        );
        assert_eq!(
            hosts(SocketAddr::from(([192, 0, 2, 1], 443))),
            ["192.0.2.1:443", "[192.0.2.1]:443", "192.0.2.1", "[192.0.2.1]"]
        );
        assert!(hosts("[::1]:80".parse().expect("an address")).contains(&"[::1]".to_owned()));
    }

    #[test]
    fn what_changes_something_says_that_it_is_from_our_page() {
        let hosts = hosts(SocketAddr::from(([127, 0, 0, 1], 7080)));
        let says = |scheme: &str, lines: &[(&'static str, &'static str)]| {
            let lines =
                lines.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
            let mut headers = HeaderMap::new();
            for (name, value) in lines {
                headers.append(name, value);
            }
            says_ours(scheme, &hosts, &headers)
        };
        assert!(!says("http", &[]), "nothing is said");
        assert!(says("http", &[("origin", "http://127.0.0.1:7080")]));
        assert!(says("http", &[("origin", "http://localhost:7080"), ("sec-fetch-site", "same-origin")]));
        assert!(says("http", &[("sec-fetch-site", "same-origin"), ("origin", "null")]), "it wants no referrer");
        assert!(says("http", &[("sec-fetch-site", "same-origin")]));
        for origin in ["https://127.0.0.1:7080", "http://127.0.0.1:7081", "http://127.0.0.1", "null", ""] {
            assert!(!says("http", &[("origin", origin)]), "{origin}");
        }
        assert!(!says("http", &[("origin", "https://127.0.0.1:7080"), ("sec-fetch-site", "same-origin")]));
        let two = [("origin", "http://127.0.0.1:7080"), ("origin", "http://127.0.0.1:7080")];
        assert!(!says("http", &two));
        assert!(says("https", &[("origin", "https://127.0.0.1:7080")]));
    }

    #[test]
    fn a_request_with_two_hosts_has_none() {
        let mut headers = HeaderMap::new();
        let uri = Uri::from_static("/groups");
        assert_eq!(host(&uri, &headers), None);
        headers.append(header::HOST, HeaderValue::from_static("a"));
        assert_eq!(host(&uri, &headers), Some("a"));
        headers.append(header::HOST, HeaderValue::from_static("b"));
        assert_eq!(host(&uri, &headers), None);
    }
}
