//! The room with other programs (nginx in front, several machines with Redis), and the programs beside it: the Go program
//! that it mirrors, examples/bare.rs, and what docs/lesson.md makes of them.

mod bare;
mod docs;
mod go;
mod lesson;
mod nginx;
mod redis;
#[path = "../support/mod.rs"]
mod support;
