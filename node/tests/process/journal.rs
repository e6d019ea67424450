//! Goal: a node with a journal that is killed at any moment serves every acknowledged write when it comes
//! back, and no half of a batch; slots that moved away do not come back, slots that came stay.
//!
//! Method: clients write growing numbers over several connections (SET, MSET of eight keys, SET and DEL
//! by turns) while checkpoints are made; SIGKILL at a random moment; the node starts again in the same
//! directory, and every key is judged by what was sent and what was acknowledged. `ci/kill.sh` runs many
//! rounds; `WHIMBREL_KILL_ROUNDS` and `WHIMBREL_KILL_SEED` say how many, and from where.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use redis_protocol::resp2::types::OwnedFrame;
use tempfile::tempdir;
use whimbrel_node::client::Client;

use crate::common::{Node, PATIENCE, arg, cli, whimbrel_fails};

/// Connections that write.
const WRITERS: u64 = 4;
/// Keys that each of them sets.
const KEYS: u64 = 40;
/// Keys of a batch.
const BATCH: u64 = 8;
/// Rounds where nobody says how many.
const ROUNDS: u64 = 6;

/// What a writer has sent and what was acknowledged. Numbers grow; one writer writes a key.
#[derive(Clone, Debug)]
struct Writer {
    number: u64,
    /// Of each key: the newest acknowledged number, and the newest sent.
    keys: Vec<(u64, u64)>,
    batch: (u64, u64),
    /// The toggled key: numbers that are odd set it, even ones delete it.
    toggle: (u64, u64),
}

impl Writer {
    fn new() -> Self {
        let keys = vec![(0, 0); usize::try_from(KEYS).expect("small")];
        Self { number: 0, keys, batch: (0, 0), toggle: (0, 0) }
    }
}

fn key(writer: u64, at: u64) -> String {
    format!("{{w{writer}-{}}}:{at}", at % 7)
}

fn batch_key(writer: u64, at: u64) -> String {
    format!("{{batch{writer}}}:{at}")
}

fn toggled(writer: u64) -> String {
    format!("toggled{writer}")
}

/// Writes until the node dies; answers how many writes were acknowledged.
fn write(address: &str, me: u64, writer: &mut Writer, dead: &AtomicBool) -> u64 {
    let mut acknowledged = 0;
    let Ok(mut client) = Client::connect(address) else { return 0 };
    let mut call = |request: &[&[u8]]| client.call(request).is_ok();
    // ORDERING: Relaxed; a lone flag.
    while !dead.load(Ordering::Relaxed) {
        writer.number += 1;
        let number = writer.number;
        let text = number.to_string();
        let value = text.as_bytes();
        let done = match number % 4 {
            0 => {
                let keys: Vec<String> = (0..BATCH).map(|at| batch_key(me, at)).collect();
                let mut request: Vec<&[u8]> = vec![b"MSET"];
                keys.iter().for_each(|key| request.extend([key.as_bytes(), value]));
                writer.batch.1 = number;
                let done = call(&request);
                if done {
                    writer.batch.0 = number;
                }
                done
            }
            1 => {
                let next = writer.toggle.1 + 1;
                writer.toggle.1 = next;
                let key = toggled(me);
                let number = next.to_string();
                let done = if next % 2 == 1 {
                    call(&[b"SET", key.as_bytes(), number.as_bytes()])
                } else {
                    call(&[b"DEL", key.as_bytes()])
                };
                if done {
                    writer.toggle.0 = next;
                }
                done
            }
            _ => {
                let at = number % KEYS;
                let place = &mut writer.keys[usize::try_from(at).expect("small")];
                place.1 = number;
                let done = call(&[b"SET", key(me, at).as_bytes(), value]);
                if done {
                    place.0 = number;
                }
                done
            }
        };
        if !done {
            return acknowledged;
        }
        acknowledged += 1;
    }
    acknowledged
}

fn get(client: &mut Client, key: &str) -> u64 {
    match client.call(&[b"GET", key.as_bytes()]).expect("the node serves") {
        OwnedFrame::BulkString(bytes) => {
            let text = String::from_utf8(bytes).expect("a number was written");
            text.parse().expect("a number was written")
        }
        _ => 0,
    }
}

/// Every key holds what was acknowledged last, or what was sent after it; a batch is whole.
fn judge(address: &str, writers: &mut [Writer]) {
    let mut client = Client::connect(address).expect("the node serves");
    client.set_timeout(Some(PATIENCE)).expect("a timeout");
    for (me, writer) in (0..).zip(writers) {
        for (at, (acknowledged, sent)) in (0..).zip(&mut writer.keys) {
            let served = get(&mut client, &key(me, at));
            assert!(
                served == *acknowledged || served == *sent,
                "key {at} of {me}: {acknowledged} acknowledged, {sent} sent, {served} served"
            );
            (*acknowledged, *sent) = (served, served);
        }
        let batch: Vec<u64> = (0..BATCH).map(|at| get(&mut client, &batch_key(me, at))).collect();
        assert!(batch.iter().all(|number| *number == batch[0]), "half a batch of {me}: {batch:?}");
        let (acknowledged, sent) = writer.batch;
        assert!(
            batch[0] == acknowledged || batch[0] == sent,
            "batch of {me}: {acknowledged} acknowledged, {sent} sent, {} served",
            batch[0]
        );
        writer.batch = (batch[0], batch[0]);
        let served = get(&mut client, &toggled(me));
        let (acknowledged, sent) = writer.toggle;
        let shows = |number: u64| if number % 2 == 1 { number } else { 0 };
        let newest = [sent, acknowledged].into_iter().find(|number| shows(*number) == served);
        let newest = newest.unwrap_or_else(|| {
            panic!("toggled {me}: {acknowledged} acknowledged, {sent} sent, {served} served")
        });
        writer.toggle = (newest, newest);
    }
}

/// Small numbers that look random, the same in every run of a seed.
fn scramble(seed: u64) -> u64 {
    let mut x = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

/// One life of a node: writes, perhaps checkpoints, death. Answers what was acknowledged.
fn life(node: &mut Node, writers: &mut [Writer], seed: u64) -> u64 {
    let dead = AtomicBool::new(false);
    let total = AtomicU64::new(0);
    let address = node.address().to_owned();
    thread::scope(|scope| {
        for (me, writer) in (0..).zip(writers.iter_mut()) {
            let (address, dead, total) = (&address, &dead, &total);
            scope.spawn(move || {
                let acknowledged = write(address, me, writer, dead);
                // ORDERING: Relaxed; read when the threads have ended.
                total.fetch_add(acknowledged, Ordering::Relaxed);
            });
        }
        if seed.is_multiple_of(2) {
            let (address, dead) = (&address, &dead);
            scope.spawn(move || {
                let Ok(mut client) = Client::connect(address) else { return };
                // ORDERING: Relaxed; a lone flag.
                while !dead.load(Ordering::Relaxed) && client.call(&[b"WCHECKPOINT"]).is_ok() {}
            });
        }
        thread::sleep(Duration::from_micros(5_000 + scramble(seed) % 250_000));
        node.kill();
        // ORDERING: Relaxed; a lone flag.
        dead.store(true, Ordering::Relaxed);
    });
    // ORDERING: Relaxed; the threads have ended.
    total.load(Ordering::Relaxed)
}

#[test]
fn a_killed_node_has_every_acknowledged_write_when_it_comes_back() {
    let rounds = setting("WHIMBREL_KILL_ROUNDS", ROUNDS);
    let first = setting("WHIMBREL_KILL_SEED", 0);
    let folder = tempdir().expect("a temporary folder");
    let mut writers: Vec<Writer> = (0..WRITERS).map(|_| Writer::new()).collect();
    let (mut acknowledged, begun) = (0, Instant::now());
    for round in 0..rounds {
        // A killed process loses nothing under any policy; `always` most often.
        let policy = ["always", "always", "always", "interval:5", "never"];
        let policy = policy[usize::try_from(round % 5).expect("small")];
        let args = ["--data", arg(folder.path()), "--journal", policy, "--checkpoint-mib", "1"];
        let mut node = Node::start(&args);
        judge(node.address(), &mut writers);
        let count = life(&mut node, &mut writers, first + round);
        acknowledged += count;
        if rounds <= ROUNDS || round % 50 == 0 {
            println!("round {round}: {policy}, {count} writes acknowledged");
        }
    }
    let node = Node::start(&["--data", arg(folder.path()), "--journal", "always"]);
    judge(node.address(), &mut writers);
    println!(
        "kills={rounds} acknowledged={acknowledged} lost=0 half_batches=0 seconds={:.1}",
        begun.elapsed().as_secs_f64()
    );
    assert!(acknowledged > rounds, "the node served hardly anything");
}

/// Stopped in order, and started again: with the journal alone, with a checkpoint, with both.
#[test]
fn a_restart_finds_what_journal_and_checkpoint_hold() {
    let folder = tempdir().expect("a temporary folder");
    let args = ["--data-dir", arg(folder.path()), "--journal", "always"];
    let node = Node::start(&args);
    assert_eq!(cli(node.port(), &["-c", "mset", "{a}1", "x", "{a}2", "y"]), "OK");
    assert_eq!(cli(node.port(), &["set", "b", "1"]), "OK");
    node.stop();

    let node = Node::start(&args);
    assert_eq!(cli(node.port(), &["mget", "{a}1", "{a}2"]), "x\ny");
    assert_eq!(cli(node.port(), &["del", "{a}1"]), "1");
    let report = cli(node.port(), &["wcheckpoint"]);
    assert!(report.contains("\"entries\":2"), "{report}");
    assert_eq!(cli(node.port(), &["set", "b", "2"]), "OK");
    node.stop();

    let node = Node::start(&args);
    assert_eq!(cli(node.port(), &["mget", "{a}1", "{a}2"]), "\ny");
    assert_eq!(cli(node.port(), &["get", "b"]), "2");
    assert_eq!(cli(node.port(), &["dbsize"]), "2");
    let status = cli(node.port(), &["wstatus"]);
    assert!(status.contains("\"failure\":null"), "{status}");
}

#[test]
fn what_does_not_go_together_is_refused_with_a_reason() {
    let said = whimbrel_fails(2, &["serve", "--listen", "127.0.0.1:0", "--journal", "always"]);
    assert!(said.contains("--data-dir"), "{said}");
    let folder = tempdir().expect("a temporary folder");
    let dir = arg(folder.path());
    let serve = ["serve", "--listen", "127.0.0.1:0", "--data-dir", dir];
    let with = |more: &[&'static str]| [&serve[..], more].concat();
    let node = Node::start(&["--data-dir", dir, "--journal", "never"]);
    assert_eq!(cli(node.port(), &["set", "a", "1"]), "OK");
    // A second node in the same directory.
    let said = whimbrel_fails(4, &with(&["--journal", "never"]));
    assert!(said.contains("in use by another process"), "{said}");
    let backup = folder.path().join("backup");
    let answer = cli(node.port(), &["wbackup", arg(&backup)]);
    assert!(answer.contains("\"entries\":1"), "{answer}");
    node.stop();
    let said = whimbrel_fails(3, &with(&[]));
    assert!(said.contains("holds a journal"), "{said}");
    let restore = [&serve[..], &["--journal", "always", "--restore", arg(&backup)]].concat();
    let said = whimbrel_fails(3, &restore);
    assert!(said.contains("leave --restore out"), "{said}");

    // Into an empty directory it is loaded, and kept.
    let other = tempdir().expect("a temporary folder");
    let args = ["--data-dir", arg(other.path()), "--journal", "always"];
    let node = Node::start(&[&args[..], &["--restore", arg(&backup)]].concat());
    assert_eq!(cli(node.port(), &["set", "b", "2"]), "OK");
    drop(node);
    let node = Node::start(&args);
    assert_eq!(cli(node.port(), &["get", "a"]), "1");
    assert_eq!(cli(node.port(), &["get", "b"]), "2");
    drop(node);

    // A byte of the first record is damaged, and a later one proves that it was durable.
    let segment = other.path().join("journal").join("journal-0000000001");
    let mut bytes = std::fs::read(&segment).expect("the first segment is there");
    let last = bytes.len() - 1;
    bytes[last.min(63)] ^= 1;
    std::fs::write(&segment, bytes).expect("it can be written");
    let args = [&["serve", "--listen", "127.0.0.1:0"][..], &args].concat();
    let said = whimbrel_fails(3, &args);
    assert!(said.contains("journal-0000000001, byte 0"), "{said}");
}

/// A slot goes to another node and back; both nodes die at the worst moments.
#[test]
fn slots_that_moved_stay_where_they_are_through_deaths() {
    let folder = tempdir().expect("a temporary folder");
    let map = folder.path().join("slots");
    let dirs = ["source", "target"].map(|name| folder.path().join(name));
    let start = |at: usize, listen: &str, own: &str| {
        let args = ["--slot-map", arg(&map), "--data-dir", arg(&dirs[at]), "--journal", "always"];
        Node::start_at(listen, &[&args[..], &["--own", own]].concat())
    };
    let mut source = start(0, "127.0.0.1:0", "0-16383");
    let mut target = start(1, "127.0.0.1:0", "none");
    let (first, second) = (source.address().to_owned(), target.address().to_owned());
    let mut client = Client::connect(&first).expect("the source serves");
    for number in 0..500_u32 {
        let key = format!("{{moving}}:{number}");
        client.call(&[b"SET", key.as_bytes(), b"1"]).expect("the source serves");
    }
    migrate(&first, &second);
    set(&second, "{moving}:0", "2");
    // The target dies with the only copy; the source forgets what it gave away.
    target.kill();
    source.kill();
    let mut source = start(0, &first, "none");
    assert!(cli(source.port(), &["get", "{moving}:0"]).starts_with("MOVED"));
    let mut target = start(1, &second, "none");
    assert_eq!(cli(target.port(), &["get", "{moving}:0"]), "2");
    assert_eq!(cli(target.port(), &["dbsize"]), "500");

    // Back again, shorter by a key, with a checkpoint in between at the source.
    assert_eq!(cli(target.port(), &["del", "{moving}:1"]), "1");
    assert!(cli(source.port(), &["wcheckpoint"]).contains("\"entries\":0"));
    migrate(&second, &first);
    set(&first, "{moving}:0", "3");
    source.kill();
    target.kill();
    let source = start(0, &first, "none");
    assert_eq!(cli(source.port(), &["get", "{moving}:0"]), "3");
    assert_eq!(
        cli(source.port(), &["get", "{moving}:1"]),
        "",
        "what was deleted elsewhere is back"
    );
    assert_eq!(cli(source.port(), &["dbsize"]), "499");
    let target = start(1, &second, "none");
    assert!(cli(target.port(), &["get", "{moving}:0"]).starts_with("MOVED"));
    assert_eq!(cli(target.port(), &["dbsize"]), "0");
}

fn set(address: &str, key: &str, value: &str) {
    let mut client = Client::connect(address).expect("the node serves");
    client.call(&[b"SET", key.as_bytes(), value.as_bytes()]).expect("the node owns the slot");
}

/// Moves the slot of `{moving}` and waits until it has moved.
fn migrate(from: &str, to: &str) {
    let mut client = Client::connect(from).expect("the node serves");
    let slot = whimbrel_migrate::slot_of(b"moving").to_string();
    client
        .call(&[b"WMIGRATE", b"START", slot.as_bytes(), to.as_bytes()])
        .expect("the migration begins");
    let deadline = Instant::now() + PATIENCE;
    loop {
        let status = client
            .call_json(&[b"WMIGRATE", b"STATUS", slot.as_bytes()])
            .expect("there is a migration");
        match status["state"].as_str() {
            Some("done") => return,
            Some("running") if Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(10));
            }
            _ => panic!("{status}"),
        }
    }
}
