//! A TCP relay between a client and a server: as slow, as lossy or as broken as a test wants it.

use super::*;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::{mpsc, watch};

/// How bytes get through, in one direction.
#[derive(Clone, Copy, PartialEq)]
pub enum Flow {
    Open,
    /// At this many bytes a second.
    Rate(usize),
    Hold,
    Lose,
    /// All connections are closed, new ones at once.
    Cut,
}

/// What the relay does with an HTTP request, the first on its connection, instead of passing it on as it is.
pub enum Action {
    /// Passes it on with this head.
    Change(String),
    /// Answers by itself: a status line, headers if there are any, and a body behind an empty line.
    Reply(String),
    Hang,
}

pub struct Relay {
    pub address: String,
    pub to_server: watch::Sender<Flow>,
    pub to_client: watch::Sender<Flow>,
    /// Whether `decide` is asked.
    pub decides: watch::Sender<bool>,
    /// The head of each HTTP request.
    heads: mpsc::UnboundedReceiver<String>,
}

type Decide = dyn Fn(&str) -> Option<Action> + Send + Sync;

impl Relay {
    /// Passes on bytes, whatever they are.
    pub async fn start(server: &str) -> Relay {
        Relay::with(server, None).await
    }

    /// Passes on HTTP, unless `decide` says something else for the head of a request.
    pub async fn http(server: &str, decide: impl Fn(&str) -> Option<Action> + Send + Sync + 'static) -> Relay {
        Relay::with(server, Some(Arc::new(decide))).await
    }

    async fn with(server: &str, decide: Option<Arc<Decide>>) -> Relay {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (to_server, up) = watch::channel(Flow::Open);
        let (to_client, down) = watch::channel(Flow::Open);
        let (decides, asks) = watch::channel(true);
        let (seen, heads) = mpsc::unbounded_channel();
        let server = server.to_owned();
        let connection = Connection { server, decide, asks, seen, up, down };
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(connection.clone().serve(client));
            }
        });
        Relay { address, to_server, to_client, decides, heads }
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
    asks: watch::Receiver<bool>,
    seen: mpsc::UnboundedSender<String>,
    up: watch::Receiver<Flow>,
    down: watch::Receiver<Flow>,
}

impl Connection {
    async fn serve(self, mut client: TcpStream) -> Option<()> {
        let mut head = String::new();
        if let Some(decide) = &self.decide {
            head = read_head(&mut client).await?;
            let _ = self.seen.send(head.clone());
            match decide(&head).filter(|_| *self.asks.borrow()) {
                None => {}
                Some(Action::Change(changed)) => head = changed,
                Some(Action::Hang) => std::future::pending().await,
                Some(Action::Reply(reply)) => {
                    let (head, body) = reply.split_once("\r\n\r\n").unwrap_or((&reply, ""));
                    let length = format!("Content-Length: {}\r\nConnection: close", body.len());
                    let reply = format!("HTTP/1.1 {head}\r\n{length}\r\n\r\n{body}");
                    return client.write_all(reply.as_bytes()).await.ok();
                }
            }
            if !head.contains("Sec-WebSocket-Key") {
                head = head.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
            }
        }
        let mut server = TcpStream::connect(&self.server).await.ok()?;
        server.write_all(head.as_bytes()).await.ok()?;
        client.set_nodelay(true).ok()?;
        server.set_nodelay(true).ok()?;
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        tokio::select! {
            end = pass(from_client, to_server, self.up) => end,
            end = pass(from_server, to_client, self.down) => end,
        }
    }
}

/// Ends when one side ends, or the flow is cut.
async fn pass(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, mut flow: watch::Receiver<Flow>) -> Option<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let now = *flow.borrow_and_update();
        let (pause, most) = match now {
            Flow::Cut => return None,
            Flow::Rate(bytes) => (Duration::from_millis(100), bytes.div_ceil(10)),
            _ => (Duration::ZERO, buffer.len()),
        };
        sleep(pause).await;
        tokio::select! {
            changed = flow.changed() => changed.ok()?,
            count = from.read(&mut buffer[..most]), if now != Flow::Hold => match count.ok()? {
                0 => return None,
                _ if now == Flow::Lose => {}
                count => to.write_all(&buffer[..count]).await.ok()?,
            },
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
