//! What a peer must be able to do to be compared.

use std::ops::Bound;
use std::path::Path;

use crate::keys::{KeyKind, Keys};
use crate::sum::Sum;
use crate::workload::Workload;

/// A peer with its content.
///
/// Work goes through [`Worker`]s, one a thread, so that a map without concurrency can hand out the
/// one that it has. The calls are virtual for all peers alike: about a nanosecond each.
pub trait Peer {
    /// Handles for `threads` threads. A peer that takes one thread is not asked for more.
    fn workers<'a>(&'a mut self, threads: usize) -> Vec<Box<dyn Worker + Send + 'a>>;

    /// Fills the empty peer from ascending keys by its own way for that; the value of a key is its
    /// position. False when it has none.
    fn bulk_build(&mut self, sorted: &Keys) -> bool {
        let _ = sorted;
        false
    }

    /// Gives back what is superseded or removed, as far as its user can ask for that.
    fn collect(&mut self) {}
}

/// A thread's handle of a peer. Every call is an operation of its own: it takes effect before it
/// returns, and it pays for the snapshot or transaction that the peer needs to begin it.
pub trait Worker {
    /// Gives the key a value, whether it had one or not.
    fn insert(&mut self, key: &[u8], value: u64);

    /// Removes the key.
    fn remove(&mut self, key: &[u8]);

    /// The value of the key.
    fn get(&mut self, key: &[u8]) -> Option<u64>;

    /// The values of several keys in their order, by the peer's own call for that.
    fn get_many(&mut self, keys: &[&[u8]], sum: &mut Sum) {
        let _ = (keys, sum);
        unreachable!("this peer says that it lacks get_many");
    }

    /// Reads up to `limit` entries from `from` (included) upwards.
    fn scan(&mut self, from: &[u8], limit: usize, sum: &mut Sum);

    /// Reads up to `limit` entries from `from` (included) downwards.
    fn rev_scan(&mut self, from: &[u8], limit: usize, sum: &mut Sum) {
        let _ = (from, limit, sum);
        unreachable!("this peer says that it lacks rev_scan");
    }

    /// Takes a snapshot and keeps it in place of the one before.
    fn take_snapshot(&mut self) {
        unreachable!("this peer says that it lacks snapshots");
    }

    /// The value of the key in the snapshot that was taken last.
    fn get_snapshot(&mut self, key: &[u8]) -> Option<u64> {
        let _ = key;
        unreachable!("this peer says that it lacks snapshots");
    }
}

/// What a peer may need to know to begin.
#[derive(Debug, Clone, Copy)]
pub struct Begin<'a> {
    /// Shape of the keys that will come.
    pub keys: KeyKind,
    /// How many will come at most.
    pub entries: usize,
    /// An empty folder of a file system in memory.
    pub scratch: &'a Path,
}

/// Makes an empty peer.
pub type Make = fn(Begin<'_>) -> anyhow::Result<Box<dyn Peer>>;

/// A peer in the table of peers.
#[derive(Debug, Clone, Copy)]
pub struct Facts {
    /// Its name on the command line and in all results.
    pub name: &'static str,
    /// One line about it.
    pub about: &'static str,
    /// The most threads that may work on it at once; 2 stands for any number.
    pub threads: usize,
    /// What it cannot do.
    pub lacks: &'static [Workload],
    /// How to make one; none when this build leaves it out.
    pub make: Option<Make>,
}

impl Facts {
    /// Whether it can do the workload with this many threads.
    #[must_use]
    pub fn can(&self, workload: Workload, threads: usize) -> bool {
        threads <= self.threads && workload.takes(threads) && !self.lacks.contains(&workload)
    }
}

/// The value of an entry as the bytes that are stored.
#[must_use]
pub fn to_bytes(value: u64) -> [u8; 8] {
    value.to_le_bytes()
}

/// The value from the bytes that were stored.
///
/// # Panics
///
/// When there are not eight.
#[must_use]
pub fn from_bytes(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes.try_into().expect("values of eight bytes"))
}

/// A key as maps with typed keys hold it: inline where all keys have one length.
pub trait Key: Ord + Clone + Send + Sync + std::borrow::Borrow<Self::Probe> + 'static {
    /// What is looked up.
    type Probe: Ord + ?Sized;

    /// A key to keep.
    fn make(bytes: &[u8]) -> Self;

    /// A key to look up, without copying.
    fn probe(bytes: &[u8]) -> &Self::Probe;

    /// Its bytes.
    fn bytes(&self) -> &[u8];

    /// All keys from one on.
    fn upwards(bytes: &[u8]) -> (Bound<&Self::Probe>, Bound<&Self::Probe>) {
        (Bound::Included(Self::probe(bytes)), Bound::Unbounded)
    }

    /// All keys up to one.
    fn downwards(bytes: &[u8]) -> (Bound<&Self::Probe>, Bound<&Self::Probe>) {
        (Bound::Unbounded, Bound::Included(Self::probe(bytes)))
    }
}

impl<const N: usize> Key for [u8; N] {
    type Probe = Self;

    fn make(bytes: &[u8]) -> Self {
        *Self::probe(bytes)
    }

    fn probe(bytes: &[u8]) -> &Self {
        bytes.try_into().expect("keys of one length")
    }

    fn bytes(&self) -> &[u8] {
        self
    }
}

impl Key for Box<[u8]> {
    type Probe = [u8];

    fn make(bytes: &[u8]) -> Self {
        bytes.into()
    }

    fn probe(bytes: &[u8]) -> &[u8] {
        bytes
    }

    fn bytes(&self) -> &[u8] {
        self
    }
}

/// Makes a peer whose keys are typed for the shape that will come.
#[macro_export]
macro_rules! make_typed {
    ($peer:ident, $keys:expr) => {
        match $keys.width() {
            Some(16) => Box::new($peer::<[u8; 16]>::default()) as Box<dyn $crate::peer::Peer>,
            Some(32) => Box::new($peer::<[u8; 32]>::default()),
            _ => Box::new($peer::<Box<[u8]>>::default()),
        }
    };
}
