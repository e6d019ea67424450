//! Goal: what clients can make a node hold is bounded, and who keeps to small requests is not hurt by
//! those who do not.
//!
//! Method: plain sockets against nodes with small limits: a client too many, and two unfinished
//! requests that do not fit together.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use crate::common::{Node, PATIENCE, cli};

/// Bytes of the value that the clients begin to send.
const VALUE: usize = 900_000;

fn connect(node: &Node) -> TcpStream {
    let stream = TcpStream::connect(node.address()).expect("the node listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream
}

/// Asks for a PONG; gives what came.
fn ping(stream: &mut TcpStream) -> String {
    stream.write_all(b"PING\r\n").expect("the connection is open");
    line(stream)
}

fn line(stream: &mut TcpStream) -> String {
    let (mut line, mut byte) = (String::new(), [0]);
    while !line.ends_with('\n') && stream.read(&mut byte).expect("the node answers") == 1 {
        line.push(char::from(byte[0]));
    }
    line
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_client_too_many_is_told_so_and_the_place_of_one_that_left_is_free() {
    let node = Node::start(&["--max-clients", "2"]);
    let (mut first, mut second) = (connect(&node), connect(&node));
    assert_eq!((ping(&mut first), ping(&mut second)), ("+PONG\r\n".into(), "+PONG\r\n".into()));
    let mut third = connect(&node);
    let mut said = String::new();
    third.read_to_string(&mut said).expect("it is told why, and closed");
    assert_eq!(said, "-ERR max number of clients reached\r\n");
    assert_eq!(ping(&mut first), "+PONG\r\n");
    drop(second);
    eventually("a place is free", || {
        let mut next = connect(&node);
        next.write_all(b"PING\r\n").is_ok() && {
            let mut start = [0; 1];
            next.read(&mut start).is_ok_and(|got| got == 1) && start == *b"+"
        }
    });
    node.stop();
}

/// Begins a SET and holds back the last byte of its value.
fn begin_set(stream: &mut TcpStream, key: &str) {
    let head = format!("*3\r\n$3\r\nSET\r\n$1\r\n{key}\r\n${VALUE}\r\n");
    stream.write_all(head.as_bytes()).expect("the connection is open");
    // The node may hang up in between; then the answer says so.
    let _ = stream.write_all(&vec![b'x'; VALUE - 1]);
}

fn held(node: &Node) -> usize {
    let info = cli(node.port(), &["INFO"]);
    let held = info.lines().find_map(|line| line.strip_prefix("unfinished_request_bytes:"));
    held.expect("INFO says it").trim().parse().expect("a number")
}

#[test]
fn unfinished_requests_share_a_bound_and_small_ones_are_not_hurt() {
    let node = Node::start(&["--max-input", "1"]);
    let mut first = connect(&node);
    begin_set(&mut first, "a");
    eventually("the first has arrived", || held(&node) > VALUE - (32 << 10));
    let mut second = connect(&node);
    begin_set(&mut second, "b");
    let mut said = Vec::new();
    // What the node had not read yet may make the system drop its last words.
    let _ = second.read_to_end(&mut said);
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(said.is_empty() || said.contains("unfinished requests"), "{said}");
    assert!(held(&node) <= 1 << 20);
    assert_eq!(cli(node.port(), &["SET", "c", "small"]), "OK");

    first.write_all(b"x\r\n").expect("the connection is open");
    assert_eq!(line(&mut first), "+OK\r\n");
    eventually("nothing is held any more", || held(&node) == 0);
    let mut again = connect(&node);
    begin_set(&mut again, "b");
    again.write_all(b"x\r\n").expect("the connection is open");
    assert_eq!(line(&mut again), "+OK\r\n");
    assert_eq!(cli(node.port(), &["DBSIZE"]), "3");
    node.stop();
}
