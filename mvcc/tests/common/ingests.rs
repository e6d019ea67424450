//! What the tests of ingests share.

use std::collections::BTreeMap;

use whimbrel_mvcc::{Clock, Ingest, IngestOptions, Snapshot, Store, StoreOptions};

use crate::common::{assert_clean, digest_of};

pub(crate) fn store() -> Store {
    Store::with_options(&Clock::new(), StoreOptions::new().with_running_digest())
}

pub(crate) fn begin(store: &Store, options: IngestOptions) -> Ingest {
    Ingest::begin(&[store], options).unwrap()
}

pub(crate) fn content(snapshot: &Snapshot) -> BTreeMap<Vec<u8>, Vec<u8>> {
    snapshot.range(..).entries().collect()
}

pub(crate) fn check_clean(store: &Store) {
    assert_clean(store);
    assert_eq!(store.digest(), Some(digest_of(&store.snapshot())));
}
