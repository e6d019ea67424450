//! The records of the tour, and what the three indexes hold of them.
//!
//! This is the tour's own model: plain vectors of typed cells. It knows nothing of Whimbrel, so
//! that the checks of [`super::scan`] are independent of what they check.

use std::cmp::Ordering;
use std::fmt;

use super::plan::{Kind, finite};

/// One value of one record.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cell {
    /// Nothing there.
    Null,
    /// A whole number.
    Int(i64),
    /// A finite number.
    Float(f64),
    /// A text.
    Text(String),
}

impl Cell {
    /// The order that an ascending index must have: null, numbers by value, texts by their bytes.
    pub(super) fn order(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => a.cmp(b),
            (Self::Float(a), Self::Float(b)) => a.total_cmp(b),
            (Self::Text(a), Self::Text(b)) => a.as_bytes().cmp(b.as_bytes()),
            _ => self.kind().cmp(&other.kind()),
        }
    }

    fn kind(&self) -> u8 {
        match self {
            Self::Null => 0,
            Self::Int(_) => 1,
            Self::Float(_) => 2,
            Self::Text(_) => 3,
        }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => Ok(()),
            Self::Int(number) => write!(f, "{number}"),
            Self::Float(number) => write!(f, "{number}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// A column's value in one record: one cell, or the elements of a multi-valued column.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Field {
    /// A plain column.
    One(Cell),
    /// A multi-valued column: distinct texts.
    Many(Vec<String>),
}

/// One record: the document id and one field per column.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    /// The document id.
    pub id: String,
    /// The fields, in the order of [`Table::columns`].
    pub fields: Vec<Field>,
}

impl Row {
    /// The cell of a plain column; null for a multi-valued one.
    pub(super) fn cell(&self, column: usize) -> &Cell {
        match &self.fields[column] {
            Field::One(cell) => cell,
            Field::Many(_) => &Cell::Null,
        }
    }

    /// A column's value as a person reads it.
    pub(super) fn text(&self, column: usize) -> String {
        match &self.fields[column] {
            Field::One(cell) => cell.to_string(),
            Field::Many(elements) => elements.join(", "),
        }
    }

    /// The elements of a multi-valued column; none for a plain one.
    pub(super) fn elements(&self, column: usize) -> &[String] {
        match &self.fields[column] {
            Field::Many(elements) => elements,
            Field::One(_) => &[],
        }
    }
}

/// Which columns become which index.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// The column of the string index.
    pub name: usize,
    /// First column of the composite index, ascending.
    pub group: usize,
    /// Second column of the composite index, descending.
    pub number: usize,
    /// The multi-valued column, if there is one.
    pub list: Option<usize>,
}

/// One of the three indexes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Index {
    /// By name.
    Name,
    /// By group ascending, then number descending.
    Composite,
    /// By each element of the multi-valued column.
    List,
}

/// The data set.
#[derive(Debug)]
pub(super) struct Table {
    /// Name of the collection.
    pub name: String,
    /// Where the records came from, for the reader.
    pub origin: String,
    /// Column names.
    pub columns: Vec<String>,
    /// The column of document ids; records are numbered where there is none.
    pub id: Option<usize>,
    /// What the columns hold.
    pub kinds: Vec<Kind>,
    /// The chosen columns.
    pub plan: Plan,
    /// The records, with distinct ids.
    pub rows: Vec<Row>,
}

impl Table {
    /// The indexes that this table has.
    pub(super) fn indexes(&self) -> Vec<Index> {
        let mut indexes = vec![Index::Name, Index::Composite];
        indexes.extend(self.plan.list.map(|_| Index::List));
        indexes
    }

    /// The name of an index.
    pub(super) fn index_name(&self, index: Index) -> String {
        let of = |column: usize| self.columns[column].as_str();
        match index {
            Index::Name => format!("by_{}", of(self.plan.name)),
            Index::Composite => format!("by_{}_{}", of(self.plan.group), of(self.plan.number)),
            Index::List => format!("by_{}", self.plan.list.map_or("", of)),
        }
    }

    /// The columns that an index holds, in its order.
    pub(super) fn index_columns(&self, index: Index) -> Vec<usize> {
        match index {
            Index::Name => vec![self.plan.name],
            Index::Composite => vec![self.plan.group, self.plan.number],
            Index::List => self.plan.list.into_iter().collect(),
        }
    }

    /// The definition of an index in words.
    pub(super) fn index_words(&self, index: Index) -> String {
        let of = |column: usize| self.columns[column].as_str();
        match index {
            Index::Name => of(self.plan.name).to_owned(),
            Index::Composite => {
                format!("{}, then {} descending", of(self.plan.group), of(self.plan.number))
            }
            Index::List => format!("each of {}", self.plan.list.map_or("", of)),
        }
    }

    /// The cell of a text in a column of the table; nothing where it does not fit.
    pub(super) fn cell_of_text(&self, column: usize, text: &str) -> Option<Cell> {
        match self.kinds[column] {
            Kind::Int => text.parse().ok().map(Cell::Int),
            Kind::Float => finite(text).map(Cell::Float),
            Kind::Text | Kind::List(_) => Some(Cell::Text(text.to_owned())),
        }
    }

    /// The tuples under which `index` holds `row`.
    pub(super) fn tuples(&self, index: Index, row: &Row) -> Vec<Vec<Cell>> {
        match index {
            Index::Name => vec![vec![row.cell(self.plan.name).clone()]],
            Index::Composite => {
                vec![vec![row.cell(self.plan.group).clone(), row.cell(self.plan.number).clone()]]
            }
            Index::List => self.plan.list.map_or_else(Vec::new, |column| {
                row.elements(column).iter().map(|text| vec![Cell::Text(text.clone())]).collect()
            }),
        }
    }

    /// `row` after its update number `number`: all three indexes change together. Number 0 is the
    /// record as it was loaded.
    pub(super) fn updated(&self, row: &Row, number: u32) -> Row {
        if number == 0 {
            return row.clone();
        }
        let suffixed = |text: &str| format!("{text}{}", suffix(number));
        let mut new = row.clone();
        new.fields[self.plan.name] =
            Field::One(Cell::Text(suffixed(&text_of(row, self.plan.name))));
        let changed = match row.cell(self.plan.number) {
            Cell::Null => Cell::Null,
            Cell::Int(value) => Cell::Int(value.wrapping_add(i64::from(number))),
            Cell::Float(value) => Cell::Float(value + f64::from(number)),
            Cell::Text(value) => Cell::Text(suffixed(value)),
        };
        new.fields[self.plan.number] = Field::One(changed);
        if let Some(column) = self.plan.list {
            let elements = row.elements(column).iter().map(|text| suffixed(text)).collect();
            new.fields[column] = Field::Many(elements);
        }
        new
    }

    /// Which update of `row` gave it the name `name`: the inverse of [`Table::updated`].
    pub(super) fn update_number(&self, row: &Row, name: &str) -> Option<u32> {
        let rest = name.strip_prefix(&text_of(row, self.plan.name))?;
        if rest.is_empty() {
            return Some(0);
        }
        rest.strip_prefix(" ~")?.parse().ok()
    }

    /// Cuts the table down to `entries` records, or adds derived ones until it has so many.
    pub(super) fn scale(&mut self, entries: usize) {
        let base = self.rows.len();
        self.rows.truncate(entries);
        let mut separator = String::from("-");
        while entries > base && self.rows.iter().any(|row| row.id.contains(&separator)) {
            separator.push('-');
        }
        self.rows.reserve(entries.saturating_sub(base));
        for index in base..entries {
            let generation = index / base;
            let row = &self.rows[index % base];
            let new = self.derived(row, generation, &separator);
            self.rows.push(new);
        }
    }

    fn derived(&self, row: &Row, generation: usize, separator: &str) -> Row {
        let mut new = row.clone();
        new.id = format!("{}{separator}{generation}", row.id);
        let name = format!("{} {generation}", text_of(row, self.plan.name));
        new.fields[self.plan.name] = Field::One(Cell::Text(name));
        if let Some(column) = self.plan.list {
            let elements =
                row.elements(column).iter().map(|text| format!("{text} {generation}")).collect();
            new.fields[column] = Field::Many(elements);
        }
        if let Cell::Int(value) = row.cell(self.plan.number) {
            let step = i64::try_from(generation).unwrap_or(i64::MAX);
            new.fields[self.plan.number] = Field::One(Cell::Int(value.wrapping_add(step)));
        }
        new
    }
}

fn suffix(number: u32) -> String {
    format!(" ~{number}")
}

fn text_of(row: &Row, column: usize) -> String {
    row.cell(column).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let row = |id: &str, name: &str, number| Row {
            id: id.to_owned(),
            fields: vec![
                Field::One(Cell::Text(name.to_owned())),
                Field::One(Cell::Text("AD".to_owned())),
                Field::One(Cell::Int(number)),
                Field::Many(vec![format!("{name}s"), "x".to_owned()]),
            ],
        };
        Table {
            name: "t".to_owned(),
            origin: "here".to_owned(),
            columns: ["name", "group", "number", "list"].map(str::to_owned).to_vec(),
            id: None,
            kinds: vec![Kind::Text, Kind::Text, Kind::Int, Kind::List('|')],
            plan: Plan { name: 0, group: 1, number: 2, list: Some(3) },
            rows: vec![row("1", "Vila", 10), row("1-1", "Soldeu", 20)],
        }
    }

    #[test]
    fn the_name_tells_which_update_it_is_of() {
        let table = table();
        for number in [0, 1, 12, u32::MAX] {
            let new = table.updated(&table.rows[0], number);
            let name = new.cell(0).to_string();
            assert_eq!(table.update_number(&table.rows[0], &name), Some(number));
            assert_eq!(table.update_number(&table.rows[1], &name), None);
        }
    }

    #[test]
    fn an_update_changes_every_index() {
        let table = table();
        let new = table.updated(&table.rows[0], 3);
        for index in table.indexes() {
            let (old, new) = (table.tuples(index, &table.rows[0]), table.tuples(index, &new));
            assert!(old.iter().all(|tuple| !new.contains(tuple)), "{index:?}");
        }
    }

    #[test]
    fn scaling_gives_exactly_so_many_records_with_distinct_ids() {
        for entries in [1, 2, 3, 7] {
            let mut table = table();
            table.scale(entries);
            let ids: std::collections::HashSet<_> = table.rows.iter().map(|row| &row.id).collect();
            assert_eq!((table.rows.len(), ids.len()), (entries, entries));
        }
    }
}
