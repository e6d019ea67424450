//! The tour's questions as requests to a node (`WQUERY`), and its replies as answers.

use super::question::{Answer, Hit, Question, Tail, Wanted};
use super::resp::Reply;
use super::table::{Cell, Table};

/// The words that ask the node which has the partition for the answer.
pub(super) fn words(table: &Table, question: &Question) -> Vec<String> {
    let mut words = vec!["WQUERY".to_owned(), table.name.clone(), table.index_name(question.index)];
    let mut add = |name: &str, value: String| words.extend([name.to_owned(), value]);
    // Asked for one partition, a node that has it no more names the one that has.
    add("PARTITION", "0".to_owned());
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

/// The answer in a reply; nothing where the reply is none.
pub(super) fn answer(table: &Table, question: &Question, reply: &Reply) -> Option<Answer> {
    match reply {
        Reply::Integer(count) if question.wanted == Wanted::Count => {
            Some(Answer { count: usize::try_from(*count).ok()?, hits: Vec::new() })
        }
        Reply::Array(rows) if question.wanted != Wanted::Count => {
            let hits: Option<Vec<Hit>> = rows.iter().map(|row| hit(table, question, row)).collect();
            let hits = hits?;
            Some(Answer { count: hits.len(), hits })
        }
        _ => None,
    }
}

/// A row: the document id, then the fields of the index.
fn hit(table: &Table, question: &Question, row: &Reply) -> Option<Hit> {
    let Reply::Array(parts) = row else { return None };
    let (id, fields) = parts.split_first()?;
    let columns = table.index_columns(question.index);
    if columns.len() != fields.len() {
        return None;
    }
    let tuple = fields
        .iter()
        .zip(columns)
        .map(|(reply, column)| match reply {
            Reply::Bulk(None) => Some(Cell::Null),
            Reply::Integer(number) => Some(Cell::Int(*number)),
            other => table.cell_of_text(column, &other.text()?),
        })
        .collect::<Option<_>>()?;
    Some(Hit { tuple, id: id.text()? })
}
