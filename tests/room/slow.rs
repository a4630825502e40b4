//! Clients that read slowly or not at all, beside others that send fast.

use crate::support::frames::*;
use crate::support::*;
use std::collections::HashSet;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio::time::sleep;

#[tokio::test]
async fn a_client_whose_queue_is_full_misses_nothing() {
    let _load = LOAD.lock().await;
    const COUNT: usize = 12_000; // more than a queue
    let server = Server::start().await;
    let mut slow = server.join_slow().await;
    let (mut sink, own) = futures_util::StreamExt::split(server.join().await);
    let own = spawn_numbers(own, COUNT);
    let slow = tokio::spawn(async move {
        for number in 0..COUNT {
            if number % 100 == 0 {
                sleep(Duration::from_millis(25)).await; // far slower than the sender
            }
            assert_eq!(receive(&mut slow).await, format!("{number:.<1000}"));
        }
    });
    send_numbers(&mut sink, COUNT, 1_000).await;
    own.await.unwrap();
    slow.await.unwrap();
}

#[tokio::test]
async fn a_client_may_take_its_time_while_its_queue_is_less_than_half_full() {
    const COUNT: usize = 3_500;
    let server = Server::start().await;
    let mut slow = server.join_slow().await;
    let mut talker = server.join().await;
    for _ in 0..7 {
        round_trips(&mut talker, COUNT / 7).await;
    }
    sleep(Duration::from_secs(2)).await; // it takes its time
    for _ in 0..7 {
        receive_numbers(&mut slow, COUNT / 7).await;
    }
}

#[tokio::test]
#[ignore = "takes 5 to 12 seconds"]
async fn stuck_clients_are_dropped_and_nobody_waits_for_them() {
    let _load = LOAD.lock().await;
    nobody_waits_for_stuck_clients(20, &mut Server::start().await, None).await;
}

#[tokio::test]
async fn stuck_clients_of_all_kinds_are_dropped_and_stop_a_busy_room_for_less_than_a_second() {
    let _load = LOAD.lock().await;
    let mut server = Server::start().await;
    let mut stuck = Vec::new();
    // Some fill the library's buffer with pongs, some part of it, some not even the kernel's.
    for number in 0..20 {
        let mut stream = server.join_stuck().await.into_inner();
        let pings = frame(PING, [b'x'; 125]).repeat(250 * number);
        within(stream.write_all(&pings)).await.unwrap();
        stuck.push(stream);
    }
    let sends_on = server.join_stuck().await.into_inner();
    flood(blocking(sends_on), frame(TEXT, "x"));
    let mut stops_reading = server.join_stuck().await;
    let mut listener = server.join().await;
    for _ in 0..200 {
        receive(&mut stops_reading).await;
    }
    shout(server.join().await, MAX_MESSAGE);
    let listen = tokio::spawn(async move {
        let (mut longest, mut last) = (Duration::ZERO, Instant::now());
        for _ in 0..20_000 {
            receive(&mut listener).await;
            longest = longest.max(last.elapsed());
            last = Instant::now();
        }
        longest
    });
    let mut expected: HashSet<_> = (1..=22).map(|id| format!("client {id} ")).collect();
    while !expected.is_empty() {
        let line = server.logs(STUCK).await;
        expected.retain(|client| !line.starts_with(client));
    }
    let longest = listen.await.unwrap();
    println!("the longest pause: {longest:?}");
    assert!(longest < Duration::from_secs(1), "a pause of {longest:?}");
    server.assert_all_stayed();
}

/// Beside a fast sender, a client reads everything, but over a 5 Mbit/s line, the slowest that docs/operating.md allows.
/// Its queue is full once a fast client gets no more than that line carries.
async fn beside_a_slow_client(server: &Server) -> Socket {
    let slow = server.join_slow().await.into_inner();
    drain_at(5e6 / 8.0, blocking(slow));
    let mut fast = server.join().await;
    shout(server.join().await, MAX_MESSAGE);
    for _ in 0..QUEUE + 500 {
        receive(&mut fast).await;
    }
    fast
}

#[tokio::test]
#[ignore = "takes 5 to 12 seconds"]
async fn a_slow_client_is_not_dropped_because_the_program_stood_still() {
    let _load = LOAD.lock().await;
    let mut server = Server::start().await;
    let mut fast = beside_a_slow_client(&server).await;
    for _ in 0..6 {
        server.signal("STOP").await;
        sleep(Duration::from_millis(600)).await; // longer than the write timeout
        server.signal("CONT").await;
        for _ in 0..30 {
            receive(&mut fast).await;
        }
    }
    server.assert_all_stayed();
}

#[tokio::test]
#[ignore = "takes 5 to 12 seconds"]
async fn beside_a_fast_sender_and_a_slow_client_nobody_waits_for_a_second() {
    let _load = LOAD.lock().await;
    let mut server = Server::start().await;
    let mut talker = beside_a_slow_client(&server).await;
    let mut round_trips = Vec::new();
    for _ in 0..5 {
        let sent = Instant::now();
        send(&mut talker, "talk").await;
        while receive(&mut talker).await != "talk" {}
        round_trips.push(sent.elapsed());
    }
    round_trips.sort(); // the median, as on a busy machine the clients have to wait for a core, too
    println!("round trips took {round_trips:?}");
    assert!(round_trips[2] < Duration::from_secs(1), "{round_trips:?}");
    server.assert_all_stayed();
}

#[tokio::test]
#[ignore = "takes 5 to 12 seconds"]
async fn a_client_that_reads_a_little_at_a_time_cannot_slow_the_room_down() {
    let _load = LOAD.lock().await;
    let mut server = Server::start().await;
    let sipper = server.join_slow().await.into_inner();
    drain_at(2e3, blocking(sipper));
    let mut listener = server.join().await;
    shout(server.join().await, 500);
    let dropped = server.logs(STUCK); // from then on, the room runs at full speed
    let listen = async {
        for _ in 0..100_000 {
            receive(&mut listener).await;
        }
    };
    within(async { tokio::join!(dropped, listen) }).await;
}

#[tokio::test]
async fn a_stuck_client_that_breaks_a_rule_or_leaves_is_cut_off() {
    let server = Server::start().await;
    let mut talker = server.join().await;
    let before = server.descriptors();
    let mut stuck = Vec::new();
    for _ in 0..2 {
        stuck.push(server.join_stuck().await.into_inner());
    }
    for _ in 0..500 {
        send(&mut talker, "x".repeat(MAX_MESSAGE)).await; // more than a socket takes, less than a queue
        receive(&mut talker).await;
    }
    stuck[0].write_all(&frame(BINARY, "")).await.unwrap();
    stuck[1].write_all(&frame(CLOSE, "")).await.unwrap();
    until(|| server.descriptors() <= before).await;
    drop(stuck); // not earlier: both stayed open, unread
}
