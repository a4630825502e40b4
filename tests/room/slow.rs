//! Clients that read slowly or not at all, beside others that send fast.

use crate::support::*;
use std::collections::HashSet;
use std::io::Write;

#[tokio::test]
async fn a_client_whose_queue_is_full_misses_nothing() {
    let _load = LOAD.lock().await;
    const COUNT: usize = 12_000; // more than a queue
    let server = Server::start().await;
    let mut slow = server.join_slow().await;
    let mut talker = blocking(server.join().await.into_inner());
    drain_at(f64::INFINITY, talker.try_clone().unwrap());
    let numbers: Vec<_> = (0..COUNT).flat_map(|number| frame(TEXT, format!("{number:.<1000}"))).collect();
    std::thread::spawn(move || talker.write_all(&numbers));
    let began = Instant::now();
    for number in 0..COUNT {
        if number % 100 == 0 {
            sleep(Duration::from_millis(25)).await; // far slower than the talker
        }
        assert_eq!(receive(&mut slow).await, format!("{number:.<1000}"));
    }
    // 3 s, if the server writes on as soon as the client has read.
    assert!(began.elapsed() < Duration::from_secs(10), "it took {:?}", began.elapsed());
}

#[tokio::test]
async fn a_client_that_reads_nothing_is_dropped_when_its_queue_is_more_than_half_full_and_not_before() {
    let _load = LOAD.lock().await;
    let mut server = Server::start().await;
    let (_stuck, mut talker) = (server.join_stuck().await, server.join().await);
    say_numbers(&mut talker, QUEUE / 2 - 100, MAX_MESSAGE).await;
    let mut late = server.join_stuck().await.into_inner();
    sleep(Duration::from_secs(3)).await; // the first may take its time
    server.assert_all_stayed();
    // The write timeout of the other begins when its socket is full of pongs, not while there is nothing to write.
    let full = Instant::now();
    let pings = frame(PING, [b'x'; 125]).repeat(12_000);
    within(late.write_all(&[pings, frame(TEXT, "all pings")].concat())).await.unwrap();
    receive(&mut talker).await;
    within(talker.get_mut().write_all(&frame(TEXT, "x").repeat(QUEUE / 2 + 100))).await.unwrap();
    for id in [1, 3] {
        server.logs(&format!("client {id} {STUCK}")).await;
    }
    assert!(full.elapsed() > Duration::from_millis(1_500), "dropped after {:?}", full.elapsed());
}

#[tokio::test]
async fn stuck_clients_of_all_kinds_are_dropped_and_stop_a_busy_room_for_three_seconds_at_most() {
    let _load = LOAD.lock().await;
    let mut server = Server::start().await;
    let mut stuck = Vec::new();
    // Some fill the library's buffer with pongs, some part of it, some not even the kernel's.
    for number in 0..20 {
        let mut stream = server.join_stuck().await.into_inner();
        within(stream.write_all(&frame(PING, [b'x'; 125]).repeat(250 * number))).await.unwrap();
        stuck.push(stream);
    }
    flood(blocking(server.join_stuck().await.into_inner()), frame(TEXT, "x").repeat(500));
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
        (longest, listener)
    });
    let mut expected: HashSet<_> = (1..=22).map(|id| format!("client {id} ")).collect();
    while !expected.is_empty() {
        let line = server.logs(STUCK).await;
        expected.retain(|client| !line.starts_with(client));
    }
    let (longest, _listener) = listen.await.unwrap();
    assert!(longest < Duration::from_secs(3), "a pause of {longest:?}");
    server.assert_all_stayed();
}

#[tokio::test]
async fn beside_a_stuck_client_nobody_who_sends_3_000_messages_a_second_waits() {
    let _load = LOAD.lock().await;
    let mut server = Server::start().await;
    let (_stuck, mut talker) = (server.join_stuck().await, server.join().await);
    let mut longest = Duration::ZERO;
    for _ in 0..(QUEUE + 1_000) / 15 {
        let began = Instant::now();
        say_numbers(&mut talker, 15, 1_000).await;
        longest = longest.max(began.elapsed());
        sleep(Duration::from_millis(5).saturating_sub(began.elapsed())).await;
    }
    assert!(longest < Duration::from_secs(1), "a pause of {longest:?}");
    server.logs(STUCK).await;
}

#[tokio::test]
async fn clients_that_catch_up_keep_nobody_waiting() {
    let _load = LOAD.lock().await;
    let server = Server::start().await;
    let late = join_all((0..60).map(|_| server.join())).await;
    let (mut last, mut talker) = (server.join().await.into_inner(), server.join().await);
    say_numbers(&mut talker, QUEUE / 2 - 100, MAX_MESSAGE).await;
    late.into_iter().for_each(|client| drain_at(f64::INFINITY, blocking(client.into_inner())));
    let mut longest = Duration::ZERO;
    for _ in 0..100 {
        longest = longest.max(round_trip(&mut talker).await);
    }
    assert!(longest < Duration::from_millis(300), "a round trip of {longest:?}");
    within(last.read_exact(&mut vec![0; (QUEUE / 2 - 100) * MAX_MESSAGE])).await.unwrap(); // while nobody talks
}

/// It reads everything, but over a 5 Mbit/s line, the slowest that docs/operating.md allows.
#[tokio::test]
#[ignore = "takes 5 to 12 seconds"]
async fn beside_a_slow_client_nobody_waits_for_a_second_and_it_stays_although_the_program_stood_still() {
    let _load = LOAD.lock().await;
    let mut server = Server::start().await;
    drain_at(5e6 / 8.0, blocking(server.join_slow().await.into_inner()));
    let mut talker = server.join().await;
    shout(server.join().await, MAX_MESSAGE);
    for _ in 0..QUEUE + 500 {
        receive(&mut talker).await; // by now its queue is full
    }
    let mut round_trips = Vec::new();
    for _ in 0..5 {
        server.signal("STOP").await;
        sleep(Duration::from_secs(3)).await; // longer than the write timeout
        server.signal("CONT").await;
        let sent = Instant::now();
        send(&mut talker, "talk").await;
        while receive(&mut talker).await != "talk" {}
        round_trips.push(sent.elapsed());
    }
    round_trips.sort(); // the median, as on a busy machine the clients have to wait for a core, too
    assert!(round_trips[2] < Duration::from_secs(1), "{round_trips:?}");
    server.assert_all_stayed();
    for _ in 0..20 {
        shout(server.join().await, MAX_MESSAGE);
    }
    // Who reads gets 1001, although so many wait to send.
    server.signal("INT").await;
    assert_eq!(close_frame(&mut talker).await.0, 1001);
}

#[tokio::test]
#[ignore = "takes 10 to 20 seconds"]
async fn a_client_that_reads_600_kbit_a_second_without_a_pause_stays() {
    let _load = LOAD.lock().await;
    let mut server = Server::start().await;
    drain_at(6e5 / 8.0, blocking(server.join_slow().await.into_inner()));
    let mut talker = server.join().await;
    shout(server.join().await, MAX_MESSAGE);
    for _ in 0..QUEUE {
        receive(&mut talker).await;
    }
    let waits = server.status("voluntary");
    for _ in 0..250 {
        receive(&mut talker).await; // at the slow client's pace: the queue is full
    }
    let waits = server.status("voluntary") - waits;
    assert!(waits > 100, "it waited only {waits} times");
    server.assert_all_stayed();
    server.signal("INT").await;
    assert_eq!(close_frame(&mut talker).await.0, 1001); // although the queue is full
}

/// As one far away does, to whose kernel the server's sends no more before it hears from it.
#[tokio::test]
#[ignore = "takes 13 seconds"]
async fn a_client_that_takes_something_now_and_then_stays_until_it_stops() {
    let _load = LOAD.lock().await;
    let mut server = Server::start().await;
    let mut slow = server.join_slow().await.into_inner();
    shout(server.join().await, MAX_MESSAGE);
    let mut some = vec![0; 256 * 1024];
    for _ in 0..6 {
        within(slow.read_exact(&mut some)).await.unwrap();
        sleep(Duration::from_millis(1_600)).await;
    }
    within(slow.read_exact(&mut some)).await.unwrap();
    sleep(Duration::from_millis(100)).await; // its socket is full again
    server.signal("STOP").await; // as if one machine with both stood still
    sleep(Duration::from_secs(3)).await;
    server.signal("CONT").await;
    sleep(Duration::from_millis(300)).await;
    server.assert_all_stayed();
    let stops = Instant::now();
    server.logs(STUCK).await;
    let took = stops.elapsed().as_secs_f64();
    assert!((0.5..2.2).contains(&took), "dropped after {took} s");
}

#[tokio::test]
async fn a_stuck_client_that_breaks_a_rule_or_leaves_is_cut_off() {
    let server = Server::start().await;
    let mut talker = server.join().await;
    let before = server.descriptors();
    let mut stuck = [server.join_stuck().await.into_inner(), server.join_stuck().await.into_inner()];
    say_numbers(&mut talker, 500, MAX_MESSAGE).await; // more than a socket takes, less than a queue
    stuck[0].write_all(&frame(BINARY, "")).await.unwrap();
    stuck[1].write_all(&frame(CLOSE, "")).await.unwrap();
    until(|| server.descriptors() <= before).await;
    drop(stuck); // not earlier: both stayed open, unread
}
