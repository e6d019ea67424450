//! The independent check: answers by a plain scan over all records, and fingerprints of an index.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::question::{Answer, Hit, Question, Tail, Wanted};
use super::table::{Cell, Index, Row, Table};

/// Count and sum of hashes of entries, without regard to their order. Equal sets of entries have
/// equal fingerprints; whoever reads an index checks the order beside it, see [`order`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Fingerprint {
    /// How many entries.
    pub count: u64,
    /// Wrapping sum of their hashes.
    pub sum: u64,
}

impl Fingerprint {
    /// Adds one entry of `index`.
    pub(super) fn add(&mut self, index: Index, tuple: &[Cell], id: &str) {
        let mut hasher = DefaultHasher::new();
        (index as u8).hash(&mut hasher);
        for cell in tuple {
            match cell {
                Cell::Null => 0u8.hash(&mut hasher),
                Cell::Int(value) => (1u8, value).hash(&mut hasher),
                Cell::Float(value) => (2u8, value.to_bits()).hash(&mut hasher),
                Cell::Text(value) => (3u8, value).hash(&mut hasher),
            }
        }
        id.hash(&mut hasher);
        self.count += 1;
        self.sum = self.sum.wrapping_add(hasher.finish());
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} entries, digest {:016x}", self.count, self.sum)
    }
}

/// The fingerprint that all indexes of `table` together must have when it holds `rows`.
pub(super) fn fingerprint<R: Borrow<Row>>(
    table: &Table,
    rows: impl Iterator<Item = R>,
) -> Fingerprint {
    let indexes = table.indexes();
    let mut fingerprint = Fingerprint::default();
    for row in rows {
        let row = row.borrow();
        for &index in &indexes {
            for tuple in table.tuples(index, row) {
                fingerprint.add(index, &tuple, &row.id);
            }
        }
    }
    fingerprint
}

/// The order that the entries of `index` must have.
pub(super) fn order(index: Index, a: (&[Cell], &str), b: (&[Cell], &str)) -> Ordering {
    let fields = a.0.iter().zip(b.0).enumerate();
    for (position, (x, y)) in fields {
        let ascending = x.order(y);
        let field = if index == Index::Composite && position == 1 {
            ascending.reverse()
        } else {
            ascending
        };
        if field != Ordering::Equal {
            return field;
        }
    }
    a.1.as_bytes().cmp(b.1.as_bytes())
}

/// Answers `question` by looking at every one of `rows`.
pub(super) fn answer<R: Borrow<Row>>(
    table: &Table,
    rows: impl Iterator<Item = R>,
    question: &Question,
) -> Answer {
    let mut hits: Vec<Hit> = Vec::new();
    for row in rows {
        let row = row.borrow();
        for tuple in table.tuples(question.index, row) {
            if matches(question, &tuple) {
                hits.push(Hit { tuple, id: row.id.clone() });
            }
        }
    }
    hits.sort_by(|a, b| order(question.index, (&a.tuple, &a.id), (&b.tuple, &b.id)));
    match question.wanted {
        Wanted::Rows => {}
        Wanted::First(limit) => hits.truncate(limit),
        Wanted::Last(limit) => {
            hits.reverse();
            hits.truncate(limit);
        }
        Wanted::Count => return Answer { count: hits.len(), hits: Vec::new() },
    }
    Answer { count: hits.len(), hits }
}

fn matches(question: &Question, tuple: &[Cell]) -> bool {
    let fixed = question.eq.len();
    if tuple[..fixed] != question.eq[..] {
        return false;
    }
    match (&question.tail, tuple.get(fixed)) {
        (Tail::All, _) => true,
        (Tail::Prefix(prefix), Some(Cell::Text(text))) => text.starts_with(prefix.as_str()),
        (Tail::Between(low, high), Some(cell)) => {
            cell.order(low) != Ordering::Less && cell.order(high) != Ordering::Greater
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn composite_order_is_descending_in_its_second_field() {
        let tuple = |number| vec![Cell::Text("AD".to_owned()), Cell::Int(number)];
        let (small, large) = (tuple(1), tuple(2));
        assert_eq!(order(Index::Composite, (&large, "b"), (&small, "a")), Ordering::Less);
        assert_eq!(order(Index::Composite, (&small, "a"), (&small, "b")), Ordering::Less);
    }

    #[test]
    fn a_fingerprint_tells_an_entry_under_another_id_apart() {
        let mut one = Fingerprint::default();
        let mut other = Fingerprint::default();
        one.add(Index::Name, &[Cell::Text("Vila".to_owned())], "1");
        other.add(Index::Name, &[Cell::Text("Vila".to_owned())], "2");
        assert_ne!(one, other);
    }
}
