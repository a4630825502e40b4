//! One real server for each test, on a port of its own.

use super::client::{Socket, connect, connect_with_buffer, upgrade};
use super::{built_chat, within};
use std::ffi::OsStr;
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

pub struct Server {
    pub child: Child,
    /// `127.0.0.1:PORT`, from the URL on the first line of standard output.
    pub address: String,
    /// The lines of standard error.
    pub log: mpsc::UnboundedReceiver<String>,
}

impl Server {
    pub async fn start() -> Server {
        Server::start_by(&mut chat(&["127.0.0.1:0"])).await
    }

    pub async fn start_by(command: &mut Command) -> Server {
        Server::of(command.spawn().expect("the server should start")).await
    }

    /// From a program that can't choose a free port by itself, and gets one as its variable `ADDRESS`.
    pub async fn start_at_address(command: &mut Command) -> Server {
        let address = free_address();
        let child = command.env("ADDRESS", &address).spawn();
        listens(&address).await;
        Server::at(address, child.expect("the server should start"))
    }

    /// From a program whose first line is its URL.
    pub async fn of(mut child: Child) -> Server {
        let mut stdout = BufReader::new(child.stdout.take().unwrap()).lines();
        let url = within(stdout.next_line()).await.unwrap();
        let url = url.expect("a first line");
        let address = url.strip_prefix("http://").expect("a URL").to_owned();
        Server::at(address, child)
    }

    /// From a program that listens at `address`.
    pub fn at(address: String, mut child: Child) -> Server {
        let (lines, log) = mpsc::unbounded_channel();
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
            log,
        }
    }

    /// A new client, already upgraded.
    pub async fn join(&self) -> Socket {
        upgrade(&self.address, self.connect().await).await
    }

    /// A client with a small kernel buffer, so that it's stuck soon after it stops reading.
    pub async fn join_with_small_buffer(&self) -> Socket {
        upgrade(
            &self.address,
            connect_with_buffer(&self.address, 4096).await,
        )
        .await
    }

    pub async fn connect(&self) -> TcpStream {
        connect(&self.address).await
    }

    /// Sends a request unchanged and returns everything that comes back until the server closes.
    pub async fn http(&self, request: &str) -> String {
        let mut stream = self.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        within(stream.read_to_string(&mut answer)).await.unwrap();
        answer
    }

    pub async fn get(&self, path: &str) -> String {
        self.http(&format!(
            "GET {path} HTTP/1.1\r\nHost: chat\r\nConnection: close\r\n\r\n"
        ))
        .await
    }

    /// Waits for a line on the terminal that contains `part`.
    pub async fn logs(&mut self, part: &str) -> String {
        loop {
            let line = within(self.log.recv()).await;
            let line = line.expect("the server has ended");
            if line.contains(part) {
                return line;
            }
        }
    }

    /// Nobody has left, according to the terminal so far.
    pub fn assert_all_stayed(&mut self) {
        while let Ok(line) = self.log.try_recv() {
            assert!(line.contains("joined"), "{line}");
        }
    }

    pub async fn signal(&self, name: &str) {
        assert!(signal(name, &self.child.id().unwrap().to_string()).await);
    }

    pub async fn exit(&mut self) -> ExitStatus {
        within(self.child.wait()).await.unwrap()
    }

    /// How much memory it takes now, in KiB. Resets its peak (proc_pid_clear_refs(5)).
    pub fn memory(&self) -> usize {
        std::fs::write(self.proc("clear_refs"), "5").unwrap();
        self.status("VmRSS")
    }

    /// By how much its peak exceeds what it took `before`, in KiB.
    pub fn grown(&self, before: usize) -> usize {
        self.status("VmHWM").saturating_sub(before)
    }

    fn status(&self, field: &str) -> usize {
        let status = std::fs::read_to_string(self.proc("status")).unwrap();
        let line = status.lines().find(|line| line.starts_with(field)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// Its CPU time, in hundredths of a second (proc_pid_stat(5)).
    pub fn cpu_time(&self) -> Duration {
        let stat = std::fs::read_to_string(self.proc("stat")).unwrap();
        let fields = stat.rsplit(") ").next().unwrap().split(' ');
        let ticks: u64 = fields
            .skip(11)
            .take(2)
            .map(|ticks| ticks.parse::<u64>().unwrap())
            .sum();
        Duration::from_millis(10 * ticks)
    }

    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(self.proc("fd")).unwrap().count()
    }

    fn proc(&self, file: &str) -> String {
        format!("/proc/{}/{file}", self.child.id().unwrap())
    }

    /// Waits until no more than `count` descriptors are open.
    pub async fn settle(&self, count: usize) {
        within(async {
            while self.descriptors() > count {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
    }
}

/// Sends a signal to a process; returns whether that worked.
pub async fn signal(name: &str, target: &str) -> bool {
    let kill = format!("kill -{name} {target}");
    let status = Command::new("sh").args(["-c", &kill]).status().await;
    status.unwrap().success()
}

/// The program, to be started in a folder without its files.
pub fn chat(arguments: &[&str]) -> Command {
    program(built_chat(), arguments)
}

pub fn program(path: impl AsRef<OsStr>, arguments: &[&str]) -> Command {
    let mut command = Command::new(path);
    command
        .args(arguments)
        .current_dir(std::env::temp_dir())
        .kill_on_drop(true)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// An address where nobody listens, for a program that can't choose a free port by itself.
pub fn free_address() -> String {
    format!("127.0.0.1:{}", free_port())
}

/// A port that nobody else gets by chance: it is below the ephemeral ones (ip(7), `ip_local_port_range`).
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
    within(async {
        while TcpStream::connect(address).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}
