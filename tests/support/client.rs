//! Clients that talk to a server over real sockets, and what holds for a room, whether it is on one server or several.

use super::*;
use futures_util::Stream;
use std::io::{Read, Write};

pub type Socket = WebSocketStream<TcpStream>;

pub async fn connect(address: &str) -> TcpStream {
    let stream = within(TcpStream::connect(address)).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

pub async fn upgrade(address: &str, stream: TcpStream) -> Socket {
    within(client_async(format!("ws://{address}/ws"), stream)).await.expect("the upgrade should be done").0
}

/// What follows the first lines of an upgrade.
pub const UPGRADE: &str = "Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                           Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";

/// The status that answers an upgrade with this `Host` and, if given, this `Origin`.
pub async fn upgrade_status(address: &str, host: &str, origin: Option<&str>) -> u16 {
    let origin = origin.map_or_else(String::new, |origin| format!("Origin: {origin}\r\n"));
    let request = format!("GET /ws HTTP/1.1\r\nHost: {host}\r\n{origin}{UPGRADE}");
    let (mut stream, mut start) = (connect(address).await, *b"HTTP/1.1 101");
    stream.write_all(request.as_bytes()).await.unwrap();
    within(stream.read_exact(&mut start)).await.unwrap();
    String::from_utf8_lossy(&start[9..]).parse().unwrap()
}

pub async fn send(sink: &mut (impl SinkExt<Message> + Unpin), text: impl Into<String>) {
    assert!(within(sink.send(Message::text(text.into()))).await.is_ok(), "the connection has ended");
}

/// The next text message.
pub async fn receive(stream: &mut (impl Stream<Item = Result<Message, Error>> + Unpin)) -> String {
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

pub async fn hears(client: &mut Socket, texts: &[&str]) {
    for text in texts {
        assert_eq!(receive(client).await, *text);
    }
}

/// Code and reason of the server's close frame; messages before it are skipped.
pub async fn close_frame(client: &mut Socket) -> (u16, String) {
    loop {
        let message = within(client.next()).await.expect("a close frame");
        if let Message::Close(frame) = message.expect("no error") {
            let frame = frame.expect("a code");
            return (frame.code.into(), frame.reason.as_str().to_owned());
        }
    }
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

/// Sends them one by one: each only after the last has come back.
pub async fn say_numbers(client: &mut Socket, count: usize, length: usize) {
    for number in 0..count {
        send(client, format!("{number:.<length$}")).await;
        receive(client).await;
    }
}

/// Receives these numbers, each once and in order.
pub async fn receive_numbers(stream: &mut (impl Stream<Item = Result<Message, Error>> + Unpin), count: usize) {
    for expected in 0..count {
        let number: usize = receive(stream).await.trim_end_matches('.').parse().unwrap();
        assert_eq!(number, expected, "a message was lost, or came out of order");
    }
}

/// How long a message takes from a client to itself.
pub async fn round_trip(client: &mut Socket) -> Duration {
    let began = Instant::now();
    send(client, "round trip").await;
    assert_eq!(receive(client).await, "round trip");
    began.elapsed()
}

/// Everyone receives everything, in one order and as it was sent: eight clients, spread over the servers, talk at the same
/// time. They leave, and a client of the first server and one of the last go on.
pub async fn is_a_room(servers: &[Server]) {
    const TEXTS: usize = 200;
    let mut clients = Vec::new();
    for number in 0..8 {
        clients.push(servers[number % servers.len()].join().await);
    }
    for text in 0..TEXTS {
        for (number, client) in clients.iter_mut().enumerate() {
            send(client, format!("{number} {text}")).await;
        }
    }
    let mut order = Vec::new();
    for (number, client) in clients.iter_mut().enumerate() {
        for place in 0..8 * TEXTS {
            let text = receive(client).await;
            match number {
                0 => order.push(text),
                _ => assert_eq!(text, order[place], "two orders"),
            }
        }
        let start = format!("{number} ");
        let own = order.iter().filter(|text| text.starts_with(&start));
        let sent = (0..TEXTS).map(|text| format!("{number} {text}"));
        assert!(own.eq(&sent.collect::<Vec<_>>()), "lost, or out of order: {order:?}");
    }
    drop(clients);
    let mut anna = servers[0].join().await;
    let mut ben = servers.last().unwrap().join().await;
    let longest = "ä".repeat(MAX_MESSAGE / 2);
    for text in ["", " ", "grüße \u{1F44B}\u{0}\r\n<b>&amp;</b>", &longest] {
        send(&mut anna, text).await;
        assert_eq!(receive(&mut anna).await, text);
        assert_eq!(receive(&mut ben).await, text);
    }
    // In fragments (RFC 6455, section 5.4), cut in the middle of a character, a ping in between.
    let (first, last) = "grüße".as_bytes().split_at(3);
    let frames = [frame(FIRST, first), frame(PING, "in between"), frame(LAST, last)];
    let stream = anna.get_mut();
    within(stream.write_all(&frames.concat())).await.unwrap();
    assert_eq!(receive(&mut ben).await, "grüße");
}

// Raw frames (RFC 6455, section 5.2). Clients' frames have a mask of zeros, so their payload stays readable.
pub const TEXT: u8 = 0x81;
pub const BINARY: u8 = 0x82;
pub const CLOSE: u8 = 0x88;
pub const PING: u8 = 0x89;
pub const PONG: u8 = 0x8a;
/// A text in fragments: its first frame, those between, and its last.
pub const FIRST: u8 = 0x01;
pub const MORE: u8 = 0x00;
pub const LAST: u8 = 0x80;

/// A client's frame with any first byte, allowed or not.
pub fn frame(first: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    [&header(first, payload.len()), payload].concat()
}

/// The header of a client's frame that announces `length` bytes.
pub fn header(first: u8, length: usize) -> Vec<u8> {
    let length = match length {
        0..126 => vec![length as u8],
        126..65_536 => [&[126], &(length as u16).to_be_bytes()[..]].concat(),
        _ => [&[127], &(length as u64).to_be_bytes()[..]].concat(),
    };
    [&[first, length[0] | 0x80], &length[1..], &[0; 4]].concat()
}

/// A close frame from the server, which doesn't mask.
pub fn server_close(code: u16, reason: &str) -> Vec<u8> {
    let length = 2 + reason.len() as u8;
    [&[CLOSE, length], &code.to_be_bytes()[..], reason.as_bytes()].concat()
}
