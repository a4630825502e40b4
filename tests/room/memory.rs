//! How much memory the room may take, as README says.

use crate::support::frames::{self, frame};
use crate::support::*;
use futures_util::{SinkExt, StreamExt};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::Message;

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn the_whole_room_takes_no_more_memory_than_readme_says() {
    let _load = LOAD.lock().await;
    const LISTENERS: usize = 100;
    const SHOUTERS: usize = 8;
    let server = Server::start().await;
    let before = server.memory();
    let _stuck = server.join_with_small_buffer().await;
    for _ in 0..LISTENERS {
        let mut listener = server.join().await.into_inner();
        tokio::spawn(async move {
            let mut some = vec![0; 64 * 1024];
            while let Ok(1..) = listener.read(&mut some).await {}
        });
    }
    for _ in 0..SHOUTERS {
        shout(server.join().await, MAX_MESSAGE);
    }
    tokio::time::sleep(Duration::from_secs(2)).await; // that is how long they send
    let grown = server.grown(before);
    println!("peak {grown} KiB");
    assert!(
        grown < 40 * 1024 + (1 + LISTENERS + SHOUTERS) * 512,
        "the server's memory grew by {grown} KiB"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
#[ignore = "takes 5 to 12 seconds"]
async fn a_queue_is_bounded_for_the_longest_messages_and_for_empty_ones() {
    let _load = LOAD.lock().await;
    // Texts are shared by all queues; an entry is not. The allocator keeps some more.
    for (length, count, most) in [(MAX_MESSAGE, 2 * QUEUE, QUEUE * 5), (0, 200_000, 4 * 1024)] {
        let mut server = Server::start().await;
        let _stuck = server.join_with_small_buffer().await;
        let (mut sink, mut own) = server.join().await.split();
        let before = server.memory();
        let own = tokio::spawn(async move {
            for _ in 0..count {
                receive(&mut own).await;
            }
        });
        let message = Message::text("x".repeat(length));
        for _ in 0..count {
            within(sink.feed(message.clone())).await.unwrap();
        }
        within(sink.flush()).await.unwrap();
        own.await.unwrap();
        let grown = server.grown(before);
        println!("{length} bytes: peak {grown} KiB");
        assert!(grown < most, "the server's memory grew by {grown} KiB");
        server.logs(STUCK).await;
    }
}

#[tokio::test]
#[ignore = "takes 5 to 12 seconds"]
async fn a_queue_keeps_messages_and_not_the_buffers_they_came_in() {
    let server = Server::start().await;
    let _slow = server.join_with_small_buffer().await;
    let mut talker = server.join().await;
    for _ in 0..400 {
        send(&mut talker, "x".repeat(4_000)).await; // more than a socket takes: from here on they queue
        receive(&mut talker).await;
    }
    let before = server.memory();
    let pongs = frame(frames::PONG, "").repeat(128 * 1024 / 6); // a whole read buffer
    for _ in 0..50 {
        talker.get_mut().write_all(&pongs).await.unwrap();
        round_trips(&mut talker, 1).await;
    }
    let grown = server.grown(before);
    assert!(grown < 1024, "the server's memory grew by {grown} KiB");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn what_one_client_can_hold_is_bounded() {
    let _load = LOAD.lock().await;
    const COUNT: usize = 30;
    let server = Server::start().await;
    let mut talker = server.join().await;
    let before = server.memory();
    let mut clients = Vec::new();
    let pings = frames::longest(frames::PING).repeat(5_000); // as many pongs as wait for it, and more
    let longest = MAX_MESSAGE as u64;
    for _ in 0..COUNT {
        let mut stream = server.join_with_small_buffer().await.into_inner();
        // The most that is kept of a message: fragments up to the limit, without the last one.
        let text = [
            frames::fragment(frames::TEXT, vec![b'x'; MAX_MESSAGE - 1]),
            frames::header(frames::CONTINUATION, longest),
        ];
        // The room may drop it for not reading its pongs.
        let _ = within(stream.write_all(&[&*pings, &text.concat()].concat())).await;
        clients.push(stream);
    }
    for stream in &clients {
        until_all_is_read(stream).await;
    }
    round_trips(&mut talker, 1).await;
    let each = server.grown(before) / COUNT;
    println!("{each} KiB each");
    assert!(each < 320, "{each} KiB for each client");
}

#[tokio::test]
async fn a_message_that_is_refused_or_only_announced_costs_nothing() {
    let server = Server::start().await;
    let mut clients = Vec::new();
    for _ in 0..100 {
        clients.push(server.join().await.into_inner());
    }
    let before = server.memory();
    for stream in &mut clients {
        let header = frames::header(frames::FIN | frames::TEXT, MAX_MESSAGE as u64);
        stream.write_all(&header).await.unwrap();
    }
    let text = vec![b'x'; 8 << 20];
    let refused = async |bytes: Vec<u8>| {
        let mut stream = server.join().await.into_inner();
        let all = within(stream.write_all(&bytes)).await;
        assert!(all.is_err(), "the server read all of it");
    };
    let more = frames::fragment(frames::CONTINUATION, &text[..1_000]).repeat(8_000);
    tokio::join!(
        refused(frame(frames::TEXT, &text)),
        refused([frames::fragment(frames::TEXT, ""), more].concat()),
    );
    round_trips(&mut server.join().await, 1).await; // everything has been read
    let grown = server.grown(before);
    println!("{grown} KiB");
    assert!(grown < 4 * 1024, "the server's memory grew by {grown} KiB");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
#[ignore = "takes 5 to 12 seconds"]
async fn pongs_do_not_pile_up_for_a_client_that_does_not_read_them() {
    let _load = LOAD.lock().await;
    let server = Server::start().await;
    let mut stream = server.join_with_small_buffer().await.into_inner();
    let before = server.memory();
    let pings = frames::longest(frames::PING).repeat(500);
    for _ in 0..300 {
        within(stream.write_all(&pings)).await.unwrap();
    }
    let grown = server.grown(before);
    assert!(grown < 4 * 1024, "the server's memory grew by {grown} KiB");
    // When it reads again, it receives every message, and pongs for new pings.
    let mut talker = server.join().await;
    let texts = ["a".repeat(MAX_MESSAGE), "b".to_owned(), "z".to_owned()];
    for text in &texts {
        send(&mut talker, text).await;
        assert_eq!(receive(&mut talker).await, *text);
    }
    let last = frame(frames::PING, "last");
    stream.write_all(&last).await.unwrap();
    let mut client = socket_of(stream).await;
    for text in &texts {
        assert_eq!(receive(&mut client).await, *text);
    }
    let is_last = |message: &Message| *message == Message::Pong("last".into());
    while !is_last(&within(client.next()).await.unwrap().unwrap()) {}
}
