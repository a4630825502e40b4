//! Several machines as one room: docs/several-machines.diff with a real Redis, and with Valkey where it is installed.

use crate::support::*;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use tokio::sync::OnceCell;

const PATCH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/several-machines.diff");

/// A machine: a room that uses the Redis at an address.
async fn machine(redis: &str) -> Server {
    static BUILT: OnceCell<PathBuf> = OnceCell::const_new();
    let build = || async {
        let copy = Variant::new("several-machines", include_str!("../../main.rs"));
        let mut apply = Command::new("git");
        apply.args(["apply", PATCH]).current_dir(&copy.folder);
        // The folder is inside a repository: `git` must not treat it as part of that.
        apply.env("GIT_CEILING_DIRECTORIES", env!("CARGO_TARGET_TMPDIR"));
        assert!(apply.status().unwrap().success(), "git apply");
        copy.build()
    };
    let mut command = program(BUILT.get_or_init(build).await, &["127.0.0.1:0"]);
    command.env("REDIS_URL", format!("redis://{redis}"));
    Server::start_by(&mut command).await
}

/// Two machines that have found their Redis, and a client of each.
async fn two_machines(redis: &Redis) -> ([Server; 2], Socket, Socket) {
    let machines = [machine(&redis.address).await, machine(&redis.address).await];
    redis.has_machines(2).await;
    let (anna, ben) = (machines[0].join().await, machines[1].join().await);
    (machines, anna, ben)
}

async fn both_receive(anna: &mut Socket, ben: &mut Socket, text: &str) {
    assert_eq!(receive(anna).await, text);
    assert_eq!(receive(ben).await, text);
}

fn programs() -> impl Iterator<Item = &'static str> {
    let installed = |name: &&str| Command::new(name).arg("--version").output().is_ok();
    std::iter::once("redis-server").chain(Some("valkey-server").filter(installed))
}

/// A Redis in a folder of its own. It is killed when dropped.
struct Redis {
    address: String,
    command: Command,
    process: Process,
}

impl Redis {
    /// Without options it keeps nothing on a disk.
    async fn start(address: String, name: &str, options: &str) -> Redis {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("redis-{address}"));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        let port = address.rsplit(':').next().unwrap();
        let mut command = program(name, &["--port", port, "--save", ""]);
        command.args(options.split_whitespace());
        command.current_dir(folder).stdout(Stdio::null());
        let process = start(&mut command);
        let redis = Redis { process, address, command };
        redis.until_it_answers().await;
        redis
    }

    /// Kills it, and starts it again, after `machines` have noticed.
    async fn restart(&mut self, machines: &mut [Server]) {
        self.process.0.kill().unwrap();
        self.process.0.wait().unwrap();
        for machine in machines.iter_mut() {
            machine.logs("no Redis").await;
        }
        self.process = start(&mut self.command);
        self.until_it_answers().await;
        self.has_machines(machines.len()).await;
    }

    /// Waits until it has loaded what is on its disk, too.
    async fn until_it_answers(&self) {
        until(|| self.ask("PING").starts_with("+PONG")).await;
    }

    /// Waits until so many machines have read what is there.
    async fn has_machines(&self, count: usize) {
        until(|| self.ask("CLIENT LIST").matches("cmd=xread ").count() >= count).await;
    }

    /// Its answer to a command, or nothing.
    fn ask(&self, command: &str) -> String {
        let mut answer = String::new();
        if let Ok(mut stream) = TcpStream::connect(&self.address) {
            let _ = write!(stream, "{command}\r\nQUIT\r\n");
            let _ = stream.read_to_string(&mut answer);
        }
        answer
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn everyone_on_two_machines_receives_everything_in_one_order_as_it_was_sent() {
    let redis = Redis::start(free_address(), "redis-server", "").await;
    let (machines, ..) = two_machines(&redis).await;
    let _load = LOAD.lock().await;
    is_a_room(&machines).await;
}

#[tokio::test]
async fn what_gets_lost_or_waits_on_the_way_to_redis_arrives_once_in_order() {
    for program in programs() {
        let redis = Redis::start(free_address(), program, "").await;
        let relay = Relay::start(&redis.address).await;
        let (near, mut far) = (machine(&redis.address).await, machine(&relay.address).await);
        redis.has_machines(2).await;
        let (mut anna, mut ben) = (near.join().await, far.join().await);
        redis.ask("CLIENT KILL TYPE normal");
        send(&mut ben, "connected again").await;
        both_receive(&mut anna, &mut ben, "connected again").await;
        // The text gets lost, as if a NAT had forgotten the connection, and then only the answer, until a text was in
        // the turn whose answer got lost: then it was sent again.
        let mut sent = 1;
        while redis.ask("XLEN chat").starts_with(&format!(":{sent}\r")) {
            assert!(sent < 10, "nothing was sent again");
            let flow = [&relay.to_client, &relay.to_server][sent % 2];
            flow.send(Flow::Lose).unwrap();
            send(&mut ben, "once").await;
            far.logs("no Redis: timed out").await;
            flow.send(Flow::Open).unwrap();
            both_receive(&mut anna, &mut ben, "once").await;
            sent += 1;
        }
        // Redis refuses some of them.
        relay.to_server.send(Flow::Rate(100_000)).unwrap();
        send_numbers(&mut ben, 40, 4_000).await;
        for limit in ["1", "0"].repeat(4) {
            sleep(Duration::from_millis(300)).await;
            redis.ask(&format!("CONFIG SET maxmemory {limit}"));
        }
        receive_numbers(&mut ben, 40).await;
        receive_numbers(&mut anna, 40).await;
        far.logs("OOM").await;
    }
}

#[tokio::test]
async fn redis_starts_late_is_killed_and_everything_arrives_once() {
    for program in programs() {
        let address = free_address();
        let mut machines = [machine(&address).await, machine(&address).await];
        let (mut anna, mut ben) = (machines[0].join().await, machines[1].join().await);
        send(&mut anna, "early").await;
        machines[0].logs("no Redis").await;
        let mut redis = Redis::start(address, program, "--appendonly yes --appendfsync always").await;
        assert_eq!(receive(&mut anna).await, "early");
        redis.has_machines(2).await;
        for _ in 0..3 {
            send_numbers(&mut anna, 1_000, 64).await;
            redis.restart(&mut machines).await;
            receive_numbers(&mut anna, 1_000).await;
            receive_numbers(&mut ben, 1_000).await;
        }
    }
}

#[tokio::test]
async fn redis_may_forget_and_nobody_waits_or_receives_something_twice() {
    for program in programs() {
        let mut redis = Redis::start(free_address(), program, "").await;
        // As if its clock were an hour ahead: new texts get higher ids than those after "DEL".
        let clock = std::time::UNIX_EPOCH.elapsed().unwrap() + Duration::from_secs(3_600);
        redis.ask(&format!("XADD chat {}-0 text before", clock.as_millis()));
        let (mut machines, mut anna, mut ben) = two_machines(&redis).await;
        for (text, then) in [("one", "DEL chat"), ("two", "XADD chat * text three\r\nSAVE")] {
            send(&mut anna, text).await;
            both_receive(&mut anna, &mut ben, text).await;
            redis.ask(then);
        }
        both_receive(&mut anna, &mut ben, "three").await;
        send(&mut anna, "four").await;
        both_receive(&mut anna, &mut ben, "four").await;
        redis.restart(&mut machines).await; // it comes back with "two" and "three"
        send(&mut anna, "after it").await;
        both_receive(&mut anna, &mut ben, "after it").await;
        redis.ask(&format!("XADD chat * text {:.<4097}", "long"));
        machines[1].logs("left out a text").await;
        // Who joins before the machine finds Redis hears nothing from before.
        let relay = Relay::start(&redis.address).await;
        relay.to_server.send(Flow::Hold).unwrap();
        let late = machine(&relay.address).await;
        let mut cyd = late.join().await;
        relay.to_server.send(Flow::Open).unwrap();
        redis.has_machines(3).await;
        round_trip(&mut cyd).await;
    }
}
