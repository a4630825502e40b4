//! What the room promises: the real program, real sockets.

mod lifecycle;
mod limits;
mod memory;
pub mod order;
mod origin;
mod shutdown;
pub mod slow;
mod time;

/// Bytes of the longest text that the room passes on.
pub const MAX_MESSAGE: usize = 4 * 1024;

/// How many messages wait for a client, at most. From half of that on, it must read.
const QUEUE: usize = 8_192;

/// What the terminal says of a client that was dropped because it didn't read.
pub const STUCK: &str = "left: this client did not read its messages";
