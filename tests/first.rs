//! The smallest test of a chat: start the program, connect two clients, send one message.

use futures_util::{SinkExt, StreamExt};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use tokio::net::TcpStream;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Message;

#[tokio::test]
async fn both_clients_receive_what_one_of_them_sends() {
    let mut server = Command::new(env!("CARGO_BIN_EXE_chat"))
        .arg("127.0.0.1:0") // a free port; the first line of output shows it
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut url = String::new();
    let mut output = BufReader::new(server.stdout.take().unwrap());
    output.read_line(&mut url).unwrap();
    let address = url.trim().trim_start_matches("http://");

    let mut clients = Vec::new();
    for _ in 0..2 {
        let stream = TcpStream::connect(address).await.unwrap();
        let join = client_async(format!("ws://{address}/ws"), stream);
        clients.push(join.await.unwrap().0);
    }
    clients[0].send(Message::text("hello")).await.unwrap();
    for client in &mut clients {
        let message = client.next().await.unwrap().unwrap();
        assert_eq!(message, Message::text("hello"));
    }
    server.kill().unwrap();
    server.wait().unwrap();
}
