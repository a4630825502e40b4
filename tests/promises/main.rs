//! What the chat promises, seen from outside: the real program, real sockets, a real browser.

mod page;
mod room;
mod server;
