//! Runs a model: operations, sessions, checks of every answer and of what is left.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Bound, ControlFlow};

use whimbrel_skiplist::model::{self, Sessions, Step, Stopped};
use whimbrel_skiplist::sync::Arc;
use whimbrel_skiplist::sync::atomic::Ordering;
use whimbrel_skiplist::{
    Barrier, Compacted, FindOrInsert, Guard, List, Record, Run, SEALED, SegmentBuilder, Shape,
};

/// One step of a thread.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Op {
    Put(u8),
    Get(u8),
    /// Seals the cell of the key's record.
    Seal(u8),
    /// Seals it and tells the list.
    Remove(u8),
    Scan,
    Back,
    /// Rebuilds the block of the level that covers the key.
    Rebuild(usize, u8),
    /// Merges the block of the level that covers the key into its left neighbour.
    Merge(usize, u8),
    /// Puts a copy in the place of the key's record.
    Move(u8),
    /// Compacts all blocks of level 0.
    Compact,
    /// Puts all keys in as blocks of their own, or none of them.
    Splice(&'static [u8]),
    /// Stops for ever in the middle of the operation.
    Stop(Step, &'static Op),
}

/// Threads that work on a preloaded list.
#[derive(Clone, Copy)]
pub(crate) struct Model {
    /// Preemptions at most, unless `LOOM_MAX_PREEMPTIONS` says otherwise.
    pub(crate) bound: usize,
    pub(crate) shape: Shape,
    /// Keys of a list that is built in bulk, from one segment each two.
    pub(crate) bulk: &'static [u8],
    /// Whether operations enter sessions of the real barrier, flushed after each, instead of [`Sessions`].
    pub(crate) real_barrier: bool,
    pub(crate) setup: &'static [Op],
    pub(crate) threads: &'static [&'static [Op]],
}

/// What an operation did to a key, or saw of it.
#[derive(Debug, Clone, Copy)]
enum Event {
    Inserted(u8),
    Sealed(u8),
    Saw(u8, bool),
}

/// The list and the one guard that stands for all sessions of the real barrier.
struct World {
    list: List,
    guard: Option<Guard<'static>>,
}

// SAFETY: the guard is only compared with the list's barrier; everything retired goes to `Sessions`.
unsafe impl Send for World {}
// SAFETY: as above.
unsafe impl Sync for World {}

impl World {
    fn apply(&self, op: Op, g: &Guard<'_>, seen: &mut Vec<Event>) {
        let list = &self.list;
        match op {
            Op::Put(key) => {
                let made = list.find_or_insert(&[key], 0, |_| 2, g).expect("a short key");
                assert_eq!(made.record().key(), [key]);
                if let FindOrInsert::Inserted(_) = made {
                    seen.push(Event::Inserted(key));
                } else {
                    seen.push(Event::Saw(key, true));
                }
            }
            Op::Get(key) => {
                let found = list.find(&[key], g);
                found.into_iter().for_each(|record| check_record(record, key));
                seen.push(Event::Saw(key, found.is_some()));
            }
            Op::Move(key) => {
                if let Some(record) = list.find(&[key], g) {
                    let (record, cell) = record.follow();
                    if cell != SEALED {
                        list.relocate(record, cell, 0, |_| cell, g);
                    }
                }
            }
            Op::Compact => {
                let all = (Bound::Unbounded, Bound::Unbounded);
                list.compact(all.0, all.1, usize::MAX, &mut Compacted::default(), g);
            }
            Op::Splice(keys) => {
                let mut run = Run::new();
                for key in keys {
                    run.push(&[*key], 0, |_| 2).expect("ascending keys");
                }
                if let Ok(records) = list.splice(run, g) {
                    assert!(records.iter().zip(keys).all(|(one, key)| one.key() == [*key]));
                    seen.extend(keys.iter().map(|key| Event::Inserted(*key)));
                }
            }
            Op::Seal(key) => {
                self.seal(key, g, seen);
            }
            Op::Remove(key) => {
                if let Some(record) = self.seal(key, g, seen) {
                    list.unlink_sealed(record, g);
                }
            }
            Op::Scan => self.scan(g, seen, false),
            Op::Back => self.scan(g, seen, true),
            Op::Rebuild(level, key) => list.model_rebuild(level, &[key], g),
            Op::Merge(level, key) => list.model_merge(level, &[key], g),
            Op::Stop(step, op) => {
                model::stop_after(Some(step));
                let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                    self.apply(*op, g, seen);
                }));
                model::stop_after(None);
                if let Err(panic) = ended {
                    if panic.downcast_ref::<Stopped>().is_none() {
                        std::panic::resume_unwind(panic);
                    }
                    if let Op::Put(key) = op {
                        // Whether it was inserted is looked up at the end.
                        seen.push(Event::Saw(*key, false));
                    }
                }
            }
        }
    }

    fn seal<'g>(&'g self, key: u8, g: &'g Guard<'_>, seen: &mut Vec<Event>) -> Option<Record<'g>> {
        let mut record = self.list.find(&[key], g)?;
        while record
            .cell()
            .compare_exchange(2, SEALED, Ordering::Relaxed, Ordering::Relaxed)
            .is_err()
        {
            let (now, cell) = record.follow();
            if cell == SEALED {
                return None;
            }
            record = now;
        }
        seen.push(Event::Sealed(key));
        Some(record)
    }

    fn keys(&self, g: &Guard<'_>, back: bool) -> Vec<u8> {
        let mut keys = Vec::new();
        let push = |record: Record<'_>| {
            keys.push(record.key()[0]);
            ControlFlow::Continue(())
        };
        if back {
            self.list.walk_back(Bound::Unbounded, g, push);
            keys.reverse();
        } else {
            self.list.walk(Bound::Unbounded, g, push);
        }
        assert!(keys.windows(2).all(|pair| pair[0] < pair[1]), "not ascending: {keys:?}");
        keys
    }

    fn scan(&self, g: &Guard<'_>, seen: &mut Vec<Event>, back: bool) {
        let keys: BTreeSet<u8> = self.keys(g, back).into_iter().collect();
        seen.extend((0..10).map(|key| Event::Saw(key, keys.contains(&key))));
    }
}

/// The record is of the key, and so is every record that it moved to.
fn check_record(record: Record<'_>, key: u8) {
    assert_eq!(record.key(), [key]);
    let (last, cell) = record.follow();
    assert_eq!(last.key(), [key]);
    assert!(cell == 2 || cell == SEALED, "cell {cell}");
}

fn make_list(model: &Model, barrier: &Arc<Barrier>) -> List {
    if model.bulk.is_empty() {
        return List::with_shape(barrier.clone(), model.shape);
    }
    let segments = model.bulk.chunks(2).map(|keys| {
        let mut builder = SegmentBuilder::with_shape(model.shape);
        for key in keys {
            builder.push(&[*key], 0, |_| 2).expect("ascending keys");
        }
        builder.finish()
    });
    List::from_segments(barrier.clone(), segments.collect()).expect("ascending segments")
}

fn run(model: &Model) {
    let barrier = Arc::new(Barrier::new());
    // SAFETY: the guard is dropped before the barrier, at the end of this function.
    let forever: &'static Barrier = unsafe { &*std::ptr::from_ref(&*barrier) };
    let list = make_list(model, &barrier);
    let guard = (!model.real_barrier).then(|| forever.pin());
    let world = Arc::new(World { list, guard });
    let sessions = (!model.real_barrier).then(Sessions::new);
    let mut before: Vec<_> = model.bulk.iter().map(|key| Event::Inserted(*key)).collect();
    for op in model.setup {
        one(&world, sessions.as_ref(), *op, &mut before);
    }
    let mut handles = Vec::new();
    for ops in &model.threads[1..] {
        let (world, sessions) = (world.clone(), sessions.clone());
        handles.push(loom::thread::spawn(move || work(&world, sessions.as_ref(), ops)));
    }
    let mut all = vec![work(&world, sessions.as_ref(), model.threads[0])];
    all.extend(handles.into_iter().map(|handle| handle.join().expect("no panic")));
    let stops = model
        .threads
        .iter()
        .chain([&model.setup])
        .flat_map(|ops| ops.iter())
        .any(|op| matches!(op, Op::Stop(..)));
    let access = sessions.as_ref().map(Sessions::enter);
    let pinned = model.real_barrier.then(|| forever.pin());
    let g = pinned.as_ref().or(world.guard.as_ref()).expect("one of them");
    check_answers(model, &world, g, &before, &all);
    drop((access, pinned));
    let world = Arc::try_unwrap(world).unwrap_or_else(|_| panic!("all threads are done"));
    let World { mut list, guard } = world;
    if !stops {
        list.audit();
    }
    drop(guard);
    drop(list);
    if model.real_barrier {
        // What is still in bags is reclaimed with the barrier.
        drop(Arc::try_unwrap(barrier).expect("the list is gone"));
    }
    if !stops {
        assert_eq!(model::allocated(), 0, "blocks or records were leaked");
    }
}

fn work(world: &World, sessions: Option<&Sessions>, ops: &[Op]) -> Vec<Event> {
    let mut seen = Vec::new();
    for op in ops {
        one(world, sessions, *op, &mut seen);
    }
    seen
}

/// One operation, in a session of its own.
fn one(world: &World, sessions: Option<&Sessions>, op: Op, seen: &mut Vec<Event>) {
    let Some(sessions) = sessions else {
        let barrier = world.list.barrier();
        world.apply(op, &barrier.pin(), seen);
        barrier.flush();
        return;
    };
    let access = sessions.enter();
    world.apply(op, world.guard.as_ref().expect("there is one"), seen);
    if let Op::Stop(..) = op {
        std::mem::forget(access);
    }
}

/// Keys that a thread may insert or seal.
fn touched(ops: &[Op]) -> BTreeSet<u8> {
    ops.iter()
        .flat_map(|op| match op {
            Op::Put(key) | Op::Seal(key) | Op::Remove(key) => std::slice::from_ref(key),
            Op::Stop(_, Op::Put(key)) => std::slice::from_ref(key),
            Op::Splice(keys) => keys,
            _ => &[],
        })
        .copied()
        .collect()
}

fn check_answers(
    model: &Model,
    world: &World,
    g: &Guard<'_>,
    before: &[Event],
    all: &[Vec<Event>],
) {
    let mut present: BTreeMap<u8, i32> = (0..10).map(|key| (key, 0)).collect();
    tally(before, &mut present);
    let at_start = present.clone();
    for (number, events) in all.iter().enumerate() {
        // What no other thread touches is known exactly.
        let mut mine = at_start.clone();
        let others: BTreeSet<u8> = model
            .threads
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != number)
            .flat_map(|(_, ops)| touched(ops))
            .collect();
        let stopped: BTreeSet<u8> = model.threads[number]
            .iter()
            .filter_map(|op| if let Op::Stop(_, Op::Put(key)) = op { Some(*key) } else { None })
            .collect();
        for event in events {
            match *event {
                Event::Saw(key, saw) if !others.contains(&key) && !stopped.contains(&key) => {
                    assert_eq!(saw, mine[&key] == 1, "key {key} of thread {number}");
                }
                _ => tally(&[*event], &mut mine),
            }
        }
        tally(events, &mut present);
    }
    let forwards = world.keys(g, false);
    assert_eq!(forwards, world.keys(g, true), "both directions");
    for (key, count) in present {
        let found = world.list.find(&[key], g).is_some();
        assert_eq!(found, forwards.contains(&key), "find and walk disagree about {key}");
        let stopped = model
            .threads
            .iter()
            .flat_map(|ops| ops.iter())
            .any(|op| matches!(op, Op::Stop(_, Op::Put(stopped)) if *stopped == key));
        if !stopped {
            assert_eq!(i32::from(found), count, "key {key}: inserted less sealed");
        }
    }
}

fn tally(events: &[Event], present: &mut BTreeMap<u8, i32>) {
    for event in events {
        match event {
            Event::Inserted(key) => *present.entry(*key).or_default() += 1,
            Event::Sealed(key) => *present.entry(*key).or_default() -= 1,
            Event::Saw(..) => {}
        }
    }
}

/// Explores all interleavings of the model up to its bound.
pub(crate) fn explore(model: &Model) {
    let model = *model;
    whimbrel_loom_tests::explore(whimbrel_loom_tests::Bound::Preemptions(model.bound), move || {
        run(&model);
    });
}
