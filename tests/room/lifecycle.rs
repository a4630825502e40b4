//! Starting, joining and leaving, and what the terminal says about it.

use crate::support::frames;
use crate::support::*;
use futures_util::{SinkExt, StreamExt};
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::CloseFrame;

// The start

#[tokio::test]
async fn a_port_that_cannot_be_opened_is_reported_in_one_plain_line() {
    let server = Server::start().await;
    for argument in [&*server.address, "nonsense", "8080", "127.0.0.1:70000", ""] {
        let output = within(chat(&[argument]).output()).await.unwrap();
        let problem = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{problem}");
        assert_eq!(problem.lines().count(), 1, "{problem}");
        let start = format!("cannot listen on {argument}: ");
        assert!(problem.starts_with(&start), "{problem}");
        let end = "; try `cargo run -- 127.0.0.1:8081`\n";
        assert!(problem.ends_with(end), "{problem}");
        assert!(output.stdout.is_empty());
    }
}

#[tokio::test]
async fn without_an_argument_it_is_port_8080_of_this_machine_alone() {
    let mut child = chat(&[]).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap()).lines();
    if let Some(url) = within(stdout.next_line()).await.unwrap() {
        assert_eq!(url, "http://127.0.0.1:8080");
    } else {
        println!("port 8080 is taken: the test looks at the error alone");
        let output = within(child.wait_with_output()).await.unwrap();
        let problem = String::from_utf8(output.stderr).unwrap();
        let start = "cannot listen on 127.0.0.1:8080: ";
        assert!(problem.starts_with(start), "{problem}");
    }
}

#[tokio::test]
async fn the_first_line_is_a_url_that_opens_on_this_machine() {
    for address in ["0.0.0.0:0", "[::]:0", "[::1]:0"] {
        let mut server = Server::start_by(&mut chat(&[address])).await;
        let url: SocketAddr = server.address.parse().unwrap();
        assert!(url.ip().is_loopback(), "{url} for {address}");
        server.join().await;
        server.logs("client 1 joined").await;
    }
}

#[tokio::test]
async fn a_port_can_be_opened_again_right_after_a_stop() {
    let mut server = Server::start().await;
    let mut client = server.join().await;
    server.child.kill().await.unwrap(); // the server's side closes first: its port is in TIME_WAIT
    assert!(!matches!(within(client.next()).await, Some(Ok(_))));
    let again = Server::start_by(&mut chat(&[&server.address])).await;
    assert_eq!(again.address, server.address);
}

// Joining and leaving

#[tokio::test]
async fn joining_and_leaving_disturbs_nobody_and_leaves_nothing_behind() {
    let server = Server::start().await;
    let (mut talker, mut listener) = (server.join().await, server.join().await);
    let before = server.descriptors();
    for wave in 0..6 {
        let mut guests = Vec::new();
        for _ in 0..100 {
            guests.push(server.join().await);
        }
        send(&mut talker, format!("wave {wave}")).await;
        assert_eq!(receive(&mut listener).await, format!("wave {wave}"));
        for (number, mut guest) in guests.into_iter().enumerate() {
            match number % 3 {
                0 => guest.close(None).await.unwrap(),
                1 => drop(guest),
                _ => {
                    // The beginning of a frame, and then a reset.
                    let mut stream = guest.into_inner();
                    let half = &frames::header(frames::TEXT, 200)[..4];
                    stream.write_all(half).await.unwrap();
                    stream.set_zero_linger().unwrap();
                }
            }
        }
    }
    send(&mut talker, "all gone").await;
    assert_eq!(receive(&mut listener).await, "all gone");
    server.settle(before).await;
}

#[tokio::test]
async fn a_close_frame_is_answered_at_once() {
    let _load = LOAD.lock().await;
    let mut server = Server::start().await;
    let mut client = server.join().await;
    let began = Instant::now();
    client.close(Some(normal(""))).await.unwrap();
    assert_eq!(close_frame(&mut client).await, Some((1000, "".into())));
    assert!(within(client.next()).await.is_none(), "not the end");
    server.logs("client 1 left: it closed the connection").await;
    let took = began.elapsed();
    assert!(took < Duration::from_secs(1), "it took {took:?}");
}

fn normal(reason: &str) -> CloseFrame {
    CloseFrame {
        code: 1000.into(),
        reason: reason.into(),
    }
}

#[tokio::test]
async fn when_descriptors_have_run_out_newcomers_wait_until_some_have_left() {
    let limited = format!("ulimit -n 100; exec {} 127.0.0.1:0", built_chat().display());
    let server = Server::start_by(&mut program("sh", &["-c", &limited])).await;
    let mut waiting = Vec::new();
    for _ in 0..200 {
        waiting.push(server.connect().await);
    }
    let mut inside = Vec::new();
    for stream in waiting.drain(..50) {
        inside.push(upgrade(&server.address, stream).await);
    }
    assert!(server.descriptors() >= 100, "they have not run out");
    drop(waiting);
    drop(inside.split_off(1));
    let mut newcomer = server.join().await;
    send(&mut newcomer, "in at last").await;
    assert_eq!(receive(&mut inside[0]).await, "in at last");
}

// The terminal

#[tokio::test]
async fn the_terminal_logs_each_join_and_each_leave_with_its_reason() {
    let mut server = Server::start().await;
    let mut anna = server.join().await;
    let mut ben = server.join().await;
    let carl = server.join().await.into_inner();
    let dora = server.join().await.into_inner();
    for number in 1..=4 {
        let line = format!("client {number} joined, {number} connected");
        assert_eq!(server.logs("joined").await, line);
    }
    anna.close(Some(normal("\u{1b}[31m"))).await.unwrap(); // no foreign text on the terminal
    let line = "client 1 left: it closed the connection, 3 connected";
    assert_eq!(server.logs("left").await, line);
    ben.send(Message::binary(&b"x"[..])).await.unwrap();
    let line = "client 2 left: this room takes text only, 2 connected";
    assert_eq!(server.logs("left").await, line);
    carl.set_zero_linger().unwrap();
    drop(carl); // with a reset
    let line = "client 3 left: the connection was lost, 1 connected";
    assert_eq!(server.logs("left").await, line);
    drop(dora); // without
    let line = "client 4 left: the connection was lost, 0 connected";
    assert_eq!(server.logs("left").await, line);
}

#[tokio::test]
async fn a_client_that_closes_amid_traffic_is_logged_as_closed_and_not_as_lost() {
    let mut server = Server::start().await;
    let (mut sink, own) = server.join().await.split();
    drain(own);
    tokio::spawn(async move {
        loop {
            send(&mut sink, "talk").await;
            tokio::task::yield_now().await;
        }
    });
    for _ in 0..100 {
        let mut guest = server.join().await;
        receive(&mut guest).await;
        guest.close(None).await.unwrap();
        drop(guest); // unread data turns this into a reset
        let line = server.logs("left").await;
        assert!(line.contains("it closed the connection"), "{line}");
    }
}

#[tokio::test]
async fn the_room_goes_on_when_its_output_fails() {
    let mut no_stderr = chat(&["127.0.0.1:0"]).spawn().unwrap();
    drop(no_stderr.stderr.take());
    chat_in(&Server::of(no_stderr).await).await;

    for output in ["/dev/full", "a closed pipe"] {
        let address = free_address();
        let mut command = chat(&[&address]);
        if output == "/dev/full" {
            let full = std::fs::File::options().write(true).open(output).unwrap();
            command.stdout(Stdio::from(full));
        }
        let mut child = command.spawn().unwrap();
        drop(child.stdout.take());
        listens(&address).await;
        chat_in(&Server::at(address, child)).await;
    }
}

async fn chat_in(server: &Server) {
    for _ in 0..3 {
        let mut client = server.join().await;
        round_trips(&mut client, 1).await;
        client.close(None).await.unwrap();
    }
}
