//! A chat room over WebSocket: all clients hear what one client says, all in the same order.
//!
//! The first half is the Go program, part for part. The second half begins at `MAX_MESSAGE`: the
//! parts that protect the room, and what Go's libraries do. At first reading, trust their names and
//! skip them.

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use std::collections::HashMap;
use std::error::Error;
use std::io::{Write, stderr};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::{Semaphore, SemaphorePermit, mpsc};
use tokio::time::{Duration, sleep, timeout};
use tokio::{signal, task};
use warp::http::{StatusCode, uri::Authority};
use warp::ws::{Message, WebSocket, Ws};
use warp::{Filter, Reply};

/// Everybody in the room: each client's number, and the sending end of its queue. `Arc` lets all
/// tasks own the map. `RwLock` lets many read it, or one change it; nobody holds it for long.
type Clients = Arc<RwLock<HashMap<u64, Sender>>>;

/// The two ends of a channel. One channel is `broadcast`. Each client has another one: its queue.
type Sender = mpsc::UnboundedSender<Arc<Said>>;
type Receiver = mpsc::UnboundedReceiver<Arc<Said>>;

/// A message on its way, to `EVERYONE` or to one client. It holds its share of `SPACE`, the 16 MiB
/// for all messages. The share is free again when each client's writer has taken the message, or
/// has ended.
struct Said {
    to: u64,
    message: Message,
    _share: SemaphorePermit<'static>,
}

const EVERYONE: u64 = 0; // clients have the numbers 1, 2, 3 ...

/// What is global in Go. A clone points to the same room.
#[derive(Clone)]
struct Room {
    clients: Clients,
    broadcast: Sender,
}

/// Opens the room and serves it until Ctrl-C. Then it says goodbye to all, with close code 1001.
#[tokio::main(flavor = "current_thread")] // all tasks take turns on one thread
async fn main() -> Result<(), Box<dyn Error>> {
    let clients = Clients::default();
    let (broadcast, messages) = mpsc::unbounded_channel();
    tokio::spawn(handle_messages(messages, clients.clone()));

    let room = Room { clients, broadcast };
    let same_room = room.clone();
    let home = warp::path::end().map(handle_home);
    let chat = warp::path!("ws")
        .and(warp::header::optional("origin"))
        .and(warp::header("host"))
        .and(warp::ws())
        .map(move |origin, host, ws| {
            if !check_origin(origin, host) {
                return Err(StatusCode::FORBIDDEN);
            }
            let room = room.clone();
            Ok(limit(ws).on_upgrade(|socket| handle_connections(socket, room)))
        });

    let address = std::env::args()
        .nth(1)
        .unwrap_or("127.0.0.1:8080".to_string());
    let listener = listen(&address).map_err(|error| {
        format!("cannot listen on {address}: {error}; try `cargo run -- 127.0.0.1:8081`")
    })?;
    let server = tokio::spawn(warp::serve(home.or(chat)).incoming(listener).run());

    signal::ctrl_c().await?;
    server.abort(); // takes no new connections; those that exist go on
    let _ = timeout(FAREWELL, close(same_room)).await;
    Ok(())
}

/// Answers with the page, which is a part of the program.
fn handle_home() -> impl Reply {
    let page = warp::reply::html(include_str!("index.html"));
    warp::reply::with_header(page, "x-frame-options", "DENY") // not inside a foreign page
}

/// A client's stay in the room, in a task of its own: adds the client, passes what it says to
/// `broadcast`, and removes it when it closes, breaks a rule, falls silent, or takes no more
/// messages.
async fn handle_connections(socket: WebSocket, room: Room) {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let id = NEXT.fetch_add(1, Ordering::Relaxed);
    let (sink, mut stream) = socket.split();
    let (client, queue) = mpsc::unbounded_channel();
    let writer = tokio::spawn(write_messages(sink, queue));
    room.clients.write().unwrap().insert(id, client.clone());
    tell(&room, format!("client {id} joined"));

    let Goodbye(code, reason) = loop {
        match read_message(id, &mut stream, &client, &room).await {
            Ok(text) => room.say(EVERYONE, text).await,
            Err(goodbye) => break goodbye,
        }
    };

    if code != 1000 {
        room.say(id, Message::close_with(code, reason)).await;
        // If we closed now, with unread bytes, TCP would reset, and the close frame could be lost.
        // So it gets time to arrive.
        sleep(FAREWELL).await;
    }
    writer.abort(); // it may be waiting for a socket that takes nothing
    room.clients.write().unwrap().remove(&id);
    tell(&room, format!("client {id} left: {reason}"));
}

/// Puts each message into the queues, in a task of its own, until the last sender of `broadcast` is
/// dropped. Only this task fills queues, so all clients hear the same order. It never waits for a
/// client.
async fn handle_messages(mut messages: Receiver, clients: Clients) {
    while let Some(said) = messages.recv().await {
        for (id, client) in clients.read().unwrap().iter() {
            if said.to == EVERYONE || said.to == *id {
                let _ = client.send(said.clone()); // copies a pointer, not the message
            }
        }
    }
}

const MAX_MESSAGE: usize = 64 * 1024; // bytes; a longer one is refused with close code 1009
const OVERHEAD: usize = 192; // bytes that a message takes in memory, beside its text
const HEADER: usize = 10; // bytes of a frame's header from us, at most (RFC 6455, section 5.2)
const ENOUGH: usize = 8 * 1024 * 1024; // bytes; with less space, a stuck client has to leave
const BATCH: usize = 64 * 1024; // bytes; a batch ends with the message that makes it this long
const WRITE_BUFFER: usize = 256 * 1024; // bytes in the library: a batch (up to 128 KiB), and pongs
const SEND_BUFFER: u32 = 128 * 1024; // bytes in the kernel, which otherwise takes megabytes
const RECEIVE_BUFFER: u32 = 16 * 1024; // bytes in the kernel; a turn to read ends when it is empty
const PATIENCE: Duration = Duration::from_millis(800); // for a batch, while space is short
const SILENCE: Duration = Duration::from_secs(30); // before a ping
/// For a pong. The ping may wait behind 16 MiB: at 1.5 Mbit/s that takes 90 s.
const ANSWER: Duration = Duration::from_secs(120);
const FAREWELL: Duration = Duration::from_secs(2); // for a close frame to arrive

/// The bytes that all messages on their way may take. Who says something waits for space.
static SPACE: Semaphore = Semaphore::const_new(2 * ENOUGH);

impl Room {
    /// Go's `broadcast <- msg`: passes a message on, as soon as there is space for it.
    async fn say(&self, to: u64, message: Message) {
        let bytes = message.as_bytes().len() + OVERHEAD;
        let _share = SPACE.acquire_many(bytes as u32).await.unwrap(); // nobody closes it
        let said = Arc::new(Said {
            to,
            message,
            _share,
        });
        let _ = self.broadcast.send(said);
    }
}

/// The close code (RFC 6455, section 7.4.1) and the reason with which a client leaves.
struct Goodbye(u16, &'static str);

/// Lets programs join (they send no `Origin`), and our own page: its `Origin` names our `Host` (RFC
/// 6454). A foreign page gets status 403. But an attacker can make a name of his point here (DNS
/// rebinding). Then the `Origin` of his page names our `Host`, too. With `https`, browsers refuse
/// that: our certificate isn't for his name. With `http` nothing stops him, so there only addresses
/// and `localhost` may join.
fn check_origin(origin: Option<String>, host: Authority) -> bool {
    let Some(origin) = origin else {
        return true;
    };
    if origin == format!("https://{host}") {
        return true;
    }
    let name = host.host();
    let is_ipv6 = name.starts_with('[');
    let is_address = is_ipv6 || name.parse::<Ipv4Addr>().is_ok() || name == "localhost";
    if is_address && origin == format!("http://{host}") {
        return true;
    }
    let _ = writeln!(stderr(), "refused a page: Origin {origin:?}, Host {host}");
    false
}

/// Refuses a long message at its header, and bounds what waits for a socket.
fn limit(ws: Ws) -> Ws {
    ws.max_message_size(MAX_MESSAGE)
        .max_frame_size(MAX_MESSAGE)
        .max_write_buffer_size(WRITE_BUFFER)
}

/// Waits for a client's next text message. The error says why the client leaves: 1000 (it closed or
/// has gone), 1002, 1003, 1007, 1008 (stuck or silent), 1009.
async fn read_message(
    id: u64,
    stream: &mut SplitStream<WebSocket>,
    client: &Sender,
    room: &Room,
) -> Result<Message, Goodbye> {
    loop {
        task::coop::consume_budget().await; // a flood of pings would keep all others waiting
        let heard = tokio::select! {
            biased;
            () = client.closed() => return Err(Goodbye(1008, "it took no more messages")),
            Some(heard) = stream.next() => heard.map_err(explain)?,
            () = silence(id, room) => return Err(Goodbye(1008, "it was silent for too long")),
        };
        if heard.is_close() {
            let _ = timeout(FAREWELL, stream.next()).await; // the library answers as we read on
            return Err(Goodbye(1000, "it said goodbye"));
        }
        if heard.is_binary() {
            return Err(Goodbye(1003, "this room takes text only"));
        }
        if let Ok(text) = heard.to_str() {
            // A copy on purpose: `text` lies in the read buffer, and would keep that in memory.
            return Ok(Message::text(text));
        }
    }
}

/// Tells errors apart by their words. Their type belongs to tungstenite 0.29, the library below
/// warp. That isn't a dependency of ours.
fn explain(error: warp::Error) -> Goodbye {
    let words = error.to_string();
    if words.contains("too long") {
        Goodbye(1009, "the message was too long")
    } else if words.contains("UTF-8") {
        Goodbye(1007, "the text was not UTF-8")
    } else if words.contains("reset") || words.contains("IO error") {
        Goodbye(1000, "it has gone")
    } else {
        Goodbye(1002, "it broke the WebSocket protocol")
    }
}

/// Ends when a client has been silent for too long, and hasn't answered a ping. Whatever is heard
/// from the client starts the time again.
async fn silence(id: u64, room: &Room) {
    sleep(SILENCE).await;
    room.say(id, Message::ping("")).await;
    sleep(ANSWER).await;
    // After a standstill, a pong may be here, but tokio sees the timer first. We give way once, so
    // that it looks at the sockets, too.
    task::yield_now().await;
}

/// Writes a client's queue to its socket, in a task of its own: nobody else waits for it. Ends when
/// `patience` ends before a batch does. That drops the queue, so `client.closed()` returns in
/// `read_message`. A write error ends nothing: the reading half meets it, too.
async fn write_messages(mut sink: SplitSink<WebSocket, Message>, mut queue: Receiver) {
    while let Some(first) = queue.recv().await {
        task::yield_now().await; // more may come, and one system call for all is cheaper
        let batch = async {
            // Pongs may lie in the library's buffer. When they are out, it has room for a batch.
            let _ = sink.flush().await;
            let mut bytes = 0;
            let mut next = Ok(first);
            while let Ok(said) = next {
                let _ = sink.feed(said.message.clone()).await;
                bytes += said.message.as_bytes().len() + HEADER;
                if bytes >= BATCH {
                    break;
                }
                next = queue.try_recv();
            }
            let _ = sink.flush().await;
        };
        tokio::select! {
            biased;
            () = batch => {}
            () = patience() => return,
        }
    }
}

/// Ends when a client has had its time for a batch, and space is short.
async fn patience() {
    loop {
        sleep(PATIENCE).await;
        task::yield_now().await; // as in `silence`
        if SPACE.available_permits() < ENOUGH {
            return;
        }
    }
}

/// Says goodbye to all until all have left. It repeats that, as an upgrade may have been under way.
/// Each client gets one close frame only: the library sends nothing after it.
async fn close(room: Room) {
    while !room.clients.read().unwrap().is_empty() {
        let goodbye = Message::close_with(1001u16, "the server is going away");
        room.say(EVERYONE, goodbye).await;
        sleep(Duration::from_millis(10)).await;
    }
}

/// Opens the port (0: any free one), and prints its URL. Accepted connections get the same options.
fn listen(address: &str) -> Result<TcpListener, Box<dyn Error>> {
    let address: SocketAddr = address.parse()?;
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    socket.set_nodelay(true)?; // small messages go out at once
    socket.set_send_buffer_size(SEND_BUFFER)?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    socket.set_reuseaddr(cfg!(unix))?; // the port can be opened again right after a stop
    socket.bind(address)?;
    let listener = socket.listen(1024)?;
    println!("http://{}", listener.local_addr()?);
    Ok(listener)
}

/// Writes a line to the terminal. If that is gone, the room goes on. (`eprintln!` would panic.)
fn tell(room: &Room, what: String) {
    let count = room.clients.read().unwrap().len();
    let _ = writeln!(stderr(), "{what}, {count} connected");
}
