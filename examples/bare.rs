//! The Go program in Rust and nothing more: the same parts in the same order as in go/main.go. What
//! this one leaves out, the real program (main.rs) has.

use futures_util::stream::SplitSink;
use futures_util::{SinkExt, StreamExt};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use warp::ws::{Message, WebSocket, Ws};
use warp::{Filter, Reply};

/// The connected clients: for each one a number, and the sending end of its queue.
type Clients = Arc<RwLock<HashMap<u64, Sender>>>;

/// The two ends of a channel: there is `broadcast`, and a queue for each client.
type Sender = mpsc::UnboundedSender<Message>;
type Receiver = mpsc::UnboundedReceiver<Message>;

/// Go's two globals. A clone shares them.
#[derive(Clone)]
struct Room {
    clients: Clients,
    broadcast: Sender,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let clients = Clients::default();
    let (broadcast, messages) = mpsc::unbounded_channel();
    tokio::spawn(handle_messages(messages, clients.clone()));

    let room = Room { clients, broadcast };
    let home = warp::path::end().map(handle_home);
    let chat = warp::path!("ws").and(warp::ws()).map(move |ws: Ws| {
        let room = room.clone();
        ws.on_upgrade(|socket| handle_connections(socket, room))
    });

    let address = std::env::args().nth(1);
    let address = address.unwrap_or("127.0.0.1:8080".to_string());
    let listener = TcpListener::bind(address).await?;
    println!("http://{}", listener.local_addr()?);
    warp::serve(home.or(chat)).incoming(listener).run().await;
    Ok(())
}

/// Answers `/` with the page, which is compiled into the program.
fn handle_home() -> impl Reply {
    warp::reply::html(include_str!("../index.html"))
}

/// One client's connection, in its own task: adds the client, sends what it says to `broadcast`,
/// and removes it when the connection ends.
async fn handle_connections(socket: WebSocket, room: Room) {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let id = NEXT.fetch_add(1, Ordering::Relaxed);
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

/// Puts each message into every client's queue, in its own task.
async fn handle_messages(mut messages: Receiver, clients: Clients) {
    while let Some(message) = messages.recv().await {
        for client in clients.read().unwrap().values() {
            let _ = client.send(message.clone());
        }
    }
}

/// Writes one client's queue to its socket, in its own task, so that `handle_messages` never waits.
async fn write_messages(mut sink: SplitSink<WebSocket, Message>, mut queue: Receiver) {
    while let Some(message) = queue.recv().await {
        if sink.send(message).await.is_err() {
            return;
        }
    }
}
