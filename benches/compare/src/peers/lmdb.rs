//! LMDB through heed, in a file system in memory, without syncing; each write is a transaction of
//! its own, and so is each read outside of a snapshot.

use std::ops::Bound;

use anyhow::Context;
use heed::types::Bytes;
use heed::{CommitOrAbort, Database, Env, EnvFlags, EnvOpenOptions, PutFlags, RoTxn, WithoutTls};

use crate::keys::{Keys, MOST_KEY_BYTES};
use crate::peer::{Begin, Peer, Worker, from_bytes, to_bytes};
use crate::sum::Sum;

type Table = Database<'static, Bytes, Bytes>;

struct Lmdb {
    env: &'static Env<WithoutTls>,
    table: Table,
}

pub(super) fn make(begin: Begin<'_>) -> anyhow::Result<Box<dyn Peer>> {
    let widest = begin.keys.width().unwrap_or(MOST_KEY_BYTES);
    let mut options = EnvOpenOptions::new().read_txn_without_tls();
    let bytes = (1 << 30) + begin.entries * 8 * (widest + 64);
    options.map_size(bytes.next_multiple_of(1 << 20)).max_readers(64);
    // SAFETY: losing what was not synced is wanted here; the file is ours alone, and what is mapped
    // for writing is never written but by LMDB.
    unsafe { options.flags(EnvFlags::NO_SYNC | EnvFlags::NO_META_SYNC | EnvFlags::WRITE_MAP) };
    // SAFETY: the folder is new, ours alone, and not opened twice.
    let env = unsafe { options.open(begin.scratch) }.context("lmdb")?;
    // The child that uses it ends soon after.
    let env: &'static Env<WithoutTls> = Box::leak(Box::new(env));
    let made = env.create_databases_and_commit(env.write_txn()?, |opener, txn| {
        opener.create_database(txn, None).map(CommitOrAbort::<_, ()>::Commit)
    })?;
    let table = made.commit().context("lmdb did not commit")?;
    Ok(Box::new(Lmdb { env, table }))
}

impl Peer for Lmdb {
    fn workers<'a>(&'a mut self, threads: usize) -> Vec<Box<dyn Worker + Send + 'a>> {
        let lmdb = &*self;
        let worker = || -> Box<dyn Worker + Send> { Box::new(Hand { lmdb, snapshot: None }) };
        std::iter::repeat_with(worker).take(threads).collect()
    }

    fn bulk_build(&mut self, sorted: &Keys) -> bool {
        let mut txn = self.env.write_txn().expect("write transaction");
        for (at, key) in sorted.iter().enumerate() {
            let value = to_bytes(at as u64);
            let put = self.table.put_with_flags(&mut txn, PutFlags::APPEND, key, &value);
            put.expect("put");
        }
        txn.commit().expect("commit");
        true
    }
}

struct Hand<'a> {
    lmdb: &'a Lmdb,
    snapshot: Option<RoTxn<'static, WithoutTls>>,
}

impl Hand<'_> {
    fn read(&self) -> RoTxn<'static, WithoutTls> {
        self.lmdb.env.read_txn().expect("read transaction")
    }
}

impl Worker for Hand<'_> {
    fn insert(&mut self, key: &[u8], value: u64) {
        let mut txn = self.lmdb.env.write_txn().expect("write transaction");
        self.lmdb.table.put(&mut txn, key, &to_bytes(value)).expect("put");
        txn.commit().expect("commit");
    }

    fn remove(&mut self, key: &[u8]) {
        let mut txn = self.lmdb.env.write_txn().expect("write transaction");
        self.lmdb.table.delete(&mut txn, key).expect("delete");
        txn.commit().expect("commit");
    }

    fn get(&mut self, key: &[u8]) -> Option<u64> {
        self.lmdb.table.get(&self.read(), key).expect("get").map(from_bytes)
    }

    fn scan(&mut self, from: &[u8], limit: usize, sum: &mut Sum) {
        let txn = self.read();
        let range = (Bound::Included(from), Bound::Unbounded);
        for entry in self.lmdb.table.range(&txn, &range).expect("range").take(limit) {
            let (key, value) = entry.expect("entry");
            sum.entry(key, from_bytes(value));
        }
    }

    fn rev_scan(&mut self, from: &[u8], limit: usize, sum: &mut Sum) {
        let txn = self.read();
        let range = (Bound::Unbounded, Bound::Included(from));
        for entry in self.lmdb.table.rev_range(&txn, &range).expect("range").take(limit) {
            let (key, value) = entry.expect("entry");
            sum.entry(key, from_bytes(value));
        }
    }

    fn take_snapshot(&mut self) {
        self.snapshot = Some(self.read());
    }

    fn get_snapshot(&mut self, key: &[u8]) -> Option<u64> {
        let txn = self.snapshot.as_ref()?;
        self.lmdb.table.get(txn, key).expect("get").map(from_bytes)
    }
}
