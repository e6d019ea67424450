//! Goal: the list keeps its order, one record a key, and no way to memory that is reclaimed.
//! Method: two or three threads on the shipped `List`; towers are chosen by the last byte of a key
//! (`0` to `3`: height 1 to 4). Every dereference touches a canary. At the end the structure is
//! audited on all levels *after* everything retired was reclaimed, so a link that was left behind
//! is a violation in any case. Models named `.._reclaimed` have sessions of their own in each
//! thread; in the others the main thread holds one session for all, which leaves fewer
//! interleavings.

#[cfg(whimbrel_loom)]
mod models {
    use std::ops::{Bound as Range, ControlFlow};

    use loom::sync::Arc;
    use loom::thread;
    use whimbrel_loom_tests::{Bound, explore};
    use whimbrel_skiplist::model::resident;
    use whimbrel_skiplist::sync::atomic::Ordering;
    use whimbrel_skiplist::{Barrier, FindOrInsert, Guard, List, SEALED, SegmentBuilder};

    /// First values of cells.
    const OLD: u64 = 8;
    const NEW: u64 = 16;

    /// Inserts unless the key is there; whether it did.
    fn insert(list: &List, key: &[u8], value: u64, g: &Guard<'_>) -> bool {
        let init = |inline: std::ptr::NonNull<u8>| {
            // SAFETY: the inline part has 8 bytes, aligned.
            unsafe { inline.cast::<u64>().write(value) };
            value
        };
        match list.find_or_insert(key, 8, init, g).expect("a short key") {
            FindOrInsert::Inserted(record) => {
                assert_eq!(record.key(), key);
                true
            }
            FindOrInsert::Found(record) => {
                check_inline(&record);
                false
            }
        }
    }

    /// The inline part is complete for whoever sees the record.
    fn check_inline(record: &whimbrel_skiplist::Record<'_>) {
        // SAFETY: written before the record was linked, never changed.
        let value = unsafe { record.inline().cast::<u64>().read() };
        assert!(value == OLD || value == NEW);
    }

    /// Seals and takes out the record of a key, if it is seen; whether this thread sealed it.
    fn remove(list: &List, key: &[u8], g: &Guard<'_>) -> bool {
        let Some(record) = list.find(key, g) else { return false };
        let sealed = record.cell().swap(SEALED, Ordering::AcqRel) != SEALED;
        list.unlink_sealed(record, g);
        sealed
    }

    /// All keys, first byte only, forwards.
    fn walk(list: &List, g: &Guard<'_>) -> Vec<u8> {
        let mut keys = Vec::new();
        list.walk(Range::Unbounded, g, |record| {
            check_inline(&record);
            keys.push(record.key()[0]);
            ControlFlow::Continue(())
        });
        assert!(keys.is_sorted_by(|a, b| a < b), "out of order: {keys:?}");
        keys
    }

    /// All keys, first byte only, backwards.
    fn walk_back(list: &List, g: &Guard<'_>) -> Vec<u8> {
        let mut keys = Vec::new();
        list.walk_back(Range::Unbounded, g, |record| {
            check_inline(&record);
            keys.push(record.key()[0]);
            ControlFlow::Continue(())
        });
        assert!(keys.is_sorted_by(|a, b| a > b), "out of order: {keys:?}");
        keys
    }

    /// Whose sessions the threads are in.
    #[derive(Clone, Copy)]
    enum Sessions {
        /// The main thread's, for all.
        Shared,
        /// Each thread has its own and closes it at the end.
        Own,
    }

    type Act = fn(&List, &Guard<'_>) -> usize;

    fn act(list: &List, sessions: Sessions, act: Act) -> usize {
        match sessions {
            Sessions::Shared => {
                // SAFETY: the main thread holds a counted guard until all threads have ended.
                let guard = unsafe { resident(list.barrier()) };
                act(list, &guard)
            }
            Sessions::Own => {
                let guard = list.barrier().pin();
                let result = act(list, &guard);
                drop(guard);
                list.barrier().flush();
                result
            }
        }
    }

    /// Runs the acts beside each other, reclaims, audits; returns what
    /// the acts returned and the keys that are left.
    fn run(list: List, sessions: Sessions, acts: &[Act]) -> (Vec<usize>, Vec<u8>) {
        let list = Arc::new(list);
        let held = matches!(sessions, Sessions::Shared).then(|| list.barrier().pin());
        let threads: Vec<_> = acts
            .iter()
            .map(|&other| {
                let list = Arc::clone(&list);
                thread::spawn(move || act(&list, sessions, other))
            })
            .collect();
        let results: Vec<_> = threads
            .into_iter()
            .map(|thread| thread.join().expect("the thread ended well"))
            .collect();
        drop(held);
        list.barrier().flush();
        let stats = list.barrier().stats();
        assert_eq!(stats.retired, stats.reclaimed, "a retired node is stranded");

        let Ok(mut list) = Arc::try_unwrap(list) else { panic!("the list is still shared") };
        let records = list.audit();
        let guard = list.barrier().pin();
        let keys = walk(&list, &guard);
        let mut back = walk_back(&list, &guard);
        back.reverse();
        assert_eq!(keys, back, "the walks disagree");
        assert_eq!(records, keys.len(), "a sealed record is left");
        for &key in &keys {
            let height = list_key(key);
            assert!(list.find(&height, &guard).is_some(), "a key that is walked is not found");
        }
        drop(guard);
        (results, keys)
    }

    /// The key that begins with this byte: in these models a first byte always has the same height.
    fn list_key(first: u8) -> Vec<u8> {
        vec![first, HEIGHTS[usize::from(first - b'a')]]
    }

    /// Last bytes of the keys that begin with a, b, c, d.
    const HEIGHTS: [u8; 4] = [1, 2, 0, 3];
    const A: &[u8] = &[b'a', 1];
    const B: &[u8] = &[b'b', 2];
    const C: &[u8] = &[b'c', 0];
    const D: &[u8] = &[b'd', 3];

    fn list_of(keys: &[&[u8]]) -> List {
        let list = List::new(Arc::new(Barrier::with_stripes(1)));
        let guard = list.barrier().pin();
        for key in keys {
            assert!(insert(&list, key, OLD, &guard));
        }
        drop(guard);
        list
    }

    /// A list made of one segment a key.
    fn bulk_list_of(keys: &[&[u8]]) -> List {
        let segments = keys.iter().map(|key| {
            let mut builder = SegmentBuilder::new();
            let init = |inline: std::ptr::NonNull<u8>| {
                // SAFETY: the inline part has 8 bytes, aligned.
                unsafe { inline.cast::<u64>().write(OLD) };
                OLD
            };
            builder.push(key, 8, init).expect("one key is in order");
            builder.finish()
        });
        List::from_segments(Arc::new(Barrier::with_stripes(1)), segments.collect())
            .expect("in order")
    }

    /// Explores two threads.
    fn two(bound: Bound, list: fn() -> List, sessions: Sessions, acts: [Act; 2], check: Check) {
        explore(bound, move || {
            let (results, keys) = run(list(), sessions, &acts);
            check(&results, &keys);
        });
    }

    /// Explores three threads.
    fn three(list: fn() -> List, sessions: Sessions, acts: [Act; 3], check: Check) {
        explore(Bound::Preemptions(2), move || {
            let (results, keys) = run(list(), sessions, &acts);
            check(&results, &keys);
        });
    }

    type Check = fn(&[usize], &[u8]);

    fn insert_a(list: &List, g: &Guard<'_>) -> usize {
        usize::from(insert(list, A, NEW, g))
    }

    fn insert_b(list: &List, g: &Guard<'_>) -> usize {
        usize::from(insert(list, B, NEW, g))
    }

    fn insert_d(list: &List, g: &Guard<'_>) -> usize {
        usize::from(insert(list, D, NEW, g))
    }

    fn remove_a(list: &List, g: &Guard<'_>) -> usize {
        usize::from(remove(list, A, g))
    }

    fn remove_b(list: &List, g: &Guard<'_>) -> usize {
        usize::from(remove(list, B, g))
    }

    fn remove_d(list: &List, g: &Guard<'_>) -> usize {
        usize::from(remove(list, D, g))
    }

    fn replace_b(list: &List, g: &Guard<'_>) -> usize {
        assert!(remove(list, B, g));
        usize::from(insert(list, B, NEW, g))
    }

    /// A walk over a, c and perhaps b.
    fn walk_abc(list: &List, g: &Guard<'_>) -> usize {
        let keys = walk(list, g);
        assert!(keys == b"ac" || keys == b"abc", "walked {keys:?}");
        keys.len()
    }

    /// The same backwards.
    fn walk_back_abc(list: &List, g: &Guard<'_>) -> usize {
        let keys = walk_back(list, g);
        assert!(keys == b"ca" || keys == b"cba", "walked back {keys:?}");
        keys.len()
    }

    fn find_b(list: &List, g: &Guard<'_>) -> usize {
        let found = list.find(B, g);
        found.inspect(check_inline);
        usize::from(found.is_some())
    }

    fn find_c(list: &List, g: &Guard<'_>) -> usize {
        assert!(list.find(C, g).is_some(), "c is always there");
        1
    }

    #[test]
    fn insert_against_insert_of_the_same_key() {
        two(
            Bound::None,
            || list_of(&[]),
            Sessions::Shared,
            [insert_b, insert_b],
            |did, keys| {
                assert_eq!((did[0] + did[1], keys), (1, &b"b"[..]));
            },
        );
    }

    #[test]
    fn insert_against_insert_of_a_neighbour() {
        two(
            Bound::None,
            || list_of(&[]),
            Sessions::Shared,
            [insert_a, insert_b],
            |did, keys| {
                assert_eq!((did, keys), (&[1, 1][..], &b"ab"[..]));
            },
        );
    }

    #[test]
    fn insert_against_remove() {
        two(
            Bound::None,
            || list_of(&[]),
            Sessions::Shared,
            [insert_b, remove_b],
            |did, keys| {
                assert_eq!(keys, if did[1] == 1 { &b""[..] } else { &b"b"[..] });
            },
        );
    }

    /// The upper-level race: the inserter links a level after the remover's search has passed it.
    #[test]
    fn tower_linking_against_removal() {
        two(
            Bound::Preemptions(3),
            || list_of(&[C]),
            Sessions::Shared,
            [insert_d, remove_d],
            |did, keys| {
                assert_eq!(keys, if did[1] == 1 { &b"c"[..] } else { &b"cd"[..] });
            },
        );
    }

    #[test]
    fn remove_over_a_preloaded_key_against_insert_of_the_same_key() {
        two(
            Bound::Preemptions(3),
            || list_of(&[B]),
            Sessions::Shared,
            [remove_b, insert_b],
            |did, keys| {
                assert_eq!(did[0], 1);
                assert_eq!(keys, if did[1] == 1 { &b"b"[..] } else { &b""[..] });
            },
        );
    }

    #[test]
    fn remove_against_remove_of_one_record() {
        two(
            Bound::Preemptions(3),
            || list_of(&[A, B]),
            Sessions::Shared,
            [remove_b, remove_b],
            |did, keys| {
                assert_eq!((did[0] + did[1], keys), (1, &b"a"[..]));
            },
        );
    }

    #[test]
    fn remove_against_remove_of_a_neighbour() {
        two(
            Bound::Preemptions(3),
            || list_of(&[A, B, C]),
            Sessions::Shared,
            [remove_a, remove_b],
            |did, keys| {
                assert_eq!((did, keys), (&[1, 1][..], &b"c"[..]));
            },
        );
    }

    #[test]
    fn remove_against_insert_behind_it() {
        two(
            Bound::None,
            || list_of(&[A]),
            Sessions::Shared,
            [remove_a, insert_b],
            |did, keys| {
                assert_eq!((did, keys), (&[1, 1][..], &b"b"[..]));
            },
        );
    }

    #[test]
    fn remove_against_insert_before_it() {
        two(
            Bound::None,
            || list_of(&[B]),
            Sessions::Shared,
            [remove_b, insert_a],
            |did, keys| {
                assert_eq!((did, keys), (&[1, 1][..], &b"a"[..]));
            },
        );
    }

    #[test]
    fn walk_against_insert() {
        two(
            Bound::None,
            || list_of(&[A, C]),
            Sessions::Shared,
            [insert_b, walk_abc],
            |_, keys| {
                assert_eq!(keys, b"abc");
            },
        );
    }

    #[test]
    fn walk_back_against_insert() {
        two(
            Bound::None,
            || list_of(&[A, C]),
            Sessions::Shared,
            [insert_b, walk_back_abc],
            |_, keys| {
                assert_eq!(keys, b"abc");
            },
        );
    }

    /// A finished list is one pointer; readers and inserters find it complete.
    #[test]
    fn bulk_list_against_insert_and_walk() {
        two(
            Bound::None,
            || bulk_list_of(&[A, C]),
            Sessions::Shared,
            [insert_b, walk_abc],
            |_, keys| {
                assert_eq!(keys, b"abc");
            },
        );
    }

    #[test]
    fn bulk_list_against_remove_and_find() {
        let list = || bulk_list_of(&[A, B, C]);
        two(Bound::None, list, Sessions::Shared, [remove_b, find_c], |_, keys| {
            assert_eq!(keys, b"ac");
        });
    }

    #[test]
    fn replace_against_find() {
        two(
            Bound::None,
            || list_of(&[B]),
            Sessions::Shared,
            [replace_b, find_b],
            |_, keys| {
                assert_eq!(keys, b"b");
            },
        );
    }

    /// A sealed record that is still linked does not count: the sealer or the other thread makes a
    /// new one.
    #[test]
    fn insert_over_a_sealed_record_against_insert() {
        fn seal_and_insert_b(list: &List, g: &Guard<'_>) -> usize {
            let record = list.find(B, g).expect("the preloaded record is not sealed yet");
            record.cell().store(SEALED, Ordering::Release);
            usize::from(insert(list, B, NEW, g))
        }
        let acts: [Act; 2] = [seal_and_insert_b, insert_b];
        two(
            Bound::Preemptions(3),
            || list_of(&[B]),
            Sessions::Shared,
            acts,
            |did, keys| {
                assert_eq!((did[0] + did[1], keys), (1, &b"b"[..]));
            },
        );
    }

    /// The key comes back while its first inserter still links the tower of the record that was
    /// removed.
    #[test]
    fn insert_against_remove_against_insert_of_the_same_key() {
        let acts: [Act; 3] = [insert_a, remove_a, insert_a];
        three(
            || list_of(&[]),
            Sessions::Shared,
            acts,
            |did, keys| {
                let left = did[0] + did[2] - did[1];
                assert_eq!(keys.len(), left);
            },
        );
    }

    #[test]
    fn remove_against_walk_reclaimed() {
        let bound = Bound::Preemptions(3);
        two(
            bound,
            || list_of(&[A, B, C]),
            Sessions::Own,
            [remove_b, walk_abc],
            |_, keys| {
                assert_eq!(keys, b"ac");
            },
        );
    }

    #[test]
    fn remove_against_walk_back_reclaimed() {
        let bound = Bound::Preemptions(3);
        two(
            bound,
            || list_of(&[A, B, C]),
            Sessions::Own,
            [remove_b, walk_back_abc],
            |_, keys| {
                assert_eq!(keys, b"ac");
            },
        );
    }

    #[test]
    fn insert_against_remove_reclaimed() {
        let bound = Bound::Preemptions(3);
        two(
            bound,
            || list_of(&[]),
            Sessions::Own,
            [insert_b, remove_b],
            |did, keys| {
                assert_eq!(keys, if did[1] == 1 { &b""[..] } else { &b"b"[..] });
            },
        );
    }

    #[test]
    fn remove_against_insert_of_the_same_key_reclaimed() {
        let bound = Bound::Preemptions(3);
        two(
            bound,
            || list_of(&[B]),
            Sessions::Own,
            [remove_b, insert_b],
            |did, keys| {
                assert_eq!(keys, if did[1] == 1 { &b"b"[..] } else { &b""[..] });
            },
        );
    }

    #[test]
    fn remove_against_remove_of_a_neighbour_reclaimed() {
        let bound = Bound::Preemptions(3);
        two(
            bound,
            || list_of(&[A, B, C]),
            Sessions::Own,
            [remove_a, remove_b],
            |did, keys| {
                assert_eq!((did, keys), (&[1, 1][..], &b"c"[..]));
            },
        );
    }

    #[test]
    fn two_removals_against_find_reclaimed() {
        let acts: [Act; 3] = [remove_a, remove_b, find_c];
        three(|| list_of(&[A, B, C]), Sessions::Own, acts, |_, keys| assert_eq!(keys, b"c"));
    }

    #[test]
    fn remove_against_insert_against_walk_reclaimed() {
        fn walk_any(list: &List, g: &Guard<'_>) -> usize {
            walk(list, g).len()
        }
        let acts: [Act; 3] = [remove_b, insert_a, walk_any];
        three(|| list_of(&[B, C]), Sessions::Own, acts, |_, keys| assert_eq!(keys, b"ac"));
    }
}
