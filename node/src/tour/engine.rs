//! Between the tour's own model and the engine: definitions, documents, values.

use std::cmp::Ordering;
use std::path::Path;
use std::sync::Arc;

use indicatif::ProgressBar;
use whimbrel::mvcc::Digest;
use whimbrel::{
    Collection, CollectionDef, CollectionView, Document, Engine, EngineSnapshot, ExportOptions,
    IndexDef, Kind, Progress, RestoreOptions, Value, Work,
};

use super::error::TourError;
use super::plan;
use super::question::{Answer, Hit, Question, Tail, Wanted};
use super::scan::{self, Fingerprint};
use super::table::{Cell, Field, Index, Row, Table};
use crate::interrupt::Interrupt;

/// The collection that holds the records of `table`: one partition, so that it moves as one slot.
pub(super) fn definition(table: &Table) -> CollectionDef {
    let mut definition = CollectionDef::new(table.name.as_str());
    for index in table.indexes() {
        let mut fields = table.index_columns(index).into_iter();
        let mut built = IndexDef::new(table.index_name(index));
        if let Some(first) = fields.next() {
            built = match index {
                Index::List => built.multi(table.columns[first].as_str()),
                Index::Name | Index::Composite => built.asc(table.columns[first].as_str()),
            };
            built = built.kind(kind(table, first));
        }
        for next in fields {
            built = built.desc(table.columns[next].as_str()).kind(kind(table, next));
        }
        definition = definition.index(built);
    }
    definition
}

/// What the engine accepts in a column.
fn kind(table: &Table, column: usize) -> Kind {
    match table.kinds[column] {
        plan::Kind::Int => Kind::Int,
        plan::Kind::Float => Kind::Float,
        plan::Kind::Text | plan::Kind::List(_) => Kind::Str,
    }
}

/// The document that a record becomes: the columns that some index uses.
pub(super) fn document(table: &Table, row: &Row) -> Document {
    let plan = &table.plan;
    let mut document = Document::new();
    for column in [Some(plan.name), Some(plan.group), Some(plan.number), plan.list] {
        let Some(column) = column else { continue };
        let name = table.columns[column].clone();
        document = match &row.fields[column] {
            Field::One(cell) => document.set(name, value(cell)),
            Field::Many(elements) => document.set_many(name, elements.iter().map(String::as_str)),
        };
    }
    document
}

/// A cell as the engine takes it.
pub(super) fn value(cell: &Cell) -> Value {
    match cell {
        Cell::Null => Value::Null,
        Cell::Int(number) => Value::Int(*number),
        Cell::Float(number) => Value::Float(*number),
        Cell::Text(text) => Value::Str(text.clone()),
    }
}

/// A value of the engine as a cell; kinds that the tour never stores become their text.
pub(super) fn cell(value: &Value) -> Cell {
    match value {
        Value::Null => Cell::Null,
        Value::Int(number) => Cell::Int(*number),
        Value::Float(number) => Cell::Float(*number),
        Value::Str(text) => Cell::Text(text.clone()),
        other => Cell::Text(other.to_string()),
    }
}

/// The engine with the records in it.
#[derive(Debug)]
pub(super) struct Db {
    engine: Engine,
    collection: Collection,
}

/// The engine as one snapshot shows it.
#[derive(Clone, Debug)]
pub(super) struct View {
    snapshot: EngineSnapshot,
    view: CollectionView,
}

/// What a backup wrote.
#[derive(Clone, Copy, Debug)]
pub(super) struct Written {
    /// Ordered entries.
    pub entries: u64,
    /// Bytes of their keys and values before compression.
    pub raw_bytes: u64,
}

impl Db {
    /// Builds the indexes over all records of `table`.
    pub(super) fn build(table: &Table) -> Result<Self, TourError> {
        let engine = Engine::new();
        let documents = table.rows.iter().map(|row| (row.id.as_str(), document(table, row)));
        let (collection, _) = engine
            .bulk_load(definition(table), documents)
            .map_err(|error| TourError::engine("building the indexes", &error))?;
        Ok(Self { engine, collection })
    }

    /// A snapshot taken now.
    pub(super) fn view(&self) -> Result<View, TourError> {
        let snapshot = self.engine.snapshot_named("tour");
        let view = snapshot
            .collection(self.collection.name())
            .map_err(|error| TourError::engine("taking a snapshot", &error))?;
        Ok(View { snapshot, view })
    }

    /// Replaces a document.
    pub(super) fn update(&self, id: &str, document: &Document) -> Result<(), TourError> {
        self.collection
            .update(id, document)
            .map(drop)
            .map_err(|error| TourError::engine("updating a document", &error))
    }

    /// Removes a document, or finds it gone.
    pub(super) fn remove(&self, id: &str) -> Result<(), TourError> {
        self.collection
            .remove(id)
            .map(drop)
            .map_err(|error| TourError::engine("removing a document", &error))
    }

    /// Backs up what `view` shows.
    pub(super) fn back_up(view: &View, dir: &Path, bar: &Bar) -> Result<Written, TourError> {
        let options = ExportOptions::default().with_work(bar.work());
        let report = view
            .snapshot
            .backup(dir, &options)
            .map_err(|error| TourError::engine("backing up", &error))?;
        Ok(Written { entries: report.entries, raw_bytes: report.raw_bytes })
    }

    /// Restores the collection of `table` from a backup.
    pub(super) fn restore(table: &Table, dir: &Path, bar: &Bar) -> Result<Self, TourError> {
        let failed = |error| TourError::engine("restoring", &error);
        let options = RestoreOptions::default().with_work(bar.work());
        let engine = Engine::restore(dir, &options).map_err(failed)?.engine;
        let collection = engine.collection(&table.name).map_err(failed)?;
        Ok(Self { engine, collection })
    }
}

/// A bar that the work on a backup moves, and the user's wish to stop it.
#[derive(Clone, Debug)]
pub(super) struct Bar {
    /// The bar.
    pub bar: ProgressBar,
    /// Stops the work.
    pub interrupt: Interrupt,
}

impl Bar {
    fn work(&self) -> Work {
        Work::default()
            .with_progress(Arc::new(self.clone()))
            .with_cancel(self.interrupt.cancel().clone())
    }
}

impl Progress for Bar {
    fn begin(&self, entries: u64) {
        self.bar.set_length(entries);
    }

    fn add(&self, entries: u64, _bytes: u64) {
        self.bar.inc(entries);
    }
}

impl View {
    /// Count and digest of everything that the snapshot holds, back-index and schema included.
    pub(super) fn digest(&self) -> Digest {
        self.snapshot.digest()
    }

    /// Asks a question.
    pub(super) fn answer(&self, table: &Table, question: &Question) -> Result<Answer, TourError> {
        let failed = |error| TourError::engine("answering a question", &error);
        let mut query = self
            .view
            .query(&table.index_name(question.index))
            .map_err(failed)?
            .eq(question.eq.iter().map(value));
        query = match &question.tail {
            Tail::All => query,
            Tail::Prefix(prefix) => query.prefix(prefix.as_str()),
            Tail::Between(low, high) => query.range(value(low)..=value(high)),
        };
        query = match question.wanted {
            Wanted::Rows => query,
            Wanted::First(limit) => query.limit(limit as u64),
            Wanted::Last(limit) => query.rev().limit(limit as u64),
            Wanted::Count => {
                let count = query.count().map_err(failed)?;
                return Ok(Answer { count: to_usize(count), hits: Vec::new() });
            }
        };
        let hits: Vec<Hit> = query.fetch().map_err(failed)?.iter().map(hit).collect();
        Ok(Answer { count: hits.len(), hits })
    }

    /// Visits every entry of an index in its order, which is checked on the way.
    pub(super) fn walk(
        &self,
        table: &Table,
        index: Index,
        mut visit: impl FnMut(&[Cell], &str),
    ) -> Result<(), TourError> {
        let failed = |error| TourError::engine("reading a whole index", &error);
        let query = self.view.query(&table.index_name(index)).map_err(failed)?;
        let mut last: Option<Hit> = None;
        for row in query.rows().map_err(failed)? {
            let hit = hit(&row.map_err(failed)?);
            if let Some(last) = &last {
                let (a, b) = ((&last.tuple[..], &last.id[..]), (&hit.tuple[..], &hit.id[..]));
                if scan::order(index, a, b) != Ordering::Less {
                    return Err(TourError::Check {
                        check: "index-order",
                        expected: format!("an entry of {} after {last}", table.index_name(index)),
                        got: hit.to_string(),
                    });
                }
            }
            visit(&hit.tuple, &hit.id);
            last = Some(hit);
        }
        Ok(())
    }

    /// The fingerprint of all entries of all indexes.
    pub(super) fn fingerprint(&self, table: &Table) -> Result<Fingerprint, TourError> {
        let mut fingerprint = Fingerprint::default();
        for index in table.indexes() {
            self.walk(table, index, |tuple, id| fingerprint.add(index, tuple, id))?;
        }
        Ok(fingerprint)
    }
}

fn hit(row: &whimbrel::Row) -> Hit {
    Hit {
        tuple: row.key().iter().map(cell).collect(),
        id: String::from_utf8_lossy(row.doc_id()).into_owned(),
    }
}

fn to_usize(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}
