//! Which update each record is at: the model of a changing index.

use std::borrow::Cow;
use std::collections::HashMap;

use super::engine::View;
use super::error::TourError;
use super::question::Answer;
use super::scan::{self, Fingerprint};
use super::table::{Cell, Index, Row, Table};

/// For every record of the table the number of its newest update, or nothing once removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct States(pub Vec<Option<u32>>);

impl States {
    /// All records as they were loaded.
    pub(super) fn loaded(table: &Table) -> Self {
        Self(vec![Some(0); table.rows.len()])
    }

    /// What `view` shows, read from the index by name alone. The other indexes must say the same:
    /// whoever compares the fingerprint of these states with that of the view checks that every
    /// update appears in all indexes or in none.
    pub(super) fn of_view(
        table: &Table,
        ids: &HashMap<String, usize>,
        view: &View,
    ) -> Result<Self, TourError> {
        let mut states = vec![None; table.rows.len()];
        let mut strange: Option<String> = None;
        view.walk(table, Index::Name, |tuple, id| {
            let known = ids.get(id).and_then(|&at| {
                let name = match tuple.first() {
                    Some(Cell::Text(text)) => text.as_str(),
                    _ => "",
                };
                table.update_number(&table.rows[at], name).map(|number| (at, number))
            });
            match known {
                Some((at, number)) if states[at].is_none() => states[at] = Some(number),
                _ => {
                    strange.get_or_insert_with(|| format!("an entry {tuple:?} of document {id}"));
                }
            }
        })?;
        match strange {
            None => Ok(Self(states)),
            Some(got) => Err(TourError::Check {
                check: "snapshot-atomic",
                expected: "one name per document, the one of its last update".to_owned(),
                got,
            }),
        }
    }

    /// The records in these states.
    pub(super) fn rows<'t>(&'t self, table: &'t Table) -> impl Iterator<Item = Cow<'t, Row>> {
        table.rows.iter().zip(&self.0).filter_map(|(row, state)| match state {
            None => None,
            Some(0) => Some(Cow::Borrowed(row)),
            Some(number) => Some(Cow::Owned(table.updated(row, *number))),
        })
    }

    /// The fingerprint that the indexes must have.
    pub(super) fn fingerprint(&self, table: &Table) -> Fingerprint {
        scan::fingerprint(table, self.rows(table))
    }

    /// The answer that a question must have.
    pub(super) fn answer(&self, table: &Table, question: &super::question::Question) -> Answer {
        scan::answer(table, self.rows(table), question)
    }
}
