//! Clients that talk to a server over real sockets.

use super::{CLOSE_LIMIT, within};
use futures_util::{SinkExt, Stream, StreamExt};
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{interval, sleep, timeout};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::Role;
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

/// A connection with a receive buffer this small, so that the kernel takes little beyond what is read.
pub async fn connect_with_buffer(address: &str, bytes: u32) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(bytes).unwrap();
    within(socket.connect(address.parse().unwrap()))
        .await
        .unwrap()
}

pub async fn upgrade(address: &str, stream: TcpStream) -> Socket {
    let upgrade = client_async(format!("ws://{address}/ws"), stream);
    within(upgrade).await.expect("the upgrade should be done").0
}

/// The WebSocket on an upgraded connection.
pub async fn socket_of(stream: TcpStream) -> Socket {
    WebSocketStream::from_raw_socket(stream, Role::Client, None).await
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
    loop {
        let message = within(stream.next()).await.expect("still connected");
        match message.expect("no error") {
            Message::Text(text) => return text.as_str().to_owned(),
            Message::Ping(_) | Message::Pong(_) => {}
            other => panic!("expected a text message, not {other:?}"),
        }
    }
}

/// Code and reason of the server's close frame; messages before it are skipped.
pub async fn close_frame(stream: &mut impl Receive) -> Option<(u16, String)> {
    let close = async {
        loop {
            let message = stream.next().await.expect("a close frame");
            if let Message::Close(frame) = message.expect("no error") {
                return frame.map(|frame| (frame.code.into(), frame.reason.as_str().to_owned()));
            }
        }
    };
    timeout(CLOSE_LIMIT, close)
        .await
        .expect("a close frame in time")
}

/// Everything that still comes until the server closes, which must be soon.
pub async fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    let end = timeout(CLOSE_LIMIT, stream.read_to_end(&mut rest)).await;
    end.expect("an end in time").expect("an end, and no reset");
    rest
}

/// Waits until the server's kernel has acknowledged everything the client sent.
pub async fn until_acknowledged(stream: &TcpStream) {
    let port = stream.local_addr().unwrap().port();
    within(async {
        while kernel_queues(1, port).0 > 0 {
            sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

/// Waits until the program has read everything the client sent.
pub async fn until_all_is_read(stream: &TcpStream) {
    let port = stream.local_addr().unwrap().port();
    within(async {
        while kernel_queues(1, port).0 + kernel_queues(2, port).1 > 0 {
            sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

/// How much waits to be sent and to be read on the connection with `port` in this column (proc_net_tcp(5)).
fn kernel_queues(column: usize, port: u16) -> (usize, usize) {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let end = format!(":{port:04X}");
    let mut lines = table.lines().map(|line| line.split_whitespace());
    let line = lines.find(|line| line.clone().nth(column).unwrap().ends_with(&end));
    let (sent, read) = line.unwrap().nth(4).unwrap().split_once(':').unwrap();
    let number = |digits| usize::from_str_radix(digits, 16).unwrap();
    (number(sent), number(read))
}

/// Reads, in a task of its own, whatever comes.
pub fn drain(mut stream: impl Receive + 'static) -> JoinHandle<()> {
    tokio::spawn(async move { while let Some(Ok(_)) = stream.next().await {} })
}

/// Sends messages of `length` bytes as fast as it can, and reads what comes, in tasks of their own.
pub fn shout(client: Socket, length: usize) {
    let (mut sink, stream) = client.split();
    drain(stream);
    let message = Message::text("x".repeat(length));
    tokio::spawn(async move { while sink.send(message.clone()).await.is_ok() {} });
}

/// Receives the numbers from 0 on, each once and in order; returns the longest time between two.
pub async fn receive_numbers(stream: &mut impl Receive, count: usize) -> Duration {
    let (mut longest, mut last) = (Duration::ZERO, Instant::now());
    for expected in 0..count {
        let text = receive(stream).await;
        let number: usize = text.trim_end_matches('.').parse().unwrap();
        assert_eq!(number, expected, "a message was lost, or came out of order");
        longest = longest.max(last.elapsed());
        last = Instant::now();
    }
    longest
}

/// The same in a task of its own.
pub fn spawn_numbers(mut stream: impl Receive + 'static, count: usize) -> JoinHandle<Duration> {
    tokio::spawn(async move { receive_numbers(&mut stream, count).await })
}

/// Sends the numbers from 0 to `count`, each padded with dots to `length` bytes, one every `pause`.
pub async fn send_numbers(
    sink: &mut (impl SinkExt<Message> + Unpin),
    count: usize,
    length: usize,
    pause: Duration,
) {
    let mut ticks = interval(pause.max(Duration::from_micros(1)));
    for number in 0..count {
        if !pause.is_zero() {
            ticks.tick().await;
        }
        send(sink, format!("{number:.<length$}")).await;
    }
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
