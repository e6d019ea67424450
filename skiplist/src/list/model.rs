//! What models of the list need: counts of allocations, precise sessions, and stops.
//!
//! The real barrier costs a model about ten steps an access. Models of the protocol use [`Sessions`]
//! instead: what is retired is reclaimed as soon as every access that was inside at that moment has
//! left, the earliest moment that any barrier may choose. One read-modify-write on entering, leaving
//! and retiring gives the orderings that the barrier promises. Loom runs all threads of a model on
//! one system thread, so the book-keeping is a plain thread-local.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use super::List;
use super::search::Place;
use super::work::Work;
use crate::Guard;
use crate::mutant::Step;
use crate::sync::atomic::{AtomicU64, Ordering};

thread_local! {
    static ALLOCATED: Cell<i64> = const { Cell::new(0) };
    static BYTES: Cell<i64> = const { Cell::new(0) };
    static SESSIONS: RefCell<Option<Book>> = const { RefCell::new(None) };
    static STOP_AT: Cell<Option<Step>> = const { Cell::new(None) };
}

/// The next writing operation stops for ever, by unwinding with [`Stopped`], after this step. To be
/// called directly before it.
pub fn stop_after(step: Option<Step>) {
    STOP_AT.set(step);
}

pub(super) fn take_stop() -> Option<Step> {
    STOP_AT.take()
}

/// Stops the operation.
pub(super) fn stop() -> ! {
    std::panic::resume_unwind(Box::new(Stopped))
}

/// Payload of the unwinding that stands for a thread that stops.
#[derive(Debug)]
pub struct Stopped;

pub(crate) fn count_alloc(bytes: usize) {
    ALLOCATED.set(ALLOCATED.get() + 1);
    BYTES.set(BYTES.get() + i64::try_from(bytes).expect("small"));
}

pub(crate) fn count_free(bytes: usize) {
    ALLOCATED.set(ALLOCATED.get() - 1);
    BYTES.set(BYTES.get() - i64::try_from(bytes).expect("small"));
}

/// Blocks and records that were allocated and not freed since [`begin`].
#[must_use]
pub fn allocated() -> i64 {
    ALLOCATED.get()
}

/// An item that was retired, and the accesses that may still see it.
struct Retired {
    ptr: *mut u8,
    reclaim: unsafe fn(*mut u8),
    waits_for: Vec<u64>,
}

struct Book {
    /// Passed by all; see [`Sessions`].
    order: Arc<AtomicU64>,
    entered: u64,
    inside: Vec<u64>,
    retired: Vec<Retired>,
}

/// Forgets what the execution before has left.
pub(crate) fn begin() {
    ALLOCATED.set(0);
    BYTES.set(0);
    SESSIONS.set(None);
}

/// Precise sessions of one model; see the module page. While a value exists, everything that the
/// lists of the model retire goes to it.
#[derive(Debug, Clone)]
pub struct Sessions(Arc<AtomicU64>);

impl Sessions {
    /// Sessions for the execution that has begun.
    #[must_use]
    pub fn new() -> Self {
        let order = Arc::new(AtomicU64::new(0));
        let book =
            Book { order: order.clone(), entered: 0, inside: Vec::new(), retired: Vec::new() };
        SESSIONS.set(Some(book));
        Self(order)
    }

    /// Enters: what is retired from now on stays until the value is dropped.
    #[must_use]
    pub fn enter(&self) -> Access {
        pass(&self.0);
        let number = with_book(|book| {
            book.entered += 1;
            book.inside.push(book.entered);
            book.entered
        });
        Access { sessions: self.clone(), number }
    }
}

fn pass(order: &AtomicU64) {
    // ORDERING: AcqRel; stands for the orderings that the barrier promises.
    order.fetch_add(1, Ordering::AcqRel);
}

impl Default for Sessions {
    fn default() -> Self {
        Self::new()
    }
}

/// An access under [`Sessions`].
#[derive(Debug)]
pub struct Access {
    sessions: Sessions,
    number: u64,
}

impl Drop for Access {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        pass(&self.sessions.0);
        let ready = with_book(|book| {
            book.inside.retain(|inside| *inside != self.number);
            for item in &mut book.retired {
                item.waits_for.retain(|inside| *inside != self.number);
            }
            let (ready, rest) = std::mem::take(&mut book.retired)
                .into_iter()
                .partition(|item| item.waits_for.is_empty());
            book.retired = rest;
            ready
        });
        let ready: Vec<Retired> = ready;
        for item in ready {
            // SAFETY: every access that was inside when it was retired has left.
            unsafe { (item.reclaim)(item.ptr) };
        }
    }
}

fn with_book<R>(f: impl FnOnce(&mut Book) -> R) -> R {
    SESSIONS.with_borrow_mut(|book| f(book.as_mut().expect("the model has sessions")))
}

/// Hands an item to the sessions of the model; false when it has none.
pub(crate) fn retire(ptr: *mut u8, reclaim: unsafe fn(*mut u8)) -> bool {
    let Some(order) = SESSIONS.with_borrow(|book| book.as_ref().map(|book| book.order.clone()))
    else {
        return false;
    };
    pass(&order);
    with_book(|book| {
        book.retired.push(Retired { ptr, reclaim, waits_for: book.inside.clone() });
    });
    true
}

impl List {
    /// Rebuilds the block of a level that covers the key.
    pub fn model_rebuild<'g>(&'g self, level: usize, key: &[u8], g: &'g Guard<'_>) {
        let mut work = Work::new(self, g);
        if level < self.height() {
            work.decide(self.seek(level, Place::at(key)));
        }
        work.clean_up();
    }

    /// Merges the block of a level that covers the key into its left neighbour.
    pub fn model_merge<'g>(&'g self, level: usize, key: &[u8], g: &'g Guard<'_>) {
        let mut work = Work::new(self, g);
        if level < self.height() {
            let block = self.seek(level, Place::at(key));
            if !block.is_leftmost() {
                work.merge(block);
            }
        }
        work.clean_up();
    }
}
