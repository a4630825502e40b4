//! What may stand between the page and the room.

use super::browser::*;
use crate::support::*;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::{Instant, timeout};

#[test]
#[ignore = "needs Chromium; with FULL=1 Firefox and WebKit"]
fn attempts_back_off_when_the_server_closes_at_once() {
    in_chromium(async |tab| {
        let server = Server::start().await;
        let mut relay = Relay::http(&server.address, |head| {
            if head.starts_with("GET /ws") {
                Action::Drop
            } else {
                Action::Forward(head.to_owned())
            }
        })
        .await;
        tab.goto(&relay.address).await;
        within(relay.requests("GET /ws", 1)).await;
        let begin = Instant::now();
        let requests = timeout(3 * LIMIT, relay.requests("GET /ws", 5));
        requests.await.unwrap();
        // The shortest waits are 0.25, 0.5, 1, 2 and 4 seconds.
        assert!(begin.elapsed() > Duration::from_secs(7));
        tab.until_lines(&["note: Disconnected."]).await;
    });
}

#[test]
#[ignore = "needs Chromium; with FULL=1 Firefox and WebKit"]
fn while_a_server_behind_a_proxy_is_down_no_websocket_is_opened() {
    in_chromium(async |tab| {
        let server = Server::start().await;
        let away = Arc::new(AtomicBool::new(true));
        let is_away = away.clone();
        let mut relay = Relay::http(&server.address, move |head| {
            if is_away.load(Ordering::Relaxed) && !head.starts_with("GET / ") {
                Action::Reply("502 Bad Gateway".to_owned())
            } else {
                Action::Forward(head.to_owned())
            }
        })
        .await;
        tab.goto(&relay.address).await;
        let asked = within(relay.requests("HEAD", 4)).await;
        assert!(!asked.iter().any(|head| head.starts_with("GET /ws")));
        tab.until("state.textContent === 'Not connected, retrying'")
            .await;
        away.store(false, Ordering::Relaxed);
        tab.until_connected().await;
        // It wasn't connected before, so it isn't "again". The line would come within this second.
        tab.ask("setTimeout(() => { window.later = true }, 1500)")
            .await;
        tab.until("window.later").await;
        tab.expect("chat.childElementCount", json!(0)).await;
        forget(tab, "502").await;
    });
}

#[test]
#[ignore = "needs Chromium; with FULL=1 Firefox and WebKit"]
fn a_refused_page_says_so_once() {
    in_chromium(async |tab| {
        let server = Server::start().await;
        // A proxy that doesn't pass on `Host`: to the room, the page has another origin.
        let mut relay = Relay::http(&server.address, |head| {
            let host = head.lines().find(|line| line.starts_with("Host:")).unwrap();
            Action::Forward(head.replace(host, "Host: 127.0.0.1"))
        })
        .await;
        tab.goto(&relay.address).await;
        within(relay.requests("GET /ws", 4)).await;
        tab.until("state.textContent === 'Not let in, retrying'")
            .await;
        let line = format!(
            "note: The server answers, but doesn’t let http://{} in. It takes an IP address, localhost, or https. \
            A proxy has to pass “Host” and “Upgrade” on.",
            relay.address
        );
        tab.until_lines(&[&line]).await;
    });
}

#[test]
#[ignore = "needs Chromium; with FULL=1 Firefox and WebKit"]
fn a_single_failure_is_not_a_refusal() {
    in_chromium(async |tab| {
        let server = Server::start().await;
        let first = AtomicBool::new(true);
        let mut relay = Relay::http(&server.address, move |head| {
            if head.starts_with("GET /ws") && first.swap(false, Ordering::Relaxed) {
                Action::Reply("503 Service Unavailable".to_owned())
            } else {
                Action::Forward(head.to_owned())
            }
        })
        .await;
        tab.open(&relay.address).await;
        within(relay.requests("GET /ws", 2)).await;
        tab.send("the first line").await;
        tab.until_lines(&["own: the first line"]).await;
    });
}

#[test]
#[ignore = "needs Chromium; with FULL=1 Firefox and WebKit"]
fn behind_an_expired_login_it_says_to_reload() {
    in_chromium(async |tab| {
        let server = Server::start().await;
        for status in [
            "302 Found\r\nLocation: https://login.example/",
            "401 Unauthorized",
            "403 Forbidden",
        ] {
            let ended = Arc::new(AtomicBool::new(false));
            let has_ended = ended.clone();
            let relay = Relay::http(&server.address, move |head| {
                if has_ended.load(Ordering::Relaxed) {
                    Action::Reply(status.to_owned())
                } else {
                    Action::Forward(head.to_owned())
                }
            })
            .await;
            tab.open(&relay.address).await;
            ended.store(true, Ordering::Relaxed);
            relay.to_client.send(Flow::Cut).unwrap();
            tab.until("state.textContent === 'Signed out? Reload the page'")
                .await;
        }
        forget(tab, "401").await;
    });
}

#[test]
#[ignore = "needs Chromium; with FULL=1 Firefox and WebKit"]
fn behind_a_password_and_under_a_path_it_works_as_it_is() {
    in_chromium(async |tab| {
        let server = Server::start().await;
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
        let _ = tab.chromium_console().await; // perhaps the 401 before the password
    });
}

#[test]
#[ignore = "needs Chromium; with FULL=1 Firefox and WebKit"]
fn the_page_waits_for_a_long_text_on_a_slow_line() {
    in_chromium(async |tab| {
        let server = Server::start().await;
        let relay = Relay::start(&server.address).await;
        tab.open(&relay.address).await;
        relay.to_server.send(Flow::Rate(600)).unwrap(); // bytes a second: 7 s for the longest text
        tab.ask("(input.value = 'x'.repeat(4096), form.requestSubmit())")
            .await;
        tab.until("chat.childElementCount === 1").await;
        tab.expect("chat.firstElementChild.className", json!("own"))
            .await;
    });
}

#[test]
#[ignore = "needs Chromium; with FULL=1 Firefox and WebKit"]
fn requests_without_an_answer_time_out() {
    in_chromium(async |tab| {
        let server = Server::start().await;
        // The first check, and the first WebSocket.
        let (question, socket) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let relay = Relay::http(&server.address, move |head| {
            let is_first = |count: &AtomicUsize| count.fetch_add(1, Ordering::Relaxed) == 0;
            if head.starts_with("HEAD") && is_first(&question)
                || head.starts_with("GET /ws") && is_first(&socket)
            {
                Action::Hang
            } else {
                Action::Forward(head.to_owned())
            }
        })
        .await;
        tab.goto(&relay.address).await;
        tab.until_in(3 * LIMIT, "state.textContent === 'Connected'")
            .await;
        tab.expect("chat.childElementCount", json!(0)).await;
    });
}

/// Chromium prints each error status.
async fn forget(tab: &Tab, status: &str) {
    if let Some(lines) = tab.chromium_console().await {
        assert!(lines.join("").contains(status), "{lines:?}");
    }
}
