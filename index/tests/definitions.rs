//! Goal: a definition that cannot work is refused with a message that names the place and the
//! remedy.
//! Method: one broken rule at a time, starting from a good definition.

use whimbrel::{CollectionDef, FieldDef, IndexDef, Kind};

fn refused(def: &CollectionDef, parts: &[&str]) {
    let message = def.validate().expect_err("must be refused").to_string();
    for part in parts {
        assert!(message.contains(part), "{message:?} lacks {part:?}");
    }
}

fn one(index: IndexDef) -> CollectionDef {
    CollectionDef::new("c").index(index)
}

#[test]
fn good_definitions_pass() {
    let index = IndexDef::new("by_name").asc("name").kind(Kind::Str).desc("population");
    let multi = IndexDef::new("by_alias").multi("aliases").asc("name").covering(["country"]);
    let def = CollectionDef::new("cities-2.1_x").index(index).index(multi).partitions(16_384);
    def.validate().unwrap();
    one(IndexDef::new("u").asc("email").unique()).validate().unwrap();
}

#[test]
fn a_unique_index_needs_one_partition() {
    let def = one(IndexDef::new("by_email").asc("email").unique()).partitions(4);
    refused(&def, &["by_email", "unique", "4 partitions", "partitions(1)"]);
}

#[test]
fn at_most_one_array_field() {
    refused(
        &one(IndexDef::new("i").multi("a").asc("b").multi("c")),
        &["\"a\"", "\"c\"", "at most one"],
    );
}

#[test]
fn names_and_limits() {
    for name in ["", "a/b", "a b", "\u{e9}", ".hidden", "a\0b", &"x".repeat(129)] {
        let def = CollectionDef::new(name).index(IndexDef::new("i").asc("f"));
        refused(&def, &["collection"]);
    }
    refused(&CollectionDef::new("c"), &["0 indexes"]);
    refused(&one(IndexDef::new("i").asc("f")).partitions(0), &["0 partitions", "16384"]);
    refused(&one(IndexDef::new("i").asc("f")).partitions(16_385), &["16385 partitions"]);
    refused(&one(IndexDef::new("i")), &["index \"i\"", "0 fields"]);
    refused(&one(IndexDef::new("")), &["a name of 0 bytes"]);
    refused(&one(IndexDef::new("i").asc("f").desc("f")), &["\"f\" is named twice"]);
    refused(&one(IndexDef::new("i").asc("f\n")), &["control character"]);
    refused(&one(IndexDef::new("i").asc("f").covering(["g", "g"])), &["\"g\" is named twice"]);
    refused(&one(IndexDef::new("i").field(FieldDef::asc("f").kind(Kind::Null))), &["null only"]);
    refused(&one(IndexDef::new("i").asc("f")).index(IndexDef::new("i").asc("g")), &["two indexes"]);
    let wide = (0..33).fold(IndexDef::new("i"), |i, n| i.asc(format!("f{n}")));
    refused(&one(wide), &["33 fields"]);
}
