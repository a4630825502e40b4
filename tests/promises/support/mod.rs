//! What the tests share: the server, clients, raw frames, a relay between them, and copies of the program.

pub mod client;
pub mod copies;
pub mod frames;
pub mod relay;
pub mod server;

pub use client::*;
pub use copies::Variant;
pub use relay::{Action, Flow, Relay};
pub use server::*;

use std::time::Duration;
use tokio::sync::Mutex;

/// How long anything without a limit of its own may take: a test that waits longer has failed.
pub const LIMIT: Duration = Duration::from_secs(20);

/// How long a close frame may take to arrive, and a connection to end behind it: the program waits 2 s, the rest is for
/// a loaded machine.
pub const CLOSE_LIMIT: Duration = Duration::from_secs(4);

/// Held by tests that load the machine, and by those with time bounds, so that none slows down another. The clients of
/// the former run in threads: in one thread, a client with much to read would keep the others from reading.
pub static LOAD: Mutex<()> = Mutex::const_new(());

pub async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future)
        .await
        .expect("it took too long")
}
