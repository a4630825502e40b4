//! What docs/lesson.md quotes and claims is true, its first program is a chat, and its exercises can be solved.

use crate::blocks;
use crate::support::*;

const LESSON: &str = include_str!("../../docs/lesson.md");
const PROGRAM: &str = include_str!("../../main.rs");
const PAGE: &str = include_str!("../../index.html");
const BARE: &str = include_str!("../../examples/bare.rs");
const GO: &str = include_str!("../../examples/go/main.go");

/// The lines of a program, without empty ones and those that are only a comment.
fn code(text: &str) -> Vec<&str> {
    let is_code = |line: &&str| !line.is_empty() && !line.starts_with("//");
    text.lines().map(str::trim_end).filter(is_code).collect()
}

/// What stands below a heading, up to the next of its level.
fn section(heading: &str) -> &'static str {
    let level = format!("\n{} ", heading.split(' ').next().unwrap());
    let (_, rest) = LESSON.split_once(&format!("\n{heading}")).expect(heading);
    rest.split(&level).next().unwrap()
}

/// The cells of the tables, row by row. Each row begins with code.
fn rows(text: &str) -> impl Iterator<Item = Vec<String>> {
    let rows = text.lines().filter_map(|line| line.strip_prefix("| "));
    let rows = rows.filter(|row| row.starts_with('`'));
    let cell = |cell: &str| cell.replace("\\|", "|");
    rows.map(move |row| row.split(" | ").map(cell).collect())
}

#[tokio::test]
async fn bare_rs_is_a_chat_and_goes_on_when_a_client_leaves() {
    // Unchanged except for its port and the page's folder.
    let port = "std::env::var(\"ADDRESS\").unwrap().parse::<std::net::SocketAddr>().unwrap()";
    let bare = BARE.replace("../index.html", "index.html").replace("([127, 0, 0, 1], 8080)", port);
    let bare = Variant::new("bare", &bare).build();
    let server = Server::start_at_address(&mut program(bare, &[])).await;
    assert!(server.http("GET /").await.ends_with(PAGE));
    is_a_room(&[server]).await;
}

#[test]
fn part_1_quotes_both_programs_whole_and_every_explained_line_is_in_its_source() {
    let part = section("# Part 1");
    for (language, program, first) in [("rust", BARE, "use "), ("go", GO, "var ")] {
        let program = &program[program.find(first).unwrap()..];
        assert_eq!(code(&blocks(part, language).concat()), code(program));
    }
    let manifest = include_str!("../../Cargo.toml");
    let quoted = blocks(part, "toml").concat();
    assert!(quoted.contains("[dependencies]"), "no Cargo.toml");
    for line in quoted.lines() {
        assert!(manifest.contains(line), "not in Cargo.toml: {line}");
    }
    for (part, source) in [("# Part 1", BARE), ("# Part 2", PROGRAM)] {
        assert!(rows(section(part)).count() > 15, "few lines are explained");
        for row in rows(section(part)) {
            let line = row[0].trim_matches('`');
            assert!(source.contains(line), "not in its source: {line}");
        }
    }
}

#[test]
fn the_compiler_says_what_the_table_says() {
    let copy = Variant::new("lesson-compiler", BARE);
    let rows: Vec<_> = rows(section("## What the compiler says, and why")).collect();
    assert!(rows.len() >= 9, "only {} rows", rows.len());
    for row in rows {
        let [before, after, error, _why] = &row[..] else { panic!("four columns: {row:?}") };
        let mut changed = BARE.replace("../index.html", "index.html");
        for (before, after) in before.split("<br>").zip(after.split("<br>")) {
            let (before, after) = (before.trim_matches('`'), after.trim_matches('`'));
            assert!(changed.contains(before), "not there: {before}");
            changed = changed.replace(before, if after == "(delete)" { "" } else { after });
        }
        copy.write("main.rs", &changed);
        let first = copy.check().unwrap_or_default();
        assert!(first.starts_with(error.trim_matches('`')), "{before} -> {after}: {first}");
    }
}

/// Applies a diff without line numbers: an empty line ends a hunk.
fn apply(text: &str, diff: &str) -> Option<String> {
    let mut changed: Vec<&str> = text.lines().collect();
    for hunk in diff.trim_end().split("\n\n") {
        let side = |sign| {
            let lines = hunk.lines().filter(move |line| !line.starts_with(sign));
            lines.map(|line| &line[1..]).collect::<Vec<_>>()
        };
        let (before, after) = (side('+'), side('-'));
        let mut places = changed.windows(before.len());
        let at = places.position(|place| place == before)?;
        changed.splice(at..at + before.len(), after);
    }
    Some(changed.join("\n") + "\n")
}

/// Does an exercise as the lesson does it: a first step, which builds, and a solution. Starts that.
async fn solve(number: usize) -> Server {
    let copy = Variant::new(&format!("exercise-{number}"), PROGRAM);
    let in_time = "CLOSE_TIMEOUT: Duration = Duration::from_secs(";
    let mut done = vec![PROGRAM.replace(in_time, &format!("{in_time}100 + "))]; // nothing may end by it
    let mut page = PAGE.to_owned();
    let exercise = section("## Exercises").split("\n**").nth(number).unwrap();
    for diff in blocks(exercise, "diff") {
        match apply(done.last().unwrap(), diff) {
            Some(changed) => done.push(changed),
            None => page = apply(&page, diff).unwrap_or_else(|| panic!("not there:\n{diff}")),
        }
    }
    let [_, first, solution] = &done[..] else { panic!("a first step and a solution") };
    copy.write("main.rs", first);
    assert_eq!(copy.check(), None);
    copy.write("main.rs", solution);
    copy.write("index.html", &page);
    Server::start_by(&mut program(copy.build(), &["127.0.0.1:0"])).await
}

#[tokio::test]
async fn exercise_1_puts_names_before_texts() {
    let server = solve(1).await;
    for _ in ["at first", "after a reconnect"] {
        let mut anna = server.join().await;
        send(&mut anna, "Anna").await;
        send(&mut anna, "hello").await;
        hears(&mut anna, &["Anna joined", "Anna: hello"]).await;
    }
}

#[tokio::test]
async fn exercise_2_sends_to_one_client() {
    let mut server = solve(2).await;
    let mut anna = server.join().await;
    server.logs("client 1 joined").await;
    let mut ben = server.join().await;
    server.logs("client 2 joined").await;
    for text in ["@2 hello", "@9 hello", "to all"] {
        send(&mut anna, text).await;
    }
    hears(&mut anna, &["@2 hello", "There is no client 9.", "@9 hello", "to all"]).await;
    hears(&mut ben, &["client 1, to you alone: hello", "to all"]).await;
}

#[tokio::test]
async fn exercise_3_takes_texts_from_outside() {
    let server = solve(3).await;
    let mut anna = server.join().await;
    let long = "x".repeat(MAX_MESSAGE);
    for (text, site, status) in [("no", "[::2]", 403), (&long, "[::1]", 413), ("yes", "[::1]", 204)] {
        let head = format!("POST /say HTTP/1.1\r\nHost: [::1]\r\nOrigin: http://{site}\r\nConnection: close");
        let request = format!("{head}\r\nContent-Length: {}\r\n\r\n\"{text}\"", text.len() + 2);
        let mut stream = server.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        let answer = String::from_utf8(rest(&mut stream).await).unwrap();
        assert!(answer.contains(&format!(" {status} ")), "{answer}");
    }
    hears(&mut anna, &["yes"]).await;
}

#[tokio::test]
async fn exercise_4_sends_each_text_once_to_whoever_joins() {
    let server = solve(4).await;
    let (mut sink, mut own) = server.join().await.split();
    let mut own = Some(tokio::spawn(async move { receive_numbers(&mut own, 2_000).await }));
    tokio::spawn(async move { send_numbers(&mut sink, 2_000, 100).await });
    for join in 0..10 {
        if join == 9 {
            own.take().unwrap().await.unwrap(); // all has been said
        }
        let mut ben = server.join().await;
        let mut numbers = Vec::new();
        while numbers.last() != Some(&1_999) {
            let text = receive(&mut ben).await;
            numbers.push(text.trim_end_matches('.').parse().unwrap());
        }
        let begin = if join == 9 { 1_950 } else { numbers[0] };
        assert_eq!(numbers, (begin..2_000).collect::<Vec<usize>>());
    }
}

#[tokio::test]
async fn exercise_5_keeps_rooms_apart() {
    let mut server = solve(5).await;
    let address = server.address.clone();
    let join = async |room| {
        let url = format!("ws://{address}/ws/{room}");
        within(client_async(url, connect(&address).await)).await.unwrap().0
    };
    let mut ben = join("b").await;
    for _ in ["at first", "after the room has been left by all"] {
        let (mut anna, mut carla) = (join("a").await, join("a").await);
        send(&mut anna, "to a").await;
        hears(&mut anna, &["to a"]).await;
        hears(&mut carla, &["to a"]).await;
        drop((anna, carla));
        server.logs("left (lost the connection), 0 connected").await;
    }
    send(&mut ben, "to b").await;
    hears(&mut ben, &["to b"]).await;
    server.signal("INT").await;
    assert_eq!(close_frame(&mut ben).await.0, 1001);
    drop(ben);
    assert!(server.exit().await.success());
}
