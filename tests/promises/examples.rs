//! What examples/bare.rs promises.

use crate::support::*;
use futures_util::StreamExt;
use std::path::{Path, PathBuf};
use tokio::process::Command;
use tokio::sync::OnceCell;

/// Builds the example first: `cargo test` does that only when no test target is named.
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
            .status();
        assert!(status.await.unwrap().success());
        programs.join("examples/bare")
    };
    let bare = BUILT.get_or_init(build).await;
    Server::start_by(&mut program(bare, &["127.0.0.1:0"])).await
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
