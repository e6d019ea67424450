//! Goal: a node that was started by another program does not outlive it.
//!
//! Method: standard input is a pipe that this test holds open, then closes.

use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::common::{Node, PATIENCE};

#[test]
fn a_node_stops_when_its_standard_input_ends_if_told_so() {
    let mut node = Node::start_with_stdin(Stdio::piped(), &["--until-stdin-ends"]);
    assert!(node.child.try_wait().expect("it is a child").is_none(), "stopped too early");
    drop(node.child.stdin.take());
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        match node.child.try_wait().expect("it is a child") {
            Some(status) => break status,
            None => assert!(Instant::now() < deadline, "the node outlives its standard input"),
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    assert!(status.success(), "ended with {status}");
}

#[test]
fn a_node_does_not_mind_an_empty_standard_input_otherwise() {
    let mut node = Node::start_with_stdin(Stdio::null(), &[]);
    std::thread::sleep(Duration::from_millis(200));
    assert!(node.child.try_wait().expect("it is a child").is_none(), "stopped without a reason");
    node.stop();
}
