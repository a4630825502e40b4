//! Ctrl-C: clients get everything accepted, then close code 1001, and the program ends.

use crate::support::frames;
use crate::support::*;
use futures_util::{SinkExt, StreamExt};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

const SHUTTING_DOWN: &str = "the server is shutting down";

#[tokio::test]
async fn everyone_gets_what_was_accepted_and_then_1001() {
    const COUNT: usize = 500; // of 4,000 bytes: more than a socket takes, so the queues are full of it
    let mut server = Server::start().await;
    let mut clients = Vec::new();
    for _ in 0..4 {
        clients.push(server.join_with_small_buffer().await);
    }
    let mut talker = server.join().await;
    for number in 0..COUNT {
        send(&mut talker, format!("{number:.<4000}")).await;
        receive(&mut talker).await; // so it was accepted
    }
    server.signal("INT").await;
    for client in &mut clients {
        receive_numbers(client, COUNT).await;
        let close = close_frame(client).await;
        assert_eq!(close, Some((1001, SHUTTING_DOWN.into())));
        let end = within(client.next()).await;
        assert!(end.is_none(), "behind the close frame: {end:?}");
    }
    assert_eq!(close_frame(&mut talker).await.expect("a code").0, 1001);
    assert_eq!(server.exit().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
#[ignore = "takes 5 to 12 seconds"]
async fn clients_that_read_get_1001_even_while_others_wait_to_send() {
    let _load = LOAD.lock().await;
    let mut server = Server::start().await;
    let relay = Relay::start(&server.address).await;
    drain(upgrade(&relay.address, connect(&relay.address).await).await);
    relay.to_client.send(Flow::Rate(2_400_000 / 8)).unwrap();
    let mut listener = server.join().await;
    for _ in 0..20 {
        shout(server.join().await, MAX_MESSAGE);
    }
    for _ in 0..9_000 {
        receive(&mut listener).await; // by now the slow client's queue is full, and all wait for it
    }
    let close = tokio::spawn(async move { close_frame(&mut listener).await });
    server.signal("INT").await;
    let close = close.await.unwrap();
    assert_eq!(close, Some((1001, SHUTTING_DOWN.into())));
    assert_eq!(server.exit().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn a_fast_sender_gets_1001_too() {
    let _load = LOAD.lock().await;
    let mut server = Server::start().await;
    let mut listener = server.join().await;
    let (mut sink, mut own) = server.join().await.split();
    tokio::spawn(async move { while sink.send(Message::text("x".repeat(2_000))).await.is_ok() {} });
    receive(&mut listener).await;
    let listener = tokio::spawn(async move { close_frame(&mut listener).await });
    server.signal("INT").await;
    assert_eq!(close_frame(&mut own).await.expect("a code").0, 1001);
    assert_eq!(listener.await.unwrap().expect("a code").0, 1001);
    assert_eq!(server.exit().await.code(), Some(0));
}

#[tokio::test]
async fn a_client_that_joins_during_the_shutdown_gets_1001_too() {
    let mut server = Server::start().await;
    let mut never_answers = server.join().await.into_inner();
    let mut late = server.connect().await;
    let request = "GET /ws HTTP/1.1\r\nHost: chat\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";
    let (begin, end) = request.split_at(30);
    late.write_all(begin.as_bytes()).await.unwrap();
    server.join().await; // by now the beginning has been read
    server.signal("INT").await;
    let close = frames::server_close(1001, SHUTTING_DOWN);
    let mut received = vec![0; close.len()];
    within(never_answers.read_exact(&mut received))
        .await
        .unwrap();
    assert_eq!(received, close);
    let newcomer = TcpStream::connect(&server.address).await;
    assert!(newcomer.is_err(), "the port is still open");
    late.write_all(end.as_bytes()).await.unwrap();
    let answer = rest(&mut late).await;
    assert!(answer.starts_with(b"HTTP/1.1 101 "));
    assert!(answer.ends_with(&[b"\r\n\r\n", &*close].concat()));
    assert_eq!(server.exit().await.code(), Some(0));
}

#[tokio::test]
async fn nobody_can_keep_the_server_from_ending() {
    let mut server = Server::start().await;
    let _idle = idle_connection(&server).await;
    let mut half = server.connect().await;
    half.write_all(b"GET / HTTP/1.1\r\nHo").await.unwrap();
    let _never_answers = server.join().await;
    server.signal("INT").await;
    let end = tokio::time::timeout(CLOSE_LIMIT, server.exit()).await;
    assert_eq!(end.expect("an end in time").code(), Some(0));
}

#[tokio::test]
async fn an_idle_connection_does_not_delay_the_end() {
    let _load = LOAD.lock().await;
    let mut server = Server::start().await;
    let _idle = idle_connection(&server).await;
    let began = Instant::now();
    server.signal("INT").await;
    assert_eq!(server.exit().await.code(), Some(0));
    let took = began.elapsed();
    assert!(took < Duration::from_millis(1500), "it took {took:?}");
}

/// Like that of a browser that has loaded the page.
async fn idle_connection(server: &Server) -> TcpStream {
    let mut idle = server.connect().await;
    let request = b"GET / HTTP/1.1\r\nHost: chat\r\n\r\n";
    idle.write_all(request).await.unwrap();
    within(idle.read_u8()).await.unwrap();
    idle
}
