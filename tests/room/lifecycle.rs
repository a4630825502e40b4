//! Starting, joining and leaving, and what the terminal says about it.

use crate::support::*;

#[tokio::test]
async fn an_address_that_cannot_be_opened_is_reported_in_one_plain_line() {
    let server = Server::start().await;
    for argument in [&*server.address, "nonsense", "8080", "127.0.0.1:70000", ""] {
        let output = chat(&[argument]).output().unwrap();
        let problem = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{problem}");
        assert_eq!(problem.lines().count(), 1, "{problem}");
        let start = format!("cannot listen on {argument}: ");
        let end = "; try `cargo run -- 127.0.0.1:8081`\n";
        assert!(problem.starts_with(&start) && problem.ends_with(end), "{problem}");
        assert!(output.stdout.is_empty());
    }
}

#[tokio::test]
async fn without_an_argument_it_is_port_8080_of_this_machine_alone() {
    if std::net::TcpListener::bind("0.0.0.0:8080").is_ok() {
        let server = Server::start_by(&mut chat(&[])).await;
        assert_eq!(server.address, "127.0.0.1:8080");
        assert!(std::net::TcpStream::connect("127.0.0.2:8080").is_err(), "it listens on other addresses, too");
    } else {
        println!("port 8080 is taken: the test looks at the error alone");
        assert!(chat(&[]).output().unwrap().stderr.starts_with(b"cannot listen on 127.0.0.1:8080: "));
    }
}

#[tokio::test]
async fn the_first_line_is_a_url_that_opens_on_this_machine() {
    for address in ["0.0.0.0:0", "[::]:0", "[::1]:0", "localhost:0"] {
        let server = Server::start_by(&mut chat(&[address])).await;
        let url: std::net::SocketAddr = server.address.parse().unwrap();
        assert!(url.ip().is_loopback(), "{url} for {address}");
        let is_ipv6 = address.starts_with('[') || address.starts_with('l') && url.is_ipv6();
        assert_eq!(url.is_ipv6(), is_ipv6, "{url} for {address}");
        round_trip(&mut server.join().await).await;
    }
}

#[tokio::test]
async fn a_port_can_be_opened_again_right_after_a_stop() {
    let mut server = Server::start().await;
    let mut client = server.join().await;
    server.signal("KILL").await; // the server's side closes first: its port is in TIME_WAIT
    server.exit().await;
    assert!(!matches!(within(client.next()).await, Some(Ok(_))));
    Server::start_by(&mut chat(&[&server.address])).await;
}

#[tokio::test]
async fn the_terminal_logs_each_join_and_each_leave_with_its_reason_and_nothing_is_left_behind() {
    let _load = LOAD.lock().await;
    let mut server = Server::start().await;
    let before = server.descriptors();
    let mut anna = server.join().await.into_inner();
    let mut ben = server.join().await;
    let carl = server.join().await.into_inner();
    let mut dora = server.join().await.into_inner();
    for number in 1..=4 {
        assert_eq!(server.logs("joined").await, format!("client {number} joined, {number} connected"));
    }
    let began = Instant::now();
    anna.write_all(&frame(CLOSE, b"\x03\xe8\x1b[31m")).await.unwrap(); // no foreign text on the terminal
    assert!(rest(&mut anna).await.starts_with(&[CLOSE]));
    assert_eq!(server.logs("left").await, "client 1 left (closed the connection), 3 connected");
    assert!(began.elapsed() < Duration::from_millis(1_500), "it took {:?}", began.elapsed());
    ben.send(Message::binary(&b"x"[..])).await.unwrap();
    assert_eq!(server.logs("left").await, "client 2 left (sent binary data, not text), 2 connected");
    carl.set_zero_linger().unwrap();
    drop(carl); // with a reset
    assert_eq!(server.logs("left").await, "client 3 left (lost the connection), 1 connected");
    dora.write_all(&header(TEXT, 200)[..4]).await.unwrap();
    drop(dora); // without one, in the middle of a frame
    assert_eq!(server.logs("left").await, "client 4 left (lost the connection), 0 connected");
    until(|| server.descriptors() <= before).await;
}

#[tokio::test]
async fn amid_traffic_too_a_client_that_closes_is_told_from_one_that_is_lost() {
    let mut server = Server::start().await;
    shout(server.join().await, 4);
    for number in 0..200 {
        let mut guest = server.join().await;
        receive(&mut guest).await;
        let reason = if number % 2 == 0 {
            guest.close(None).await.unwrap(); // unread data turns its end into a reset
            "(closed the connection)"
        } else {
            let pings = frame(PING, "").repeat(100); // so that the reading half writes, too
            guest.get_mut().write_all(&pings).await.unwrap();
            guest.get_ref().set_zero_linger().unwrap();
            "(lost the connection)"
        };
        drop(guest);
        let line = server.logs("left").await;
        assert!(line.contains(reason), "{line}");
    }
}

#[tokio::test]
async fn the_room_goes_on_when_its_output_fails() {
    let address = free_address();
    let full = format!("exec {} {address} >/dev/full 2>/dev/full", built_chat().display());
    let server = Server::at(address, start(&mut program("sh", &["-c", &full])));
    listens(&server.address).await;
    let origin = Some("http://evil.example");
    upgrade_status(&server.address, "evil.example", origin).await; // that's a line, too
    server.join().await.close(None).await.unwrap();
    round_trip(&mut server.join().await).await;
}
