//! Pings and the read timeout, on a copy of the program with shorter times.

use crate::support::frames::server_close;
use crate::support::*;
use futures_util::StreamExt;
use std::time::{Duration, Instant};
use tokio::time::timeout;

const PROGRAM: &str = include_str!("../../main.rs");

/// These are the real ones.
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
        assert!(PROGRAM.contains(constant), "not in main.rs: {constant}");
        let everywhere = pages.iter().all(|page| page.contains(documented));
        assert!(everywhere, "not documented: {documented}");
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
