//! Goal: a partition is searchable wherever it lies: under any key prefix, among other data, in
//! another store it was copied to; its views form the collection again, and nothing else does.
//! Method: partitions of one collection under prefixes of two stores that also hold foreign keys,
//! compared with an engine that was given the same documents.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

use whimbrel::mvcc::{Clock, Store};
use whimbrel::{
    CollectionDef, CollectionView, Document, Engine, Error, IndexDef, Partition, PartitionView, Row,
};

const PARTITIONS: u16 = 4;

fn definition() -> CollectionDef {
    CollectionDef::new("cities")
        .index(IndexDef::new("by_country").asc("country").desc("population").covering(["name"]))
        .index(IndexDef::new("by_alias").multi("aliases"))
        .partitions(PARTITIONS)
}

fn document(n: i64) -> Document {
    Document::new()
        .set("country", format!("C{}", n % 5))
        .set("population", n * 37 % 101)
        .set("name", format!("city {n}"))
        .set_many("aliases", [format!("a{}", n % 7), format!("b{}", n % 3)])
}

/// As a node lays them out; the second prefix ends with bytes that have no successor.
fn prefix(number: u16) -> Vec<u8> {
    [b"c\xFFcities\0".as_slice(), &number.to_be_bytes(), b"\xFF\xFF"].concat()
}

fn foreign(store: &Store) {
    for key in
        [&b""[..], b"c", b"c\xFFcities\0", b"c\xFFcities\0\0\x09\x02\0\0", b"k1", b"\xFF\xFF"]
    {
        store.put(key, b"not an entry").unwrap();
    }
}

fn rows(view: &CollectionView) -> Vec<Row> {
    let country = view.query("by_country").unwrap().eq(["C1"]).or().eq(["C3"]).range(10..=60);
    let mut rows = country.rev().offset(3).limit(40).fetch().unwrap();
    rows.extend(view.query("by_alias").unwrap().prefix("a").fetch().unwrap());
    rows
}

#[test]
fn partitions_answer_wherever_they_lie() {
    let clock = Clock::new();
    let stores = [Store::new(&clock), Store::new(&clock)];
    stores.iter().for_each(foreign);
    let store_of = |number: u16| &stores[usize::from(number % 2)];
    let def = definition();
    let partitions: Vec<_> = (0..PARTITIONS)
        .map(|n| Partition::create(store_of(n), &prefix(n), &def, n).unwrap())
        .collect();
    let engine = Engine::new();
    let expected = engine.create_collection(definition()).unwrap();
    for n in 0..300i64 {
        let id = format!("id{}", n % 200);
        let at = usize::from(def.partition_of(id.as_bytes()));
        partitions[at].update(id.as_bytes(), &document(n)).unwrap();
        expected.update(&id, &document(n)).unwrap();
    }
    let hold = clock.hold();
    let open = |n: u16| PartitionView::open(store_of(n).snapshot_at(&hold), &prefix(n)).unwrap();
    let whole = CollectionView::from_partitions((0..PARTITIONS).rev().map(open).collect()).unwrap();
    assert!(!rows(&whole).is_empty());
    assert_eq!(rows(&whole), rows(&expected.view()));
    assert_eq!(whole.check().unwrap(), expected.view().check().unwrap());
    assert_eq!(whole.keys_of("id7").unwrap(), expected.view().keys_of("id7").unwrap());
    assert!(whole.contains("id7").unwrap() && !whole.contains("id200").unwrap());

    // One copied to a store of another clock, under another prefix: nothing is indexed again.
    let (elsewhere, moved) = (Store::new(&Clock::new()), b"moved/".as_slice());
    let view = open(2);
    let mut cursor = view.snapshot().prefix(&prefix(2));
    while let Some((key, value)) = cursor.next_entry() {
        let key = [moved, &key[prefix(2).len()..]].concat();
        elsewhere.put(&key, value).unwrap();
    }
    let copy = PartitionView::open(elsewhere.snapshot(), moved).unwrap();
    assert_eq!(rows(&copy.clone().into()), rows(&view.into()));
    assert_eq!(copy.number(), 2);
    let arrived = Partition::open(&elsewhere, moved).unwrap();
    let id = (0..).map(|n: i64| n.to_string()).find(|id| def.partition_of(id.as_bytes()) == 2);
    arrived.update(id.unwrap().as_bytes(), &document(1)).unwrap();
    CollectionView::from(arrived.view(elsewhere.snapshot())).check().unwrap();
}

#[test]
fn what_is_no_whole_collection_is_refused() {
    let store = Store::new(&Clock::new());
    let def = definition();
    for n in 0..PARTITIONS {
        Partition::create(&store, &prefix(n), &def, n).unwrap();
    }
    let other = CollectionDef::new("cities").index(IndexDef::new("i").asc("f")).partitions(4);
    Partition::create(&store, b"other", &other, 3).unwrap();
    let open = |p: &[u8]| PartitionView::open(store.snapshot(), p).unwrap();
    let refused = |prefixes: Vec<Vec<u8>>| {
        let views = prefixes.iter().map(|p| open(p)).collect();
        match CollectionView::from_partitions(views) {
            Err(e @ Error::BadPartitions { .. }) => e.to_string(),
            other => panic!("{other:?}"),
        }
    };
    assert!(refused(vec![]).contains("none"));
    assert!(refused((0..3).map(prefix).collect()).contains("3 of 4"));
    assert!(refused(vec![prefix(0), prefix(0)]).contains("expected partition 1"));
    assert!(
        refused(vec![prefix(0), prefix(1), prefix(2), b"other".to_vec()]).contains("different")
    );
    let none = PartitionView::open(store.snapshot(), b"nothing");
    assert!(matches!(none, Err(Error::NoPartition { .. })), "{none:?}");
    assert!(matches!(Partition::create(&store, b"x", &def, 4), Err(Error::BadPartitions { .. })));
}

#[test]
fn damage_is_found_and_named() {
    let store = Store::new(&Clock::new());
    let def = CollectionDef::new("c").index(IndexDef::new("i").asc("f"));
    let partition = Partition::create(&store, b"", &def, 0).unwrap();
    partition.update(b"1", &Document::new().set("f", "x")).unwrap();
    let view = || CollectionView::from(partition.view(store.snapshot()));
    let entry = b"\x02\0\0\x40x\0\x011";
    let refused = |view: CollectionView| {
        let error = view.check().unwrap_err();
        assert!(error.is_corruption(), "{error}");
        error.to_string()
    };
    view().check().unwrap();
    assert_eq!(store.remove(entry).unwrap(), Some(Vec::new()), "the layout as documented");
    assert!(refused(view()).contains("missing"));
    store.put(entry, b"").unwrap();
    store.put(b"\x02\0\0\x40y\0\x011", b"").unwrap();
    assert!(refused(view()).contains("no document lists"));
    store.remove(b"\x02\0\0\x40y\0\x011").unwrap();
    store.put(b"\x02\0\0\x41", b"").unwrap();
    assert!(refused(view()).contains("unknown tag"));
    assert!(view().query("i").unwrap().fetch().unwrap_err().is_corruption());
    store.remove(b"\x02\0\0\x41").unwrap();
    store.put(b"\x011", b"\x09").unwrap();
    assert!(refused(view()).contains("unknown format"));
    let update = partition.update(b"1", &Document::new());
    assert!(matches!(update, Err(Error::Corrupt { .. })), "never written over: {update:?}");
    store.put(b"\0", b"{\"format\":2}").unwrap();
    let newer = PartitionView::open(store.snapshot(), b"").unwrap_err();
    assert!(newer.to_string().contains("format 2"), "{newer}");
}
