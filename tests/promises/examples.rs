//! What the examples promise.

use crate::server::*;
use futures_util::{SinkExt, StreamExt};
use std::path::{Path, PathBuf};
use tokio::process::Command;
use tokio::sync::OnceCell;
use tokio_tungstenite::tungstenite::Message;

/// Builds the example first: `cargo test` does that only if it isn't told which tests to run.
async fn start_bare() -> Server {
    static BUILT: OnceCell<PathBuf> = OnceCell::const_new();
    let build = || async {
        let programs = Path::new(env!("CARGO_BIN_EXE_chat")).parent().unwrap();
        let status = Command::new(env!("CARGO"))
            .args("build --quiet --locked --example bare".split(' '))
            .args(cfg!(not(debug_assertions)).then_some("--release"))
            .arg("--target-dir")
            .arg(programs.parent().unwrap())
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status()
            .await
            .unwrap();
        assert!(status.success());
        let bare = programs.join("examples").join("bare");
        bare.with_extension(std::env::consts::EXE_EXTENSION)
    };
    let bare = BUILT.get_or_init(build).await;
    Server::start_by(&mut program(bare, &["127.0.0.1:0"])).await
}

async fn send(socket: &mut Socket, text: &str) {
    within(socket.send(Message::text(text))).await.unwrap();
}

async fn receive(socket: &mut Socket) -> String {
    let message = within(socket.next()).await.expect("still connected");
    message.unwrap().into_text().unwrap().to_string()
}

#[tokio::test]
async fn bare_serves_the_page() {
    let server = start_bare().await;
    let request = "GET / HTTP/1.1\r\nHost: chat\r\nConnection: close\r\n\r\n";
    let answer = server.http(request).await;
    assert!(answer.ends_with(include_str!("../../index.html")));
}

#[tokio::test]
async fn bare_sends_all_messages_to_all_clients_in_one_order() {
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
        send(&mut anna, &format!("anna {number}")).await;
        send(&mut ben, &format!("ben {number}")).await;
    }
    let mut order = Vec::new();
    for _ in 0..100 {
        let text = receive(&mut anna).await;
        assert_eq!(receive(&mut ben).await, text);
        order.push(text);
    }
    for name in ["anna", "ben"] {
        let own = order.iter().filter(|text| text.starts_with(name));
        let sent = (0..50).map(|number| format!("{name} {number}"));
        assert!(own.eq(sent.collect::<Vec<_>>().iter()), "{order:?}");
    }
}

#[tokio::test]
async fn bare_goes_on_when_a_client_leaves() {
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
