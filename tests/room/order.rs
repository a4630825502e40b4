//! Everyone receives everything, in one order.

use crate::support::*;

#[tokio::test]
async fn everyone_receives_everything_in_one_order_as_it_was_sent() {
    is_a_room(&[Server::start().await]).await;
}

#[tokio::test]
async fn small_messages_are_not_held_back() {
    let _load = LOAD.lock().await;
    let server = Server::start().await;
    let (mut anna, mut ben) = (server.join().await, server.join().await);
    let began = Instant::now();
    for _ in 0..100 {
        // Anna is talking, so her kernel waits up to 40 ms before it acknowledges what comes (RFC 1122, section
        // 4.2.3.2). Ben's second message is a packet of its own: without TCP_NODELAY it waits for that.
        send(&mut anna, "hello").await;
        assert_eq!(receive(&mut anna).await, "hello");
        assert_eq!(receive(&mut ben).await, "hello");
        for text in ["one", "two"] {
            send(&mut ben, text).await;
            assert_eq!(receive(&mut ben).await, text);
        }
        hears(&mut anna, &["one", "two"]).await;
    }
    assert!(began.elapsed() < Duration::from_secs(2), "it took {:?}", began.elapsed());
}

/// More than tokio lets a task write to in a row, unless it is unconstrained: the others would be tried again later.
#[tokio::test]
async fn a_message_is_written_to_140_clients_at_once() {
    let _load = LOAD.lock().await;
    let server = Server::start().await;
    let (mut clients, mut best) = (Vec::new(), Vec::new());
    for count in [100, 140] {
        clients.extend(join_all((clients.len()..count).map(|_| server.join())).await);
        // On a busy machine the clients have to wait for a core, too: the best of some attempts counts.
        let mut took = Duration::MAX;
        for _ in 0..100 {
            let began = Instant::now();
            send(&mut clients[0], "hello").await;
            for client in &mut clients {
                assert_eq!(receive(client).await, "hello");
            }
            took = took.min(began.elapsed());
        }
        best.push(took);
    }
    assert!(best[1] < 2 * best[0], "100 and 140 clients: {best:?}");
}

#[tokio::test]
async fn what_a_client_sent_before_it_left_is_received() {
    const COUNT: usize = 1_000; // as many as its socket takes while the server is stopped
    let server = Server::start().await;
    let mut listener = server.join().await;
    for _ in 0..3 {
        let mut guest = server.join().await;
        for number in 0..COUNT {
            guest.feed(Message::text(number.to_string())).await.unwrap();
        }
        server.signal("STOP").await; // so that everything is still in its socket
        guest.close(None).await.unwrap();
        drop(guest); // it has read none of the echoes: its kernel says so with a reset
        server.signal("CONT").await;
        receive_numbers(&mut listener, COUNT).await;
    }
}
