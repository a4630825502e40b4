//! One browser for each engine, started by the first test that needs it, and a new window for each test.

pub use crate::support::*;
pub use Engine::*;
use fantoccini::actions::{InputSource, KeyAction, KeyActions};
pub use fantoccini::key::Key;
use fantoccini::wd::WindowHandle;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::Value;
pub use serde_json::json;
use std::sync::LazyLock;
use tokio::runtime::Runtime;
use tokio::sync::{Mutex, Semaphore};

pub const PAGE: &str = include_str!("../../index.html");

/// How many times as fast the clock of a fast page runs.
pub const FASTER: u32 = 3;

/// The server with another page.
pub async fn with_page(server: &Server, page: String) -> Relay {
    assert_ne!(page, PAGE, "nothing was replaced");
    let page = format!("200 OK\r\nContent-Type: text/html\r\n\r\n{page}");
    Relay::http(&server.address, move |head| head.starts_with("GET / ").then(|| Action::Reply(page.clone()))).await
}

/// The server with the page on a faster clock, for tests that would have to wait long.
pub async fn with_fast_page(server: &Server) -> Relay {
    let clock = format!(
        "<script>
            const {{ setTimeout: runLater, setInterval: repeat, AbortSignal: {{ timeout }}, Date: {{ now }} }} = window;
            window.setTimeout = (run, time) => runLater(run, time / {FASTER});
            window.setInterval = (run, time) => repeat(run, time / {FASTER});
            AbortSignal.timeout = (time) => timeout.call(AbortSignal, time / {FASTER});
            Date.now = () => now() * {FASTER};
        </script>
        <script>"
    );
    with_page(server, PAGE.replacen("<script>", &clock, 1)).await
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Engine {
    Chromium,
    Firefox,
    WebKit,
}

const ENGINES: [Engine; 3] = [Chromium, Firefox, WebKit];

/// Owns all browsers, as they outlive the test that starts them.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());

static BROWSERS: [Mutex<Option<Browser>>; 3] = [const { Mutex::const_new(None) }; 3];

/// How many browsers may work at once.
static TURNS: Semaphore = Semaphore::const_new(2);

/// Runs a test in a window of each engine, with the page open, and another client in its room.
pub fn everywhere(test: impl AsyncFn(&Tab, Server, Socket) + Sync) {
    run(&ENGINES, test);
}

/// Runs a test in a window of Chromium; of each engine with FULL=1.
pub fn in_chromium(test: impl AsyncFn(&Tab, Server, Socket) + Sync) {
    let full = std::env::var("FULL").is_ok_and(|full| full == "1");
    run(if full { &ENGINES } else { &[Chromium] }, test);
}

fn run(engines: &[Engine], test: impl AsyncFn(&Tab, Server, Socket) + Sync) {
    let run_in = |engine: Engine| {
        RUNTIME.block_on(async {
            let mut browser = BROWSERS[engine as usize].lock().await;
            let _turn = TURNS.acquire().await.unwrap();
            if browser.is_none() {
                *browser = Some(Browser::start(engine).await);
            }
            let tab = browser.as_ref().unwrap().new_tab().await;
            let mut server = Server::start().await;
            tab.open(&server.address).await;
            let other = server.join().await;
            server.logs("2 connected").await;
            test(&tab, server, other).await;
        });
    };
    std::thread::scope(|threads| {
        for &engine in engines {
            let thread = std::thread::Builder::new().name(format!("{engine:?}")); // a failure names it
            thread.spawn_scoped(threads, move || run_in(engine)).unwrap();
        }
    });
}

struct Browser {
    client: Client,
    first: WindowHandle,
    _process: Process,
}

impl Browser {
    async fn start(engine: Engine) -> Browser {
        let (program, capabilities) = match engine {
            Chromium => ("chromedriver", "goog:chromeOptions --headless --no-sandbox --disable-dev-shm-usage"),
            Firefox => ("geckodriver --websocket-port=0", "moz:firefoxOptions -headless"),
            WebKit => ("xvfb-run -a WebKitWebDriver", "webkitgtk:browserOptions --automation"),
        };
        let (options, arguments) = capabilities.split_once(' ').unwrap();
        let capabilities = json!({ options: { "args": arguments.split(' ').collect::<Vec<_>>() } });
        let missing = format!("{engine:?} and {program} should be installed");
        let driver = free_address();
        let port = driver.rsplit(':').next().unwrap();
        // It ends when this process does, as its standard input ends then, and takes the browser with it.
        let mut command = Command::new("sh");
        command.args(["-c", &format!("setsid sh -c '{program} --port={port} & cat; kill 0'")]);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = start(&mut command);
        let (began, url) = (Instant::now(), format!("http://{driver}"));
        let mut builder = ClientBuilder::new(HttpConnector::new());
        builder.capabilities(capabilities.as_object().unwrap().clone());
        let mut client = builder.connect(&url).await;
        while client.is_err() && began.elapsed() < LIMIT {
            sleep(Duration::from_millis(50)).await; // it isn't listening yet
            client = builder.connect(&url).await;
        }
        let client = client.expect(&missing);
        let first = client.window().await.unwrap();
        Browser { first, client, _process: process }
    }

    /// A new window. The previous test's windows are closed.
    async fn new_tab(&self) -> Tab {
        for window in self.client.windows().await.unwrap() {
            if window != self.first {
                self.client.switch_to_window(window).await.unwrap();
                self.client.close_window().await.unwrap();
            }
        }
        self.client.switch_to_window(self.first.clone()).await.unwrap();
        let tab = Tab(self.client.clone());
        tab.new_window().await;
        tab
    }
}

/// A test's window, or the one it has switched to.
pub struct Tab(pub Client);

impl Tab {
    /// Opens another window, and switches to it.
    pub async fn new_window(&self) {
        let window = self.0.new_window(false).await.unwrap().handle;
        self.0.switch_to_window(window).await.unwrap();
    }

    pub async fn goto(&self, address: &str) {
        self.0.goto(&format!("http://{address}/")).await.unwrap();
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
        self.0.execute(&script, vec![]).await.unwrap()
    }

    pub async fn expect(&self, script: &str, expected: impl Into<Value>) {
        assert_eq!(self.ask(script).await, expected.into(), "{script}");
    }

    pub async fn until(&self, condition: &str) {
        let fulfilled = async {
            while self.ask(condition).await != json!(true) {
                sleep(Duration::from_millis(20)).await;
            }
        };
        if timeout(3 * LIMIT, fulfilled).await.is_err() {
            let page = self.ask("document.body.innerText.slice(0, 500)");
            let page = timeout(LIMIT, page).await; // it may be frozen
            panic!("never: {condition}; the page shows {page:?}");
        }
    }

    /// Waits until the text of the chat's last line is `text`.
    pub async fn until_last(&self, text: &str) {
        let text = json!(text);
        self.until(&format!("chat.lastChild?.firstChild.data === {text}")).await;
    }

    /// Waits until the chat shows these lines: kinds and texts.
    pub async fn until_lines(&self, lines: &[&str]) {
        let shown = "JSON.stringify([...chat.children].map((line) => `${line.className}: ${line.firstChild.data}`))";
        let lines = json!(json!(lines).to_string());
        self.until(&format!("{shown} === {lines}")).await;
    }

    /// Waits until all changes so far have been drawn.
    pub async fn until_drawn(&self) {
        let frame = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))";
        self.until(frame).await;
    }

    pub async fn type_in(&self, keys: &str) {
        let input = self.0.find(Locator::Id("input")).await.unwrap();
        input.send_keys(keys).await.unwrap();
    }

    pub async fn send(&self, text: &str) {
        self.type_in(&format!("{text}{}", Key::Enter)).await;
    }

    /// Puts a text into the input, as a paste does.
    pub async fn paste(&self, text: &str) {
        let insert = format!("document.execCommand('insertText', false, {})", json!(text));
        self.ask(&format!("(input.focus(), {insert})")).await;
    }

    pub async fn click(&self, css: &str) {
        self.0.find(Locator::Css(css)).await.unwrap().click().await.unwrap();
    }

    /// Presses a key wherever the focus is.
    pub async fn press(&self, key: impl Into<char>) {
        let value = key.into();
        let keys = KeyActions::new("keys".into());
        let press = keys.then(KeyAction::Down { value }).then(KeyAction::Up { value });
        self.0.perform_actions(press).await.unwrap();
    }
}
