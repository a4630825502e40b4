//! What examples/bare.rs promises.

use crate::support::*;
use futures_util::StreamExt;
use std::path::PathBuf;
use std::sync::OnceLock;

/// The example, unchanged except for its port and the page's folder.
async fn start_bare() -> Server {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let bare = BUILT.get_or_init(|| {
        let bare = include_str!("../../examples/bare.rs");
        let bare = bare.replace("../index.html", "index.html");
        let address =
            "std::env::var(\"ADDRESS\").unwrap().parse::<std::net::SocketAddr>().unwrap()";
        let copy = Variant::new("bare");
        copy.write("main.rs", &bare.replace("([127, 0, 0, 1], 8080)", address));
        copy.build()
    });
    Server::start_at_address(&mut program(bare, &[])).await
}

#[tokio::test]
async fn the_page_is_served() {
    let server = start_bare().await;
    let answer = server.get("/").await;
    assert!(answer.ends_with(include_str!("../../index.html")));
}

#[tokio::test]
async fn all_clients_receive_all_messages_in_one_order() {
    let server = start_bare().await;
    let mut anna = server.join().await;
    send(&mut anna, "anna is in").await;
    assert_eq!(receive(&mut anna).await, "anna is in");
    let mut ben = server.join().await;
    send(&mut ben, "ben is in").await;
    for client in [&mut anna, &mut ben] {
        assert_eq!(receive(client).await, "ben is in");
    }

    for number in 0..50 {
        send(&mut anna, format!("anna {number}")).await;
        send(&mut ben, format!("ben {number}")).await;
    }
    let mut order = Vec::new();
    for _ in 0..100 {
        let text = receive(&mut anna).await;
        assert_eq!(receive(&mut ben).await, text);
        order.push(text);
    }
    for name in ["anna", "ben"] {
        let sent: Vec<_> = (0..50).map(|number| format!("{name} {number}")).collect();
        let received = order.iter().filter(|text| text.starts_with(name));
        assert!(received.eq(&sent), "{order:?}");
    }
}

#[tokio::test]
async fn the_room_goes_on_when_a_client_leaves() {
    let server = start_bare().await;
    let mut staying = server.join().await;
    send(&mut staying, "I stay").await;
    assert_eq!(receive(&mut staying).await, "I stay");

    let mut leaving = server.join().await;
    within(leaving.close(None)).await.unwrap();
    within(async { while let Some(Ok(_)) = leaving.next().await {} }).await;

    send(&mut staying, "I am still here").await;
    assert_eq!(receive(&mut staying).await, "I am still here");
}
