//! Who else on this machine, or in the browser, could act as the user of the page.

use std::io::Write;
use std::net::TcpStream;

use harness::{Cluster, Live, PATIENCE, Page, until_level};

use crate::{WEB, alice};

fn groups(live: &mut Live) -> usize {
    live.ok("list_groups")["groups"].as_array().unwrap().len()
}

#[test]
fn a_link_signs_one_browser_in_and_nobody_else_is() {
    let cluster = Cluster::start(1);
    let client = cluster.user("alice");
    let mut live = client.live_with(&[WEB]);
    let page = Page::of(&live);
    assert_eq!(page.get("/groups", "").status, 401, "without a cookie");
    assert_eq!(page.post("/run/logout", "shoal=guess", "").status, 401);
    assert_eq!(page.post("/enter", "", "token=guess").status, 401, "a wrong token");
    for broken in [page.get("/enter", ""), page.post("/enter", "", "")] {
        assert!(broken.status == 400 && broken.body.contains("This link is incomplete"), "{}", broken.body);
        assert!(broken.body.contains("Type `web`"), "{}", broken.body);
    }
    let landing = page.get(&format!("/enter?token={}", page.token), "");
    assert!(landing.status == 200 && !landing.head.contains("set-cookie"), "looking at a link does not use it up");
    let (cookie, attributes) = page.sign_in();
    for attribute in ["HttpOnly", "SameSite=Strict", "Path=/"] {
        assert!(attributes.contains(attribute), "{attributes}");
    }
    assert_eq!(page.post("/enter", "", &format!("token={}", page.token)).status, 401, "the second time");
    assert_eq!(page.get("/groups", &cookie).status, 200);
    let name = cookie.split('=').next().unwrap();
    assert_eq!(page.get("/groups", &format!("{name}={}", page.token)).status, 401, "a link is no cookie");
    // `web` gives another link to the same page.
    let link = live.ok("web")["link"].as_str().unwrap().to_owned();
    let again = Page::at(&link);
    assert!(again.host == page.host && again.token != page.token);
    let (second, _) = again.sign_in();
    assert_eq!(page.post("/leave", &cookie, "").status, 200);
    assert_eq!(page.get("/groups", &cookie).status, 401, "signed out");
    assert_eq!(page.get("/groups", &second).status, 200, "the other browser is not");
    // A link is used up also by a browser that is signed in.
    let third = Page::at(live.ok("web")["link"].as_str().unwrap());
    let enter = format!("/enter?token={}", third.token);
    assert_eq!(page.get(&enter, &second).status, 200);
    assert_ne!(page.post("/enter", &second, &format!("token={}", third.token)).status, 401);
    assert_eq!(page.post("/enter", "", &format!("token={}", third.token)).status, 401, "used up");
    assert_eq!(page.get("/groups", &second).status, 401, "its cookie is another one now");
    live.ok("whoami");
}

#[test]
fn a_name_that_is_rebound_to_this_machine_reaches_nothing() {
    let cluster = Cluster::start(1);
    let (_, mut live, page, cookie) = alice(&cluster);
    let port = page.host.split(':').nth(1).unwrap();
    for host in ["evil.example", &format!("evil.example:{port}"), "127.0.0.1", "127.0.0.1:1", ""] {
        for path in ["/groups", "/enter?token=x", "/assets/page.css"] {
            let answer = page.raw(&format!("GET {path}"), &[("Host", host), ("Cookie", &cookie)], b"");
            assert_eq!(answer.status, 421, "{host} {path}");
            assert!(!answer.body.contains("lab"));
        }
        let more = [("Host", host), ("Cookie", cookie.as_str()), ("Content-Length", "0")];
        assert_eq!(page.raw("POST /run/logout", &more, b"").status, 421, "{host}");
    }
    let two = [("Host", page.host.as_str()), ("Host", "evil.example"), ("Cookie", &cookie)];
    assert!(page.raw("GET /groups", &two, b"").status >= 400, "two hosts");
    let local = format!("localhost:{port}");
    assert_eq!(page.raw("GET /groups", &[("Host", &local), ("Cookie", &cookie)], b"").status, 200);
    live.ok("whoami");
}

#[test]
fn another_page_in_the_same_browser_cannot_act() {
    let cluster = Cluster::start(1);
    let (_, mut live, page, cookie) = alice(&cluster);
    let other_port = "http://127.0.0.1:1";
    let other_scheme = format!("https://{}", page.host);
    for more in [
        &[][..],
        &[("Origin", other_scheme.as_str())],
        &[("Origin", other_scheme.as_str()), ("Sec-Fetch-Site", "same-origin")],
        &[("Origin", "https://evil.example")],
        &[("Origin", "null")],
        &[("Origin", other_port)],
        &[("Sec-Fetch-Site", "cross-site")],
        &[("Sec-Fetch-Site", "same-site"), ("Origin", other_port)],
        &[("Sec-Fetch-Site", "cross-site"), ("Origin", "https://evil.example")],
    ] {
        assert_eq!(page.post_with("/run/create_group", &cookie, "group=stolen", more).status, 403, "{more:?}");
        assert_eq!(page.post_with("/enter", "", "token=x", more).status, 403, "{more:?}");
    }
    assert_eq!(groups(&mut live), 1);
    assert_eq!(page.post("/run/create_group", &cookie, "group=mine").status, 200, "our own page can");
    assert_eq!(groups(&mut live), 2);
}

#[test]
fn a_get_changes_nothing() {
    let cluster = Cluster::start(1);
    let (_, mut live, page, cookie) = alice(&cluster);
    for path in [
        "/run/create_group?group=stolen",
        "/run/logout",
        "/run/leave_group?group=lab",
        "/account/create?user=x&password=12345678&again=12345678",
        "/leave",
        "/groups/lab/upload",
        "/transfers/1/open",
    ] {
        assert_eq!(page.get(path, &cookie).status, 405, "{path}");
    }
    assert_eq!(groups(&mut live), 1);
    assert_eq!(live.ok("whoami")["user"], "alice");
    assert_eq!(page.get("/groups", &cookie).status, 200);
}

#[test]
fn the_browser_is_told_to_run_and_frame_nothing_of_others() {
    let cluster = Cluster::start(1);
    let (_, _live, page, cookie) = alice(&cluster);
    for path in ["/groups", "/enter?token=x", "/assets/page.css", "/nothing"] {
        let head = page.get(path, &cookie).head;
        for header in [
            "content-security-policy: default-src 'none'; script-src 'self'; style-src 'self';",
            "frame-ancestors 'none'",
            "x-content-type-options: nosniff",
            "referrer-policy: no-referrer",
        ] {
            assert!(head.contains(header), "{path}: {header}: {head}");
        }
        assert!(!head.contains("unsafe-"), "{head}");
    }
    let body = page.get("/groups", &cookie).body;
    for inline in ["style=", "<style", "<script>", "onclick", "onload", "onerror", "hx-on", "javascript:"] {
        assert!(!body.contains(inline), "{inline}: {body}");
    }
}

#[test]
fn the_page_shows_what_a_doctor_finds() {
    let cluster = Cluster::start(2);
    let (_alice, _live, page, cookie) = alice(&cluster);
    until_level(&cluster, &cluster.client("onlooker"), PATIENCE);
    assert!(page.get("/health", &cookie).body.contains("/run/doctor"));
    let found = page.post("/run/doctor", &cookie, "");
    assert!(found.status == 200 && found.body.contains("both trackers have everything"), "{}", found.body);
    assert!(!found.body.contains("not well"), "{}", found.body);
}

#[test]
fn names_from_the_network_are_text() {
    let cluster = Cluster::start(1);
    let (alice, mut live, page, cookie) = alice(&cluster);
    let name = "<img src=x onerror=alert(1)>&\"'.txt";
    std::fs::write(alice.home().join(name), "x").unwrap();
    live.ok(&format!("upload_file {} lab", shell_quoted(name)));
    page.until("/groups/lab", &cookie, "onerror");
    for path in ["/groups/lab", "/transfers", "/groups/lab?match=%3Cimg%20src%3Dx%3E"] {
        let body = page.get(path, &cookie).body;
        assert!(!body.contains("<img"), "{path}");
    }
    let wrong = page.post("/run/create_group", &cookie, "group=%3Cb%3Ex");
    assert!(wrong.status == 422 && !wrong.body.contains("<b>"), "{wrong:?}");
}

fn shell_quoted(name: &str) -> String {
    format!("'{}'", name.replace('\'', "'\\''"))
}

#[test]
fn the_page_is_for_this_machine_only() {
    let cluster = Cluster::start(1);
    let client = cluster.client("alice");
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:7080"] {
        let mut command = client.command();
        command.args(["-c", "status"]).arg(format!("--web={address}"));
        let done = command.output().unwrap();
        let told = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_eq!(done.status.code(), Some(2), "{told}");
        assert!(told.contains("for this machine only") && told.contains("ssh -L 7080:127.0.0.1:7080"), "{told}");
    }
    // Said to be public, but no address that a browser can ask for.
    let mut command = client.command();
    let done = command.args(["-c", "status", "--web=0.0.0.0:0", "--web-public"]).output().unwrap();
    assert_eq!(done.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&done.stderr).contains("no address that a browser can ask for"));
}

/// An address of this machine that others have as well, if it has one.
fn public_address() -> Option<std::net::IpAddr> {
    // Nothing is sent: the system only says from where it would.
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}

#[test]
fn a_page_that_others_can_reach_is_encrypted_and_answers_to_its_address_only() {
    let Some(address) = public_address() else {
        let _ = std::io::stderr()
            .write_all(b"\n== NOT TESTED: a page that others can reach; this machine has no address\n");
        return;
    };
    let cluster = Cluster::start(1);
    let alice = cluster.user("alice");
    let mut live = alice.live_with(&[&format!("--web={address}:0"), "--web-public"]);
    live.ok("create_group lab");
    let link = live.ok("web");
    let (link, fingerprint) =
        (link["link"].as_str().unwrap().to_owned(), link["fingerprint"].as_str().unwrap().to_owned());
    let said = live.process.stderr.text();
    assert!(said.contains(&fingerprint) && said.contains("acts as you"), "{said}");
    let page = Page::encrypted(&link, &fingerprint);
    // In the clear there is nothing.
    let mut plain = TcpStream::connect(&page.host).unwrap();
    plain.write_all(format!("GET /groups HTTP/1.1\r\nHost: {}\r\n\r\n", page.host).as_bytes()).unwrap();
    let mut answer = Vec::new();
    let _ = std::io::Read::read_to_end(&mut plain, &mut answer);
    assert!(!String::from_utf8_lossy(&answer).contains("HTTP/"), "{answer:?}");
    let (cookie, attributes) = page.sign_in();
    assert!(attributes.contains("Secure") && attributes.contains("HttpOnly"), "{attributes}");
    assert!(page.get("/groups", &cookie).body.contains("lab"));
    assert_eq!(page.get("/groups", "").status, 401);
    let port = page.host.rsplit(':').next().unwrap();
    for host in ["evil.example", &format!("localhost:{port}"), &format!("127.0.0.1:{port}"), &address.to_string()] {
        assert_eq!(page.raw("GET /groups", &[("Host", host), ("Cookie", &cookie)], b"").status, 421, "{host}");
    }
    for origin in ["https://evil.example", &format!("https://localhost:{port}")] {
        let more = [("Origin", origin), ("Sec-Fetch-Site", "cross-site")];
        assert_eq!(page.post_with("/run/create_group", &cookie, "group=stolen", &more).status, 403);
    }
    // Those who connect and say nothing keep nobody out.
    let _idle: Vec<_> = (0..40).map(|_| TcpStream::connect(&page.host).unwrap()).collect();
    assert_eq!(page.get("/groups", &cookie).status, 200);
    // The certificate stays the same, so that a browser that knows it is not warned again.
    drop(live);
    let mut live = alice.live_with(&[&format!("--web={address}:0"), "--web-public"]);
    assert_eq!(live.ok("web")["fingerprint"], fingerprint.as_str());
}
