//! surrealmx: multi-version, with transactions; each write is a transaction of its own.

use surrealmx::{Database, Transaction};

use crate::keys::MOST_KEY_BYTES;
use crate::peer::{Begin, Peer, Worker, from_bytes, to_bytes};
use crate::sum::Sum;

/// Greater than every key.
const END: [u8; MOST_KEY_BYTES + 1] = [0xFF; MOST_KEY_BYTES + 1];

struct Surreal(Database);

pub(super) fn make(_: Begin<'_>) -> anyhow::Result<Box<dyn Peer>> {
    Ok(Box::new(Surreal(Database::new())))
}

impl Peer for Surreal {
    fn workers<'a>(&'a mut self, threads: usize) -> Vec<Box<dyn Worker + Send + 'a>> {
        let base = &self.0;
        let worker = || -> Box<dyn Worker + Send> { Box::new(Hand { base, snapshot: None }) };
        std::iter::repeat_with(worker).take(threads).collect()
    }

    fn collect(&mut self) {
        self.0.run_cleanup();
        self.0.run_gc();
    }
}

struct Hand<'a> {
    base: &'a Database,
    snapshot: Option<Transaction>,
}

impl Worker for Hand<'_> {
    fn insert(&mut self, key: &[u8], value: u64) {
        self.base.set(key, to_bytes(value)).expect("set");
    }

    fn remove(&mut self, key: &[u8]) {
        self.base.del(key).expect("del");
    }

    fn get(&mut self, key: &[u8]) -> Option<u64> {
        self.base.with_value(key, from_bytes).expect("get")
    }

    fn get_many(&mut self, keys: &[&[u8]], sum: &mut Sum) {
        let transaction = self.base.transaction(false);
        for value in transaction.getm(keys.to_vec()).expect("getm") {
            sum.found(value.map(|value| from_bytes(value.as_slice())));
        }
    }

    fn scan(&mut self, from: &[u8], limit: usize, sum: &mut Sum) {
        let read = self.base.scan_with(from..&END[..], None, Some(limit), |key, value| {
            sum.entry(key.as_slice(), from_bytes(value));
            true
        });
        read.expect("scan");
    }

    fn rev_scan(&mut self, from: &[u8], limit: usize, sum: &mut Sum) {
        let transaction = self.base.transaction(false);
        let end = [from, &[0]].concat();
        let none: &[u8] = &[];
        let entries = transaction.scan_iter_reverse(none..&end[..]).expect("scan");
        for (key, value) in entries.take(limit) {
            sum.entry(key.as_slice(), from_bytes(value.as_slice()));
        }
    }

    fn take_snapshot(&mut self) {
        self.snapshot = Some(self.base.transaction(false));
    }

    fn get_snapshot(&mut self, key: &[u8]) -> Option<u64> {
        self.snapshot.as_ref()?.with_value(key, from_bytes).expect("get")
    }
}
