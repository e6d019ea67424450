//! Goal: real threads that insert, remove, look up and walk beside each other never lose, double or
//! misplace a record, never see one in a state that it did not have, and leave nothing behind.
//! Method: keys and cells encode their history. A key has one owner, who says before and after each
//! change how often the key has changed; whoever looks knows from that which states the key may have
//! had meanwhile (`history.rs`). Keys that all threads fight for are counted instead (`contest.rs`).
//! Afterwards the structure is audited, all that was retired is reclaimed, and a counting allocator
//! has every byte back (`harness.rs`).
//!
//! `STRESS_SECONDS` is the length of each test. `ci/stress.sh` runs them with random delays at the
//! atomic accesses of the list, `ci/san.sh` under AddressSanitizer.

mod contest;
mod harness;
mod history;

use harness::{BLOCK, SHAPES, run};
use history::Work;
use whimbrel_skiplist::sync::Arc;
use whimbrel_skiplist::{Barrier, FindOrInsert, List, SEALED};

/// Keys in a wide range come and go; phases of growth and of shrinking.
#[test]
fn many_keys() {
    history::test("many keys", 3_000, &[Work::Random; 4]);
}

/// Few keys: blocks come and go.
#[test]
fn few_keys() {
    history::test("few keys", 20, &[Work::Random; 4]);
}

#[test]
fn ascending_from_several_threads() {
    history::test("ascending", 2_000, &[Work::Ascending; 4]);
}

#[test]
fn descending_from_several_threads() {
    history::test("descending", 2_000, &[Work::Descending; 4]);
}

/// Two threads fill and empty ranges as a whole, two come and go at their edges.
#[test]
fn ranges_go_while_others_insert_at_the_edges() {
    let work = [Work::Ranges, Work::Edges, Work::Ranges, Work::Edges];
    history::test("ranges and edges", 400, &work);
}

#[test]
fn one_hot_key() {
    contest::test("one hot key", |_| 1);
}

/// As many keys as make one block: it is rebuilt, split and merged all the time, between neighbours that
/// stay.
#[test]
fn one_hot_block() {
    contest::test("one hot block", |shape| shape.fill[0]);
}

/// Memory comes back while the list is in use, not only at its end.
#[test]
fn reclamation_keeps_up() {
    const ROUNDS: u64 = 20_000;
    run(|| {
        let mut list = List::with_shape(Arc::new(Barrier::new()), SHAPES[BLOCK]);
        for round in 0..ROUNDS {
            let g = list.barrier().pin();
            let key = (round % 64).to_be_bytes();
            let made = list.find_or_insert(&key, 16, |_| 8 + (round << 3), &g).expect("short");
            let FindOrInsert::Inserted(record) = made else { panic!("it was removed") };
            record.cell().store(SEALED, std::sync::atomic::Ordering::Release);
            list.unlink_sealed(record, &g);
        }
        let stats = list.barrier().stats();
        assert!(stats.retired > ROUNDS - 64, "dead records stay: {stats:?}");
        assert!(stats.retired - stats.reclaimed < 1_000, "{stats:?}");
        harness::check_end(&mut list, 0);
        format!("reclamation keeps up: retired={}", stats.retired)
    });
}
