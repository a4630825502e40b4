#!/bin/sh
# Guess: a client sends a ping and three texts in one segment and goes away with unread data, so a reset follows. If
# tungstenite's buffer holds the texts by then, `read()` returns the ping, the three texts, and only then the error.
# Versions: tungstenite and tokio-tungstenite 0.29.0 (crates.io); 0.30.0 does the same.
# Behaviour: the call after the ping first writes the pong. If that fails, it returns this error before the texts. The
# next calls do return them, but the documentation says to consider such an error fatal. In tokio-tungstenite they are
# lost: its stream ends with the first error. Without the ping, both return all three texts before the error.
# Output seen:
#   tungstenite, no ping: a, b, c, Io(ConnectionReset), Protocol(ResetWithoutClosingHandshake)
#   tokio-tungstenite, no ping: a, b, c, Io(ConnectionReset), the end
#   tungstenite, ping: ping, Io(ConnectionReset), a, b, c, Protocol(ResetWithoutClosingHandshake)
#   tokio-tungstenite, ping: ping, Io(ConnectionReset), the end
set -eu
script=$(realpath "$0"); dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
cargo init --quiet --vcs none --name probe
cargo add --quiet tungstenite@=0.29.0 tokio-tungstenite@=0.29.0 futures-util@=0.3.34
cargo add --quiet tokio@=1.54.1 --features macros,net,rt
cat >src/main.rs <<'RS'
use futures_util::StreamExt;
use std::{io::Write, net::{TcpListener, TcpStream}, thread, time::Duration};
use tungstenite::{Error, Message, WebSocket, protocol::Role};

/// The server's end of a connection (the handshake is left out), and a function that makes the client go away.
fn connect(frames: &[u8]) -> (TcpStream, impl FnOnce()) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let mut server = listener.accept().unwrap().0;
    server.write_all(b"\x81\x06unread").unwrap();
    client.peek(&mut [0]).unwrap(); // it has arrived
    client.write_all(frames).unwrap();
    let watched = server.try_clone().unwrap();
    (server, move || {
        drop(client); // after a reset, there is no peer any more (after a FIN, there is)
        assert!((0..10_000).any(|_| { thread::sleep(Duration::from_millis(1)); watched.peer_addr().is_err() }));
    })
}

fn show(result: Result<Message, Error>) -> String {
    match result {
        Ok(message) => message.to_string(), // its payload
        Err(Error::Io(error)) => format!("Io({:?})", error.kind()),
        Err(error) => format!("{error:?}"),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let texts = b"\x81\x81\0\0\0\0a\x81\x81\0\0\0\0b\x81\x81\0\0\0\0c"; // masked with zeros
    for (name, frames) in [("no ping", texts.to_vec()), ("ping", [b"\x89\x84\0\0\0\0ping", &texts[..]].concat())] {
        let (server, leave) = connect(&frames);
        let mut socket = WebSocket::from_raw_socket(server, Role::Server, None);
        let mut seen = vec![show(socket.read())];
        leave();
        while socket.can_read() {
            seen.push(show(socket.read()));
        }
        println!("tungstenite, {name}: {}", seen.join(", "));
        let (server, leave) = connect(&frames);
        server.set_nonblocking(true).unwrap();
        let stream = tokio::net::TcpStream::from_std(server).unwrap();
        let mut socket = tokio_tungstenite::WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
        let mut seen = vec![show(socket.next().await.unwrap())];
        leave();
        seen.extend(socket.map(show).collect::<Vec<_>>().await);
        println!("tokio-tungstenite, {name}: {}, the end", seen.join(", "));
    }
}
RS
cargo run --quiet | tee seen
sed -n 's/^#   //p' "$script" | cmp - seen
