//! Goal: a backup in an object store is whole or not there, whatever fails, and however often an answer is lost.
//!
//! Method: the store of the crate `object_store` that lives in memory, behind a double that fails a chosen
//! request before or after it was carried out; every request of an export, a backup into a repository and a prune
//! fails once in both ways.

#![allow(
    clippy::unwrap_used,
    clippy::allow_attributes,
    reason = "a test stops at the first surprise"
)]

use std::fmt;
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use async_trait::async_trait;
use futures_core::stream::{BoxStream, Stream};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use whimbrel_backup::object::{ObjectShelf, ObjectStorage};
use whimbrel_backup::repository::{Kind, Repository, State, back_up_on, prune_on};
use whimbrel_backup::storage::{Shelf, Storage};
use whimbrel_backup::{Backup, Error, ExportOptions, Work, export_to, verify_backup, verify_chain};
use whimbrel_mvcc::{Clock, Snapshot, Store};

/// How a request goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// It does not arrive.
    Lost,
    /// It is carried out, and its answer does not arrive.
    AnswerLost,
    /// The same, and it was sent again: a conditional put finds its own object.
    SentAgain,
}

/// A store that fails one request, and counts them.
#[derive(Debug)]
struct Faulty {
    inner: InMemory,
    calls: AtomicUsize,
    gets: AtomicUsize,
    fault: Mutex<Option<(usize, Fault)>>,
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a store that fails")
    }
}

impl Faulty {
    fn new() -> Arc<Self> {
        let (calls, gets) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Arc::new(Self { inner: InMemory::new(), calls, gets, fault: Mutex::new(None) })
    }

    /// From now on the request of that number, counted from 1, goes wrong.
    fn fail(&self, at: usize, fault: Fault) {
        self.calls.store(0, Ordering::SeqCst);
        *self.fault.lock().unwrap() = Some((at, fault));
    }

    fn heal(&self) {
        *self.fault.lock().unwrap() = None;
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    fn next(&self) -> Option<Fault> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        self.fault.lock().unwrap().filter(|(at, _)| *at == call).map(|(_, fault)| fault)
    }

    async fn call<T: Send>(&self, work: impl Future<Output = Result<T>> + Send) -> Result<T> {
        match self.next() {
            None => work.await,
            Some(Fault::Lost) => Err(lost()),
            Some(Fault::AnswerLost | Fault::SentAgain) => {
                work.await?;
                Err(lost())
            }
        }
    }
}

fn lost() -> object_store::Error {
    object_store::Error::Generic { store: "double", source: "no answer".into() }
}

/// Removals whose answers are lost, whatever became of them.
struct Unanswered(BoxStream<'static, Result<Path>>);

impl Stream for Unanswered {
    type Item = Result<Path>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.as_mut().poll_next(context).map(|next| next.map(|_| Err(lost())))
    }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(
        &self,
        at: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        if options.mode == PutMode::Create {
            let call = self.calls() + 1;
            let again = (call, Fault::SentAgain);
            if *self.fault.lock().unwrap() == Some(again) {
                self.next();
                self.inner.put_opts(at, payload.clone(), options.clone()).await?;
                return self.inner.put_opts(at, payload, options).await;
            }
        }
        self.call(self.inner.put_opts(at, payload, options)).await
    }

    async fn put_multipart_opts(
        &self,
        at: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.call(self.inner.put_multipart_opts(at, options)).await
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> Result<GetResult> {
        self.gets.fetch_add(usize::from(!options.head), Ordering::SeqCst);
        self.call(self.inner.get_opts(at, options)).await
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        match self.next() {
            None => self.inner.delete_stream(paths),
            Some(Fault::Lost) => Box::pin(Unanswered(paths)),
            Some(Fault::AnswerLost | Fault::SentAgain) => {
                Box::pin(Unanswered(self.inner.delete_stream(paths)))
            }
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.call(self.inner.list_with_delimiter(prefix)).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.call(self.inner.copy_opts(from, to, options)).await
    }
}

fn at(store: &Arc<Faulty>, prefix: &str) -> ObjectStorage {
    ObjectStorage::new(Arc::clone(store) as Arc<dyn ObjectStore>, prefix, "memory://").unwrap()
}

fn options() -> ExportOptions {
    ExportOptions::default().with_shards_per_store(3).with_work(Work::default().with_threads(1))
}

/// A store of so many keys, with values that do not compress.
fn filled(keys: u64, value_len: usize) -> Vec<(String, Snapshot)> {
    let store = Store::new(&Clock::new());
    let mut state = 1_u64;
    for key in 0..keys {
        let value: Vec<u8> = (0..value_len)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 56) as u8
            })
            .collect();
        store.put(key.to_be_bytes(), value).unwrap();
    }
    vec![("birds".to_owned(), store.snapshot())]
}

fn entries(storage: &ObjectStorage) -> std::result::Result<u64, Error> {
    let backup = Backup::open_in(Arc::new(storage.clone()))?;
    Ok(verify_backup(&backup, &Work::default())?.entries)
}

#[test]
fn what_is_longer_than_a_part_comes_back_with_few_requests() {
    let faulty = Faulty::new();
    let storage = at(&faulty, "backups/monday");
    // 50 MB in three shards: each of two parts, the last one shorter.
    let report = export_to(&filled(1000, 50_000), &storage, &options()).unwrap();
    assert!(report.stored_bytes > 50_000_000);
    faulty.gets.store(0, Ordering::SeqCst);
    assert_eq!(entries(&storage).unwrap(), 1000);
    // Of 4 MiB each, and some for manifest, ends and indexes.
    let gets = faulty.gets.load(Ordering::SeqCst);
    assert!(gets <= 50 / 4 + 3 * 8, "{gets} requests");
    match export_to(&filled(1, 1), &storage, &options()) {
        Err(Error::AlreadyABackup { dir }) => assert!(dir.ends_with("backups/monday")),
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_request_of_an_export_fails_once() {
    let snapshots = filled(40, 10);
    let calls = {
        let faulty = Faulty::new();
        export_to(&snapshots, &at(&faulty, "x"), &options()).unwrap();
        faulty.calls()
    };
    assert!(calls > 10, "{calls}");
    let (mut failed, mut made) = (0, 0);
    for fault in [Fault::Lost, Fault::AnswerLost, Fault::SentAgain] {
        for call in 1..=calls {
            let faulty = Faulty::new();
            let storage = at(&faulty, "x");
            faulty.fail(call, fault);
            let done = export_to(&snapshots, &storage, &options());
            faulty.heal();
            match (done, entries(&storage)) {
                (Ok(_), found) => {
                    made += 1;
                    assert_eq!(found.unwrap(), 40, "{fault:?} at {call}");
                }
                (Err(_), Err(Error::NoManifest { .. })) => failed += 1,
                // Only where nobody could know.
                (Err(Error::Io { source, .. }), Ok(found)) => {
                    assert_eq!((source.kind(), found), (io::ErrorKind::TimedOut, 40));
                }
                other => panic!("{fault:?} at {call}: {other:?}"),
            }
        }
    }
    assert!(failed > 10 && made > 3, "{failed} failed, {made} were made");
}

#[test]
fn a_name_is_created_once_and_known_for_ones_own_when_its_answer_is_lost() {
    let faulty = Faulty::new();
    let storage = at(&faulty, "x");
    faulty.fail(1, Fault::SentAgain);
    drop(storage.create_new("claim").unwrap());
    faulty.heal();
    let error = storage.create_new("claim").err().unwrap();
    assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
}

#[test]
fn what_gets_another_name_keeps_it_and_nobody_knows_says_so() {
    for (fault, expected) in [
        (Fault::SentAgain, None),
        (Fault::AnswerLost, None),
        (Fault::Lost, Some(io::ErrorKind::TimedOut)),
    ] {
        let faulty = Faulty::new();
        let storage = at(&faulty, "x");
        let mut file = storage.create_new("old").unwrap();
        file.write_all(b"bytes").unwrap();
        file.sync().unwrap();
        assert!(file.write_all(b"more").is_err(), "it cannot grow");
        // It is looked at, read, and put.
        faulty.fail(3, fault);
        let done = storage.rename("old", "new");
        faulty.heal();
        assert_eq!(done.err().map(|error| error.kind()), expected, "{fault:?}");
        let names: Vec<String> = storage.list().unwrap().into_iter().map(|it| it.name).collect();
        assert_eq!(names, [if expected.is_none() { "new" } else { "old" }]);
    }
    // What has the name already stays.
    let storage = at(&Faulty::new(), "x");
    for name in ["old", "new"] {
        let mut file = storage.create_new(name).unwrap();
        file.write_all(name.as_bytes()).unwrap();
        file.sync().unwrap();
    }
    assert_eq!(storage.rename("old", "new").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(storage.list().unwrap().len(), 2);
}

#[test]
fn an_object_that_is_replaced_under_its_reader_is_refused() {
    let storage = at(&Faulty::new(), "x");
    let write = |bytes: &[u8]| {
        let mut file = storage.create_new("file").unwrap();
        file.write_all(bytes).unwrap();
        file.sync().unwrap();
    };
    write(&[1; 100]);
    let source = storage.open("file").unwrap();
    let mut scratch = Vec::new();
    assert_eq!(source.bytes(10, 20, &mut scratch).unwrap(), [1; 20]);
    storage.remove("file").unwrap();
    write(&[2; 100]);
    let error = source.bytes(40, 20, &mut scratch).unwrap_err();
    assert!(error.to_string().contains("replaced"), "{error}");
}

/// Two chains, of two and one backups.
fn repository(faulty: &Arc<Faulty>) -> Arc<dyn Shelf> {
    let shelf: Arc<dyn Shelf> = Arc::new(ObjectShelf::below(at(faulty, "birds")));
    for kind in [Kind::Full, Kind::Incremental, Kind::Full] {
        back_up_on(&shelf, &filled(30, 5), kind, &options(), None).unwrap();
    }
    shelf
}

/// The chains that are whole, by the numbers of their newest backups; all of them verified.
fn whole(shelf: &Arc<dyn Shelf>) -> Vec<u64> {
    let repository = Repository::open_on(Arc::clone(shelf)).unwrap();
    let verified = repository.backups().map(|(number, backup)| {
        let chain = repository.chain(backup).unwrap();
        assert_eq!(verify_chain(&chain, &Work::default()).unwrap().backups, chain.backups().len());
        number
    });
    verified.collect()
}

#[test]
fn a_repository_grows_is_locked_and_is_pruned() {
    let faulty = Faulty::new();
    let shelf = repository(&faulty);
    assert_eq!(whole(&shelf), [1, 2, 3]);
    let lock = shelf.lock().unwrap();
    match back_up_on(&shelf, &filled(1, 1), Kind::Full, &options(), None) {
        Err(error @ Error::RepositoryBusy { .. }) => {
            let said = error.to_string();
            assert!(said.contains("process") && said.contains("remove memory:"), "{said}");
        }
        other => panic!("{other:?}"),
    }
    drop(lock);
    let report = prune_on(&shelf, NonZeroUsize::MIN).unwrap();
    assert_eq!((report.kept.len(), report.removed.len()), (1, 2));
    assert_eq!(whole(&shelf), [3]);
    assert_eq!(at(&faulty, "birds").list().unwrap().len(), 1, "nothing else is left, and no lock");
}

#[test]
fn every_request_of_a_prune_fails_once_and_the_next_one_ends_it() {
    let calls = {
        let faulty = Faulty::new();
        let shelf = repository(&faulty);
        faulty.calls.store(0, Ordering::SeqCst);
        prune_on(&shelf, NonZeroUsize::MIN).unwrap();
        faulty.calls()
    };
    assert!(calls > 20, "{calls}");
    let mut partial = 0;
    for fault in [Fault::Lost, Fault::AnswerLost] {
        for call in 1..=calls {
            let faulty = Faulty::new();
            let shelf = repository(&faulty);
            faulty.fail(call, fault);
            let _ = prune_on(&shelf, NonZeroUsize::MIN);
            faulty.heal();
            let found = whole(&shelf);
            assert!(
                [&[1, 2, 3][..], &[1, 3], &[3]].contains(&&found[..]),
                "{fault:?} at {call}: {found:?}"
            );
            partial += usize::from(found.len() == 2);
            // A lock whose removal was lost is removed by hand.
            at(&faulty, "birds").remove("LOCK").unwrap();
            prune_on(&shelf, NonZeroUsize::MIN).unwrap();
            assert_eq!(whole(&shelf), [3], "{fault:?} at {call}");
            let repository = Repository::open_on(Arc::clone(&shelf)).unwrap();
            let states = repository.entries().iter().map(|entry| entry.state());
            assert_eq!(states.filter(|state| !matches!(state, State::Complete(_))).count(), 0);
        }
    }
    assert!(partial > 2, "{partial}");
}

#[test]
fn every_request_of_a_backup_into_a_repository_fails_once() {
    let calls = {
        let faulty = Faulty::new();
        let shelf = repository(&faulty);
        faulty.calls.store(0, Ordering::SeqCst);
        back_up_on(&shelf, &filled(30, 6), Kind::Incremental, &options(), None).unwrap();
        faulty.calls()
    };
    for fault in [Fault::Lost, Fault::AnswerLost] {
        for call in 1..=calls {
            let faulty = Faulty::new();
            let shelf = repository(&faulty);
            faulty.fail(call, fault);
            let done = back_up_on(&shelf, &filled(30, 6), Kind::Incremental, &options(), None);
            faulty.heal();
            let found = whole(&shelf);
            assert_eq!(found[..3], [1, 2, 3], "{fault:?} at {call}");
            match done {
                Ok(_) => assert_eq!(found.len(), 4, "{fault:?} at {call}"),
                Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::TimedOut => {}
                Err(_) => assert_eq!(found.len(), 3, "{fault:?} at {call}"),
            }
        }
    }
}
