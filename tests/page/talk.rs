//! Sending, receiving, and what is shown.

use super::browser::*;
use super::room::*;
use crate::support::*;
use fantoccini::key::Key;
use serde_json::json;

#[test]
#[ignore = "needs Chromium, Firefox and WebKit"]
fn two_tabs_talk_by_enter_and_by_click() {
    everywhere(async |tab| {
        let server = Server::start().await;
        let first = tab.client.window().await.unwrap();
        tab.open(&server.address).await;
        let second = tab.new_window().await;
        tab.open(&server.address).await;

        tab.send("by key").await;
        tab.until_lines(&["own: by key"]).await;
        let input = "[input.value, document.activeElement.id]";
        tab.expect(input, json!(["", "input"])).await;

        tab.switch_to(&first).await;
        tab.until_lines(&["other: by key"]).await;
        tab.type_in("by mouse").await;
        tab.click("#send").await;
        tab.until_lines(&["other: by key", "own: by mouse"]).await;
        tab.expect(input, json!(["", "input"])).await;

        // A text with nothing visible isn't sent: the next line is the one after it.
        tab.send("  \u{a0} \u{200b}").await;
        tab.expect("input.value", json!("  \u{a0} \u{200b}")).await;
        tab.ask("input.value = ''").await;
        tab.send("after").await;
        tab.switch_to(&second).await;
        tab.until_lines(&["own: by key", "other: by mouse", "other: after"])
            .await;
    });
}

#[test]
#[ignore = "needs Chromium, Firefox and WebKit"]
fn text_that_looks_like_html_is_shown_as_text() {
    everywhere(async |tab| {
        let server = Server::start().await;
        tab.open(&server.address).await;
        let mut talker = server.join().await;
        for text in [
            "<img src=x onerror=alert(1)>",
            "<script>document.title = 'run'</script>",
            "<b>bold</b> &amp; a  b\nc",
        ] {
            send(&mut talker, text).await;
            tab.until_last(text).await;
        }
        let others = "chat.querySelectorAll(':not(#chat > div, #chat > div > time)').length";
        tab.expect(others, json!(0)).await;
        tab.expect("document.title", json!("Chat")).await;
        assert!(
            tab.client.get_alert_text().await.is_err(),
            "an alert is open"
        );
        // The last message's two spaces and line break are visible: it has two rows.
        tab.expect("chat.innerText.includes('a  b\\nc')", json!(true))
            .await;
        let higher =
            "chat.lastElementChild.offsetHeight > 1.5 * chat.firstElementChild.offsetHeight";
        tab.expect(higher, json!(true)).await;
    });
}

#[test]
#[ignore = "needs Chromium; with FULL=1 Firefox and WebKit"]
fn a_message_cannot_become_html_by_mistake() {
    in_chromium(async |tab| {
        let mistake = "(() => {
            try { chat.innerHTML = '<img src=x onerror=\"window.run = 1\">'; return 'nothing'; }
            catch (error) { return error.name; }
        })()";
        let server = Server::start().await;
        tab.open(&server.address).await;
        tab.expect(mistake, json!("TypeError")).await;
        if let Some(lines) = tab.chromium_console().await {
            assert!(lines.join("").contains("TrustedHTML"), "{lines:?}");
        }

        // Without Trusted Types in the policy, as in a browser that lacks them, no handler runs either.
        let types = "require-trusted-types-for 'script'; trusted-types 'none'";
        let room = Room::start(page_with(types, ""), |text, _| Some(text.to_owned())).await;
        tab.open(&room.address).await;
        tab.expect(mistake, json!("nothing")).await;
        let image = "(() => {
            const image = document.createElement('img');
            image.onload = image.onerror = () => { window.over = true };
            image.src = 'data:,';
            chat.append(image);
        })()";
        tab.ask(image).await;
        tab.until("window.over === true").await;
        tab.expect("'run' in window", json!(false)).await;
        let _ = tab.chromium_console().await; // the handler that was refused
    });
}

#[test]
#[ignore = "needs Chromium, Firefox and WebKit"]
fn a_sent_line_waits_for_its_echo_and_stays_in_place() {
    everywhere(async |tab| {
        let server = Server::start().await;
        tab.open(&server.address).await;
        let mut other = server.join().await;
        send(&mut other, "of another").await;
        tab.until_last("of another").await;
        tab.ask("document.documentElement.style.width = '320px'")
            .await;

        // From the moment it's sent, in all that is drawn, it is there once, and has one place and one size.
        let watch = "(() => {
            window.places = [];
            const look = () => {
                const lines = [...document.querySelectorAll('.own')];
                const boxes = lines.map((line) => line.getBoundingClientRect());
                places.push(JSON.stringify(boxes.map(({ x, y, width, height }) => [x, y, width, height])));
                requestAnimationFrame(look);
            };
            form.addEventListener('submit', look);
        })()";
        tab.ask(watch).await;
        server.signal("STOP").await;
        tab.send("my own text, which is long enough for two rows")
            .await;
        tab.until("waiting.childElementCount === 1 && places.length > 3")
            .await;
        server.signal("CONT").await;
        tab.until("waiting.childElementCount === 0").await;
        tab.until_drawn().await;
        let places = tab.ask("[...new Set(places)]").await;
        assert_eq!(places.as_array().unwrap().len(), 1, "{places}");
        tab.expect_lines(&[
            "other: of another",
            "own: my own text, which is long enough for two rows",
        ])
        .await;

        // Side and colour set it apart from the others.
        for style in [
            "getComputedStyle(chat.LINE).backgroundColor",
            "chat.LINE.getBoundingClientRect().left > 40",
        ] {
            let another = tab.ask(&style.replace("LINE", "firstElementChild")).await;
            let own = tab.ask(&style.replace("LINE", "lastElementChild")).await;
            assert_ne!(another, own, "{style}");
        }
    });
}

#[test]
#[ignore = "needs Chromium; with FULL=1 Firefox and WebKit"]
fn a_translated_line_still_matches_its_echo() {
    in_chromium(async |tab| {
        let server = Server::start().await;
        tab.open(&server.address).await;
        // As a browser's translation does: other words, in other elements.
        let translate = "new MutationObserver(() => {
            for (const line of waiting.children) {
                const words = document.createElement('font');
                words.textContent = 'Hallo';
                line.firstChild.replaceWith(words);
            }
        }).observe(waiting, { childList: true })";
        tab.ask(translate).await;
        server.signal("STOP").await;
        tab.send("hello").await;
        tab.until("waiting.querySelector('font') !== null").await;
        server.signal("CONT").await;
        tab.until("chat.childElementCount === 1").await;
        tab.expect("chat.firstElementChild.className", json!("own"))
            .await;
        tab.expect("waiting.childElementCount", json!(0)).await;
    });
}

#[test]
#[ignore = "needs Chromium; with FULL=1 Firefox and WebKit"]
fn half_a_character_does_not_hide_an_echo() {
    in_chromium(async |tab| {
        let server = Server::start().await;
        tab.open(&server.address).await;
        tab.ask("(input.value = 'half a character: \\ud83d').length")
            .await;
        tab.click("#send").await;
        tab.until_lines(&["own: half a character: \u{fffd}"]).await;
    });
}

#[test]
#[ignore = "needs Chromium; with FULL=1 Firefox and WebKit"]
fn a_text_of_invisible_characters_is_marked() {
    in_chromium(async |tab| {
        let server = Server::start().await;
        tab.open(&server.address).await;
        let mut other = server.join().await;
        let texts = [
            " \n ", "\u{200b}", "\u{2060}", "\u{ad}", "\u{180e}", "\u{2800}", "\u{3164}", "\u{7}",
        ];
        for text in texts {
            send(&mut other, text).await;
        }
        tab.until(&format!("chat.childElementCount === {}", texts.len()))
            .await;
        let words = "[...new Set([...chat.children].map((line) => getComputedStyle(line, '::before').content))]";
        tab.expect(words, json!(["\"(nothing visible)\""])).await;
    });
}

#[test]
#[ignore = "needs Chromium, Firefox and WebKit"]
fn messages_are_copied_line_by_line_and_without_their_times() {
    everywhere(async |tab| {
        let server = Server::start().await;
        tab.open(&server.address).await;
        let mut other = server.join().await;
        for text in ["one", "two words", "three"] {
            send(&mut other, text).await;
        }
        tab.until_last("three").await;
        tab.ask("getSelection().selectAllChildren(chat)").await;
        let copied = tab.ask("getSelection().toString().trim()").await;
        assert_eq!(copied, json!("one\ntwo words\nthree"));
    });
}

#[test]
#[ignore = "needs Chromium; with FULL=1 Firefox and WebKit"]
fn a_text_that_is_too_long_stays_in_the_input() {
    in_chromium(async |tab| {
        let server = Server::start().await;
        tab.open(&server.address).await;
        // The longest texts, of characters of one byte, and of three.
        for longest in ["x".repeat(4096), "€".repeat(1365)] {
            let fill =
                format!("input.value = '{longest}', input.dispatchEvent(new Event('input'))");
            tab.ask(&format!("({fill})")).await;
            tab.click("#send").await;
            tab.until("input.value === '' && waiting.childElementCount === 0")
                .await;
        }
        tab.expect("chat.childElementCount", json!(2)).await;

        tab.ask("document.execCommand('insertText', false, '€'.repeat(1366))")
            .await;
        tab.click("#send").await;
        let kept = "[input.value.length, input.validationMessage]";
        let message = "This is too long for one message.";
        tab.expect(kept, json!([1366, message])).await;
        // A paste isn't cut to a length that could be sent: nobody sends half of it by accident.
        tab.ask("(input.value = '', input.focus())").await;
        tab.ask("document.execCommand('insertText', false, 'x'.repeat(100000))")
            .await;
        tab.expect("input.validationMessage", json!(message)).await;
        tab.press(Key::Backspace).await;
        tab.expect("input.validationMessage", json!("")).await;
        tab.expect(
            "[chat.childElementCount, state.textContent]",
            json!([2, "Connected"]),
        )
        .await;
    });
}

#[test]
#[ignore = "needs Chromium; with FULL=1 Firefox and WebKit"]
fn a_hidden_tab_counts_what_others_say() {
    in_chromium(async |tab| {
        let server = Server::start().await;
        tab.open(&server.address).await;
        let mut talker = server.join().await;
        send(&mut talker, "seen").await;
        tab.until_last("seen").await;
        tab.expect("document.title", json!("Chat")).await;
        tab.ask(&hidden(true)).await;
        tab.send("my own").await;
        for _ in 0..3 {
            send(&mut talker, "not seen").await;
        }
        tab.until("chat.childElementCount === 5").await;
        tab.expect("document.title", json!("(3) Chat")).await;
        tab.ask(&hidden(false)).await;
        tab.expect("document.title", json!("Chat")).await;
    });
}

fn hidden(hidden: bool) -> String {
    format!(
        "(Object.defineProperty(document, 'hidden', {{ value: {hidden}, configurable: true }}),
        document.dispatchEvent(new Event('visibilitychange')))"
    )
}

#[test]
#[ignore = "needs Chromium; with FULL=1 Firefox and WebKit"]
fn the_clock_follows_the_time_zone() {
    in_chromium(async |tab| {
        // What the browser does when the computer moves: formats made from then on have another zone.
        let move_away = "<script>function moveAway() {
            const { DateTimeFormat } = Intl;
            Intl.DateTimeFormat = function (locales, options) {
                return new DateTimeFormat('en', { ...options, timeZone: 'Asia/Kathmandu' });
            };
        }";
        let page = page_with("<script>", move_away);
        let room = Room::start(page, |text, _| Some(text.to_owned())).await;
        tab.open(&room.address).await;
        tab.send("here").await;
        tab.until_last("here").await;
        tab.ask("moveAway()").await;
        tab.send("there").await;
        tab.until_last("there").await;
        let times = "[...chat.querySelectorAll('time')].map((time) => time.textContent)";
        let times = tab.ask(times).await;
        assert_ne!(times[0], times[1], "{times}");
    });
}
