//! The room behind nginx, with the lines that the documentation gives for it.

use crate::docs::{OPERATING, blocks};
use crate::support::*;
use std::path::Path;
use std::process::Stdio;

/// nginx in front of a room: it listens, and passes on.
async fn start_in_front_of(room: &Server) -> Server {
    let address = free_address();
    let block = blocks(OPERATING, "nginx")[0];
    assert!(block.contains("127.0.0.1:8080"), "{block}");
    let block = block.replace("127.0.0.1:8080", &room.address);

    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("nginx-{address}"));
    std::fs::create_dir_all(&folder).unwrap();
    let config = format!(
        "daemon off; master_process off; pid nginx.pid; error_log stderr; events {{}}
        http {{ access_log off; server {{ listen {address}; {block} }} }}"
    );
    std::fs::write(folder.join("nginx.conf"), config).unwrap();
    let child = program("nginx", &["-e", "stderr", "-c", "nginx.conf", "-p"])
        .arg(&folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("this needs nginx: apt-get install nginx-light");
    listens(&address).await;
    Server::at(address, child)
}

#[tokio::test]
async fn the_page_and_messages_pass_through_nginx() {
    let room = Server::start().await;
    let nginx = start_in_front_of(&room).await;
    let page = nginx.get("/").await;
    assert!(page.contains("<div id=\"chat\""), "{page}");
    arrives_as_it_was_sent(&[nginx]).await;
}

#[tokio::test]
async fn behind_nginx_our_page_is_recognised_by_its_host() {
    let room = Server::start().await;
    let nginx = start_in_front_of(&room).await;
    for (host, origin, status) in [
        ("chat.example", "https://chat.example", 101),
        ("chat.example:8443", "https://chat.example:8443", 101),
        ("chat.example", "https://evil.example", 403),
        ("chat.example", "http://chat.example", 403),
    ] {
        let answer = upgrade_status(&nginx.address, host, Some(origin)).await;
        assert_eq!(answer, status, "{host} and {origin}");
    }
}
