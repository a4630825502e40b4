//! Losing the connection and reconnecting.

use super::browser::*;
use super::room::*;
use crate::support::*;
use serde_json::json;
use std::time::Duration;

/// Makes the page connect at once.
const ONLINE: &str = "dispatchEvent(new Event('online'))";

const BACK: &str = "note: Connected again. Messages sent in between are missing.";

#[test]
#[ignore = "needs Chromium, Firefox and WebKit"]
fn a_lost_connection_is_reported_and_restored_and_nothing_typed_is_lost() {
    everywhere(async |tab| {
        let mut server = Server::start().await;
        tab.open(&server.address).await;
        tab.type_in("half a thou").await;
        tab.count_attempts().await;
        server.signal("INT").await;
        assert_eq!(server.exit().await.code(), Some(0));
        tab.until("state.textContent === 'Not connected, retrying'")
            .await;
        tab.until_lines(&["note: Disconnected: the server is shutting down."])
            .await;
        tab.send("ght").await;
        // A loss is read aloud once, however often the page tries again in vain: only the chat is read.
        tab.until("asked >= 2").await;
        let read = "[...document.querySelectorAll('[role=log], [role=status], [role=alert], [aria-live]')].map((part) => part.id)";
        tab.expect(read, json!(["chat"])).await;
        let kept = "[input.value, chat.childElementCount, send.ariaDisabled, state.className]";
        tab.expect(kept, json!(["half a thought", 1, "true", "lost"]))
            .await;

        let _again = Server::start_by(&mut chat(&[&server.address])).await;
        tab.until_connected().await;
        tab.until_last(BACK.split_once(": ").unwrap().1).await;
        tab.expect(kept, json!(["half a thought", 2, "false", "on"]))
            .await;
        tab.click("#send").await;
        tab.until_last("half a thought").await;
    });
}

#[test]
#[ignore = "needs Firefox; with FULL=1 Chromium and WebKit"]
fn it_reconnects_soon_after_the_server_is_back() {
    in_some(&[Firefox], async |tab| {
        let mut server = Server::start().await;
        tab.open(&server.address).await;
        tab.count_attempts().await;
        server.signal("INT").await;
        server.exit().await;
        // After so many attempts, Firefox would keep a WebSocket waiting for a minute.
        tab.until(&format!("({ONLINE}, asked >= 15)")).await;
        let _again = Server::start_by(&mut chat(&[&server.address])).await;
        tab.until(&format!("({ONLINE}, state.textContent === 'Connected')"))
            .await;
    });
}

#[test]
#[ignore = "needs Chromium; with FULL=1 Firefox and WebKit"]
fn a_stable_connection_resets_the_backoff() {
    in_chromium(async |tab| {
        let mut server = Server::start().await;
        tab.open(&server.address).await;
        tab.count_attempts().await;
        server.signal("INT").await;
        server.exit().await;
        tab.until("asked === 3").await; // the next would be at least two seconds away
        let mut server = Server::start_by(&mut chat(&[&server.address])).await;
        tab.until_connected().await;
        tab.ask("setTimeout(() => { window.held = true }, 10_500)")
            .await;
        tab.until("window.held === true").await;
        tab.ask("asked = 0").await;
        server.signal("INT").await;
        server.exit().await;
        tab.until_in(Duration::from_millis(1500), "asked >= 1")
            .await;
    });
}

#[test]
#[ignore = "needs Chromium, Firefox and WebKit"]
fn text_sent_into_a_dead_connection_is_reported_and_can_be_sent_again() {
    everywhere(async |tab| {
        let server = Server::start().await;
        tab.open(&server.address).await;
        tab.send("heard").await;
        tab.until_lines(&["own: heard"]).await;
        server.signal("STOP").await;
        tab.send("is anybody").await;
        tab.send("there?").await;
        // Each is there at once, and stays.
        tab.expect("waiting.innerText.split('\\n').length >= 2", json!(true))
            .await;
        let watch = "(() => {
            window.fewest = 3;
            const look = () => {
                const count = [...document.querySelectorAll('#talk > div > div:not(.note)')].length;
                fewest = Math.min(fewest, count);
                requestAnimationFrame(look);
            };
            look();
        })()";
        tab.ask(watch).await;
        tab.type_in("typed").await;
        tab.until_lines(&[
            "own: heard",
            "note: Disconnected.",
            "unheard: is anybody",
            "unheard: there?",
        ])
        .await;
        tab.expect("[waiting.childElementCount, fewest]", json!([0, 3]))
            .await;
        let label = "chat.lastElementChild.querySelector('button').textContent";
        tab.expect(label, json!("Perhaps not received. Try again"))
            .await;
        let side = "Math.round(chat.LINE.getBoundingClientRect().right)";
        let own = tab.ask(&side.replace("LINE", "firstElementChild")).await;
        tab.expect(&side.replace("LINE", "lastElementChild"), own)
            .await;
        server.signal("CONT").await;
        tab.until_connected().await;
        tab.until_last(BACK.split_once(": ").unwrap().1).await;

        // The label puts the text back, in front of what was typed since.
        tab.click("#chat .unheard button").await;
        tab.expect(
            "[input.value, document.activeElement.id]",
            json!(["is anybody typed", "input"]),
        )
        .await;
        tab.send("").await;
        tab.until_lines(&[
            "own: heard",
            "note: Disconnected.",
            "unheard: there?",
            BACK,
            "own: is anybody typed",
        ])
        .await;
    });
}

#[test]
#[ignore = "needs Firefox and WebKit; with FULL=1 Chromium"]
fn a_page_that_hung_for_15_seconds_sees_its_echo_first() {
    in_some(&[Firefox, WebKit], async |tab| {
        let server = Server::start().await;
        tab.open(&server.address).await;
        let hang = "form.addEventListener('submit', () => {
            const end = Date.now() + 15000;
            while (Date.now() < end);
        })";
        tab.ask(hang).await;
        tab.type_in("heard").await;
        tab.ask("setTimeout(() => send.click())").await;
        tab.until_in(
            3 * LIMIT,
            "input.value === '' && waiting.childElementCount === 0",
        )
        .await;
        tab.expect_lines(&["own: heard"]).await;
    });
}

#[test]
#[ignore = "needs Chromium, Firefox and WebKit"]
fn leaving_the_page_leaves_the_room_and_going_back_rejoins_it() {
    everywhere(async |tab| {
        let mut server = Server::start().await;
        let elsewhere = Server::start().await;
        tab.open(&server.address).await;
        server.logs("joined").await;
        tab.open(&elsewhere.address).await;
        server.logs("left").await;
        tab.client.back().await.unwrap();
        server.logs("joined").await;
        tab.until_connected().await;
        tab.send("back").await;
        tab.until_last("back").await;
    });
}

#[test]
#[ignore = "needs Chromium; with FULL=1 Firefox and WebKit"]
fn a_button_that_has_the_focus_keeps_it_when_the_connection_is_lost() {
    in_chromium(async |tab| {
        let server = Server::start().await;
        tab.open(&server.address).await;
        tab.ask("document.getElementById('send').focus()").await;
        drop(server);
        tab.until("state.className === 'lost'").await;
        tab.expect("document.activeElement.id", json!("send")).await;
    });
}

#[test]
#[ignore = "needs Chromium; with FULL=1 Firefox and WebKit"]
fn it_connects_at_once_when_the_browser_is_back_online_or_the_tab_visible() {
    in_chromium(async |tab| {
        let mut server = Server::start().await;
        tab.open(&server.address).await;
        tab.count_attempts().await;
        // Late enough in the backoff that the next attempt is seconds away: after four, and after the second loss.
        for (event, late) in [
            (ONLINE, 4),
            ("document.dispatchEvent(new Event('visibilitychange'))", 0),
        ] {
            server.signal("INT").await;
            server.exit().await;
            tab.until(&format!("state.className === 'lost' && asked >= {late}"))
                .await;
            server = Server::start_by(&mut chat(&[&server.address])).await;
            let more = tab.ask_number(&format!("-asked + ({event}, asked)")).await;
            assert_eq!(more, 1.0, "{event}");
            tab.until_connected().await;
        }
    });
}

#[test]
#[ignore = "needs Chromium; with FULL=1 Firefox and WebKit"]
fn a_live_connection_is_neither_dropped_nor_duplicated() {
    in_chromium(async |tab| {
        let mut server = Server::start().await;
        tab.open(&server.address).await;
        server.logs("joined").await;
        for event in [
            ONLINE,
            "dispatchEvent(new Event('pageshow'))",
            "document.dispatchEvent(new Event('visibilitychange'))",
        ] {
            tab.ask(event).await;
        }
        tab.send("heard once").await;
        tab.until_lines(&["own: heard once"]).await;
        assert!(server.log.try_recv().is_err());

        // Nor is a second one opened, if it's asked for twice.
        server.signal("INT").await;
        server.exit().await;
        tab.until("state.className === 'lost'").await;
        let mut server = Server::start_by(&mut chat(&[&server.address])).await;
        tab.ask(&format!("({ONLINE}, {ONLINE})")).await;
        tab.until_connected().await;
        tab.send("heard again").await;
        tab.until_last("heard again").await;
        server.logs("client 1 joined").await;
        assert!(server.log.try_recv().is_err());
    });
}

#[test]
#[ignore = "needs Chromium; with FULL=1 Firefox and WebKit"]
fn the_reason_of_a_close_is_shown_and_stays() {
    in_chromium(async |tab| {
        let server = Server::start().await;
        tab.open(&server.address).await;
        let mut lines = Vec::new();
        for (bad, reason) in [
            ("new Uint8Array(1)", "this room takes text only"),
            ("'x'.repeat(4097)", "the message was too long"),
        ] {
            let instead = format!(
                "(() => {{
                    const {{ send }} = WebSocket.prototype;
                    WebSocket.prototype.send = function () {{
                        WebSocket.prototype.send = send;
                        send.call(this, {bad});
                    }};
                }})()"
            );
            tab.ask(&instead).await;
            tab.send("not sent").await;
            let note = format!("note: Disconnected: {reason}.");
            // The line that waited is there at once; the note comes with the next lines.
            lines.extend([note, "unheard: not sent".to_owned(), BACK.to_owned()]);
            let lines: Vec<_> = lines.iter().map(String::as_str).collect();
            tab.until_lines(&lines).await;
            tab.until_connected().await;
        }
    });
}

#[test]
#[ignore = "needs Chromium; with FULL=1 Firefox and WebKit"]
fn without_its_server_it_says_so() {
    in_chromium(async |tab| {
        let file = concat!("file://", env!("CARGO_MANIFEST_DIR"), "/../index.html");
        tab.client.goto(file).await.unwrap();
        tab.ask(ONLINE).await;
        tab.expect("state.textContent.includes('cargo run')", json!(true))
            .await;
    });
}

#[test]
#[ignore = "needs Chromium; with FULL=1 Firefox and WebKit"]
fn a_browser_that_is_too_old_says_so() {
    in_chromium(async |tab| {
        let old = page_with("<script>", "<script>delete String.prototype.toWellFormed;");
        let room = Room::start(old, |text, _| Some(text.to_owned())).await;
        tab.goto(&room.address).await;
        tab.until("state.textContent === 'This browser is too old for this page'")
            .await;
    });
}
