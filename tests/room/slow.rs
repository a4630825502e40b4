//! Clients that read slowly or not at all, beside others that send fast.

use crate::support::frames::{self, frame};
use crate::support::*;
use futures_util::{SinkExt, StreamExt};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::sleep;

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn a_fast_sender_is_slowed_down_and_nobody_is_dropped() {
    let _load = LOAD.lock().await;
    const COUNT: usize = 12_000; // more than a queue
    let server = Server::start().await;
    let (mut sink, own) = server.join().await.split();
    let mut tasks = vec![spawn_numbers(own, COUNT)];
    for _ in 0..2 {
        tasks.push(spawn_numbers(server.join().await, COUNT));
    }
    send_numbers(&mut sink, COUNT, 1_500, Duration::ZERO).await;
    for task in tasks {
        task.await.unwrap(); // it has received all, so it wasn't dropped
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn a_client_whose_queue_is_full_misses_nothing() {
    let _load = LOAD.lock().await;
    const COUNT: usize = 12_000; // more than a queue
    let server = Server::start().await;
    let relay = Relay::start(&server.address).await;
    let slow = upgrade(&relay.address, connect(&relay.address).await).await;
    relay.to_client.send(Flow::Rate(5_000_000)).unwrap(); // far slower than the sender
    let slow = spawn_numbers(slow, COUNT);
    let (mut sink, own) = server.join().await.split();
    let own = spawn_numbers(own, COUNT);
    send_numbers(&mut sink, COUNT, 1_000, Duration::ZERO).await;
    own.await.unwrap();
    slow.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
#[ignore = "takes 5 to 12 seconds"]
async fn stuck_clients_are_dropped_and_nobody_waits_for_them() {
    let _load = LOAD.lock().await;
    nobody_waits_for_stuck_clients(20, &mut Server::start().await, None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn a_fast_sender_and_stuck_clients_together_stop_the_room_for_less_than_a_second() {
    let _load = LOAD.lock().await;
    const COUNT: usize = 10_000; // more than a queue
    let mut server = Server::start().await;
    let mut stuck = Vec::new();
    for _ in 0..5 {
        stuck.push(server.join_with_small_buffer().await);
    }
    let listener = spawn_numbers(server.join().await, COUNT);
    let (mut sink, own) = server.join().await.split();
    let own = spawn_numbers(own, COUNT);
    send_numbers(&mut sink, COUNT, MAX_MESSAGE, Duration::ZERO).await;
    let longest = own.await.unwrap().max(listener.await.unwrap());
    println!("the longest pause: {longest:?}");
    assert!(longest < Duration::from_secs(1), "a pause of {longest:?}");
    for _ in 0..5 {
        server.logs(STUCK).await;
    }
}

#[tokio::test]
async fn a_client_may_take_its_time_while_its_queue_is_less_than_half_full() {
    const COUNT: usize = 3_000;
    let server = Server::start().await;
    let mut slow = server.join_with_small_buffer().await;
    let (mut sink, own) = server.join().await.split();
    let own = spawn_numbers(own, COUNT);
    send_numbers(&mut sink, COUNT, 1_000, Duration::ZERO).await;
    own.await.unwrap();
    sleep(Duration::from_secs(2)).await; // it takes its time
    receive_numbers(&mut slow, COUNT).await;
}

/// Beside a fast sender, a client reads everything, but over a 5 Mbit/s line, the slowest that docs/operating.md allows.
/// Its queue is full once a fast client gets no more than that line carries.
async fn beside_a_slow_client(server: &Server) -> (Relay, Socket) {
    let relay = Relay::start(&server.address).await;
    relay.to_client.send(Flow::Rate(5_000_000 / 8)).unwrap();
    drain(upgrade(&relay.address, connect(&relay.address).await).await);
    let mut fast = server.join().await;
    shout(server.join().await, MAX_MESSAGE);
    for _ in 0..QUEUE + 500 {
        receive(&mut fast).await;
    }
    (relay, fast)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
#[ignore = "takes 5 to 12 seconds"]
async fn a_slow_client_is_not_dropped_because_the_program_stood_still() {
    let _load = LOAD.lock().await;
    let mut server = Server::start().await;
    let (_line, mut fast) = beside_a_slow_client(&server).await;
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

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
#[ignore = "takes 5 to 12 seconds"]
async fn beside_a_fast_sender_and_a_slow_client_nobody_waits_for_a_second() {
    let _load = LOAD.lock().await;
    let mut server = Server::start().await;
    let (_line, mut talker) = beside_a_slow_client(&server).await;
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

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
#[ignore = "takes 5 to 12 seconds"]
async fn a_client_that_reads_a_little_at_a_time_cannot_slow_the_room_down() {
    let _load = LOAD.lock().await;
    let mut server = Server::start().await;
    let mut sipper = server.join_with_small_buffer().await.into_inner();
    tokio::spawn(async move {
        let mut sip = [0; 500];
        while let Ok(1..) = sipper.read(&mut sip).await {
            sleep(Duration::from_millis(250)).await; // 2 kB a second
        }
    });
    let mut listener = server.join().await;
    shout(server.join().await, 500);
    let dropped = async {
        while !server.log.recv().await.unwrap().contains(STUCK) {}
        // From here on, the room runs at full speed.
    };
    let listen = async {
        for _ in 0..100_000 {
            receive(&mut listener).await;
        }
    };
    within(async { tokio::join!(dropped, listen) }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn a_stuck_client_that_goes_on_sending_is_dropped() {
    let _load = LOAD.lock().await;
    let mut server = Server::start().await;
    let (mut sink, mut stream) = server.join_with_small_buffer().await.split();
    let flood =
        tokio::spawn(
            async move { while sink.send("x".repeat(MAX_MESSAGE).into()).await.is_ok() {} },
        );
    server.logs(STUCK).await;
    while let Some(Ok(_)) = within(stream.next()).await {}
    within(flood).await.unwrap();
    assert_eq!(round_trips(&mut server.join().await, 1).await.as_secs(), 0);
}

#[tokio::test]
async fn a_stuck_client_that_breaks_a_rule_or_leaves_is_cut_off() {
    let server = Server::start().await;
    let mut talker = server.join().await;
    let before = server.descriptors();
    let mut stuck = Vec::new();
    for _ in 0..2 {
        stuck.push(server.join_with_small_buffer().await.into_inner());
    }
    for _ in 0..500 {
        send(&mut talker, "x".repeat(MAX_MESSAGE)).await; // more than a socket takes, less than a queue
        receive(&mut talker).await;
    }
    let binary = frame(frames::BINARY, "");
    stuck[0].write_all(&binary).await.unwrap();
    let close = frame(frames::CLOSE, "");
    stuck[1].write_all(&close).await.unwrap();
    server.settle(before).await;
    drop(stuck); // not earlier: both stayed open, unread
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn a_client_that_stops_in_the_middle_of_its_queue_is_dropped() {
    let _load = LOAD.lock().await;
    const COUNT: usize = 800; // more than a socket takes, less than half a queue
    let mut server = Server::start().await;
    let mut talker = server.join().await;
    let mut client = server.join_with_small_buffer().await;
    for number in 0..COUNT {
        send(&mut talker, format!("{number:.<MAX_MESSAGE$}")).await;
        receive(&mut talker).await;
    }
    receive_numbers(&mut client, COUNT / 4).await;
    shout(talker, MAX_MESSAGE);
    server.logs(STUCK).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn clients_that_read_neither_messages_nor_pongs_are_dropped() {
    let _load = LOAD.lock().await;
    const COUNT: usize = 9_000; // more than a queue
    let mut server = Server::start().await;
    let mut stuck = Vec::new();
    // Some fill the library's buffer with pongs, some part of it, some not even the kernel's.
    for count in (1..=20).map(|number| 250 * number) {
        let mut stream = server.join_with_small_buffer().await.into_inner();
        let pings = frames::longest(frames::PING).repeat(count);
        within(stream.write_all(&pings)).await.unwrap();
        until_all_is_read(&stream).await;
        stuck.push(stream);
    }
    let (mut sink, own) = server.join().await.split();
    let own = spawn_numbers(own, COUNT);
    send_numbers(&mut sink, COUNT, MAX_MESSAGE, Duration::ZERO).await;
    for _ in 0..20 {
        server.logs(STUCK).await;
    }
    own.await.unwrap();
}
