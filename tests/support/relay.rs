//! A TCP relay between a client and a server: as slow, as lossy or as broken as a test wants it.

use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::{interval, sleep};

/// How bytes get through, in one direction.
#[derive(Clone, Copy, PartialEq)]
pub enum Flow {
    Open,
    /// At this many bytes a second.
    Rate(usize),
    /// They wait.
    Hold,
    /// They get lost.
    Lose,
    /// All connections are closed, new ones at once.
    Cut,
}

/// What the relay does with an HTTP request, the first on its connection.
pub enum Action {
    /// Sends it on, with this head, and then all bytes of both sides.
    Forward(String),
    /// Answers by itself: a status line, headers if there are any, and a body behind an empty line.
    Reply(String),
    /// Never answers.
    Hang,
    /// Lets the WebSocket be opened, and then cuts the connection without a close frame.
    Drop,
}

pub struct Relay {
    pub address: String,
    pub to_server: watch::Sender<Flow>,
    pub to_client: watch::Sender<Flow>,
    /// The head of each HTTP request.
    heads: mpsc::UnboundedReceiver<String>,
}

type Decide = dyn Fn(&str) -> Action + Send + Sync;

impl Relay {
    /// Passes on bytes, whatever they are.
    pub async fn start(server: &str) -> Relay {
        Relay::with(server, None).await
    }

    /// Passes on HTTP, as `decide` says for each head of a request.
    pub async fn http(
        server: &str,
        decide: impl Fn(&str) -> Action + Send + Sync + 'static,
    ) -> Relay {
        Relay::with(server, Some(Arc::new(decide))).await
    }

    async fn with(server: &str, decide: Option<Arc<Decide>>) -> Relay {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (to_server, to_client) = (
            watch::Sender::new(Flow::Open),
            watch::Sender::new(Flow::Open),
        );
        let (seen, heads) = mpsc::unbounded_channel();
        let connection = Connection {
            server: server.to_owned(),
            decide,
            seen,
            to_server: to_server.subscribe(),
            to_client: to_client.subscribe(),
        };
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(connection.clone().serve(client));
            }
        });
        Relay {
            address,
            to_server,
            to_client,
            heads,
        }
    }

    /// Waits for `count` heads that begin with `start`. Returns them, and those in between.
    pub async fn requests(&mut self, start: &str, mut count: usize) -> Vec<String> {
        let mut heads = Vec::new();
        while count > 0 {
            let head = self.heads.recv().await.unwrap();
            count -= usize::from(head.starts_with(start));
            heads.push(head);
        }
        heads
    }
}

#[derive(Clone)]
struct Connection {
    server: String,
    decide: Option<Arc<Decide>>,
    seen: mpsc::UnboundedSender<String>,
    to_server: watch::Receiver<Flow>,
    to_client: watch::Receiver<Flow>,
}

impl Connection {
    async fn serve(self, mut client: TcpStream) -> Option<()> {
        let Some(decide) = &self.decide else {
            let server = self.connect().await?;
            return self.relay(client, server).await;
        };
        let head = read_head(&mut client).await?;
        let _ = self.seen.send(head.clone());
        match decide(&head) {
            Action::Forward(mut head) => {
                if !head.contains("Sec-WebSocket-Key") {
                    head = head.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
                }
                let mut server = self.connect().await?;
                server.write_all(head.as_bytes()).await.ok()?;
                self.relay(client, server).await
            }
            Action::Reply(reply) => {
                let (head, body) = reply.split_once("\r\n\r\n").unwrap_or((&reply, ""));
                let length = body.len();
                let reply = format!(
                    "HTTP/1.1 {head}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
                );
                client.write_all(reply.as_bytes()).await.ok()
            }
            Action::Hang => std::future::pending().await,
            Action::Drop => {
                let mut server = self.connect().await?;
                server.write_all(head.as_bytes()).await.ok()?;
                let head = read_head(&mut server).await?;
                client.write_all(head.as_bytes()).await.ok()?;
                sleep(Duration::from_millis(100)).await; // or Firefox doesn't consider it open
                Some(())
            }
        }
    }

    /// Its kernel takes little beyond what gets through, so that the server notices a slow flow soon.
    async fn connect(&self) -> Option<TcpStream> {
        let socket = TcpSocket::new_v4().ok()?;
        socket.set_recv_buffer_size(32 * 1024).ok()?;
        socket.connect(self.server.parse().ok()?).await.ok()
    }

    async fn relay(mut self, mut client: TcpStream, mut server: TcpStream) -> Option<()> {
        for stream in [&client, &server] {
            stream.set_nodelay(true).ok()?;
        }
        let (mut from_client, mut to_client) = client.split();
        let (mut from_server, mut to_server) = server.split();
        let (up, down) = (self.to_server.clone(), self.to_client.clone());
        tokio::select! {
            _ = self.to_server.wait_for(|flow| *flow == Flow::Cut) => {}
            _ = self.to_client.wait_for(|flow| *flow == Flow::Cut) => {}
            _ = pass(&mut from_client, &mut to_server, up) => {}
            _ = pass(&mut from_server, &mut to_client, down) => {}
        }
        Some(())
    }
}

async fn pass(
    from: &mut (impl AsyncReadExt + Unpin),
    to: &mut (impl AsyncWriteExt + Unpin),
    mut flow: watch::Receiver<Flow>,
) -> Option<()> {
    let mut buffer = vec![0; 64 * 1024];
    let mut ticks = interval(Duration::from_millis(10));
    loop {
        let now = *flow.borrow_and_update();
        let most = match now {
            Flow::Rate(bytes) => {
                ticks.tick().await;
                bytes.div_ceil(100)
            }
            _ => buffer.len(),
        };
        let count = tokio::select! {
            changed = flow.changed() => {
                changed.ok()?;
                continue;
            }
            count = from.read(&mut buffer[..most]), if now != Flow::Hold => count.ok()?,
        };
        if count == 0 {
            return None;
        }
        if now != Flow::Lose {
            to.write_all(&buffer[..count]).await.ok()?;
        }
    }
}

async fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    String::from_utf8(head).ok()
}
