//! The room behind nginx, with the lines that docs/operating.md gives for it.

use crate::blocks;
use crate::support::*;
use std::path::Path;

#[tokio::test]
async fn the_page_and_messages_pass_through_nginx_and_the_page_is_recognised_by_its_host() {
    let room = Server::start().await;
    let address = free_address();
    let block = blocks(include_str!("../../docs/operating.md"), "nginx")[0];
    assert!(block.contains("127.0.0.1:8080"), "{block}");
    let block = block.replace("127.0.0.1:8080", &room.address);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("nginx-{address}"));
    std::fs::create_dir_all(&folder).unwrap();
    let config = format!(
        "daemon off; master_process off; pid nginx.pid; error_log stderr; events {{}}
        http {{ access_log off; server {{ listen {address}; {block} }} }}"
    );
    std::fs::write(folder.join("nginx.conf"), config).unwrap();
    let arguments = ["-e", "stderr", "-c", "nginx.conf", "-p"];
    let process = start(program("nginx", &arguments).arg(&folder)); // apt-get install nginx-light
    listens(&address).await;
    let nginx = Server::at(address, process);

    assert!(nginx.http("GET /").await.contains("<div id=\"chat\""));
    for (host, origin, status) in
        [("chat.example:8443", "https://chat.example:8443", 101), ("chat.example", "https://evil.example", 403)]
    {
        assert_eq!(upgrade_status(&nginx.address, host, Some(origin)).await, status, "{host} and {origin}");
    }
    is_a_room(&[nginx]).await;
}
