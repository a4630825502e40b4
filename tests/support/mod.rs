//! What the tests share: the server, clients, raw frames, a relay between them, and copies of the program. It uses only
//! crates and features that the program uses, too, so nothing has to be built for the tests alone.
#![allow(dead_code, unused_imports)] // each test program uses a part of it

pub mod checks;
pub mod client;
pub mod copies;
pub mod frames;
pub mod relay;
pub mod server;

pub use checks::*;
pub use client::*;
pub use copies::{Variant, built_chat};
pub use relay::{Action, Flow, Relay};
pub use server::*;

use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::{sleep, timeout};

/// The longest text that the room passes on, in bytes.
pub const MAX_MESSAGE: usize = 4 * 1024;

/// How many messages a client's queue holds. When it is more than half full, the client must read.
pub const QUEUE: usize = 8_192;

/// What the terminal says about a client that was dropped because it didn't read.
pub const STUCK: &str = "left: this client did not read its messages";

/// How long anything without a limit of its own may take: a test that waits longer has failed.
pub const LIMIT: Duration = Duration::from_secs(20);

/// How long a close frame may take to arrive, and a connection to end behind it: the program waits 2 s, the rest is for
/// a loaded machine.
pub const CLOSE_LIMIT: Duration = Duration::from_secs(4);

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
