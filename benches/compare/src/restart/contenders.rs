//! Who is compared: how each is filled, backed up, and read by a fresh process.

use std::ops::ControlFlow;
use std::path::Path;

use anyhow::Context;
use whimbrel_backup::{ExportOptions, export};
use whimbrel_mvcc::{Clock, Store, StoreOptions, StoreSegmentBuilder};
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
    /// Reads all entries of a backup in order.
    pub(super) read: fn(&Path) -> anyhow::Result<Sum>,
}

/// One with its content.
pub(super) trait Filled {
    /// Makes a backup of the folder, which is not there.
    fn back_up(&self, to: &Path) -> anyhow::Result<()>;
}

pub(super) const CONTENDERS: &[Contender] = &[
    Contender {
        name: "whimbrel",
        about: "export; restored into a store",
        fill: whimbrel,
        read: restored,
    },
    Contender {
        name: "whimbrel-view",
        about: "export; read from the mapped files",
        fill: whimbrel,
        read: viewed,
    },
    #[cfg(feature = "surrealmx")]
    Contender {
        name: "surrealmx",
        about: "snapshot with LZ4; loaded",
        fill: surrealmx::fill,
        read: surrealmx::read,
    },
    #[cfg(feature = "lmdb")]
    Contender {
        name: "lmdb",
        about: "compacted copy; read from the mapped file",
        fill: lmdb::fill,
        read: lmdb::read,
    },
    #[cfg(feature = "rocksdb")]
    Contender {
        name: "rocksdb",
        about: "checkpoint of one memtable, which writes a table with LZ4; read from the table",
        fill: rocksdb::fill,
        read: rocksdb::read,
    },
];

impl Filled for Store {
    fn back_up(&self, to: &Path) -> anyhow::Result<()> {
        export(&[("entries".to_owned(), self.snapshot())], to, &ExportOptions::default())?;
        Ok(())
    }
}

fn whimbrel(keys: &Keys, _: &Path) -> anyhow::Result<Box<dyn Filled>> {
    let mut builder = StoreSegmentBuilder::new();
    for (at, key) in keys.iter().enumerate() {
        builder.push(key, &to_bytes(at as u64))?;
    }
    let segments = vec![builder.finish()];
    Ok(Box::new(Store::from_segments(&Clock::new(), StoreOptions::new(), segments)?))
}

fn restored(from: &Path) -> anyhow::Result<Sum> {
    let restored = restore(from, &Clock::new(), &RestoreOptions::default())?;
    let (_, store) = restored.stores.first().context("the backup has a store")?;
    let mut sum = Sum::default();
    store.snapshot().scan(.., |key, value| {
        sum.entry(key, from_bytes(value));
        ControlFlow::Continue(())
    });
    Ok(sum)
}

fn viewed(from: &Path) -> anyhow::Result<Sum> {
    let view = BackupView::open(from)?;
    let mut entries = view.store("entries")?.range(..);
    let mut sum = Sum::default();
    while let Some((key, value)) = entries.next_entry()? {
        sum.entry(key, from_bytes(value));
    }
    Ok(sum)
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

    fn open(dir: &Path) -> anyhow::Result<Database> {
        let persistence = PersistenceOptions::new(dir).with_compression(CompressionMode::Lz4);
        Ok(Database::new_with_persistence(DatabaseOptions::default(), persistence)?)
    }

    pub(super) fn fill(keys: &Keys, live: &Path) -> anyhow::Result<Box<dyn Filled>> {
        let base = open(live)?;
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
            // Its folder has the snapshot and nothing else: no log was asked for.
            fs::rename(&self.live, to)?;
            Ok(())
        }
    }

    pub(super) fn read(from: &Path) -> anyhow::Result<Sum> {
        let base = open(from)?;
        let mut sum = Sum::default();
        let transaction = base.transaction(false);
        let (none, end): (&[u8], &[u8]) = (&[], &[0xFF; crate::keys::MOST_KEY_BYTES + 1]);
        for (key, value) in transaction.scan_iter(none..end)? {
            sum.entry(key.as_slice(), from_bytes(value.as_slice()));
        }
        Ok(sum)
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
            Ok(())
        }
    }

    pub(super) fn read(from: &Path) -> anyhow::Result<Sum> {
        let mut options = EnvOpenOptions::new();
        let bytes = fs::metadata(from.join(FILE))?.len();
        options.map_size(usize::try_from(bytes)?.next_multiple_of(1 << 20));
        // SAFETY: only read, by nobody else.
        unsafe { options.flags(EnvFlags::READ_ONLY | EnvFlags::NO_LOCK) };
        // SAFETY: not opened twice, and nobody writes.
        let env = unsafe { options.open(from) }?;
        let found = env.open_databases_and_commit(env.read_txn()?, |opener, txn| {
            let table = opener.open_database(txn, None)?.context("it has no table")?;
            Ok::<_, anyhow::Error>(CommitOrAbort::<_, ()>::Commit(table))
        })?;
        let table: Database<Bytes, Bytes> = found.commit().context("lmdb did not commit")?;
        let txn = env.read_txn()?;
        let mut sum = Sum::default();
        for entry in table.iter(&txn)? {
            let (key, value) = entry?;
            sum.entry(key, from_bytes(value));
        }
        Ok(sum)
    }
}

#[cfg(feature = "rocksdb")]
mod rocksdb {
    use ::rocksdb::checkpoint::Checkpoint;
    use ::rocksdb::{DB, DBCompressionType, Options, WriteOptions};

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

    pub(super) fn read(from: &Path) -> anyhow::Result<Sum> {
        let base = DB::open_for_read_only(&options(), from, false)?;
        let mut entries = base.raw_iterator();
        entries.seek_to_first();
        let mut sum = Sum::default();
        while let Some((key, value)) = entries.item() {
            sum.entry(key, from_bytes(value));
            entries.next();
        }
        entries.status()?;
        Ok(sum)
    }
}
