//! What README says of the original: the Go program is put together from README's own blocks, and shown to do it.

use crate::readme::blocks;
use crate::support::{client::*, server::*, *};
use futures_util::{SinkExt, StreamExt};
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy, sink};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::sync::OnceCell;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{client_async, client_async_with_config};

const MISSING: &str =
    "this needs Go: apt-get install golang-go golang-github-gorilla-websocket-dev";

/// How long is waited for what never comes.
const NEVER: Duration = Duration::from_secs(3);

/// The folder of the program, which is built once for all tests.
async fn built() -> &'static PathBuf {
    static BUILT: OnceCell<PathBuf> = OnceCell::const_new();
    let build = || async {
        // As it stands there, but for the port.
        let program = blocks("go").join("\n");
        let program = program.replace("\t\"log\"\n", "\t\"log\"\n\t\"os\"\n");
        let program = program.replace("\":8080\"", "os.Getenv(\"ADDRESS\")");
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("original");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("main.go"), program).unwrap();
        std::fs::write(folder.join("index.html"), include_str!("../../index.html")).unwrap();
        let output = Command::new("go")
            .args(["build", "-o", "original", "main.go"])
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
    let address = free_address();
    let child = Command::new(folder.join("original"))
        .current_dir(folder)
        .env("ADDRESS", &address)
        .stderr(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    listens(&address).await;
    Server::at(address, child)
}

/// A client that is in the room. In the original, that is a moment after its upgrade is done: who hears itself is in.
async fn join(server: &Server) -> Socket {
    let mut socket = server.join().await;
    is_in(&mut socket).await;
    socket
}

async fn is_in(socket: &mut Socket) {
    send(socket, "here").await;
    assert_eq!(receive(socket).await, "here");
}

#[tokio::test]
#[ignore = "needs Go"]
async fn it_is_a_chat() {
    let server = start().await;
    let (mut anna, mut ben) = (join(&server).await, join(&server).await);
    assert_eq!(receive(&mut anna).await, "here"); // Ben
    send(&mut anna, "hello").await;
    assert_eq!(receive(&mut anna).await, "hello");
    assert_eq!(receive(&mut ben).await, "hello");
    let request = "GET / HTTP/1.1\r\nHost: chat\r\nConnection: close\r\n\r\n";
    assert!(server.http(request).await.contains("<div id=\"chat\""));
}

#[tokio::test]
#[ignore = "needs Go"]
async fn many_who_join_at_once_end_it() {
    let mut server = start().await;
    let waves = async {
        loop {
            let address = server.address.clone();
            let joins = (0..300).map(|_| {
                let address = address.clone();
                tokio::spawn(async move {
                    let stream = TcpStream::connect(&address).await.ok()?;
                    client_async(format!("ws://{address}/ws"), stream)
                        .await
                        .ok()
                })
            });
            for join in joins.collect::<Vec<_>>() {
                if !matches!(timeout(NEVER, join).await, Ok(Ok(Some(_)))) {
                    return;
                }
            }
        }
    };
    timeout(3 * LIMIT, waves).await.expect("it still lives");
    assert_eq!(server.exit().await.code(), Some(2)); // so ends a Go program with a fatal error
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
#[ignore = "needs Go"]
async fn one_client_that_stops_reading_stops_the_room() {
    let _load = LOAD.lock().await;
    let server = start().await;
    let _stuck = server.join_with_small_buffer().await;
    let mut listener = join(&server).await;
    let (mut talk, mut own) = server.join().await.split();
    let own = tokio::spawn(async move { while let Some(Ok(_)) = own.next().await {} });
    let talk = tokio::spawn(async move {
        for count in 0.. {
            let text = format!("{count:.<4000}");
            if talk.send(Message::text(text)).await.is_err() {
                return;
            }
        }
    });
    let all = receive_numbers(&mut listener, 100_000);
    assert!(timeout(LIMIT, all).await.is_err(), "it heard all");
    let more = timeout(NEVER, listener.next()).await;
    assert!(more.is_err(), "the room goes on: {more:?}");
    talk.abort();
    own.abort();
}

#[tokio::test]
#[ignore = "needs Go"]
async fn bytes_that_are_not_utf8_disconnect_everybody() {
    let server = start().await;
    let (mut first, mut second) = (join(&server).await, join(&server).await);
    assert_eq!(receive(&mut first).await, "here"); // the second
    let mut sender = server.join().await.into_inner();
    sender
        .write_all(&[0x81, 0x82, 0, 0, 0, 0, 0xc3, 0x28])
        .await
        .unwrap();
    for listener in [&mut first, &mut second] {
        let heard = within(listener.next()).await.unwrap();
        assert!(matches!(heard, Err(Error::Utf8(_))), "{heard:?}");
    }
}

#[tokio::test]
#[ignore = "needs Go"]
async fn binary_data_is_passed_on_as_text() {
    let server = start().await;
    let (mut listener, mut sender) = (join(&server).await, server.join().await);
    sender.send(Message::binary(&b"x"[..])).await.unwrap();
    assert_eq!(receive(&mut listener).await, "x");
}

#[tokio::test]
#[ignore = "needs Go"]
async fn a_message_of_32_mebibytes_goes_to_everybody() {
    let server = start().await;
    let any_size = WebSocketConfig::default()
        .max_frame_size(None)
        .max_message_size(None);
    let url = format!("ws://{}/ws", server.address);
    let stream = server.connect().await;
    let join = client_async_with_config(url, stream, Some(any_size));
    let (mut listener, _) = within(join).await.unwrap();
    is_in(&mut listener).await;
    // The original may write to the sender first. Then nobody else hears anything until that one reads.
    let (mut echo, mut sender) = server.join().await.into_inner().into_split();
    let echo = tokio::spawn(async move { copy(&mut echo, &mut sink()).await });
    const LENGTH: usize = 32 << 20;
    let header = [&[0x81, 0xff][..], &LENGTH.to_be_bytes(), &[0; 4]].concat();
    let frame = [header, vec![b'x'; LENGTH]].concat();
    let (sent, heard) = tokio::join!(within(sender.write_all(&frame)), receive(&mut listener));
    sent.unwrap();
    assert_eq!(heard.len(), LENGTH);
    echo.abort();
}

#[tokio::test]
#[ignore = "needs Go"]
async fn a_foreign_page_may_join() {
    let server = start().await;
    let url = format!("ws://{}/ws", server.address);
    let mut request = url.into_client_request().unwrap();
    let origin = "https://evil.example".parse().unwrap();
    request.headers_mut().insert("origin", origin);
    let answer = within(client_async(request, server.connect().await)).await;
    assert_eq!(answer.unwrap().1.status(), 101);
}

#[tokio::test]
#[ignore = "needs Go"]
async fn ctrl_c_cuts_everybody_off() {
    let mut server = start().await;
    let mut client = server.join().await;
    send(&mut client, "hello").await;
    receive(&mut client).await;
    server.signal("INT").await;
    let end = within(client.next()).await;
    assert!(!matches!(end, Some(Ok(_))), "{end:?}"); // no close frame: browsers call that 1006
    server.exit().await;
}

#[tokio::test]
#[ignore = "needs Go, and 155 seconds: that is how long the silent may be so in ours"]
async fn a_silent_client_is_never_asked_whether_it_is_there() {
    let server = start().await;
    let mut silent = server.join().await.into_inner();
    let asked = timeout(Duration::from_secs(155), silent.read_u8()).await;
    assert!(asked.is_err(), "{asked:?}");
}
