//! What may stand between the page and the room, and in the page itself.

use super::browser::*;
use crate::support::Action::*;
use std::sync::atomic::{AtomicUsize, Ordering};

const LESSON: &str = include_str!("../../docs/lesson.md");

#[test]
fn with_names_before_the_texts_one_line_of_the_page_changes() {
    in_chromium(async |tab, server, _other| {
        let named = "<script>
            const { set } = Object.getOwnPropertyDescriptor(WebSocket.prototype, 'onmessage');
            Object.defineProperty(WebSocket.prototype, 'onmessage', {
                set(show) { set.call(this, show && (({ data }) => show({ data: `client 7: ${data}` }))) },
            });";
        let line = |sign| LESSON.lines().find(|line| line.starts_with(sign) && line.contains(" isOwn = "));
        let [before, after] = ["-", "+"].map(|sign| &line(sign).expect("exercise 1 should change it")[1..]);
        let page = PAGE.replacen("<script>", named, 1).replace(before, after);
        let relay = with_page(&server, page).await;
        tab.open(&relay.address).await;
        tab.send("hello").await;
        tab.until_lines(&["own: client 7: hello"]).await;
        send(&mut server.join().await, "not mine").await;
        tab.until_lines(&["own: client 7: hello", "other: client 7: not mine"]).await;
    });
}

#[test]
fn attempts_back_off_until_a_connection_is_stable() {
    in_chromium(async |tab, server, _other| {
        let relay = with_fast_page(&server).await;
        tab.open(&relay.address).await;
        let reconnect = async || {
            let began = Instant::now();
            relay.to_client.send(Flow::Cut).unwrap();
            tab.until("state.className === 'lost'").await;
            relay.to_client.send(Flow::Open).unwrap();
            tab.until_connected().await;
            began.elapsed()
        };
        let mut took = Duration::ZERO;
        for _ in 0..5 {
            took += reconnect().await;
        }
        // The shortest waits are 0.25, 0.5, 1, 2 and 4 seconds.
        assert!(took > Duration::from_secs(7) / FASTER, "it took {took:?}");
        // It doesn't repeat itself.
        tab.until_lines(&["note: Reconnected. You may have missed messages."]).await;
        tab.ask("setTimeout(() => { window.held = true }, 10_500)").await;
        tab.until("window.held === true").await;
        let took = reconnect().await; // otherwise after five seconds, at least
        assert!(took < Duration::from_secs(4) / FASTER, "it took {took:?}");
    });
}

#[test]
fn a_refused_page_says_so_and_one_that_was_let_in_does_not() {
    everywhere(async |tab, server, _other| {
        // A proxy that doesn't pass on `Host`: to the room, the page has another origin.
        let mut relay = Relay::http(&server.address, |head| {
            let host = head.lines().find(|line| line.to_lowercase().starts_with("host:"));
            head.starts_with("GET /ws").then(|| Change(head.replace(host.unwrap(), "Host: 127.0.0.1")))
        })
        .await;
        tab.goto(&relay.address).await;
        let refused = "state.textContent.includes(`Can't open a WebSocket from ${location.origin}. Use an IP address`)";
        tab.until(refused).await;
        relay.decides.send(false).unwrap();
        tab.until_connected().await;
        relay.decides.send(true).unwrap();
        relay.to_client.send(Flow::Cut).unwrap();
        tab.until("state.className === 'lost'").await;
        relay.to_client.send(Flow::Open).unwrap();
        within(relay.requests("GET /ws", 3)).await;
        tab.expect("state.textContent", "Not connected, retrying").await;
        tab.expect("chat.childElementCount", 0).await;
    });
}

#[test]
fn an_expired_login_and_forbidden_websockets_are_told() {
    in_chromium(async |tab, server, _other| {
        for status in ["302 Found\r\nLocation: https://login.example/", "401 Unauthorized", "403 Forbidden"] {
            let relay = Relay::http(&server.address, |_| Some(Reply(status.to_owned()))).await;
            relay.decides.send(false).unwrap();
            tab.open(&relay.address).await;
            relay.decides.send(true).unwrap();
            relay.to_client.send(Flow::Cut).unwrap();
            tab.until("state.textContent === 'Signed out? Reload the page'").await;
        }
        let forbids = "<script>window.WebSocket = class { constructor() { throw new Error('forbidden'); } };";
        let relay = with_page(&server, PAGE.replacen("<script>", forbids, 1)).await;
        tab.goto(&relay.address).await;
        tab.until("state.textContent.startsWith(`Can't open a WebSocket`)").await;
    });
}

#[test]
fn behind_a_password_and_under_a_path_it_works_as_it_is() {
    everywhere(async |tab, server, _other| {
        let mut relay = Relay::http(&server.address, |head| {
            Some(if !head.contains("uthorization: Basic dTpw") && !head.contains("/ws") {
                Reply("401 Unauthorized\r\nWWW-Authenticate: Basic realm=chat".to_owned())
            } else if head.contains(" /chat/") {
                Change(head.replacen(" /chat/", " /", 1))
            } else {
                Reply("404 Not Found".to_owned())
            })
        })
        .await;
        tab.open(&format!("u:p@{}/chat", relay.address)).await;
        tab.send("heard").await;
        tab.until_lines(&["own: heard"]).await;
        within(relay.requests("GET /chat/ws ", 1)).await;
    });
}

#[test]
fn while_a_proxy_answers_502_or_nothing_it_opens_no_websocket_and_tries_again() {
    in_chromium(async |tab, server, _other| {
        let fast = with_fast_page(&server).await;
        let (asked, opened) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let mut relay = Relay::http(&fast.address, move |head| {
            if head.starts_with("HEAD") {
                match asked.fetch_add(1, Ordering::Relaxed) {
                    0..3 => Some(Reply("502 Bad Gateway".to_owned())),
                    3 => Some(Hang),
                    _ => None,
                }
            } else {
                let hangs = head.starts_with("GET /ws") && opened.fetch_add(1, Ordering::Relaxed) == 0;
                hangs.then_some(Hang)
            }
        })
        .await;
        tab.goto(&relay.address).await;
        let heads = within(relay.requests("HEAD", 4)).await;
        assert!(!heads.iter().any(|head| head.starts_with("GET /ws")));
        tab.expect("state.textContent", "Not connected, retrying").await;
        tab.until_connected().await;
        tab.expect("chat.childElementCount", 0).await; // it wasn't connected before
    });
}
