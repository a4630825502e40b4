//! The Go program in Rust: the same parts as in go/main.go, in nearly the same order. Run it with
//! `cargo run --example bare`. It leaves out limits, timeouts and more: those are in main.rs.

use futures_util::stream::SplitSink;
use futures_util::{SinkExt, StreamExt};
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, RwLock};
use tokio::sync::mpsc;
use warp::ws::{Message, WebSocket, Ws};
use warp::{Filter, Reply};

/// The connected clients: each client's number, and the sending end of its queue.
type Clients = Arc<RwLock<HashMap<usize, Sender>>>;

/// The two ends of a channel. `broadcast` is a channel, and so is each client's queue.
type Sender = mpsc::UnboundedSender<Message>;
type Receiver = mpsc::UnboundedReceiver<Message>;

/// Go's global variables, in one value. All its clones share the same room.
#[derive(Clone)]
struct Room {
    clients: Clients,
    broadcast: Sender,
}

/// Serves the page and the room at http://127.0.0.1:8080, until the program is stopped.
#[tokio::main(flavor = "current_thread")] // all tasks take turns on one thread
async fn main() {
    let clients = Clients::default();
    let (broadcast, messages) = mpsc::unbounded_channel();
    tokio::spawn(handle_messages(messages, clients.clone()));

    let room = Room { clients, broadcast };
    let home = warp::path!().map(handle_home);
    let chat = warp::path!("ws")
        .and(warp::ws())
        .map(move |ws| upgrade(ws, room.clone()));
    warp::serve(home.or(chat)).run(([127, 0, 0, 1], 8080)).await;
}

/// Answers with the page, which is compiled into the program.
fn handle_home() -> impl Reply {
    warp::reply::html(include_str!("../index.html"))
}

/// Upgrades a request to a WebSocket, and hands it to `handle_connections`.
fn upgrade(ws: Ws, room: Room) -> impl Reply {
    ws.on_upgrade(|socket| handle_connections(socket, room))
}

/// Handles one client, in a task of its own: adds it to the room, sends each of its messages to
/// `broadcast`, and removes it when the connection ends.
async fn handle_connections(socket: WebSocket, room: Room) {
    static NEXT_ID: AtomicUsize = AtomicUsize::new(1);
    let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
    let (sink, mut stream) = socket.split();
    let (client, queue) = mpsc::unbounded_channel();
    tokio::spawn(write_messages(sink, queue));
    room.clients.write().unwrap().insert(id, client);

    while let Some(Ok(message)) = stream.next().await {
        if message.is_text() {
            let _ = room.broadcast.send(message);
        }
    }
    room.clients.write().unwrap().remove(&id);
}

/// Sends each message to all clients. It runs as a task of its own.
async fn handle_messages(mut messages: Receiver, clients: Clients) {
    while let Some(message) = messages.recv().await {
        for client in clients.read().unwrap().values() {
            let _ = client.send(message.clone());
        }
    }
}

/// Writes a client's queue to its socket, in a task of its own, so no one else waits for it.
async fn write_messages(mut sink: SplitSink<WebSocket, Message>, mut queue: Receiver) {
    while let Some(message) = queue.recv().await {
        if sink.send(message).await.is_err() {
            return;
        }
    }
}
