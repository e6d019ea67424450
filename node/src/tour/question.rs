//! The questions of the tour and the shape of their answers.
//!
//! Questions are made from the data, so that they have answers on the user's own file too.

use std::collections::HashMap;
use std::fmt;

use super::table::{Cell, Index, Table};

/// Rows that are asked for and shown where a question has a limit.
pub(super) const SHOWN: usize = 5;

/// What is asked of the field after the ones that are equal.
#[derive(Clone, Debug)]
pub(super) enum Tail {
    /// Anything.
    All,
    /// A text that begins so.
    Prefix(String),
    /// Values from the first to the second, both included.
    Between(Cell, Cell),
}

/// How the matches are given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// All rows, in index order.
    Rows,
    /// The first so many.
    First(usize),
    /// The last so many, the last one first.
    Last(usize),
    /// Only how many there are.
    Count,
}

/// One question to one index.
#[derive(Clone, Debug)]
pub(super) struct Question {
    /// Short name, as in the JSON report.
    pub name: &'static str,
    /// The question as a person would ask it.
    pub title: String,
    /// The index that answers it.
    pub index: Index,
    /// Leading fields that must be equal.
    pub eq: Vec<Cell>,
    /// What is asked of the next field.
    pub tail: Tail,
    /// What to give back.
    pub wanted: Wanted,
}

/// One match: the index's tuple and the document id.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Hit {
    /// The fields of the index, in its order.
    pub tuple: Vec<Cell>,
    /// The document id.
    pub id: String,
}

impl fmt::Display for Hit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for cell in &self.tuple {
            write!(f, "{cell} | ")?;
        }
        write!(f, "id {}", self.id)
    }
}

/// The answer to one question.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Answer {
    /// How many rows matched what was wanted.
    pub count: usize,
    /// The rows, in order; empty when only the count was wanted.
    pub hits: Vec<Hit>,
}

/// The questions that the tour asks of `table`.
pub(super) fn questions(table: &Table) -> Vec<Question> {
    let Some(largest) = largest(table) else { return Vec::new() };
    let plan = &table.plan;
    let column = |column: usize| table.columns[column].as_str();
    let name = most_common(table, Index::Name);
    let group = most_common(table, Index::Composite);
    let prefix: String = largest.to_string().chars().take(4).collect();
    let (low, high) = middle(table, &group);
    let text = format!("{} = {group}", column(plan.group));
    let by = column(plan.number);
    let composite = |name, title, tail, wanted| Question {
        name,
        title,
        index: Index::Composite,
        eq: vec![group.clone()],
        tail,
        wanted,
    };
    let named = |name, title, eq, tail| Question {
        name,
        title,
        index: Index::Name,
        eq,
        tail,
        wanted: Wanted::Rows,
    };
    let subject = column(plan.name);
    let mut questions = vec![
        named("exact", format!("{subject} = {name}"), vec![name.clone()], Tail::All),
        named(
            "prefix",
            format!("{subject} begins with {prefix}"),
            Vec::new(),
            Tail::Prefix(prefix.clone()),
        ),
        composite(
            "range",
            format!("{text}, {by} from {low} to {high}"),
            Tail::Between(low.clone(), high.clone()),
            Wanted::Rows,
        ),
        composite("largest", format!("{text}, largest {by}"), Tail::All, Wanted::First(SHOWN)),
        composite(
            "reverse_limit",
            format!("{text}, smallest {by}"),
            Tail::All,
            Wanted::Last(SHOWN),
        ),
        composite("count", format!("{text}, how many"), Tail::All, Wanted::Count),
    ];
    if let Some(list) = plan.list {
        let other = most_common(table, Index::List);
        questions.push(Question {
            name: "multi_valued",
            title: format!("one of {} = {other}", column(list)),
            index: Index::List,
            eq: vec![other],
            tail: Tail::All,
            wanted: Wanted::Rows,
        });
    }
    questions
}

/// The name in the record with the largest number.
fn largest(table: &Table) -> Option<&Cell> {
    let plan = &table.plan;
    table
        .rows
        .iter()
        .filter(|row| *row.cell(plan.name) != Cell::Null)
        .max_by(|a, b| a.cell(plan.number).order(b.cell(plan.number)).then(b.id.cmp(&a.id)))
        .or(table.rows.first())
        .map(|row| row.cell(plan.name))
}

/// The most common first field of an index that is not null, the least of several.
fn most_common(table: &Table, index: Index) -> Cell {
    let mut counts: HashMap<String, (usize, Cell)> = HashMap::new();
    for row in &table.rows {
        for mut tuple in table.tuples(index, row) {
            let cell = tuple.swap_remove(0);
            if cell != Cell::Null {
                counts.entry(cell.to_string()).or_insert((0, cell)).0 += 1;
            }
        }
    }
    counts
        .into_values()
        .max_by(|(a, x), (b, y)| a.cmp(b).then_with(|| y.order(x)))
        .map_or(Cell::Null, |(_, cell)| cell)
}

/// A range of the second field that holds about a tenth of the rows of `group`, near the top.
fn middle(table: &Table, group: &Cell) -> (Cell, Cell) {
    let plan = &table.plan;
    let mut numbers: Vec<&Cell> = table
        .rows
        .iter()
        .filter(|row| row.cell(plan.group) == group && *row.cell(plan.number) != Cell::Null)
        .map(|row| row.cell(plan.number))
        .collect();
    numbers.sort_by(|a, b| a.order(b));
    let at = |per_mille: usize| {
        let index = numbers.len().saturating_sub(1) * per_mille / 1000;
        numbers.get(index).map_or(Cell::Null, |&cell| cell.clone())
    };
    (at(850), at(950))
}
