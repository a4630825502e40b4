//! Clients that talk to a server over real sockets.

use super::frames::{TEXT, frame};
use super::within;
use futures_util::{SinkExt, Stream, StreamExt};
use std::io::{Read, Write};
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

pub type Socket = WebSocketStream<TcpStream>;

/// What a client receives: a `Socket`, or its reading half.
pub trait Receive: Stream<Item = Result<Message, Error>> + Unpin + Send {}
impl<T: Stream<Item = Result<Message, Error>> + Unpin + Send> Receive for T {}

pub async fn connect(address: &str) -> TcpStream {
    let stream = within(TcpStream::connect(address)).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

pub async fn upgrade(address: &str, stream: TcpStream) -> Socket {
    let upgrade = client_async(format!("ws://{address}/ws"), stream);
    within(upgrade).await.expect("the upgrade should be done").0
}

/// The status that answers an upgrade with this `Host` and, if given, this `Origin`.
pub async fn upgrade_status(address: &str, host: &str, origin: Option<&str>) -> u16 {
    let mut request = format!("ws://{address}/ws").into_client_request().unwrap();
    let headers = request.headers_mut();
    headers.insert("host", host.parse().unwrap());
    if let Some(origin) = origin {
        headers.insert("origin", origin.parse().unwrap());
    }
    let answer = match within(client_async(request, connect(address).await)).await {
        Ok((_, response)) => response.status(),
        Err(Error::Http(response)) => response.status(),
        Err(error) => panic!("{host} and {origin:?}: {error}"),
    };
    answer.as_u16()
}

pub async fn send(sink: &mut (impl SinkExt<Message> + Unpin), text: impl Into<String>) {
    let sent = within(sink.send(Message::text(text.into()))).await;
    assert!(sent.is_ok(), "the connection has ended");
}

/// The next text message.
pub async fn receive(stream: &mut impl Receive) -> String {
    let text = async {
        loop {
            let message = stream.next().await.expect("still connected");
            match message.expect("no error") {
                Message::Text(text) => return text.as_str().to_owned(),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("expected a text message, not {other:?}"),
            }
        }
    };
    within(text).await
}

/// Code and reason of the server's close frame; messages before it are skipped.
pub async fn close_frame(stream: &mut impl Receive) -> (u16, String) {
    let close = async {
        loop {
            let message = stream.next().await.expect("a close frame");
            if let Message::Close(frame) = message.expect("no error") {
                let frame = frame.expect("a code");
                return (frame.code.into(), frame.reason.as_str().to_owned());
            }
        }
    };
    within(close).await
}

/// Everything that still comes until the server closes, without a reset.
pub async fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    let end = within(stream.read_to_end(&mut rest)).await;
    end.expect("an end, and no reset");
    rest
}

/// Reads no more than so many bytes a second, also after a pause.
pub fn drain_at(rate: f64, mut stream: std::net::TcpStream) {
    std::thread::spawn(move || {
        let (mut some, mut due) = (vec![0; 16 * 1024], Instant::now());
        while let Ok(count @ 1..) = stream.read(&mut some) {
            let late = Duration::from_millis(100); // as a busy machine makes this thread
            due = due.max(Instant::now() - late) + Duration::from_secs_f64(count as f64 / rate);
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
    });
}

/// Sends bytes again and again, as fast as it can, in a thread of its own.
pub fn flood(mut stream: std::net::TcpStream, bytes: Vec<u8>) {
    std::thread::spawn(move || while stream.write_all(&bytes).is_ok() {});
}

/// Sends messages of `length` bytes as fast as it can, and reads what comes.
pub fn shout(client: Socket, length: usize) {
    let stream = blocking(client.into_inner());
    drain_at(f64::INFINITY, stream.try_clone().unwrap());
    flood(stream, frame(TEXT, vec![b'x'; length]).repeat(1 + 65_536 / (length + 1)));
}

/// For threads: they leave this one to the tests' own clients.
pub fn blocking(stream: TcpStream) -> std::net::TcpStream {
    let stream = stream.into_std().unwrap();
    stream.set_nonblocking(false).unwrap();
    stream
}

/// Sends the numbers from 0 to `count`, each padded with dots to `length` bytes.
pub async fn send_numbers(sink: &mut (impl SinkExt<Message> + Unpin), count: usize, length: usize) {
    for number in 0..count {
        send(sink, format!("{number:.<length$}")).await;
    }
}

/// Receives these numbers, each once and in order.
pub async fn receive_numbers(stream: &mut impl Receive, count: usize) {
    for expected in 0..count {
        let text = receive(stream).await;
        let number: usize = text.trim_end_matches('.').parse().unwrap();
        assert_eq!(number, expected, "a message was lost, or came out of order");
    }
}

/// The same in a task of its own.
pub fn spawn_numbers(mut stream: impl Receive + 'static, count: usize) -> JoinHandle<()> {
    tokio::spawn(async move { receive_numbers(&mut stream, count).await })
}

/// The longest of `count` round trips.
pub async fn round_trips(client: &mut Socket, count: usize) -> Duration {
    let mut longest = Duration::ZERO;
    for number in 0..count {
        let began = Instant::now();
        send(client, number.to_string()).await;
        assert_eq!(receive(client).await, number.to_string());
        longest = longest.max(began.elapsed());
    }
    longest
}
