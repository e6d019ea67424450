//! RocksDB without its log, with a memtable that is large enough for everything.

use anyhow::Context;
use rocksdb::{DB, Options, Snapshot, WriteOptions};

use crate::keys::MOST_KEY_BYTES;
use crate::peer::{Begin, Peer, Worker, from_bytes, to_bytes};
use crate::sum::Sum;

struct Rocks(DB);

pub(super) fn make(begin: Begin<'_>) -> anyhow::Result<Box<dyn Peer>> {
    let widest = begin.keys.width().unwrap_or(MOST_KEY_BYTES);
    let mut options = Options::default();
    options.create_if_missing(true);
    // Five versions of every key fit in.
    options.set_write_buffer_size((64 << 20) + begin.entries * 5 * (widest + 80));
    options.set_db_write_buffer_size(0);
    options.set_max_write_buffer_number(2);
    options.set_disable_auto_compactions(true);
    let base = DB::open(&options, begin.scratch).context("rocksdb")?;
    Ok(Box::new(Rocks(base)))
}

impl Peer for Rocks {
    fn workers<'a>(&'a mut self, threads: usize) -> Vec<Box<dyn Worker + Send + 'a>> {
        let base = &self.0;
        let worker = || -> Box<dyn Worker + Send> {
            let mut write = WriteOptions::default();
            write.disable_wal(true);
            Box::new(Hand { base, write, snapshot: None })
        };
        std::iter::repeat_with(worker).take(threads).collect()
    }
}

struct Hand<'a> {
    base: &'a DB,
    write: WriteOptions,
    snapshot: Option<Snapshot<'a>>,
}

impl Worker for Hand<'_> {
    fn insert(&mut self, key: &[u8], value: u64) {
        self.base.put_opt(key, to_bytes(value), &self.write).expect("put");
    }

    fn remove(&mut self, key: &[u8]) {
        self.base.delete_opt(key, &self.write).expect("delete");
    }

    fn get(&mut self, key: &[u8]) -> Option<u64> {
        self.base.get_pinned(key).expect("get").map(|value| from_bytes(&value))
    }

    fn get_many(&mut self, keys: &[&[u8]], sum: &mut Sum) {
        for value in self.base.multi_get(keys) {
            sum.found(value.expect("get").map(|value| from_bytes(&value)));
        }
    }

    fn scan(&mut self, from: &[u8], limit: usize, sum: &mut Sum) {
        let mut entries = self.base.raw_iterator();
        entries.seek(from);
        for _ in 0..limit {
            let Some((key, value)) = entries.item() else { return };
            sum.entry(key, from_bytes(value));
            entries.next();
        }
    }

    fn rev_scan(&mut self, from: &[u8], limit: usize, sum: &mut Sum) {
        let mut entries = self.base.raw_iterator();
        entries.seek_for_prev(from);
        for _ in 0..limit {
            let Some((key, value)) = entries.item() else { return };
            sum.entry(key, from_bytes(value));
            entries.prev();
        }
    }

    fn take_snapshot(&mut self) {
        self.snapshot = Some(self.base.snapshot());
    }

    fn get_snapshot(&mut self, key: &[u8]) -> Option<u64> {
        let value = self.snapshot.as_ref()?.get_pinned(key).expect("get");
        value.map(|value| from_bytes(&value))
    }
}
