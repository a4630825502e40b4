//! The room beside other programs, which must be installed: these tests run with `cargo test -- --ignored`.

mod nginx;
mod original;
mod redis;
