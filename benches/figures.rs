//! Measures the chat under five loads, beside other servers:
//!
//! ```text
//! cargo bench                                               # the chat, the floor, and the Go program
//! cargo bench --bench figures -- --short                    # one short round of the chat and the floor
//! cargo bench --bench figures -- --against NAME 'COMMAND'   # one more column; can be repeated
//! ```
//!
//! The floor is a plain loop of writes: a thread for each client reads its messages, and writes
//! each of them to one socket after the other.
//!
//! `sh` runs COMMAND. It starts a server that sends each text message to all clients. Its first
//! line of output is the server's URL, with the path `/ws` if it names none. If one room has
//! several servers, all their URLs stand on that line, and clients join them in turns. CPU time and
//! memory are the sums of all processes that COMMAND starts, which are killed after each round.
//!
//! Warp's example `websockets_chat` isn't part of the published crate, so it is no default column.
//! With a build of it, say `--against warp 'echo http://127.0.0.1:3030/chat; exec ./websockets_chat'`.
//!
//! A delivery is one message that reaches one client. Messages that return to their sender don't
//! count, because not every server sends them back. If a server loses a delivery or drops a client,
//! the benchmark says so and fails.
//!
//! It runs on Unix. CPU time and memory are known on Linux only.

use Traffic::{Idle, InFlight, Rate};
use mio::{Events, Interest, Poll, Token};
use std::error::Error;
use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio, exit};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use std::{env, fs};
use tokio_tungstenite::tungstenite;

const SENDERS: usize = 8;
const TEXT: usize = 64; // bytes of text in a message
const SETTLE: Duration = Duration::from_millis(300); // clients may join a moment after the upgrade
const WARM_UP: Duration = Duration::from_millis(300);
const TIMEOUT: Duration = Duration::from_secs(5); // for a server's start, and for late deliveries

const USAGE: &str =
    "usage: cargo bench --bench figures -- [--short] [--against NAME 'COMMAND'] ...";

const CHAT: &str = concat!("exec '", env!("CARGO_BIN_EXE_chat"), "' 127.0.0.1:0");
const GO: &str = concat!(
    "program='",
    env!("CARGO_TARGET_TMPDIR"),
    "/go-chat'; cd examples/go && go build -o \"$program\" main.go && \
     echo http://127.0.0.1:8080 && exec \"$program\""
);

struct Load(&'static str, usize, Traffic); // its name, the number of clients, what they do

#[derive(Clone, Copy)]
enum Traffic {
    InFlight(usize), // each sender keeps this many messages in flight
    Rate(u64),       // all senders together send this many messages a second, at fixed times
    Idle,
}

const LOADS: [Load; 5] = [
    Load("Busy", 100, InFlight(4)),
    Load("Shouting", 100, InFlight(100)),
    Load("Steady", 100, Rate(500)),
    Load("Wide", 1000, Rate(50)),
    Load("Idle", 1000, Idle),
];

/// One row of a table: its name, the number of decimals, and the value if it is known.
type Figure = (&'static str, usize, Option<f64>);

fn main() {
    let (mut short, mut others) = (false, vec![]);
    let mut arguments = env::args().skip(1).filter(|argument| argument != "--bench");
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--floor" => return floor(),
            "--short" => short = true,
            "--against" => {
                let name = arguments.next().expect(USAGE);
                others.push((name, arguments.next().expect(USAGE)));
            }
            _ => panic!("{USAGE}"),
        }
    }
    let (rounds, window) = if short {
        (1, WARM_UP)
    } else {
        (3, Duration::from_secs(3))
    };
    let program = env::current_exe().unwrap();
    let floor = format!("exec '{}' --floor", program.display());
    let mut targets = vec![
        ("chat".to_string(), CHAT.to_string()),
        ("floor".to_string(), floor),
    ];
    if !short {
        match Server::start(GO) {
            Ok(_) => targets.push(("Go".to_string(), GO.to_string())),
            Err(_) => println!("No column for the Go program: it can't be built in examples/go."),
        }
    }
    targets.append(&mut others);

    let cores = thread::available_parallelism().map_or(0, usize::from);
    println!(
        "{cores} cores; messages of {TEXT} bytes; median of {rounds} rounds ± the farthest one\n"
    );
    let mut failed = false;
    for load in &LOADS {
        let mut results: Vec<Vec<Vec<Figure>>> = vec![vec![]; targets.len()];
        let mut problems = vec![];
        for round in 1..=rounds {
            for ((name, command), results) in targets.iter().zip(&mut results) {
                if io::stderr().is_terminal() {
                    eprint!("\r\x1b[K{}: round {round} of {rounds}, {name}", load.0);
                }
                match measure(load, command, window) {
                    Ok(figures) => results.push(figures),
                    Err(error) => problems.push(format!("  {name}, round {round}: {error}")),
                }
            }
        }
        if io::stderr().is_terminal() {
            eprint!("\r\x1b[K");
        }
        let names: Vec<&str> = targets.iter().map(|(name, _)| name.as_str()).collect();
        print_table(load, &names, &results);
        problems.iter().for_each(|problem| println!("{problem}"));
        println!();
        failed |= !problems.is_empty();
    }
    if failed {
        exit(1);
    }
}

fn print_table(load: &Load, names: &[&str], results: &[Vec<Vec<Figure>>]) {
    let Load(name, clients, traffic) = load;
    let title = match traffic {
        InFlight(count) => {
            format!("{name}: {clients} clients, {SENDERS} with {count} messages in flight")
        }
        Rate(rate) => format!("{name}: {clients} clients, {rate} messages a second"),
        Idle => format!("{name}: {clients} clients"),
    };
    print!("{title:<54}");
    names.iter().for_each(|name| print!("{name:>12}      "));
    names[1..]
        .iter()
        .for_each(|name| print!("{:>16}", format!("chat : {name}")));
    println!();
    let some_round = results.iter().flatten().next();
    for (row, (name, decimals, _)) in some_round.into_iter().flatten().enumerate() {
        print!("  {name:<52}");
        let medians: Vec<_> = results.iter().map(|rounds| median(rounds, row)).collect();
        for median in &medians {
            match median {
                Some((value, spread)) => {
                    print!("{:>12} ±{spread:>3.0}%", commas(*value, *decimals))
                }
                None => print!("{:>12}      ", "unknown"),
            }
        }
        for other in &medians[1..] {
            let ratio = medians[0]
                .zip(*other)
                .map(|(chat, other)| format!("{:.2}", chat.0 / other.0));
            print!("{:>16}", ratio.unwrap_or_default());
        }
        println!();
    }
}

/// The median of the rounds, and how far the farthest round lies from it, in percent.
fn median(rounds: &[Vec<Figure>], row: usize) -> Option<(f64, f64)> {
    let values = rounds.iter().map(|figures| figures[row].2);
    let mut values = values.collect::<Option<Vec<f64>>>()?;
    values.sort_by(f64::total_cmp);
    let median = *values.get(values.len() / 2)?;
    let farthest = (values.last()? - median).max(median - values.first()?);
    Some((median, farthest / median.max(f64::MIN_POSITIVE) * 100.0))
}

fn commas(value: f64, decimals: usize) -> String {
    let mut text = format!("{value:.decimals$}");
    let mut end = text.find('.').unwrap_or(text.len());
    while end > 3 {
        end -= 3;
        text.insert(end, ',');
    }
    text
}

/// One round of one server: starts it, lets all clients join, and puts it under load.
fn measure(load: &Load, command: &str, window: Duration) -> Result<Vec<Figure>, Box<dyn Error>> {
    let Load(_, clients, traffic) = *load;
    let mut server = Server::start(command)?;
    let mut streams = vec![server.join(0)?];
    let first = server.usage();
    for number in 1..clients {
        streams.push(server.join(number)?);
    }
    thread::sleep(SETTLE);
    if let Some(status) = server.child.try_wait()? {
        return Err(format!("the server ended: {status}").into());
    }
    let mut room = Room::start(traffic, streams, WARM_UP + window)?;
    room.run(WARM_UP, true)?;

    let (before, own_before) = (server.usage(), own_cpu());
    let heard_before = room.heard;
    room.delays.clear();
    let began = Instant::now();
    room.run(window, true)?;
    let seconds = began.elapsed().as_secs_f64();
    let heard = (room.heard - heard_before) as f64;
    let (after, own_after) = (server.usage(), own_cpu());
    room.finish()?; // the last messages are the slowest

    if let Idle = traffic {
        let memory = after.zip(first).map(|(after, first)| after.1 - first.1);
        let each = memory.map(|memory| memory / (clients - 1) as f64);
        return Ok(vec![("memory each (KiB)", 1, each)]);
    }
    let mut figures: Vec<Figure> = vec![];
    if let Rate(_) = traffic {
        room.delays.sort();
        let delay = |per_mille| {
            let delay = room
                .delays
                .get((room.delays.len() - 1) * per_mille / 1000)?;
            Some(*delay as f64 / 1e3)
        };
        figures.push(("delay, 50th percentile (µs)", 0, delay(500)));
        figures.push(("delay, 99th percentile (µs)", 0, delay(990)));
        figures.push(("delay, 99.9th percentile (µs)", 0, delay(999)));
        figures.push(("delay, maximum (µs)", 0, delay(1000)));
    } else {
        figures.push(("deliveries a second", 0, Some(heard / seconds)));
    }
    let cpu = after.zip(before).map(|(after, before)| after.0 - before.0);
    let own = own_after
        .zip(own_before)
        .map(|(after, before)| after - before);
    figures.push((
        "CPU time a delivery (µs)",
        2,
        cpu.map(|cpu| cpu * 1e6 / heard),
    ));
    figures.push((
        "the benchmark's own CPU time (% of a core)",
        0,
        own.map(|own| own / seconds * 100.0),
    ));
    Ok(figures)
}

/// A server under load, which may be several processes.
struct Server {
    child: Child,
    urls: Vec<String>,
}

impl Server {
    /// Runs a command in a process group of its own, and reads the URLs that it prints. The group is
    /// killed when its standard input is closed, so no server survives the benchmark.
    fn start(command: &str) -> Result<Server, Box<dyn Error>> {
        let script = "exec 3<&0; { cat <&3; kill -KILL 0; } >/dev/null & eval \"$0\"";
        let mut child = Command::new("sh")
            .args(["-c", script, command])
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let mut output = BufReader::new(child.stdout.take().unwrap());
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

    /// Opens a client's connection, and takes it through the WebSocket handshake.
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

    /// CPU time in seconds and resident memory in KiB, of the whole process group.
    fn usage(&self) -> Option<(f64, f64)> {
        let (mut cpu, mut memory) = (0.0, 0.0);
        for process in fs::read_dir("/proc").ok()? {
            let process = process.ok()?.path();
            let Some((group, spent)) = stat(&process) else {
                continue;
            };
            if group == self.child.id() {
                let status = fs::read_to_string(process.join("status")).ok()?;
                let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
                let resident = resident.and_then(|kib| kib.trim().strip_suffix(" kB"));
                cpu += spent;
                memory += resident.map_or(0.0, |kib| kib.parse().unwrap());
            }
        }
        Some((cpu, memory))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// A process's group, and its CPU time in seconds: fields 5, 14 and 15 of its `stat` (proc(5)).
fn stat(process: &Path) -> Option<(u32, f64)> {
    let stat = fs::read_to_string(process.join("stat")).ok()?;
    let from_third: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let field = |number: usize| from_third.get(number - 3)?.parse::<u32>().ok();
    Some((field(5)?, f64::from(field(14)? + field(15)?) / 100.0)) // ticks of 1/100 s
}

fn own_cpu() -> Option<f64> {
    Some(stat(Path::new("/proc/self"))?.1)
}

/// The header of a text message's only frame (RFC 6455, section 5.2). A client's is masked, here
/// with zeros.
const FROM_CLIENT: [u8; 6] = [0x81, 0x80 | TEXT as u8, 0, 0, 0, 0];
const FROM_SERVER: [u8; 2] = [0x81, TEXT as u8];

/// A message from a sender: its digit, and the time when it was due, in nanoseconds.
fn frame(sender: usize, due: u64) -> Vec<u8> {
    let text = format!("{sender}{due:016x}");
    [&FROM_CLIENT, format!("{text:.<TEXT$}").as_bytes()].concat()
}

/// All clients of a server, read by one thread. The first ones are the senders.
struct Room {
    traffic: Traffic,
    poll: Poll,
    clients: Vec<Client>,
    began: Instant,
    timer: Option<JoinHandle<io::Result<()>>>, // sends at a fixed rate
    sent: u64,
    heard: u64,
    dropped: u64,
    delays: Vec<u64>, // nanoseconds
}

struct Client {
    stream: mio::net::TcpStream,
    rest: Vec<u8>, // a frame whose end hasn't arrived
}

impl Room {
    fn start(traffic: Traffic, streams: Vec<TcpStream>, time: Duration) -> io::Result<Room> {
        let began = Instant::now();
        let mut room = Room {
            traffic,
            poll: Poll::new()?,
            clients: vec![],
            began,
            timer: None,
            sent: 0,
            heard: 0,
            dropped: 0,
            delays: vec![],
        };
        let senders: io::Result<Vec<_>> = streams[..SENDERS]
            .iter()
            .map(TcpStream::try_clone)
            .collect();
        let senders = senders?;
        for stream in streams {
            stream.set_nonblocking(true)?;
            let mut stream = mio::net::TcpStream::from_std(stream);
            let token = Token(room.clients.len());
            room.poll
                .registry()
                .register(&mut stream, token, Interest::READABLE)?;
            room.clients.push(Client {
                stream,
                rest: vec![],
            });
        }
        match traffic {
            InFlight(count) => (0..SENDERS).try_for_each(|sender| room.send(sender, count))?,
            Rate(rate) => {
                room.sent = rate * time.as_millis() as u64 / 1000;
                let sent = room.sent;
                room.timer = Some(thread::spawn(move || {
                    for number in 0..sent {
                        let due = Duration::from_nanos(number * 1_000_000_000 / rate);
                        thread::sleep(due.saturating_sub(began.elapsed()));
                        let sender = number as usize % SENDERS;
                        (&senders[sender]).write_all(&frame(sender, due.as_nanos() as u64))?;
                    }
                    Ok(())
                }));
            }
            Idle => {}
        }
        Ok(room)
    }

    fn send(&mut self, sender: usize, count: usize) -> io::Result<()> {
        self.sent += count as u64;
        self.clients[sender]
            .stream
            .write_all(&frame(sender, 0).repeat(count))
    }

    fn expected(&self) -> u64 {
        self.sent * (self.clients.len() as u64 - 1)
    }

    /// Reads for some time; or, if no more is sent, until all has arrived.
    fn run(&mut self, time: Duration, sending: bool) -> io::Result<()> {
        let end = Instant::now() + time;
        let mut events = Events::with_capacity(1024);
        while Instant::now() < end && (sending || self.heard < self.expected()) {
            self.poll.poll(&mut events, Some(end - Instant::now()))?;
            for event in &events {
                let client = event.token().0;
                let answers = self.read(client)?;
                if sending && answers > 0 {
                    self.send((client + 1) % SENDERS, answers)?;
                }
            }
        }
        Ok(())
    }

    /// Reads one client until its socket is empty. If it is a sender, it returns how many messages of
    /// the next sender it heard: for each of them, that one has to send another.
    fn read(&mut self, index: usize) -> io::Result<usize> {
        let client = &mut self.clients[index];
        let mut answers = 0;
        let mut buffer = [0; 64 * 1024];
        loop {
            let kept = client.rest.len();
            buffer[..kept].copy_from_slice(&client.rest);
            let length = match client.stream.read(&mut buffer[kept..]) {
                Ok(0) => {
                    self.dropped += 1;
                    return Ok(0);
                }
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(answers),
                Err(error) => return Err(error),
            };
            let now = self.began.elapsed().as_nanos() as u64;
            let mut bytes = &buffer[..kept + length];
            while let [first, size, rest @ ..] = bytes {
                let Some((text, rest)) = rest.split_at_checked(usize::from(*size)) else {
                    break;
                };
                bytes = rest;
                if *first == 0x89 {
                    continue; // a ping: no answer is due so soon
                }
                if *first != 0x81 || text.len() < TEXT {
                    return Err(io::Error::other(format!(
                        "a frame that begins with {first:#x}"
                    )));
                }
                let text = &text[text.len() - TEXT..]; // a server may put a name before it
                let sender = usize::from(text[0] - b'0');
                if sender == index {
                    continue;
                }
                self.heard += 1;
                match self.traffic {
                    Rate(_) => {
                        let due = std::str::from_utf8(&text[1..17]).unwrap();
                        let due = u64::from_str_radix(due, 16).unwrap();
                        self.delays.push(now.saturating_sub(due));
                    }
                    _ if index < SENDERS && sender == (index + 1) % SENDERS => answers += 1,
                    _ => {}
                }
            }
            client.rest.clear();
            client.rest.extend_from_slice(bytes);
        }
    }

    /// Sends no more, and waits for what is under way.
    fn finish(&mut self) -> Result<(), Box<dyn Error>> {
        if let Some(timer) = self.timer.take() {
            timer.join().unwrap()?;
        }
        self.run(TIMEOUT, false)?;
        let (heard, expected, dropped) = (self.heard, self.expected(), self.dropped);
        if heard != expected || dropped > 0 {
            return Err(
                format!("{heard} of {expected} deliveries, {dropped} clients dropped").into(),
            );
        }
        Ok(())
    }
}

/// The plainest server: a thread for each client, and one write to a socket for each delivery.
fn floor() {
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
