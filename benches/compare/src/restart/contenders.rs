//! Who is compared: how each is filled, backed up, opened by a fresh process, and read.
//!
//! A backup is durable when it is said to be made: each syncs its files and their names, by itself where it does
//! that, else here.

use std::ops::ControlFlow;
use std::path::Path;

use anyhow::Context;
use whimbrel_backup::block::{BlockOptions, Compression};
use whimbrel_backup::{ExportOptions, export};
use whimbrel_mvcc::{Clock, KeyRange, Snapshot, Store, StoreOptions, StoreSegmentBuilder};
use whimbrel_recovery::{BackupView, RestoreOptions, restore};

use crate::keys::Keys;
use crate::peer::{from_bytes, to_bytes};
use crate::sum::Sum;

/// One of them.
pub(super) struct Contender {
    pub(super) name: &'static str,
    /// What its backup is, and what the fresh process does.
    pub(super) about: &'static str,
    /// Gives each key its position for a value; what it needs on disk goes into the folder.
    pub(super) fill: fn(&Keys, &Path) -> anyhow::Result<Box<dyn Filled>>,
    /// Opens a backup, after which any key can be looked up.
    pub(super) open: fn(&Path) -> anyhow::Result<Box<dyn Opened>>,
}

/// One with its content.
pub(super) trait Filled {
    /// Makes a backup of the folder, which is not there.
    fn back_up(&self, to: &Path) -> anyhow::Result<()>;
}

/// A backup that is open, for any number of threads.
pub(super) trait Opened: Sync {
    /// Reads the entries of a range, whose lower end is in it and whose upper end is not, in order.
    fn scan(&self, range: &KeyRange) -> anyhow::Result<Sum>;
}

pub(super) const CONTENDERS: &[Contender] = &[
    Contender {
        name: "whimbrel",
        about: "export; restored into a store",
        fill: packed,
        open: restored,
    },
    Contender {
        name: "whimbrel-view",
        about: "export; read from the mapped files",
        fill: packed,
        open: viewed,
    },
    Contender {
        name: "whimbrel-raw",
        about: "export without compression; read from the mapped files",
        fill: raw,
        open: viewed,
    },
    #[cfg(feature = "surrealmx")]
    Contender {
        name: "surrealmx",
        about: "snapshot with LZ4; loaded",
        fill: surrealmx::fill,
        open: surrealmx::open,
    },
    #[cfg(feature = "lmdb")]
    Contender {
        name: "lmdb",
        about: "compacted copy; read from the mapped file",
        fill: lmdb::fill,
        open: lmdb::open,
    },
    #[cfg(feature = "rocksdb")]
    Contender {
        name: "rocksdb",
        about: "checkpoint of one memtable, which writes a table with LZ4; read from the table",
        fill: rocksdb::fill,
        open: rocksdb::open,
    },
];

struct Ours {
    store: Store,
    options: ExportOptions,
}

impl Filled for Ours {
    fn back_up(&self, to: &Path) -> anyhow::Result<()> {
        export(&[(STORE.to_owned(), self.store.snapshot())], to, &self.options)?;
        Ok(())
    }
}

/// Name of our store.
const STORE: &str = "entries";

fn packed(keys: &Keys, _: &Path) -> anyhow::Result<Box<dyn Filled>> {
    whimbrel(keys, Compression::Lz4)
}

fn raw(keys: &Keys, _: &Path) -> anyhow::Result<Box<dyn Filled>> {
    whimbrel(keys, Compression::None)
}

fn whimbrel(keys: &Keys, compression: Compression) -> anyhow::Result<Box<dyn Filled>> {
    let mut builder = StoreSegmentBuilder::new();
    for (at, key) in keys.iter().enumerate() {
        builder.push(key, &to_bytes(at as u64))?;
    }
    let segments = vec![builder.finish()];
    let store = Store::from_segments(&Clock::new(), StoreOptions::new(), segments)?;
    let blocks = BlockOptions::default().with_compression(compression);
    Ok(Box::new(Ours { store, options: ExportOptions::default().with_blocks(blocks) }))
}

fn restored(from: &Path) -> anyhow::Result<Box<dyn Opened>> {
    let restored = restore(from, &Clock::new(), &RestoreOptions::default())?;
    let (_, store) = restored.stores.first().context("the backup has a store")?;
    Ok(Box::new(store.snapshot()))
}

impl Opened for Snapshot {
    fn scan(&self, range: &KeyRange) -> anyhow::Result<Sum> {
        let mut sum = Sum::default();
        Snapshot::scan(self, range.clone(), |key, value| {
            sum.entry(key, from_bytes(value));
            ControlFlow::Continue(())
        });
        Ok(sum)
    }
}

fn viewed(from: &Path) -> anyhow::Result<Box<dyn Opened>> {
    Ok(Box::new(BackupView::open(from)?))
}

impl Opened for BackupView {
    fn scan(&self, range: &KeyRange) -> anyhow::Result<Sum> {
        let mut sum = Sum::default();
        self.store(STORE)?.scan(range.clone(), |key, value| {
            sum.entry(key, from_bytes(value));
            ControlFlow::Continue(())
        })?;
        Ok(sum)
    }
}

/// The key that a bound of a range names.
#[cfg(any(feature = "surrealmx", feature = "rocksdb"))]
fn named(bound: std::ops::Bound<&[u8]>) -> Option<&[u8]> {
    match bound {
        std::ops::Bound::Included(key) | std::ops::Bound::Excluded(key) => Some(key),
        std::ops::Bound::Unbounded => None,
    }
}

#[cfg(feature = "surrealmx")]
mod surrealmx {
    use std::fs;

    use ::surrealmx::{CompressionMode, Database, DatabaseOptions, PersistenceOptions};

    use super::*;

    /// Entries of one transaction.
    const BATCH: usize = 10_000;

    struct Surreal {
        base: Database,
        live: std::path::PathBuf,
    }

    fn base(dir: &Path) -> anyhow::Result<Database> {
        let persistence = PersistenceOptions::new(dir).with_compression(CompressionMode::Lz4);
        Ok(Database::new_with_persistence(DatabaseOptions::default(), persistence)?)
    }

    pub(super) fn fill(keys: &Keys, live: &Path) -> anyhow::Result<Box<dyn Filled>> {
        let base = base(live)?;
        let mut transaction = base.transaction(true);
        for (at, key) in keys.iter().enumerate() {
            transaction.set(key.to_vec(), to_bytes(at as u64).to_vec())?;
            if at % BATCH == BATCH - 1 {
                transaction.commit()?;
                transaction = base.transaction(true);
            }
        }
        transaction.commit()?;
        Ok(Box::new(Surreal { base, live: live.to_owned() }))
    }

    impl Filled for Surreal {
        fn back_up(&self, to: &Path) -> anyhow::Result<()> {
            let persistence = self.base.persistence().context("it was opened with a folder")?;
            persistence.snapshot().map_err(|error| anyhow::anyhow!("{error:?}"))?;
            // It was synced, and its folder has nothing else: no log was asked for.
            fs::rename(&self.live, to)?;
            Ok(())
        }
    }

    pub(super) fn open(from: &Path) -> anyhow::Result<Box<dyn Opened>> {
        Ok(Box::new(base(from)?))
    }

    impl Opened for Database {
        fn scan(&self, range: &KeyRange) -> anyhow::Result<Sum> {
            let mut sum = Sum::default();
            let transaction = self.transaction(false);
            let behind_all: &[u8] = &[0xFF; crate::keys::MOST_KEY_BYTES + 1];
            let from = named(range.lo()).unwrap_or_default();
            let entries = transaction.scan_iter(from..named(range.hi()).unwrap_or(behind_all))?;
            for (key, value) in entries {
                sum.entry(key.as_slice(), from_bytes(value.as_slice()));
            }
            Ok(sum)
        }
    }
}

#[cfg(feature = "lmdb")]
mod lmdb {
    use std::fs;

    use heed::types::Bytes;
    use heed::{
        CommitOrAbort, CompactionOption, Database, Env, EnvFlags, EnvOpenOptions, PutFlags,
    };

    use super::*;

    const FILE: &str = "data.mdb";

    struct Lmdb(Env);

    pub(super) fn fill(keys: &Keys, live: &Path) -> anyhow::Result<Box<dyn Filled>> {
        let widest = keys.iter().map(<[u8]>::len).max().unwrap_or_default();
        let mut options = EnvOpenOptions::new();
        options.map_size(((1 << 30) + keys.len() * 4 * (widest + 64)).next_multiple_of(1 << 20));
        // SAFETY: losing what was not synced is wanted here; the file is ours alone.
        unsafe { options.flags(EnvFlags::NO_SYNC | EnvFlags::NO_META_SYNC) };
        // SAFETY: the folder is new, ours alone, and not opened twice.
        let env = unsafe { options.open(live) }?;
        let made = env.create_databases_and_commit(env.write_txn()?, |opener, txn| {
            opener.create_database(txn, None).map(CommitOrAbort::<_, ()>::Commit)
        })?;
        let table: Database<Bytes, Bytes> = made.commit().context("lmdb did not commit")?;
        let mut txn = env.write_txn()?;
        for (at, key) in keys.iter().enumerate() {
            table.put_with_flags(&mut txn, PutFlags::APPEND, key, &to_bytes(at as u64))?;
        }
        txn.commit()?;
        Ok(Box::new(Lmdb(env)))
    }

    impl Filled for Lmdb {
        fn back_up(&self, to: &Path) -> anyhow::Result<()> {
            fs::create_dir(to)?;
            self.0.copy_to_path(to.join(FILE), CompactionOption::Enabled)?.sync_all()?;
            fs::File::open(to)?.sync_all()?;
            Ok(())
        }
    }

    struct Copied {
        env: &'static Env,
        table: Database<'static, Bytes, Bytes>,
    }

    pub(super) fn open(from: &Path) -> anyhow::Result<Box<dyn Opened>> {
        let mut options = EnvOpenOptions::new();
        let bytes = fs::metadata(from.join(FILE))?.len();
        options.map_size(usize::try_from(bytes)?.next_multiple_of(1 << 20));
        // SAFETY: only read, by nobody else.
        unsafe { options.flags(EnvFlags::READ_ONLY | EnvFlags::NO_LOCK) };
        // SAFETY: not opened twice, and nobody writes.
        let env = unsafe { options.open(from) }?;
        // The process that uses it ends soon after.
        let env: &'static Env = Box::leak(Box::new(env));
        let found = env.open_databases_and_commit(env.read_txn()?, |opener, txn| {
            let table = opener.open_database(txn, None)?.context("it has no table")?;
            Ok::<_, anyhow::Error>(CommitOrAbort::<_, ()>::Commit(table))
        })?;
        let table = found.commit().context("lmdb did not commit")?;
        Ok(Box::new(Copied { env, table }))
    }

    impl Opened for Copied {
        fn scan(&self, range: &KeyRange) -> anyhow::Result<Sum> {
            let txn = self.env.read_txn()?;
            let mut sum = Sum::default();
            for entry in self.table.range(&txn, &(range.lo(), range.hi()))? {
                let (key, value) = entry?;
                sum.entry(key, from_bytes(value));
            }
            Ok(sum)
        }
    }
}

#[cfg(feature = "rocksdb")]
mod rocksdb {
    use ::rocksdb::checkpoint::Checkpoint;
    use ::rocksdb::{DB, DBCompressionType, Options, ReadOptions, WriteOptions};

    use super::*;

    struct Rocks(DB);

    fn options() -> Options {
        let mut options = Options::default();
        options.create_if_missing(true);
        options.set_compression_type(DBCompressionType::Lz4);
        options.set_disable_auto_compactions(true);
        options
    }

    pub(super) fn fill(keys: &Keys, live: &Path) -> anyhow::Result<Box<dyn Filled>> {
        let widest = keys.iter().map(<[u8]>::len).max().unwrap_or_default();
        let mut options = options();
        options.set_write_buffer_size((64 << 20) + keys.len() * 2 * (widest + 80));
        options.set_db_write_buffer_size(0);
        let base = DB::open(&options, live)?;
        let mut write = WriteOptions::default();
        write.disable_wal(true);
        for (at, key) in keys.iter().enumerate() {
            base.put_opt(key, to_bytes(at as u64), &write)?;
        }
        Ok(Box::new(Rocks(base)))
    }

    impl Filled for Rocks {
        fn back_up(&self, to: &Path) -> anyhow::Result<()> {
            Ok(Checkpoint::new(&self.0)?.create_checkpoint(to)?)
        }
    }

    pub(super) fn open(from: &Path) -> anyhow::Result<Box<dyn Opened>> {
        Ok(Box::new(DB::open_for_read_only(&options(), from, false)?))
    }

    impl Opened for DB {
        fn scan(&self, range: &KeyRange) -> anyhow::Result<Sum> {
            let mut bounds = ReadOptions::default();
            if let Some(to) = named(range.hi()) {
                bounds.set_iterate_upper_bound(to);
            }
            let mut entries = self.raw_iterator_opt(bounds);
            match named(range.lo()) {
                Some(from) => entries.seek(from),
                None => entries.seek_to_first(),
            }
            let mut sum = Sum::default();
            while let Some((key, value)) = entries.item() {
                sum.entry(key, from_bytes(value));
                entries.next();
            }
            entries.status()?;
            Ok(sum)
        }
    }
}
