//! One real server for each test, on a port of its own, and clients that talk to it over real sockets.

use futures_util::{SinkExt, Stream, StreamExt};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

/// How long anything may take that has no time of its own: a test that waits longer has failed.
pub const LIMIT: Duration = Duration::from_secs(20);

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
        let mut child = command.spawn().expect("the server should start");
        let mut stdout = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut stderr = BufReader::new(child.stderr.take().unwrap()).lines();
        let url = within(stdout.next_line())
            .await
            .unwrap()
            .expect("a first line");
        let address = url.strip_prefix("http://").expect("a URL").to_owned();
        let (lines, terminal) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok(Some(line)) = stderr.next_line().await {
                let _ = lines.send(line);
            }
        });
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

    /// A line of `/proc/PID/status`, in KiB: `VmRSS`, or its peak `VmHWM`.
    #[cfg(target_os = "linux")]
    pub fn memory(&self, field: &str) -> usize {
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
    let mut command = Command::new(env!("CARGO_BIN_EXE_chat"));
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
            Message::Ping(_) => {}
            other => panic!("expected a text message, not {other:?}"),
        }
    }
}

/// What the server's close frame says: code and reason; text messages before it are passed over.
pub async fn goodbye(
    socket: &mut (impl Stream<Item = Result<Message, Error>> + Unpin),
) -> Option<(u16, String)> {
    loop {
        match within(socket.next())
            .await
            .expect("a close frame")
            .expect("no error")
        {
            Message::Close(frame) => {
                return frame.map(|frame| (frame.code.into(), frame.reason.as_str().to_owned()));
            }
            _ => continue,
        }
    }
}
