//! Several machines as one room: a copy of the program with docs/several-machines.diff applied, and a real Redis.

use crate::support::*;
use futures_util::StreamExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::{OnceCell, watch};
use tokio::time::sleep;

/// A machine: a room that uses the Redis at an address.
async fn machine(redis: &str) -> Server {
    static BUILT: OnceCell<PathBuf> = OnceCell::const_new();
    let build = || async {
        let copy = Variant::new("several-machines", include_str!("../../main.rs"));
        let apply = std::process::Command::new("git")
            .args(["apply", "-"])
            .stdin(
                std::fs::File::open(concat!(
                    env!("CARGO_MANIFEST_DIR"),
                    "/../docs/several-machines.diff"
                ))
                .unwrap(),
            )
            .current_dir(&copy.folder)
            // The folder is inside a repository: `git` must not treat it as part of that.
            .env("GIT_CEILING_DIRECTORIES", env!("CARGO_TARGET_TMPDIR"))
            .status();
        assert!(apply.unwrap().success(), "git apply");
        copy.build()
    };
    let mut command = program(BUILT.get_or_init(build).await, &["127.0.0.1:0"]);
    command.env("REDIS_URL", format!("redis://{redis}"));
    Server::start_by(&mut command).await
}

/// Two machines that have found their Redis.
async fn two_machines(redis: &Redis) -> [Server; 2] {
    let machines = [machine(&redis.address).await, machine(&redis.address).await];
    redis.has_machines(2).await;
    machines
}

/// A Redis in a folder of its own. It is killed when dropped.
struct Redis {
    address: String,
    command: Command,
    process: Process,
}

impl Redis {
    /// Without a disk it keeps nothing; with a disk it keeps everything it has confirmed.
    async fn start(disk: &str) -> Redis {
        let mut redis = Redis::start_at(free_address(), disk);
        redis.until_it_answers().await;
        redis
    }

    fn start_at(address: String, disk: &str) -> Redis {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("redis-{address}"));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        let (ip, port) = address.rsplit_once(':').unwrap();
        let arguments = ["--bind", ip, "--port", port, "--save", ""];
        let mut command = program("redis-server", &arguments);
        command
            .current_dir(folder)
            .args(disk.split_whitespace())
            .stdout(Stdio::null());
        let process = crate::support::start(&mut command); // apt-get install redis-server
        Redis {
            process,
            address,
            command,
        }
    }

    /// Kills it, and starts it again, after `machines` have noticed.
    async fn restart(&mut self, machines: &mut [Server]) {
        self.process.0.kill().unwrap();
        self.process.0.wait().unwrap();
        for machine in machines {
            machine.logs("no Redis").await;
        }
        self.process = crate::support::start(&mut self.command);
        self.until_it_answers().await;
    }

    /// Waits until it has loaded what is on its disk, too.
    async fn until_it_answers(&mut self) {
        within(async {
            while self.ask("PING").await.as_deref() != Some("+PONG") {
                sleep(Duration::from_millis(10)).await;
                let end = self.process.0.try_wait().unwrap();
                assert!(end.is_none(), "Redis has ended: {end:?}");
            }
        })
        .await;
    }

    /// Waits until `count` machines wait for messages, each on its own connection.
    async fn has_machines(&self, count: usize) {
        within(async {
            loop {
                let mut stream = TcpStream::connect(&self.address).await.unwrap();
                stream.write_all(b"CLIENT LIST\r\nQUIT\r\n").await.unwrap();
                let mut list = String::new();
                stream.read_to_string(&mut list).await.unwrap();
                if list.matches("cmd=xread ").count() >= count {
                    return;
                }
                sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
    }

    /// The first line of its answer to a command.
    async fn ask(&self, command: &str) -> Option<String> {
        let mut stream = TcpStream::connect(&self.address).await.ok()?;
        let command = format!("{command}\r\n");
        stream.write_all(command.as_bytes()).await.ok()?;
        BufReader::new(stream).lines().next_line().await.ok()?
    }
}

// One room

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn everyone_on_two_machines_receives_everything_in_one_order_as_it_was_sent() {
    let redis = Redis::start("").await;
    let machines = two_machines(&redis).await;
    let _load = LOAD.lock().await;
    one_order(&machines).await;
    arrives_as_it_was_sent(&machines).await;
}

#[tokio::test]
async fn ctrl_c_ends_one_machine_and_the_other_goes_on() {
    let redis = Redis::start("").await;
    let [mut one, other] = two_machines(&redis).await;
    let (mut anna, mut ben) = (one.join().await, other.join().await);
    send(&mut anna, "hello").await;
    assert_eq!(receive(&mut anna).await, "hello");
    assert_eq!(receive(&mut ben).await, "hello");
    one.signal("INT").await;
    let close = close_frame(&mut anna).await;
    assert_eq!(close, (1001, "the server is shutting down".into()));
    round_trips(&mut ben, 1).await;
    drop(anna);
    assert!(one.exit().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn a_stuck_client_on_one_machine_costs_the_other_nothing() {
    let redis = Redis::start("").await;
    let [mut one, mut other] = two_machines(&redis).await;
    let _load = LOAD.lock().await;
    nobody_waits_for_stuck_clients(1, &mut one, Some(&other)).await;
    while let Ok(line) = other.log.try_recv() {
        assert!(!line.contains(STUCK), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn a_slow_client_slows_down_senders_beside_it_and_misses_nothing() {
    const COUNT: usize = 20_000; // more than two queues
    let redis = Redis::start("").await;
    let [mut one, _other] = two_machines(&redis).await;
    let _load = LOAD.lock().await;
    let mut slow = one.join_stuck().await;
    let (mut sink, own) = one.join().await.split();
    let own = spawn_numbers(own, COUNT);
    let slow = tokio::spawn(async move {
        let began = Instant::now();
        for count in 0..COUNT {
            if count % 20 == 0 && began.elapsed() < Duration::from_secs(8) {
                sleep(Duration::from_millis(40)).await;
            }
            assert_eq!(receive(&mut slow).await, format!("{count:.<4000}"));
        }
    });
    // Redis keeps less than usual for a machine that is behind, so that a loss shows soon.
    tokio::spawn(async move {
        loop {
            redis.ask("XTRIM chat MAXLEN 500").await.unwrap();
            sleep(Duration::from_millis(20)).await;
        }
    });
    send_numbers(&mut sink, COUNT, 4_000).await;
    own.await.unwrap();
    slow.await.unwrap();
    while let Ok(line) = one.log.try_recv() {
        assert!(!line.contains(STUCK), "{line}");
    }
}

// Redis down

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn redis_is_killed_and_nothing_is_lost_that_came_back() {
    let mut redis = Redis::start("--appendonly yes --appendfsync always").await;
    let mut machines = two_machines(&redis).await;
    let _load = LOAD.lock().await;
    let end = watch::Sender::new(false);
    let mut witness = machines[0].join().await;
    let (mut listeners, mut sinks) = (Vec::new(), Vec::new());
    for number in 0..8 {
        let (sink, mut stream) = machines[number % 2].join().await.split();
        sinks.push(sink);
        listeners.push(tokio::spawn(async move {
            let (mut received, mut ends) = (Vec::new(), 0);
            while ends < 8 {
                let text = receive(&mut stream).await;
                ends += usize::from(text.starts_with("end"));
                received.push(text);
            }
            received
        }));
    }
    let senders = sinks.into_iter().enumerate().map(|(number, mut sink)| {
        let end = end.subscribe();
        tokio::spawn(async move {
            let mut count = 0;
            while !*end.borrow() {
                send(&mut sink, format!("{number} {count}")).await;
                count += 1;
                sleep(Duration::from_millis(5)).await;
            }
            send(&mut sink, format!("end {number}")).await;
            (sink, count)
        })
    });
    let senders: Vec<_> = senders.collect();
    for _ in 0..2 {
        for _ in 0..300 {
            receive(&mut witness).await;
        }
        redis.restart(&mut machines).await;
    }
    for _ in 0..1_000 {
        receive(&mut witness).await; // the rooms go on
    }
    redis.has_machines(2).await;
    drop(witness);
    end.send(true).unwrap();

    let (mut sinks, mut sent) = (Vec::new(), Vec::new());
    for (number, sender) in senders.into_iter().enumerate() {
        let (sink, count) = sender.await.unwrap();
        sinks.push(sink); // or its client would close
        sent.extend((0..count).map(|count| format!("{number} {count}")));
    }
    let received = listeners.pop().unwrap().await.unwrap();
    for listener in listeners {
        assert!(listener.await.unwrap() == received, "two orders");
    }
    let once: std::collections::HashSet<&String> = received.iter().collect();
    assert_eq!(once.len(), received.len(), "something came twice");
    let missing: Vec<_> = sent.iter().filter(|text| !once.contains(text)).collect();
    // Each time, each machine may have had one message in flight. Nobody received it, not even its sender.
    assert!(missing.len() <= 4, "nobody received {missing:?}");
}

#[tokio::test]
async fn a_room_without_redis_waits_for_it() {
    let address = free_address();
    let mut room = machine(&address).await;
    let mut client = room.join().await;
    send(&mut client, "early").await;
    room.logs("no Redis").await;
    room.logs("no Redis").await;
    let mut redis = Redis::start_at(address, "");
    redis.until_it_answers().await;
    assert_eq!(receive(&mut client).await, "early");
}

#[tokio::test]
async fn a_machine_that_was_cut_off_receives_the_rest_and_sends_nothing_twice() {
    let redis = Redis::start("").await;
    let relay = Relay::start(&redis.address).await;
    let near = machine(&redis.address).await;
    let mut far = machine(&relay.address).await;
    redis.has_machines(2).await;
    let (mut anna, mut ben) = (near.join().await, far.join().await);

    // Redis takes the text, but its answer gets lost.
    relay.to_client.send(Flow::Lose).unwrap();
    send(&mut ben, "once").await;
    assert_eq!(receive(&mut anna).await, "once");
    relay.to_client.send(Flow::Cut).unwrap();
    far.logs("no Redis").await;
    round_trips(&mut anna, 100).await;
    relay.to_client.send(Flow::Open).unwrap();
    assert_eq!(receive(&mut ben).await, "once");
    receive_numbers(&mut ben, 100).await;
    send(&mut ben, "again").await;
    assert_eq!(receive(&mut anna).await, "again");
    assert_eq!(receive(&mut ben).await, "again");
}

#[tokio::test]
async fn redis_may_forget_and_nobody_waits_or_receives_something_twice() {
    let mut redis = Redis::start("").await;
    // As if its clock were an hour ahead: later messages get higher numbers.
    let clock = std::time::UNIX_EPOCH.elapsed().unwrap() + Duration::from_secs(3_600);
    let ahead = format!("XADD chat {}-0 text before", clock.as_millis());
    redis.ask(&ahead).await.unwrap();
    let mut machines = two_machines(&redis).await;
    let (mut anna, mut ben) = (machines[0].join().await, machines[1].join().await);
    // The last time, Redis comes back with what it saved, up to "two".
    for text in ["one", "two", "three", "four"] {
        send(&mut anna, text).await;
        assert_eq!(receive(&mut anna).await, text);
        assert_eq!(receive(&mut ben).await, text);
        if text == "two" {
            assert_eq!(redis.ask("SAVE").await.as_deref(), Some("+OK"));
        } else if text != "four" {
            redis.restart(&mut machines).await;
            redis.has_machines(2).await;
        }
    }
}
