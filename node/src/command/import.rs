//! `whimbrel import`: a CSV file becomes an engine with indexes, kept as a checkpoint.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use serde_json::json;
use whimbrel::{CollectionDef, Document, Engine, ExportOptions, Kind, Value};

use crate::Error;
use crate::csv_input::{ColumnKind, Row, Table};
use crate::index_spec::IndexSpec;
use crate::interrupt::Interrupt;
use crate::progress::BackupBar;

/// Arguments of `whimbrel import`.
#[derive(Args, Debug)]
pub struct ImportArgs {
    /// CSV file whose first line names the columns; .gz is decompressed
    #[arg(long, value_name = "FILE")]
    pub data: PathBuf,
    /// Where the engine is kept; made if it does not exist
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
    /// `NAME=COLUMN[:desc][:list][,COLUMN..]`; several times; without any, one index per column
    #[arg(long, value_name = "INDEX")]
    pub index: Vec<IndexSpec>,
    /// As --index, and no two rows may have the same key
    #[arg(long, value_name = "INDEX")]
    pub unique: Vec<IndexSpec>,
    /// Column that names the rows [default: the first]
    #[arg(long, value_name = "COLUMN")]
    pub id: Option<String>,
    /// The collection's name [default: the file's]
    #[arg(long, value_name = "NAME")]
    pub collection: Option<String>,
    /// Columns that every index carries along, so that queries show them
    #[arg(long, value_name = "COLUMN", value_delimiter = ',')]
    pub covering: Vec<String>,
    /// Number of partitions; more spread over more nodes, and cost each query more
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub partitions: u16,
    /// What separates the values of a :list column
    #[arg(long, value_name = "TEXT", default_value = "|")]
    pub list_separator: String,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Reads, builds, writes the checkpoint.
///
/// # Errors
///
/// [`Error::File`] and [`Error::Csv`] for the data, [`Error::Usage`] for columns that are not
/// there, [`Error::Engine`] when the engine refuses a row or the checkpoint cannot be written.
pub fn run(args: ImportArgs) -> Result<(), Error> {
    let started = Instant::now();
    let interrupt = Interrupt::install()?;
    let spinner = crate::progress::counter("read");
    let table = Table::read(&args.data)?;
    spinner.set_prefix("build");
    let plan = Plan::new(&args, &table)?;
    let documents = plan.documents(&table)?;
    let rows = documents.len();
    stop_if_asked(&interrupt)?;
    let engine = Engine::new();
    let (_, load) = engine.bulk_load(plan.def, documents)?;
    spinner.finish_and_clear();
    stop_if_asked(&interrupt)?;
    let bar = BackupBar::new("write");
    let options = ExportOptions::default().with_work(bar.work(&interrupt));
    let token = json!({ "source": args.data, "rows": rows }).to_string();
    let written = engine.checkpoint_with(&args.dir, token.as_bytes(), &options);
    bar.finish();
    written?;
    let seconds = started.elapsed().as_secs_f64();
    if args.json {
        let report = json!({
            "records": load.documents,
            "index_entries": load.entries,
            "build_s": load.elapsed.as_secs_f64(),
            "seconds": seconds,
            "dir": args.dir,
        });
        println!("{report}");
    } else {
        println!(
            "{} records, {} index entries, built in {:.2?}; kept in {} after {seconds:.2} s",
            load.documents,
            load.entries,
            load.elapsed,
            args.dir.display(),
        );
    }
    Ok(())
}

fn stop_if_asked(interrupt: &Interrupt) -> Result<(), Error> {
    if interrupt.is_raised() {
        return Err(Error::Interrupted { left: "nothing was written".to_owned() });
    }
    Ok(())
}

/// How rows become documents.
struct Plan {
    def: CollectionDef,
    id: usize,
    /// The columns that some index needs, and whether their cells are lists.
    fields: Vec<Field>,
    separator: String,
}

struct Field {
    name: String,
    column: usize,
    kind: ColumnKind,
    list: bool,
}

impl Plan {
    fn new(args: &ImportArgs, table: &Table) -> Result<Self, Error> {
        let column = |name: &str| {
            table.column(name).ok_or_else(|| Error::Usage {
                command: "import",
                message: format!(
                    "{} has no column \"{name}\"; it has: {}",
                    args.data.display(),
                    table.columns().join(", "),
                ),
            })
        };
        let id = args.id.as_deref().unwrap_or(&table.columns()[0]);
        let (id, _) = column(id)?;
        let mut indexes = args.index.clone();
        if indexes.is_empty() && args.unique.is_empty() {
            let others = table.columns().iter().enumerate().filter(|(at, _)| *at != id);
            indexes = others.filter_map(|(_, name)| name.parse().ok()).collect();
        }
        let mut fields: Vec<Field> = Vec::new();
        let used = indexes.iter().chain(&args.unique).flat_map(|index| &index.fields);
        let used = used.map(|field| (field.column.as_str(), field.list));
        for (name, list) in used.chain(args.covering.iter().map(|name| (name.as_str(), false))) {
            let (column, kind) = column(name)?;
            match fields.iter_mut().find(|field| field.column == column) {
                Some(field) => field.list |= list,
                None => {
                    let kind = if list { ColumnKind::Text } else { kind };
                    fields.push(Field { name: name.to_owned(), column, kind, list });
                }
            }
        }
        let kind_of = |name: &str| {
            let field = fields.iter().find(|field| field.name == name);
            field.map_or(Kind::Str, |field| engine_kind(field.kind))
        };
        let name = args.collection.clone().unwrap_or_else(|| collection_name(&args.data));
        let mut def = CollectionDef::new(name).partitions(args.partitions);
        for index in &indexes {
            def = def.index(index.define(kind_of).covering(args.covering.iter()));
        }
        for index in &args.unique {
            def = def.index(index.define(kind_of).covering(args.covering.iter()).unique());
        }
        def.validate()?;
        Ok(Self { def, id, fields, separator: args.list_separator.clone() })
    }

    /// All rows as documents; refuses a row without an id and an id that comes twice.
    fn documents(&self, table: &Table) -> Result<Vec<(Vec<u8>, Document)>, Error> {
        let wrong = |row: Row<'_>, what: String| Error::Csv {
            path: table.path().to_owned(),
            line: row.line(),
            what,
        };
        let column = &table.columns()[self.id];
        let mut lines: HashMap<&str, u64> = HashMap::with_capacity(table.rows().len());
        let mut documents = Vec::with_capacity(table.rows().len());
        for row in table.rows() {
            let id = row.cell(self.id);
            if id.is_empty() {
                return Err(wrong(row, format!("the row has no {column}, which is its id")));
            }
            if let Some(first) = lines.insert(id, row.line()) {
                let what = format!(
                    "{column} \"{id}\" was used on line {first} already; ids must differ \
                     (--id COLUMN chooses another column)"
                );
                return Err(wrong(row, what));
            }
            documents.push((id.as_bytes().to_vec(), self.document(row)));
        }
        Ok(documents)
    }

    fn document(&self, row: Row<'_>) -> Document {
        let mut document = Document::new();
        for field in &self.fields {
            let cell = row.cell(field.column);
            if field.list {
                let parts = cell.split(self.separator.as_str()).filter(|part| !part.is_empty());
                document = document.set_many(field.name.clone(), parts);
            } else {
                document = document.set(field.name.clone(), value(cell, field.kind));
            }
        }
        document
    }
}

fn engine_kind(kind: ColumnKind) -> Kind {
    match kind {
        ColumnKind::Int => Kind::Int,
        ColumnKind::Float => Kind::Float,
        ColumnKind::Text => Kind::Str,
    }
}

/// A cell as a value; the column's kind was chosen so that every cell fits.
fn value(cell: &str, kind: ColumnKind) -> Value {
    match kind {
        _ if cell.is_empty() => Value::Null,
        ColumnKind::Int => cell.parse().map_or(Value::Null, Value::Int),
        ColumnKind::Float => cell.parse().map_or(Value::Null, Value::Float),
        ColumnKind::Text => Value::Str(cell.to_owned()),
    }
}

/// The file's name up to its first dot, with what a collection's name may not contain replaced.
fn collection_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let stem = name.split('.').next().unwrap_or_default();
    let good = |c: char| if c.is_ascii_alphanumeric() || "_-".contains(c) { c } else { '_' };
    let name: String = stem.chars().map(good).collect();
    if name.is_empty() { "data".to_owned() } else { name }
}
