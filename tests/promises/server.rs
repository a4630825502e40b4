//! One real server for each test, on a port of its own, and clients that talk to it over real sockets.

use futures_util::{SinkExt, Stream, StreamExt};
use std::ffi::OsStr;
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use tokio::process::{Child, Command};
use tokio::sync::{Mutex, mpsc};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

/// How long anything may take that has no time of its own: a test that waits longer has failed.
pub const LIMIT: Duration = Duration::from_secs(20);

/// How long a goodbye may take to arrive, and a connection to end behind it: the program waits 2 s, the rest is for a
/// machine that is loaded.
pub const FAREWELL: Duration = Duration::from_secs(4);

/// Held by tests that load the machine, and by those that promise something in seconds: one doesn't slow down the other.
/// The clients of the former run in threads: in one, a client that has much to read would keep the others from reading.
pub static LOAD: Mutex<()> = Mutex::const_new(());

pub type Socket = WebSocketStream<TcpStream>;

pub struct Server {
    pub child: Child,
    /// `127.0.0.1:PORT`, as the URL on the first line of standard output names it.
    pub address: String,
    /// What it says on the terminal, line by line.
    pub terminal: mpsc::UnboundedReceiver<String>,
}

impl Server {
    pub async fn start() -> Server {
        Server::start_by(&mut chat(&["127.0.0.1:0"])).await
    }

    pub async fn start_by(command: &mut Command) -> Server {
        Server::of(command.spawn().expect("the server should start")).await
    }

    /// Of a program that says its URL in its first line.
    pub async fn of(mut child: Child) -> Server {
        let mut stdout = BufReader::new(child.stdout.take().unwrap()).lines();
        let url = within(stdout.next_line()).await.unwrap();
        let url = url.expect("a first line");
        let address = url.strip_prefix("http://").expect("a URL").to_owned();
        Server::at(address, child)
    }

    /// Of a program that listens at `address`.
    pub fn at(address: String, mut child: Child) -> Server {
        let (lines, terminal) = mpsc::unbounded_channel();
        if let Some(stderr) = child.stderr.take() {
            tokio::spawn(async move {
                let mut stderr = BufReader::new(stderr).lines();
                while let Ok(Some(line)) = stderr.next_line().await {
                    let _ = lines.send(line);
                }
            });
        }
        Server {
            child,
            address,
            terminal,
        }
    }

    /// A new client, from the moment when its upgrade is done.
    pub async fn join(&self) -> Socket {
        self.upgrade(self.connect().await).await
    }

    pub async fn upgrade(&self, stream: TcpStream) -> Socket {
        let upgrade = client_async(format!("ws://{}/ws", self.address), stream);
        within(upgrade).await.expect("the upgrade should be done").0
    }

    pub async fn connect(&self) -> TcpStream {
        let stream = within(TcpStream::connect(&self.address)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// A connection whose kernel takes little beside what is read.
    pub async fn connect_with_buffer(&self, bytes: u32) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(bytes).unwrap();
        let address = self.address.parse().unwrap();
        within(socket.connect(address)).await.unwrap()
    }

    /// Sends a request as it stands and returns all that comes back until the server closes.
    pub async fn http(&self, request: &str) -> String {
        let mut stream = self.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        within(stream.read_to_string(&mut answer)).await.unwrap();
        answer
    }

    /// Waits for a line on the terminal that contains `part`.
    pub async fn says(&mut self, part: &str) -> String {
        loop {
            let line = within(self.terminal.recv())
                .await
                .expect("the terminal has ended");
            if line.contains(part) {
                return line;
            }
        }
    }

    #[cfg(unix)]
    pub async fn signal(&self, name: &str) {
        assert!(signal(name, &self.child.id().unwrap().to_string()).await);
    }

    pub async fn exit(&mut self) -> ExitStatus {
        within(self.child.wait()).await.unwrap()
    }

    /// What memory it takes now, in KiB. Its peak is counted anew from here on (proc_pid_clear_refs(5)).
    #[cfg(target_os = "linux")]
    pub fn memory(&self) -> usize {
        let clear = format!("/proc/{}/clear_refs", self.child.id().unwrap());
        std::fs::write(clear, "5").unwrap();
        self.status("VmRSS")
    }

    /// By how much its peak is above what it took `before`, in KiB.
    #[cfg(target_os = "linux")]
    pub fn grown(&self, before: usize) -> usize {
        self.status("VmHWM").saturating_sub(before)
    }

    #[cfg(target_os = "linux")]
    fn status(&self, field: &str) -> usize {
        let status = format!("/proc/{}/status", self.child.id().unwrap());
        let status = std::fs::read_to_string(status).unwrap();
        let line = status.lines().find(|line| line.starts_with(field)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    #[cfg(target_os = "linux")]
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id().unwrap()))
            .unwrap()
            .count()
    }

    /// Waits until no more than `count` descriptors are open.
    #[cfg(target_os = "linux")]
    pub async fn settle(&self, count: usize) {
        let settled = async {
            while self.descriptors() > count {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        within(settled).await;
    }
}

/// Sends a signal to a process; whether that could be done.
#[cfg(unix)]
pub async fn signal(name: &str, target: &str) -> bool {
    let kill = format!("kill -{name} {target}");
    let status = Command::new("sh").args(["-c", &kill]).status().await;
    status.unwrap().success()
}

/// The program, to be started in a folder where none of its files are.
pub fn chat(arguments: &[&str]) -> Command {
    program(env!("CARGO_BIN_EXE_chat"), arguments)
}

pub fn program(path: impl AsRef<OsStr>, arguments: &[&str]) -> Command {
    let mut command = Command::new(path);
    command
        .args(arguments)
        .current_dir(std::env::temp_dir())
        .kill_on_drop(true);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// An address where nobody listens, for a program that can't choose a free port by itself.
pub fn free_address() -> String {
    format!("127.0.0.1:{}", free_port())
}

/// A port that nobody is given by chance before it is used: it lies below those (ip(7), `ip_local_port_range`).
pub fn free_port() -> u16 {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    loop {
        let next = std::process::id() as usize * 16 + NEXT.fetch_add(1, Ordering::Relaxed);
        let port = 20_000 + (next % 10_000) as u16;
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Waits until a program listens there.
pub async fn listens(address: &str) {
    let listens = async {
        while TcpStream::connect(address).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    within(listens).await;
}

pub async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future)
        .await
        .expect("it took too long")
}

pub async fn say(socket: &mut Socket, text: impl Into<String>) {
    within(socket.send(Message::text(text.into())))
        .await
        .expect("it can still be sent to");
}

/// The next text message.
pub async fn hear(socket: &mut Socket) -> String {
    loop {
        match within(socket.next())
            .await
            .expect("still connected")
            .expect("no error")
        {
            Message::Text(text) => return text.as_str().to_owned(),
            Message::Ping(_) | Message::Pong(_) => {}
            other => panic!("expected a text message, not {other:?}"),
        }
    }
}

/// What the server's close frame says: code and reason; text messages before it are passed over.
pub async fn goodbye(
    socket: &mut (impl Stream<Item = Result<Message, Error>> + Unpin),
) -> Option<(u16, String)> {
    let close = async {
        loop {
            let message = socket.next().await.expect("a close frame");
            if let Message::Close(frame) = message.expect("no error") {
                return frame.map(|frame| (frame.code.into(), frame.reason.as_str().to_owned()));
            }
        }
    };
    let close = tokio::time::timeout(FAREWELL, close).await;
    close.expect("a goodbye in time")
}

/// A client whose kernel takes little, so that it's stuck soon after it has stopped reading.
pub async fn join_with_small_buffer(server: &Server) -> Socket {
    let stream = server.connect_with_buffer(4096).await;
    server.upgrade(stream).await
}

/// Hears the numbers from 0 on, each once and in order; returns the longest time between two.
pub async fn hear_all(
    stream: &mut (impl Stream<Item = Result<Message, Error>> + Unpin),
    count: usize,
) -> Duration {
    let (mut longest, mut last) = (Duration::ZERO, Instant::now());
    for expected in 0..count {
        let message = within(stream.next()).await.expect("dropped").unwrap();
        let text = message.into_text().unwrap();
        let number: usize = text.trim_end_matches('.').parse().unwrap();
        assert_eq!(number, expected, "a message was lost, or came out of order");
        longest = longest.max(last.elapsed());
        last = Instant::now();
    }
    longest
}
