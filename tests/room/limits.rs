//! Messages that are too long, not text, or not WebSocket at all: close codes and reasons.

use crate::support::*;

const TOO_LONG: (u16, &str) = (1009, "sent too long a message");
const TEXT_ONLY: (u16, &str) = (1003, "sent binary data, not text");
const NOT_UTF8: (u16, &str) = (1007, "sent text that was not valid UTF-8");
const BROKEN: (u16, &str) = (1002, "broke the WebSocket protocol");

#[tokio::test]
async fn a_client_that_breaks_a_rule_gets_a_close_code_and_its_message_reaches_nobody() {
    let mut server = Server::start().await;
    let mut listener = server.join().await;
    let fragments =
        |length, count| [frame(FIRST, ""), frame(MORE, vec![b'x'; length]).repeat(count), frame(LAST, "x")].concat();
    let endless = [frame(FIRST, ""), frame(MORE, [b'x'; 8_192]).repeat(9)].concat();
    let mut clients = Vec::new();
    for (bytes, close) in [
        (frame(TEXT, vec![b'x'; MAX_MESSAGE + 1]), TOO_LONG),
        (header(TEXT, 16 * MAX_MESSAGE + 1), TOO_LONG), // the header is enough
        (fragments(MAX_MESSAGE, 1), TOO_LONG),
        (fragments(1_000, 5), TOO_LONG),
        (endless, TOO_LONG),
        (frame(BINARY, "x"), TEXT_ONLY),
        (frame(BINARY, ""), TEXT_ONLY),
        (frame(TEXT, [0xc3, 0x28]), NOT_UTF8),
        (frame(TEXT, [0xc3]), NOT_UTF8),     // cut in a character
        (vec![TEXT, 2, b'h', b'i'], BROKEN), // not masked
        (frame(TEXT | 0x40, "hi"), BROKEN),  // a reserved bit
        (frame(0x83, "hi"), BROKEN),         // an unknown opcode
        (frame(CLOSE, [3]), BROKEN),         // half a close code
    ] {
        let mut stream = server.join().await.into_inner();
        within(stream.write_all(&bytes)).await.unwrap();
        clients.push((stream, close));
    }
    let mut lines = Vec::new();
    for (id, (stream, (code, reason))) in (2..).zip(&mut clients) {
        assert_eq!(rest(stream).await, server_close(*code, reason), "client {id}");
        lines.push(server.logs("left").await);
    }
    for (id, (_, (_, reason))) in (2..).zip(clients) {
        assert!(lines.iter().any(|line| line.starts_with(&format!("client {id} left ({reason})"))), "{id}: {lines:?}");
    }
    send(&mut server.join().await, "next").await;
    assert_eq!(receive(&mut listener).await, "next");
}

/// RFC 6455, section 7.1.1: the server ends the connection. A reset would hide its close code from some clients.
#[tokio::test]
async fn a_client_that_answers_its_close_frame_sees_the_end_at_once_whatever_it_has_sent_since() {
    let _load = LOAD.lock().await;
    let server = Server::start().await;
    let mut listener = server.join().await;
    for (violation, code) in [(frame(BINARY, "x"), 1003), (frame(TEXT, vec![b'x'; MAX_MESSAGE + 1]), 1009)] {
        let mut client = server.join().await;
        let bytes = [violation, frame(TEXT, "more").repeat(5_000)].concat();
        within(client.get_mut().write_all(&bytes)).await.unwrap();
        let began = Instant::now();
        assert_eq!(close_frame(&mut client).await.0, code);
        let end = within(client.next()).await;
        assert!(end.is_none(), "behind {code}: {end:?}");
        assert!(began.elapsed() < Duration::from_millis(1_500), "{code}: it took {:?}", began.elapsed());
    }
    round_trip(&mut listener).await; // it has received nothing else
}

#[tokio::test]
async fn a_close_frame_comes_behind_all_messages_before_it() {
    const COUNT: usize = 200; // more than a socket takes
    let server = Server::start().await;
    let mut client = server.join_slow().await;
    let mut talker = server.join().await;
    say_numbers(&mut talker, COUNT, 4_000).await;
    client.send(Message::binary(&b"x"[..])).await.unwrap();
    sleep(Duration::from_millis(1_200)).await; // it has 2 s, not none
    receive_numbers(&mut client, COUNT).await;
    assert_eq!(close_frame(&mut client).await.0, 1003);
}

#[tokio::test]
async fn a_flood_of_small_frames_keeps_nobody_waiting() {
    let _load = LOAD.lock().await;
    for (what, begin, repeated, most) in [
        ("pings whose pongs are not read", PING, PING, 20),
        ("pongs", PONG, PONG, 20),
        ("fragments of a message that never ends", FIRST, MORE, 100),
    ] {
        let server = Server::start().await;
        let mut talker = server.join().await;
        for _ in 0..4 {
            let mut client = server.join_stuck().await.into_inner();
            client.write_all(&frame(begin, "")).await.unwrap();
            flood(blocking(client), frame(repeated, "").repeat(500));
        }
        // On a busy machine the clients have to wait for a core, too: the best of some attempts counts.
        let mut best = Duration::MAX;
        for _ in 0..100 {
            best = best.min(round_trip(&mut talker).await);
        }
        assert!(best < Duration::from_millis(most), "{what}: it took {best:?}");
    }
}

#[tokio::test]
#[ignore = "builds a copy of the program"]
async fn another_limit_holds_for_all_that_depends_on_it() {
    let longer = include_str!("../../main.rs").replace("usize = 4 * 1024", "usize = 1024 * 1024");
    let longer = Variant::new("longer", &longer).build();
    let server = Server::start_by(&mut program(longer, &["127.0.0.1:0"])).await;
    let (mut anna, mut ben) = (server.join().await, server.join().await);
    let long = "x".repeat(1 << 20);
    for _ in 0..10 {
        send(&mut anna, &*long).await;
        assert!(receive(&mut anna).await == long && receive(&mut ben).await == long);
    }
    send(&mut anna, long + "x").await;
    assert_eq!(close_frame(&mut anna).await.0, 1009);
}
