//! Goal: the access barrier reclaims nothing that an access can still see, and forgets nothing.
//! Method: two or three threads on the shipped `Barrier`; every dereference touches a canary, so a
//! use after free is a violation; retired and reclaimed items are counted at the end.

#[cfg(whimbrel_loom)]
mod models {
    use std::alloc::Layout;

    use loom::cell::UnsafeCell;
    use loom::sync::Arc;
    use loom::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
    use loom::thread::{self, JoinHandle};
    use whimbrel_loom_tests::{Bound, explore};
    use whimbrel_skiplist::model::{Canary, bury};
    use whimbrel_skiplist::{Barrier, Guard};

    /// For models of two threads. More would take minutes, because every fence is a place where loom
    /// may switch threads.
    const TWO: Bound = Bound::Preemptions(4);

    /// A barrier and one shared piece of memory behind a pointer.
    struct Shared {
        barrier: Barrier,
        object: AtomicPtr<Canary>,
    }

    /// # Safety
    ///
    /// As [`Guard::retire`] says of its last argument.
    unsafe fn reclaim(ptr: *mut u8) {
        // SAFETY: made by `Shared::new`; the memory stays in the graveyard.
        let canary = unsafe { &*ptr.cast::<Canary>() };
        canary.die();
        // SAFETY: allocated as a box of this type, given up by the barrier.
        unsafe { bury(ptr, Layout::new::<Canary>()) };
    }

    impl Shared {
        fn new(stripes: usize) -> Arc<Self> {
            let barrier = Barrier::with_stripes(stripes);
            let object = AtomicPtr::new(Box::into_raw(Box::new(Canary::new())));
            Arc::new(Self { barrier, object })
        }

        /// One access: reads the pointer and what is behind it.
        fn read(&self) {
            let _guard = self.barrier.pin();
            let object = self.object.load(Ordering::Acquire);
            if !object.is_null() {
                // SAFETY: loom reports it when it was reclaimed; the memory stays in the graveyard.
                let canary = unsafe { &*object };
                canary.touch();
            }
        }

        /// Unlinks the object and retires it.
        fn unlink(&self, guard: &Guard<'_>) {
            let object = self.object.swap(std::ptr::null_mut(), Ordering::AcqRel);
            if !object.is_null() {
                // SAFETY: unlinked by the exchange above, by one thread.
                unsafe { guard.retire(object.cast(), 8, reclaim) };
            }
        }

        fn remove(&self) {
            let guard = self.barrier.pin();
            self.unlink(&guard);
        }

        /// Retires something that nobody else ever saw.
        fn retire_other(&self, guard: &Guard<'_>) {
            let other = Box::into_raw(Box::new(Canary::new()));
            // SAFETY: never linked anywhere.
            unsafe { guard.retire(other.cast(), 8, reclaim) };
        }

        /// Everything retired was reclaimed, without another call.
        fn assert_nothing_stranded(&self, retired: u64) {
            let stats = self.barrier.stats();
            assert_eq!(stats.retired, retired);
            assert_eq!(stats.reclaimed, retired, "a retired item is stranded");
        }
    }

    fn spawn(shared: &Arc<Shared>, run: impl FnOnce(&Shared) + 'static) -> JoinHandle<()> {
        let shared = Arc::clone(shared);
        thread::spawn(move || run(&shared))
    }

    fn join(thread: JoinHandle<()>) {
        thread.join().expect("the thread ended well");
    }

    /// An access enters while its session is being closed and terminated.
    #[test]
    fn enter_against_close() {
        explore(TWO, || {
            let shared = Shared::new(1);
            let reader = spawn(&shared, Shared::read);
            let remover = spawn(&shared, |shared| {
                shared.remove();
                shared.barrier.flush();
            });
            join(reader);
            join(remover);
            shared.assert_nothing_stranded(1);
        });
    }

    /// The same with the accesses counted on different stripes.
    #[test]
    fn enter_against_close_on_two_stripes() {
        explore(TWO, || {
            let shared = Shared::new(2);
            let reader = spawn(&shared, Shared::read);
            let remover = spawn(&shared, |shared| {
                shared.remove();
                shared.barrier.flush();
            });
            join(reader);
            join(remover);
            shared.assert_nothing_stranded(1);
        });
    }

    /// The last access leaves while another thread closes its session: one of the two must reclaim
    /// (the lost wake-up). An access that counts itself too late counts as well.
    #[test]
    fn leave_against_close() {
        explore(TWO, || {
            let shared = Shared::new(1);
            shared.remove();
            let leaver = spawn(&shared, |shared| drop(shared.barrier.pin()));
            let closer = spawn(&shared, |shared| shared.barrier.flush());
            join(leaver);
            join(closer);
            shared.assert_nothing_stranded(1);
        });
    }

    /// Two threads retire, close and leave beside each other: who meets a claim goes away, so who
    /// holds it has to look again.
    #[test]
    fn claim_against_claim() {
        explore(Bound::Preemptions(3), || {
            let shared = Shared::new(1);
            let run = |shared: &Shared| {
                let guard = shared.barrier.pin();
                shared.retire_other(&guard);
                shared.barrier.flush();
            };
            let threads = [spawn(&shared, run), spawn(&shared, run)];
            threads.into_iter().for_each(join);
            shared.assert_nothing_stranded(2);
        });
    }

    /// The accesses of two sessions leave at the same time; the later one finds the claim taken,
    /// and nobody calls again.
    #[test]
    fn leave_against_leave_of_the_next_session() {
        explore(TWO, || {
            let shared = Shared::new(1);
            let first = shared.barrier.pin();
            shared.retire_other(&first);
            shared.barrier.flush();
            let second = spawn(&shared, |shared| {
                let guard = shared.barrier.pin();
                shared.retire_other(&guard);
                shared.barrier.flush();
            });
            drop(first);
            join(second);
            shared.assert_nothing_stranded(2);
        });
    }

    /// Memory retired into a later session waits for the accesses of the earlier one.
    #[test]
    fn ordered_termination() {
        explore(Bound::Preemptions(3), || {
            let shared = Shared::new(1);
            let reader = spawn(&shared, Shared::read);
            let remover = spawn(&shared, |shared| {
                shared.barrier.flush();
                shared.remove();
                shared.barrier.flush();
            });
            join(reader);
            join(remover);
            shared.assert_nothing_stranded(1);
        });
    }

    /// The retirer sits in an older session than the access that still sees the item.
    #[test]
    fn retire_from_an_older_session() {
        explore(Bound::Preemptions(3), || {
            let shared = Shared::new(1);
            let reader = spawn(&shared, Shared::read);
            let remover = spawn(&shared, |shared| {
                let guard = shared.barrier.pin();
                shared.barrier.flush();
                shared.unlink(&guard);
                drop(guard);
                shared.barrier.flush();
            });
            join(reader);
            join(remover);
            shared.assert_nothing_stranded(1);
        });
    }

    /// An access of a session that begins while an item is retired into the one before must not see
    /// it.
    #[test]
    fn retire_against_the_next_session() {
        explore(TWO, || {
            let shared = Shared::new(1);
            let reader = spawn(&shared, |shared| {
                shared.barrier.flush();
                shared.read();
            });
            let remover = spawn(&shared, Shared::remove);
            join(reader);
            join(remover);
        });
    }

    /// The ring is full; the slot of the oldest session must not be used for a new one yet.
    #[test]
    fn ring_full() {
        explore(TWO, || {
            let shared = Shared::new(1);
            let oldest = shared.barrier.pin();
            for _ in 0..3 {
                shared.barrier.flush();
            }
            let reader = spawn(&shared, Shared::read);
            shared.barrier.flush();
            shared.unlink(&oldest);
            drop(oldest);
            shared.barrier.flush();
            join(reader);
            shared.assert_nothing_stranded(1);
        });
    }

    /// The slot of a session that is just being terminated is used again by the session that is
    /// four numbers later.
    #[test]
    fn ring_reuse() {
        explore(Bound::Preemptions(2), || {
            let shared = Shared::new(1);
            let oldest = shared.barrier.pin();
            for _ in 0..3 {
                shared.barrier.flush();
            }
            let reader = spawn(&shared, Shared::read);
            let remover = spawn(&shared, |shared| {
                shared.barrier.flush();
                shared.remove();
            });
            drop(oldest);
            join(reader);
            join(remover);
        });
    }

    /// Reader, remover and closer are three threads.
    #[test]
    fn enter_against_remove_against_close() {
        explore(Bound::Preemptions(2), || {
            let shared = Shared::new(1);
            let reader = spawn(&shared, Shared::read);
            let closer = spawn(&shared, |shared| shared.barrier.flush());
            let remover = spawn(&shared, Shared::remove);
            join(reader);
            join(closer);
            join(remover);
            shared.barrier.flush();
            shared.assert_nothing_stranded(1);
        });
    }

    /// One thread ends the first session, another the second: who ends the second passes on nothing
    /// it did not learn, so the first has to tell it that the reader has left.
    #[test]
    fn enter_against_close_against_remove_and_close() {
        explore(Bound::Preemptions(2), || {
            let shared = Shared::new(1);
            let reader = spawn(&shared, Shared::read);
            let closer = spawn(&shared, |shared| shared.barrier.flush());
            let remover = spawn(&shared, |shared| {
                shared.remove();
                shared.barrier.flush();
            });
            join(reader);
            join(closer);
            join(remover);
            shared.assert_nothing_stranded(1);
        });
    }

    /// Gate, ticket, poll: once a poll says yes, no access that found the gate open is inside.
    #[test]
    fn ticket_and_poll() {
        explore(Bound::Preemptions(3), || {
            let shared = Shared::new(1);
            let gate = Arc::new(AtomicUsize::new(0));
            let place = Arc::new(UnsafeCell::new(0_u32));
            let writer = {
                let (gate, place) = (Arc::clone(&gate), Arc::clone(&place));
                spawn(&shared, move |shared| {
                    shared.barrier.flush();
                    let _guard = shared.barrier.pin();
                    if gate.load(Ordering::Relaxed) == 0 {
                        // SAFETY: loom reports it when this is not exclusive.
                        place.with_mut(|place| unsafe { *place += 1 });
                    }
                })
            };
            let freezer = spawn(&shared, move |shared| {
                gate.store(1, Ordering::Relaxed);
                let ticket = shared.barrier.ticket();
                if shared.barrier.poll(ticket) {
                    place.with_mut(|_| ());
                }
            });
            join(writer);
            join(freezer);
            assert!(
                shared.barrier.poll(shared.barrier.ticket()),
                "nobody is inside, yet it says no"
            );
        });
    }
}
