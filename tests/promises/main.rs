//! What the chat promises, seen from outside: the real program, real sockets, real browsers. The tests run on Linux:
//! they read /proc, send signals, and start programs that come with Debian.
//!
//! - `room`: messages and their order, slow clients, memory, limits, origins, joining and leaving, shutdown, times
//! - `page`: the page in three browsers
//! - `beside`: the Go program that this one mirrors, nginx in front, several machines with Redis
//! - `docs`: what README and docs/operating.md claim
//! - `examples`: examples/bare.rs, the Go program in Rust
//! - `lesson`: what docs/lesson.md quotes and claims
//! - `support`: server, clients, raw frames, a relay, copies of the program with a change

mod beside;
mod docs;
mod examples;
mod lesson;
mod page;
mod room;
mod support;
