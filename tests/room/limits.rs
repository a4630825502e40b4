//! Messages that are too long, not text, or not WebSocket at all: close codes and reasons.

use crate::support::frames::{self, FIN, frame, raw};
use crate::support::*;
use futures_util::{SinkExt, StreamExt};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

const TOO_LONG: (u16, &str) = (1009, "the message was too long");
const TEXT_ONLY: (u16, &str) = (1003, "this room takes text only");
const NOT_UTF8: (u16, &str) = (1007, "the text was not valid UTF-8");
const BROKEN: (u16, &str) = (1002, "this client broke the WebSocket protocol");

#[tokio::test]
async fn a_client_that_breaks_a_rule_gets_a_close_code_and_its_message_reaches_nobody() {
    let mut server = Server::start().await;
    let mut listener = server.join().await;
    let max = MAX_MESSAGE as u64;
    let mut clients = Vec::new();
    for (what, bytes, close) in [
        (
            "a byte too long",
            frame(frames::TEXT, vec![b'x'; MAX_MESSAGE + 1]),
            TOO_LONG,
        ),
        (
            "a header is enough",
            frames::header(FIN | frames::TEXT, max + 1),
            TOO_LONG,
        ),
        (
            "32 MiB",
            frames::header(FIN | frames::TEXT, 32 << 20),
            TOO_LONG,
        ),
        (
            "a tebibyte",
            frames::header(FIN | frames::TEXT, 1 << 40),
            TOO_LONG,
        ),
        (
            "the longest header",
            frames::header(FIN | frames::TEXT, u64::MAX >> 1),
            TOO_LONG,
        ),
        ("in fragments", in_fragments(MAX_MESSAGE, 1), TOO_LONG),
        ("in many fragments", in_fragments(1_000, 5), TOO_LONG),
        ("binary", frame(frames::BINARY, "x"), TEXT_ONLY),
        ("binary, empty", frame(frames::BINARY, ""), TEXT_ONLY),
        ("not UTF-8", frame(frames::TEXT, [0xc3, 0x28]), NOT_UTF8),
        ("cut in a character", frame(frames::TEXT, [0xc3]), NOT_UTF8),
        (
            "not masked",
            vec![FIN | frames::TEXT, 2, b'h', b'i'],
            BROKEN,
        ),
        (
            "a reserved bit",
            raw(FIN | frames::TEXT | 0x40, "hi"),
            BROKEN,
        ),
        ("an unknown opcode", frame(0x3, "hi"), BROKEN),
        ("half a close code", frame(frames::CLOSE, [3]), BROKEN),
    ] {
        let mut stream = server.join().await.into_inner();
        within(stream.write_all(&bytes)).await.unwrap();
        clients.push((what, stream, close));
    }
    for (what, mut stream, (code, reason)) in clients {
        let close = frames::server_close(code, reason);
        assert_eq!(rest(&mut stream).await, close, "{what}");
        let line = server.logs("left").await;
        assert!(line.contains(reason), "{what}: {line}");
    }
    let mut talker = server.join().await;
    send(&mut talker, "next").await;
    assert_eq!(receive(&mut listener).await, "next");
}

/// A text in fragments, each of `length` bytes, and the last one of one byte.
fn in_fragments(length: usize, count: usize) -> Vec<u8> {
    let mut bytes = frames::fragment(frames::TEXT, "");
    for _ in 0..count {
        bytes.extend(frames::fragment(frames::CONTINUATION, vec![b'x'; length]));
    }
    bytes.extend(frame(frames::CONTINUATION, "x"));
    bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn a_long_upload_is_told_why_it_is_refused() {
    let _load = LOAD.lock().await;
    let server = Server::start().await;
    for length in [1 << 20, 8 << 20] {
        let (mut sink, mut stream) = server.join().await.split();
        let upload = Message::text("x".repeat(length));
        tokio::spawn(async move { sink.send(upload).await });
        let close = close_frame(&mut stream).await.expect("a code");
        assert_eq!((close.0, &*close.1), TOO_LONG, "{length} bytes");
    }
}

#[tokio::test]
async fn after_a_violation_nothing_more_is_read() {
    let server = Server::start().await;
    let mut stream = server.join().await.into_inner();
    stream.write_all(&frame(frames::BINARY, "")).await.unwrap();
    let pongs = frame(frames::PONG, "").repeat(20_000);
    let flood = async { while stream.write_all(&pongs).await.is_ok() {} };
    let before = server.cpu_time();
    let end = timeout(CLOSE_LIMIT, flood).await;
    end.expect("an end in time");
    let took = server.cpu_time() - before;
    assert!(took < Duration::from_millis(500), "it worked for {took:?}");
}

#[tokio::test]
async fn a_close_frame_comes_behind_all_messages_before_it() {
    const COUNT: usize = 500; // more than a socket takes, less than half a queue
    let server = Server::start().await;
    let mut talker = server.join().await;
    let mut client = server.join_with_small_buffer().await;
    for number in 0..COUNT {
        send(&mut talker, format!("{number:.<4000}")).await;
        receive(&mut talker).await;
    }
    client.send(Message::binary(&b"x"[..])).await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await; // it has 2 s, not none
    receive_numbers(&mut client, COUNT).await;
    assert_eq!(close_frame(&mut client).await.expect("a code").0, 1003);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn a_flood_of_small_frames_keeps_nobody_waiting() {
    let _load = LOAD.lock().await;
    let ping = frame(frames::PING, "");
    let pong = frame(frames::PONG, "");
    let first = frames::fragment(frames::TEXT, ""); // of a message that never ends
    let more = frames::fragment(frames::CONTINUATION, "");
    let quick = Duration::from_millis(50); // some 10 ms on an idle machine, 200 ms without the guard
    for (what, first, frame, most) in [
        ("pongs", pong.clone(), pong, quick),
        ("pings whose pongs are not read", ping.clone(), ping, quick),
        ("empty fragments of a message", first, more, 10 * quick),
    ] {
        let server = Server::start().await;
        let mut talker = server.join().await;
        let flood = Arc::new(AtomicUsize::new(0));
        for _ in 0..4 {
            let mut stream = server.join_with_small_buffer().await.into_inner();
            stream.write_all(&first).await.unwrap();
            let (frames, flood) = (frame.repeat(500), flood.clone());
            tokio::spawn(async move {
                while stream.write_all(&frames).await.is_ok() {
                    flood.fetch_add(500, Ordering::Relaxed);
                }
            });
        }
        // On a busy machine the clients have to wait for a core, too: the best of some attempts counts.
        let mut best = Duration::MAX;
        for _ in 0..20 {
            let began = Instant::now();
            round_trips(&mut talker, 5).await;
            best = best.min(began.elapsed());
        }
        println!("{what}: five round trips took {best:?}");
        assert!(best < most, "{what}: five round trips took {best:?}");
        let flood = flood.load(Ordering::Relaxed);
        assert!(flood > 20_000, "{what}: that was no flood: {flood} frames");
    }
}

#[tokio::test]
#[ignore = "builds a copy of the program"]
async fn another_limit_holds_for_all_that_depends_on_it() {
    let values = [("MAX_MESSAGE", "1024 * 1024")];
    let copy = Variant::with_constants("longer", &values).build();
    let server = Server::start_by(&mut program(copy, &["127.0.0.1:0"])).await;
    let (mut anna, mut ben) = (server.join().await, server.join().await);
    for length in [1_000_000, 1 << 20] {
        let long = "x".repeat(length);
        for _ in 0..10 {
            send(&mut anna, &*long).await;
            assert!(receive(&mut anna).await == long && receive(&mut ben).await == long);
        }
    }
    send(&mut anna, "x".repeat((1 << 20) + 1)).await;
    assert_eq!(close_frame(&mut anna).await.expect("a code").0, 1009);
}
