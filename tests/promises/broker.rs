//! What README says of more than one machine: its change is made to a copy of the program, and shown on a real Redis.

use crate::readme::{blocks, copy_program};
use crate::support::{client::*, server::*, *};
use futures_util::{SinkExt, StreamExt};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::sync::{OnceCell, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, interval, sleep};
use tokio_tungstenite::tungstenite::Message;

const MISSING: &str = "this needs Redis: apt-get install redis-server";

/// The program with README's change, which is built once for all tests.
async fn built() -> &'static PathBuf {
    static BUILT: OnceCell<PathBuf> = OnceCell::const_new();
    let build = || async {
        let folder = copy_program("broker");
        std::fs::write(folder.join("change.diff"), blocks("diff")[0]).unwrap();
        let mut apply = Command::new("git");
        // The folder lies inside a repository: `git` must not take it for a part of that.
        apply.env("GIT_CEILING_DIRECTORIES", env!("CARGO_TARGET_TMPDIR"));
        run(apply.args(["apply", "change.diff"]), &folder).await;
        let build = "build --quiet --bin chat --target-dir target".split(' ');
        run(Command::new(env!("CARGO")).args(build), &folder).await;
        folder.join("target/debug/chat")
    };
    BUILT.get_or_init(build).await
}

async fn run(command: &mut Command, folder: &Path) {
    let output = command.current_dir(folder).output().await.unwrap();
    let problem = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}\n{problem}");
}

/// A machine: a room that talks with the Redis at a port.
async fn machine(redis: u16) -> Server {
    let mut command = program(built().await, &["127.0.0.1:0"]);
    command.env("REDIS_URL", format!("redis://127.0.0.1:{redis}"));
    Server::start_by(&mut command).await
}

/// Two machines that have found their Redis.
async fn two_machines(redis: &Redis) -> [Server; 2] {
    let machines = [machine(redis.port).await, machine(redis.port).await];
    redis.has(2).await;
    machines
}

/// A Redis of its own, at a port and in a folder of its own. It is killed when dropped.
struct Redis {
    port: u16,
    command: Command,
    child: Child,
}

impl Redis {
    /// Without a disk it keeps nothing, with a disk it keeps all that it has answered.
    async fn start(name: &str, disk: &str) -> Redis {
        let mut redis = Redis::start_at(free_port(), name, disk);
        redis.answers().await;
        redis
    }

    fn start_at(port: u16, name: &str, disk: &str) -> Redis {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("redis-{name}"));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        let mut command = Command::new("redis-server");
        command
            .args(["--bind", "127.0.0.1", "--port", &port.to_string()])
            .args(["--save", "", "--dir"])
            .arg(folder)
            .args(disk.split_whitespace())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true);
        let child = command.spawn().expect(MISSING);
        Redis {
            port,
            command,
            child,
        }
    }

    async fn kill(&mut self) {
        within(self.child.kill()).await.unwrap();
    }

    async fn start_again(&mut self) {
        self.child = self.command.spawn().unwrap();
        self.answers().await;
    }

    /// Waits until it answers, and has read what it has on its disk.
    async fn answers(&mut self) {
        let answers = async {
            while self.ask("PING").await.as_deref() != Some("+PONG") {
                sleep(Duration::from_millis(10)).await;
                let end = self.child.try_wait().unwrap();
                assert!(end.is_none(), "Redis has ended: {end:?}");
            }
        };
        within(answers).await;
    }

    /// Waits until so many machines wait for what is said, each at a connection.
    async fn has(&self, machines: usize) {
        let waits = async {
            loop {
                let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
                stream.write_all(b"CLIENT LIST\r\nQUIT\r\n").await.unwrap();
                let mut list = String::new();
                stream.read_to_string(&mut list).await.unwrap();
                if list.matches("cmd=xread ").count() >= machines {
                    return;
                }
                sleep(Duration::from_millis(10)).await;
            }
        };
        within(waits).await;
    }

    /// The first line of its answer to a command.
    async fn ask(&self, command: &str) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.ok()?;
        let command = format!("{command}\r\n");
        stream.write_all(command.as_bytes()).await.ok()?;
        BufReader::new(stream).lines().next_line().await.ok()?
    }
}

/// Hears until so many texts have come that begin with `last`; gives back all that came.
fn hear_until(mut stream: impl Hears, last: &'static str, count: usize) -> JoinHandle<Vec<String>> {
    tokio::spawn(async move {
        let (mut heard, mut ends) = (Vec::new(), 0);
        while ends < count {
            let message = within(stream.next()).await.expect("dropped").unwrap();
            if let Message::Text(text) = message {
                ends += usize::from(text.starts_with(last));
                heard.push(text.as_str().to_owned());
            }
        }
        heard
    })
}

trait Hears:
    StreamExt<Item = Result<Message, tokio_tungstenite::tungstenite::Error>> + Unpin + Send + 'static
{
}
impl<T> Hears for T where
    T: StreamExt<Item = Result<Message, tokio_tungstenite::tungstenite::Error>>
        + Unpin
        + Send
        + 'static
{
}

/// All have heard the same, and nothing twice; what they have heard.
async fn one_sequence(listeners: Vec<JoinHandle<Vec<String>>>) -> Vec<String> {
    let mut sequences = Vec::new();
    for listener in listeners {
        sequences.push(listener.await.unwrap());
    }
    let first = sequences.pop().unwrap();
    for sequence in sequences {
        let differ = first
            .iter()
            .zip(&sequence)
            .find(|(one, other)| one != other);
        assert_eq!(differ, None, "two clients heard different sequences");
        assert_eq!(first.len(), sequence.len());
    }
    let once: HashSet<&String> = first.iter().collect();
    assert_eq!(once.len(), first.len(), "something was heard twice");
    first
}

// One room

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
#[ignore = "needs Redis, and cargo"]
async fn everyone_on_two_machines_hears_everything_in_one_order() {
    let redis = Redis::start("order", "").await;
    let machines = two_machines(&redis).await;
    let _load = LOAD.lock().await;
    let (mut listeners, mut talkers) = (Vec::new(), Vec::new());
    for number in 0..8 {
        let (mut sink, stream) = machines[number % 2].join().await.split();
        listeners.push(hear_until(stream, "", 1_600));
        talkers.push(async move {
            for count in 0..200 {
                let text = format!("{number} {count}");
                within(sink.send(Message::text(text))).await.unwrap();
            }
            sink
        });
    }
    let talkers: Vec<_> = talkers.into_iter().map(tokio::spawn).collect();
    let heard = one_sequence(listeners).await;
    for number in 0..8 {
        let own = heard
            .iter()
            .filter(|text| text.starts_with(&format!("{number} ")));
        let said: Vec<_> = (0..200).map(|count| format!("{number} {count}")).collect();
        assert!(own.eq(&said), "the texts of one sender changed their order");
    }
    drop(talkers);
}

#[tokio::test]
#[ignore = "needs Redis, and cargo"]
async fn a_text_arrives_as_it_was_sent() {
    let redis = Redis::start("text", "").await;
    let [one, other] = two_machines(&redis).await;
    let (mut anna, mut ben) = (one.join().await, other.join().await);
    let long = "ä".repeat(32 * 1024);
    for text in ["", " ", "grüße \u{1F44B}\u{0}\r\n<b>&amp;</b>", &long] {
        send(&mut anna, text).await;
        assert!(receive(&mut anna).await == text && receive(&mut ben).await == text);
    }
}

// One machine

#[tokio::test]
#[ignore = "needs Redis, and cargo"]
#[cfg(unix)]
async fn ctrl_c_ends_one_machine_and_the_other_goes_on() {
    let redis = Redis::start("end", "").await;
    let [mut one, other] = two_machines(&redis).await;
    let (mut anna, mut ben) = (one.join().await, one.join().await);
    let (mut chris, mut dora) = (other.join().await, other.join().await);
    send(&mut anna, "hello").await;
    for client in [&mut anna, &mut ben, &mut chris, &mut dora] {
        assert_eq!(receive(client).await, "hello");
    }
    one.signal("INT").await;
    for client in [&mut anna, &mut ben] {
        let goodbye = close_frame(client).await;
        assert_eq!(goodbye, Some((1001, "the server is going away".to_owned())));
    }
    send(&mut chris, "still here").await;
    for client in [&mut chris, &mut dora] {
        assert_eq!(receive(client).await, "still here");
    }
    drop((anna, ben));
    assert!(one.exit().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
#[ignore = "needs Redis, and cargo"]
async fn a_stuck_client_on_one_machine_costs_the_other_nothing() {
    const COUNT: usize = 12_000; // of 1,000 bytes: more than half of what there is space for
    let redis = Redis::start("stuck", "").await;
    let [mut one, mut other] = two_machines(&redis).await;
    let _load = LOAD.lock().await;
    let _stuck = one.join_with_small_buffer().await;
    let mut beside = one.join().await;
    let (mut talk, mut own) = other.join().await.split();
    let beside = tokio::spawn(async move { receive_numbers(&mut beside, COUNT).await });
    let own = tokio::spawn(async move { receive_numbers(&mut own, COUNT).await });
    let mut ticks = interval(Duration::from_millis(1));
    for count in 0..COUNT {
        ticks.tick().await;
        let text = Message::text(format!("{count:.<1000}"));
        within(talk.send(text)).await.unwrap();
    }
    beside.await.unwrap();
    let longest = own.await.unwrap();
    // As long as the other machine is patient with a stuck client.
    assert!(
        longest < Duration::from_millis(800),
        "a pause of {longest:?}"
    );
    one.logs("took no more messages").await;
    while let Ok(line) = other.log.try_recv() {
        assert!(!line.contains("left"), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
#[ignore = "needs Redis, and cargo"]
async fn a_slow_listener_slows_down_who_talks_beside_it_and_misses_nothing() {
    const COUNT: usize = 8_000; // of 4,000 bytes: twice what there is space for
    let redis = Redis::start("slow", "").await;
    let [one, _other] = two_machines(&redis).await;
    let _load = LOAD.lock().await;
    let mut slow = one.join_with_small_buffer().await;
    let (mut talk, mut own) = one.join().await.split();
    let own = tokio::spawn(async move { receive_numbers(&mut own, COUNT).await });
    let slow = tokio::spawn(async move {
        let began = Instant::now();
        for count in 0..COUNT {
            if count % 5 == 0 && began.elapsed() < Duration::from_secs(12) {
                sleep(Duration::from_millis(40)).await;
            }
            assert_eq!(receive(&mut slow).await, format!("{count:.<4000}"));
        }
    });
    // Redis keeps less than usual for a machine that is behind: so it shows soon.
    let forget = tokio::spawn(async move {
        loop {
            redis.ask("XTRIM chat MAXLEN 500").await.unwrap();
            sleep(Duration::from_millis(20)).await;
        }
    });
    for count in 0..COUNT {
        let text = Message::text(format!("{count:.<4000}"));
        within(talk.feed(text)).await.unwrap();
    }
    within(talk.flush()).await.unwrap();
    own.await.unwrap();
    slow.await.unwrap();
    forget.abort();
}

// Redis away

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
#[ignore = "needs Redis, and cargo"]
async fn redis_is_killed_and_nothing_is_lost_that_was_echoed() {
    let disk = "--appendonly yes --appendfsync always";
    let mut redis = Redis::start("killed", disk).await;
    let mut machines = two_machines(&redis).await;
    let _load = LOAD.lock().await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut witness = machines[0].join().await;
    let (mut listeners, mut talkers) = (Vec::new(), Vec::new());
    for number in 0..8 {
        let (mut sink, stream) = machines[number % 2].join().await.split();
        listeners.push(hear_until(stream, "end", 8));
        let stop = stop.clone();
        talkers.push(async move {
            let mut count = 0;
            while !stop.load(Ordering::Relaxed) {
                let text = format!("{number} {count}");
                within(sink.send(Message::text(text))).await.unwrap();
                count += 1;
                sleep(Duration::from_millis(5)).await;
            }
            let end = Message::text(format!("end {number}"));
            within(sink.send(end)).await.unwrap();
            (sink, count)
        });
    }
    let talkers: Vec<_> = talkers.into_iter().map(tokio::spawn).collect();
    for _ in 0..2 {
        for _ in 0..300 {
            receive(&mut witness).await;
        }
        redis.kill().await;
        for machine in &mut machines {
            machine.logs("no Redis").await;
        }
        redis.start_again().await;
    }
    for _ in 0..1_000 {
        receive(&mut witness).await; // the rooms go on
    }
    redis.has(2).await;
    stop.store(true, Ordering::Relaxed);
    let mut said = Vec::new();
    let mut sinks = Vec::new();
    for (number, talker) in talkers.into_iter().enumerate() {
        let (sink, count) = talker.await.unwrap();
        said.extend((0..count).map(|count| format!("{number} {count}")));
        sinks.push(sink);
    }
    drop(witness);
    let heard = one_sequence(listeners).await;
    let heard: HashSet<&String> = heard.iter().collect();
    let missing: Vec<_> = said.iter().filter(|text| !heard.contains(text)).collect();
    // Each machine may have had one on its way, each time. Nobody has heard it, its sender neither.
    assert!(missing.len() <= 4, "nobody heard {missing:?}");
}

#[tokio::test]
#[ignore = "needs Redis, and cargo"]
async fn a_room_without_redis_waits_for_it() {
    let port = free_port();
    let mut room = machine(port).await;
    let mut client = room.join().await;
    send(&mut client, "early").await;
    room.logs("no Redis").await;
    room.logs("no Redis").await;
    let mut redis = Redis::start_at(port, "late", "");
    redis.answers().await;
    assert_eq!(receive(&mut client).await, "early");
}

#[tokio::test]
#[ignore = "needs Redis, and cargo"]
async fn a_machine_that_was_cut_off_hears_the_rest_and_says_nothing_twice() {
    let redis = Redis::start("cut", "").await;
    let line = Line::to(redis.port).await;
    let (near, mut far) = (machine(redis.port).await, machine(line.port).await);
    redis.has(2).await;
    let (mut anna, mut ben) = (near.join().await, far.join().await);

    // Redis takes the text, but its answer gets lost.
    line.state.send(State::Deaf).unwrap();
    send(&mut ben, "once").await;
    assert_eq!(receive(&mut anna).await, "once");
    line.state.send(State::Cut).unwrap();
    far.logs("no Redis").await;
    for number in 0..100 {
        send(&mut anna, number.to_string()).await;
        assert_eq!(receive(&mut anna).await, number.to_string());
    }
    line.state.send(State::Open).unwrap();
    assert_eq!(receive(&mut ben).await, "once");
    for number in 0..100 {
        assert_eq!(receive(&mut ben).await, number.to_string());
    }
    send(&mut ben, "again").await;
    assert_eq!(receive(&mut anna).await, "again");
    assert_eq!(receive(&mut ben).await, "again");
}

#[tokio::test]
#[ignore = "needs Redis, and cargo"]
async fn redis_may_forget_and_nobody_waits_or_hears_something_twice() {
    let mut redis = Redis::start("forgets", "").await;
    // Its clock is an hour ahead, as one may see it: the numbers of what is said after this are higher.
    let clock = std::time::UNIX_EPOCH.elapsed().unwrap() + Duration::from_secs(3_600);
    let ahead = format!("XADD chat {}-0 text before", clock.as_millis());
    redis.ask(&ahead).await.unwrap();
    let mut machines = two_machines(&redis).await;
    let (mut anna, mut ben) = (machines[0].join().await, machines[1].join().await);
    let mut talk = async |text: &str| {
        send(&mut anna, text).await;
        assert_eq!(receive(&mut anna).await, text);
        assert_eq!(receive(&mut ben).await, text);
    };
    let mut killed = async |redis: &mut Redis| {
        redis.kill().await;
        for machine in &mut machines {
            machine.logs("no Redis").await;
        }
        redis.start_again().await;
        redis.has(2).await;
    };
    talk("one").await;
    killed(&mut redis).await;
    talk("two").await;
    assert_eq!(redis.ask("SAVE").await.as_deref(), Some("+OK"));
    talk("three").await;
    killed(&mut redis).await; // it comes back with what it has saved, as far as "two"
    talk("four").await;
}

/// A line to Redis that can be cut.
struct Line {
    port: u16,
    state: watch::Sender<State>,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Open,
    /// What Redis answers gets lost.
    Deaf,
    Cut,
}

impl Line {
    async fn to(redis: u16) -> Line {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (state, now) = watch::channel(State::Open);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let mut cut = now.clone();
                let now = now.clone();
                tokio::spawn(async move {
                    let redis = TcpStream::connect(("127.0.0.1", redis)).await.unwrap();
                    let (from, to) = stream.into_split();
                    let (from_redis, to_redis) = redis.into_split();
                    tokio::select! {
                        _ = cut.wait_for(|state| *state == State::Cut) => {}
                        () = pass(from, to_redis, || true) => {}
                        () = pass(from_redis, to, || *now.borrow() == State::Open) => {}
                    }
                });
            }
        });
        Line { port, state }
    }
}

async fn pass(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWrite + Unpin,
    arrives: impl Fn() -> bool,
) {
    let mut bytes = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        if arrives() && to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}
