//! A chat room over WebSocket: every message goes to all clients, in the same order.
//!
//! The first half follows the Go program, part by part. The second half, from `MAX_MESSAGE` on,
//! protects the room, and does what Go's libraries do for you.

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{FutureExt, SinkExt, StreamExt};
use std::collections::HashMap;
use std::io::{self, Write};
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, RwLock};
use tokio::net::{TcpListener, TcpSocket, lookup_host};
use tokio::sync::mpsc;
use tokio::task::coop::{consume_budget, unconstrained};
use tokio::time::{Duration, Instant, sleep, timeout};
use warp::http::{StatusCode, uri::Authority};
use warp::ws::{Message, WebSocket, Ws};
use warp::{Filter, Reply};

/// The connected clients, by their numbers.
type Clients = Arc<RwLock<HashMap<usize, Client>>>;

/// A message on its way out: to the client with this number, or to all.
type Outgoing = (Option<usize>, Message);

/// Go's global variables, in one value. All its clones share the same room.
#[derive(Clone)]
struct Room {
    clients: Clients,
    broadcast: mpsc::Sender<Outgoing>,
}

/// Serves the page and the room until Ctrl-C, then sends all clients close code 1001.
#[tokio::main(flavor = "current_thread")] // all tasks take turns on one thread
async fn main() {
    let clients = Clients::default();
    let (broadcast, messages) = mpsc::channel(BROADCAST);
    // Without `unconstrained`, sockets would look full after the first 128.
    tokio::spawn(unconstrained(handle_messages(messages, clients.clone())));

    let room = Room { clients, broadcast };
    tokio::spawn(ping(room.clone()));
    let closing = room.clone(); // for `shut_down`, as the closure below owns `room`
    let home = warp::path!()
        .and(warp::get().or(warp::head()))
        .map(|_| handle_home());
    let chat = warp::path!("ws")
        .and(warp::header::optional("origin"))
        .and(warp::header("host"))
        .and(warp::ws())
        .map(move |origin, host, ws| upgrade(origin, host, ws, room.clone()));

    let address = std::env::args()
        .nth(1)
        .unwrap_or("127.0.0.1:8080".to_string());
    let listener = listen(&address).await.unwrap_or_else(|error| {
        eprintln!("cannot listen on {address}: {error}; try `cargo run -- 127.0.0.1:8081`");
        std::process::exit(1)
    });
    tokio::select! {
        () = warp::serve(home.or(chat)).incoming(listener).run() => {}
        _ = tokio::signal::ctrl_c() => {} // no new connections; existing ones go on
    }
    let _ = timeout(CLOSE_TIMEOUT, shut_down(closing)).await;
}

/// Answers with the page, which is compiled into the program.
fn handle_home() -> impl Reply {
    let page = warp::reply::html(include_str!("index.html"));
    let page = warp::reply::with_header(page, "cache-control", "no-cache"); // never a stale page
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
    if let Some(origin) = origin.filter(|origin| !check_origin(origin, &host)) {
        let _ = writeln!(
            io::stderr(),
            "refused a page: Origin {origin:?}, Host {host}"
        );
        return Err(StatusCode::FORBIDDEN);
    }
    let ws = ws
        .max_message_size(MAX_READ)
        .max_frame_size(MAX_READ)
        .max_write_buffer_size(WRITE_BUFFER);
    Ok(ws.on_upgrade(|socket| handle_connections(socket, room)))
}

/// Handles one client, in a task of its own: adds it to the room, sends each of its messages to
/// `broadcast`, and removes it when it closes, breaks a rule, is stuck, or is silent.
async fn handle_connections(socket: WebSocket, room: Room) {
    static NEXT_ID: AtomicUsize = AtomicUsize::new(1);
    let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
    let (sink, mut stream) = socket.split();
    let (_in_room, mut removed) = mpsc::channel(1);
    let client = Client {
        sink,
        behind: 0,
        stalled: Duration::ZERO,
        _in_room,
    };
    room.clients.write().unwrap().insert(id, client);
    log(&room, format!("client {id} joined"));

    let Close(code, reason) = loop {
        match read_message(&mut stream, &mut removed).await {
            Ok(message) => {
                let _ = room.broadcast.send((None, message)).await;
            }
            Err(close) => break close,
        }
    };

    if code != 1006 {
        let close = Message::close_with(code, reason);
        let _ = room.broadcast.send((Some(id), close)).await;
        // Closing with bytes unread would reset the connection, and lose the frame. So this reads
        // on until the client answers.
        let _ = timeout(CLOSE_TIMEOUT, async {
            loop {
                if let Err(Close(1006, _)) = read_message(&mut stream, &mut removed).await {
                    break;
                }
            }
        })
        .await;
    }
    room.clients.write().unwrap().remove(&id);
    log(&room, format!("client {id} left ({reason})"));
}

/// Sends each message to all clients, or to one. A single task does this, so the order is the same
/// for all. It never waits for a full socket, but tries it again later. It drops a client that is
/// stuck: one that is more than half a queue behind, and hasn't finished a flush for
/// `WRITE_TIMEOUT`.
async fn handle_messages(mut messages: mpsc::Receiver<Outgoing>, clients: Clients) {
    let mut queue = Vec::new(); // the messages that some client still has to receive
    let mut try_again = false; // whether some messages may be left
    let mut turn = Instant::now(); // when the last turn began
    loop {
        let space = QUEUE - queue.len(); // if 0, a socket is full, so `try_again` is true
        let count = tokio::select! {
            count = messages.recv_many(&mut queue, space), if space > 0 => count,
            () = sleep(RETRY_INTERVAL), if try_again => 0,
        };
        // Capped, or after a suspension, every slow client would look stuck.
        let waited = turn.elapsed().min(WRITE_TIMEOUT / 10);
        turn = Instant::now();
        try_again = false;
        let mut behind = 0; // the most that a client still has to receive
        clients.write().unwrap().retain(|&id, client| {
            client.behind += count;
            client.stalled += waited;
            try_again |= write_messages(id, client, &queue);
            behind = behind.max(client.behind);
            let is_stuck = client.behind > QUEUE / 2 && client.stalled > WRITE_TIMEOUT;
            !is_stuck
        });
        queue.drain(..queue.len() - behind);
    }
}

const MAX_MESSAGE: usize = 4 * 1024; // bytes; a longer one is refused with close code 1009
const MAX_READ: usize = 16 * MAX_MESSAGE; // bytes; up to this, a message is read, then refused
const BROADCAST: usize = 64; // messages; when it is full, senders wait in line
const QUEUE: usize = 32 * 1024 * 1024 / MAX_MESSAGE; // messages, shared by all clients: 32 MiB
const STEP: usize = 16 * 1024; // bytes to a socket from one flush to the next
const WRITE_BUFFER: usize = 128 * 1024 + MAX_MESSAGE; // bytes; at 128 KiB, the library flushes
const SEND_BUFFER: u32 = 128 * 1024; // bytes in the kernel, which otherwise takes megabytes
const RECEIVE_BUFFER: u32 = 16 * 1024; // bytes in the kernel; small, so that floods have to wait
const WRITE_TIMEOUT: Duration = Duration::from_secs(2); // for a flush of a `STEP`
const RETRY_INTERVAL: Duration = Duration::from_millis(10); // for full sockets and for a shutdown
const PING_INTERVAL: Duration = Duration::from_secs(25); // some proxies time out at 30 s
const READ_TIMEOUT: Duration = Duration::from_secs(130); // over five pings
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2); // for a client to answer a close frame

/// A client, as `handle_messages` sees it.
struct Client {
    sink: SplitSink<WebSocket, Message>,
    behind: usize,     // messages at the queue's end that it still has to receive
    stalled: Duration, // since a flush last finished
    _in_room: mpsc::Sender<()>, // dropped with the client, which ends `read_message`
}

/// Why a client leaves: a close code (RFC 6455, section 7.4.1) and a reason. 1006 is never sent: it
/// means that the client has closed or lost the connection, or is stuck.
struct Close(u16, &'static str);

/// Lets in our own page, whose `Origin` names our `Host` (RFC 6454). Over TLS, that is enough, as
/// our certificate names the host. Without TLS, because of DNS rebinding (an attacker's domain that
/// points at us), the host must be an IP address or `localhost`.
fn check_origin(origin: &str, host: &Authority) -> bool {
    let name = host.host().trim_matches(['[', ']']); // around an IPv6 address
    match origin.strip_suffix(host.as_str()) {
        Some("https://" | "wss://") => true,
        Some("http://" | "ws://") => name == "localhost" || name.parse::<IpAddr>().is_ok(),
        _ => false,
    }
}

/// Waits for a client's next text message. The error says why the client leaves.
async fn read_message(
    stream: &mut SplitStream<WebSocket>,
    removed: &mut mpsc::Receiver<()>,
) -> Result<Message, Close> {
    loop {
        consume_budget().await; // or a flood of pings would keep everyone waiting
        let message = tokio::select! {
            // After an error, `next` returns `None`: then only the other arms count.
            Some(message) = stream.next() => message.map_err(close_reason)?,
            None = removed.recv() => return Err(Close(1006, "did not read its messages")),
            () = sleep(READ_TIMEOUT) => return Err(Close(1008, "did not answer pings")),
        };
        if message.is_close() {
            let _ = timeout(CLOSE_TIMEOUT, stream.next()).await; // during this, the library answers
            return Err(Close(1006, "closed the connection"));
        }
        if message.is_binary() {
            return Err(Close(1003, "sent binary data, not text"));
        }
        if message.as_bytes().len() > MAX_MESSAGE {
            return Err(Close(1009, "sent too long a message"));
        }
        if let Ok(text) = message.to_str() {
            // A copy on purpose: `message` would keep the library's read buffer in memory.
            return Ok(Message::text(text));
        }
    }
}

/// Tells errors apart by their text, as their type belongs to tungstenite, the library below warp.
/// An unknown error counts as 1002.
fn close_reason(error: warp::Error) -> Close {
    let text = error.to_string();
    if text.contains("too long") {
        Close(1009, "sent too long a message")
    } else if text.contains("UTF-8") {
        Close(1007, "sent text that was not valid UTF-8")
    } else if text.contains("reset") || text.contains("IO error") {
        Close(1006, "lost the connection")
    } else {
        Close(1002, "broke the WebSocket protocol")
    }
}

/// Writes a client's messages, and returns whether to try again, as some may be left.
fn write_messages(id: usize, client: &mut Client, queue: &[Outgoing]) -> bool {
    for _ in 0..16 {
        // Once this is done, the library's buffer has room for a `STEP`.
        if client.sink.flush().now_or_never().is_none() {
            return true;
        }
        client.stalled = Duration::ZERO;
        if client.behind == 0 {
            return false;
        }
        let mut bytes = 0;
        for (to, message) in &queue[queue.len() - client.behind..] {
            if bytes >= STEP {
                break;
            }
            if to.is_none_or(|number| number == id) {
                let _ = client.sink.feed(message.clone()).now_or_never(); // there is room for it
                bytes += message.as_bytes().len();
            }
            client.behind -= 1;
        }
    }
    true // although the socket isn't full: the others shouldn't wait while this client catches up
}

/// Sends a ping to all clients at each interval, bypassing the queue. Their pongs show that they
/// are alive.
async fn ping(room: Room) {
    loop {
        sleep(PING_INTERVAL).await;
        for client in room.clients.write().unwrap().values_mut() {
            let _ = client.sink.send(Message::ping("ping")).now_or_never();
        }
    }
}

/// Sends close code 1001 to all clients, again and again until all have left, so that those still
/// being upgraded get it, too. The library sends each client only the first.
async fn shut_down(room: Room) {
    // Clients that are far behind would keep the others waiting for the close frame.
    room.clients
        .write()
        .unwrap()
        .retain(|_, client| client.behind <= QUEUE / 2);
    while !room.clients.read().unwrap().is_empty() {
        let close = Message::close_with(1001u16, "the server is shutting down");
        let _ = room.broadcast.send((None, close)).await;
        sleep(RETRY_INTERVAL).await;
    }
}

/// Opens the port (0: any free one), and prints its URL. On Linux and macOS, accepted connections
/// inherit the listener's options.
async fn listen(address: &str) -> io::Result<TcpListener> {
    let address = lookup_host(address).await?.next().unwrap(); // on success, it finds at least one
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()
    } else {
        TcpSocket::new_v6()
    }?;
    socket.set_nodelay(true)?; // small messages go out at once
    socket.set_send_buffer_size(SEND_BUFFER)?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    socket.set_reuseaddr(cfg!(unix))?; // the port can be opened again right after a stop
    socket.bind(address)?;
    let listener = socket.listen(1024)?;
    let url = format!("http://{}", listener.local_addr()?)
        .replace("//0.0.0.0", "//127.0.0.1") // some browsers don't open http://0.0.0.0
        .replace("[::]", "[::1]");
    let _ = writeln!(io::stdout(), "{url}");
    Ok(listener)
}

/// Writes a line to the terminal. If that fails, the room goes on. (`eprintln!` would panic.)
fn log(room: &Room, event: String) {
    let count = room.clients.read().unwrap().len();
    let _ = writeln!(io::stderr(), "{event}, {count} connected");
}
