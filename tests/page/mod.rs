//! What the page promises, seen in real browsers with the real program behind it.
//! - `talk`: sending, receiving, and what is shown; `lines`: many lines, heavy texts, and the reader's place
//! - `connection`: losing it and reconnecting; `proxy`: what may stand between the page and the room
//! - `layout`: how it looks, and what a screen reader hears
//!
//! Tests `everywhere` run in Chromium, Firefox and WebKit; tests `in_chromium` do so with the environment variable FULL=1.

mod browser;
mod connection;
mod layout;
mod lines;
mod proxy;
#[path = "../support/mod.rs"]
mod support;
mod talk;
