//! What the room promises: the real program, real sockets.

mod lifecycle;
mod limits;
mod memory;
pub mod order;
mod origin;
mod shutdown;
pub mod slow;
mod time;

/// The longest text that the room passes on, in bytes.
pub const MAX_MESSAGE: usize = 4 * 1024;

/// How many messages a client's queue holds. When it is more than half full, the client must read.
const QUEUE: usize = 8_192;

/// What the terminal says about a client that was dropped because it didn't read.
pub const STUCK: &str = "left: this client did not read its messages";
