//! Indexes over a few documents, and the questions they answer.
//!
//! `cargo run -p whimbrel --example quick_start`

use whimbrel::{CollectionDef, Document, Engine, Error, IndexDef, Kind, Row, Value};

fn main() -> Result<(), Error> {
    let engine = Engine::new();
    let birds = engine.create_collection(
        CollectionDef::new("birds")
            .index(IndexDef::new("by_name").asc("name").kind(Kind::Str))
            .index(IndexDef::new("by_family").asc("family").desc("grams").covering(["name"]))
            .index(IndexDef::new("by_region").multi("regions").asc("name"))
            .index(IndexDef::new("by_code").asc("code").unique()),
    )?;

    for (id, code, name, family, grams, regions) in [
        ("b1", "EUCUR", "Eurasian curlew", "Scolopacidae", 770, &["Europe", "Asia", "Africa"][..]),
        ("b2", "WHIMB", "Whimbrel", "Scolopacidae", 430, &["Europe", "America", "Oceania"]),
        ("b3", "BATGO", "Bar-tailed godwit", "Scolopacidae", 340, &["Asia", "Oceania"]),
        ("b4", "PIAVO", "Pied avocet", "Recurvirostridae", 290, &["Europe", "Africa"]),
    ] {
        let bird = Document::new()
            .set("code", code)
            .set("name", name)
            .set("family", family)
            .set("grams", grams)
            .set_many("regions", regions.iter().copied());
        birds.update(id, &bird)?;
    }

    let view = birds.view();
    show("name begins with \"W\"", &view.query("by_name")?.prefix("W").fetch()?);
    let sandpipers = view.query("by_family")?.eq(["Scolopacidae"]);
    show("sandpipers, heaviest first", &sandpipers.fetch()?);
    show("sandpipers of 300 g to 500 g", &sandpipers.clone().range(300..=500).fetch()?);
    show("lightest two sandpipers", &sandpipers.rev().limit(2).fetch()?);
    let either = view.query("by_region")?.eq(["Africa"]).or().eq(["Oceania"]);
    show("in Africa or Oceania", &either.distinct_documents().fetch()?);
    println!("\n{} bird(s) in Asia", view.query("by_region")?.eq(["Asia"]).count()?);

    match birds.update("b5", &Document::new().set("code", "WHIMB")) {
        Err(e @ Error::DuplicateKey { .. }) => println!("\nrefused: {e}"),
        other => other?,
    }
    birds.remove("b4")?;
    let (now, then) = (birds.query("by_name")?.count()?, view.query("by_name")?.count()?);
    println!("\n{now} birds now, {then} in the view taken before");
    Ok(())
}

fn show(question: &str, rows: &[Row]) {
    println!("\n{question}");
    for row in rows {
        let values: Vec<_> = row.key().iter().chain(row.covered()).map(Value::to_string).collect();
        println!("  {}  {}", String::from_utf8_lossy(row.doc_id()), values.join(" | "));
    }
}
