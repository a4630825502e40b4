//! One browser for each engine, started by the first test that needs it, and a new window for each test.

use crate::support::*;
pub use Engine::*;
use fantoccini::actions::{InputSource, KeyAction, KeyActions};
use fantoccini::key::Key;
use fantoccini::wd::WindowHandle;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use std::process::Stdio;
use std::sync::LazyLock;
use std::thread;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::runtime::Runtime;
use tokio::sync::{Mutex, Semaphore};
use tokio::time::{sleep, timeout};

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Engine {
    Chromium,
    Firefox,
    WebKit,
}

/// Runs a test in a window of each engine.
pub fn everywhere(test: impl AsyncFn(&Tab) + Sync) {
    run(&ENGINES, test);
}

/// Runs a test in a window of Chromium.
pub fn in_chromium(test: impl AsyncFn(&Tab) + Sync) {
    in_some(&[Chromium], test);
}

/// Runs a test in a window of each of these engines; of all engines with FULL=1.
pub fn in_some(engines: &[Engine], test: impl AsyncFn(&Tab) + Sync) {
    let full = std::env::var("FULL").is_ok_and(|full| full == "1");
    run(if full { &ENGINES } else { engines }, test);
}

const ENGINES: [Engine; 3] = [Chromium, Firefox, WebKit];

/// Owns all browsers, as they outlive the test that starts them.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());

static BROWSERS: [Mutex<Option<Browser>>; 3] = [const { Mutex::const_new(None) }; 3];

/// How many browsers may work at once.
static TURNS: Semaphore = Semaphore::const_new(2);

fn run(engines: &[Engine], test: impl AsyncFn(&Tab) + Sync) {
    let run_in = |engine: Engine| {
        RUNTIME.block_on(async {
            let mut browser = BROWSERS[engine as usize].lock().await;
            let _turn = TURNS.acquire().await.unwrap();
            if browser.is_none() {
                *browser = Some(Browser::start(engine).await);
            }
            let tab = browser.as_ref().unwrap().new_tab().await;
            test(&tab).await;
            tab.assert_that_the_console_of_chromium_is_empty().await;
        });
    };
    thread::scope(|threads| {
        for &engine in engines {
            let name = format!("{engine:?}"); // a failure names its thread
            let thread = thread::Builder::new().name(name);
            thread
                .spawn_scoped(threads, move || run_in(engine))
                .unwrap();
        }
    });
}

struct Browser {
    engine: Engine,
    client: Client,
    driver: String,
    first: WindowHandle,
    _process: Child,
}

impl Browser {
    async fn start(engine: Engine) -> Browser {
        let (program, arguments, packages) = match engine {
            Chromium => ("chromedriver", "", "chromium chromium-driver"),
            Firefox => (
                "geckodriver",
                "--websocket-port=0 --allow-system-access",
                "firefox-esr; cargo install geckodriver",
            ),
            WebKit => (
                "xvfb-run",
                "-a WebKitWebDriver",
                "webkit2gtk-driver xvfb xauth",
            ),
        };
        let missing = format!("{engine:?} is missing: apt-get install {packages}");
        let driver = free_address();
        let port = driver.rsplit(':').next().unwrap();
        // It ends when this process does, as its standard input ends then, and takes the browser with it.
        let process = Command::new("sh")
            .args(["-c", "\"$@\" & cat; kill 0", "sh", program])
            .args(arguments.split_whitespace())
            .arg(format!("--port={port}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        let listening = timeout(LIMIT, listens(&driver)).await;
        listening.expect(&missing);
        let mut builder = ClientBuilder::new(HttpConnector::new());
        let capabilities = match engine {
            Chromium => json!({
                "goog:chromeOptions": { "args": [
                    "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
                    "--disable-background-networking", "--disable-component-update", "--disable-sync",
                ] },
                "goog:loggingPrefs": { "browser": "ALL" },
            }),
            Firefox => json!({ "moz:firefoxOptions": { "args": ["-headless"] } }),
            WebKit => json!({ "webkitgtk:browserOptions": { "args": ["--automation"] } }),
        };
        builder.capabilities(capabilities.as_object().unwrap().clone());
        let client = builder.connect(&format!("http://{driver}")).await;
        let client = client.unwrap_or_else(|error| panic!("{missing}: {error}"));
        Browser {
            engine,
            first: client.window().await.unwrap(),
            client,
            driver,
            _process: process,
        }
    }

    /// A new window. The previous test's windows are closed.
    async fn new_tab(&self) -> Tab {
        for window in self.client.windows().await.unwrap() {
            if window != self.first {
                self.client.switch_to_window(window).await.unwrap();
                self.client.close_window().await.unwrap();
            }
        }
        let first = self.first.clone();
        self.client.switch_to_window(first).await.unwrap();
        let tab = Tab {
            engine: self.engine,
            client: self.client.clone(),
            driver: self.driver.clone(),
        };
        tab.new_window().await;
        tab.chromium_console().await; // discards what the previous test left
        tab
    }
}

/// A test's window, or the one it has switched to.
pub struct Tab {
    pub engine: Engine,
    pub client: Client,
    driver: String,
}

impl Tab {
    /// Opens another window, and switches to it.
    pub async fn new_window(&self) -> WindowHandle {
        let window = self.client.new_window(false).await.unwrap().handle;
        self.switch_to(&window).await;
        window
    }

    pub async fn switch_to(&self, window: &WindowHandle) {
        self.client.switch_to_window(window.clone()).await.unwrap();
    }

    pub async fn goto(&self, address: &str) {
        let url = format!("http://{address}/");
        self.client.goto(&url).await.unwrap();
    }

    /// Opens the page, and waits until it is connected.
    pub async fn open(&self, address: &str) {
        self.goto(address).await;
        self.until_connected().await;
    }

    pub async fn until_connected(&self) {
        self.until("state.textContent === 'Connected'").await;
    }

    /// What a script in the page returns.
    pub async fn ask(&self, script: &str) -> Value {
        let script = format!("return {script}");
        self.client.execute(&script, vec![]).await.unwrap()
    }

    pub async fn ask_number(&self, script: &str) -> f64 {
        self.ask(script).await.as_f64().unwrap()
    }

    pub async fn expect(&self, script: &str, expected: Value) {
        assert_eq!(self.ask(script).await, expected, "{script}");
    }

    pub async fn until(&self, condition: &str) {
        self.until_in(LIMIT, condition).await;
    }

    pub async fn until_in(&self, limit: Duration, condition: &str) {
        let fulfilled = async {
            while self.ask(condition).await != json!(true) {
                sleep(Duration::from_millis(20)).await;
            }
        };
        if timeout(limit, fulfilled).await.is_err() {
            let page = self.ask("document.body.innerText.slice(0, 500)");
            let page = timeout(LIMIT, page).await; // it may be frozen
            panic!("never: {condition}; the page shows {page:?}");
        }
    }

    /// Waits until the text of the chat's last line is `text`.
    pub async fn until_last(&self, text: &str) {
        let text = json!(text);
        self.until(&format!("{LINES}.at(-1)?.endsWith(': ' + {text})"))
            .await;
    }

    pub async fn expect_lines(&self, lines: &[&str]) {
        self.expect(LINES, json!(lines)).await;
    }

    pub async fn until_lines(&self, lines: &[&str]) {
        let lines = json!(lines).to_string();
        self.until(&format!("JSON.stringify({LINES}) === {}", json!(lines)))
            .await;
    }

    /// Waits until all changes so far have been drawn.
    pub async fn until_drawn(&self) {
        self.until("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))")
            .await;
    }

    pub async fn type_in(&self, keys: &str) {
        let input = self.client.find(Locator::Id("input")).await.unwrap();
        input.send_keys(keys).await.unwrap();
    }

    pub async fn send(&self, text: &str) {
        self.type_in(&format!("{text}{}", Key::Enter)).await;
    }

    pub async fn click(&self, css: &str) {
        let element = self.client.find(Locator::Css(css)).await.unwrap();
        element.click().await.unwrap();
    }

    /// Presses a key wherever the focus is.
    pub async fn press(&self, key: Key) {
        let value = key.into();
        let press = KeyActions::new("keys".into())
            .then(KeyAction::Down { value })
            .then(KeyAction::Up { value });
        self.client.perform_actions(press).await.unwrap();
    }

    /// From now on, counts in `window.asked` how often the page checks for its server before it connects.
    pub async fn count_attempts(&self) {
        let count = "(() => {
            const { fetch } = window;
            window.asked = 0;
            window.fetch = (...request) => (window.asked++, fetch.apply(window, request));
        })()";
        self.ask(count).await;
    }

    /// What the console has shown since the last call, without what Chromium prints on a lost connection. Only
    /// Chromium's driver offers this.
    pub async fn chromium_console(&self) -> Option<Vec<String>> {
        if self.engine != Chromium {
            return None;
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
            let body = text.split_once("\r\n\r\n").map(|(_, body)| body);
            if let Some(answer) = body.and_then(|body| serde_json::from_str(body).ok()) {
                break answer;
            }
        };
        let entries = answer["value"]
            .as_array()
            .expect("a list of entries")
            .iter();
        let mut lines: Vec<_> = entries
            .map(|entry| entry["message"].as_str().unwrap().to_owned())
            .collect();
        let lost = ["WebSocket connection to", "ERR_CONNECTION_", "ERR_EMPTY_"];
        lines.retain(|line| !lost.iter().any(|lost| line.contains(lost)));
        Some(lines)
    }

    async fn assert_that_the_console_of_chromium_is_empty(&self) {
        if let Some(lines) = self.chromium_console().await {
            assert_eq!(lines, Vec::<String>::new());
        }
    }
}

/// The lines of the chat, each with its kind and its text.
pub const LINES: &str = "[...chat.children].map((line) => {
    const text = [...line.childNodes].find((node) => node.nodeType === Node.TEXT_NODE);
    return line.className + ': ' + (text?.data ?? '');
})";

/// The newest line of the chat is in sight.
pub const AT_END: &str = "scroller.scrollTop > -4 &&
    chat.lastElementChild.getBoundingClientRect().bottom <= scroller.getBoundingClientRect().bottom + 1";
