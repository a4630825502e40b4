//! What may stand between the page and the room, and in the page itself.

use super::browser::*;
use crate::support::*;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::{Instant, timeout};

const PAGE: &str = include_str!("../../index.html");

fn forward(head: &str) -> Action {
    Action::Forward(head.to_owned())
}

/// The server with another page.
async fn with_page(server: &Server, page: String) -> Relay {
    assert_ne!(page, PAGE, "nothing was replaced");
    Relay::http(&server.address, move |head| {
        if head.starts_with("GET / ") {
            Action::Reply(format!("200 OK\r\nContent-Type: text/html\r\n\r\n{page}"))
        } else {
            forward(head)
        }
    })
    .await
}

#[test]
fn with_names_before_the_texts_one_line_of_the_page_changes() {
    in_chromium(async |tab, server, _other| {
        let named = "<script>
            const { set } = Object.getOwnPropertyDescriptor(WebSocket.prototype, 'onmessage');
            Object.defineProperty(WebSocket.prototype, 'onmessage', {
                set(show) { set.call(this, show && (({ data }) => show({ data: `client 7: ${data}` }))) },
            });";
        let page = PAGE
            .replacen("<script>", named, 1)
            .replace("text === sent[0]?.text", "text.replace(/^client \\d+: /, \"\") === sent[0]?.text");
        let relay = with_page(&server, page).await;
        tab.open(&relay.address).await;
        tab.send("hello").await;
        tab.until_lines(&["own: client 7: hello"]).await;
        send(&mut server.join().await, "not mine").await;
        tab.until_lines(&["own: client 7: hello", "other: client 7: not mine"]).await;
    });
}

#[test]
fn where_websockets_are_forbidden_it_says_so() {
    in_chromium(async |tab, server, _other| {
        let forbids = "<script>window.WebSocket = class { constructor() { throw new Error('forbidden'); } };";
        let relay = with_page(&server, PAGE.replacen("<script>", forbids, 1)).await;
        tab.goto(&relay.address).await;
        tab.until("state.textContent.startsWith('No WebSocket opens')").await;
    });
}

#[test]
fn attempts_back_off_when_the_server_closes_at_once() {
    in_chromium(async |tab, server, _other| {
        let mut relay =
            Relay::http(&server.address, |head| if head.starts_with("GET /ws") { Action::Drop } else { forward(head) })
                .await;
        tab.goto(&relay.address).await;
        within(relay.requests("GET /ws", 1)).await;
        let begin = Instant::now();
        timeout(3 * LIMIT, relay.requests("GET /ws", 5)).await.unwrap();
        // The shortest waits are 0.25, 0.5, 1, 2 and 4 seconds.
        assert!(begin.elapsed() > Duration::from_secs(7));
        // It doesn't repeat itself.
        tab.until_lines(&["note: Reconnected. You may have missed messages."]).await;
    });
}

#[test]
fn while_a_server_behind_a_proxy_is_down_no_websocket_is_opened() {
    in_chromium(async |tab, server, _other| {
        let away = Arc::new(AtomicBool::new(true));
        let is_away = away.clone();
        let mut relay = Relay::http(&server.address, move |head| {
            if is_away.load(Ordering::Relaxed) && !head.starts_with("GET / ") {
                Action::Reply("502 Bad Gateway".to_owned())
            } else {
                forward(head)
            }
        })
        .await;
        tab.goto(&relay.address).await;
        let asked = within(relay.requests("HEAD", 4)).await;
        assert!(!asked.iter().any(|head| head.starts_with("GET /ws")));
        tab.expect("state.textContent", "Not connected, retrying").await;
        away.store(false, Ordering::Relaxed);
        tab.until_connected().await;
        tab.expect("chat.childElementCount", 0).await; // it wasn't connected before
    });
}

#[test]
fn a_refused_page_says_so_and_one_that_was_let_in_does_not() {
    everywhere(async |tab, server, _other| {
        let refuse = Arc::new(AtomicBool::new(true));
        let refuses = refuse.clone();
        // A proxy that doesn't pass on `Host`: to the room, the page has another origin.
        let mut relay = Relay::http(&server.address, move |head| {
            let host = head.lines().find(|line| line.to_lowercase().starts_with("host:"));
            if head.starts_with("GET /ws") && refuses.load(Ordering::Relaxed) {
                Action::Forward(head.replace(host.unwrap(), "Host: 127.0.0.1"))
            } else {
                forward(head)
            }
        })
        .await;
        tab.goto(&relay.address).await;
        let refused = "state.textContent.includes('No WebSocket opens from ' + location.origin + '. The server takes IP addresses')";
        tab.until(refused).await;
        refuse.store(false, Ordering::Relaxed);
        tab.until_connected().await;
        refuse.store(true, Ordering::Relaxed);
        relay.to_client.send(Flow::Cut).unwrap();
        tab.until("state.className === 'lost'").await;
        relay.to_client.send(Flow::Open).unwrap();
        within(relay.requests("GET /ws", 3)).await;
        tab.expect("state.textContent", "Not connected, retrying").await;
        tab.expect("chat.childElementCount", 0).await;
    });
}

#[test]
fn behind_an_expired_login_it_says_to_reload() {
    in_chromium(async |tab, server, _other| {
        for status in ["302 Found\r\nLocation: https://login.example/", "401 Unauthorized", "403 Forbidden"] {
            let ended = Arc::new(AtomicBool::new(false));
            let has_ended = ended.clone();
            let relay = Relay::http(&server.address, move |head| {
                if has_ended.load(Ordering::Relaxed) { Action::Reply(status.to_owned()) } else { forward(head) }
            })
            .await;
            tab.open(&relay.address).await;
            ended.store(true, Ordering::Relaxed);
            relay.to_client.send(Flow::Cut).unwrap();
            tab.until("state.textContent === 'Signed out? Reload the page'").await;
        }
    });
}

#[test]
fn behind_a_password_and_under_a_path_it_works_as_it_is() {
    everywhere(async |tab, server, _other| {
        let mut relay = Relay::http(&server.address, |head| {
            if !head.contains("uthorization: Basic dTpw") && !head.contains("/ws") {
                Action::Reply("401 Unauthorized\r\nWWW-Authenticate: Basic realm=chat".to_owned())
            } else if head.contains(" /chat/") {
                Action::Forward(head.replacen(" /chat/", " /", 1))
            } else {
                Action::Reply("404 Not Found".to_owned())
            }
        })
        .await;
        tab.open(&format!("u:p@{}/chat", relay.address)).await;
        tab.send("heard").await;
        tab.until_lines(&["own: heard"]).await;
        within(relay.requests("GET /chat/ws ", 1)).await;
    });
}

#[test]
fn requests_without_an_answer_time_out() {
    in_chromium(async |tab, server, _other| {
        // The first question, and the first WebSocket.
        let (question, socket) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let relay = Relay::http(&server.address, move |head| {
            let is_first = |count: &AtomicUsize| count.fetch_add(1, Ordering::Relaxed) == 0;
            if head.starts_with("HEAD") && is_first(&question) || head.starts_with("GET /ws") && is_first(&socket) {
                Action::Hang
            } else {
                forward(head)
            }
        })
        .await;
        tab.goto(&relay.address).await;
        tab.until("state.textContent === 'Connected'").await;
        tab.expect("chat.childElementCount", 0).await;
    });
}
