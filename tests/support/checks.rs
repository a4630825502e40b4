//! What holds for a room, whether one server is that room or several.

use super::frames::{self, frame};
use super::*;
use futures_util::StreamExt;
use std::time::Instant;
use tokio::io::AsyncWriteExt;

/// Eight clients talk at the same time, spread over the servers.
pub async fn one_order(servers: &[Server]) {
    const TEXTS: usize = 200;
    let mut clients = Vec::new();
    for number in 0..8 {
        clients.push(servers[number % servers.len()].join().await);
    }
    for text in 0..TEXTS {
        for (number, client) in clients.iter_mut().enumerate() {
            send(client, format!("{number} {text}")).await;
        }
    }
    let mut order = Vec::new();
    for (number, client) in clients.iter_mut().enumerate() {
        for place in 0..8 * TEXTS {
            let text = receive(client).await;
            match number {
                0 => order.push(text),
                _ => assert_eq!(text, order[place], "two orders"),
            }
        }
        let start = format!("{number} ");
        let own = order.iter().filter(|text| text.starts_with(&start));
        let sent = (0..TEXTS).map(|text| format!("{number} {text}"));
        assert!(own.eq(&sent.collect::<Vec<_>>()), "lost, or out of order: {order:?}");
    }
}

/// From a client of the first server to itself and to one of the last.
pub async fn arrives_as_it_was_sent(servers: &[Server]) {
    let mut anna = servers[0].join().await;
    let mut ben = servers.last().unwrap().join().await;
    let longest = "ä".repeat(MAX_MESSAGE / 2);
    for text in ["", " ", "grüße \u{1F44B}\u{0}\r\n<b>&amp;</b>", &longest] {
        send(&mut anna, text).await;
        assert_eq!(receive(&mut anna).await, text);
        assert_eq!(receive(&mut ben).await, text);
    }
    // In fragments (RFC 6455, section 5.4), cut in the middle of a character, a ping in between.
    let (first, last) = "grüße".as_bytes().split_at(3);
    let frames = [frame(frames::FIRST, first), frame(frames::PING, "in between"), frame(frames::LAST, last)];
    let stream = anna.get_mut();
    within(stream.write_all(&frames.concat())).await.unwrap();
    assert_eq!(receive(&mut ben).await, "grüße");
}
