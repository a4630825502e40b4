//! examples/go/main.go does what the documentation says of it.

use crate::support::*;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// How long to wait for what never comes.
const NEVER: Duration = Duration::from_secs(3);

async fn go_chat() -> Server {
    static BUILT: LazyLock<PathBuf> = LazyLock::new(build);
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/go"); // it looks for its page from there
    Server::start_at_address(program(&*BUILT, &[]).current_dir(folder)).await
}

/// Builds the program, unchanged except for its port.
fn build() -> PathBuf {
    let go = include_str!("../../examples/go/main.go").replace("\t\"log\"\n", "\t\"log\"\n\t\"os\"\n");
    let go = go.replace("\":8080\"", "os.Getenv(\"ADDRESS\")");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    std::fs::write(folder.join("main.go"), go).unwrap();
    let mut build = Command::new("go"); // apt-get install golang-go golang-github-gorilla-websocket-dev
    build.args(["build", "-o", "go-program", "main.go"]).current_dir(folder);
    build.env("GO111MODULE", "off").env("GOPATH", "/usr/share/gocode");
    assert!(build.status().unwrap().success());
    folder.join("go-program")
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
async fn many_clients_that_join_at_once_crash_it() {
    let mut server = go_chat().await;
    let crash = async {
        while server.process.0.try_wait().unwrap().is_none() {
            let address = &server.address;
            let joins = (0..300).map(|_| async move {
                let stream = TcpStream::connect(address).await.ok()?;
                client_async(format!("ws://{address}/ws"), stream).await.ok()
            });
            let _ = timeout(NEVER, join_all(joins)).await;
        }
    };
    timeout(3 * LIMIT, crash).await.expect("it still lives");
    assert_eq!(server.exit().await.code(), Some(2)); // a Go program's exit code after a fatal error
}

#[tokio::test]
async fn one_client_that_stops_reading_stops_the_room() {
    let _load = LOAD.lock().await;
    let server = go_chat().await;
    let _stuck = server.join_stuck().await;
    let mut listener = join(&server, "Anna").await;
    shout(server.join().await, 4_000);
    let stopped = async { while timeout(NEVER, listener.next()).await.is_ok() {} };
    within(stopped).await;
}

#[tokio::test]
async fn bytes_that_are_not_utf8_disconnect_everybody() {
    let server = go_chat().await;
    let (mut anna, mut ben) = (join(&server, "Anna").await, join(&server, "Ben").await);
    assert_eq!(receive(&mut anna).await, "Ben");
    let mut sender = server.join().await.into_inner();
    sender.write_all(&frame(TEXT, [0xc3, 0x28])).await.unwrap();
    for listener in [&mut anna, &mut ben] {
        let received = within(listener.next()).await.unwrap();
        assert!(matches!(received, Err(Error::Utf8(_))), "{received:?}");
    }
}

#[tokio::test]
async fn a_message_of_32_mebibytes_goes_to_everybody() {
    let server = go_chat().await;
    let mut listener = join(&server, "Anna").await.into_inner();
    let mut received = vec![0; 32 << 20];
    shout(server.join().await, received.len());
    within(listener.read_exact(&mut received)).await.unwrap();
    assert!(received.ends_with(b"xxx"));
}

#[tokio::test]
async fn a_foreign_page_may_join_binary_data_is_passed_on_as_text_and_ctrl_c_cuts_everybody_off() {
    let mut server = go_chat().await;
    assert_eq!(upgrade_status(&server.address, "chat", Some("https://evil.example")).await, 101);
    let mut client = join(&server, "Anna").await;
    client.send(Message::binary(&b"x"[..])).await.unwrap();
    assert_eq!(receive(&mut client).await, "x");
    server.signal("INT").await;
    let end = within(client.next()).await;
    assert!(!matches!(end, Some(Ok(_))), "{end:?}"); // no close frame: browsers call that 1006
    server.exit().await;
}
