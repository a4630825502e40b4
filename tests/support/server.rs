//! One real server for each test, on a port of its own.

use super::*;
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ExitStatus};
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::net::TcpSocket;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

pub struct Server {
    pub process: Process,
    /// `127.0.0.1:PORT`, from the URL on the first line of standard output.
    pub address: String,
    /// The lines of standard error.
    pub log: UnboundedReceiver<String>,
}

/// A program that is killed when this is dropped.
pub struct Process(pub Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Server {
    pub async fn start() -> Server {
        Server::start_by(&mut chat(&["127.0.0.1:0"])).await
    }

    /// Starts a program whose first line is its URL.
    pub async fn start_by(command: &mut Command) -> Server {
        let mut process = start(command);
        let mut stdout = lines(process.0.stdout.take().unwrap());
        let url = within(stdout.recv()).await.expect("a first line");
        let address = url.strip_prefix("http://").expect("a URL");
        Server::at(address.to_owned(), process)
    }

    /// Starts a program that can't choose a free port by itself, and gets one as its variable `ADDRESS`.
    pub async fn start_at_address(command: &mut Command) -> Server {
        let address = free_address();
        let process = start(command.env("ADDRESS", &address));
        listens(&address).await;
        Server::at(address, process)
    }

    /// A program that listens at `address`.
    pub fn at(address: String, mut process: Process) -> Server {
        let log = lines(process.0.stderr.take().unwrap());
        Server { process, address, log }
    }

    /// A new client, already upgraded.
    pub async fn join(&self) -> Socket {
        upgrade(&self.address, self.connect().await).await
    }

    /// A client whose kernel takes little, so that it's stuck soon after it stops reading.
    pub async fn join_stuck(&self) -> Socket {
        self.join_with_buffer(4 * 1024).await
    }

    /// A client whose kernel takes little beyond what it reads, but enough for it to read steadily.
    pub async fn join_slow(&self) -> Socket {
        self.join_with_buffer(32 * 1024).await
    }

    async fn join_with_buffer(&self, bytes: u32) -> Socket {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(bytes).unwrap();
        let connect = socket.connect(self.address.parse().unwrap());
        upgrade(&self.address, within(connect).await.unwrap()).await
    }

    pub async fn connect(&self) -> TcpStream {
        connect(&self.address).await
    }

    /// Sends a request line with the usual headers, and returns everything that comes back.
    pub async fn http(&self, request: &str) -> String {
        let mut stream = self.connect().await;
        let request = format!("{request} HTTP/1.1\r\nHost: chat\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        within(stream.read_to_string(&mut answer)).await.unwrap();
        answer
    }

    /// Waits for a line on the terminal that contains `part`.
    pub async fn logs(&mut self, part: &str) -> String {
        loop {
            let line = within(self.log.recv()).await.expect("it has ended");
            if line.contains(part) {
                return line;
            }
        }
    }

    pub fn assert_all_stayed(&mut self) {
        while let Ok(line) = self.log.try_recv() {
            assert!(line.contains("joined"), "{line}");
        }
    }

    pub async fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.process.0.id());
        let status = Command::new("sh").args(["-c", &kill]).status();
        assert!(status.unwrap().success());
    }

    pub async fn exit(&mut self) -> ExitStatus {
        until(|| self.process.0.try_wait().unwrap().is_some()).await;
        self.process.0.wait().unwrap()
    }

    /// How much memory it takes now, in KiB. Resets its peak (proc_pid_clear_refs(5)).
    pub fn memory(&self) -> usize {
        fs::write(self.proc("clear_refs"), "5").unwrap();
        self.status("VmRSS")
    }

    /// By how much its peak exceeds what it took `before`, in KiB.
    pub fn grown(&self, before: usize) -> usize {
        self.status("VmHWM").saturating_sub(before)
    }

    pub fn status(&self, field: &str) -> usize {
        let status = fs::read_to_string(self.proc("status")).unwrap();
        let line = status.lines().find(|line| line.starts_with(field)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    pub fn descriptors(&self) -> usize {
        fs::read_dir(self.proc("fd")).unwrap().count()
    }

    fn proc(&self, file: &str) -> String {
        format!("/proc/{}/{file}", self.process.0.id())
    }
}

pub fn start(command: &mut Command) -> Process {
    Process(command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}")))
}

/// The lines of an output, as they come.
fn lines(output: impl Read + Send + 'static) -> UnboundedReceiver<String> {
    let (lines, received) = unbounded_channel();
    std::thread::spawn(move || {
        BufReader::new(output).lines().map_while(Result::ok).for_each(|line| drop(lines.send(line)));
    });
    received
}

/// The program, to be started in a folder without its files.
pub fn chat(arguments: &[&str]) -> Command {
    program(built_chat(), arguments)
}

pub fn program(path: impl AsRef<OsStr>, arguments: &[&str]) -> Command {
    let mut command = Command::new(path);
    command.args(arguments).current_dir(std::env::temp_dir());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// An address where nobody listens. Nobody else gets its port by chance: it is below the ephemeral ones (ip(7),
/// `ip_local_port_range`).
pub fn free_address() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    loop {
        let next = std::process::id() as usize * 16 + NEXT.fetch_add(1, Ordering::Relaxed);
        let address = format!("127.0.0.1:{}", 20_000 + next % 10_000);
        if std::net::TcpListener::bind(&address).is_ok() {
            return address;
        }
    }
}

pub async fn listens(address: &str) {
    until(|| std::net::TcpStream::connect(address).is_ok()).await;
}
