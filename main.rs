//! A chat room over WebSocket: what one client says, all clients hear, in one order. First comes
//! the Go program, part for part. From `MAX_MESSAGE` on comes what it leaves out: skip that first.

use futures_util::{FutureExt, SinkExt, StreamExt, stream::SplitSink, stream::SplitStream};
use std::sync::{Arc, LazyLock, RwLock, mpsc::SyncSender, mpsc::sync_channel};
use std::{collections::HashMap, env, error::Error, io::Write, io::stdout, net, process, thread};
use tokio::sync::{Semaphore, SemaphorePermit, mpsc};
use tokio::{net::TcpListener, net::TcpSocket, signal, task, time, time::Duration};
use warp::http::{StatusCode, uri::Authority};
use warp::{Filter, Reply, ws::Message, ws::WebSocket, ws::Ws};

/// Everybody in the room, by task number: the sending end of each client's queue. `Arc` lets all
/// tasks own the map. The lock is never held over an `await`, so nobody waits for it for long.
type Clients = Arc<RwLock<HashMap<task::Id, Client>>>;
type Client = mpsc::UnboundedSender<Batch>;
type Queue = mpsc::UnboundedReceiver<Batch>; // the other end of `Client`
type Broadcast = mpsc::UnboundedSender<Said>;
type Batch = Arc<[Said]>; // shared by all queues
/// A message, and its share of `SPACE`, which is given back when the last queue drops the message.
type Said = (Message, Option<SemaphorePermit<'static>>);

/// Opens the room and serves it until Ctrl-C, which says goodbye to all, with close code 1001.
#[tokio::main(flavor = "current_thread")] // all tasks share one thread: faster here than two
async fn main() {
    let clients = Clients::default();
    let (broadcast, messages) = mpsc::unbounded_channel();
    let room = (clients.clone(), broadcast.clone());
    let get = warp::get().or(warp::head()).unify();
    let home = warp::path::end().and(get).map(handle_home);
    let page = warp::header::optional("origin").and(warp::header("host"));
    let upgrade = warp::path!("ws").and(page).and(warp::ws()).map(upgrader);
    let chat = upgrade.map(move |ws: Result<Ws, StatusCode>| {
        let (clients, broadcast) = room.clone(); // copies the pointers, for this client's task
        ws.map(|ws| ws.on_upgrade(|socket| handle_connections(socket, clients, broadcast)))
    });
    tokio::spawn(handle_messages(messages, clients.clone()));
    let address = env::args_os().nth(1).unwrap_or("127.0.0.1:8080".into());
    let address = address.to_string_lossy();
    let (listener, url) = listen(&address).unwrap_or_else(|error| {
        eprintln!("cannot listen on {address}: {error}; try `cargo run -- 127.0.0.1:8081`");
        process::exit(1)
    });
    let server = tokio::spawn(warp::serve(home.or(chat)).incoming(listener).run());

    let interrupt = tokio::spawn(signal::ctrl_c());
    task::yield_now().await; // all three have begun now, so Ctrl-C is heard before the URL is out
    let _ = writeln!(stdout(), "{url}");
    let _ = interrupt.await;
    server.abort(); // nobody joins any more
    let goodbye = Message::close_with(1001u16, "the server is going away");
    let _ = broadcast.send((goodbye, None)); // behind all that was said before
    let end = time::Instant::now() + FAREWELL;
    while !clients.read().unwrap().is_empty() && time::Instant::now() < end {
        time::sleep(Duration::from_millis(10)).await;
    }
}

fn handle_home() -> impl Reply {
    warp::reply::html(include_str!("index.html")) // the page is a part of the program
}

/// A client's stay in the room, in a task of its own: joins, passes what it says to `broadcast`,
/// and leaves when it closes, breaks a rule, falls silent, or takes no more messages.
async fn handle_connections(socket: WebSocket, clients: Clients, broadcast: Broadcast) {
    let id = task::id();
    let (sink, mut stream) = socket.split();
    let (client, queue) = mpsc::unbounded_channel();
    tokio::spawn(write_messages(sink, queue));
    clients.write().unwrap().insert(id, client.clone());
    tell(&clients, format!("client {id} joined"));
    let goodbye = loop {
        match read_message(&mut stream, &client).await {
            Ok(message) => _ = broadcast.send(message),
            Err(goodbye) => break goodbye,
        }
    };
    say_goodbye(goodbye.clone(), &mut stream, &client).await;
    clients.write().unwrap().remove(&id);
    tell(&clients, format!("client {id} left ({})", goodbye.1));
}

/// Passes on what was said, in a task of its own, for as long as the program runs. It alone puts it
/// into the queues: that is the one order. It never waits for a client.
async fn handle_messages(mut messages: mpsc::UnboundedReceiver<Said>, clients: Clients) {
    while let Some(message) = messages.recv().await {
        task::yield_now().await; // whoever is just sending gets into the same batch
        let mut batch = vec![message];
        while let Ok(message) = messages.try_recv() {
            batch.push(message);
        }
        let batch: Batch = batch.into();
        for client in clients.read().unwrap().values() {
            let _ = client.send(batch.clone()); // copies the pointer, not the messages
        }
    }
}

const MAX_MESSAGE: usize = 64 * 1024; // bytes; a longer one is refused with close code 1009
const MAX_READ: usize = 2 * MAX_MESSAGE; // a yet longer one isn't read: closed without a code
const MAX_WRITE: usize = 256 * 1024; // bytes that wait for a socket: 128 KiB, a message, pongs
const PATIENCE: Duration = Duration::from_millis(800); // for a socket to take 128 KiB
const MAX_SILENCE: Duration = Duration::from_secs(30); // then a ping; as long again, then 1008
const FAREWELL: Duration = Duration::from_secs(2); // for the answer to a close frame
const OVERHEAD: usize = 128; // bytes that a message takes beside its text
static SPACE: Semaphore = Semaphore::const_new(2 * ENOUGH); // bytes, for all queues together
const ENOUGH: usize = 8 * 1024 * 1024; // bytes; with less space, who is too slow has to leave
type Stream = SplitStream<WebSocket>;

/// Lets programs have a WebSocket, and our own page; a foreign page gets status 403 (RFC 6454). A
/// foreign name that was made to point here (DNS rebinding) has no certificate for `https`.
fn upgrader(origin: Option<String>, host: Authority, ws: Ws) -> Result<Ws, StatusCode> {
    let name = host.host().trim_matches(['[', ']']); // an IPv6 address stands in brackets
    let no_name = name == "localhost" || name.parse::<net::IpAddr>().is_ok();
    let (http, https) = (format!("http://{host}"), format!("https://{host}"));
    let may_join = origin.is_none_or(|origin| origin == https || no_name && origin == http);
    let ws = ws.max_message_size(MAX_READ).max_frame_size(MAX_READ);
    let ws = ws.max_write_buffer_size(MAX_WRITE);
    may_join.then_some(ws).ok_or(StatusCode::FORBIDDEN)
}

/// Waits for a client's next text message, and for its share of `SPACE`: until there is some, the
/// client isn't read on. An error is why the client has to leave: close code, if any, and reason.
async fn read_message(stream: &mut Stream, client: &Client) -> Result<Said, (Option<u16>, String)> {
    loop {
        task::coop::consume_budget().await; // pongs without end must not keep the others waiting
        let silence = async {
            time::sleep(MAX_SILENCE).await;
            let _ = client.send([(Message::ping(""), None)].into());
            time::sleep(MAX_SILENCE).await;
        };
        let message = tokio::select! {
            () = client.closed() => return Err((None, "it took no more messages".into())),
            heard = stream.next() => match heard {
                Some(Ok(message)) if !message.is_close() => message,
                Some(Err(error)) => return Err((None, error.to_string())),
                _ => return Err((None, "it said goodbye".into())),
            },
            () = silence => return Err((Some(1008), format!("silent for {:?}", 2 * MAX_SILENCE))),
        };
        if message.as_bytes().len() > MAX_MESSAGE {
            return Err((Some(1009), format!("over {MAX_MESSAGE} bytes in a message")));
        } else if message.is_binary() {
            return Err((Some(1003), "this room takes text only".into()));
        } else if let Ok(text) = message.to_str() {
            let share = SPACE.acquire_many((text.len() + OVERHEAD) as u32).await;
            // A copy on purpose: `text` lies in the read buffer, and would keep all of that.
            return Ok((Message::text(text), share.ok()));
        }
    }
}

/// Writes a client's queue to its socket, in a task of its own: nobody else waits for it. A socket
/// that is gone is none of its business: `read_message` finds out, behind the client's last words.
async fn write_messages(mut sink: SplitSink<WebSocket, Message>, mut queue: Queue) -> Option<()> {
    loop {
        let batch = queue.recv().await?;
        for (message, _) in batch.iter() {
            with_patience(&queue, sink.feed(message.clone())).await?;
        }
        if queue.is_empty() {
            with_patience(&queue, sink.flush()).await?; // many messages, one system call
        }
    }
}

/// Waits for a socket. Only a slow one costs a timer. `None`: space is short, or the client left.
async fn with_patience(queue: &Queue, mut io: impl Future + Unpin) -> Option<()> {
    while (&mut io).now_or_never().is_none() && time::timeout(PATIENCE, &mut io).await.is_err() {
        (SPACE.available_permits() > ENOUGH && !queue.is_closed()).then_some(())?;
    }
    Some(())
}

/// Sends a close frame behind all that waits for the client, and reads on until the client closes.
async fn say_goodbye((code, why): (Option<u16>, String), stream: &mut Stream, client: &Client) {
    for _ in 0..3 {
        task::yield_now().await; // its last message gets into its own queue, too
    }
    let goodbye = code.map_or(Message::close(), |code| Message::close_with(code, why));
    let _ = client.send([(goodbye, None)].into());
    let _ = time::timeout(FAREWELL, stream.for_each(|_| task::coop::consume_budget())).await;
}

/// Opens the port (0: any free one), and says its URL. Each connection inherits what is set here.
fn listen(address: &str) -> Result<(TcpListener, String), Box<dyn Error>> {
    let address = address.parse()?;
    let socket = match address {
        net::SocketAddr::V4(_) => TcpSocket::new_v4()?,
        net::SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_nodelay(true)?; // small messages go out at once
    socket.set_keepalive(true)?; // a connection ends when its machine has vanished
    socket.set_send_buffer_size(MAX_WRITE as u32)?; // or the kernel takes megabytes
    socket.set_reuseaddr(cfg!(unix))?; // the port can be opened again right after a stop
    socket.bind(address)?;
    let url = format!("http://{}", socket.local_addr()?);
    Ok((socket.listen(1024)?, url))
}

/// Says on the terminal what happened. A thread of its own writes it: a terminal may stand still
/// (then lines are lost) or be gone (then `eprint!` panics), and the room must go on.
fn tell(clients: &Clients, what: String) {
    static TERMINAL: LazyLock<SyncSender<String>> = LazyLock::new(|| {
        let (sender, lines) = sync_channel::<String>(1000);
        thread::spawn(move || lines.iter().for_each(|line| eprint!("{line}")));
        sender
    });
    let line = format!("{what}, {} connected\n", clients.read().unwrap().len());
    let _ = TERMINAL.try_send(line);
}
