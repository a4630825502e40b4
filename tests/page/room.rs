//! The tests' own room: with another page, longer texts, or a change that a learner may make.

use futures_util::{SinkExt, StreamExt};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;
use tokio_tungstenite::accept_async;
use tokio_tungstenite::tungstenite::Message;

pub const PAGE: &str = include_str!("../../index.html");

/// The page with a line, or part of one, replaced.
pub fn page_with(before: &str, after: &str) -> String {
    assert!(PAGE.contains(before), "not in index.html: {before}");
    PAGE.replace(before, after)
}

/// What a client receives when a client has sent a text; `true` for the sender itself.
type Change = fn(&str, bool) -> Option<String>;

pub struct Room {
    pub address: String,
    texts: broadcast::Sender<(usize, String)>,
}

impl Room {
    /// The program's own behaviour, without its limits.
    pub async fn plain() -> Room {
        Room::start(PAGE, |text, _| Some(text.to_owned())).await
    }

    pub async fn start(page: impl Into<String>, change: Change) -> Room {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let room = Room {
            address: listener.local_addr().unwrap().to_string(),
            texts: broadcast::Sender::new(1000),
        };
        let (texts, page) = (room.texts.clone(), Arc::new(page.into()));
        tokio::spawn(async move {
            for id in 1.. {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, id, texts.clone(), change, page.clone()));
            }
        });
        room
    }

    /// As another client would.
    pub fn send(&self, text: &str) {
        let (nobody, text) = (0, text.to_owned());
        self.texts.send((nobody, text)).unwrap();
    }
}

async fn serve(
    mut stream: TcpStream,
    id: usize,
    texts: broadcast::Sender<(usize, String)>,
    change: Change,
    page: Arc<String>,
) -> Option<()> {
    let mut head = [0; 4096];
    let length = stream.peek(&mut head).await.ok()?;
    if !head.starts_with(b"GET /ws") {
        let _ = stream.read(&mut head[..length]).await;
        let body = if head.starts_with(b"HEAD") { "" } else { &page };
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            page.len()
        );
        return stream.write_all(answer.as_bytes()).await.ok();
    }
    let mut socket = accept_async(stream).await.ok()?;
    let mut received = texts.subscribe();
    loop {
        tokio::select! {
            message = socket.next() => {
                if let Message::Text(text) = message?.ok()? {
                    texts.send((id, text.as_str().to_owned())).ok()?;
                }
            }
            Ok((from, text)) = received.recv() => {
                if let Some(text) = change(&text, from == id) {
                    socket.send(Message::text(text)).await.ok()?;
                }
            }
        }
    }
}
