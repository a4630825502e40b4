//! Many lines, heavy texts, and the reader's place.

use super::browser::*;
use super::room::*;
use crate::support::*;
use fantoccini::key::Key;
use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use std::time::Duration;
use tokio::time::{interval, timeout};
use tokio_tungstenite::tungstenite::Message;

/// The chat hasn't scrolled for a while.
const STILL: &str = "new Promise((done) => {
    const place = scroller.scrollTop;
    setTimeout(() => done(scroller.scrollTop === place), 300);
})";

#[test]
#[ignore = "needs Chromium, Firefox and WebKit"]
fn twenty_thousand_messages_leave_the_tab_usable() {
    everywhere(async |tab| {
        let _load = LOAD.lock().await; // to the room, a tab that gets no time to read is a stuck client
        let server = Server::start().await;
        tab.open(&server.address).await;
        let (mut shout, mut own) = server.join().await.split();
        tokio::spawn(async move { while let Some(Ok(_)) = own.next().await {} });
        let flood = async {
            for count in 1..=20_000 {
                let text = format!("number {count} {}", "x".repeat(count % 200));
                shout.feed(Message::text(text)).await.unwrap();
            }
            send(&mut shout, "the last").await;
        };
        timeout(3 * LIMIT, flood)
            .await
            .expect("the page holds the room up");
        tab.type_in("I am still here").await;
        tab.expect("input.value", json!("I am still here")).await;
        tab.until_last("the last").await;
        tab.expect("chat.childElementCount", json!(1000)).await;
        tab.until(AT_END).await;
        tab.click("#send").await;
        tab.until_last("I am still here").await;
        // Nor was it dropped in between.
        tab.expect(
            "[state.textContent, chat.querySelectorAll('.note').length]",
            json!(["Connected", 0]),
        )
        .await;
    });
}

#[test]
#[ignore = "needs Chromium, Firefox and WebKit"]
fn no_text_freezes_the_page() {
    everywhere(async |tab| {
        let _load = LOAD.lock().await;
        let room = Room::plain().await;
        tab.open(&room.address).await;
        let mut lines = 0;
        for (text, count) in [
            ("\u{1f3fb}".repeat(16_384), 20),
            ("\u{202e}a\u{202d}b\u{202c}\u{202c}".repeat(4500), 20),
            (format!("a{}", "\u{301}".repeat(32_000)), 20),
            ("क्षि".repeat(5400), 20),
            ("\n".repeat(65_536), 20),
            ("ordinary words ".repeat(4300), 300),
        ] {
            // The longest time for which the page has done nothing else.
            let watch = "(() => {
                window.longest = 0;
                let last = performance.now();
                clearInterval(window.watching);
                window.watching = setInterval(() => {
                    longest = Math.max(longest, performance.now() - last);
                    last = performance.now();
                });
            })()";
            tab.ask(watch).await;
            for _ in 0..count {
                room.send(&text);
            }
            lines += count;
            tab.until(&format!("chat.childElementCount === {lines}"))
                .await;
            tab.until_drawn().await;
            let longest = tab.ask_number("longest").await;
            let first: String = text.chars().take(5).collect();
            assert!(longest < 3000.0, "{longest} ms for {count} times {first:?}");
        }
        tab.expect("state.textContent", json!("Connected")).await;
        // Its own text is recognised by the whole of it.
        tab.ask("(input.value = 'x'.repeat(1001) + 'y', form.requestSubmit())")
            .await;
        tab.until("chat.lastElementChild.className === 'own'").await;
        tab.until_last(&format!("{} …", "x".repeat(1000))).await;
    });
}

#[test]
#[ignore = "needs Chromium; with FULL=1 Firefox and WebKit"]
fn one_message_cannot_bury_the_others() {
    in_chromium(async |tab| {
        let room = Room::plain().await;
        tab.open(&room.address).await;
        room.send(&"\n".repeat(64 * 1024));
        room.send(&"W".repeat(1000));
        room.send("the newest");
        tab.until_last("the newest").await;
        tab.until(AT_END).await;
        // Of many rows, twenty are shown. In a narrow window, wide letters take as many rows as they need, but not for
        // ever. And no message scrolls in itself.
        tab.expect("chat.firstElementChild.offsetHeight < 600", json!(true))
            .await;
        tab.ask("document.documentElement.style.width = '120px'")
            .await;
        tab.expect("chat.children[1].offsetHeight", json!(1600))
            .await;
        tab.expect(
            "document.querySelectorAll('#chat [tabindex]').length",
            json!(0),
        )
        .await;
    });
}

#[test]
#[ignore = "needs Chromium, Firefox and WebKit"]
fn new_messages_do_not_move_a_reader_scrolled_up() {
    everywhere(async |tab| {
        let server = Server::start().await;
        tab.open(&server.address).await;
        let mut talker = server.join().await;
        for count in 1..=990 {
            send(&mut talker, format!("number {count}")).await;
        }
        tab.until_last("number 990").await;
        tab.until(AT_END).await;
        tab.expect("more.hidden", json!(true)).await;

        tab.ask("chat.children[700].scrollIntoView()").await;
        tab.until("scroller.scrollTop < -1000").await;
        tab.until(STILL).await;
        let place = "[...chat.children].find((line) => line.firstChild.data === 'number 701').getBoundingClientRect().top";
        let before = tab.ask_number(place).await;
        for count in 991..=1100 {
            send(&mut talker, format!("number {count}")).await; // from 1,001 on, the oldest lines are removed
        }
        tab.until_last("number 1100").await;
        tab.expect("chat.childElementCount", json!(1000)).await;
        let after = tab.ask_number(place).await;
        assert!(
            (after - before).abs() < 1.5,
            "moved from {before} to {after}"
        );

        // The button leads to the end, and typing goes on in the input.
        tab.type_in("half a thou").await;
        tab.click("#more").await;
        tab.until(&format!("more.hidden && {AT_END}")).await;
        tab.expect("document.activeElement.id", json!("input"))
            .await;
        tab.ask("scroller.scrollTop = -5").await; // near the end is at the end
        send(&mut talker, "followed again").await;
        tab.until_last("followed again").await;
        tab.until(AT_END).await;
    });
}

#[test]
#[ignore = "needs Chromium; with FULL=1 Firefox and WebKit"]
fn the_button_pressed_by_key_leads_to_the_end_and_into_the_input() {
    in_chromium(async |tab| {
        let room = Room::plain().await;
        tab.open(&room.address).await;
        for _ in 0..100 {
            room.send("a line");
        }
        tab.until("chat.childElementCount === 100").await;
        tab.ask("scroller.scrollTop = -1000").await;
        room.send("a new one");
        tab.until("!more.hidden").await;
        tab.ask("more.focus()").await;
        tab.press(Key::Enter).await;
        tab.until(&format!("more.hidden && {AT_END}")).await;
        tab.expect("document.activeElement.id", json!("input"))
            .await;
    });
}

#[test]
#[ignore = "needs Chromium, Firefox and WebKit"]
fn a_reader_pages_up_while_messages_arrive() {
    everywhere(async |tab| {
        let server = Server::start().await;
        tab.open(&server.address).await;
        let mut talker = server.join().await;
        for count in 1..=500 {
            send(&mut talker, format!("number {count}")).await;
        }
        tab.until_last("number 500").await;
        let watch = "(() => {
            window.place = () => chat.children[250].getBoundingClientRect().top;
            scroller.addEventListener('keydown', () => { window.before = place() });
            scroller.focus();
        })()";
        tab.ask(watch).await;
        // Once in a quiet room, for the measure, and then in a busy one.
        let mut moved = Vec::new();
        let mut count = 500;
        for messages in [0, 40, 40] {
            tab.press(Key::PageUp).await;
            let mut ticks = interval(Duration::from_millis(40));
            for _ in 0..messages {
                ticks.tick().await;
                count += 1;
                send(&mut talker, format!("number {count}")).await;
            }
            tab.until_last(&format!("number {count}")).await;
            tab.until(STILL).await;
            moved.push(tab.ask_number("place() - before").await);
        }
        assert!(moved[0] > 100.0, "{moved:?}");
        assert!((moved[1] - moved[0]).abs() < 5.0, "{moved:?}");
        assert!((moved[2] - moved[0]).abs() < 5.0, "{moved:?}");
    });
}

#[test]
#[ignore = "needs Chromium; with FULL=1 Firefox and WebKit"]
fn zooming_at_the_end_stays_at_the_end() {
    in_chromium(async |tab| {
        let room = Room::plain().await;
        tab.open(&room.address).await;
        for count in 1..=200 {
            room.send(&format!("number {count} {}", "word ".repeat(40)));
        }
        tab.until("chat.childElementCount === 200").await;
        for zoom in ["1.5", "0.5", "2", "1"] {
            tab.ask(&format!("document.body.style.zoom = {zoom}")).await;
            tab.until_drawn().await;
            tab.until(AT_END).await;
        }
    });
}
