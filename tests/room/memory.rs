//! How much memory the room may take, as README says.

use crate::support::*;
use tokio_tungstenite::tungstenite::protocol::Role;

/// Beside a slow client, whose queue is full, eight others send as fast as they can.
#[tokio::test]
#[ignore = "takes 5 to 12 seconds"]
async fn all_queues_together_are_bounded_for_the_longest_messages_and_for_empty_ones() {
    let _load = LOAD.lock().await;
    // Texts are shared by all queues; an entry is not. The allocator keeps some more.
    for (length, most) in [(MAX_MESSAGE, QUEUE * 5), (0, 8 * 1024)] {
        let mut server = Server::start().await;
        let before = server.memory();
        drain_at(1e6, blocking(server.join_slow().await.into_inner()));
        for _ in 0..8 {
            shout(server.join().await, length);
        }
        sleep(Duration::from_secs(5)).await; // that is how long they send
        let grown = server.grown(before);
        assert!(grown < most, "the server's memory grew by {grown} KiB");
        server.assert_all_stayed();
    }
}

#[tokio::test]
async fn a_queue_keeps_messages_and_not_the_buffers_they_came_in() {
    let server = Server::start().await;
    let _slow = server.join_slow().await;
    let mut talker = server.join().await;
    say_numbers(&mut talker, 400, 4_000).await; // more than a socket takes: from here on they queue
    let before = server.memory();
    let pongs = frame(PONG, "").repeat(128 * 1024 / 6); // a whole read buffer
    for _ in 0..15 {
        talker.get_mut().write_all(&pongs).await.unwrap();
        round_trip(&mut talker).await;
    }
    let grown = server.grown(before);
    assert!(grown < 512, "the server's memory grew by {grown} KiB");
}

#[tokio::test]
async fn what_one_client_can_hold_is_bounded_and_once_it_reads_it_receives_everything() {
    let _load = LOAD.lock().await;
    const COUNT: usize = 30;
    let server = Server::start().await;
    let mut talker = server.join().await;
    let before = server.memory();
    let pings = frame(PING, [b'x'; 125]).repeat(5_000); // more pongs than wait for it
    // The most that is kept of a message: fragments up to the limit, without the last one.
    let first = frame(FIRST, vec![b'x'; 16 * MAX_MESSAGE]);
    let all = [pings, frame(TEXT, "sent"), first].concat();
    let mut clients = Vec::new();
    for _ in 0..COUNT {
        let mut stream = server.join_stuck().await.into_inner();
        within(stream.write_all(&all)).await.unwrap();
        clients.push(stream);
        assert_eq!(receive(&mut talker).await, "sent"); // so all has been read
    }
    let each = server.grown(before) / COUNT;
    assert!(each < 450, "{each} KiB for each client");

    let mut stream = clients.pop().unwrap();
    for text in ["a".repeat(MAX_MESSAGE), "b".to_owned()] {
        send(&mut talker, &text).await;
        assert_eq!(receive(&mut talker).await, text);
    }
    stream.write_all(&[frame(PING, "last"), frame(LAST, "")].concat()).await.unwrap();
    let mut client = WebSocketStream::from_raw_socket(stream, Role::Client, None).await;
    let (mut texts, mut pongs) = (Vec::new(), Vec::new());
    let close = loop {
        match within(client.next()).await.unwrap().unwrap() {
            Message::Text(text) => texts.push(text.as_str()[..1].to_owned()),
            Message::Pong(pong) => pongs.push(pong),
            Message::Close(close) => break close.unwrap(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(texts, ["s", "a", "b"]);
    assert_eq!(pongs.last().unwrap(), "last");
    assert_eq!(u16::from(close.code), 1009);
}
