//! The room: the real program, real sockets. These tests need cargo alone, and Linux: they read /proc, and send signals.

mod lifecycle;
mod limits;
mod memory;
mod order;
mod page;
mod shutdown;
mod slow;
#[path = "../support/mod.rs"]
mod support;
mod time;
