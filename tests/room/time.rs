//! Pings and the read timeout, on a copy of the program with shorter times.

use crate::support::frames::server_close;
use crate::support::*;
use futures_util::StreamExt;
use std::time::{Duration, Instant};
use tokio::time::timeout;

#[tokio::test]
#[ignore = "builds a copy of the program"]
async fn silent_clients_are_dropped_and_those_that_answer_pings_stay() {
    // With other times than these in main.rs, the copy wouldn't have shorter ones.
    let short = include_str!("../../main.rs")
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
