//! Goal: a thread that stops for ever, at whatever step of whatever operation, keeps no other thread
//! from completing its operations, with right answers, within a bounded number of their own steps.
//! Method: a scheduler lets one thread make k atomic accesses of an operation and never chooses it
//! again; three others do a fixed set of operations around the same keys; for every k until the
//! operation ends before it is stopped. In the end, when all is checked, the thread goes on, and the
//! structure and the memory are audited. Two planted defects, a lock around operations and a wait for
//! another thread's decision, show that the test can fail.
#![cfg(whimbrel_shuttle)]

use std::ops::{Bound, ControlFlow};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use shuttle::{FailurePersistence, Runner, thread};
use whimbrel_shuttle_tests::{Mode, Stop, StopScheduler, config, mutant};
use whimbrel_skiplist::model::{Mutant, allocated, begin, plant};
use whimbrel_skiplist::sync::atomic::Ordering;
use whimbrel_skiplist::sync::{Arc, Mutex};
use whimbrel_skiplist::{Barrier, FindOrInsert, Guard, List, SEALED, Shape};

/// Own steps that one operation of another thread may take. The longest that was seen has a third.
const BOUND: u64 = 3_000;

/// Keys that stay.
const STAY: [u8; 8] = [10, 30, 50, 70, 90, 110, 130, 150];

/// The key of the operation that is stopped, where it inserts.
const NEW: u8 = 75;

const NARROW: Shape = Shape { words: [3, 3], fill: [2, 2], levels: 6 };
const WIDE: Shape = Shape { words: [8, 4], fill: [6, 3], levels: 4 };

/// An operation that is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Op {
    Insert(u8),
    Remove(u8),
    Walk,
    WalkBack,
    Find,
    FindMany,
    Flush,
}

/// What an operation must do when nobody disturbs it, so that each is what its name says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    /// Nothing is retired.
    Nothing,
    /// One block is retired, and the list grows by one block of level 0.
    Split,
    /// One block is retired, and the list grows by blocks of two levels.
    Growth,
    /// A block and its dead records are retired, another block takes its place.
    Compaction,
    /// Two blocks are retired, one takes their place.
    Merge,
}

#[derive(Debug, Clone, Copy)]
struct Scene {
    name: &'static str,
    shape: Shape,
    /// Keys that are inserted in this order.
    setup: &'static [u8],
    /// Keys that are removed again.
    removed: &'static [u8],
    op: Op,
    effect: Effect,
}

fn put(list: &List, key: u8, g: &Guard<'_>) -> bool {
    let made = list.find_or_insert(&[key], 0, |_| cell_of(key), g).expect("short");
    assert_eq!(made.record().key(), [key]);
    matches!(made, FindOrInsert::Inserted(_))
}

fn cell_of(key: u8) -> u64 {
    (u64::from(key) << 8) | 4
}

fn find(list: &List, key: u8, g: &Guard<'_>) -> bool {
    let found = list.find(&[key], g);
    if let Some(record) = found {
        let cell = record.cell().load(Ordering::Acquire);
        assert!(cell == SEALED || cell == cell_of(key), "{key} has a wrong cell");
    }
    found.is_some()
}

fn remove(list: &List, key: u8, g: &Guard<'_>) -> bool {
    let Some(record) = list.find(&[key], g) else { return false };
    let sealed = record.cell().swap(SEALED, Ordering::AcqRel) != SEALED;
    list.unlink_sealed(record, g);
    sealed
}

fn keys(list: &List, back: bool, g: &Guard<'_>) -> Vec<u8> {
    let mut keys = Vec::new();
    let note = |record: whimbrel_skiplist::Record<'_>| {
        keys.push(record.key()[0]);
        ControlFlow::Continue(())
    };
    if back {
        list.walk_back(Bound::Unbounded, g, note);
        keys.reverse();
    } else {
        list.walk(Bound::Unbounded, g, note);
    }
    assert!(keys.windows(2).all(|pair| pair[0] < pair[1]), "not ascending: {keys:?}");
    keys
}

fn find_many(list: &List, wanted: &[u8], g: &Guard<'_>) -> Vec<u8> {
    let slices: Vec<&[u8]> = wanted.iter().map(std::slice::from_ref).collect();
    let mut found = Vec::new();
    list.find_many(&slices, g, |at, record| {
        if let Some(record) = record {
            assert_eq!(record.key(), slices[at]);
            found.push(wanted[at]);
        }
    });
    found
}

impl Scene {
    fn make(&self) -> List {
        let list = List::with_shape(Arc::new(Barrier::new()), self.shape);
        for key in self.setup {
            assert!(put(&list, *key, &list.barrier().pin()));
        }
        for key in self.removed {
            assert!(remove(&list, *key, &list.barrier().pin()));
        }
        list
    }

    /// Keys that nobody removes, of those in the list at the beginning.
    fn stays(&self) -> Vec<u8> {
        let mut stays = self.setup.to_vec();
        stays.retain(|key| STAY.contains(key) && !self.removed.contains(key));
        stays.sort_unstable();
        stays
    }

    /// The operation, in a session of its own.
    fn apply(&self, list: &List) {
        if self.op == Op::Flush {
            return list.barrier().flush();
        }
        let g = list.barrier().pin();
        match self.op {
            Op::Insert(key) => assert!(put(list, key, &g) || key == NEW),
            Op::Remove(key) => assert!(remove(list, key, &g)),
            Op::Walk | Op::WalkBack => {
                let seen = keys(list, self.op == Op::WalkBack, &g);
                assert!(self.stays().iter().all(|key| seen.contains(key)), "{seen:?}");
            }
            Op::Find => assert!(find(list, 70, &g)),
            Op::FindMany => assert!(find_many(list, &STAY, &g).len() >= self.stays().len()),
            Op::Flush => unreachable!(),
        }
    }

    /// Checks that the operation is what the name says.
    fn check_effect(&self) {
        // The sizes of blocks: header, hints, words.
        let list = self.make();
        list.barrier().flush();
        let (bytes, before) = (list.bytes(), list.barrier().stats());
        self.apply(&list);
        let retired = list.barrier().stats().retired - before.retired;
        let grown =
            i64::try_from(list.bytes()).expect("small") - i64::try_from(bytes).expect("small");
        let block = i64::try_from(48 + 64 + 8 * self.shape.words[0]).expect("small");
        let upper = i64::try_from(48 + 128 + 16 * self.shape.words[1]).expect("small");
        let (name, change) = (self.name, (retired, grown));
        match self.effect {
            Effect::Nothing => assert!(retired == 0 && grown < block, "{name}: {change:?}"),
            Effect::Split => {
                let one = grown >= block && grown < block + upper;
                assert!(retired == 1 && one, "{name}: {change:?}");
            }
            Effect::Growth => {
                assert!(retired == 1 && grown >= block + upper, "{name}: {change:?}");
            }
            Effect::Compaction => {
                assert!(retired >= 2 && grown < 0 && -grown < block, "{name}: {change:?}");
            }
            Effect::Merge => assert!(retired >= 3 && -grown >= block, "{name}: {change:?}"),
        }
    }
}

/// What the three others do around the stopped thread. All answers are checked.
fn others_work(scene: &Scene, list: &List, number: u8, stop: &Stop, lock: Option<&Mutex<()>>) {
    let stays = scene.stays();
    let own = [71 + number, 31 + number, 151 + number, 1 + number];
    let operation = |f: &mut dyn FnMut(&Guard<'_>)| {
        stop.begin_operation();
        let held = lock.map(|lock| lock.lock().expect("not poisoned"));
        let g = list.barrier().pin();
        f(&g);
        drop(g);
        list.barrier().flush();
        drop(held);
    };
    for key in own {
        operation(&mut |g| assert!(put(list, key, g), "{key} was there"));
        operation(&mut |g| assert!(find(list, key, g), "{key} is lost"));
    }
    operation(&mut |g| assert!(stays.iter().all(|key| find(list, *key, g))));
    for back in [false, true] {
        operation(&mut |g| {
            let seen = keys(list, back, g);
            assert!(stays.iter().chain(&own).all(|key| seen.contains(key)), "{seen:?}");
        });
    }
    // The very key of the operation: who has inserted it finds it from then on.
    operation(&mut |g| {
        put(list, NEW, g);
    });
    operation(&mut |g| assert!(find(list, NEW, g)));
    operation(&mut |g| {
        let wanted: Vec<u8> = stays.iter().chain(&own).copied().collect();
        assert_eq!(find_many(list, &wanted, g), wanted);
    });
    for key in own {
        operation(&mut |g| assert!(remove(list, key, g), "{key} is lost"));
        operation(&mut |g| assert!(!find(list, key, g), "{key} is there again"));
    }
    operation(&mut |g| assert!(put(list, own[0], g)));
}

/// One execution. Returns nothing: what it finds out is in `stop`.
fn execute(scene: Scene, stop: &std::sync::Arc<Stop>, locked: bool) {
    let list = Arc::new(scene.make());
    let lock = Arc::new(locked.then(|| Mutex::new(())));
    let victim = {
        let (list, lock, stop) =
            (Arc::clone(&list), Arc::clone(&lock), std::sync::Arc::clone(stop));
        thread::spawn(move || {
            let held = (*lock).as_ref().map(|lock| lock.lock().expect("not poisoned"));
            scene.apply(&list);
            drop(held);
            stop.end();
        })
    };
    let others: Vec<_> = (0..3)
        .map(|number| {
            let (list, lock, stop) =
                (Arc::clone(&list), Arc::clone(&lock), std::sync::Arc::clone(stop));
            thread::spawn(move || others_work(&scene, &list, number, &stop, (*lock).as_ref()))
        })
        .collect();
    others.into_iter().for_each(|other| other.join().expect("no panic"));
    check_content(&scene, &list);
    stop.go_on();
    victim.join().expect("no panic");
    check_content(&scene, &list);
    let mut list = Arc::into_inner(list).expect("the threads are gone");
    let barrier = Arc::clone(list.barrier());
    assert_eq!(list.audit(), list.len_estimate());
    barrier.flush();
    barrier.flush();
    let stats = barrier.stats();
    assert_eq!(stats.retired, stats.reclaimed, "something is stranded: {stats:?}");
    drop((list, barrier));
    assert_eq!(allocated(), 0, "blocks or records were leaked");
}

/// What is there when the others are done: exactly what they left, but for the key of a removal that
/// is stopped.
fn check_content(scene: &Scene, list: &List) {
    let g = list.barrier().pin();
    let mut expected = scene.setup.to_vec();
    expected.retain(|key| !scene.removed.contains(key));
    expected.extend([NEW, 71, 72, 73]);
    expected.sort_unstable();
    let uncertain = if let Op::Remove(key) = scene.op { Some(key) } else { None };
    expected.retain(|key| Some(*key) != uncertain);
    for back in [false, true] {
        let mut seen = keys(list, back, &g);
        seen.retain(|key| Some(*key) != uncertain);
        assert_eq!(seen, expected);
    }
    assert!(expected.iter().all(|key| find(list, *key, &g)));
}

/// Stops the operation at every step, once for each seed; returns the stops and the most own steps
/// of an operation of another thread.
fn stop_everywhere(
    scene: Scene,
    mode: Mode,
    seed: u64,
    locked: bool,
    mutant: Option<Mutant>,
) -> (u64, u64) {
    let (mut stops, mut most) = (0, 0);
    for after in 0.. {
        let stop = Stop::new(mode, after, BOUND);
        let shared = std::sync::Arc::clone(&stop);
        let stopped = std::sync::Arc::new(AtomicU64::new(0));
        let count = std::sync::Arc::clone(&stopped);
        let mut config = config();
        if locked || mutant.is_some() {
            config.failure_persistence = FailurePersistence::None;
        }
        let scheduler = StopScheduler::new(std::sync::Arc::clone(&stop), seed + after * 1000);
        Runner::new(scheduler, config).run(move || {
            begin();
            plant(mutant);
            execute(scene, &shared, locked);
            count.fetch_add(u64::from(shared.was_stopped()), Relaxed);
        });
        most = most.max(stop.most_steps());
        stops += stopped.load(Relaxed);
        if stopped.load(Relaxed) == 0 {
            return (stops, most);
        }
    }
    unreachable!("operations end")
}

const SCENES: &[Scene] = &[
    Scene {
        name: "insert into a free word",
        shape: WIDE,
        setup: &[10, 30, 50, 70],
        removed: &[],
        op: Op::Insert(NEW),
        effect: Effect::Nothing,
    },
    Scene {
        name: "insert that splits",
        shape: NARROW,
        setup: &[10, 30, 50, 70, 90],
        removed: &[],
        op: Op::Insert(NEW),
        effect: Effect::Split,
    },
    Scene {
        name: "insert that grows a level",
        shape: NARROW,
        setup: &[10, 70, 130],
        removed: &[],
        op: Op::Insert(NEW),
        effect: Effect::Growth,
    },
    Scene {
        name: "remove that compacts",
        shape: WIDE,
        setup: &[10, 30, 40, 50, 60, 70, 80],
        removed: &[60],
        op: Op::Remove(80),
        effect: Effect::Compaction,
    },
    Scene {
        name: "remove that merges",
        shape: NARROW,
        setup: &[10, 30, 50, 70, 80, 90],
        removed: &[90],
        op: Op::Remove(80),
        effect: Effect::Merge,
    },
    Scene {
        name: "walk",
        shape: NARROW,
        setup: &[10, 30, 50, 70, 90, 110],
        removed: &[],
        op: Op::Walk,
        effect: Effect::Nothing,
    },
    Scene {
        name: "walk back",
        shape: NARROW,
        setup: &[10, 30, 50, 70, 90, 110],
        removed: &[],
        op: Op::WalkBack,
        effect: Effect::Nothing,
    },
    Scene {
        name: "find",
        shape: NARROW,
        setup: &[10, 30, 50, 70, 90, 110],
        removed: &[],
        op: Op::Find,
        effect: Effect::Nothing,
    },
    Scene {
        name: "find_many",
        shape: NARROW,
        setup: &[10, 30, 50, 70, 90, 110],
        removed: &[],
        op: Op::FindMany,
        effect: Effect::Nothing,
    },
    Scene {
        name: "flush of the barrier",
        shape: NARROW,
        setup: &[10, 30, 50, 70, 90, 110],
        removed: &[],
        op: Op::Flush,
        effect: Effect::Nothing,
    },
];

#[test]
fn others_complete_wherever_a_thread_stops() {
    let seeds: u64 = std::env::var("STOP_SEEDS").map_or(2, |text| text.parse().expect("a number"));
    let begin = std::time::Instant::now();
    let (mut stops, mut most) = (0, 0);
    shuttle::check_random(|| SCENES.iter().for_each(Scene::check_effect), 1);
    for scene in SCENES {
        let mut here = (0, 0);
        for mode in [Mode::First, Mode::Beside] {
            for seed in 1..=seeds {
                let (n, steps) = stop_everywhere(*scene, mode, seed, false, mutant());
                here = (here.0 + n, here.1.max(steps));
            }
        }
        println!(
            "{}: stopped at {} points, others needed {} steps at most",
            scene.name, here.0, here.1
        );
        (stops, most) = (stops + here.0, most.max(here.1));
    }
    println!(
        "stops={stops} seeds={seeds} most_steps={most} bound={BOUND} seconds={:.1}",
        begin.elapsed().as_secs_f64()
    );
}

/// How the test fails for a scene, if it does. On a thread of its own: what a failed execution leaves
/// behind ends with it.
fn failure(scene: &'static Scene, locked: bool, mutant: Option<Mutant>) -> Option<String> {
    let run = move || stop_everywhere(*scene, Mode::First, 1, locked, mutant);
    let payload = std::thread::spawn(run).join().err()?;
    let text = payload.downcast_ref::<String>().cloned();
    Some(text.or(payload.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default())
}

#[test]
fn a_lock_around_operations_is_found() {
    for scene in SCENES {
        let failure = failure(scene, true, None).expect("it is found");
        assert_eq!(failure, "all others wait for the thread that is stopped", "{}", scene.name);
    }
}

#[test]
fn a_wait_for_the_decision_of_another_thread_is_found() {
    for scene in SCENES {
        let failure = failure(scene, false, Some(Mutant::DecisionAwaited));
        if scene.effect == Effect::Nothing {
            assert_eq!(failure, None, "{} decides nothing", scene.name);
        } else {
            let failure = failure.expect("it is found");
            assert!(failure.contains("own steps"), "{}: {failure}", scene.name);
        }
    }
}
