//! What the page promises, seen in real headless Chromium with the real program behind it.

use crate::server::*;
use fantoccini::key::Key;
use fantoccini::{Client, ClientBuilder, Locator};
use futures_util::{SinkExt, StreamExt};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio_tungstenite::tungstenite::Message;

/// The newest line of the chat is in sight.
const AT_END: &str = "chat.scrollHeight - chat.clientHeight - chat.scrollTop < 2";

/// A browser and the driver through which it is told what to do.
struct Browser {
    client: Client,
    driver: String,
    _process: Child,
}

impl Browser {
    async fn open(address: &str) -> Browser {
        let missing =
            "these tests need Chromium and its driver: apt-get install chromium chromium-driver";
        let mut process = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect(missing);
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let driver = loop {
            let line = within(lines.next_line()).await.unwrap().expect(missing);
            if let Some((_, port)) = line.split_once("started successfully on port ") {
                break format!("127.0.0.1:{}", port.trim_end_matches('.'));
            }
        };
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let Value::Object(capabilities) = json!({
            "goog:chromeOptions": { "args": [
                "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
                "--disable-background-networking", "--disable-component-update", "--disable-sync",
            ] },
            "goog:loggingPrefs": { "browser": "ALL" },
        }) else {
            unreachable!()
        };
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities)
            .connect(&format!("http://{driver}"))
            .await
            .expect(missing);
        let browser = Browser {
            client,
            driver,
            _process: process,
        };
        browser.visit(address).await;
        browser
    }

    async fn visit(&self, address: &str) {
        self.client
            .goto(&format!("http://{address}/"))
            .await
            .unwrap();
        self.until("state.textContent === 'Connected'").await;
    }

    /// What a script of the page returns.
    async fn ask(&self, script: &str) -> Value {
        self.client
            .execute(&format!("return {script}"), vec![])
            .await
            .unwrap()
    }

    async fn until(&self, condition: &str) {
        let fulfilled = async {
            while self.ask(condition).await != json!(true) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        if tokio::time::timeout(LIMIT, fulfilled).await.is_err() {
            panic!(
                "never: {condition}; the page says: {}",
                self.ask("document.body.innerText").await
            );
        }
    }

    /// Waits until the last line of the chat ends with `text`.
    async fn until_last(&self, text: &str) {
        self.until(&format!(
            "Boolean(chat.lastElementChild?.textContent.endsWith({}))",
            json!(text)
        ))
        .await;
    }

    async fn type_in(&self, keys: &str) {
        self.client
            .find(Locator::Id("input"))
            .await
            .unwrap()
            .send_keys(keys)
            .await
            .unwrap();
    }

    async fn click(&self, id: &str) {
        self.client
            .find(Locator::Id(id))
            .await
            .unwrap()
            .click()
            .await
            .unwrap();
    }

    /// What the console has shown since it was last asked, without what Chromium prints on a lost connection.
    async fn console(&self) -> Vec<String> {
        let session = self.client.session_id().await.unwrap().unwrap();
        let body = json!({ "type": "browser" }).to_string();
        let request = format!(
            "POST /session/{session}/se/log HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n\r\n{body}",
            self.driver,
            body.len()
        );
        let mut stream = TcpStream::connect(&self.driver).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let answer: Value = loop {
            within(stream.read_buf(&mut answer)).await.unwrap();
            let text = String::from_utf8_lossy(&answer);
            if let Some(answer) = text
                .split_once("\r\n\r\n")
                .and_then(|(_, body)| serde_json::from_str(body).ok())
            {
                break answer;
            }
        };
        let entries = answer["value"].as_array().expect("a list of entries");
        let lines = entries
            .iter()
            .map(|entry| entry["message"].as_str().unwrap().to_owned());
        lines
            .filter(|line| !line.contains("WebSocket connection to"))
            .collect()
    }

    async fn close(self) {
        assert_eq!(
            self.console().await,
            Vec::<String>::new(),
            "the console should be empty"
        );
        self.client.close().await.unwrap();
    }
}

#[tokio::test]
#[ignore = "needs Chromium"]
async fn two_tabs_talk_by_enter_and_by_click() {
    let server = Server::start().await;
    let browser = Browser::open(&server.address).await;
    let first = browser.client.window().await.unwrap();
    let second = browser.client.new_window(true).await.unwrap().handle;
    browser
        .client
        .switch_to_window(second.clone())
        .await
        .unwrap();
    browser.visit(&server.address).await;

    browser.type_in("by key").await;
    browser.type_in(&Key::Enter.to_string()).await;
    browser.until_last("by key").await;
    assert_eq!(
        browser
            .ask("[input.value, document.activeElement.id]")
            .await,
        json!(["", "input"])
    );

    browser.client.switch_to_window(first).await.unwrap();
    browser.until_last("by key").await;
    browser.type_in("by mouse").await;
    browser.click("send").await;
    browser.until_last("by mouse").await;
    assert_eq!(
        browser
            .ask("[input.value, document.activeElement.id]")
            .await,
        json!(["", "input"])
    );

    // Nothing to see is not sent: the next line is the one after.
    browser.type_in("  \u{a0} ").await;
    browser.type_in(&Key::Enter.to_string()).await;
    assert_eq!(browser.ask("input.value").await, json!("  \u{a0} "));
    browser.ask("input.value = ''").await;
    browser.type_in("after").await;
    browser.click("send").await;
    browser.client.switch_to_window(second).await.unwrap();
    browser.until_last("after").await;
    assert_eq!(browser.ask("chat.childElementCount").await, json!(3));
    browser.close().await;
}

#[tokio::test]
#[ignore = "needs Chromium"]
async fn what_looks_like_html_is_shown_as_text_and_nothing_runs() {
    let server = Server::start().await;
    let browser = Browser::open(&server.address).await;
    let mut talker = server.join().await;
    for text in [
        "<img src=x onerror=alert(1)>",
        "<script>document.title = 'run'</script>",
        "<b>bold</b> &amp; a  b\nc",
    ] {
        say(&mut talker, text).await;
        browser.until_last(text).await;
    }
    assert_eq!(
        browser
            .ask("chat.querySelectorAll(':not(p, p > time, p > span)').length")
            .await,
        json!(0)
    );
    assert_eq!(browser.ask("document.title").await, json!("Chat"));
    assert!(
        browser.client.get_alert_text().await.is_err(),
        "an alert is open"
    );
    // Two spaces and the line break of the last message are seen: it has two lines.
    let heights = "chat.lastElementChild.offsetHeight / chat.firstElementChild.offsetHeight";
    assert_eq!(browser.ask(heights).await, json!(2));
    assert!(
        browser
            .ask("chat.innerText")
            .await
            .as_str()
            .unwrap()
            .contains("a  b\nc")
    );
    browser.close().await;
}

#[tokio::test]
#[ignore = "needs Chromium"]
#[cfg(unix)]
async fn a_lost_connection_is_told_and_comes_back_and_nothing_typed_is_lost() {
    let mut server = Server::start().await;
    let browser = Browser::open(&server.address).await;
    browser.type_in("half a thou").await;
    server.signal("INT").await;
    assert_eq!(server.exit().await.code(), Some(0));
    browser
        .until("state.textContent.includes('the server is going away')")
        .await;
    browser
        .until("/Trying again in [0-9.]+ s/.test(state.textContent)")
        .await;
    assert_eq!(browser.ask("send.disabled").await, json!(true));
    browser.type_in(&format!("ght{}", Key::Enter)).await;
    browser
        .until("state.textContent.startsWith('Not connected')")
        .await; // it has tried, in vain
    assert_eq!(browser.ask("input.value").await, json!("half a thought"));

    let _again = Server::start_by(&mut chat(&[&server.address])).await;
    browser.until("state.textContent === 'Connected'").await;
    browser
        .until("chat.lastElementChild.className === 'note'")
        .await;
    assert_eq!(
        browser.ask("[input.value, send.disabled]").await,
        json!(["half a thought", false])
    );
    browser.click("send").await;
    browser.until_last("half a thought").await;
    browser.close().await;
}

#[tokio::test]
#[ignore = "needs Chromium"]
#[cfg(unix)]
async fn it_connects_at_once_when_the_browser_is_online_or_the_tab_visible_again() {
    let mut server = Server::start().await;
    let browser = Browser::open(&server.address).await;
    for event in [
        "dispatchEvent(new Event('online'))",
        "document.dispatchEvent(new Event('visibilitychange'))",
    ] {
        server.signal("INT").await;
        server.exit().await;
        // Late enough in the row of attempts that the next is seconds away.
        browser.until("attempts >= 5").await;
        server = Server::start_by(&mut chat(&[&server.address])).await;
        browser.ask("clearTimeout(retry)").await; // no attempt but the one at the event
        browser.ask(event).await;
        browser.until("state.textContent === 'Connected'").await;
        assert_eq!(
            browser.ask("[attempts, socket.readyState]").await,
            json!([0, 1])
        );
    }
    browser.close().await;
}

#[tokio::test]
#[ignore = "needs Chromium"]
async fn it_does_not_connect_twice_while_the_old_connection_is_closing() {
    let server = Server::start().await;
    let browser = Browser::open(&server.address).await;
    let closing = "window.old = socket, Object.defineProperty(old, 'readyState', { value: WebSocket.CLOSING })";
    browser.ask(closing).await;
    browser.ask("dispatchEvent(new Event('online'))").await;
    assert_eq!(browser.ask("socket === old").await, json!(true));
    browser.close().await;
}

#[tokio::test]
#[ignore = "needs Chromium"]
async fn the_reason_of_a_close_is_shown() {
    let server = Server::start().await;
    let browser = Browser::open(&server.address).await;
    browser.ask("socket.send(new Uint8Array(1))").await;
    browser
        .until("state.textContent.includes('text only')")
        .await;
    browser.until("state.textContent === 'Connected'").await;
    browser.ask("socket.send('x'.repeat(65537))").await;
    browser.until("state.textContent.includes('65536')").await;
    browser.until("state.textContent === 'Connected'").await;
    browser.close().await;
}

#[tokio::test]
#[ignore = "needs Chromium"]
async fn twenty_thousand_messages_leave_the_tab_usable() {
    let server = Server::start().await;
    let browser = Browser::open(&server.address).await;
    let (mut shout, mut own) = server.join().await.split();
    let own = tokio::spawn(async move { while let Some(Ok(_)) = own.next().await {} });
    for count in 1..=20_000 {
        shout
            .feed(Message::text(format!(
                "number {count} {}",
                "x".repeat(count % 200)
            )))
            .await
            .unwrap();
    }
    shout.send(Message::text("the last")).await.unwrap();
    browser.type_in("I am still here").await;
    assert_eq!(browser.ask("input.value").await, json!("I am still here"));
    browser.until_last("the last").await;
    assert_eq!(browser.ask("chat.childElementCount").await, json!(1000));
    browser.until(AT_END).await;
    browser.click("send").await;
    browser.until_last("I am still here").await;
    assert_eq!(browser.ask("state.textContent").await, json!("Connected"));
    assert_eq!(
        browser.ask("chat.querySelectorAll('.note').length").await,
        json!(0),
        "it was dropped"
    );
    own.abort();
    browser.close().await;
}

#[tokio::test]
#[ignore = "needs Chromium"]
async fn a_reader_who_scrolled_up_is_not_moved() {
    let server = Server::start().await;
    let browser = Browser::open(&server.address).await;
    let mut talker = server.join().await;
    for count in 1..=990 {
        say(&mut talker, format!("number {count}")).await;
    }
    browser.until_last("number 990").await;
    browser.until(AT_END).await;
    assert_eq!(browser.ask("more.hidden").await, json!(true));

    browser.ask("chat.children[700].scrollIntoView()").await;
    browser.until("following === false").await;
    let place = "[...chat.children].find((line) => line.textContent.endsWith('number 701')).getBoundingClientRect().top";
    let before = browser.ask(place).await.as_f64().unwrap();
    for count in 991..=1100 {
        say(&mut talker, format!("number {count}")).await; // from 1,001 on the oldest lines are taken out
    }
    browser.until_last("number 1100").await;
    assert_eq!(browser.ask("chat.childElementCount").await, json!(1000));
    let after = browser.ask(place).await.as_f64().unwrap();
    assert!(
        (after - before).abs() < 1.5,
        "the reader was moved from {before} to {after}"
    );

    assert_eq!(browser.ask("more.hidden").await, json!(false));
    browser.click("more").await;
    browser.until(&format!("more.hidden && {AT_END}")).await;
    say(&mut talker, "followed again").await;
    browser.until_last("followed again").await;
    browser.until(AT_END).await;
    browser.close().await;
}

#[tokio::test]
#[ignore = "needs Chromium"]
async fn nothing_scrolls_sideways_at_320_pixels() {
    let server = Server::start().await;
    let browser = Browser::open(&server.address).await;
    let mut talker = server.join().await;
    say(&mut talker, "m".repeat(1000)).await;
    browser.until_last("mmm").await;
    for size in ["100%", "200%"] {
        // A frame of 320 pixels: a window of Chromium can't be as narrow.
        browser
            .ask("document.documentElement.style.width = '320px'")
            .await;
        browser
            .ask(&format!(
                "document.documentElement.style.fontSize = '{size}'"
            ))
            .await;
        let wide = "[chat, document.body, form].filter((part) => part.scrollWidth > part.clientWidth).length";
        assert_eq!(browser.ask(wide).await, json!(0), "text of {size}");
        let out = "[...document.querySelectorAll('*')].filter((part) => part.getBoundingClientRect().right > 320).length";
        assert_eq!(browser.ask(out).await, json!(0), "text of {size}");
    }
    browser.close().await;
}

#[tokio::test]
#[ignore = "needs Chromium"]
async fn the_input_takes_what_the_room_takes_and_no_more() {
    let server = Server::start().await;
    let browser = Browser::open(&server.address).await;
    for (character, fits) in [("x", 65536), ("ä", 32768), ("€", 21845), ("👋", 16384)] {
        let paste = format!(
            "input.value = '{character}'.repeat(65537), input.dispatchEvent(new Event('input')), [...input.value].length"
        );
        let kept = browser.ask(&format!("({paste})")).await;
        assert_eq!(kept, json!(fits), "{character}");
        browser.click("send").await;
        browser
            .until(&format!(
                "chat.lastElementChild?.lastChild.textContent === '{character}'.repeat({fits})"
            ))
            .await;
    }
    assert_eq!(browser.ask("state.textContent").await, json!("Connected"));
    browser.close().await;
}
