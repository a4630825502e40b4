//! examples/go/main.go does what the documentation says of it.

use crate::support::frames::{self, frame};
use crate::support::*;
use futures_util::{SinkExt, StreamExt};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncWriteExt, copy, sink};
use tokio::process::Command;
use tokio::sync::OnceCell;
use tokio::time::timeout;
use tokio_tungstenite::client_async_with_config;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};

const MISSING: &str =
    "this needs Go: apt-get install golang-go golang-github-gorilla-websocket-dev";

/// How long to wait for what never comes.
const NEVER: Duration = Duration::from_secs(3);

/// The folder of the program, which is built once for all tests.
async fn built() -> &'static PathBuf {
    static BUILT: OnceCell<PathBuf> = OnceCell::const_new();
    let build = || async {
        // Unchanged, except for the port and the page's folder.
        let program = include_str!("../../examples/go/main.go");
        let program = program.replace("../../index.html", "index.html");
        let program = program.replace("\t\"log\"\n", "\t\"log\"\n\t\"os\"\n");
        let program = program.replace("\":8080\"", "os.Getenv(\"ADDRESS\")");
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("go-chat");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("main.go"), program).unwrap();
        let page = include_str!("../../index.html");
        std::fs::write(folder.join("index.html"), page).unwrap();
        let output = Command::new("go")
            .args(["build", "-o", "go-chat", "main.go"])
            .current_dir(&folder)
            .env("GO111MODULE", "off")
            .env("GOPATH", "/usr/share/gocode")
            .output()
            .await
            .expect(MISSING);
        let problem = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{MISSING}\n{problem}");
        folder
    };
    BUILT.get_or_init(build).await
}

async fn start() -> Server {
    let folder = built().await;
    let mut original = program(folder.join("go-chat"), &[]);
    Server::start_at_address(original.current_dir(folder)).await
}

/// A client in the room. The Go program adds it a moment after its upgrade: a client that gets its echo is in. Before
/// that, it may receive what another one has just sent.
async fn join(server: &Server, name: &str) -> Socket {
    let mut socket = server.join().await;
    send(&mut socket, name).await;
    while receive(&mut socket).await != name {}
    socket
}

#[tokio::test]
async fn it_is_a_chat() {
    let server = start().await;
    let (mut anna, mut ben) = (join(&server, "Anna").await, join(&server, "Ben").await);
    assert_eq!(receive(&mut anna).await, "Ben");
    send(&mut anna, "hello").await;
    assert_eq!(receive(&mut anna).await, "hello");
    assert_eq!(receive(&mut ben).await, "hello");
    assert!(server.get("/").await.contains("<div id=\"chat\""));
}

#[tokio::test]
async fn many_clients_that_join_at_once_crash_it() {
    let mut server = start().await;
    let address = server.address.clone();
    let waves = async {
        loop {
            let joins = (0..300).map(|_| {
                let address = address.clone();
                tokio::spawn(async move { upgrade(&address, connect(&address).await).await })
            });
            for join in joins.collect::<Vec<_>>() {
                let _ = timeout(NEVER, join).await;
            }
        }
    };
    let end = async {
        tokio::select! {
            () = waves => unreachable!(),
            end = server.child.wait() => end.unwrap(),
        }
    };
    let end = timeout(3 * LIMIT, end).await.expect("it still lives");
    assert_eq!(end.code(), Some(2)); // a Go program's exit code after a fatal error
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn one_client_that_stops_reading_stops_the_room() {
    let _load = LOAD.lock().await;
    let server = start().await;
    let _stuck = server.join_with_small_buffer().await;
    let mut listener = join(&server, "Anna").await;
    shout(server.join().await, 4_000);
    let stopped = async { while timeout(NEVER, listener.next()).await.is_ok() {} };
    within(stopped).await;
}

#[tokio::test]
async fn bytes_that_are_not_utf8_disconnect_everybody() {
    let server = start().await;
    let (mut anna, mut ben) = (join(&server, "Anna").await, join(&server, "Ben").await);
    assert_eq!(receive(&mut anna).await, "Ben");
    let mut sender = server.join().await.into_inner();
    let bytes = frame(frames::TEXT, [0xc3, 0x28]);
    sender.write_all(&bytes).await.unwrap();
    for listener in [&mut anna, &mut ben] {
        let received = within(listener.next()).await.unwrap();
        assert!(matches!(received, Err(Error::Utf8(_))), "{received:?}");
    }
}

#[tokio::test]
async fn binary_data_is_passed_on_as_text() {
    let server = start().await;
    let (mut listener, mut sender) = (join(&server, "Anna").await, server.join().await);
    sender.send(Message::binary(&b"x"[..])).await.unwrap();
    assert_eq!(receive(&mut listener).await, "x");
}

#[tokio::test]
async fn a_message_of_32_mebibytes_goes_to_everybody() {
    const LENGTH: usize = 32 << 20;
    let server = start().await;
    let any_size = WebSocketConfig::default()
        .max_frame_size(None)
        .max_message_size(None);
    let url = format!("ws://{}/ws", server.address);
    let stream = server.connect().await;
    let join = client_async_with_config(url, stream, Some(any_size));
    let (mut listener, _) = within(join).await.unwrap();
    round_trips(&mut listener, 1).await;
    // The original may write to the sender first. Then nobody else receives anything until the sender reads.
    let (mut echo, mut sender) = server.join().await.into_inner().into_split();
    tokio::spawn(async move { copy(&mut echo, &mut sink()).await });
    let long = frame(frames::TEXT, vec![b'x'; LENGTH]);
    let (sent, received) = tokio::join!(within(sender.write_all(&long)), receive(&mut listener));
    sent.unwrap();
    assert_eq!(received.len(), LENGTH);
}

#[tokio::test]
async fn a_foreign_page_may_join() {
    let server = start().await;
    let origin = Some("https://evil.example");
    let status = upgrade_status(&server.address, &server.address, origin).await;
    assert_eq!(status, 101);
}

#[tokio::test]
async fn ctrl_c_cuts_everybody_off() {
    let mut server = start().await;
    let mut client = join(&server, "Anna").await;
    server.signal("INT").await;
    let end = within(client.next()).await;
    assert!(!matches!(end, Some(Ok(_))), "{end:?}"); // no close frame: browsers call that 1006
    server.exit().await;
}
