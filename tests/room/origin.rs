//! The page, and the origin check.

use crate::support::*;

#[tokio::test]
async fn the_page_is_served_at_the_root_and_nothing_elsewhere() {
    let server = Server::start().await;
    let page = server.get("/").await;
    let (head, body) = page.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    for header in [
        "content-type: text/html; charset=utf-8",
        "x-frame-options: DENY",
    ] {
        assert!(head.contains(header), "{head}");
    }
    assert_eq!(body, include_str!("../../index.html"));
    let head = "HEAD / HTTP/1.1\r\nHost: chat\r\nConnection: close\r\n\r\n"; // how the page checks for its server
    let answer = server.http(head).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.ends_with("\r\n\r\n"), "{answer}");
    for path in ["/other", "/index.html", "/ws/other"] {
        let answer = server.get(path).await;
        assert!(answer.starts_with("HTTP/1.1 404"), "{path}: {answer}");
    }
    let answer = server.get("/ws").await; // without an upgrade
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
}

#[tokio::test]
async fn only_our_own_page_and_programs_may_join() {
    let server = Server::start().await;
    let address = &*server.address;
    let port: u16 = address.rsplit_once(':').unwrap().1.parse().unwrap();
    // A program, which sends no `Origin`.
    for host in [address, "evil.example"] {
        assert_eq!(upgrade_status(address, host, None).await, 101, "{host}");
    }
    for (host, origin, status) in [
        // Our own page: by address, by `localhost`, and behind a proxy with TLS.
        (address, format!("http://{address}"), 101),
        (address, format!("https://{address}"), 101),
        ("localhost:8080", "http://localhost:8080".into(), 101),
        ("localhost", "http://localhost".into(), 101),
        ("192.168.1.7:8080", "http://192.168.1.7:8080".into(), 101),
        ("192.168.1.7", "http://192.168.1.7".into(), 101),
        ("[::1]:8080", "http://[::1]:8080".into(), 101),
        ("[::1]", "http://[::1]".into(), 101),
        ("chat.example", "https://chat.example".into(), 101),
        ("[2001:db8::7]", "https://[2001:db8::7]".into(), 101),
        // A page from another site.
        (address, "null".into(), 403),
        (address, "".into(), 403),
        (address, address.into(), 403),
        (address, "http://127.0.0.1".into(), 403),
        (address, format!("http://127.0.0.1:{}", port ^ 1), 403),
        (address, format!("http://localhost:{port}"), 403),
        (address, format!("http://evil{address}"), 403),
        (address, format!("http://{address}.evil.example"), 403),
        (address, "https://evil.example".into(), 403),
        ("[::1]:8080", "http://[::1]:8081".into(), 403),
        ("[::1]:8080", "http://[::2]:8080".into(), 403),
        // A page from another site whose name points here (DNS rebinding): `Origin` and `Host` agree.
        ("evil.example:80", "http://evil.example:80".into(), 403),
        ("evil.example", "http://evil.example".into(), 403),
        ("localhost.evil", "http://localhost.evil".into(), 403),
        ("127.0.0.1.evil", "http://127.0.0.1.evil".into(), 403),
        ("evil.localhost", "http://evil.localhost".into(), 403),
        ("[evil]", "http://[evil]".into(), 403),
        ("1.2.3", "http://1.2.3".into(), 403),
        ("2001:db8::7", "http://2001:db8::7".into(), 400), // brackets are a must
    ] {
        let answer = upgrade_status(address, host, Some(&origin)).await;
        assert_eq!(answer, status, "{host} and {origin}");
    }
}

#[tokio::test]
async fn a_refused_page_is_named_on_the_terminal() {
    let mut server = Server::start().await;
    for (origin, shown) in [
        ("http://evil.example", r#""http://evil.example""#),
        ("http://\"evil\t.example", r#""http://\"evil\t.example""#),
    ] {
        let host = "evil.example:8080";
        assert_eq!(
            upgrade_status(&server.address, host, Some(origin)).await,
            403
        );
        let line = format!("refused a page: Origin {shown}, Host {host}");
        assert_eq!(server.logs("refused").await, line);
    }
}
