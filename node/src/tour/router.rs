//! Follows a slot from node to node, as a cluster client does.

use std::io;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use super::error::TourError;
use super::resp::{Connection, Reply};

/// How long one request may be redirected and retried before the tour gives up.
const GIVE_UP: Duration = Duration::from_secs(30);
/// Pause before a request is tried again.
const PAUSE: Duration = Duration::from_micros(200);

/// The names of the two nodes.
pub(super) const NODES: [&str; 2] = ["A", "B"];

/// Connections to both nodes; knows which of them answered last.
#[derive(Debug)]
pub(super) struct Router {
    nodes: [SocketAddr; 2],
    connections: [Option<Connection>; 2],
    at: usize,
    /// Redirections followed so far.
    pub moved: u64,
    /// Requests sent again after CLUSTERDOWN, TRYAGAIN or a lost connection.
    pub retries: u64,
}

impl Router {
    /// A router that asks the first node first.
    pub(super) fn new(nodes: [SocketAddr; 2]) -> Self {
        Self { nodes, connections: [None, None], at: 0, moved: 0, retries: 0 }
    }

    /// The node that answered last.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Sends a request to whichever node serves it, and gives that node's answer.
    ///
    /// A request whose connection broke is sent again, so it may be executed twice: only
    /// requests that may be repeated belong here.
    pub(super) fn call(&mut self, words: &[&[u8]]) -> Result<Reply, TourError> {
        let start = Instant::now();
        loop {
            let cause = match self.attempt(words) {
                Ok(Reply::Error(error)) => {
                    if self.redirected(&error)? {
                        continue;
                    }
                    if !is_transient(&error) {
                        return Err(self.failed(error));
                    }
                    error
                }
                Ok(reply) => return Ok(reply),
                Err(error) => {
                    self.connections[self.at] = None;
                    self.at = 1 - self.at;
                    error.to_string()
                }
            };
            self.retries += 1;
            if start.elapsed() > GIVE_UP {
                return Err(self.failed(format!("no success for {GIVE_UP:?}, at last: {cause}")));
            }
            thread::sleep(PAUSE);
        }
    }

    fn attempt(&mut self, words: &[&[u8]]) -> io::Result<Reply> {
        let connection = match &mut self.connections[self.at] {
            Some(connection) => connection,
            none => none.insert(Connection::open(self.nodes[self.at])?),
        };
        connection.call(words)
    }

    /// Whether `error` is a redirection; then the next attempt goes where it says.
    fn redirected(&mut self, error: &str) -> Result<bool, TourError> {
        let Some(rest) = error.strip_prefix("MOVED ") else { return Ok(false) };
        let address = rest.rsplit(' ').next().and_then(|text| text.parse::<SocketAddr>().ok());
        match self.nodes.iter().position(|node| Some(*node) == address) {
            Some(node) if node != self.at => {
                self.at = node;
                self.moved += 1;
                Ok(true)
            }
            // The node names itself: the hand-over is just happening.
            Some(_) => Ok(false),
            None => Err(self.failed(format!("redirects to an unknown node: {error}"))),
        }
    }

    fn failed(&self, cause: String) -> TourError {
        TourError::Node { node: NODES[self.at], cause }
    }
}

fn is_transient(error: &str) -> bool {
    ["MOVED", "CLUSTERDOWN", "TRYAGAIN", "LOADING"].iter().any(|word| error.starts_with(word))
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use super::*;

    /// A node that gives one of these replies to each request it reads, then hangs up.
    fn node(listener: TcpListener, replies: Vec<String>) {
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client comes");
            let mut request = [0; 256];
            for reply in replies {
                let read = stream.read(&mut request).expect("a request comes");
                assert!(read > 0, "a request before each reply");
                stream.write_all(reply.as_bytes()).expect("the client takes the reply");
            }
        });
    }

    fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        (listener, address)
    }

    #[test]
    fn it_retries_and_follows_to_the_node_that_serves() {
        let ((a, at_a), (b, at_b)) = (listener(), listener());
        node(a, vec!["-CLUSTERDOWN not now\r\n".into(), format!("-MOVED 7 {at_b}\r\n")]);
        node(b, vec!["-TRYAGAIN\r\n".into(), "$2\r\nhi\r\n".into()]);
        let mut router = Router::new([at_a, at_b]);
        let reply = router.call(&[b"GET", b"k"]).expect("an answer in the end");
        assert_eq!(reply, Reply::Bulk(Some(b"hi".to_vec())));
        assert_eq!((router.at(), router.moved, router.retries), (1, 1, 2));
    }

    #[test]
    fn it_goes_to_the_other_node_when_one_hangs_up() {
        let ((a, at_a), (b, at_b)) = (listener(), listener());
        node(a, Vec::new());
        node(b, vec![":3\r\n".into()]);
        let mut router = Router::new([at_a, at_b]);
        assert_eq!(router.call(&[b"GET"]).expect("an answer of B"), Reply::Integer(3));
        assert_eq!(router.at(), 1);
    }

    #[test]
    fn an_error_that_is_none_of_the_clusters_ends_it() {
        let ((a, at_a), (_b, at_b)) = (listener(), listener());
        node(a, vec!["-ERR unknown command\r\n".into()]);
        let error = Router::new([at_a, at_b]).call(&[b"GETT"]).expect_err("refused");
        assert!(error.to_string().contains("node A: ERR unknown command"), "{error}");
    }
}
