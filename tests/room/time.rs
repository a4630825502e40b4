//! Pings and the read timeout, on a copy of the program with shorter times.

use crate::support::*;

const PROGRAM: &str = include_str!("../../main.rs");

const DOCUMENTED: &str = "\
MAX_MESSAGE: usize = 4 * 1024; | 4 KiB
MAX_READ: usize = 16 * MAX_MESSAGE; | 64 KiB
BROADCAST: usize = 64; | 64
QUEUE: usize = 32 * 1024 * 1024 / MAX_MESSAGE; | 8,192, or 32 MiB
WRITE_TIMEOUT: Duration = Duration::from_millis(1500); | 1.5 s
PING_INTERVAL: Duration = Duration::from_secs(25); | 25 s
READ_TIMEOUT: Duration = Duration::from_secs(130); | 130 s
CLOSE_TIMEOUT: Duration = Duration::from_secs(2); | 2 s";

#[test]
fn the_limits_are_the_documented_ones() {
    for (declaration, value) in DOCUMENTED.lines().filter_map(|line| line.split_once(" | ")) {
        assert!(PROGRAM.contains(declaration), "not there: {declaration}");
        let (name, _) = declaration.split_once(':').unwrap();
        let row = format!("| {value} | `{name}` |");
        let operating = include_str!("../../docs/operating.md");
        assert!(operating.contains(&row), "not documented: {row}");
    }
    let bare = include_str!("../../examples/bare.rs").lines().count();
    let values = format!("4 KiB|8,192 messages|4,096 messages|32 MiB|1.5 s|25 s|130 s|2 s|{bare} lines");
    for value in values.split('|') {
        let readme = include_str!("../../README.md");
        assert!(readme.contains(value), "not in README: {value}");
    }
}

#[tokio::test]
#[ignore = "builds a copy of the program"]
async fn silent_clients_are_dropped_and_those_that_answer_pings_stay() {
    let short = PROGRAM.replace("from_secs(25)", "from_secs(1)").replace("from_secs(130)", "from_secs(6)");
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
    assert!(received.ends_with(&server_close(1008, reason)), "{received:?}");
    let seconds = dropped.as_secs_f64();
    assert!((6.0..9.0).contains(&seconds), "dropped after {dropped:?}");
    let line = server.logs("left").await;
    assert!(line.contains(&format!("client 1 left ({reason})")), "{line}");
    round_trip(&mut quiet).await;
}
