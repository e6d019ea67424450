//! `whimbrel query`: asks an index, of an engine kept in a directory or of nodes.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use redis_protocol::resp2::types::OwnedFrame;
use serde_json::json;
use whimbrel::encoding::decode_tuple;
use whimbrel::{CollectionDef, Direction, Engine, IndexDef, Value};

use crate::Error;
use crate::client::Client;
use crate::index_spec::{json_value, show_value};
use crate::query_spec::{QuerySpec, directions};

/// Arguments of `whimbrel query`.
#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("place").required(true))]
pub struct QueryArgs {
    /// An engine kept by `whimbrel import`
    #[arg(long, value_name = "DIR", group = "place")]
    pub dir: Option<PathBuf>,
    /// Any node of the cluster that holds the collection
    #[arg(long, value_name = "HOST:PORT", group = "place")]
    pub node: Option<String>,
    /// The collection
    #[arg(long, value_name = "NAME")]
    pub collection: String,
    /// The index
    #[arg(long, value_name = "NAME")]
    pub index: String,
    /// What is asked.
    #[command(flatten)]
    pub spec: QuerySpec,
    /// Print the number of rows only
    #[arg(long)]
    pub count: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// What came back.
struct Answer {
    index: IndexDef,
    rows: Vec<Found>,
    took: Duration,
}

/// One row.
struct Found {
    id: Vec<u8>,
    key: Vec<Value>,
    covered: Vec<Value>,
}

/// Asks and prints.
///
/// # Errors
///
/// [`Error::Engine`] when the directory holds no engine or the query does not fit the index,
/// [`Error::Connect`] and [`Error::Node`] for nodes.
pub fn run(args: QueryArgs) -> Result<(), Error> {
    let answer = match (&args.dir, &args.node) {
        (Some(dir), _) => ask_engine(&args, dir)?,
        (None, Some(node)) => ask_nodes(&args, node)?,
        (None, None) => unreachable!("one of the group is required"),
    };
    let micros = answer.took.as_micros();
    if args.count && args.json {
        println!("{}", json!({ "rows": answer.rows.len(), "micros": micros }));
    } else if args.count {
        println!("{}", answer.rows.len());
    } else if args.json {
        let rows: Vec<_> = answer.rows.iter().map(|row| row.json(&answer.index)).collect();
        println!("{}", json!({ "count": rows.len(), "rows": rows, "micros": micros }));
    } else {
        print_table(&answer);
    }
    Ok(())
}

fn wrong(message: String) -> Error {
    Error::Usage { command: "query", message }
}

fn index_of(def: &CollectionDef, name: &str) -> IndexDef {
    let found = def.indexes().iter().find(|index| index.name() == name);
    found.cloned().unwrap_or_else(|| IndexDef::new(name))
}

fn ask_engine(args: &QueryArgs, dir: &std::path::Path) -> Result<Answer, Error> {
    let spinner = crate::progress::counter("load");
    let engine = Engine::open(dir)?.engine;
    spinner.finish_and_clear();
    let view = engine.collection(&args.collection)?.view();
    let query = args.spec.query(&view, &args.index).map_err(wrong)?;
    let started = Instant::now();
    let rows = query.fetch()?;
    let took = started.elapsed();
    let rows = rows.into_iter().map(|row| Found {
        id: row.doc_id().to_vec(),
        key: row.key().to_vec(),
        covered: row.covered().to_vec(),
    });
    Ok(Answer { index: index_of(view.def(), &args.index), rows: rows.collect(), took })
}

/// Asks each partition where it is, and merges: each partition's rows come in order.
fn ask_nodes(args: &QueryArgs, node: &str) -> Result<Answer, Error> {
    let started = Instant::now();
    let mut client = Client::connect(node)?;
    // Every partition gives the rows that may be among those asked for.
    let mut spec = args.spec.clone();
    spec.limit = spec.limit.map(|limit| limit.saturating_add(spec.offset.unwrap_or(0)));
    spec.offset = None;
    let mut found: Vec<(Vec<u8>, Found)> = Vec::new();
    let mut index = None;
    let (mut number, mut partitions) = (0_i64, 1);
    while number < partitions {
        let reply = ask_partition(&mut client, args, &spec, number)?;
        let unreadable = || Error::Connect {
            address: client.address().to_owned(),
            source: std::io::Error::other("the rows cannot be read; is the node of this version?"),
        };
        let part = read_raw(&reply, &args.index).ok_or_else(unreadable)?;
        partitions = part.partitions;
        found.extend(part.rows);
        index = Some(part.index);
        number += 1;
    }
    found.sort_by(|a, b| (&a.0, &a.1.id).cmp(&(&b.0, &b.1.id)));
    if args.spec.rev {
        found.reverse();
    }
    if args.spec.distinct {
        found.dedup_by(|a, b| a.0 == b.0);
    }
    let skip = usize::try_from(args.spec.offset.unwrap_or(0)).unwrap_or(usize::MAX);
    let limit = usize::try_from(args.spec.limit.unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
    let rows = found.into_iter().map(|(_, row)| row).skip(skip).take(limit).collect();
    let index = index.unwrap_or_else(|| IndexDef::new(&args.index));
    Ok(Answer { index, rows, took: started.elapsed() })
}

fn ask_partition(
    client: &mut Client,
    args: &QueryArgs,
    spec: &QuerySpec,
    number: i64,
) -> Result<OwnedFrame, Error> {
    let mut words = vec!["WQUERY".to_owned(), args.collection.clone(), args.index.clone()];
    words.extend(spec.to_words());
    words.extend(["RAW".to_owned(), "PARTITION".to_owned(), number.to_string()]);
    let request: Vec<&[u8]> = words.iter().map(String::as_bytes).collect();
    client.call_following(&request)
}

/// What one partition said.
struct Part {
    partitions: i64,
    index: IndexDef,
    rows: Vec<(Vec<u8>, Found)>,
}

/// Reads the reply of `WQUERY .. RAW`; `None` when it is something else.
fn read_raw(reply: &OwnedFrame, index: &str) -> Option<Part> {
    let OwnedFrame::Array(parts) = reply else { return None };
    let [OwnedFrame::Integer(partitions), OwnedFrame::BulkString(def), OwnedFrame::Array(rows)] =
        &parts[..]
    else {
        return None;
    };
    let def: CollectionDef = serde_json::from_slice(def).ok()?;
    let index = index_of(&def, index);
    let directions = directions(&index);
    let covered = vec![Direction::Ascending; index.covered_fields().len()];
    let read = |row: &OwnedFrame| {
        let OwnedFrame::Array(cells) = row else { return None };
        let [OwnedFrame::BulkString(id), OwnedFrame::BulkString(key), OwnedFrame::BulkString(rest)] =
            &cells[..]
        else {
            return None;
        };
        let found = Found {
            id: id.clone(),
            key: decode_tuple(key, &directions).ok()?.0,
            covered: decode_tuple(rest, &covered).ok()?.0,
        };
        Some((key.clone(), found))
    };
    let rows = rows.iter().map(read).collect::<Option<_>>()?;
    Some(Part { partitions: *partitions, index, rows })
}

impl Found {
    fn json(&self, index: &IndexDef) -> serde_json::Value {
        let names = index.fields().iter().map(whimbrel::FieldDef::name);
        let names = names.chain(index.covered_fields().iter().map(String::as_str));
        let mut object = serde_json::Map::new();
        object.insert("id".to_owned(), String::from_utf8_lossy(&self.id).into());
        for (name, value) in names.zip(self.key.iter().chain(&self.covered)) {
            object.entry(name).or_insert_with(|| json_value(value));
        }
        object.into()
    }
}

fn print_table(answer: &Answer) {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::TableStyle::new());
    let names = answer.index.fields().iter().map(whimbrel::FieldDef::name);
    let names = names.chain(answer.index.covered_fields().iter().map(String::as_str));
    table.set_header(["id"].into_iter().chain(names));
    for row in &answer.rows {
        let cells = row.key.iter().chain(&row.covered).map(show_value);
        let id = String::from_utf8_lossy(&row.id).into_owned();
        table.add_row([id].into_iter().chain(cells));
    }
    println!("{table}");
    println!("{} rows in {:.1?}", answer.rows.len(), answer.took);
}
