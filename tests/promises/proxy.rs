//! What may stand between a browser and its room: a proxy, as good or as bad as a test wants it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// What the proxy does with a request.
pub enum Answer {
    /// Sends it on, with this head.
    Pass(String),
    /// Answers by itself, with this status line and these headers.
    Say(&'static str),
    /// Never answers.
    Hang,
    /// Lets the WebSocket be opened, and closes it at once, without a word.
    Drop,
}

pub struct Proxy {
    pub address: String,
    /// The head of each request.
    heads: mpsc::UnboundedReceiver<String>,
    /// How many bytes a second it lets through to the server.
    pub upload: Arc<AtomicUsize>,
}

impl Proxy {
    pub async fn start(
        server: &str,
        manner: impl Fn(&str) -> Answer + Send + Sync + 'static,
    ) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let upload = Arc::new(AtomicUsize::new(usize::MAX));
        let (seen, heads) = mpsc::unbounded_channel();
        let (server, manner, pace) = (server.to_owned(), Arc::new(manner), upload.clone());
        tokio::spawn(async move {
            while let Ok((browser, _)) = listener.accept().await {
                let (server, manner, pace) = (server.clone(), manner.clone(), pace.clone());
                let seen = seen.clone();
                tokio::spawn(async move { serve(browser, &server, &*manner, &pace, &seen).await });
            }
        });
        Proxy {
            address,
            heads,
            upload,
        }
    }

    /// Waits until `count` heads have come that begin with `start`. Returns them all, and those in between.
    pub async fn until(&mut self, start: &str, mut count: usize) -> Vec<String> {
        let mut heads = Vec::new();
        while count > 0 {
            let head = self.heads.recv().await.unwrap();
            count -= usize::from(head.starts_with(start));
            heads.push(head);
        }
        heads
    }
}

/// Serves one connection, and one request in it.
async fn serve(
    mut browser: TcpStream,
    server: &str,
    manner: &(impl Fn(&str) -> Answer + Sync),
    pace: &AtomicUsize,
    seen: &mpsc::UnboundedSender<String>,
) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(browser.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).ok()?;
    let _ = seen.send(head.clone());
    match manner(&head) {
        Answer::Say(answer) => {
            let answer =
                format!("HTTP/1.1 {answer}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            browser.write_all(answer.as_bytes()).await.ok()
        }
        Answer::Hang => std::future::pending().await,
        Answer::Drop => {
            let mut room = TcpStream::connect(server).await.ok()?;
            room.write_all(head.as_bytes()).await.ok()?;
            let mut answer = Vec::new();
            while !answer.ends_with(b"\r\n\r\n") {
                answer.push(room.read_u8().await.ok()?);
            }
            browser.write_all(&answer).await.ok()?;
            tokio::time::sleep(Duration::from_millis(100)).await; // or Firefox doesn't call it open
            Some(())
        }
        Answer::Pass(head) => {
            let head = if head.contains("Sec-WebSocket-Key") {
                head
            } else {
                head.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n")
            };
            let mut room = TcpStream::connect(server).await.ok()?;
            room.write_all(head.as_bytes()).await.ok()?;
            let (mut from_room, mut to_room) = room.split();
            let (mut from_browser, mut to_browser) = browser.split();
            tokio::select! {
                _ = tokio::io::copy(&mut from_room, &mut to_browser) => {}
                _ = upload(&mut from_browser, &mut to_room, pace) => {}
            }
            Some(())
        }
    }
}

/// Passes on what a browser sends, as slowly as it is told to.
async fn upload(
    from: &mut (impl AsyncReadExt + Unpin),
    to: &mut (impl AsyncWriteExt + Unpin),
    pace: &AtomicUsize,
) -> Option<()> {
    let mut buffer = [0; 1024];
    loop {
        let count = from
            .read(&mut buffer)
            .await
            .ok()
            .filter(|&count| count > 0)?;
        match pace.load(Ordering::Relaxed) {
            usize::MAX => {}
            pace => tokio::time::sleep(Duration::from_secs(1) * count as u32 / pace as u32).await,
        }
        to.write_all(&buffer[..count]).await.ok()?;
    }
}
