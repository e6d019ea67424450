//! Goal: after any updates and removes, every query gives exactly the rows that a naive scan of
//! the documents gives: exact, prefix, range, several ranges, reverse, offset, limit, distinct,
//! count, array fields, covered values; and unique keys are refused exactly when they are taken.
//! Method: random operations and queries over small pools of values (so that they collide often)
//! against a model that keeps documents and evaluates conditions on values, never on bytes.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use proptest::prelude::*;
use whimbrel::{
    Collection, CollectionDef, CollectionView, Direction, Document, Engine, Error, IndexDef, Query,
    Value,
};

fn definition(partitions: u16) -> CollectionDef {
    let def = CollectionDef::new("c")
        .index(IndexDef::new("s").asc("s"))
        .index(IndexDef::new("cp").asc("c").desc("p").covering(["s", "f"]))
        .index(IndexDef::new("tp").multi("t").asc("p"))
        .index(IndexDef::new("dsf").desc("s").desc("f"))
        .partitions(partitions);
    if partitions > 1 {
        return def;
    }
    def.index(IndexDef::new("u").asc("c").field(whimbrel::FieldDef::desc("u").multi()).unique())
}

// The model.

type Model = BTreeMap<Vec<u8>, Document>;

#[derive(Clone, Debug, PartialEq)]
struct Expected {
    key: Vec<Value>,
    doc_id: Vec<u8>,
    covered: Vec<Value>,
}

fn one(doc: &Document, field: &str) -> Value {
    doc.get(field).first().cloned().unwrap_or_default()
}

/// The distinct keys of a document in an index.
fn keys(index: &IndexDef, doc: &Document) -> BTreeSet<Vec<Value>> {
    let mut keys = BTreeSet::from([Vec::new()]);
    for field in index.fields() {
        let values = if field.is_multi() {
            doc.get(field.name()).to_vec()
        } else {
            vec![one(doc, field.name())]
        };
        keys = keys
            .iter()
            .flat_map(|key| values.iter().map(|v| [&key[..], std::slice::from_ref(v)].concat()))
            .collect();
    }
    keys
}

fn rows(index: &IndexDef, model: &Model) -> Vec<Expected> {
    let mut rows = Vec::new();
    for (doc_id, doc) in model {
        let covered: Vec<_> = index.covered_fields().iter().map(|f| one(doc, f)).collect();
        for key in keys(index, doc) {
            rows.push(Expected { key, doc_id: doc_id.clone(), covered: covered.clone() });
        }
    }
    rows.sort_by(|a, b| {
        let fields = index.fields().iter().zip(a.key.iter().zip(&b.key));
        let by_key = fields.map(|(field, (x, y))| match field.direction() {
            Direction::Ascending => x.cmp(y),
            Direction::Descending => y.cmp(x),
        });
        by_key.fold(Ordering::Equal, Ordering::then).then_with(|| a.doc_id.cmp(&b.doc_id))
    });
    rows
}

fn holder<'m>(
    model: &'m Model,
    index: &IndexDef,
    doc_id: &[u8],
    doc: &Document,
) -> Option<&'m [u8]> {
    let wanted: BTreeSet<_> =
        keys(index, doc).into_iter().filter(|k| !k.iter().any(Value::is_null)).collect();
    let others = model.iter().filter(|(id, _)| *id != doc_id);
    others
        .filter(|(_, other)| keys(index, other).intersection(&wanted).next().is_some())
        .map(|(id, _)| &id[..])
        .next()
}

// Operations and queries.

#[derive(Clone, Debug)]
enum Op {
    Update(Vec<u8>, Document),
    Remove(Vec<u8>),
}

#[derive(Clone, Debug)]
enum Tail {
    All,
    Prefix(Value),
    Range(Bound<Value>, Bound<Value>),
}

#[derive(Clone, Debug)]
struct Ask {
    index: prop::sample::Index,
    sets: Vec<(Vec<Value>, Tail)>,
    rev: bool,
    offset: Option<u64>,
    limit: Option<u64>,
    distinct: u8,
}

fn text() -> impl Strategy<Value = Value> {
    prop::sample::select(vec!["", "a", "a\0", "a\u{1}", "ab", "abc", "b", "\u{10FFFF}"])
        .prop_map(Value::from)
}

fn number() -> impl Strategy<Value = Value> {
    prop::sample::select(vec![i64::MIN, -300, -1, 0, 1, 2, 255, 256, i64::MAX])
        .prop_map(Value::from)
}

fn float() -> impl Strategy<Value = Value> {
    prop::sample::select(vec![-1.5, -0.0, 0.0, 2.25, f64::NAN, f64::INFINITY]).prop_map(Value::from)
}

fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![4 => text(), 4 => number(), 2 => float(), 1 => Just(Value::Null), 1 => any::<bool>().prop_map(Value::from)]
}

fn id() -> impl Strategy<Value = Vec<u8>> {
    prop::sample::select(vec![&b"\0"[..], b"1", b"10", b"2", b"a", b"ab", b"\xFF", b"\xFF\xFF"])
        .prop_map(<[u8]>::to_vec)
}

fn document() -> impl Strategy<Value = Document> {
    let maybe = |s: BoxedStrategy<Value>| prop::option::weighted(0.85, s);
    (
        maybe(text().boxed()),
        maybe(text().boxed()),
        maybe(prop_oneof![6 => number(), 1 => any_value()].boxed()),
        maybe(float().boxed()),
        prop::collection::vec(prop_oneof![text(), number()], 0..4),
        prop::collection::vec(number(), 0..3),
    )
        .prop_map(|(s, c, p, f, t, u)| {
            let mut doc = Document::new().set_many("t", t).set_many("u", u);
            for (name, value) in [("s", s), ("c", c), ("p", p), ("f", f)] {
                if let Some(value) = value {
                    doc = doc.set(name, value);
                }
            }
            doc
        })
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (id(), document()).prop_map(|(id, doc)| Op::Update(id, doc)),
        1 => id().prop_map(Op::Remove),
    ]
}

fn bound() -> impl Strategy<Value = Bound<Value>> {
    prop_oneof![
        any_value().prop_map(Bound::Included),
        any_value().prop_map(Bound::Excluded),
        Just(Bound::Unbounded),
    ]
}

fn ask() -> impl Strategy<Value = Ask> {
    let tail = prop_oneof![
        2 => Just(Tail::All),
        2 => text().prop_map(Tail::Prefix),
        4 => (bound(), bound()).prop_map(|(lo, hi)| Tail::Range(lo, hi)),
    ];
    let set = (prop::collection::vec(any_value(), 0..3), tail);
    (
        any::<prop::sample::Index>(),
        prop::collection::vec(set, 1..4),
        any::<bool>(),
        prop::option::of(0u64..4),
        prop::option::of(0u64..6),
        0u8..3,
    )
        .prop_map(|(index, sets, rev, offset, limit, distinct)| Ask {
            index,
            sets,
            rev,
            offset,
            limit,
            distinct,
        })
}

fn in_range(value: &Value, lo: &Bound<Value>, hi: &Bound<Value>) -> bool {
    let above = match lo {
        Bound::Included(lo) => value >= lo,
        Bound::Excluded(lo) => value > lo,
        Bound::Unbounded => true,
    };
    let below = match hi {
        Bound::Included(hi) => value <= hi,
        Bound::Excluded(hi) => value < hi,
        Bound::Unbounded => true,
    };
    // An open end ends with the kind of the other bound.
    let kind = match (lo, hi) {
        (Bound::Unbounded, Bound::Included(v) | Bound::Excluded(v))
        | (Bound::Included(v) | Bound::Excluded(v), Bound::Unbounded) => value.kind() == v.kind(),
        _ => true,
    };
    above && below && kind
}

fn matches(key: &[Value], (equal, tail): &(Vec<Value>, Tail)) -> bool {
    if key[..equal.len()] != equal[..] {
        return false;
    }
    match tail {
        Tail::All => true,
        Tail::Prefix(p) => {
            matches!((&key[equal.len()], p), (Value::Str(s), Value::Str(p)) if s.starts_with(p.as_str()))
        }
        Tail::Range(lo, hi) => in_range(&key[equal.len()], lo, hi),
    }
}

fn expected(index: &IndexDef, model: &Model, ask: &Ask) -> Vec<Expected> {
    let mut rows = rows(index, model);
    rows.retain(|row| ask.sets.iter().any(|set| matches(&row.key, set)));
    if ask.rev {
        rows.reverse();
    }
    match ask.distinct {
        1 => rows.dedup_by(|b, a| a.key == b.key),
        2 => {
            let mut seen = BTreeSet::new();
            rows.retain(|row| seen.insert(row.doc_id.clone()));
        }
        _ => {}
    }
    let offset = usize::try_from(ask.offset.unwrap_or(0)).unwrap();
    let limit = ask.limit.map_or(usize::MAX, |l| usize::try_from(l).unwrap());
    rows.into_iter().skip(offset).take(limit).collect()
}

fn query(view: &CollectionView, index: &IndexDef, ask: &Ask) -> Query {
    let mut query = view.query(index.name()).unwrap();
    for (n, (equal, tail)) in ask.sets.iter().enumerate() {
        if n > 0 {
            query = query.or();
        }
        query = query.eq(equal);
        query = match tail {
            Tail::All => query,
            Tail::Prefix(p) => query.prefix(p),
            Tail::Range(lo, hi) => query.range((lo.clone(), hi.clone())),
        };
    }
    if ask.rev {
        query = query.rev();
    }
    query = match ask.distinct {
        1 => query.distinct(),
        2 => query.distinct_documents(),
        _ => query,
    };
    query = ask.offset.map_or(query.clone(), |n| query.offset(n));
    ask.limit.map_or(query.clone(), |n| query.limit(n))
}

fn apply(collection: &Collection, model: &mut Model, op: Op) {
    let unique = collection.def().indexes().iter().find(|i| i.is_unique()).cloned();
    match op {
        Op::Update(id, doc) => {
            let taken = unique.and_then(|u| holder(model, &u, &id, &doc));
            match (collection.update(&id, &doc), taken) {
                (Ok(()), None) => {
                    model.insert(id, doc);
                }
                (Err(Error::DuplicateKey { held_by, .. }), Some(_)) => assert_ne!(held_by, id),
                (got, taken) => panic!("{got:?}, but the model says taken by {taken:?}"),
            }
        }
        Op::Remove(id) => {
            assert_eq!(collection.remove(&id).unwrap(), model.remove(&id).is_some());
        }
    }
}

fn check_all(view: &CollectionView, model: &Model) {
    let report = view.check().unwrap();
    let entries: usize = view.def().indexes().iter().map(|i| rows(i, model).len()).sum();
    assert_eq!((report.documents, report.entries), (model.len() as u64, entries as u64));
    assert_eq!(report.reservations, 0, "nothing is left of a refused update");
}

fn check_query(view: &CollectionView, model: &Model, ask: &Ask) {
    let index = ask.index.get(view.def().indexes());
    let mut ask = ask.clone();
    for (equal, tail) in &mut ask.sets {
        // Within the key: the refusal of what is beyond has its own test.
        equal.truncate(index.fields().len() - usize::from(!matches!(tail, Tail::All)));
    }
    let query = query(view, index, &ask);
    let want = expected(index, model, &ask);
    let got: Vec<_> = query
        .fetch()
        .unwrap()
        .iter()
        .map(|row| Expected {
            key: row.key().to_vec(),
            doc_id: row.doc_id().to_vec(),
            covered: row.covered().to_vec(),
        })
        .collect();
    assert_eq!(got, want, "index {} {ask:?}", index.name());
    assert_eq!(query.count().unwrap(), want.len() as u64);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn queries_equal_a_scan(
        partitions in prop::sample::select(vec![1u16, 1, 3, 8]),
        before in prop::collection::vec(op(), 0..30),
        after in prop::collection::vec(op(), 0..10),
        asks in prop::collection::vec(ask(), 12),
    ) {
        let engine = Engine::new();
        let collection = engine.create_collection(definition(partitions)).unwrap();
        let mut model = Model::new();
        for op in before {
            apply(&collection, &mut model, op);
        }
        let (then, old_model) = (engine.snapshot().collection("c").unwrap(), model.clone());
        for op in after {
            apply(&collection, &mut model, op);
        }
        for (view, model) in [(then, old_model), (collection.view(), model)] {
            check_all(&view, &model);
            for ask in &asks {
                check_query(&view, &model, ask);
            }
        }
    }

    #[test]
    fn a_bulk_load_equals_updates(
        partitions in prop::sample::select(vec![1u16, 5]),
        docs in prop::collection::btree_map(id(), document(), 0..8),
    ) {
        let engine = Engine::new();
        let loaded = engine.bulk_load(definition(partitions), docs.clone());
        let other = Engine::new();
        let updated = other.create_collection(definition(partitions)).unwrap();
        let results: Result<Vec<_>, _> = docs.iter().map(|(id, doc)| updated.update(id, doc)).collect();
        match (loaded, results) {
            (Ok((collection, report)), Ok(_)) => {
                check_all(&collection.view(), &docs);
                prop_assert_eq!(report.documents, docs.len() as u64);
                prop_assert_eq!(report.entries, collection.view().check().unwrap().entries);
                prop_assert_eq!(engine.snapshot().digest(), other.snapshot().digest());
            }
            (Err(Error::DuplicateKey { .. }), Err(Error::DuplicateKey { .. })) => {}
            (loaded, updated) => panic!("{loaded:?} {updated:?}"),
        }
    }
}
