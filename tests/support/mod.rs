//! What the tests share: the server, clients, a relay between them, and copies of the program. It uses only
//! crates and features that the program uses, too, so nothing has to be built for the tests alone.
#![allow(dead_code, unused_imports)] // each test program uses a part of it

pub mod client;
pub mod copies;
pub mod relay;
pub mod server;

pub use client::*;
pub use copies::{Variant, built_chat};
pub use futures_util::{SinkExt, StreamExt, future::join_all};
pub use relay::{Action, Flow, Relay};
pub use server::*;
pub use std::process::{Command, Stdio};
pub use std::time::{Duration, Instant};
pub use tokio::io::{AsyncReadExt, AsyncWriteExt};
pub use tokio::net::TcpStream;
pub use tokio::time::{sleep, timeout};
pub use tokio_tungstenite::tungstenite::{Error, Message};
pub use tokio_tungstenite::{WebSocketStream, client_async};

use tokio::sync::Mutex;

/// The longest text that the room passes on, in bytes.
pub const MAX_MESSAGE: usize = 4 * 1024;

/// How many messages a client's queue holds. When it is more than half full, the client must read.
pub const QUEUE: usize = 8_192;

/// What the terminal says about a client that was dropped because it didn't read.
pub const STUCK: &str = "left (did not read its messages)";

/// How long anything without a limit of its own may take: a test that waits longer has failed.
pub const LIMIT: Duration = Duration::from_secs(20);

/// Held by tests that load the machine, and by those with time bounds, so that none slows down another.
pub static LOAD: Mutex<()> = Mutex::const_new(());

pub async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(LIMIT, future).await.expect("it took too long")
}

/// Waits for something that can only be looked at now and then.
pub async fn until(mut holds: impl FnMut() -> bool) {
    let wait = async {
        while !holds() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    within(wait).await;
}
