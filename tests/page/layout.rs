//! Layout.

use super::browser::*;
use super::room::*;
use fantoccini::Locator;
use serde_json::json;

#[test]
#[ignore = "needs Chromium, Firefox and WebKit"]
fn a_text_runs_in_its_own_direction_and_its_time_stands_at_its_end() {
    everywhere(async |tab| {
        let room = Room::plain().await;
        tab.open(&room.address).await;
        let texts = [
            "hello",
            "שלום, מה שלומך?",
            "photo_\u{202e}gnp.exe",
            "\u{202e}\u{2066}turned",
        ];
        for text in texts {
            room.send(text);
        }
        tab.until("chat.childElementCount === 4").await;
        let script = "(() => {
            window.left = (node, index) => {
                const range = document.createRange();
                range.setStart(node, index);
                range.setEnd(node, index + 1);
                return range.getBoundingClientRect().left;
            };
        })()";
        tab.ask(script).await;
        let hebrew = "chat.children[1].firstChild";
        tab.expect(
            &format!("left({hebrew}, 0) > left({hebrew}, 14)"),
            json!(true),
        )
        .await;
        // All times are in the same corner, after all of the text.
        let distances = "[...new Set([...chat.children].map((line) => {
            const box = line.getBoundingClientRect();
            const time = line.querySelector('time').getBoundingClientRect();
            return Math.round(box.right - time.right) + ' ' + Math.round(box.bottom - time.bottom);
        }))].length";
        tab.expect(distances, json!(1)).await;
        let inside = "[...chat.children].filter((line) => {
            const range = document.createRange();
            range.selectNodeContents(line.firstChild);
            const time = line.querySelector('time').getBoundingClientRect();
            return range.getBoundingClientRect().right > time.left;
        }).length";
        tab.expect(inside, json!(0)).await;
        // The first digit of a time is to the left of the last.
        let turned = "[...chat.querySelectorAll('time')].filter((time) =>
            left(time.firstChild, 0) > left(time.firstChild, 3)).length";
        tab.expect(turned, json!(0)).await;
    });
}

#[test]
#[ignore = "needs Chromium; with FULL=1 Firefox and WebKit"]
fn stacked_marks_do_not_paint_over_the_neighbours() {
    in_chromium(async |tab| {
        let room = Room::plain().await;
        tab.open(&room.address).await;
        room.send("above");
        room.send(&format!("Z{}", "\u{301}\u{302}\u{306}".repeat(40)));
        tab.until("chat.childElementCount === 2").await;
        // What is above them looks the same without them.
        let above = tab.client.find(Locator::Css("#chat div")).await.unwrap();
        let with = above.screenshot().await.unwrap();
        tab.ask("chat.children[1].style.visibility = 'hidden'")
            .await;
        assert!(above.screenshot().await.unwrap() == with, "painted over");
    });
}

#[test]
#[ignore = "needs Chromium; with FULL=1 Firefox and WebKit"]
fn at_320_pixels_nothing_scrolls_sideways_and_there_is_room_to_write() {
    in_chromium(async |tab| {
        let room = Room::plain().await;
        tab.open(&room.address).await;
        room.send(&"m".repeat(1000));
        tab.until("chat.childElementCount === 1").await;
        // A frame of 320 pixels: not every engine's window can be as narrow.
        tab.ask("document.documentElement.style.width = '320px'")
            .await;
        for size in ["100%", "200%"] {
            tab.ask(&format!(
                "document.documentElement.style.fontSize = '{size}'"
            ))
            .await;
            let wide = "[scroller, document.body, form].filter((part) => part.scrollWidth > part.clientWidth).length";
            tab.expect(wide, json!(0)).await;
            let out = "[...document.querySelectorAll('*')].filter((part) => part.getBoundingClientRect().right > 320).length";
            tab.expect(out, json!(0)).await;
            let letters = "input.clientWidth / parseFloat(getComputedStyle(input).fontSize)";
            let letters = tab.ask_number(letters).await;
            assert!(letters > 5.0, "{letters} letters in text of {size}");
        }
    });
}

#[test]
#[ignore = "needs Chromium; with FULL=1 Firefox and WebKit"]
fn on_a_phone_on_its_side_the_input_is_in_sight() {
    in_chromium(async |tab| {
        let room = Room::plain().await;
        tab.open(&room.address).await;
        for _ in 0..20 {
            room.send("a line");
        }
        tab.until("chat.childElementCount === 20").await;
        tab.ask("document.body.style.height = '180px'").await;
        tab.expect("input.getBoundingClientRect().bottom <= 180", json!(true))
            .await;
        tab.expect("scroller.clientHeight > 20", json!(true)).await;
    });
}

#[test]
#[ignore = "needs Chromium; with FULL=1 Firefox and WebKit"]
fn the_first_scroll_bar_moves_nothing() {
    in_chromium(async |tab| {
        let room = Room::plain().await;
        tab.open(&room.address).await;
        tab.send("the first line").await;
        tab.until("chat.childElementCount === 1").await;
        let edges =
            "[state, chat.querySelector('.own'), document.getElementById('send')].map((part) =>
            Math.round(part.getBoundingClientRect().right))";
        let before = tab.ask(edges).await;
        for _ in 0..100 {
            room.send("a line");
        }
        tab.until("chat.childElementCount === 101").await;
        tab.expect(edges, before.clone()).await;
        // And they are aligned.
        let edges: Vec<_> = before.as_array().unwrap().iter().collect();
        assert!(edges.iter().all(|edge| *edge == edges[0]), "{edges:?}");
    });
}
