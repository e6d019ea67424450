//! The clients of the migration: each writes increasing numbers to its own keys and reads all.
//!
//! *Lost* is an acknowledged write that the target does not serve. A client looks at each of its
//! keys before it writes to it for the first time at a node it was redirected to, so that a later
//! write cannot hide the loss; what is left is looked at when all is over.
//!
//! *Stale* is a read that returns less than the highest number that was acknowledged, to any
//! client, before the read was sent.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::board::{Board, Phase};
use super::error::TourError;
use super::random::Random;
use super::resp::Reply;
use super::router::{NODES, Router};

/// Connections, each of its own thread.
pub(super) const CLIENTS: usize = 4;
/// Keys that each client writes.
pub(super) const KEYS_PER_CLIENT: usize = 64;

/// Width of the number in a value; a filler follows it.
const DIGITS: usize = 20;
const FILLER: &str = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGH";
/// Longest latency that is told apart, in microseconds.
const LATENCY_US_MAX: u64 = 60_000_000;

/// What one client, or all of them, observed.
#[derive(Debug)]
pub(super) struct Observed {
    /// Latency of reads and writes in microseconds, per phase.
    pub latency: [Histogram<u64>; 3],
    /// Longest gap between two successful writes of one client in the migration.
    pub write_gap: Duration,
    /// The same for reads.
    pub read_gap: Duration,
    /// Acknowledged writes.
    pub writes: u64,
    /// Answered reads.
    pub reads: u64,
    /// Acknowledged writes that were not served.
    pub lost: u64,
    /// Reads that returned too little.
    pub stale: u64,
    /// The first loss, in words.
    pub first_lost: Option<String>,
    /// The first stale read, in words.
    pub first_stale: Option<String>,
    /// Redirections.
    pub moved: u64,
    /// Repeated requests.
    pub retries: u64,
}

impl Observed {
    /// Nothing yet.
    pub(super) fn nothing() -> Self {
        let empty = || {
            Histogram::new_with_bounds(1, LATENCY_US_MAX, 3)
                .expect("1 to 60 s with three digits are valid bounds")
        };
        Self {
            latency: [empty(), empty(), empty()],
            write_gap: Duration::ZERO,
            read_gap: Duration::ZERO,
            writes: 0,
            reads: 0,
            lost: 0,
            stale: 0,
            first_lost: None,
            first_stale: None,
            moved: 0,
            retries: 0,
        }
    }

    /// Adds what another client observed.
    pub(super) fn merge(&mut self, other: Self) {
        for (mine, theirs) in self.latency.iter_mut().zip(&other.latency) {
            mine.add(theirs).expect("all histograms have the same bounds");
        }
        self.write_gap = self.write_gap.max(other.write_gap);
        self.read_gap = self.read_gap.max(other.read_gap);
        self.writes += other.writes;
        self.reads += other.reads;
        self.lost += other.lost;
        self.stale += other.stale;
        self.first_lost = self.first_lost.take().or(other.first_lost);
        self.first_stale = self.first_stale.take().or(other.first_stale);
        self.moved += other.moved;
        self.retries += other.retries;
    }

    /// Compares what `node` serves of a key with the number acknowledged for it: what is missing
    /// is lost.
    pub(super) fn look(&mut self, key: &str, expected: u64, got: u64, node: usize) {
        if got < expected {
            self.lost += expected - got;
            self.first_lost.get_or_insert_with(|| too_little(key, expected, got, node));
        }
    }

    /// Compares what a read gave with the number acknowledged before it was sent.
    fn compare(&mut self, key: &str, expected: u64, got: u64, node: usize) {
        if got < expected {
            self.stale += 1;
            self.first_stale.get_or_insert_with(|| too_little(key, expected, got, node));
        }
    }
}

fn too_little(key: &str, expected: u64, got: u64, node: usize) -> String {
    format!("{key} gave {got} at node {}, where {expected} was acknowledged", NODES[node])
}

/// The name of a key: its hash tag puts it into the slot of the partition `tag`.
pub(super) fn key_name(tag: &str, key: usize) -> String {
    format!("{{{tag}}}:client:{}:{}", key / KEYS_PER_CLIENT, key % KEYS_PER_CLIENT)
}

/// The number in the value of a key; 0 when there is none.
pub(super) fn number_of(reply: &Reply) -> Option<u64> {
    match reply {
        Reply::Bulk(None) => Some(0),
        Reply::Bulk(Some(bytes)) => std::str::from_utf8(bytes.get(..DIGITS)?).ok()?.parse().ok(),
        _ => None,
    }
}

/// One client.
pub(super) struct Client {
    index: usize,
    tag: String,
    board: Arc<Board>,
    router: Router,
    random: Random,
    observed: Observed,
    /// Per own key, the node at which it was last looked at.
    seen_at: Vec<usize>,
    last_write: Option<(Instant, Phase)>,
    last_read: Option<(Instant, Phase)>,
}

impl Client {
    /// Client number `index`, which writes the keys from `index * KEYS_PER_CLIENT` on.
    pub(super) fn new(
        index: usize,
        tag: &str,
        nodes: [SocketAddr; 2],
        board: Arc<Board>,
        seed: u64,
    ) -> Self {
        Self {
            index,
            tag: tag.to_owned(),
            board,
            router: Router::new(nodes),
            random: Random::new(seed ^ (index as u64 + 1)),
            observed: Observed::nothing(),
            seen_at: vec![0; KEYS_PER_CLIENT],
            last_write: None,
            last_read: None,
        }
    }

    /// Writes and reads until the board says stop; writes every own key at least once.
    pub(super) fn run(mut self) -> Result<Observed, TourError> {
        let first = self.index * KEYS_PER_CLIENT;
        for key in first..first + KEYS_PER_CLIENT {
            self.write(key)?;
        }
        while !self.board.is_stopped() {
            // Strictly in turn, so that a gap between two writes holds no more than one read.
            let own = first + self.random.below(KEYS_PER_CLIENT);
            self.look_then_write(own)?;
            let any = self.random.below(self.board.keys());
            self.read(any)?;
        }
        self.observed.moved = self.router.moved;
        self.observed.retries = self.router.retries;
        Ok(self.observed)
    }

    /// A write; at a node where this key was not looked at yet, a look at it first.
    fn look_then_write(&mut self, key: usize) -> Result<(), TourError> {
        if self.seen_at[key % KEYS_PER_CLIENT] != self.router.at() {
            let expected = self.board.acknowledged(key);
            let got = self.get(key)?;
            self.seen_at[key % KEYS_PER_CLIENT] = self.router.at();
            let name = key_name(&self.tag, key);
            self.observed.look(&name, expected, got, self.router.at());
        }
        self.write(key)
    }

    fn write(&mut self, key: usize) -> Result<(), TourError> {
        let number = self.board.acknowledged(key) + 1;
        let value = format!("{number:0DIGITS$}{FILLER}");
        let name = key_name(&self.tag, key);
        let phase = self.board.phase();
        let start = Instant::now();
        let reply = self.router.call(&[b"SET", name.as_bytes(), value.as_bytes()])?;
        let end = Instant::now();
        if !matches!(&reply, Reply::Simple(text) if text == "OK") {
            return Err(self.strange("SET", &reply));
        }
        self.board.acknowledge(key, number);
        self.observed.writes += 1;
        self.measure(phase, end - start);
        let gap = gap(&mut self.last_write, end, self.board.phase());
        self.observed.write_gap = self.observed.write_gap.max(gap);
        Ok(())
    }

    fn read(&mut self, key: usize) -> Result<(), TourError> {
        let expected = self.board.acknowledged(key);
        let got = self.get(key)?;
        let name = key_name(&self.tag, key);
        self.observed.compare(&name, expected, got, self.router.at());
        Ok(())
    }

    fn get(&mut self, key: usize) -> Result<u64, TourError> {
        let name = key_name(&self.tag, key);
        let phase = self.board.phase();
        let start = Instant::now();
        let reply = self.router.call(&[b"GET", name.as_bytes()])?;
        let end = Instant::now();
        let number = number_of(&reply).ok_or_else(|| self.strange("GET", &reply))?;
        self.observed.reads += 1;
        self.measure(phase, end - start);
        let gap = gap(&mut self.last_read, end, self.board.phase());
        self.observed.read_gap = self.observed.read_gap.max(gap);
        Ok(number)
    }

    fn measure(&mut self, phase: Phase, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(LATENCY_US_MAX);
        self.observed.latency[phase as usize].saturating_record(micros.max(1));
    }

    fn strange(&self, request: &str, reply: &Reply) -> TourError {
        TourError::Node {
            node: NODES[self.router.at()],
            cause: format!("answered {request} with {reply:?}"),
        }
    }
}

/// The time since the last success, where the migration was under way at either end of it.
fn gap(last: &mut Option<(Instant, Phase)>, now: Instant, phase: Phase) -> Duration {
    match last.replace((now, phase)) {
        Some((before, earlier)) if earlier == Phase::During || phase == Phase::During => {
            now - before
        }
        _ => Duration::ZERO,
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// A node that acknowledges every write and remembers none; after `requests` of them it says
    /// that the slot has moved.
    fn forgetful(listener: TcpListener, requests: usize, moved: Option<SocketAddr>) {
        thread::spawn(move || {
            let (stream, _) = listener.accept().expect("a client comes");
            let mut answers = stream.try_clone().expect("a socket can be shared");
            let mut lines = BufReader::new(stream).lines();
            let mut next = || lines.next()?.ok();
            for request in 0.. {
                let Some(count) = next() else { return };
                let words: usize = count[1..].parse().expect("an array");
                let words: Option<Vec<String>> = (0..words).map(|_| next().and(next())).collect();
                let Some(words) = words else { return };
                let reply = match moved {
                    Some(address) if request >= requests => format!("-MOVED 1 {address}\r\n"),
                    _ if words[0] == "SET" => "+OK\r\n".to_owned(),
                    _ => "$-1\r\n".to_owned(),
                };
                if answers.write_all(reply.as_bytes()).is_err() {
                    return;
                }
            }
        });
    }

    fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        (listener, address)
    }

    fn observe(nodes: [SocketAddr; 2]) -> (Observed, Arc<Board>) {
        let board = Arc::new(Board::new(KEYS_PER_CLIENT));
        let client = Client::new(0, "t/0", nodes, Arc::clone(&board), 7);
        let thread = thread::spawn(move || client.run());
        thread::sleep(Duration::from_millis(200));
        board.stop();
        let observed = thread.join().expect("no panic").expect("every request is answered");
        (observed, board)
    }

    #[test]
    fn a_read_below_what_was_acknowledged_is_stale() {
        let (listener, address) = listener();
        forgetful(listener, 0, None);
        let (observed, _) = observe([address, address]);
        assert!(observed.reads > 0);
        assert_eq!(observed.stale, observed.reads, "nothing that was written is ever read");
        assert_eq!(observed.lost, 0, "no move, so nothing is looked at");
        assert!(observed.first_stale.is_some());
    }

    #[test]
    fn what_the_next_node_does_not_serve_is_lost() {
        let ((a, at_a), (b, at_b)) = (listener(), listener());
        forgetful(a, 3 * KEYS_PER_CLIENT, Some(at_b));
        forgetful(b, 0, None);
        let (observed, board) = observe([at_a, at_b]);
        assert_eq!(observed.moved, 1);
        assert!(observed.lost > 0, "A acknowledged writes that B does not serve");
        let acknowledged: u64 = (0..board.keys()).map(|key| board.acknowledged(key)).sum();
        assert_eq!(acknowledged, observed.writes, "each key counts up by one");
    }
}
