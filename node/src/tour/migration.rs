//! Step 5: moves the slot between two nodes while clients write and read it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::Fault;
use super::backups::BackedUp;
use super::board::{Board, Phase};
use super::clients::{self, CLIENTS, Client, KEYS_PER_CLIENT, Observed};
use super::context::Tour;
use super::control::{self, Moved};
use super::error::TourError;
use super::nodes::{Node, Plan};
use super::queries;
use super::question::{Answer, Question};
use super::remote;
use super::report::Migration;
use super::resp::{Connection, Reply};
use super::screen::{grouped, per_second};
use super::searcher::Searcher;

/// How long the clients run before the move, and again after it.
const CALM: Duration = Duration::from_millis(1500);
/// The target's name and its place among the nodes.
const TARGET: &str = "B";
const TARGET_AT: usize = 1;

/// Moves the slot and checks every write, every read and the questions.
pub(super) fn step(tour: &mut Tour, backed_up: &BackedUp) -> Result<(), TourError> {
    tour.screen.step(5, "move the slot between two nodes while clients write and read it");
    let bar = tour.screen.spinner("starting two nodes, restoring the backup into the first");
    let mut source = Node::start(&Plan {
        name: "A",
        dir: tour.dir(),
        own: "0-16383",
        restore: Some(&backed_up.dir),
        plant: planted(tour),
    })?;
    let mut target = Node::start(&Plan {
        name: TARGET,
        dir: tour.dir(),
        own: "none",
        restore: None,
        plant: planted(tour),
    })?;
    bar.finish_and_clear();
    let addresses = [source.clients, target.clients];
    let tag = format!("{}/{:05}", tour.table.name, 0);
    let slot = control::slot_of(source.clients, &tag)?;
    tour.screen.say(&format!(
        "node A at {} serves the restored backup, node B at {} owns nothing; slot {slot} holds the \
         partition {tag} and the clients' keys",
        source.clients, target.clients
    ));

    let board = Arc::new(Board::new(CLIENTS * KEYS_PER_CLIENT));
    let asked: Vec<(Question, Answer)> = tour
        .questions
        .iter()
        .map(|question| (question.clone(), backed_up.states.answer(&tour.table, question)))
        .collect();
    let running = Running::start(tour, &tag, addresses, &board, asked.clone());
    thread::sleep(CALM);
    board.enter(Phase::During);
    let bar = tour.screen.bar(100, "moving the slot");
    let start = Instant::now();
    let moved = control::move_slot(source.clients, slot, target.clients, &bar, &tour.interrupt);
    let time = start.elapsed();
    bar.finish_and_clear();
    source.expect_alive()?;
    target.expect_alive()?;
    board.enter(Phase::After);
    thread::sleep(CALM);
    let finished = running.finish();
    // A move that failed is reported only now, so that the clients never outlive it.
    let moved = moved?;
    let (mut observed, searches) = finished?;
    look_at_all(target.clients, &tag, &board, &mut observed)?;
    tour.report.migration = Some(report(&moved, time, &observed, searches));
    show(tour);
    verdict(tour, &observed)?;
    ask_target(tour, target.clients, &asked)
}

/// The fault as `serve --plant` names it, where it is the nodes that make it.
fn planted(tour: &Tour) -> Option<&'static str> {
    match tour.plant? {
        Fault::DroppedCapturedWrite => Some("drop-captured-write"),
        Fault::ServingAfterGrant => Some("serve-after-grant"),
        Fault::SkippedDeltaRound => Some("skip-delta-round"),
        Fault::FlippedBackupBlock | Fault::MovingSnapshot => None,
    }
}

/// The clients' threads. Dropping them stops them.
struct Running {
    board: Arc<Board>,
    clients: Vec<JoinHandle<Result<Observed, TourError>>>,
    searcher: Option<JoinHandle<Result<u64, TourError>>>,
}

impl Running {
    fn start(
        tour: &Tour,
        tag: &str,
        nodes: [SocketAddr; 2],
        board: &Arc<Board>,
        asked: Vec<(Question, Answer)>,
    ) -> Self {
        let clients = (0..CLIENTS)
            .map(|index| {
                let client = Client::new(index, tag, nodes, Arc::clone(board), tour.seed);
                thread::spawn(move || client.run())
            })
            .collect();
        let searcher = Searcher::new(&tour.table, asked, nodes, board);
        let searcher = Some(thread::spawn(move || searcher.run()));
        Self { board: Arc::clone(board), clients, searcher }
    }

    /// Stops the clients; what they observed together, and how often was searched.
    fn finish(mut self) -> Result<(Observed, u64), TourError> {
        self.board.stop();
        let mut all = Observed::nothing();
        let clients: Vec<_> = self.clients.drain(..).map(join).collect();
        let searches = self.searcher.take().map_or(Ok(0), join)?;
        for client in clients {
            all.merge(client?);
        }
        Ok((all, searches))
    }
}

fn join<T>(thread: JoinHandle<Result<T, TourError>>) -> Result<T, TourError> {
    thread.join().unwrap_or_else(|_| {
        Err(TourError::Engine {
            step: "using the slot beside the move",
            cause: "a client thread panicked".to_owned(),
        })
    })
}

impl Drop for Running {
    fn drop(&mut self) {
        self.board.stop();
        // The tour fails already with the error that dropped the clients early.
        for thread in self.clients.drain(..) {
            let _ = thread.join();
        }
        if let Some(thread) = self.searcher.take() {
            let _ = thread.join();
        }
    }
}

/// Reads every key at the target, which must serve it itself: what is missing there is lost.
fn look_at_all(
    target: SocketAddr,
    tag: &str,
    board: &Board,
    observed: &mut Observed,
) -> Result<(), TourError> {
    let failed = |cause: String| TourError::Node { node: TARGET, cause };
    let mut connection =
        Connection::open(target).map_err(|error| failed(format!("cannot be reached: {error}")))?;
    for key in 0..board.keys() {
        let name = clients::key_name(tag, key);
        let reply = connection
            .call(&[b"GET", name.as_bytes()])
            .map_err(|error| failed(format!("does not answer: {error}")))?;
        if let Reply::Error(error) = &reply {
            return Err(TourError::Check {
                check: "target-serves",
                expected: format!("the target's value of {name}"),
                got: error.clone(),
            });
        }
        let got = clients::number_of(&reply)
            .ok_or_else(|| failed(format!("answered GET {name} with {reply:?}")))?;
        observed.look(&name, board.acknowledged(key), got, TARGET_AT);
    }
    Ok(())
}

fn report(moved: &Moved, time: Duration, observed: &Observed, searches: u64) -> Migration {
    let [before, during, after] = &observed.latency;
    let millis = |time: Duration| (time.as_secs_f64() * 1e6).round() / 1e3;
    Migration {
        keys: moved.keys,
        keys_per_s: per_second(moved.keys, time),
        #[expect(clippy::cast_precision_loss, reason = "a rate for a person")]
        mb_per_s: (moved.bytes as f64 / time.as_secs_f64().max(1e-9) / 1e4).round() / 100.0,
        rounds: moved.rounds,
        millis: millis(time),
        write_blackout_ms: millis(observed.write_gap),
        read_blackout_ms: millis(observed.read_gap),
        server_blackout_ms: moved.blackout_ms,
        acknowledged_writes: observed.writes,
        reads: observed.reads,
        lost_writes: observed.lost,
        stale_reads: observed.stale,
        searches,
        moved: observed.moved,
        retries: observed.retries,
        p50_us_before: before.value_at_quantile(0.5),
        p99_us_before: before.value_at_quantile(0.99),
        max_us_before: before.max(),
        p50_us_during: during.value_at_quantile(0.5),
        p99_us_during: during.value_at_quantile(0.99),
        max_us_during: during.max(),
        p50_us_after: after.value_at_quantile(0.5),
        p99_us_after: after.value_at_quantile(0.99),
        max_us_after: after.max(),
    }
}

fn show(tour: &Tour) {
    let Some(migration) = &tour.report.migration else { return };
    tour.screen.say(&format!(
        "moved {} keys in {:.0} ms: {} keys/s, {:.1} MB/s, catch-up rounds: {}",
        grouped(migration.keys),
        migration.millis,
        grouped(migration.keys_per_s),
        migration.mb_per_s,
        migration.rounds
    ));
    tour.screen.say(&format!(
        "blackout as clients saw it: writes {:.1} ms, reads {:.1} ms; the server's own figure: \
         {:.1} ms",
        migration.write_blackout_ms, migration.read_blackout_ms, migration.server_blackout_ms
    ));
    migration.latency(tour.screen);
    tour.screen.say(&format!(
        "{} acknowledged writes, {} lost; {} reads, {} stale; {} searches of the \
         moving partition, all right; {} redirections followed",
        grouped(migration.acknowledged_writes),
        migration.lost_writes,
        grouped(migration.reads),
        migration.stale_reads,
        grouped(migration.searches),
        migration.moved
    ));
}

/// Fails when a write was lost, a read was stale, or the clients saw no move at all.
fn verdict(tour: &Tour, observed: &Observed) -> Result<(), TourError> {
    let words = |first: &Option<String>| first.clone().unwrap_or_default();
    let failed = |check, expected: &str, got| {
        Err(TourError::Check { check, expected: expected.to_owned(), got })
    };
    if observed.lost > 0 {
        let got = format!("{} lost; the first: {}", observed.lost, words(&observed.first_lost));
        return failed("lost-writes", "every acknowledged write served by the target", got);
    }
    if observed.stale > 0 {
        let got = format!("{} stale; the first: {}", observed.stale, words(&observed.first_stale));
        return failed("stale-reads", "no read behind an acknowledged write", got);
    }
    if observed.moved < CLIENTS as u64 {
        let got = format!("{} redirections for {CLIENTS} clients", observed.moved);
        return failed("clients-moved", "every client sent to the target", got);
    }
    tour.screen.say("no acknowledged write was lost, no read was stale");
    Ok(())
}

/// Asks the target itself the questions of step 2; the records of the backup give the answers.
fn ask_target(
    tour: &Tour,
    target: SocketAddr,
    asked: &[(Question, Answer)],
) -> Result<(), TourError> {
    let failed = |cause: String| TourError::Node { node: TARGET, cause };
    let mut connection =
        Connection::open(target).map_err(|error| failed(format!("cannot be reached: {error}")))?;
    for (question, expected) in asked {
        let words = remote::words(&tour.table, question);
        let words: Vec<&[u8]> = words.iter().map(String::as_bytes).collect();
        let reply =
            connection.call(&words).map_err(|error| failed(format!("does not answer: {error}")))?;
        let got = remote::answer(&tour.table, question, &reply)
            .ok_or_else(|| failed(format!("answered {:?} with {reply:?}", question.title)))?;
        queries::compare("migrated-partition", question, expected, &got)?;
    }
    tour.screen.say(&format!(
        "the target answers all {} questions of step 2 as the records say, nothing was indexed \
         again",
        asked.len()
    ));
    Ok(())
}
