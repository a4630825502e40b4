//! The chat behind nginx, with the lines that README gives for it.

use crate::readme::blocks;
use crate::support::{client::*, server::*, *};
use std::path::PathBuf;
use std::process::Stdio;
use tokio::process::Command;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

/// Starts nginx in front of a room. Who asks it for a page or a socket gets it from there.
async fn start_in_front_of(room: &Server) -> Server {
    let address = free_address();
    let block = blocks("nginx")[0];
    assert!(block.contains("127.0.0.1:8080"), "{block}");
    let block = block.replace("127.0.0.1:8080", &room.address);

    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("nginx-{address}"));
    std::fs::create_dir_all(&folder).unwrap();
    let config = format!(
        "daemon off; master_process off; pid nginx.pid; error_log stderr; events {{}}
        http {{ access_log off; server {{ listen {address}; {block} }} }}"
    );
    std::fs::write(folder.join("nginx.conf"), config).unwrap();
    let child = Command::new("nginx")
        .args(["-e", "stderr", "-c", "nginx.conf", "-p"])
        .arg(&folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("this needs nginx: apt-get install nginx-light");
    listens(&address).await;
    Server::at(address, child)
}

#[tokio::test]
#[ignore = "needs nginx"]
async fn page_and_talk_go_through_nginx() {
    let room = Server::start().await;
    let nginx = start_in_front_of(&room).await;

    let request = "GET / HTTP/1.1\r\nHost: chat.example\r\nConnection: close\r\n\r\n";
    let page = nginx.http(request).await;
    assert!(page.contains("<div id=\"chat\""), "{page}");

    let mut anna = nginx.join().await;
    let mut ben = nginx.join().await;
    send(&mut anna, "hello").await;
    assert_eq!(receive(&mut anna).await, "hello");
    assert_eq!(receive(&mut ben).await, "hello");
}

#[tokio::test]
#[ignore = "needs nginx"]
async fn behind_nginx_our_page_is_known_by_its_name() {
    let room = Server::start().await;
    let nginx = start_in_front_of(&room).await;
    for (host, origin, status) in [
        ("chat.example", "https://chat.example", 101),
        ("chat.example:8443", "https://chat.example:8443", 101),
        ("chat.example", "https://evil.example", 403),
        ("chat.example", "http://chat.example", 403),
    ] {
        let url = format!("ws://{}/ws", nginx.address);
        let mut request = url.into_client_request().unwrap();
        request.headers_mut().insert("host", host.parse().unwrap());
        request
            .headers_mut()
            .insert("origin", origin.parse().unwrap());
        let answer = match within(client_async(request, nginx.connect().await)).await {
            Ok((_, response)) => response.status(),
            Err(Error::Http(response)) => response.status(),
            Err(error) => panic!("{origin}: {error}"),
        };
        assert_eq!(answer, status, "{host} and {origin}");
    }
}
