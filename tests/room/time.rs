//! Pings and the read timeout, on a copy of the program with shorter times.

use crate::support::*;

const PROGRAM: &str = include_str!("../../main.rs");

const DOCUMENTED: &str = "\
MAX_MESSAGE: usize = 4 * 1024; | 4 KiB
MAX_READ: usize = 16 * MAX_MESSAGE; | 64 KiB
BROADCAST: usize = 64; | 64
QUEUE: usize = 32 * 1024 * 1024 / MAX_MESSAGE; | 8,192 (32 MiB at most)
WRITE_TIMEOUT: Duration = Duration::from_secs(2); | 2 s
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
    let values = format!("4 KiB|8,192 messages|4,096 messages|32 MiB|full for 2 s|25 s|130 s|2 s|{bare} lines");
    for value in values.split('|') {
        assert!(include_str!("../../README.md").contains(value), "not in README: {value}");
    }
}

#[tokio::test]
#[ignore = "builds a copy of the program"]
async fn silent_clients_are_dropped_those_that_answer_pings_stay_and_in_between_the_program_sleeps() {
    let _load = LOAD.lock().await;
    let short = PROGRAM.replace("from_secs(25)", "from_secs(1)").replace("from_secs(130)", "from_secs(6)");
    let short = Variant::new("short", &short).build();
    let mut server = Server::start_by(&mut program(short, &["127.0.0.1:0"])).await;
    let (mut silent, mut quiet) = (server.join().await.into_inner(), server.join_stuck().await);
    say_numbers(&mut quiet, 100, MAX_MESSAGE).await; // fills a socket
    let began = Instant::now();
    let silent = tokio::spawn(async move { (rest(&mut silent).await, began.elapsed()) });
    let (mut pings, waits) = (0, server.status("voluntary"));
    while began.elapsed() < Duration::from_secs(9) {
        if let Ok(message) = timeout(Duration::from_millis(100), quiet.next()).await {
            let ping = message.unwrap().unwrap(); // the library answers it with a pong
            assert!(ping.is_ping() && !ping.is_empty(), "{ping:?}"); // some clients don't answer an empty one
            pings += 1;
        }
    }
    assert!((6..=9).contains(&pings), "{pings} pings in 9 s");
    let waits = server.status("voluntary") - waits;
    assert!(waits < 200, "it woke up {waits} times");
    let (received, dropped) = silent.await.unwrap();
    assert!(received.ends_with(&server_close(1008, "did not answer pings")), "{received:?}");
    assert!((6..9).contains(&dropped.as_secs()), "dropped after {dropped:?}");
    server.logs("client 1 left (did not answer pings)").await;
    round_trip(&mut quiet).await;
    // More than tokio lets a task write to in a row.
    for client in &mut join_all((0..140).map(|_| server.join())).await {
        assert!(within(client.next()).await.unwrap().unwrap().is_ping());
    }
    // They reach a slow client past its queue.
    let mut slow = server.join_slow().await;
    shout(server.join().await, MAX_MESSAGE);
    let (began, mut pings) = (Instant::now(), 0);
    while began.elapsed() < Duration::from_secs(5) {
        pings += u32::from(within(slow.next()).await.unwrap().unwrap().is_ping());
        sleep(Duration::from_millis(20)).await;
    }
    assert!(pings > 2, "{pings} pings in 5 s");
}
