//! Sending, receiving, and what is shown.

use super::browser::*;

#[test]
fn two_tabs_talk_by_enter_and_by_click_and_what_is_copied_are_the_texts_alone() {
    everywhere(async |tab, server, _other| {
        let first = tab.0.window().await.unwrap();
        tab.open(&server.address).await;
        tab.new_window().await;
        tab.open(&server.address).await;
        tab.send("by key").await;
        tab.until_lines(&["own: by key"]).await;
        let input = "[input.value, document.activeElement.id]";
        tab.expect(input, json!(["", "input"])).await;
        tab.0.switch_to_window(first).await.unwrap();
        tab.until_lines(&["other: by key"]).await;
        tab.send("   ").await; // isn't sent
        tab.type_in("by mouse").await;
        tab.click("#send").await;
        tab.until_lines(&["other: by key", "own: by mouse"]).await;
        tab.expect(input, json!(["", "input"])).await;
        tab.ask("getSelection().selectAllChildren(chat)").await;
        tab.expect("getSelection().toString().trim()", "by key\nby mouse").await;
    });
}

#[test]
fn texts_are_shown_whole_and_as_they_are() {
    everywhere(async |tab, _server, mut other| {
        for text in ["<img src=x onerror=alert(1)>", "<b>bold</b> &amp; a  b\nc"] {
            send(&mut other, text).await;
            tab.until_last(text).await;
        }
        tab.expect("chat.querySelectorAll(':not(#chat > div, #chat > div > time)').length", 0).await;
        // Two spaces and a line break are visible.
        let seen =
            "[chat.innerText.includes('a  b\\nc'), chat.lastChild.offsetHeight > 1.5 * chat.firstChild.offsetHeight]";
        tab.expect(seen, json!([true, true])).await;
        let emoji = format!("{}\u{1f600}y", "x".repeat(999));
        for text in [&"word ".repeat(800), &"row\n".repeat(1000), &emoji] {
            let text = format!("{text}the end");
            send(&mut other, &text).await;
            tab.until_last(&text).await;
            tab.expect("chat.lastChild.scrollHeight - chat.lastChild.clientHeight", 0).await;
            tab.paste(&text.replace('\n', " ")).await;
            tab.send("").await;
            tab.until("chat.lastChild.className === 'own'").await;
            tab.until_last(&text.replace('\n', " ")).await;
        }
    });
}

#[test]
fn an_echo_is_my_own_text_to_the_letter_and_in_the_order_in_which_i_sent() {
    in_chromium(async |tab, server, mut other| {
        let relay = Relay::start(&server.address).await;
        tab.open(&relay.address).await;
        relay.to_server.send(Flow::Hold).unwrap();
        tab.send("ok").await;
        tab.send("no").await;
        for text in ["really ok", "OK", "ok.", "no"] {
            send(&mut other, text).await;
        }
        let others = ["other: really ok", "other: OK", "other: ok.", "other: no"];
        tab.until_lines(&others).await;
        tab.expect("waiting.childElementCount", 2).await;
        // A browser that translates the page changes the line, but not what was sent.
        tab.ask("waiting.firstChild.firstChild.replaceWith('gut')").await;
        relay.to_server.send(Flow::Open).unwrap();
        tab.until_lines(&[&others[..], &["own: ok", "own: no"]].concat()).await;
        tab.expect("waiting.childElementCount", 0).await;
    });
}

#[test]
fn a_sent_line_waits_for_its_echo_and_stays_in_place() {
    everywhere(async |tab, server, mut other| {
        send(&mut other, "of another").await;
        tab.until_last("of another").await;
        // From the moment it's sent, in all that is drawn, it is there once, and has one place and one size.
        let watch = "(() => {
            window.places = new Set();
            const look = () => {
                const boxes = [...document.querySelectorAll('.own')].map((line) => line.getBoundingClientRect());
                places.add(JSON.stringify(boxes.map(({ x, y, width, height }) => [x, y, width, height])));
                requestAnimationFrame(look);
            };
            form.addEventListener('submit', look);
        })()";
        tab.ask(watch).await;
        server.signal("STOP").await;
        tab.send("my own text").await;
        tab.until("waiting.childElementCount === 1").await;
        tab.until_drawn().await;
        server.signal("CONT").await;
        tab.until("waiting.childElementCount === 0").await;
        tab.until_drawn().await;
        let places = tab.ask("[...places]").await;
        assert_eq!(places.as_array().unwrap().len(), 1, "{places}");
        // Side and colour set it apart from the others.
        for style in ["getComputedStyle(chat.LINE).backgroundColor", "chat.LINE.offsetLeft"] {
            let another = tab.ask(&style.replace("LINE", "firstChild")).await;
            assert_ne!(another, tab.ask(&style.replace("LINE", "lastChild")).await, "{style}");
        }
    });
}

#[test]
fn what_is_too_long_stays_in_the_input_whole() {
    in_chromium(async |tab, _server, _other| {
        for (text, letters) in [("x", 4096), ("€", 1365)] {
            tab.paste(&text.repeat(letters + 2)).await;
            tab.press(Key::Backspace).await;
            tab.send("").await;
            let kept = "[input.value.length, input.validationMessage, chat.childElementCount]";
            let message = "This is too long for one message.";
            tab.until("input.validationMessage !== ''").await;
            let lines = tab.ask("chat.childElementCount").await;
            tab.expect(kept, json!([letters + 1, message, lines])).await;
            tab.press(Key::Backspace).await;
            tab.send("").await;
            tab.until_last(&text.repeat(letters)).await;
        }
        tab.expect("[chat.childElementCount, state.textContent]", json!([2, "Connected"])).await;
    });
}

#[test]
fn a_hidden_tab_counts_what_others_say_a_run_of_lines_tells_its_time_once_and_a_new_day_is_told() {
    in_chromium(async |tab, _server, mut other| {
        let clock = "(() => {
            const Now = Date;
            window.today = new Now(2030, 0, 1, 12);
            window.Date = class extends Now { constructor(...time) { super(...(time.length ? time : [today])) } };
        })()";
        tab.ask(clock).await;
        let hide = |hidden: bool| {
            format!(
                "(Object.defineProperty(document, 'hidden', {{ value: {hidden}, configurable: true }}),
                document.dispatchEvent(new Event('visibilitychange')))"
            )
        };
        tab.ask(&hide(true)).await;
        tab.send("my own").await;
        for (minutes, text) in [(0, "one"), (0, "two"), (1, "three"), (24 * 60, "four")] {
            tab.ask(&format!("today.setMinutes(today.getMinutes() + {minutes})")).await;
            send(&mut other, text).await;
            tab.until_last(text).await;
        }
        tab.expect("document.title", "(4) Chat").await;
        tab.ask(&hide(false)).await;
        tab.expect("document.title", "Chat").await;
        tab.expect("chat.querySelectorAll('.other time:not([hidden])').length", json!(3)).await;
        let days = "new Set([...chat.querySelectorAll('.note')].map((day) => day.firstChild.data)).size";
        tab.expect(days, 2).await; // the first line's, too, as the page was loaded on another day
    });
}
