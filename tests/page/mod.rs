//! What the page promises, seen in real browsers with the real program behind it.
//!
//! - `talk`: sending, receiving, and what is shown
//! - `change`: what a learner may change in the room without breaking the page
//! - `connection`: losing it and reconnecting; `proxy`: what may stand between the page and the room
//! - `scroll`: many lines, heavy texts, and the reader's place
//! - `layout`, `accessibility`
//! - `browser`: how a test gets a browser window; `room`: the tests' own room
//!
//! Tests `everywhere` run in Chromium, Firefox and WebKit, where these differ; tests `in_chromium` do so with the
//! environment variable FULL=1.

mod accessibility;
mod browser;
mod change;
mod connection;
mod layout;
mod proxy;
mod room;
mod scroll;
#[path = "../support/mod.rs"]
mod support;
mod talk;
