//! examples/bare.rs is a chat.

use crate::support::*;

#[tokio::test]
async fn it_is_a_chat_and_goes_on_when_a_client_leaves() {
    // Unchanged except for its port and the page's folder.
    let bare = include_str!("../../examples/bare.rs").replace("../index.html", "index.html");
    let port = "std::env::var(\"ADDRESS\").unwrap().parse::<std::net::SocketAddr>().unwrap()";
    let bare = Variant::new("bare", &bare.replace("([127, 0, 0, 1], 8080)", port));
    let server = Server::start_at_address(&mut program(bare.build(), &[])).await;
    assert!(server.http("GET /").await.ends_with(include_str!("../../index.html")));
    one_order(&[server]).await; // its clients leave at the end
}
