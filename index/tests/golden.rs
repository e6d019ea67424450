//! Goal: the bytes of a partition are those of format 1, because they travel in backups and
//! migrations: a change of them needs a new format number.
//! Method: everything a store holds of a partition with every kind of entry, byte for byte.

use whimbrel::mvcc::{Clock, Store};
use whimbrel::{CollectionDef, Document, FieldDef, IndexDef, Kind, Partition, Value};

const SCHEMA: &str = concat!(
    r#"{"format":1,"partition":0,"collection":{"name":"c","partitions":1,"indexes":["#,
    r#"{"name":"i","fields":[{"name":"a","direction":"ascending","kind":"str"},"#,
    r#"{"name":"b","direction":"descending"}],"covering":["x","y"]},"#,
    r#"{"name":"u","fields":[{"name":"t","direction":"ascending","multi":true}],"unique":true}]}}"#,
);

#[test]
fn a_partition_is_stored_in_format_1() {
    let store = Store::new(&Clock::new());
    let def = CollectionDef::new("c")
        .index(IndexDef::new("i").asc("a").kind(Kind::Str).desc("b").covering(["x", "y"]))
        .index(IndexDef::new("u").field(FieldDef::asc("t").multi()).unique());
    let partition = Partition::create(&store, b"P", &def, 0).unwrap();
    let doc = Document::new()
        .set("a", "z\0")
        .set("b", 258)
        .set("x", -1.5)
        .set("y", true)
        .set_many("t", [Value::Null, Value::Timestamp(1), Value::Bytes(vec![0xFF])]);
    partition.update(b"d1", &doc).unwrap();

    let mut stored = Vec::new();
    let mut cursor = store.snapshot().range(..);
    while let Some((key, value)) = cursor.next_entry() {
        stored.push((key.to_vec(), value.to_vec()));
    }
    let tuple = b"\x40z\0\xFF\0\x01\xDD\xFE\xFD".as_slice();
    let time = b"\x38\x80\0\0\0\0\0\0\x01".as_slice();
    let back = [
        &b"\x01"[..],
        b"\x00\x09",
        tuple,
        b"\x02\x01\x08",
        b"\x03\x09",
        time,
        b"\x03\x04\x48\xFF\0\x01",
    ];
    let expected = [
        (b"P\0".to_vec(), SCHEMA.as_bytes().to_vec()),
        (b"P\x01d1".to_vec(), back.concat()),
        (
            [b"P\x02\0\0", tuple, b"d1"].concat(),
            b"\x30\x40\x07\xFF\xFF\xFF\xFF\xFF\xFF\x11".to_vec(),
        ),
        (b"P\x02\0\x01\x08d1".to_vec(), b"\x02".to_vec()),
        ([b"P\x02\0\x01", time].concat(), b"\x01\x02d1".to_vec()),
        (b"P\x02\0\x01\x48\xFF\0\x01".to_vec(), b"\x01\x02d1".to_vec()),
    ];
    assert_eq!(stored, expected);
}
