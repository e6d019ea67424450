//! Goal: what cannot be done is refused with the reason, and nothing of it is done.
//! Method: one call for each refusal, and a look at the store afterwards.

use whimbrel_mvcc::{
    Batch, Clock, Error, MAX_BATCH_OPS, Store, StoreOptions, StoreSegmentBuilder, VersionToken,
};

#[test]
fn long_keys_are_refused_by_every_write() {
    let store = Store::new(&Clock::new());
    let long = vec![0; 70_000];
    let is_long = |err| matches!(err, Error::KeyTooLong { len: 70_000, max: 65_535 });
    assert!(is_long(store.put(&long, b"").unwrap_err()));
    assert!(is_long(store.insert_unique(&long, b"").unwrap_err()));
    assert!(is_long(store.remove(&long).unwrap_err()));
    assert!(is_long(store.compare_and_set(&long, None, None).unwrap_err()));
    let mut batch = Batch::new();
    batch.put(&store, "a", "1").put(&store, long.clone(), "2");
    assert!(is_long(batch.commit().unwrap_err()));
    assert!(is_long(StoreSegmentBuilder::new().push(&long, b"").unwrap_err()));
    assert_eq!((store.get(&long), store.snapshot().get(&long)), (None, None));
    assert!(store.snapshot().is_empty());
    assert_eq!(store.stats().records, 0);
}

#[test]
fn batches_that_cannot_be_carried_out_write_nothing() {
    let (store, foreign) = (Store::new(&Clock::new()), Store::new(&Clock::new()));
    let mut batch = Batch::new();
    batch.put(&store, "a", "1").put(&foreign, "b", "2");
    assert!(matches!(batch.commit(), Err(Error::ForeignClock)));

    let mut batch = Batch::new();
    for n in 0..=MAX_BATCH_OPS as u64 {
        batch.put(&store, n.to_be_bytes(), "");
    }
    let refused = batch.commit().unwrap_err();
    assert!(matches!(refused, Error::BatchTooLarge { ops: 4097, limit: 4096 }));

    let mut batch = Batch::new();
    batch.put(&store, "a", "1").put(&store, "b", "2").expect_absent(&store, "b");
    let refused = batch.commit().unwrap_err();
    assert!(matches!(&refused, Error::PreconditionNotFirst { key, first }
        if key == b"b" && first == b"a"));
    assert!(refused.to_string().contains("\"b\"") && refused.to_string().contains("\"a\""));

    let mut batch = Batch::new();
    batch.expect(&store, "a", VersionToken::of_value(b"0")).put(&store, "a", "1");
    let refused = batch.commit().unwrap_err();
    assert!(refused.is_retryable());
    assert!(store.snapshot().is_empty() && foreign.snapshot().is_empty());
    assert_eq!(store.stats().records, 0, "a failed precondition leaves no record behind");
    assert_eq!(Batch::new().commit().unwrap().number, 0);
}

#[test]
fn the_last_operation_on_a_key_wins() {
    let store = Store::new(&Clock::new());
    let mut batch = Batch::new();
    batch.put(&store, "a", "1").put(&store, "b", "1").remove(&store, "a").put(&store, "b", "2");
    batch.commit().unwrap();
    assert_eq!(store.get(b"a"), None);
    assert_eq!(store.get(b"b"), Some(b"2".to_vec()));
}

#[test]
fn bulk_input_out_of_order_is_refused() {
    let mut builder = StoreSegmentBuilder::new();
    builder.push(b"b", &[1; 1000]).unwrap();
    let refused = builder.push(b"a", &[2; 1000]).unwrap_err();
    assert!(
        matches!(&refused, Error::OutOfOrder { previous, got } if previous == b"b" && got == b"a")
    );
    builder.push(b"c", b"3").unwrap();
    assert_eq!(builder.len(), 2);
    let mut overlapping = StoreSegmentBuilder::new();
    overlapping.push(b"bb", b"").unwrap();
    let segments = vec![builder.finish(), overlapping.finish()];
    let refused = Store::from_segments(&Clock::new(), StoreOptions::new(), segments).unwrap_err();
    assert!(matches!(refused, Error::OutOfOrder { .. }));
}

#[test]
#[should_panic(expected = "another clock")]
fn a_hold_of_another_clock_is_a_mistake() {
    let _ = Store::new(&Clock::new()).snapshot_at(&Clock::new().hold());
}
