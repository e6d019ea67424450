//! Histories of real threads, checked: is there an order of the operations that explains every answer?
//!
//! Threads record what they called, what came back, and when ([`Log`], [`Ticks`]). [`check`] looks for a
//! *linearization*: one order of all operations in which each lies between its call and its return, and
//! in which each answer is what the operations before it lead to. An operation is a set of [`Step`]s on
//! keys that happen at one moment: a `get` expects a value, a `put` writes one, a `compare_and_set` that
//! succeeded expects one and writes another, one that failed only expects; a batch writes several keys,
//! a snapshot expects a value of every key. So this one question covers single operations, batches that
//! are seen whole or not at all, and snapshots that are downward-closed cuts: a snapshot that misses a
//! write which had returned, shows one that was called later, shows a write without one that came before
//! it, or half a batch, has no place in any order.
//!
//! An *ingest* is two operations: its beginning, which is where "was there when it began" is, and its commit, which
//! writes all keys of it that nobody has written in between, in the order that is looked for. So an ingest that is
//! seen in part, one that wins over what came after its beginning, and one that loses to less than that have no
//! place in any order either. What a batch with a precondition may do to an ingest before it is decided
//! ([`Kind::Touch`]) is an operation of its own that may happen or not.
//!
//! Numbers are part of it. A snapshot of number s ends the time of s, a batch or an ingest of number n
//! lies in the time of n; in the order that is looked for, these times never go back. With it the snapshots,
//! by number, order the versions of each key.
//!
//! # Algorithm
//!
//! The search of Wing and Gong (1993) with the memory of Lowe (2017), breadth first: the events of the
//! history are taken in the order of time, together with the set of all *configurations* that explain
//! what has returned. A configuration says which of the pending operations have taken effect and what
//! every key holds. A call adds to the pending ones and changes no configuration. A return asks each
//! configuration in which the operation has not taken effect yet for all ways in which it can: after any
//! sequence of other pending operations ("just in time": no operation takes effect before one returns
//! that may need it). When no configuration is left, the history is not linearizable, and the operation
//! that returned last is the one that cannot be explained. Equal configurations are one.
//!
//! Two reductions keep the sets small, and neither loses an order. An operation that only reads takes
//! effect at once where it fits: whatever can follow without it can follow after it. Operations take
//! effect early only if a chain of pending operations that share keys leads from them to the one that
//! returns; others commute with all of that and can wait for their own return.
//!
//! Histories are checked twice. First each key for itself: linearizability is *local* (Herlihy and Wing,
//! 1990), so where every operation is on one key this would be all, and it names the key that is wrong.
//! Then everything together, because batches and snapshots are on several keys.
//!
//! Values need not be unique, and absence never is (which of many removals does a `get` of nothing
//! see?), which is why the zones of Gibbons and Korach (1997), O(n log n) where every read names its
//! write, are not used. Unique values keep the sets of configurations small all the same.
//!
//! # Complexity
//!
//! O(n) events for n operations, each O(c p k) for c configurations, p pending operations, k keys. c may
//! grow as 2^p times the orders that matter; p is about the number of threads, and in millions of
//! operations of four threads c has stayed below a hundred. Space O(n) for the history.

#![forbid(unsafe_code)]

mod check;
mod config;
mod drive;
mod explain;
mod op;
mod rng;
mod subject;

pub use check::{Checked, Refusal, check};
pub use drive::{Plan, Report, Rounds, run};
pub use explain::Violation;
pub use op::{ABSENT, Expect, History, Ingested, Kind, Log, Op, Step, Ticks, Value};
pub use rng::Rng;
pub use subject::{Subject, id_of, value_of};
