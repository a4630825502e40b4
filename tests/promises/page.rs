//! What the page promises, seen in three real browsers with the real program behind it.

use crate::support::{client::*, relay::*, server::*, *};
use fantoccini::actions::{InputSource, KeyAction, KeyActions};
use fantoccini::key::Key;
use fantoccini::{Client, ClientBuilder, Locator};
use futures_util::{SinkExt, StreamExt};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Map, Value, json};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio_tungstenite::tungstenite::Message;

/// The newest line of the chat is in sight.
const AT_END: &str = "scroller.scrollTop > -4 &&
    chat.lastElementChild.getBoundingClientRect().bottom <= scroller.getBoundingClientRect().bottom + 1";

/// The lines of the chat, each with its kind.
const LINES: &str =
    "[...chat.children].map((line) => line.className + ': ' + line.firstChild.data).join('|')";

/// The chat hasn't scrolled for a while.
const STILL: &str = "new Promise((done) => {
    const place = scroller.scrollTop;
    setTimeout(() => done(scroller.scrollTop === place), 300);
})";

#[derive(Clone, Copy, Debug, PartialEq)]
enum Engine {
    Chromium,
    Firefox,
    WebKit,
}

impl Engine {
    fn missing(self) -> &'static str {
        match self {
            Engine::Chromium => "this needs Chromium: apt-get install chromium chromium-driver",
            Engine::Firefox => {
                "this needs Firefox: apt-get install firefox-esr; cargo install geckodriver"
            }
            Engine::WebKit => "this needs WebKit: apt-get install webkit2gtk-driver xvfb xauth",
        }
    }

    fn driver(self, port: &str) -> Command {
        let (program, arguments) = match self {
            Engine::Chromium => ("chromedriver", format!("--port={port}")),
            Engine::Firefox => (
                "geckodriver",
                format!("--port={port} --websocket-port=0 --allow-system-access"),
            ),
            Engine::WebKit => ("xvfb-run", format!("-a WebKitWebDriver --port={port}")),
        };
        let mut command = Command::new(program);
        command.args(arguments.split(' '));
        command
    }

    /// What the driver is told of the browser it is to start.
    fn capabilities(self) -> Map<String, Value> {
        let capabilities = match self {
            Engine::Chromium => json!({
                "goog:chromeOptions": { "args": [
                    "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
                    "--disable-background-networking", "--disable-component-update", "--disable-sync",
                ] },
                "goog:loggingPrefs": { "browser": "ALL" },
            }),
            Engine::Firefox => json!({ "moz:firefoxOptions": { "args": ["-headless"] } }),
            Engine::WebKit => json!({ "webkitgtk:browserOptions": { "args": ["--automation"] } }),
        };
        let Value::Object(capabilities) = capabilities else {
            unreachable!()
        };
        capabilities
    }
}

/// Makes a test of each function, in each engine.
macro_rules! in_each_engine {
    ($($name:ident)*) => {
        in_each_engine! { chromium, Chromium, "needs Chromium": $($name)* }
        in_each_engine! { firefox, Firefox, "needs Firefox": $($name)* }
        in_each_engine! { webkit, WebKit, "needs WebKit": $($name)* }
    };
    ($module:ident, $engine:ident, $needs:literal: $($name:ident)*) => {
        mod $module {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                #[ignore = $needs]
                async fn $name() {
                    let alone = super::ALONE.contains(&stringify!($name));
                    let _turn = super::BROWSERS.acquire_many(1 + u32::from(alone)).await.unwrap();
                    super::$name(super::Engine::$engine).await;
                }
            )*
        }
    };
}

/// Tests that need a whole machine: a tab that gets no time to read is a stuck client to the room.
const ALONE: [&str; 1] = ["twenty_thousand_messages_leave_the_tab_usable"];

/// How many browsers may run at once.
static BROWSERS: tokio::sync::Semaphore = tokio::sync::Semaphore::const_new(2);

/// A browser and the driver through which it is told what to do.
struct Browser {
    engine: Engine,
    client: Client,
    driver: String,
    process: Child,
}

impl Browser {
    async fn open(engine: Engine, address: &str) -> Browser {
        let browser = Browser::start(engine).await;
        browser.visit(address).await;
        browser
    }

    async fn start(engine: Engine) -> Browser {
        let driver = free_address();
        let process = engine
            .driver(driver.rsplit(':').next().unwrap())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", engine.missing()));
        listens(&driver).await;
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(engine.capabilities())
            .connect(&format!("http://{driver}"))
            .await
            .unwrap_or_else(|error| panic!("{}: {error}", engine.missing()));
        Browser {
            engine,
            client,
            driver,
            process,
        }
    }

    async fn goto(&self, address: &str) {
        let url = format!("http://{address}/");
        self.client.goto(&url).await.unwrap();
    }

    async fn visit(&self, address: &str) {
        self.goto(address).await;
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
        self.until_in(LIMIT, condition).await;
    }

    async fn until_in(&self, limit: Duration, condition: &str) {
        let fulfilled = async {
            while self.ask(condition).await != json!(true) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        if tokio::time::timeout(limit, fulfilled).await.is_err() {
            panic!(
                "never: {condition}; the page says: {}",
                self.ask("document.body.innerText.slice(0, 500)").await
            );
        }
    }

    /// Waits until the words of the chat's last line end with `text`.
    async fn until_last(&self, text: &str) {
        self.until(&format!(
            "Boolean(chat.lastElementChild?.firstChild.data.endsWith({}))",
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

    /// From now on counts in `window.asked` how often the page has asked for its server, before it connects to it.
    async fn count_attempts(&self) {
        let count = "(() => {
            const { fetch } = window;
            window.asked = 0;
            window.fetch = (...request) => (window.asked++, fetch.apply(window, request));
        })()";
        self.ask(count).await;
    }

    /// Sends something else than the page would, by the page's own socket.
    async fn send_by_script(&self, what: &str) {
        let script = format!(
            "(() => {{
                const {{ send }} = WebSocket.prototype;
                WebSocket.prototype.send = function () {{
                    WebSocket.prototype.send = send;
                    send.call(this, {what});
                }};
            }})()"
        );
        self.ask(&script).await;
        self.type_in(&format!("not sent{}", Key::Enter)).await;
    }

    /// What the console has shown since it was last asked, without what Chromium prints on a lost connection.
    async fn console(&self) -> Vec<String> {
        if self.engine != Engine::Chromium {
            return Vec::new(); // only its driver can be asked
        }
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
            .filter(|line| {
                !line.contains("WebSocket connection to") && !line.contains("ERR_CONNECTION_")
            })
            .collect()
    }

    async fn close(self) {
        assert_eq!(
            self.console().await,
            Vec::<String>::new(),
            "the console should be empty"
        );
        self.client.clone().close().await.unwrap();
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Some drivers are scripts, and some leave their browser behind.
        let Some(id) = self.process.id() else {
            return; // without a number, `kill` would take this test's own group
        };
        let group = format!("kill -TERM -{id}");
        let _ = std::process::Command::new("sh")
            .args(["-c", &group])
            .status();
    }
}

in_each_engine! {
    two_tabs_talk_by_enter_and_by_click
    what_looks_like_html_is_shown_as_text_and_nothing_runs
    a_lost_connection_is_told_and_comes_back_and_nothing_typed_is_lost
    it_is_back_soon_after_the_server
    what_was_sent_into_a_dead_connection_is_told
    one_sees_who_speaks
    a_message_goes_by_its_own_direction
    three_messages_are_copied_as_three_lines
    one_message_cannot_bury_the_others
    zooming_at_the_end_stays_at_the_end
    a_hidden_tab_counts_what_has_come
    away_it_leaves_the_room_and_back_it_is_in_again
    without_its_server_it_says_so
    a_message_cannot_become_html_by_mistake
    axe_finds_nothing_in_light_and_in_dark
    it_connects_at_once_when_the_browser_is_online_or_the_tab_visible_again
    it_does_not_connect_twice
    the_reason_of_a_close_is_shown_and_stays
    twenty_thousand_messages_leave_the_tab_usable
    a_reader_who_scrolled_up_is_not_moved
    nothing_scrolls_sideways_at_320_pixels
    the_input_takes_what_the_room_takes_and_no_more
    a_server_that_closes_at_once_is_asked_ever_more_rarely
    a_server_that_is_away_behind_a_proxy_is_asked_and_not_connected_to
    a_page_that_is_not_let_in_says_so_once
    behind_a_password_and_under_a_path_it_works_as_it_is
    a_busy_room_does_not_hide_that_one_is_not_heard
    a_long_text_on_a_slow_line_is_waited_for
    after_a_change_of_network_the_connection_is_made_anew
    who_reads_back_gets_on_while_messages_arrive
    no_message_spoils_its_time_or_its_neighbours
    those_who_hear_it_hear_what_matters
    what_is_never_answered_is_given_up
}

async fn two_tabs_talk_by_enter_and_by_click(engine: Engine) {
    let server = Server::start().await;
    let browser = Browser::open(engine, &server.address).await;
    let first = browser.client.window().await.unwrap();
    // WebKit's driver shows a second tab only when somebody clicks it, a window at once.
    let as_tab = engine != Engine::WebKit;
    let second = browser.client.new_window(as_tab).await.unwrap().handle;
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

async fn what_looks_like_html_is_shown_as_text_and_nothing_runs(engine: Engine) {
    let server = Server::start().await;
    let browser = Browser::open(engine, &server.address).await;
    let mut talker = server.join().await;
    for text in [
        "<img src=x onerror=alert(1)>",
        "<script>document.title = 'run'</script>",
        "<b>bold</b> &amp; a  b\nc",
    ] {
        send(&mut talker, text).await;
        browser.until_last(text).await;
    }
    assert_eq!(
        browser
            .ask("chat.querySelectorAll(':not(#chat > div, #chat > div > time)').length")
            .await,
        json!(0)
    );
    assert_eq!(browser.ask("document.title").await, json!("Chat"));
    assert!(
        browser.client.get_alert_text().await.is_err(),
        "an alert is open"
    );
    // Two spaces and the line break of the last message are seen: it has two lines.
    let higher = "chat.lastElementChild.offsetHeight > 1.5 * chat.firstElementChild.offsetHeight";
    assert_eq!(browser.ask(higher).await, json!(true));
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

async fn a_lost_connection_is_told_and_comes_back_and_nothing_typed_is_lost(engine: Engine) {
    let mut server = Server::start().await;
    let browser = Browser::open(engine, &server.address).await;
    browser.type_in("half a thou").await;
    browser.count_attempts().await;
    server.signal("INT").await;
    assert_eq!(server.exit().await.code(), Some(0));
    browser
        .until("state.textContent === 'Not connected, retrying'")
        .await;
    browser
        .until_last("Disconnected: the server is going away.")
        .await;
    assert_eq!(
        browser.ask("[send.disabled, state.className]").await,
        json!([true, "lost"])
    );
    browser.type_in(&format!("ght{}", Key::Enter)).await;
    // A loss is read aloud once, however often the page tries again in vain: the chat alone is read.
    browser.until("asked >= 2").await;
    let read = "[...document.querySelectorAll('[role=log], [role=status], [role=alert], [aria-live]')].map((part) => part.id)";
    assert_eq!(browser.ask(read).await, json!(["chat"]));
    assert_eq!(
        browser.ask("[input.value, chat.childElementCount]").await,
        json!(["half a thought", 1])
    );

    let _again = Server::start_by(&mut chat(&[&server.address])).await;
    browser.until("state.textContent === 'Connected'").await;
    browser
        .until_last("What others said in between isn’t here.")
        .await;
    assert_eq!(
        browser.ask("[input.value, send.disabled]").await,
        json!(["half a thought", false])
    );
    browser.click("send").await;
    browser.until_last("half a thought").await;
    browser.close().await;
}

async fn it_is_back_soon_after_the_server(engine: Engine) {
    let mut server = Server::start().await;
    let browser = Browser::open(engine, &server.address).await;
    browser.count_attempts().await;
    server.signal("INT").await;
    server.exit().await;
    // Some 20 seconds later. By then, Firefox would keep a WebSocket waiting.
    browser.until_in(3 * LIMIT, "asked >= 6").await;
    let mut again = Server::start_by(&mut chat(&[&server.address])).await;
    browser.until("state.textContent === 'Connected'").await;

    // In Firefox, the page doesn't go by a clock and a timer that are set here.
    if engine == Engine::Firefox {
        return browser.close().await;
    }
    // A connection that has held, as the clock says, begins the row of attempts anew.
    let later = "(() => {
        const { setTimeout } = window;
        window.delays = [];
        window.setTimeout = (what, delay) => {
            if (what === connect) delays.push(delay);
            return setTimeout(what, delay);
        };
        const later = performance.now() + 11000;
        performance.now = () => later;
    })()";
    browser.ask(later).await;
    again.signal("INT").await;
    again.exit().await;
    browser.until("delays[0] <= 500").await;
    browser.close().await;
}

#[cfg(unix)]
async fn what_was_sent_into_a_dead_connection_is_told(engine: Engine) {
    let server = Server::start().await;
    let browser = Browser::open(engine, &server.address).await;
    browser.type_in(&format!("heard{0}", Key::Enter)).await;
    browser.until_last("heard").await;
    server.signal("STOP").await;
    for text in ["is anybody", "there?"] {
        browser.type_in(&format!("{text}{}", Key::Enter)).await;
    }
    // Each stands there at once, on the side of who said it.
    let sent = "[...waiting.children].map((line) => line.textContent)";
    assert_eq!(browser.ask(sent).await, json!(["is anybody", "there?"]));
    let own = "chat.querySelector('.own').getBoundingClientRect().right";
    let side = "waiting.lastElementChild.getBoundingClientRect().right";
    assert_eq!(browser.ask(side).await, browser.ask(own).await);
    browser
        .until(&format!(
            "{LINES} === 'own: heard|note: Disconnected.|unheard: is anybody|unheard: there?'"
        ))
        .await;
    assert_eq!(browser.ask(sent).await, json!([]));
    let side = "chat.lastElementChild.getBoundingClientRect().right";
    assert_eq!(browser.ask(side).await, browser.ask(own).await);
    let word = "getComputedStyle(chat.lastElementChild, '::before').content";
    assert_eq!(browser.ask(word).await, json!("\"Perhaps not heard:\""));
    server.signal("CONT").await;
    browser.until("state.textContent === 'Connected'").await;
    browser.type_in(&format!("back{}", Key::Enter)).await;
    browser.until_last("back").await;
    assert_eq!(
        browser.ask("chat.lastElementChild.className").await,
        json!("own")
    );
    browser.close().await;
}

async fn one_sees_who_speaks(engine: Engine) {
    let server = Server::start().await;
    let browser = Browser::open(engine, &server.address).await;
    assert_eq!(
        browser
            .ask("getComputedStyle(chat, '::before').content")
            .await,
        json!("\"What is said from now on appears here.\"")
    );
    let mut other = server.join().await;
    send(&mut other, "of another").await;
    browser.until_last("of another").await;
    // What was sent is in sight all the time: when it has left the one box, it is in the other.
    let watch = "new MutationObserver(() => {
        window.inSight = waiting.childElementCount + chat.childElementCount === 2;
    }).observe(waiting, { childList: true })";
    browser.ask(watch).await;
    browser.type_in(&format!("my own{}", Key::Enter)).await;
    browser.until_last("my own").await;
    assert_eq!(browser.ask("inSight").await, json!(true));
    // Half a character comes back as another one, and must not keep the page from knowing what comes next.
    browser
        .ask("(input.value = 'half a character: \\ud83d').length")
        .await;
    browser.click("send").await;
    browser.until_last("half a character: \u{fffd}").await;
    browser.type_in(&format!("the next{}", Key::Enter)).await;
    browser.until_last("the next").await;
    let kinds = "[...chat.children].map((line) => line.className)";
    assert_eq!(
        browser.ask(kinds).await,
        json!(["other", "own", "own", "own"])
    );
    let [another, own] = ["firstElementChild", "lastElementChild"];
    for (what, of) in [
        ("word", "getComputedStyle(chat.LINE, '::before').content"),
        ("colour", "getComputedStyle(chat.LINE).backgroundColor"),
        (
            "side",
            "chat.LINE.getBoundingClientRect().left - chat.getBoundingClientRect().left > 40",
        ),
    ] {
        assert_ne!(
            browser.ask(&of.replace("LINE", another)).await,
            browser.ask(&of.replace("LINE", own)).await,
            "{what}"
        );
    }
    browser.close().await;
}

async fn a_message_goes_by_its_own_direction(engine: Engine) {
    let server = Server::start().await;
    let browser = Browser::open(engine, &server.address).await;
    let mut other = server.join().await;
    send(&mut other, "שלום, מה שלומך?").await;
    browser.until_last("?").await;
    let left = |index: usize| {
        format!(
            "(() => {{
                const range = document.createRange();
                range.setStart(chat.lastElementChild.firstChild, {index});
                range.setEnd(range.startContainer, {index} + 1);
                return range.getBoundingClientRect().left;
            }})()"
        )
    };
    let first = browser.ask(&left(0)).await.as_f64().unwrap();
    let question_mark = browser.ask(&left(14)).await.as_f64().unwrap();
    assert!(question_mark < first, "{question_mark} {first}");
    assert_eq!(browser.ask("input.dir").await, json!("auto"));
    browser.close().await;
}

async fn three_messages_are_copied_as_three_lines(engine: Engine) {
    let server = Server::start().await;
    let browser = Browser::open(engine, &server.address).await;
    let mut other = server.join().await;
    for text in ["one", "two words", "three"] {
        send(&mut other, text).await;
    }
    browser.until_last("three").await;
    browser.ask("getSelection().selectAllChildren(chat)").await;
    let copied = browser.ask("getSelection().toString()").await;
    let copied: Vec<_> = copied.as_str().unwrap().trim().lines().collect();
    let time = browser
        .ask("new Intl.DateTimeFormat([], { hour: '2-digit', minute: '2-digit' }).format()")
        .await;
    let time = time.as_str().unwrap().replace('\u{202f}', " ");
    for (line, text) in copied.iter().zip(["one", "two words", "three"]) {
        let line = line.replace('\u{202f}', " ");
        let length = line.split_once(time.split(':').next().unwrap());
        assert_eq!(length.expect(&line).0, format!("{text} "), "{copied:?}");
    }
    assert_eq!(copied.len(), 3, "{copied:?}");
    browser.close().await;
}

async fn one_message_cannot_bury_the_others(engine: Engine) {
    let server = Server::start().await;
    let browser = Browser::open(engine, &server.address).await;
    let mut other = server.join().await;
    for count in 1..=22 {
        send(&mut other, "\n".repeat(64 * 1024)).await;
        receive(&mut other).await;
        browser
            .until(&format!("chat.childElementCount === {count}"))
            .await;
    }
    send(&mut other, "the newest").await;
    browser.until_last("the newest").await;
    browser.until(AT_END).await;
    browser
        .until(
            "chat.lastElementChild.getBoundingClientRect().bottom <= scroller.getBoundingClientRect().bottom",
        )
        .await;
    // The first of them scrolls in itself, and is not higher than the window.
    assert_eq!(
        browser
            .ask("chat.firstElementChild.scrollHeight > 100000 && chat.firstElementChild.offsetHeight < innerHeight")
            .await,
        json!(true)
    );
    browser.close().await;
}

async fn zooming_at_the_end_stays_at_the_end(engine: Engine) {
    let server = Server::start().await;
    let browser = Browser::open(engine, &server.address).await;
    let mut talker = server.join().await;
    for count in 1..=200 {
        send(
            &mut talker,
            format!("number {count} {}", "word ".repeat(40)),
        )
        .await;
    }
    browser.until_last("word ").await;
    browser.until("chat.childElementCount === 200").await;
    for zoom in ["1.5", "0.5", "2", "1"] {
        browser
            .ask(&format!("document.body.style.zoom = {zoom}"))
            .await;
        // Two frames later, all events of the change are over.
        browser.ask("window.over = false, requestAnimationFrame(() => requestAnimationFrame(() => { window.over = true }))").await;
        browser.until("window.over").await;
        browser.until(AT_END).await;
    }
    browser.close().await;
}

async fn a_hidden_tab_counts_what_has_come(engine: Engine) {
    let server = Server::start().await;
    let browser = Browser::open(engine, &server.address).await;
    let mut talker = server.join().await;
    let hidden = |hidden: bool| {
        format!(
            "Object.defineProperty(document, 'hidden', {{ value: {hidden}, configurable: true }}),
            document.dispatchEvent(new Event('visibilitychange'))"
        )
    };
    send(&mut talker, "seen").await;
    browser.until_last("seen").await;
    assert_eq!(browser.ask("document.title").await, json!("Chat"));
    browser.ask(&format!("({})", hidden(true))).await;
    for _ in 0..3 {
        send(&mut talker, "not seen").await;
    }
    browser.until("document.title === '(3) Chat'").await;
    browser.ask(&format!("({})", hidden(false))).await;
    assert_eq!(browser.ask("document.title").await, json!("Chat"));
    browser.close().await;
}

async fn away_it_leaves_the_room_and_back_it_is_in_again(engine: Engine) {
    let mut server = Server::start().await;
    let elsewhere = Server::start().await;
    let browser = Browser::open(engine, &server.address).await;
    server.logs("joined").await;
    browser.visit(&elsewhere.address).await;
    server.logs("left").await;
    browser.client.back().await.unwrap();
    server.logs("joined").await;
    browser.until("state.textContent === 'Connected'").await;
    browser.type_in(&format!("back{}", Key::Enter)).await;
    browser.until_last("back").await;
    browser.close().await;
}

async fn without_its_server_it_says_so(engine: Engine) {
    let browser = Browser::start(engine).await;
    let file = concat!("file://", env!("CARGO_MANIFEST_DIR"), "/index.html");
    browser.client.goto(file).await.unwrap();
    browser
        .until("state.textContent.includes('cargo run')")
        .await;
    browser.ask("dispatchEvent(new Event('online'))").await;
    browser
        .until("state.textContent.includes('cargo run')")
        .await;
    browser.close().await;
}

async fn a_message_cannot_become_html_by_mistake(engine: Engine) {
    let server = Server::start().await;
    let browser = Browser::open(engine, &server.address).await;
    let mistake = "(() => {
        try { chat.innerHTML = '<img src=x onerror=\"window.run = 1\">'; return 'nothing'; }
        catch (error) { return error.name; }
    })()";
    assert_eq!(browser.ask(mistake).await, json!("TypeError"));
    if engine == Engine::Chromium {
        assert!(browser.console().await.join("").contains("TrustedHTML"));
    }

    // A browser that doesn't know Trusted Types is one in which the policy doesn't have them.
    let page = include_str!("../../index.html").replace(
        "require-trusted-types-for 'script'; trusted-types 'none'",
        "",
    );
    assert!(page.len() < include_str!("../../index.html").len());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let head =
                "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nConnection: close";
            let answer = format!("{head}\r\nContent-Length: {}\r\n\r\n{page}", page.len());
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.read(&mut [0; 4096]).await;
        }
    });
    browser
        .client
        .goto(&format!("http://{address}/"))
        .await
        .unwrap();
    assert_eq!(browser.ask(mistake).await, json!("nothing"));
    browser
        .ask("chat.append(document.createElement('img')), chat.lastElementChild.onload = chat.lastElementChild.onerror = () => { window.over = true }, chat.lastElementChild.src = 'data:,'")
        .await;
    browser.until("window.over === true").await;
    assert_eq!(browser.ask("'run' in window").await, json!(false));
    browser.client.clone().close().await.unwrap();
}

async fn axe_finds_nothing_in_light_and_in_dark(engine: Engine) {
    let Ok(axe) = std::env::var("AXE") else {
        eprintln!("skipped: AXE doesn't name an axe.min.js (npm pack axe-core)");
        return;
    };
    let axe = std::fs::read_to_string(axe).expect("AXE should name an axe.min.js");
    let server = Server::start().await;
    let browser = Browser::open(engine, &server.address).await;
    let run = "const done = arguments[arguments.length - 1];
        axe.run().then((result) => done(result.violations.map((found) => found.id + found.nodes.map((node) => node.html))))";
    for scheme in ["light", "dark"] {
        let sheet = format!(
            "const sheet = new CSSStyleSheet(); sheet.replaceSync('* {{ color-scheme: {scheme} !important }}');
            document.adoptedStyleSheets = [sheet]"
        );
        browser.client.execute(&sheet, vec![]).await.unwrap();
        browser.client.execute(&axe, vec![]).await.unwrap();
        for fill in [
            "",
            "showSoon('of another', 'other'), showSoon('my own', 'own'), showSoon('a note', 'note'), showSoon(' ', 'other'), awaitEcho('on its way')",
            "showSoon('a long line '.repeat(1000), 'other'), leave()",
        ] {
            browser.client.execute(fill, vec![]).await.unwrap();
            browser
                .until("new Promise((done) => requestAnimationFrame(() => done(true)))")
                .await;
            let found = browser.client.execute_async(run, vec![]).await.unwrap();
            assert_eq!(found, json!([]), "{scheme}, {fill}");
        }
        browser.client.refresh().await.unwrap();
        browser.until("state.textContent === 'Connected'").await;
    }
    browser.close().await;
}

#[cfg(unix)]
async fn it_connects_at_once_when_the_browser_is_online_or_the_tab_visible_again(engine: Engine) {
    let mut server = Server::start().await;
    let browser = Browser::open(engine, &server.address).await;
    browser.count_attempts().await;
    for event in [
        "dispatchEvent(new Event('online'))",
        "document.dispatchEvent(new Event('visibilitychange'))",
    ] {
        browser.ask("window.asked = 0").await;
        server.signal("INT").await;
        server.exit().await;
        // Late enough in the row of attempts that the next is seconds away. It would ask first.
        browser.until_in(3 * LIMIT, "window.asked === 5").await;
        server = Server::start_by(&mut chat(&[&server.address])).await;
        // It asks in the same moment, unless it was just asking.
        browser.until(&format!("{event}, window.asked === 6")).await;
        browser.until("state.textContent === 'Connected'").await;
    }
    browser.close().await;
}

async fn it_does_not_connect_twice(engine: Engine) {
    let mut server = Server::start().await;
    let browser = Browser::open(engine, &server.address).await;
    server.logs("joined").await;
    browser.ask("dispatchEvent(new Event('pageshow'))").await;
    browser
        .ask("document.dispatchEvent(new Event('visibilitychange'))")
        .await;
    browser.type_in(&format!("heard once{}", Key::Enter)).await;
    browser.until_last("heard once").await;
    assert_eq!(browser.ask("chat.childElementCount").await, json!(1));
    assert!(server.log.try_recv().is_err());
    browser.close().await;
}

async fn the_reason_of_a_close_is_shown_and_stays(engine: Engine) {
    let server = Server::start().await;
    let browser = Browser::open(engine, &server.address).await;
    for (bad, lines) in [
        (
            "new Uint8Array(1)",
            "Disconnected: this room takes text only.",
        ),
        (
            "'x'.repeat(65537)",
            "Disconnected: the message was too long.",
        ),
    ] {
        browser.send_by_script(bad).await;
        let lines = format!(
            "note: {lines}|unheard: not sent|note: Connected again. What others said in between isn’t here."
        );
        browser
            .until(&format!("{LINES}.endsWith({})", json!(lines)))
            .await;
        browser.until("state.textContent === 'Connected'").await;
    }
    browser.close().await;
}

async fn twenty_thousand_messages_leave_the_tab_usable(engine: Engine) {
    let server = Server::start().await;
    let browser = Browser::open(engine, &server.address).await;
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

async fn a_reader_who_scrolled_up_is_not_moved(engine: Engine) {
    let server = Server::start().await;
    let browser = Browser::open(engine, &server.address).await;
    let mut talker = server.join().await;
    for count in 1..=990 {
        send(&mut talker, format!("number {count}")).await;
    }
    browser.until_last("number 990").await;
    browser.until(AT_END).await;
    assert_eq!(browser.ask("more.hidden").await, json!(true));

    browser.ask("chat.children[700].scrollIntoView()").await;
    browser.until("scroller.scrollTop < -1000").await;
    browser
        .until("new Promise((done) => requestAnimationFrame(() => done(true)))")
        .await;
    let place = "[...chat.children].find((line) => line.firstChild.data === 'number 701').getBoundingClientRect().top";
    let before = browser.ask(place).await.as_f64().unwrap();
    for count in 991..=1100 {
        send(&mut talker, format!("number {count}")).await; // from 1,001 on the oldest lines are taken out
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
    browser.ask("scroller.scrollTop = -5").await; // near the end is at the end
    send(&mut talker, "followed again").await;
    browser.until_last("followed again").await;
    browser.until(AT_END).await;
    browser.close().await;
}

async fn nothing_scrolls_sideways_at_320_pixels(engine: Engine) {
    let server = Server::start().await;
    let browser = Browser::open(engine, &server.address).await;
    let mut talker = server.join().await;
    send(&mut talker, "m".repeat(1000)).await;
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
        let wide = "[scroller, document.body, form].filter((part) => part.scrollWidth > part.clientWidth).length";
        assert_eq!(browser.ask(wide).await, json!(0), "text of {size}");
        let out = "[...document.querySelectorAll('*')].filter((part) => part.getBoundingClientRect().right > 320).length";
        assert_eq!(browser.ask(out).await, json!(0), "text of {size}");
    }
    browser.close().await;
}

async fn the_input_takes_what_the_room_takes_and_no_more(engine: Engine) {
    let server = Server::start().await;
    let browser = Browser::open(engine, &server.address).await;
    // The longest text, of characters of 3 bytes each.
    browser.ask("input.value = '€'.repeat(21845)").await;
    browser.click("send").await;
    browser
        .until("chat.lastElementChild?.firstChild.data === '€'.repeat(21845)")
        .await;
    assert_eq!(browser.ask("state.textContent").await, json!("Connected"));

    browser.type_in("what was typed").await;
    browser.ask("input.setSelectionRange(0, 0)").await;
    browser
        .ask("document.execCommand('insertText', false, 'x'.repeat(100000))")
        .await;
    let kept = browser
        .ask("[input.value.length, input.value.endsWith('xwhat was typed')]")
        .await;
    assert_eq!(kept, json!([21845, true]));
    browser
        .until_last("No message can be longer. If you pasted more, the rest was cut off.")
        .await;
    browser.close().await;
}

async fn a_server_that_closes_at_once_is_asked_ever_more_rarely(engine: Engine) {
    let server = Server::start().await;
    let mut proxy = Relay::http(&server.address, |head| {
        if head.starts_with("GET /ws") {
            Action::Drop
        } else {
            Action::Forward(head.to_owned())
        }
    })
    .await;
    let browser = Browser::start(engine).await;
    browser.goto(&proxy.address).await;
    within(proxy.requests("GET /ws", 1)).await;
    let begin = tokio::time::Instant::now();
    tokio::time::timeout(3 * LIMIT, proxy.requests("GET /ws", 5))
        .await
        .unwrap();
    // The shortest waits are 0.25, 0.5, 1, 2 and 4 seconds.
    assert!(begin.elapsed() > Duration::from_secs(7));
    browser
        .until(&format!("{LINES} === 'note: Disconnected.'"))
        .await;
    browser.close().await;
}

async fn a_server_that_is_away_behind_a_proxy_is_asked_and_not_connected_to(engine: Engine) {
    let server = Server::start().await;
    let away = Arc::new(AtomicBool::new(false));
    let is_away = away.clone();
    let mut proxy = Relay::http(&server.address, move |head| {
        if is_away.load(Ordering::Relaxed) && !head.starts_with("GET / ") {
            Action::Reply("502 Bad Gateway".to_owned())
        } else {
            Action::Forward(head.to_owned())
        }
    })
    .await;
    let browser = Browser::start(engine).await;
    away.store(true, Ordering::Relaxed);
    browser.goto(&proxy.address).await;
    let asked = within(proxy.requests("HEAD", 4)).await;
    assert!(!asked.iter().any(|head| head.starts_with("GET /ws")));
    assert_eq!(
        browser.ask("state.textContent").await,
        json!("Not connected, retrying")
    );
    away.store(false, Ordering::Relaxed);
    browser.until("state.textContent === 'Connected'").await;
    // It was never in before, so it isn't "again". The line would come in this second.
    browser
        .ask("setTimeout(() => { window.later = true }, 1500)")
        .await;
    browser.until("window.later").await;
    assert_eq!(browser.ask("chat.childElementCount").await, json!(0));
    if engine == Engine::Chromium {
        assert!(browser.console().await.join("").contains("502"));
    }
    browser.close().await;
}

async fn a_page_that_is_not_let_in_says_so_once(engine: Engine) {
    let server = Server::start().await;
    // A proxy that doesn't pass `Host` on: to the room, the page is a foreign one.
    let mut proxy = Relay::http(&server.address, |head| {
        let host = head.lines().find(|line| line.starts_with("Host:")).unwrap();
        Action::Forward(head.replace(host, "Host: 127.0.0.1"))
    })
    .await;
    let browser = Browser::start(engine).await;
    browser.goto(&proxy.address).await;
    within(proxy.requests("GET /ws", 3)).await;
    browser
        .until("state.textContent === 'Not let in, retrying'")
        .await;
    let told = browser.ask(LINES).await;
    let told = told.as_str().unwrap();
    let origin = format!("from http://{}.", proxy.address);
    assert!(told.contains(&origin) && !told.contains('|'), "{told}");
    browser.close().await;
}

async fn behind_a_password_and_under_a_path_it_works_as_it_is(engine: Engine) {
    let server = Server::start().await;
    let mut proxy = Relay::http(&server.address, |head| {
        if !head.contains("uthorization: Basic dTpw") && !head.contains("/ws") {
            Action::Reply("401 Unauthorized\r\nWWW-Authenticate: Basic realm=chat".to_owned())
        } else if head.contains(" /chat/") {
            Action::Forward(head.replacen(" /chat/", " /", 1))
        } else {
            Action::Reply("404 Not Found".to_owned())
        }
    })
    .await;
    let browser = Browser::start(engine).await;
    browser.goto(&format!("u:p@{}/chat", proxy.address)).await;
    browser.until("state.textContent === 'Connected'").await;
    browser.type_in(&format!("heard{}", Key::Enter)).await;
    browser.until_last("heard").await;
    within(proxy.requests("GET /chat/ws ", 1)).await;
    let _ = browser.console().await; // the 401 before the password
    browser.close().await;
}

async fn a_busy_room_does_not_hide_that_one_is_not_heard(engine: Engine) {
    let server = Server::start().await;
    let browser = Browser::open(engine, &server.address).await;
    let mut talker = server.join().await;
    let talk = tokio::spawn(async move {
        loop {
            send(&mut talker, "busy").await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    browser.until_last("busy").await;
    // The second is lost on its way: it is never sent.
    browser
        .ask("(input.value = 'heard', form.requestSubmit(), awaitEcho('heard?'))")
        .await;
    browser
        .until("chat.querySelector('.own')?.firstChild.data === 'heard'")
        .await;
    browser
        .until("chat.querySelector('.unheard')?.firstChild.data === 'heard?'")
        .await;
    talk.abort();
    browser.close().await;
}

async fn a_long_text_on_a_slow_line_is_waited_for(engine: Engine) {
    let server = Server::start().await;
    let proxy = Relay::start(&server.address).await;
    let browser = Browser::open(engine, &proxy.address).await;
    proxy.to_server.send(Flow::Rate(4000)).unwrap(); // bytes a second: 16 s for the longest text
    browser.ask("input.value = '€'.repeat(21845)").await;
    browser.click("send").await;
    browser
        .type_in(&format!("and a short one{}", Key::Enter))
        .await;
    browser
        .until_in(3 * LIMIT, "chat.childElementCount === 2")
        .await;
    let kinds = "[...chat.children].map((line) => line.className)";
    assert_eq!(browser.ask(kinds).await, json!(["own", "own"]));
    browser.close().await;
}

async fn after_a_change_of_network_the_connection_is_made_anew(engine: Engine) {
    let mut server = Server::start().await;
    let browser = Browser::open(engine, &server.address).await;
    server.logs("joined").await;
    let keep = "(() => {
        window.sockets = [];
        window.WebSocket = class extends WebSocket {
            constructor(url) {
                super(url);
                sockets.push(this);
            }
        };
        dispatchEvent(new Event('online'));
    })()";
    browser.ask(keep).await;
    let both = [server.logs("client").await, server.logs("client").await].join("; ");
    assert!(both.contains("left") && both.contains("joined"), "{both}");
    browser.until("state.textContent === 'Connected'").await;
    browser
        .until_last("What others said in between isn’t here.")
        .await;

    // The old one may be slow to close. That is no loss of the new one.
    browser.ask("dispatchEvent(new Event('online'))").await;
    browser
        .until("sockets.length === 2 && state.textContent === 'Connected'")
        .await;
    browser
        .ask("sockets[0].dispatchEvent(new CloseEvent('close'))")
        .await;
    assert_eq!(browser.ask("state.textContent").await, json!("Connected"));
    browser.close().await;
}

async fn who_reads_back_gets_on_while_messages_arrive(engine: Engine) {
    let server = Server::start().await;
    let browser = Browser::open(engine, &server.address).await;
    let mut talker = server.join().await;
    for count in 1..=500 {
        send(&mut talker, format!("number {count}")).await;
    }
    browser.until_last("number 500").await;
    let watch = "(() => {
        window.place = () => chat.children[250].getBoundingClientRect().top;
        scroller.addEventListener('keydown', () => { window.before = place() });
    })()";
    browser.ask(watch).await;
    browser.ask("scroller.focus()").await;
    // Once in a quiet room, for the measure, and then in a busy one.
    let mut moved = Vec::new();
    let mut count = 500;
    for messages in [0, 40, 40] {
        browser.client.perform_actions(page_up()).await.unwrap();
        for _ in 0..messages {
            count += 1;
            send(&mut talker, format!("number {count}")).await;
            tokio::time::sleep(Duration::from_millis(40)).await;
        }
        browser.until_last(&format!("number {count}")).await;
        browser.until(STILL).await;
        moved.push(browser.ask("place() - before").await.as_f64().unwrap());
    }
    assert!(moved[0] > 100.0, "{moved:?}");
    assert!((moved[1] - moved[0]).abs() < 5.0, "{moved:?}");
    assert!((moved[2] - moved[0]).abs() < 5.0, "{moved:?}");
    browser.close().await;
}

fn page_up() -> KeyActions {
    KeyActions::new("keys".into())
        .then(KeyAction::Down {
            value: Key::PageUp.into(),
        })
        .then(KeyAction::Up {
            value: Key::PageUp.into(),
        })
}

async fn no_message_spoils_its_time_or_its_neighbours(engine: Engine) {
    let server = Server::start().await;
    let browser = Browser::open(engine, &server.address).await;
    let mut other = server.join().await;
    send(&mut other, "above").await;
    send(
        &mut other,
        format!("Z{}", "\u{301}\u{302}\u{306}".repeat(40)),
    )
    .await;
    send(&mut other, " \n ").await;
    send(&mut other, "turned round \u{202e}\u{2066}").await;
    send(&mut other, "turned round \u{202e}").await;
    browser.until("chat.childElementCount === 5").await;
    // What lies above the marks looks the same without them.
    let above = browser
        .client
        .find(Locator::Css("#chat div"))
        .await
        .unwrap();
    let with = above.screenshot().await.unwrap();
    browser
        .ask("chat.children[1].style.visibility = 'hidden'")
        .await;
    assert!(above.screenshot().await.unwrap() == with, "painted over");
    let word = "getComputedStyle(chat.children[2], '::before').content";
    assert_eq!(browser.ask(word).await, json!("\"(white space) \""));
    // The first figure of a time stands to the left of the last.
    let turned = "[...chat.querySelectorAll('time')].filter((time) => {
        const left = (index) => {
            const range = document.createRange();
            range.setStart(time.firstChild, index);
            range.setEnd(time.firstChild, index + 1);
            return range.getBoundingClientRect().left;
        };
        return left(0) > left(4);
    }).length";
    assert_eq!(browser.ask(turned).await, json!(0));
    browser.close().await;
}

async fn those_who_hear_it_hear_what_matters(engine: Engine) {
    let server = Server::start().await;
    let browser = Browser::open(engine, &server.address).await;
    let mut other = server.join().await;
    send(&mut other, "long ".repeat(1000)).await;
    browser.until_last("long ").await;
    browser.type_in(&format!("my own{}", Key::Enter)).await;
    browser.until_last("my own").await;
    for (what, heard) in [
        (
            "getComputedStyle(chat.lastElementChild, '::before').content",
            json!("\"You: \""),
        ),
        (
            "getComputedStyle(state, '::before').content",
            json!("\"● \" / \"\""),
        ),
        (
            "chat.lastElementChild.querySelector('time').ariaHidden",
            json!("true"),
        ),
        (
            "[chat.firstElementChild.tabIndex, chat.firstElementChild.role, chat.firstElementChild.ariaLabel]",
            json!([0, "group", "Long message"]),
        ),
        ("input.ariaLabel", json!("Message")),
    ] {
        assert_eq!(browser.ask(what).await, heard, "{what}");
    }
    browser.close().await;
}

async fn what_is_never_answered_is_given_up(engine: Engine) {
    let server = Server::start().await;
    // The first question, and the first WebSocket.
    let (question, socket) = (AtomicBool::new(true), AtomicBool::new(true));
    let proxy = Relay::http(&server.address, move |head| {
        let hangs = head.starts_with("HEAD") && question.swap(false, Ordering::Relaxed)
            || head.starts_with("GET /ws") && socket.swap(false, Ordering::Relaxed);
        if hangs {
            Action::Hang
        } else {
            Action::Forward(head.to_owned())
        }
    })
    .await;
    let browser = Browser::start(engine).await;
    browser.goto(&proxy.address).await;
    browser
        .until_in(3 * LIMIT, "state.textContent === 'Connected'")
        .await;
    assert_eq!(browser.ask("chat.childElementCount").await, json!(0));
    browser.close().await;
}
