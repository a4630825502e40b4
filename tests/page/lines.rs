//! Many lines, heavy texts, and the reader's place.

use super::browser::*;

/// The newest line of the chat is in sight.
const AT_END: &str = "scroller.scrollTop > -4 &&
    chat.lastChild.getBoundingClientRect().bottom <= scroller.getBoundingClientRect().bottom + 1";

/// The chat hasn't scrolled for a while.
const STILL: &str = "new Promise((done) => {
    const place = scroller.scrollTop;
    setTimeout(() => done(scroller.scrollTop === place), 300);
})";

#[test]
fn twenty_thousand_messages_leave_the_tab_usable() {
    everywhere(async |tab, server, _other| {
        let _load = LOAD.lock().await; // to the room, a tab that gets no time to read is a stuck client
        let (mut shout, mut own) = server.join().await.split();
        tokio::spawn(async move { while own.next().await.is_some() {} });
        let flood = async {
            for count in 1..=20_000 {
                let text = format!("number {count} {}", "x".repeat(count % 200));
                shout.feed(Message::text(text)).await.unwrap();
            }
            send(&mut shout, "the last").await;
        };
        timeout(3 * LIMIT, flood).await.expect("the page holds the room up");
        tab.type_in("I am still here").await;
        tab.until_last("the last").await;
        tab.expect("chat.childElementCount", 1000).await;
        tab.until(AT_END).await;
        tab.click("#send").await;
        tab.until_last("I am still here").await;
        // Nor was it dropped in between.
        tab.expect("[state.textContent, chat.querySelectorAll('.note').length]", json!(["Connected", 0])).await;
    });
}

#[test]
fn no_text_freezes_the_page() {
    everywhere(async |tab, _server, mut other| {
        let _load = LOAD.lock().await;
        let mut lines = 0;
        for text in [
            "\u{1f3fb}".repeat(1024),
            "\u{202e}a\u{202d}b\u{202c}\u{202c}".repeat(290),
            format!("a{}", "\u{301}".repeat(2047)),
            "क्षि".repeat(341),
            "\n".repeat(4095) + "x",
            "ordinary words ".repeat(273),
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
            for _ in 0..5 {
                send(&mut other, &text).await;
            }
            lines += 5;
            tab.until(&format!("chat.childElementCount === {lines}")).await;
            tab.until_drawn().await;
            let longest = tab.ask("longest").await.as_f64().unwrap();
            let first: String = text.chars().take(5).collect();
            assert!(longest < 3000.0, "{longest} ms for {first:?}");
        }
        tab.until(AT_END).await; // none buries the others
    });
}

#[test]
fn new_messages_neither_move_nor_take_what_is_read() {
    everywhere(async |tab, _server, mut other| {
        send_numbers(&mut other, 990, 4).await;
        tab.until_last("989.").await;
        tab.until(AT_END).await;
        tab.expect("more.textContent", "").await;
        tab.ask("(chat.children[0].className = 'unheard', (window.read = chat.children[10]).scrollIntoView())").await;
        tab.until("scroller.scrollTop < -1000").await;
        tab.until(STILL).await;
        let place = "read.isConnected && read.getBoundingClientRect().top";
        let before = tab.ask(place).await.as_f64().unwrap();
        for _ in 0..3 {
            send_numbers(&mut other, 100, 3).await;
            send(&mut other, "the last").await;
            tab.until_last("the last").await;
            tab.until_drawn().await;
            let after = tab.ask(place).await.as_f64().unwrap();
            assert!((after - before).abs() < 1.5, "moved from {before} to {after}");
            tab.ask("chat.lastChild.firstChild.data = 'seen'").await;
        }
        tab.expect("chat.childElementCount > 1000", true).await;
        // The button leads to the end, and what is typed goes into the input.
        tab.click("#more").await;
        tab.until(&format!("more.textContent === '' && {AT_END}")).await;
        tab.press('a').await;
        send(&mut other, "followed again").await;
        tab.until_last("followed again").await;
        tab.until(AT_END).await;
        let kept = "[chat.querySelectorAll('div:not(.unheard)').length, chat.querySelectorAll('.unheard').length]";
        tab.expect(kept, json!([1000, 1])).await; // what may not have been delivered stays
        // So it does wherever the focus is, and page keys scroll.
        tab.type_in("b").await;
        tab.press(Key::PageUp).await;
        tab.until("scroller.scrollTop < -100").await;
        for (part, letter) in [("#chat > div:last-child", 'c'), ("h1", 'd')] {
            tab.ask("scroller.scrollTop = 0").await;
            tab.click(part).await;
            tab.press(letter).await;
        }
        tab.until("input.value === 'abcd'").await;
    });
}
