//! How it looks, and what a screen reader hears.

use super::browser::*;

#[test]
fn a_text_runs_in_its_own_direction_and_its_time_stands_at_its_end() {
    everywhere(async |tab, _server, mut other| {
        for text in ["hello", "שלום, מה שלומך?", "photo_\u{202e}gnp.exe", "\u{202e}\u{2066}turned"] {
            send(&mut other, text).await;
        }
        tab.until("chat.childElementCount === 4").await;
        let prepare = "(() => {
            for (const time of chat.querySelectorAll('time')) time.hidden = false;
            window.left = (node, index) => {
                const range = document.createRange();
                range.setStart(node, index);
                range.setEnd(node, index + 1);
                return range.getBoundingClientRect().left;
            };
        })()";
        tab.ask(prepare).await;
        tab.expect("left(chat.children[1].firstChild, 0) > left(chat.children[1].firstChild, 14)", true).await;
        // All times are in the same corner, after all of the text, and their first digit is to the left of the last.
        let wrong = "[...chat.children].filter((line) => {
            const [box, time, text] = [line, line.querySelector('time'), document.createRange()];
            text.selectNodeContents(line.firstChild);
            const [outer, inner] = [box, time].map((part) => part.getBoundingClientRect());
            return text.getBoundingClientRect().right > inner.left || outer.right - inner.right > 20 ||
                outer.bottom - inner.bottom > 12 || left(time.firstChild, 0) > left(time.firstChild, 3);
        }).length";
        tab.expect(wrong, 0).await;
    });
}

#[test]
fn in_a_small_window_nothing_scrolls_sideways_and_there_is_room_to_write() {
    in_chromium(async |tab, _server, mut other| {
        send(&mut other, "m".repeat(1000)).await;
        tab.until("chat.childElementCount === 1").await;
        // A frame of 320 pixels: not every engine's window can be as narrow.
        tab.ask("document.documentElement.style.width = '320px'").await;
        for size in ["100%", "200%"] {
            tab.ask(&format!("document.documentElement.style.fontSize = '{size}'")).await;
            let narrow =
                "document.querySelectorAll('header, form, #talk').forEach((part) => part.style.padding = '1rem')";
            tab.ask(narrow).await;
            let wide = "[scroller, document.body, form].filter((part) => part.scrollWidth > part.clientWidth).length";
            tab.expect(wide, 0).await;
            let letters = tab.ask("input.clientWidth / parseFloat(getComputedStyle(input).fontSize)").await;
            assert!(letters.as_f64().unwrap() > 5.0, "{letters} letters in text of {size}");
        }
        // On a phone on its side, with its keyboard open.
        tab.ask("(document.documentElement.style = '', document.body.style.height = '180px')").await;
        let seen = "[input.getBoundingClientRect().bottom <= 180, scroller.clientHeight > 20]";
        tab.expect(seen, json!([true, true])).await;
    });
}

#[test]
fn axe_finds_nothing_in_light_and_in_dark_and_screen_readers_hear_what_matters() {
    in_chromium(async |tab, server, mut other| {
        let axe = std::env::var("AXE").expect("AXE should be the path of axe-core's axe.min.js");
        let axe = std::fs::read_to_string(axe).unwrap();
        tab.0.execute(&axe, vec![]).await.unwrap();
        finds_nothing(tab, "empty").await;
        tab.ask("dispatchEvent(new Event('online'))").await;
        tab.until("chat.querySelector('.note') !== null").await; // it has reconnected
        send(&mut other, "of another").await;
        tab.send("my own").await;
        tab.until("chat.childElementCount === 3").await;
        for (what, heard) in [
            ("getComputedStyle(chat.lastChild, '::before').content", "\"You: \""),
            ("getComputedStyle(chat.lastChild, '::before').position", "static"), // or it is a block of its own
            ("chat.querySelector('time').ariaHidden", "true"),
            ("[chat.role, state.role, chat.contains(waiting)].join()", "log,status,false"),
            ("input.ariaLabel", "Message"),
        ] {
            tab.expect(what, json!(heard)).await;
        }
        server.signal("STOP").await;
        tab.send("on its way").await;
        tab.expect("waiting.childElementCount", 1).await;
        finds_nothing(tab, "waiting").await;
        server.signal("KILL").await;
        tab.until("chat.querySelector('.unheard') !== null").await;
        finds_nothing(tab, "lost").await;
    });
}

async fn finds_nothing(tab: &Tab, when: &str) {
    let run = "const done = arguments[arguments.length - 1];
        axe.run().then((result) => done(result.violations.map((found) => found.id + found.nodes.map((node) => node.html))))";
    for scheme in ["light", "dark"] {
        let sheet = format!("* {{ color-scheme: {scheme} !important }}");
        tab.ask(&format!(
            "(window.sheet ??= new CSSStyleSheet(), sheet.replaceSync('{sheet}'), document.adoptedStyleSheets = [sheet], 0)"
        )).await;
        tab.until_drawn().await;
        let found = tab.0.execute_async(run, vec![]).await.unwrap();
        assert_eq!(found, json!([]), "{when}, {scheme}");
    }
}
