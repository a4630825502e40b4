//! Measures the chat beside other servers, under five loads:
//!
//! ```text
//! cargo run --release --example figures                              # the chat, the baseline, and the Go program
//! cargo run --release --example figures -- --against NAME 'COMMAND'  # one more server; can be repeated
//! cargo run --example figures -- --short                             # some seconds: a check, not a measurement
//! ```
//!
//! The baseline is a plain loop of writes: one thread for each client reads its messages, and writes
//! each message to one socket after the other. The Go program is in `examples/go`.
//!
//! COMMAND starts a server that sends each text message to all clients. `sh` runs it. The first line
//! of its output is the server's URL; without a path, clients join at `/ws`. If several servers are
//! one room, that line has all their URLs, and clients join them in turn. CPU time and memory are
//! the sums of all processes that COMMAND starts. They are killed after each round.
//!
//! Warp's example `websockets_chat` isn't in the published crate, so it has no column by default.
//! Build it from warp's repository, then add
//! `--against warp 'echo http://127.0.0.1:3030/chat; exec target/release/examples/websockets_chat'`.
//!
//! A delivery is one message that reaches one client. A message that comes back to its sender isn't
//! counted, because not all servers send it back. If a server loses a delivery or drops a client,
//! a line below the table says so, and `--short` fails. (The Go program sometimes dies as clients
//! join.) The benchmark needs Unix, and knows CPU time and memory on Linux only.

use Traffic::{Idle, InFlight, Rate};
use std::error::Error;
use std::io::{self, BufRead, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio, exit};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use std::{env, fs, iter, thread};
use tokio::io::{AsyncReadExt, BufReader};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_tungstenite::tungstenite;

const SENDERS: usize = 8;
const TEXT: usize = 64; // bytes of text in a message
const SETTLE: Duration = Duration::from_millis(300); // a server may add clients after the upgrade
const WARM_UP: Duration = Duration::from_millis(300);
const TIMEOUT: Duration = Duration::from_secs(5); // for a server to start, and for late deliveries

const USAGE: &str =
    "usage: cargo run --release --example figures -- [--short] [--against NAME 'COMMAND']...";

struct Load(&'static str, usize, Traffic); // name, number of clients, and what they do

#[derive(Clone, Copy)]
enum Traffic {
    InFlight(usize), // each sender keeps this many messages in flight
    Rate(usize),     // all senders together send this many messages a second, evenly spaced
    Idle,
}

const LOADS: [Load; 5] = [
    Load("Busy", 100, InFlight(4)),
    Load("Shouting", 100, InFlight(100)),
    Load("Steady", 100, Rate(500)),
    Load("Wide", 1000, Rate(50)),
    Load("Idle", 1000, Idle),
];

type Figure = (&'static str, Option<f64>); // the name, and the value if it is known

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut others = vec![];
    let mut short = false;
    let mut arguments = env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--baseline" => return baseline(),
            "--short" => short = true,
            "--against" => {
                let name = arguments.next().expect(USAGE);
                others.push((name, arguments.next().expect(USAGE)));
            }
            _ => panic!("{USAGE}"),
        }
    }
    let rounds = if short { 1 } else { 3 };
    let window = if short { WARM_UP } else { 10 * WARM_UP };
    let profile = if cfg!(debug_assertions) {
        "dev"
    } else {
        "release"
    };
    let chat = format!("exec cargo run --quiet --profile {profile} -- 127.0.0.1:0");
    let baseline = format!(
        "exec '{}' --baseline",
        env::current_exe().unwrap().display()
    );
    let mut targets = vec![
        ("chat".to_string(), chat),
        ("baseline".to_string(), baseline),
    ];
    if !short {
        let build = "cd examples/go && go build -o ../../target/go-chat main.go";
        let go = format!("{build} && echo http://127.0.0.1:8080 && exec ../../target/go-chat");
        match Server::start(&go) {
            Ok(_) => targets.push(("Go".to_string(), go)),
            Err(_) => println!("No column for the Go program: `go build` fails in examples/go."),
        }
    }
    targets.append(&mut others);

    let cores = thread::available_parallelism().map_or(0, usize::from);
    println!("{cores} cores; {TEXT} bytes of text in a message; rounds: {rounds}");
    println!("each figure: the median of all rounds ± the distance to the farthest one\n");
    let mut failed = false;
    for load in LOADS {
        let mut results = vec![vec![]; targets.len()];
        let mut problems = vec![];
        for round in 1..=rounds {
            for ((name, command), results) in targets.iter().zip(&mut results) {
                match measure(&load, command, window).await {
                    Ok(figures) => results.push(figures),
                    Err(error) => problems.push(format!("  {name}, round {round}: {error}")),
                }
            }
        }
        let names = targets.iter().map(|(name, _)| name.as_str());
        print_table(load, &names.collect::<Vec<_>>(), &results);
        problems.iter().for_each(|problem| println!("{problem}"));
        println!();
        failed |= !problems.is_empty();
    }
    if short && failed {
        exit(1);
    }
}

/// Prints a column for each server, and one for each ratio of the chat to another server.
fn print_table(Load(name, clients, traffic): Load, names: &[&str], results: &[Vec<Vec<Figure>>]) {
    let traffic = match traffic {
        InFlight(count) => format!(", {SENDERS} with {count} messages in flight"),
        Rate(rate) => format!(", {rate} messages a second"),
        Idle => String::new(),
    };
    print!("{:<52}", format!("{name}: {clients} clients{traffic}"));
    for name in names {
        print!("{name:>12}      ");
    }
    for name in &names[1..] {
        print!("{:>16}", format!("chat : {name}"));
    }
    println!();
    let any_round = results.iter().flatten().next();
    for (row, (name, _)) in any_round.into_iter().flatten().enumerate() {
        print!("  {name:<50}");
        let medians: Vec<_> = results.iter().map(|rounds| median(rounds, row)).collect();
        for median in &medians {
            match median {
                Some((value, spread)) => print!("{value:>12.2} ±{spread:>3.0}%"),
                None => print!("{:>12}      ", "unknown"),
            }
        }
        for other in &medians[1..] {
            match (medians[0], other) {
                (Some((chat, _)), Some((other, _))) => print!("{:>16.2}", chat / other),
                _ => print!("{:>16}", ""),
            }
        }
        println!();
    }
}

/// The median of the rounds, and how far the farthest round lies from it, in percent.
fn median(rounds: &[Vec<Figure>], row: usize) -> Option<(f64, f64)> {
    let values = rounds.iter().map(|figures| figures[row].1);
    let mut values = values.collect::<Option<Vec<f64>>>()?;
    values.sort_by(f64::total_cmp);
    let median = *values.get(values.len() / 2)?;
    let farthest = (values.last()? - median).max(median - values.first()?);
    Some((median, farthest / median * 100.0))
}

/// One round of one server: starts it, lets all clients join, and measures it under load.
async fn measure(
    load: &Load,
    command: &str,
    window: Duration,
) -> Result<Vec<Figure>, Box<dyn Error>> {
    let Load(_, clients, traffic) = *load;
    let mut server = Server::start(command)?;
    let mut streams = vec![server.join(0)?];
    let alone = server.usage();
    for number in 1..clients {
        streams.push(server.join(number)?);
    }
    sleep(SETTLE).await;
    if let Some(status) = server.child.try_wait()? {
        return Err(format!("the server ended: {status}").into());
    }
    let (room, mut readers) = Room::start(traffic, streams, WARM_UP + window)?;
    sleep(WARM_UP).await;

    let (before, heard_before) = (server.usage(), room.heard.load(Relaxed));
    room.delays.lock().unwrap().clear();
    let began = Instant::now();
    sleep(window).await;
    let (after, seconds) = (server.usage(), began.elapsed().as_secs_f64());
    let heard = (room.heard.load(Relaxed) - heard_before) as f64;

    room.sending.store(false, Relaxed);
    let expected = room.sent.load(Relaxed) * (clients as u64 - 1);
    let began = Instant::now();
    while room.heard.load(Relaxed) < expected && began.elapsed() < TIMEOUT {
        sleep(WARM_UP / 10).await;
    }
    let arrived = room.heard.load(Relaxed);
    let dropped = iter::from_fn(|| readers.try_join_next()).count();
    if arrived != expected || dropped > 0 {
        let lost = expected as i64 - arrived as i64;
        return Err(format!("deliveries lost: {lost}, clients dropped: {dropped}").into());
    }

    let mut delays = room.delays.lock().unwrap();
    delays.sort();
    let delay = |part: f64| {
        let last = delays.len() as f64 - 1.0;
        Some(delays[(last * part) as usize].as_secs_f64() * 1e3)
    };
    let cpu = after
        .zip(before)
        .map(|([after, _], [before, _])| (after - before) * 1e6 / heard);
    let memory = after
        .zip(alone)
        .map(|([_, after], [_, alone])| after - alone);
    Ok(match traffic {
        InFlight(_) => vec![
            ("thousand deliveries a second", Some(heard / seconds / 1e3)),
            ("CPU time a delivery (µs)", cpu),
        ],
        Rate(_) => vec![
            ("delay, 50th percentile (ms)", delay(0.5)),
            ("delay, 99th percentile (ms)", delay(0.99)),
            ("delay, 99.9th percentile (ms)", delay(0.999)),
            ("delay, maximum (ms)", delay(1.0)),
            ("CPU time a delivery (µs)", cpu),
        ],
        Idle => vec![(
            "memory each (KiB)",
            memory.map(|all| all / (clients - 1) as f64),
        )],
    })
}

/// A server under load; it may consist of several processes.
struct Server {
    child: Child,
    urls: Vec<String>,
}

impl Server {
    /// Runs a command in a process group of its own, and reads the URLs that it prints. The group is
    /// killed when its standard input closes, so no server outlives the benchmark.
    fn start(command: &str) -> Result<Server, Box<dyn Error>> {
        let script = "exec 3<&0; { cat <&3; kill -KILL 0; } >/dev/null & eval \"$0\"";
        let mut child = Command::new("sh")
            .args(["-c", script, command])
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let mut output = io::BufReader::new(child.stdout.take().unwrap());
        let mut server = Server {
            child,
            urls: vec![],
        };
        let mut line = String::new();
        output.read_line(&mut line)?;
        thread::spawn(move || io::copy(&mut output, &mut io::sink()));
        server.urls = line.split_whitespace().map(String::from).collect();
        if server.urls.is_empty() {
            return Err(format!("no URL on the first line of output of: {command}").into());
        }
        Ok(server)
    }

    /// Opens a client's connection and upgrades it.
    fn join(&self, number: usize) -> Result<TcpStream, Box<dyn Error>> {
        let url = &self.urls[number % self.urls.len()];
        let url = url.trim_start_matches("http://").trim_end_matches('/');
        let (address, path) = url.split_once('/').unwrap_or((url, "ws"));
        let began = Instant::now();
        let stream = loop {
            match TcpStream::connect(address) {
                Ok(stream) => break stream,
                Err(error) if began.elapsed() > TIMEOUT => return Err(error.into()),
                Err(_) => thread::sleep(Duration::from_millis(10)),
            }
        };
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        let (socket, _) = tungstenite::client(format!("ws://{address}/{path}"), stream)?;
        Ok(socket.into_inner())
    }

    /// CPU time in seconds and resident memory in KiB: sums over the process group (see proc(5)).
    fn usage(&self) -> Option<[f64; 2]> {
        let (mut ticks, mut memory) = (0, 0);
        for process in fs::read_dir("/proc").ok()? {
            let file = |name| fs::read_to_string(process.as_ref().ok()?.path().join(name)).ok();
            let (Some(stat), Some(status)) = (file("stat"), file("status")) else {
                continue;
            };
            let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
            let field = |number: usize| fields[number - 3].parse::<u32>().unwrap_or(0);
            if field(5) == self.child.id() {
                ticks += field(14) + field(15);
                let resident = status.split("VmRSS:").nth(1).unwrap_or("0");
                memory += resident.split_whitespace().next()?.parse::<u32>().ok()?;
            }
        }
        Some([f64::from(ticks) / 100.0, f64::from(memory)])
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// The header of a text message's only frame (RFC 6455, section 5.2). A client's is masked, here
/// with zeros.
const FROM_CLIENT: [u8; 6] = [0x81, 0x80 | TEXT as u8, 0, 0, 0, 0];
const FROM_SERVER: [u8; 2] = [0x81, TEXT as u8];

/// What all clients share.
struct Room {
    traffic: Traffic,
    senders: Vec<TcpStream>, // the first clients
    began: Instant,
    sending: AtomicBool,
    sent: AtomicU64,
    heard: AtomicU64,
    delays: Mutex<Vec<Duration>>,
}

impl Room {
    /// Starts to read for all clients, and to send for a time. A reader ends if its client is dropped.
    fn start(
        traffic: Traffic,
        streams: Vec<TcpStream>,
        time: Duration,
    ) -> io::Result<(Arc<Room>, JoinSet<io::Result<()>>)> {
        let senders = streams[..SENDERS].iter().map(TcpStream::try_clone);
        let planned = match traffic {
            InFlight(count) => SENDERS * count,
            Rate(rate) => rate * time.as_millis() as usize / 1000,
            Idle => 0,
        };
        let room = Arc::new(Room {
            traffic,
            senders: senders.collect::<io::Result<_>>()?,
            began: Instant::now(),
            sending: AtomicBool::new(true),
            sent: AtomicU64::new(planned as u64),
            heard: AtomicU64::new(0),
            delays: Mutex::new(vec![]),
        });
        let mut readers = JoinSet::new();
        for (number, stream) in streams.into_iter().enumerate() {
            stream.set_nonblocking(true)?;
            let stream = tokio::net::TcpStream::from_std(stream)?;
            readers.spawn(room.clone().read(number, stream));
        }
        if let InFlight(count) = traffic {
            (0..SENDERS).try_for_each(|sender| room.send(sender, Duration::ZERO, count))?;
        }
        if let Rate(rate) = traffic {
            let room = room.clone();
            // A thread, because tokio's timers are no finer than a millisecond.
            thread::spawn(move || {
                for number in 0..planned {
                    let due = Duration::from_secs(number as u64) / rate as u32;
                    thread::sleep(due.saturating_sub(room.began.elapsed()));
                    let _ = room.send(number % SENDERS, due, 1);
                }
            });
        }
        Ok((room, readers))
    }

    /// Sends messages: the digit of the sender, the time when they were due, and padding.
    fn send(&self, sender: usize, due: Duration, count: usize) -> io::Result<()> {
        let text = format!("{sender}{:016}", due.as_nanos());
        let frame = [&FROM_CLIENT, format!("{text:.<TEXT$}").as_bytes()].concat();
        (&self.senders[sender]).write_all(&frame.repeat(count))
    }

    /// Reads what one client hears, until the server drops it. With messages in flight, a sender
    /// sends the next message when the client before it has heard the last one.
    async fn read(self: Arc<Room>, client: usize, stream: tokio::net::TcpStream) -> io::Result<()> {
        let next = (client + 1) % SENDERS;
        let paces_next = matches!(self.traffic, InFlight(_)) && client < SENDERS;
        let mut landed = 0;
        let mut stream = BufReader::with_capacity(64 * 1024, stream);
        let (mut header, mut text) = ([0; 2], [0; 125]);
        loop {
            let all_read = stream.buffer().len() < FROM_SERVER.len() + TEXT;
            if all_read && landed > 0 && self.sending.load(Relaxed) {
                self.sent.fetch_add(landed as u64, Relaxed);
                self.send(next, Duration::ZERO, landed)?;
                landed = 0;
            }
            stream.read_exact(&mut header).await?;
            let text = &mut text[..usize::from(header[1])];
            stream.read_exact(text).await?;
            match header[0] {
                0x81 => {}
                0x89 => continue, // a ping: a round ends before a pong is due
                first => return Err(io::Error::other(format!("a frame began with {first:#x}"))),
            }
            let text = &text[text.len() - TEXT..]; // a server may put a name before it
            let sender = usize::from(text[0] - b'0');
            if sender == client {
                continue;
            }
            self.heard.fetch_add(1, Relaxed);
            landed += usize::from(paces_next && sender == next);
            if let Rate(_) = self.traffic {
                let due = std::str::from_utf8(&text[1..17]).unwrap().parse().unwrap();
                let delay = self.began.elapsed() - Duration::from_nanos(due);
                self.delays.lock().unwrap().push(delay);
            }
        }
    }
}

/// The plain loop of writes.
fn baseline() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    println!("http://{}", listener.local_addr().unwrap());
    let clients = Arc::new(Mutex::new(vec![]));
    for stream in listener.incoming() {
        let socket = tungstenite::accept(stream.unwrap()).unwrap();
        let client = Arc::new(socket.into_inner());
        client.set_nodelay(true).unwrap();
        clients.lock().unwrap().push(client.clone());
        let clients = clients.clone();
        thread::spawn(move || {
            let mut frame = [0; FROM_CLIENT.len() + TEXT];
            while (&*client).read_exact(&mut frame).is_ok() {
                let message = [&FROM_SERVER, &frame[FROM_CLIENT.len()..]].concat();
                for client in clients.lock().unwrap().iter() {
                    let _ = (&**client).write_all(&message);
                }
            }
        });
    }
}
