//! Pings and the read timeout, on a copy of the program with shorter times.

use crate::support::frames::server_close;
use crate::support::*;
use futures_util::StreamExt;
use std::time::{Duration, Instant};
use tokio::time::timeout;

const PROGRAM: &str = include_str!("../../main.rs");

#[test]
fn the_limits_are_the_documented_ones() {
    let readme = include_str!("../../README.md");
    let operating = include_str!("../../docs/operating.md");
    for (constant, documented, in_readme) in [
        ("MAX_MESSAGE: usize = 4 * 1024", "4 KiB", true),
        ("MAX_READ: usize = 16 * MAX_MESSAGE", "64 KiB", false),
        ("BROADCAST: usize = 64", "64", false),
        (
            "QUEUE: usize = 32 * 1024 * 1024 / MAX_MESSAGE",
            "8,192, or 32 MiB",
            false,
        ),
        (
            "WRITE_TIMEOUT: Duration = Duration::from_millis(1500)",
            "1.5 s",
            true,
        ),
        (
            "PING_INTERVAL: Duration = Duration::from_secs(25)",
            "25 s",
            true,
        ),
        (
            "READ_TIMEOUT: Duration = Duration::from_secs(130)",
            "130 s",
            true,
        ),
        (
            "CLOSE_TIMEOUT: Duration = Duration::from_secs(2)",
            "2 s",
            true,
        ),
    ] {
        let declaration = format!("const {constant};");
        assert!(
            PROGRAM.contains(&declaration),
            "not in main.rs: {declaration}"
        );
        let name = constant.split(':').next().unwrap();
        let row = format!("| {documented} | `{name}` |");
        assert!(operating.contains(&row), "not in operating.md: {row}");
        assert!(
            !in_readme || readme.contains(&format!(" {documented}")),
            "not in README: {documented}"
        );
    }
    let bare = include_str!("../../examples/bare.rs").lines().count();
    for documented in [
        "8,192 messages",
        "4,096 messages",
        "32 MiB",
        &format!("{bare} lines"),
    ] {
        assert!(readme.contains(documented), "not in README: {documented}");
    }
}

#[tokio::test]
#[ignore = "builds a copy of the program"]
async fn silent_clients_are_dropped_and_those_that_answer_pings_stay() {
    let short = PROGRAM
        .replace("from_secs(25)", "from_secs(1)")
        .replace("from_secs(130)", "from_secs(6)");
    let short = Variant::new("short", &short).build();
    let mut server = Server::start_by(&mut program(short, &["127.0.0.1:0"])).await;
    let mut silent = server.join().await.into_inner();
    let mut quiet = server.join().await;
    let began = Instant::now();
    let silent = tokio::spawn(async move { (rest(&mut silent).await, began.elapsed()) });
    let mut pings = 0;
    while began.elapsed() < Duration::from_secs(9) {
        if let Ok(message) = timeout(Duration::from_millis(100), quiet.next()).await {
            let ping = message.unwrap().unwrap(); // the library answers it with a pong
            assert!(ping.is_ping() && !ping.is_empty(), "{ping:?}"); // some clients don't answer an empty one
            pings += 1;
        }
    }
    assert!((6..=9).contains(&pings), "{pings} pings in 9 s");
    let (received, dropped) = silent.await.unwrap();
    let reason = "did not answer pings";
    assert!(
        received.ends_with(&server_close(1008, reason)),
        "{received:?}"
    );
    let seconds = dropped.as_secs_f64();
    assert!((6.0..9.0).contains(&seconds), "dropped after {dropped:?}");
    let line = server.logs("left").await;
    assert!(
        line.contains(&format!("client 1 left ({reason})")),
        "{line}"
    );
    round_trips(&mut quiet, 1).await;
}
