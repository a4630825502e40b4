//! A chat room over WebSocket: what one client says, all clients hear, in one order.
//!
//! The way of a message: `handle_connections` takes it from its sender's socket to `broadcast`,
//! `handle_messages` from there to each client's queue, `write_messages` from there to the socket.

use futures_util::{SinkExt, StreamExt, TryStreamExt, stream, stream::SplitSink};
use std::io::{Write, stderr, stdout};
use std::sync::{Arc, RwLock};
use std::{collections::HashMap, env, error::Error, net::SocketAddr, process, time::Duration};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::mpsc::{Receiver, Sender, WeakSender, channel};
use tokio::{signal, task, time::Instant, time::sleep, time::timeout, time::timeout_at};
use warp::ws::{Message, WebSocket, Ws};
use warp::{Filter, Reply, http::StatusCode};

/// Everybody in the room, by task number: the sender of its queue, and a handle to end its writer.
/// `Arc` lets all tasks own the map; the lock is never held over an `await`: nobody waits for long.
type Clients = Arc<RwLock<HashMap<task::Id, (Sender<Message>, task::AbortHandle)>>>;

const MAX_MESSAGE: usize = 64 * 1024; // bytes; a longer one is refused with close code 1009
const MAX_READ: usize = 1024 * 1024; // bytes; a yet longer one isn't read: closed without a code
const MAX_WRITE: usize = 256 * 1024; // bytes that wait for a socket: 128 KiB, a message, pongs
const BATCH: usize = 128; // messages that wait in `broadcast`, and that are written in one go
/// Messages that wait for one client. All queues share the same latest ones: with those in
/// `broadcast` and in batches 640 of 64 KiB at the worst, 40 MiB for the whole room.
const QUEUE: usize = 2 * BATCH;
/// How long the room waits for clients whose queue is full: once, for all of them together.
const PATIENCE: Duration = Duration::from_millis(800);
const PING_INTERVAL: Duration = Duration::from_secs(30);
const MAX_SILENCE: Duration = Duration::from_secs(60); // not even a pong to two pings
const FAREWELL: Duration = Duration::from_secs(2); // for the answer to a close frame

/// Opens the room and serves it until Ctrl-C, which says goodbye to all, with close code 1001.
/// One thread: a busy room is 1.2 times as fast as on two, and who has joined misses no message.
#[tokio::main(flavor = "current_thread")]
async fn main() {
    let address = env::args_os().nth(1).unwrap_or("127.0.0.1:8080".into());
    let address = address.to_string_lossy();
    let (listener, url) = listen(&address).unwrap_or_else(|error| {
        eprintln!("cannot listen on {address}: {error}; try `cargo run -- 127.0.0.1:8081`");
        process::exit(1)
    });

    let clients = Clients::default();
    let (broadcast, messages) = channel(BATCH);
    let room = tokio::spawn(handle_messages(messages, clients.clone()));

    let home = warp::path::end()
        .and(warp::get().or(warp::head()).unify())
        .map(handle_home);
    let weak = broadcast.downgrade(); // an idle HTTP connection must not keep the room open
    let chat = warp::path!("ws")
        .and(warp::header::optional("origin"))
        .and(warp::header("host"))
        .and(warp::ws())
        .map(move |origin: Option<String>, host: String, ws: Ws| {
            // A browser names the page's origin (RFC 6454): only our own page may join.
            let own = [format!("http://{host}"), format!("https://{host}")];
            if origin.is_some_and(|origin| !own.contains(&origin)) {
                return StatusCode::FORBIDDEN.into_response();
            }
            let (clients, broadcast) = (clients.clone(), weak.clone()); // for this client's task
            let ws = ws.max_message_size(MAX_READ).max_frame_size(MAX_READ);
            ws.max_write_buffer_size(MAX_WRITE)
                .on_upgrade(move |socket| handle_connections(socket, clients, broadcast))
                .into_response()
        });
    let serve = async {
        let _ = writeln!(stdout(), "{url}");
        warp::serve(home.or(chat)).incoming(listener).run().await
    };
    let ping = async {
        loop {
            sleep(PING_INTERVAL).await;
            let _ = broadcast.send(Message::ping("")).await;
        }
    };
    tokio::select! {
        biased; // in this order: by the time the URL is out, Ctrl-C is waited for
        Ok(()) = signal::ctrl_c() => {}
        () = serve => {}
        () = ping => {}
    }
    let goodbye = Message::close_with(1001u16, "the server is going away");
    let _ = timeout(FAREWELL, broadcast.send(goodbye)).await; // behind all that was said before
    drop(broadcast); // every connection drops its own at its end: with the last, `room` ends
    let _ = timeout(FAREWELL, room).await;
}

/// Opens the port (0: any free one) and names its URL; an error ends the program, with status 1.
fn listen(address: &str) -> Result<(TcpListener, String), Box<dyn Error>> {
    let address = address.parse()?;
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_nodelay(true)?; // accepted sockets inherit it: small messages go out at once
    socket.set_reuseaddr(cfg!(unix))?; // the port can be opened again right after a stop
    socket.bind(address)?;
    let url = format!("http://{}", socket.local_addr()?);
    Ok((socket.listen(1024)?, url))
}

/// Serves the page, which is a part of the program: nothing is read from disk.
fn handle_home() -> impl Reply {
    warp::reply::html(include_str!("index.html"))
}

/// A client's stay in the room, in a task of its own: joins, passes what it says to `broadcast`,
/// and leaves when it closes, breaks a rule (close codes 1003, 1008, 1009), or stops reading.
async fn handle_connections(socket: WebSocket, clients: Clients, broadcast: WeakSender<Message>) {
    let Some(broadcast) = broadcast.upgrade() else {
        return; // the room has closed
    };
    let id = task::id();
    let (sink, mut stream) = socket.split();
    let (queue, messages) = channel(QUEUE);
    let mut writer = tokio::spawn(write_messages(sink, messages));
    let client = (queue.clone(), writer.abort_handle());
    clients.write().unwrap().insert(id, client);
    tell(&clients, format!("client {id} joined"));

    let (code, why) = loop {
        let message = tokio::select! {
            () = queue.closed() => break (None, "it took no more messages".to_owned()),
            // Three layers: in time, without an error, and not at the end.
            message = timeout(MAX_SILENCE, stream.try_next()) => match message {
                Ok(Ok(Some(message))) if !message.is_close() => message,
                Ok(Ok(_)) => break (None, "it said goodbye".to_owned()),
                Ok(Err(error)) => break (None, error.to_string()),
                Err(_) => break (Some(1008u16), format!("silent for {MAX_SILENCE:?}")),
            }
        };
        if message.as_bytes().len() > MAX_MESSAGE {
            break (Some(1009), format!("over {MAX_MESSAGE} bytes in a message"));
        } else if message.is_binary() {
            break (Some(1003), "this room takes text only".to_owned());
        } else if let Ok(text) = message.to_str() {
            let _ = broadcast.send(Message::text(text)).await; // full: its socket isn't read on
        }
    };

    clients.write().unwrap().remove(&id);
    tell(&clients, format!("client {id} left ({why})"));
    let farewell = async {
        let goodbye = code.map_or(Message::close(), |code| Message::close_with(code, why));
        let _ = queue.send(goodbye).await;
        drop(queue); // the last sender: the writer writes what is left, and ends
        let _ = (&mut writer).await;
        while let Ok(Some(_)) = stream.try_next().await {} // until the client closes
    };
    let _ = timeout(FAREWELL, farewell).await;
    writer.abort(); // or it would stay for as long as its socket is stuck
}

/// Writes what comes through a client's queue to its socket, in a task of its own so that nobody
/// else waits for this socket; ends with the queue, with the socket, or when it is aborted.
async fn write_messages(mut sink: SplitSink<WebSocket, Message>, mut queue: Receiver<Message>) {
    let mut batch = Vec::with_capacity(BATCH);
    while queue.recv_many(&mut batch, BATCH).await > 0 {
        let mut all = stream::iter(batch.drain(..).map(Ok)); // one system call for many messages
        if sink.send_all(&mut all).await.is_err() {
            return;
        }
    }
    let _ = sink.close().await;
}

/// Passes on what was said until the last sender of `broadcast` is gone. It alone fills the queues,
/// one message after the other: that is the one order. A full queue makes it wait, and with it all
/// who talk, until half of it is free; if one place were enough, a sipper would set the pace.
async fn handle_messages(mut messages: Receiver<Message>, clients: Clients) {
    let mut batch = Vec::with_capacity(BATCH);
    while messages.recv_many(&mut batch, 1).await > 0 {
        task::yield_now().await; // whoever is just sending gets into this batch: 1.4 times as fast
        let waiting = messages.len().min(BATCH - 1);
        messages.recv_many(&mut batch, waiting).await;
        let everyone = clients.read().unwrap().clone();
        let deadline = Instant::now() + PATIENCE;
        for (queue, writer) in everyone.values() {
            let full = queue.capacity() < batch.len();
            let places = queue.reserve_many(if full { QUEUE / 2 } else { batch.len() });
            if let Ok(Ok(places)) = timeout_at(deadline, places).await {
                for (message, place) in batch.iter().zip(places) {
                    place.send(message.clone()); // shares the text, doesn't copy it
                }
            } else {
                writer.abort(); // it has stopped reading: its queue closes, and its stay ends
            }
        }
        batch.clear();
    }
}

/// Says on the terminal what happened; a terminal that is gone must not end the room.
fn tell(clients: &Clients, what: String) {
    let connected = clients.read().unwrap().len();
    let _ = writeln!(stderr(), "{what}, {connected} connected");
}
