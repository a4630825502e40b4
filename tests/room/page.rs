//! The page, and who may join.

use crate::support::*;

#[tokio::test]
async fn the_page_is_served_at_the_root_and_nothing_elsewhere() {
    let server = Server::start().await;
    let page = server.http("GET /").await;
    let (head, body) = page.split_once("\r\n\r\n").unwrap();
    assert_eq!(body, include_str!("../../index.html"));
    for header in ["content-type: text/html; charset=utf-8", "cache-control: no-cache", "x-frame-options: DENY"] {
        assert!(head.contains(header), "{head}");
    }
    for (request, status) in [
        ("GET /", "200"),
        ("HEAD /", "200"), // how the page checks for its server
        ("POST /", "405"),
        ("CONNECT chat:443", "405"),
        ("GET /other", "404"),
        ("GET /ws/other", "404"),
        ("GET /ws", "400"), // without an upgrade
    ] {
        let answer = server.http(request).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {answer}");
    }
}

#[tokio::test]
async fn only_our_own_page_and_programs_may_join() {
    let mut server = Server::start().await;
    let address = server.address.clone();
    let port: u16 = address.rsplit_once(':').unwrap().1.parse().unwrap();
    // A program, which sends no `Origin`.
    assert_eq!(upgrade_status(&address, "evil.example", None).await, 101);
    for (host, origin, status) in [
        // Our own page: by address, by `localhost`, and behind a proxy with TLS.
        (&*address, &*format!("http://{address}"), 101),
        ("localhost:8080", "http://localhost:8080", 101),
        ("192.168.1.7", "http://192.168.1.7", 101),
        ("[::1]:8080", "http://[::1]:8080", 101),
        ("chat.example", "https://chat.example", 101),
        (&address, &format!("ws://{address}"), 101), // some programs send this
        ("chat.example", "wss://chat.example", 101),
        // A page from another site.
        (&address, "null", 403),
        (&address, &address, 403),
        (&address, "http://127.0.0.1", 403),
        (&address, &format!("http://127.0.0.1:{}", port ^ 1), 403),
        (&address, &format!("http://evil{address}"), 403),
        (&address, &format!("http://{address}.evil.example"), 403),
        (&address, "https://evil.example", 403),
        // A page from another site whose name points here (DNS rebinding): `Origin` and `Host` agree.
        ("evil.example", "http://evil.example", 403),
        ("localhost.evil", "http://localhost.evil", 403),
        ("127.0.0.1.evil", "http://127.0.0.1.evil", 403),
        ("evil.localhost", "http://evil.localhost", 403),
    ] {
        let answer = upgrade_status(&address, host, Some(origin)).await;
        assert_eq!(answer, status, "{host} and {origin}");
        if answer == 403 {
            let line = server.logs("refused").await;
            assert!(line.contains(&format!("{origin:?}")) && line.ends_with(host), "{line}");
        }
    }
    let origin = "http://\"evil\t.example"; // nothing foreign on the terminal
    upgrade_status(&address, &address, Some(origin)).await;
    assert!(server.logs("refused").await.contains(r#""http://\"evil\t.example""#));
}
