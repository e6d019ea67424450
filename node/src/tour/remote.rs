//! Asks a node the tour's questions, over its socket (`WQUERY`).

use std::io;
use std::net::SocketAddr;

use super::error::TourError;
use super::question::{Answer, Hit, Question, Tail, Wanted};
use super::resp::{Connection, Reply};
use super::table::{Cell, Table};

/// A connection for questions.
#[derive(Debug)]
pub(super) struct Searcher<'t> {
    connection: Connection,
    node: &'static str,
    table: &'t Table,
}

impl<'t> Searcher<'t> {
    /// Connects to the node called `node` at `address`.
    pub(super) fn open(
        address: SocketAddr,
        node: &'static str,
        table: &'t Table,
    ) -> Result<Self, TourError> {
        let connection = Connection::open(address).map_err(|error| lost(node, &error))?;
        Ok(Self { connection, node, table })
    }

    /// Asks a question.
    pub(super) fn answer(&mut self, question: &Question) -> Result<Answer, TourError> {
        let words = words(self.table, question);
        let words: Vec<&[u8]> = words.iter().map(String::as_bytes).collect();
        let reply = self.connection.call(&words).map_err(|error| lost(self.node, &error))?;
        let strange = |reply: &Reply| TourError::Node {
            node: self.node,
            cause: format!("answered the question {:?} with {reply:?}", question.title),
        };
        match &reply {
            Reply::Integer(count) if question.wanted == Wanted::Count => {
                let count = usize::try_from(*count).map_err(|_| strange(&reply))?;
                Ok(Answer { count, hits: Vec::new() })
            }
            Reply::Array(rows) if question.wanted != Wanted::Count => {
                let hits: Option<Vec<Hit>> =
                    rows.iter().map(|row| self.hit(question, row)).collect();
                let hits = hits.ok_or_else(|| strange(&reply))?;
                Ok(Answer { count: hits.len(), hits })
            }
            _ => Err(strange(&reply)),
        }
    }

    /// A row: the document id, then the fields of the index.
    fn hit(&self, question: &Question, row: &Reply) -> Option<Hit> {
        let Reply::Array(parts) = row else { return None };
        let (id, fields) = parts.split_first()?;
        let columns = self.table.index_columns(question.index);
        if columns.len() != fields.len() {
            return None;
        }
        let tuple = fields
            .iter()
            .zip(columns)
            .map(|(reply, column)| match reply {
                Reply::Bulk(None) => Some(Cell::Null),
                Reply::Integer(number) => Some(Cell::Int(*number)),
                other => self.table.cell_of_text(column, &other.text()?),
            })
            .collect::<Option<_>>()?;
        Some(Hit { tuple, id: id.text()? })
    }
}

fn lost(node: &'static str, error: &io::Error) -> TourError {
    TourError::Node { node, cause: format!("the connection for questions broke: {error}") }
}

/// The question as words of `WQUERY`.
fn words(table: &Table, question: &Question) -> Vec<String> {
    let mut words = vec!["WQUERY".to_owned(), table.name.clone(), table.index_name(question.index)];
    let mut add = |name: &str, value: String| words.extend([name.to_owned(), value]);
    question.eq.iter().for_each(|cell| add("EQ", cell.to_string()));
    match &question.tail {
        Tail::All => {}
        Tail::Prefix(prefix) => add("PREFIX", prefix.clone()),
        Tail::Between(low, high) => {
            add("FROM", low.to_string());
            add("TO", high.to_string());
        }
    }
    match question.wanted {
        Wanted::Rows => {}
        Wanted::First(limit) => add("LIMIT", limit.to_string()),
        Wanted::Last(limit) => {
            add("LIMIT", limit.to_string());
            words.push("REV".to_owned());
        }
        Wanted::Count => words.push("COUNT".to_owned()),
    }
    words
}
