//! What the chat promises, seen from outside: the real program, real sockets, a real browser.

mod broker;
mod nginx;
mod original;
mod page;

mod readme;
mod room;
mod support;
