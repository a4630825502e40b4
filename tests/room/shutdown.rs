//! Ctrl-C: clients get everything accepted, then close code 1001, and the program ends.

use crate::support::*;

const SHUTTING_DOWN: &str = "the server is shutting down";

#[tokio::test]
async fn everyone_gets_what_was_accepted_and_then_1001() {
    const COUNT: usize = 500; // of 4,000 bytes: more than a socket takes, so the queues are full of it
    let _load = LOAD.lock().await;
    let mut server = Server::start().await;
    let mut slow = server.join_slow().await;
    let mut talker = server.join().await;
    let mut idle = server.connect().await; // like that of a browser that has loaded the page
    idle.write_all(b"GET / HTTP/1.1\r\nHost: chat\r\n\r\n").await.unwrap();
    within(idle.read_u8()).await.unwrap();
    say_numbers(&mut talker, COUNT, 4_000).await;
    server.signal("INT").await;
    receive_numbers(&mut slow, COUNT).await;
    for client in [&mut slow, &mut talker] {
        assert_eq!(close_frame(client).await, (1001, SHUTTING_DOWN.into()));
        let end = within(client.next()).await;
        assert!(end.is_none(), "behind the close frame: {end:?}");
    }
    let end = timeout(Duration::from_millis(1_500), server.exit()).await; // all have left
    assert_eq!(end.expect("an end at once").code(), Some(0));
}

#[tokio::test]
async fn a_client_that_joins_during_the_shutdown_gets_1001_too_and_nobody_can_prevent_the_end() {
    let _load = LOAD.lock().await;
    let mut server = Server::start().await;
    let mut half_request = server.connect().await;
    half_request.write_all(b"GET / HTTP/1.1\r\nHo").await.unwrap();
    let mut never_answers = server.join().await.into_inner();
    let mut late = server.connect().await;
    let request = format!("GET /ws HTTP/1.1\r\nHost: chat\r\n{UPGRADE}");
    let (begin, end) = request.split_at(30);
    late.write_all(begin.as_bytes()).await.unwrap();
    server.join().await; // by now the beginning has been read
    let began = Instant::now();
    server.signal("INT").await;
    let close = server_close(1001, SHUTTING_DOWN);
    let mut received = vec![0; close.len()];
    within(never_answers.read_exact(&mut received)).await.unwrap();
    assert_eq!(received, close);
    assert!(TcpStream::connect(&server.address).await.is_err(), "the port is still open");
    late.write_all(end.as_bytes()).await.unwrap();
    let answer = rest(&mut late).await;
    assert!(answer.starts_with(b"HTTP/1.1 101 "));
    assert!(answer.ends_with(&[b"\r\n\r\n", &*close].concat()));
    assert_eq!(server.exit().await.code(), Some(0));
    let took = began.elapsed().as_secs_f64();
    assert!((1.9..2.9).contains(&took), "it took {took} s");
}
