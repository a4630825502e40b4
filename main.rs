//! A chat room over WebSocket: every message goes to all clients, in the same order.
//!
//! The first half follows the Go program, part for part. The second half, from `MAX_MESSAGE` on,
//! protects the room, and does what Go's libraries do for you.

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use std::collections::HashMap;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::mpsc;
use tokio::time::{Duration, sleep, timeout};
use tokio::{signal, task};
use warp::http::{StatusCode, uri::Authority};
use warp::ws::{Message, WebSocket, Ws};
use warp::{Filter, Reply};

/// The connected clients: each client's number, and the sending end of its queue.
type Clients = Arc<RwLock<HashMap<u64, Sender>>>;

/// Our names for the two ends of a channel: `broadcast`, or a client's queue.
type Sender = mpsc::Sender<Message>;
type Receiver = mpsc::Receiver<Message>;

/// Go's global variables. A clone points to the same room.
#[derive(Clone)]
struct Room {
    clients: Clients,
    broadcast: Sender,
}

/// Serves the page and the room until Ctrl-C. Then all clients get close code 1001.
#[tokio::main(flavor = "current_thread")] // all tasks take turns on one thread
async fn main() -> io::Result<()> {
    let clients = Clients::default();
    let (broadcast, messages) = mpsc::channel(BROADCAST);
    tokio::spawn(handle_messages(messages, clients.clone()));

    let room = Room { clients, broadcast };
    tokio::spawn(ping(room.clone()));
    let closing = room.clone(); // for `shut_down`, as the closure below owns `room`
    let home = warp::path!().map(handle_home);
    let chat = warp::path!("ws")
        .and(warp::header::optional("origin"))
        .and(warp::header("host"))
        .and(warp::ws())
        .map(move |origin, host, ws| upgrade(origin, host, ws, room.clone()));

    let address = std::env::args()
        .nth(1)
        .unwrap_or("127.0.0.1:8080".to_string());
    let listener = listen(&address).unwrap_or_else(|error| {
        eprintln!("cannot listen on {address}: {error}; try `cargo run -- 127.0.0.1:8081`");
        std::process::exit(1)
    });
    let server = tokio::spawn(warp::serve(home.or(chat)).incoming(listener).run());

    signal::ctrl_c().await?;
    server.abort(); // accepts no new connections; existing ones go on
    let _ = timeout(CLOSE_TIMEOUT, shut_down(closing)).await;
    Ok(())
}

/// Answers with the page, which is compiled into the program.
fn handle_home() -> impl Reply {
    let page = warp::reply::html(include_str!("index.html"));
    warp::reply::with_header(page, "x-frame-options", "DENY") // not in another site's frame
}

/// Upgrades a request to a WebSocket, and hands it to `handle_connections`. A page from
/// another site gets status 403.
fn upgrade(
    origin: Option<String>,
    host: Authority,
    ws: Ws,
    room: Room,
) -> Result<impl Reply, StatusCode> {
    if !check_origin(origin, host) {
        return Err(StatusCode::FORBIDDEN);
    }
    let ws = ws
        .max_message_size(MAX_MESSAGE) // refuses a longer one
        .max_frame_size(MAX_MESSAGE) // and a longer frame at its header
        .max_write_buffer_size(WRITE_BUFFER); // for pongs and messages that wait for the socket
    Ok(ws.on_upgrade(|socket| handle_connections(socket, room)))
}

/// Handles one client, in a task of its own: adds it to the room, sends each of its messages to
/// `broadcast`, and removes it when it closes, breaks a rule, is stuck, or is silent.
async fn handle_connections(socket: WebSocket, room: Room) {
    static NEXT_ID: AtomicU64 = AtomicU64::new(1);
    let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
    let (sink, mut stream) = socket.split();
    let (client, queue) = mpsc::channel(QUEUE);
    let writer = tokio::spawn(write_messages(sink, queue));
    room.clients.write().unwrap().insert(id, client.clone());
    log(&room, format!("client {id} joined"));

    let Close(code, reason) = loop {
        match read_message(&mut stream, &client).await {
            Ok(message) => {
                let _ = room.broadcast.send(message).await;
            }
            Err(close) => break close,
        }
    };

    if code != 1000 {
        task::yield_now().await; // lets `handle_messages` queue this client's last message
        if client.send(Message::close_with(code, reason)).await.is_ok() {
            // Closing now, with bytes unread, would reset the connection and lose the frame. We
            // can't wait for the answer: after an error, nothing more can be read.
            sleep(CLOSE_TIMEOUT).await;
        }
    }
    writer.abort(); // it may be stuck writing to a full socket
    room.clients.write().unwrap().remove(&id);
    log(&room, format!("client {id} left: {reason}"));
}

/// Sends each message to all clients, in a task of its own. As only this task does that, all
/// clients receive the same order.
async fn handle_messages(mut messages: Receiver, clients: Clients) {
    while let Some(message) = messages.recv().await {
        let mut full = Vec::new();
        for client in clients.read().unwrap().values() {
            if client.try_send(message.clone()).is_err() {
                full.push(client.clone());
            }
        }
        for client in full {
            let _ = client.send(message.clone()).await; // until its writer takes a message, or ends
        }
    }
}

const MAX_MESSAGE: usize = 4 * 1024; // bytes; a longer one is refused with close code 1009
const BROADCAST: usize = 64; // messages; when it is full, senders wait in line
const QUEUE: usize = 32 * 1024 * 1024 / MAX_MESSAGE; // messages; all queues share the texts: 32 MiB
const WRITE_BUFFER: usize = 128 * 1024 + 2 * MAX_MESSAGE; // bytes; 128 KiB, a message, some pongs
const SEND_BUFFER: u32 = 128 * 1024; // bytes in the kernel, which otherwise takes megabytes
const RECEIVE_BUFFER: u32 = 16 * 1024; // bytes in the kernel; a flood is read in short turns
const WRITE_TIMEOUT: Duration = Duration::from_millis(400); // to write 128 KiB; see `stuck`
const PING_INTERVAL: Duration = Duration::from_secs(25); // some proxies time out at 30 s
/// A ping may wait behind a full queue: 32 MiB take 102 s, at 128 KiB in each `WRITE_TIMEOUT`.
const READ_TIMEOUT: Duration = Duration::from_secs(130);
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2); // for a close frame to arrive

/// Why a client leaves: a close code (RFC 6455, section 7.4.1) and a reason. With 1000, it has
/// closed the connection, or lost it.
struct Close(u16, &'static str);

/// Lets in programs that send no `Origin`, and our own page: its `Origin` names our `Host` (RFC
/// 6454). With DNS rebinding, an attacker's domain points at us, so its `Origin` and `Host` match.
/// Over `https`, our certificate doesn't fit that domain. Over `http`, nothing stops it: there we
/// let in only IP addresses and `localhost`.
fn check_origin(origin: Option<String>, host: Authority) -> bool {
    let Some(origin) = origin else {
        return true;
    };
    let name = host.host().trim_matches(['[', ']']);
    let is_address = name == "localhost" || name.parse::<IpAddr>().is_ok();
    let is_ours =
        origin == format!("https://{host}") || (is_address && origin == format!("http://{host}"));
    if !is_ours {
        let _ = writeln!(
            io::stderr(),
            "refused a page: Origin {origin:?}, Host {host}"
        );
    }
    is_ours
}

/// Waits for a client's next text message. The error says why the client leaves. `client.closed()`
/// returns when its writer has ended.
async fn read_message(
    stream: &mut SplitStream<WebSocket>,
    client: &Sender,
) -> Result<Message, Close> {
    loop {
        task::coop::consume_budget().await; // else a flood of pings keeps everyone waiting
        let next = tokio::select! {
            biased;
            () = client.closed() => return Err(Close(1008, "this client did not read its messages")),
            next = stream.next() => next,
            () = sleep(READ_TIMEOUT) => return Err(Close(1008, "this client did not answer pings")),
        };
        let message = next.ok_or(Close(1000, "the connection was lost"))?;
        let message = message.map_err(close_reason)?;
        if message.is_close() {
            let _ = timeout(CLOSE_TIMEOUT, stream.next()).await; // this read sends the answer
            return Err(Close(1000, "it closed the connection"));
        }
        if message.is_binary() {
            return Err(Close(1003, "this room takes text only"));
        }
        if let Ok(text) = message.to_str() {
            // A copy on purpose: `text` points into the read buffer, and would keep it in memory.
            return Ok(Message::text(text));
        }
    }
}

/// Tells errors apart by their text, as their type belongs to tungstenite, the library below warp.
/// An unknown text counts as 1002.
fn close_reason(error: warp::Error) -> Close {
    let text = error.to_string();
    if text.contains("too long") {
        Close(1009, "the message was too long")
    } else if text.contains("UTF-8") {
        Close(1007, "the text was not valid UTF-8")
    } else if text.contains("reset") || text.contains("IO error") {
        Close(1000, "the connection was lost")
    } else {
        Close(1002, "this client broke the WebSocket protocol")
    }
}

/// Writes a client's queue to its socket, in a task of its own, so no one else waits for it.
/// Ends when the client is stuck, which drops the queue. A write error doesn't end it: the reading
/// half sees the error, too, but first takes the client's last messages.
async fn write_messages(
    mut sink: SplitSink<WebSocket, Message>,
    mut queue: Receiver,
) -> Option<()> {
    loop {
        let first = queue.recv().await?;
        task::yield_now().await; // more may come, and one write for all is cheaper
        // The library's buffer may hold pongs. Once they are written, it has room for a message.
        in_time(sink.flush(), &queue).await?;
        in_time(sink.feed(first), &queue).await?;
        while let Ok(message) = queue.try_recv() {
            in_time(sink.feed(message), &queue).await?;
        }
        in_time(sink.flush(), &queue).await?;
    }
}

/// Waits for a write of up to 128 KiB. `None` if the client is stuck.
async fn in_time(write: impl Future, queue: &Receiver) -> Option<()> {
    tokio::select! {
        biased;
        _ = write => Some(()),
        () = stuck(queue) => None,
    }
}

/// Returns once `WRITE_TIMEOUT` has passed and the client's queue is more than half full.
async fn stuck(queue: &Receiver) {
    loop {
        sleep(WRITE_TIMEOUT).await;
        // After a suspension, the timer fires first. This lets tokio look at the sockets.
        task::yield_now().await;
        if queue.len() > QUEUE / 2 {
            return;
        }
    }
}

/// Sends a ping to all clients at each interval. Their pongs show that they are alive.
async fn ping(room: Room) {
    loop {
        sleep(PING_INTERVAL).await;
        let _ = room.broadcast.send(Message::ping("")).await;
    }
}

/// Sends close code 1001 to all clients until all have left. It repeats that, as an upgrade may
/// have been under way. Each client gets one close frame: the library sends nothing after it.
async fn shut_down(room: Room) {
    while !room.clients.read().unwrap().is_empty() {
        let close = Message::close_with(1001u16, "the server is shutting down");
        let _ = room.broadcast.send(close).await;
        sleep(Duration::from_millis(10)).await;
    }
}

/// Opens the port (0: any free one), and prints its URL. On Linux and macOS, accepted connections
/// inherit the options.
fn listen(address: &str) -> io::Result<TcpListener> {
    let address: SocketAddr = address.parse().map_err(io::Error::other)?;
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_nodelay(true)?; // small messages go out at once
    socket.set_send_buffer_size(SEND_BUFFER)?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    socket.set_reuseaddr(cfg!(unix))?; // the port can be opened again right after a stop
    socket.bind(address)?;
    let listener = socket.listen(1024)?;
    let mut address = listener.local_addr()?;
    if address.ip().is_unspecified() {
        address.set_ip(Ipv4Addr::LOCALHOST.into()); // browsers don't open http://0.0.0.0
    }
    let _ = writeln!(io::stdout(), "http://{address}");
    Ok(listener)
}

/// Writes a line to the terminal. If that is gone, the room goes on. (`eprintln!` would panic.)
fn log(room: &Room, event: String) {
    let count = room.clients.read().unwrap().len();
    let _ = writeln!(io::stderr(), "{event}, {count} connected");
}
