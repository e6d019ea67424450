//! Goal: what cannot be done is refused with an error that says why, and changes nothing.
//! Method: one misuse at a time through the public interface; the collection is checked after.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

use whimbrel::{
    Collection, CollectionDef, Document, Engine, Error, IndexDef, Kind, MAX_DOCUMENT_ENTRIES, Value,
};

fn collection() -> (Engine, Collection) {
    let engine = Engine::new();
    let collection = engine
        .create_collection(
            CollectionDef::new("c")
                .index(IndexDef::new("i").asc("name").kind(Kind::Str).desc("size").kind(Kind::Int))
                .index(IndexDef::new("tags").multi("tags").covering(["size"])),
        )
        .unwrap();
    collection.update("1", &Document::new().set("name", "n").set("size", 1)).unwrap();
    (engine, collection)
}

#[test]
fn documents_that_do_not_fit() {
    let (engine, c) = collection();
    let before = engine.snapshot().digest();
    let doc = Document::new;
    let id = c.update("", &doc()).unwrap_err();
    assert_eq!(id.to_string(), "a document id of 0 bytes; 1 to 1024 are possible");
    assert!(matches!(c.update("x".repeat(1025), &doc()), Err(Error::BadDocumentId { .. })));
    assert!(matches!(c.remove(""), Err(Error::BadDocumentId { .. })));
    let kind = c.update("1", &doc().set("name", "m").set("size", 1.5)).unwrap_err();
    assert_eq!(kind.to_string(), "index \"i\", field \"size\" takes int values, got float: 1.5");
    let many = c.update("1", &doc().set_many("size", [1, 2])).unwrap_err();
    assert_eq!(many.to_string(), "index \"i\", field \"size\" takes one value, got an array of 2");
    let long = c.update("1", &doc().set("name", "x".repeat(60_000))).unwrap_err();
    assert!(matches!(long, Error::KeyTooLong { got: 60_005, limit: 60_000, .. }), "{long:?}");
    let too_many = doc().set_many("tags", 0..=i64::try_from(MAX_DOCUMENT_ENTRIES).unwrap());
    assert!(matches!(c.update("1", &too_many), Err(Error::TooManyEntries { .. })));
    assert_eq!(engine.snapshot().digest(), before);
}

#[test]
fn the_most_entries_can_be_replaced_by_as_many() {
    let (_, c) = collection();
    let most = i64::try_from(MAX_DOCUMENT_ENTRIES).unwrap() - 1; // one is in the other index
    for round in 0..3 {
        c.update("1", &Document::new().set_many("tags", (0..most).map(|t| t * 3 + round))).unwrap();
        assert_eq!(c.query("tags").unwrap().count().unwrap(), most.unsigned_abs());
    }
    assert!(c.remove("1").unwrap());
    assert_eq!(c.view().check().unwrap().entries, 0);
}

#[test]
fn names_that_are_not_there_or_taken() {
    let (engine, c) = collection();
    assert_eq!(
        c.query("j").unwrap_err().to_string(),
        "collection \"c\" has no index \"j\"; it has: i, tags"
    );
    assert_eq!(
        engine.collection("d").unwrap_err().to_string(),
        "there is no collection \"d\"; there are: c"
    );
    let again = engine.create_collection(c.def().clone());
    assert!(matches!(again, Err(Error::CollectionExists { .. })));
    let none: [(Vec<u8>, Document); 0] = [];
    assert!(matches!(engine.bulk_load(c.def().clone(), none), Err(Error::CollectionExists { .. })));
    let unique = CollectionDef::new("u").index(IndexDef::new("i").asc("f").unique()).partitions(2);
    assert!(matches!(engine.create_collection(unique), Err(Error::BadDefinition { .. })));
    let snapshot = engine.snapshot();
    engine.drop_collection("c").unwrap();
    assert!(matches!(engine.drop_collection("c"), Err(Error::NoSuchCollection { .. })));
    assert_eq!(snapshot.collection("c").unwrap().query("i").unwrap().count().unwrap(), 1);
    assert!(engine.snapshot().collection("c").is_err());
}

#[test]
fn queries_that_do_not_fit() {
    let (_, c) = collection();
    let refused = |query: whimbrel::Query| match query.rows() {
        Err(e @ Error::BadQuery { .. }) => e.to_string(),
        other => panic!("{other:?}"),
    };
    let query = || c.query("i").unwrap();
    assert_eq!(
        refused(query().eq(["n"]).eq([1, 2])),
        "query on index \"i\": conditions on 3 fields, but its key has 2: name, size"
    );
    assert!(refused(query().eq([1])).contains("field \"name\" takes str values, got int: 1"));
    assert!(refused(query().eq(["n"]).range("a"..)).contains("field \"size\" takes int values"));
    assert!(refused(query().eq(["n"]).eq([1]).prefix("x")).contains("3 fields"));
    assert!(query().eq([Value::Null]).fetch().unwrap().is_empty(), "null can always be asked for");
    #[expect(clippy::reversed_empty_ranges, reason = "what a caller may compute")]
    let reversed = query().eq(["n"]).range(5..1);
    assert_eq!(reversed.count().unwrap(), 0);
}

#[test]
fn bulk_loads_that_do_not_fit_leave_nothing() {
    let engine = Engine::new();
    let def = || CollectionDef::new("c").index(IndexDef::new("i").asc("f").unique());
    let doc = |f: &str| Document::new().set("f", f);
    let twice = engine.bulk_load(def(), [("a", doc("1")), ("b", doc("2")), ("a", doc("3"))]);
    assert_eq!(twice.unwrap_err().to_string(), "document \"a\" comes twice");
    let taken = engine.bulk_load(def(), [("a", doc("1")), ("b", doc("2")), ("c", doc("1"))]);
    let taken = taken.unwrap_err().to_string();
    assert_eq!(taken, "unique index \"i\": the key (1) belongs to document \"a\"");
    let same = engine.bulk_load(def(), [("a", doc("1")), ("a", doc("1"))]);
    assert!(matches!(same, Err(Error::DuplicateDocument { .. })));
    assert!(engine.collection_names().is_empty());
    engine.bulk_load(def(), [("a", doc("1"))]).unwrap();
}

#[test]
fn handles_may_go_to_other_threads() {
    fn check<T: Send + Sync + Clone + 'static>() {}
    check::<Engine>();
    check::<Collection>();
    check::<whimbrel::Partition>();
    check::<whimbrel::EngineSnapshot>();
    check::<whimbrel::CollectionView>();
    check::<whimbrel::Query>();
    fn send<T: Send + 'static>() {}
    send::<whimbrel::Rows>();
    send::<whimbrel::Row>();
}
