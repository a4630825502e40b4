//! What the chat promises, seen from outside: the real program, real sockets, a real browser.

mod broker;
mod examples;
mod nginx;
mod original;
mod page;
mod proxy;
mod readme;
mod room;
mod server;
