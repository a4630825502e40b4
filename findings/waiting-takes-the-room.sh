#!/bin/sh
# Guess: in a bounded tokio channel, `capacity()` is the number of free places, and a task that waits in
# `reserve_many(n)` takes them once n are free. Until then `try_send` goes on using what is free.
# Version: tokio 1.54.1 (crates.io).
# Behaviour: the waiting task takes each place as it becomes free. With 5 of 8 places used and somebody waiting for 5,
# `capacity()` says 0 and `try_send` says Full, though the receiver sees 5 messages. Taking one changes
# nothing. (So a message that must not wait is refused by a channel that is half empty.) When the waiting task gives
# up, its places are free again.
# Output seen:
#   nobody waits: 5 messages, capacity 3
#   somebody waits for 5: 5 messages, capacity 0, try_send Full
#   one message taken: 4 messages, capacity 0, try_send Full
#   nobody waits any more: 4 messages, capacity 4, try_send Ok
set -eu
script=$(realpath "$0"); dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
cargo init --quiet --vcs none --name probe
cargo add --quiet tokio@=1.54.1 --features rt,macros,sync
cat >src/main.rs <<'RS'
use tokio::sync::mpsc::{self, error::TrySendError};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let (sender, mut receiver) = mpsc::channel(8);
    for number in 0..5 {
        sender.send(number).await.unwrap();
    }
    println!("nobody waits: {} messages, capacity {}", receiver.len(), sender.capacity());

    let waiting = tokio::spawn({
        let sender = sender.clone();
        async move { sender.reserve_many(5).await.map(drop) }
    });
    tokio::task::yield_now().await; // the task runs, and waits
    let show = |what, messages| {
        let answer = match sender.try_send(9) {
            Ok(()) => "Ok",
            Err(TrySendError::Full(_)) => "Full",
            Err(TrySendError::Closed(_)) => "Closed",
        };
        let capacity = sender.capacity() + usize::from(answer == "Ok"); // as it was before
        println!("{what}: {messages} messages, capacity {capacity}, try_send {answer}");
    };
    show("somebody waits for 5", receiver.len());
    receiver.recv().await;
    show("one message taken", receiver.len());
    waiting.abort();
    let _ = waiting.await;
    show("nobody waits any more", receiver.len());
}
RS
cargo run --quiet | tee seen
sed -n 's/^#   //p' "$script" | cmp - seen
