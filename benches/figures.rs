//! Measures the release build of the room as its users meet it, beside two floors: one thread that writes the same
//! bytes to the same number of plain TCP sockets, with no WebSocket and no queue. The first floor makes one `write` a
//! delivery. The second, where messages wait, makes one `write` of all that may wait for a client at once.
//!
//! `cargo bench` measures the room; `cargo bench --bench figures -- --against ADDRESS:PORT [--pid N]` measures another
//! server in turns with it: one that takes text messages at `/ws` and sends each to everybody.
//!
//! A delivery is one message that reaches one client. CPU time and memory are read from `/proc`, on Linux alone.

use hdrhistogram::Histogram;
use mio::{Events, Interest, Poll, Token};
use std::fmt::Debug;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::str::FromStr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use std::{env, fs, thread};
use tokio_tungstenite::tungstenite;

const ROUNDS: usize = 3;
const SENDERS: usize = 8;
/// Bytes of text in a message: 16 hexadecimal digits of the time when it was due, 4 of its sender, and padding.
const TEXT: usize = 64;
const WARM_UP: Duration = Duration::from_millis(500);
const WINDOW: Duration = Duration::from_secs(3);
/// How long stragglers may take after the last message was sent before they count as lost.
const STRAGGLERS: Duration = Duration::from_secs(5);

fn main() {
    let arguments: Vec<String> = env::args().skip(1).filter(|a| a != "--bench").collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["--floor", clients, rate, at_once] => floor(
            clients.parse().unwrap(),
            rate.parse().unwrap(),
            at_once.parse().unwrap(),
        ),
        [] => compare(None),
        ["--against", addresses] => compare(Some((list(addresses), vec![]))),
        ["--against", addresses, "--pid", pids] => compare(Some((list(addresses), list(pids)))),
        _ => panic!("usage: cargo bench --bench figures [-- --against ADDRESS:PORT [--pid N]]"),
    }
}

/// What stands between commas.
fn list<T: FromStr<Err: Debug>>(text: &str) -> Vec<T> {
    text.split(',').map(|part| part.parse().unwrap()).collect()
}

/// What the load does in a room of `clients`: send `rate` messages a second in all, at fixed times; or, without a
/// rate, keep `in_flight` messages of each sender under way; or nothing.
#[derive(Clone, Copy)]
struct Load {
    name: &'static str,
    clients: usize,
    in_flight: usize,
    rate: usize,
}

const LOADS: [Load; 5] = [
    Load {
        name: "Busy room: 100 clients, 8 keep 4 messages in flight",
        clients: 100,
        in_flight: 4,
        rate: 0,
    },
    Load {
        name: "Shouting: 100 clients, 8 keep 100 messages in flight",
        clients: 100,
        in_flight: 100,
        rate: 0,
    },
    Load {
        name: "Steady room: 100 clients, 500 messages a second",
        clients: 100,
        in_flight: 0,
        rate: 500,
    },
    Load {
        name: "Wide room: 1,000 clients, 50 messages a second",
        clients: 1000,
        in_flight: 0,
        rate: 50,
    },
    Load {
        name: "Waiting room: 1,000 idle clients",
        clients: 1000,
        in_flight: 0,
        rate: 0,
    },
];

/// One figure of a table: its name, how many decimals it is shown with, and its value where it could be had.
type Figure = (&'static str, usize, Option<f64>);

fn compare(other: Option<(Vec<SocketAddr>, Vec<u32>)>) {
    println!(
        "{} cores; medians of {ROUNDS} rounds, in turns, and how far the rounds lie from them; {TEXT} bytes of text a message\n",
        thread::available_parallelism().map_or(0, usize::from)
    );
    for load in LOADS {
        let mut targets = vec![("chat", Target::Chat), ("floor", Target::Floor(1))];
        if load.in_flight > 0 {
            targets.push(("batch floor", Target::Floor(SENDERS * load.in_flight)));
        }
        if let Some((addresses, pids)) = &other {
            targets.push(("other", Target::Other(addresses.clone(), pids.clone())));
        }
        let mut rounds: Vec<Vec<Vec<Figure>>> = vec![vec![]; targets.len()];
        let mut notes = vec![];
        for round in 1..=ROUNDS {
            for (index, (name, target)) in targets.iter().enumerate() {
                eprint!("\r\x1b[K{}: round {round} of {ROUNDS}, {name}", load.name);
                match measure(&load, target) {
                    Ok(figures) => rounds[index].push(figures),
                    Err(problem) => notes.push(format!("  round {round}, {name}: {problem}")),
                }
            }
        }
        eprint!("\r\x1b[K");
        print_table(&load, &targets, &rounds);
        notes.iter().for_each(|note| println!("{note}"));
        println!();
    }
}

fn print_table(load: &Load, targets: &[(&str, Target)], rounds: &[Vec<Vec<Figure>>]) {
    print!("{:<54}", load.name);
    targets
        .iter()
        .for_each(|(name, _)| print!("{name:>12}      "));
    targets[1..]
        .iter()
        .for_each(|(name, _)| print!("{:>20}", format!("chat : {name}")));
    println!();
    let Some(shape) = rounds.iter().flatten().next() else {
        return println!("  nothing could be measured");
    };
    for (row, (name, decimals, _)) in shape.iter().enumerate() {
        let medians: Vec<_> = rounds.iter().map(|rounds| median(rounds, row)).collect();
        print!("  {name:<52}");
        for value in &medians {
            match value {
                Some((value, spread)) => {
                    print!("{:>12} ±{spread:>3.0}%", with_commas(*value, *decimals))
                }
                None => print!("{:>12}      ", "unknown"),
            }
        }
        for other in &medians[1..] {
            match (medians[0], other) {
                (Some((chat, _)), Some((other, _))) if *other > 0.0 => {
                    print!("{:>20.2}", chat / other)
                }
                _ => print!("{:>20}", "-"),
            }
        }
        println!();
    }
}

/// The median of the rounds, and how far the farthest round lies from it, in percent.
fn median(rounds: &[Vec<Figure>], row: usize) -> Option<(f64, f64)> {
    let mut values = rounds
        .iter()
        .map(|figures| figures[row].2)
        .collect::<Option<Vec<f64>>>()?;
    values.sort_by(f64::total_cmp);
    let median = *values.get(values.len() / 2)?;
    let farthest = (values.last()? - median).max(median - values.first()?);
    let spread = if median > 0.0 { farthest / median } else { 0.0 };
    Some((median, spread * 100.0))
}

fn with_commas(value: f64, decimals: usize) -> String {
    let mut text = format!("{value:.decimals$}");
    let mut end = text.find('.').unwrap_or(text.len());
    while end > 3 {
        end -= 3;
        text.insert(end, ',');
    }
    text
}

enum Target {
    Chat,
    /// How many messages it puts into one `write`.
    Floor(usize),
    /// A room on several machines is one: the clients join them in turns.
    Other(Vec<SocketAddr>, Vec<u32>),
}

/// A server that is under load; it is killed when dropped, if it is a child of ours.
struct Server {
    child: Option<Child>,
    addresses: Vec<SocketAddr>,
    pids: Vec<u32>,
}

impl Server {
    fn start(target: &Target, load: &Load) -> Server {
        let mut command = match target {
            Target::Other(addresses, pids) => {
                return Server {
                    child: None,
                    addresses: addresses.clone(),
                    pids: pids.clone(),
                };
            }
            Target::Chat => Command::new(env!("CARGO_BIN_EXE_chat")),
            Target::Floor(_) => Command::new(env::current_exe().unwrap()),
        };
        match target {
            Target::Floor(at_once) => {
                let numbers = [load.clients, load.rate, *at_once].map(|number| number.to_string());
                command.arg("--floor").args(numbers)
            }
            _ => command.arg("127.0.0.1:0"),
        };
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the server should start");
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        Server {
            pids: vec![child.id()],
            child: Some(child),
            addresses: list(line.trim().trim_start_matches("http://")),
        }
    }

    fn cpu(&self) -> Option<[f64; 2]> {
        let spent = self.pids.iter().map(|pid| cpu(&pid.to_string()));
        let sum = |[a, b]: [f64; 2], [c, d]: [f64; 2]| [a + c, b + d];
        spent.collect::<Option<Vec<_>>>()?.into_iter().reduce(sum)
    }

    /// Resident memory in KiB.
    fn memory(&self) -> Option<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pids.first()?)).ok()?;
        status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))?
            .split_whitespace()
            .next()?
            .parse()
            .ok()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Opens a socket, and takes it through the WebSocket handshake where there is one.
fn connect(target: &Target, address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(STRAGGLERS))?;
    if matches!(target, Target::Floor(_)) {
        (&stream).read_exact(&mut [0])?;
        return Ok(stream);
    }
    match tungstenite::client(format!("ws://{address}/ws"), stream) {
        Ok((socket, _)) => Ok(socket.into_inner()),
        Err(error) => Err(io::Error::other(error.to_string())),
    }
}

fn measure(load: &Load, target: &Target) -> Result<Vec<Figure>, String> {
    let mut server = Server::start(target, load);
    let memory_before = server.memory();
    let started = Instant::now();
    let streams = thread::scope(|scope| {
        let threads: Vec<_> = (0..SENDERS)
            .map(|index| {
                let count = load.clients / SENDERS + usize::from(index < load.clients % SENDERS);
                let addresses = &server.addresses;
                scope.spawn(move || {
                    (0..count)
                        .map(|number| connect(target, addresses[number % addresses.len()]))
                        .collect::<io::Result<Vec<_>>>()
                })
            })
            .collect();
        let streams = threads.into_iter().map(|thread| thread.join().unwrap());
        streams.collect::<io::Result<Vec<_>>>()
    });
    let streams: Vec<TcpStream> = streams
        .map_err(|error| format!("a client could not connect: {error}"))?
        .into_iter()
        .flatten()
        .collect();
    let upgrades = load.clients as f64 / started.elapsed().as_secs_f64();
    if load.rate + load.in_flight == 0 {
        thread::sleep(WARM_UP);
        let memory = server
            .memory()
            .zip(memory_before)
            .map(|(now, before)| (now - before) / load.clients as f64);
        return Ok(vec![
            ("memory each (KiB)", 1, memory),
            ("upgrades a second", 0, Some(upgrades)),
        ]);
    }
    let mut room = Room::new(load, streams, !matches!(target, Target::Floor(_)))
        .map_err(|error| error.to_string())?;
    if let Some(stdin) = server.child.as_mut().and_then(|child| child.stdin.as_mut()) {
        let _ = writeln!(stdin, "go"); // the floor waits for this
    }
    room.run(WARM_UP).map_err(|error| error.to_string())?;
    let (cpu_before, load_before) = (server.cpu(), cpu("self"));
    let (deliveries_before, began) = (room.deliveries, Instant::now());
    room.delays.reset();
    room.run(WINDOW).map_err(|error| error.to_string())?;
    let (deliveries, seconds) = (
        (room.deliveries - deliveries_before) as f64,
        began.elapsed().as_secs_f64(),
    );
    let spent = server.cpu().zip(cpu_before);
    let each =
        |part: usize| spent.map(|(now, before)| (now[part] - before[part]) * 1e6 / deliveries);
    let (user, system) = (each(0), each(1));
    let own = cpu("self").zip(load_before).map(|(now, before)| {
        (now.iter().sum::<f64>() - before.iter().sum::<f64>()) / seconds * 100.0
    });
    if load.rate > 0 || !matches!(target, Target::Floor(_)) {
        room.finish()?; // before the delays are read: the latest messages are the slowest
    }
    let delay = |percentile| Some(room.delays.value_at_quantile(percentile) as f64 / 1e3);
    let mut figures: Vec<Figure> = match load.rate {
        0 => vec![("deliveries a second", 0, Some(deliveries / seconds))],
        _ => vec![
            ("delay, 50th percentile (µs)", 0, delay(0.5)),
            ("delay, 99th percentile (µs)", 0, delay(0.99)),
            ("delay, 99.9th percentile (µs)", 0, delay(0.999)),
            ("delay, the worst (µs)", 0, delay(1.0)),
        ],
    };
    figures.push((
        "CPU time a delivery, all (µs)",
        2,
        user.zip(system).map(|(user, system)| user + system),
    ));
    figures.push(("CPU time a delivery, user (µs)", 2, user));
    figures.push(("CPU time a delivery, system (µs)", 2, system));
    figures.push(("the load itself used of one core (%)", 0, own));
    Ok(figures)
}

/// User and system time of a process in seconds, since it started.
fn cpu(pid: &str) -> Option<[f64; 2]> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    // proc(5): fields 14 and 15, in ticks of 1/100 second; the first two are cut off here.
    let seconds = |field: usize| Some(fields.get(field - 3)?.parse::<f64>().ok()? / 100.0);
    Some([seconds(14)?, seconds(15)?])
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_nanos() as u64
}

/// The header of a text message's only frame (RFC 6455, section 5.2): a client's is masked, here with zeros.
const FROM_CLIENT: [u8; 6] = [0x81, 0x80 | TEXT as u8, 0, 0, 0, 0];
const FROM_SERVER: [u8; 2] = [0x81, TEXT as u8];

/// A message from `sender` that was due at `due` (nanoseconds since 1970).
fn frame(header: &[u8], due: u64, sender: usize) -> Vec<u8> {
    let text = format!("{due:016x}{sender:04x}{:.<1$}", "", TEXT - 20);
    [header, text.as_bytes()].concat()
}

/// All clients of a room, read by one thread.
struct Room {
    load: Load,
    poll: Poll,
    clients: Vec<Client>,
    buffer: Vec<u8>,
    sent: u64,
    deliveries: u64,
    dropped: usize,
    delays: Histogram<u64>,
}

struct Client {
    stream: mio::net::TcpStream,
    /// The beginning of a frame whose end was not there yet.
    rest: Vec<u8>,
    received: u64,
}

impl Room {
    fn new(load: &Load, streams: Vec<TcpStream>, sends: bool) -> io::Result<Room> {
        let poll = Poll::new()?;
        let senders: Vec<TcpStream> = streams[..SENDERS]
            .iter()
            .map(TcpStream::try_clone)
            .collect::<io::Result<_>>()?;
        let mut clients = Vec::new();
        for (index, stream) in streams.into_iter().enumerate() {
            stream.set_nonblocking(true)?;
            let mut stream = mio::net::TcpStream::from_std(stream);
            poll.registry()
                .register(&mut stream, Token(index), Interest::READABLE)?;
            clients.push(Client {
                stream,
                rest: Vec::new(),
                received: 0,
            });
        }
        let mut room = Room {
            load: *load,
            poll,
            clients,
            buffer: vec![0; 256 * 1024],
            sent: paced(load.rate),
            deliveries: 0,
            dropped: 0,
            delays: Histogram::new_with_bounds(1, 60_000_000_000, 3).unwrap(),
        };
        if sends && load.rate > 0 {
            let rate = load.rate;
            thread::spawn(move || {
                pace(rate, |due, number| {
                    let sender = number as usize % SENDERS;
                    let _ = (&senders[sender]).write_all(&frame(&FROM_CLIENT, due, sender));
                });
            });
        } else if sends {
            for sender in 0..SENDERS {
                room.send(sender, load.in_flight)?;
            }
        }
        Ok(room)
    }

    fn send(&mut self, sender: usize, count: usize) -> io::Result<()> {
        self.sent += count as u64;
        let frames = frame(&FROM_CLIENT, now(), sender).repeat(count);
        self.clients[sender].stream.write_all(&frames)
    }

    /// Reads what comes for `time`; senders without a rate answer each message of their own with the next.
    fn run(&mut self, time: Duration) -> io::Result<()> {
        let end = Instant::now() + time;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            self.turn(left, true)?;
        }
    }

    fn turn(&mut self, left: Duration, answer: bool) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        self.poll.poll(&mut events, Some(left))?;
        for event in &events {
            let index = event.token().0;
            let own = self.read(index)?;
            if answer && self.load.rate == 0 && index < SENDERS && own > 0 && self.sent > 0 {
                self.send(index, own)?;
            }
        }
        Ok(())
    }

    /// Reads one client until its socket is empty; how many of the messages were its own.
    fn read(&mut self, index: usize) -> io::Result<usize> {
        let client = &mut self.clients[index];
        let mut own = 0;
        loop {
            let kept = client.rest.len();
            self.buffer[..kept].copy_from_slice(&client.rest);
            let length = match client.stream.read(&mut self.buffer[kept..]) {
                Ok(0) => {
                    self.dropped += 1;
                    return Ok(own);
                }
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(own),
                Err(error) => return Err(error),
            };
            let arrived = now();
            let mut bytes = &self.buffer[..kept + length];
            while let [first, size, rest @ ..] = bytes {
                let Some((text, rest)) = rest.split_at_checked(usize::from(*size)) else {
                    break;
                };
                bytes = rest;
                match first {
                    0x81 if text.len() == TEXT => {
                        let number = |digits| {
                            u64::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap()
                        };
                        if self.load.rate > 0 {
                            self.delays.saturating_record(
                                arrived.saturating_sub(number(&text[..16])).max(1),
                            );
                        } else if index < SENDERS {
                            own += usize::from(number(&text[16..20]) as usize == index);
                        }
                        client.received += 1;
                        self.deliveries += 1;
                    }
                    0x89 => {} // a ping: no answer is due in so short a time
                    other => {
                        return Err(io::Error::other(format!(
                            "a frame that begins with {other:#x}"
                        )));
                    }
                }
            }
            client.rest.clear();
            client.rest.extend_from_slice(bytes);
        }
    }

    /// Stops sending and waits for what is under way; says what did not arrive.
    fn finish(&mut self) -> Result<(), String> {
        let end = Instant::now() + STRAGGLERS;
        while Instant::now() < end
            && self
                .clients
                .iter()
                .any(|client| client.received < self.sent)
        {
            self.turn(Duration::from_millis(100), false)
                .map_err(|error| error.to_string())?;
        }
        let lost: u64 = self
            .clients
            .iter()
            .map(|client| self.sent.saturating_sub(client.received))
            .sum();
        match (lost, self.dropped) {
            (0, 0) => Ok(()),
            (lost, dropped) => Err(format!("{lost} deliveries lost, {dropped} clients dropped")),
        }
    }
}

/// Calls `send` with each due time at that time, `rate` times a second, through warm-up and window; a message that is
/// late is sent at once, and its due time is still the one it should have had.
fn pace(rate: usize, mut send: impl FnMut(u64, u64)) {
    let began = now();
    for number in 0..paced(rate) {
        let due = began + number * 1_000_000_000 / rate as u64;
        thread::sleep(Duration::from_nanos(due.saturating_sub(now())));
        send(due, number);
    }
}

/// How many messages `pace` sends.
fn paced(rate: usize) -> u64 {
    (WARM_UP + WINDOW).as_millis() as u64 * rate as u64 / 1000
}

/// The floor, in a process of its own: accepts `clients`, waits for a line on standard input, and writes `rate`
/// messages a second (or, with a rate of 0, as many as it can) to each, `at_once` in one `write`, until it is killed.
fn floor(clients: usize, rate: usize, at_once: usize) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    println!("{}", listener.local_addr().unwrap());
    let mut streams: Vec<TcpStream> = Vec::new();
    for _ in 0..clients {
        let mut stream = listener.accept().unwrap().0;
        stream.set_nodelay(true).unwrap();
        stream.write_all(b"+").unwrap(); // stands for the answer to the handshake
        streams.push(stream);
    }
    io::stdin().read_line(&mut String::new()).unwrap();
    let mut deliver = |due, number| {
        let frame = frame(&FROM_SERVER, due, number as usize % SENDERS).repeat(at_once);
        streams
            .iter_mut()
            .for_each(|stream| stream.write_all(&frame).unwrap_or(()));
    };
    if rate > 0 {
        pace(rate, deliver);
    } else {
        (0..u64::MAX).for_each(|number| deliver(now(), number));
    }
    thread::sleep(STRAGGLERS);
}
