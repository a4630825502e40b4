//! Pings and the read timeout, on a copy of the program with times some thirty times shorter.

use crate::support::frames::server_close;
use crate::support::*;
use futures_util::StreamExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt;
use tokio::sync::OnceCell;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::Message;

const PING_INTERVAL: Duration = Duration::from_secs(1);
const READ_TIMEOUT: Duration = Duration::from_secs(6);

/// These are the real values.
#[test]
fn the_times_are_the_documented_ones() {
    let pages = [
        include_str!("../../README.md"),
        include_str!("../../docs/operating.md"),
    ];
    for (constant, documented) in [
        ("MAX_MESSAGE: usize = 4 * 1024", "4 KiB"),
        ("PING_INTERVAL: Duration = Duration::from_secs(25)", "25 s"),
        ("READ_TIMEOUT: Duration = Duration::from_secs(130)", "130 s"),
    ] {
        let program = include_str!("../../main.rs");
        assert!(program.contains(constant), "not in main.rs: {constant}");
        let everywhere = pages.iter().all(|page| page.contains(documented));
        assert!(everywhere, "not documented: {documented}");
    }
}

/// A server whose queues are shorter by the same factor as its times.
async fn short() -> Server {
    static BUILT: OnceCell<PathBuf> = OnceCell::const_new();
    let values = [
        ("PING_INTERVAL", "Duration::from_secs(1)"),
        ("READ_TIMEOUT", "Duration::from_secs(6)"),
        ("QUEUE", "256"),
        ("BROADCAST", "8"),
    ];
    let build = || async move { Variant::with_constants("short", &values).build() };
    let built = BUILT.get_or_init(build).await;
    Server::start_by(&mut program(built, &["127.0.0.1:0"])).await
}

#[tokio::test]
#[ignore = "builds a copy of the program"]
async fn silent_clients_are_dropped_and_those_that_answer_pings_stay() {
    let mut server = short().await;
    let mut silent = server.join().await.into_inner();
    let mut quiet = server.join().await;
    let began = Instant::now();
    let silent = tokio::spawn(async move {
        let mut received = Vec::new();
        let end = silent.read_to_end(&mut received);
        let end = timeout(READ_TIMEOUT * 3 / 2, end).await;
        end.expect("an end in time").expect("an end, and no reset");
        (received, began.elapsed())
    });
    let mut pings = 0;
    while began.elapsed() < READ_TIMEOUT * 3 / 2 {
        if let Ok(message) = timeout(Duration::from_millis(100), quiet.next()).await {
            assert!(message.unwrap().unwrap().is_ping()); // the library answers it with a pong
            pings += 1;
        }
    }
    assert!((6..=9).contains(&pings), "{pings} pings in 9 s");
    let (received, dropped) = silent.await.unwrap();
    let reason = "this client did not answer pings";
    let close = server_close(1008, reason);
    assert!(received.ends_with(&close), "{received:?}");
    assert!(dropped > READ_TIMEOUT, "dropped after {dropped:?}");
    let line = server.logs("left").await;
    assert!(line.contains(&format!("client 1 left: {reason}")), "{line}");
    round_trips(&mut quiet, 1).await;
}

#[tokio::test]
#[ignore = "builds a copy of the program"]
async fn the_slowest_client_that_may_stay_stays_although_pings_reach_it_late() {
    let _load = LOAD.lock().await;
    let mut server = short().await;
    let mut slow = server.join_slow().await;
    shout(server.join().await, MAX_MESSAGE);
    let began = Instant::now();
    let (mut taken, mut pinged) = (0, None);
    while began.elapsed() < 3 * READ_TIMEOUT {
        let due = Duration::from_secs_f64(taken as f64 / (5e6 / 8.0));
        sleep(due.saturating_sub(began.elapsed())).await;
        let Some(Ok(message)) = within(slow.next()).await else {
            panic!("after {:?}: {}", began.elapsed(), server.logs("left").await);
        };
        match message {
            Message::Text(text) => taken += text.len(),
            Message::Ping(_) => pinged = pinged.or(Some(began.elapsed())),
            other => panic!("{other:?}"),
        }
    }
    let rate = taken as f64 * 8.0 / began.elapsed().as_secs_f64() / 1e6;
    assert!((4.2..5.1).contains(&rate), "it took {rate} Mbit/s");
    println!("it took {rate:.2} Mbit/s, and got a ping after {pinged:?}");
    assert!(pinged > Some(2 * PING_INTERVAL), "a ping after {pinged:?}");
    server.assert_all_stayed();
}

#[tokio::test]
#[ignore = "builds a copy of the program"]
async fn nobody_is_dropped_because_the_program_stood_still() {
    let mut server = short().await;
    let mut clients = Vec::new();
    for _ in 0..20 {
        clients.push(server.join().await);
    }
    server.logs("20 connected").await;
    server.signal("STOP").await;
    for client in &mut clients {
        send(client, "sent while it stood still").await;
    }
    sleep(READ_TIMEOUT * 3 / 2).await;
    server.signal("CONT").await;
    for client in &mut clients {
        for _ in 0..20 {
            receive(client).await;
        }
    }
    server.assert_all_stayed();
}
