//! Losing the connection and reconnecting.

use super::browser::*;

/// The browser has a network again, or another.
const ONLINE: &str = "dispatchEvent(new Event('online'))";

const BACK: &str = "note: Reconnected. You may have missed messages.";

#[test]
fn a_lost_connection_is_told_and_restored_and_nothing_typed_is_lost() {
    everywhere(async |tab, mut server, _other| {
        tab.type_in("half a thou").await;
        let count = "(() => {
            const { fetch } = window;
            window.asked = 0;
            window.fetch = (...request) => (window.asked++, fetch.apply(window, request));
        })()";
        tab.ask(count).await;
        server.signal("INT").await;
        assert_eq!(server.exit().await.code(), Some(0));
        tab.until("state.textContent === 'Not connected, retrying'").await;
        let told = "note: Disconnected: the server is shutting down.";
        tab.until_lines(&[told]).await;
        // That is read aloud once, however often the page tries again in vain. Enter says that it does nothing.
        tab.ask("new MutationObserver(() => { window.read = true; }).observe(state, { childList: true })").await;
        // After so many attempts, Firefox would keep a WebSocket waiting for a minute.
        tab.until(&format!("({ONLINE}, asked >= 15)")).await;
        tab.expect("'read' in window", false).await;
        tab.send("ght").await;
        tab.until("window.read && input.value === 'half a thought'").await;
        tab.expect("[chat.childElementCount, state.className]", json!([1, "lost"])).await;

        let _server = Server::start_by(&mut chat(&[&server.address])).await;
        tab.ask(ONLINE).await;
        tab.until_connected().await;
        tab.until_lines(&[told, BACK]).await;
        tab.click("#send").await;
        tab.until_lines(&[told, BACK, "own: half a thought"]).await;
    });
}

#[test]
fn a_text_that_nobody_got_is_told_and_tried_again_alone() {
    in_chromium(async |tab, server, mut other| {
        let fast = with_fast_page(&server).await;
        let relay = Relay::start(&fast.address).await;
        tab.open(&relay.address).await;
        tab.send("heard").await;
        tab.until_lines(&["own: heard"]).await;
        // The way up is dead, and the others go on talking.
        relay.to_server.send(Flow::Hold).unwrap();
        tab.send("is anybody").await;
        tab.send("there?").await;
        tab.type_in("draft").await;
        send(&mut other, "there? is anybody").await;
        tab.until_last("there? is anybody").await;
        tab.expect("waiting.childElementCount", 2).await;
        tab.until("state.className === 'lost' && waiting.childElementCount === 0").await;
        let mut lines = vec![
            "own: heard",
            "other: there? is anybody",
            "note: Disconnected: the server did not answer.",
            "unheard: is anybody",
            "unheard: there?",
        ];
        tab.until_lines(&lines).await;
        tab.expect("chat.querySelector('button').textContent", "May not have been delivered. Try again").await;
        relay.to_server.send(Flow::Cut).unwrap();
        tab.click("#chat .unheard button").await; // too early: it stays
        tab.until_lines(&lines).await;
        relay.to_server.send(Flow::Open).unwrap();
        tab.until_connected().await;
        for _ in 0..2 {
            tab.click("#chat .unheard button").await;
        }
        lines.splice(3.., [BACK, "own: is anybody", "own: there?"]);
        tab.until_lines(&lines).await;
        tab.expect("input.value", "draft").await;
        for text in ["heard", "there? is anybody", "is anybody", "there?"] {
            assert_eq!(receive(&mut other).await, text);
        }
    });
}

#[test]
fn a_page_that_hung_for_15_seconds_or_has_a_slow_line_sees_its_echo_first() {
    in_chromium(async |tab, server, _other| {
        let relay = with_fast_page(&server).await;
        tab.open(&relay.address).await;
        let hang = "form.addEventListener('submit', () => {
            const end = Date.now() + 15000;
            while (Date.now() < end);
        }, { once: true })";
        tab.ask(hang).await;
        tab.type_in("heard").await;
        tab.ask("setTimeout(() => document.getElementById('send').click())").await;
        tab.until("chat.childElementCount === 1").await;
        tab.until_lines(&["own: heard"]).await;
        relay.to_server.send(Flow::Rate(640 * FASTER as usize)).unwrap(); // 6.4 of its seconds for a text
        for _ in 0..2 {
            tab.paste(&"x".repeat(4096)).await;
            tab.send("").await;
        }
        tab.until("chat.childElementCount === 3").await;
        tab.expect("[chat.lastChild.className, state.textContent]", json!(["own", "Connected"])).await;
    });
}

#[test]
fn leaving_the_page_leaves_the_room_and_coming_back_rejoins_it_with_the_draft() {
    everywhere(async |tab, mut server, _other| {
        let enter = char::from(Key::Enter);
        let (shift, release) = (char::from(Key::Shift), char::from(Key::Null));
        tab.type_in(&format!("first{shift}{enter}{release}")).await;
        tab.type_in("second").await;
        tab.paste("\nthird").await;
        let elsewhere = Server::start().await;
        tab.open(&elsewhere.address).await;
        server.logs("left").await;
        tab.0.back().await.unwrap();
        server.logs("joined").await;
        tab.until_connected().await;
        tab.expect("input.value", "first\nsecond\nthird").await;
        tab.0.refresh().await.unwrap();
        tab.until_connected().await;
        tab.expect("[input.value, sessionStorage.draft]", json!(["first\nsecond\nthird", ""])).await;
        tab.send("").await;
        tab.until_lines(&["own: first\nsecond\nthird"]).await;
        tab.0.refresh().await.unwrap();
        tab.until_connected().await;
        tab.expect("input.value", "").await;
    });
}

#[test]
fn it_connects_anew_when_the_network_changes_and_the_old_path_is_dead() {
    in_chromium(async |tab, mut server, _other| {
        let relay = Relay::start(&server.address).await;
        tab.open(&relay.address).await;
        server.logs("joined").await;
        relay.to_client.send(Flow::Hold).unwrap();
        send(&mut server.join().await, "missed").await;
        tab.ask(&format!("({ONLINE}, {ONLINE})")).await;
        relay.to_client.send(Flow::Open).unwrap();
        tab.until_lines(&[BACK]).await;
        // There is one connection.
        tab.send("heard once").await;
        tab.until_lines(&[BACK, "own: heard once"]).await;
    });
}
