//! Picks the columns of the three indexes from a header row and the values under it.

use std::collections::HashSet;

use csv::StringRecord;

use super::table::Plan;

/// What the values of a column are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Whole numbers.
    Int,
    /// Finite numbers.
    Float,
    /// Texts.
    Text,
    /// Several texts, separated by this character.
    List(char),
}

/// Separators of multi-valued columns, the likelier first.
const SEPARATORS: [char; 2] = ['|', ';'];

/// A column is multi-valued when at least one in this many of its values has a separator.
const LIST_SHARE: usize = 20;

/// A column holds numbers when at most one in this many of its values is not one.
const NUMBER_SHARE: usize = 10;

/// How many lines are read to count distinct values.
const SAMPLE_LINES: usize = 50_000;

/// A finite number, or nothing.
pub(super) fn finite(text: &str) -> Option<f64> {
    text.parse::<f64>().ok().filter(|number| number.is_finite()).map(|number| number + 0.0)
}

/// The kind of every column, by its values.
pub(super) fn kinds(columns: &[String], lines: &[StringRecord]) -> Vec<Kind> {
    (0..columns.len()).map(|column| kind(column, lines)).collect()
}

fn kind(column: usize, lines: &[StringRecord]) -> Kind {
    let values = || lines.iter().map(|line| line[column].trim()).filter(|text| !text.is_empty());
    let count = values().count();
    for separator in SEPARATORS {
        let several = values().filter(|text| text.contains(separator)).count();
        if several > 0 && several * LIST_SHARE >= count {
            return Kind::List(separator);
        }
    }
    // A leading zero means a code, such as "08": its text matters, not its value.
    let code = |text: &str| text.len() > 1 && text.starts_with('0') && !text.contains('.');
    let exceptions = |numbers: usize| (count - numbers) * NUMBER_SHARE <= count;
    if count == 0 || values().any(code) {
        return Kind::Text;
    }
    if exceptions(values().filter(|text| text.parse::<i64>().is_ok()).count()) {
        return Kind::Int;
    }
    if exceptions(values().filter(|text| finite(text).is_some()).count()) {
        return Kind::Float;
    }
    Kind::Text
}

/// The column of document ids: called `id`, or the first one when its name ends in `id` and its
/// values are distinct. Without one, records are numbered.
pub(super) fn id_column(columns: &[String], lines: &[StringRecord]) -> Option<usize> {
    if let Some(column) = columns.iter().position(|name| name.eq_ignore_ascii_case("id")) {
        return Some(column);
    }
    let named = columns.first().is_some_and(|name| name.to_ascii_lowercase().ends_with("id"));
    let mut seen = HashSet::new();
    let usable = |line: &StringRecord| !line[0].trim().is_empty();
    (named && lines.iter().all(|line| usable(line) && seen.insert(line[0].trim().to_owned())))
        .then_some(0)
}

/// Picks the columns, or says what is missing.
pub(super) fn choose(
    columns: &[String],
    kinds: &[Kind],
    id: Option<usize>,
    lines: &[StringRecord],
) -> Result<Plan, String> {
    let free: Vec<usize> = (0..columns.len()).filter(|&column| Some(column) != id).collect();
    let of_kind = |wanted: &[Kind]| -> Vec<usize> {
        free.iter().copied().filter(|&column| wanted.contains(&kinds[column])).collect()
    };
    let called = |words: &[&str], among: &[usize]| -> Option<usize> {
        words.iter().find_map(|word| {
            let exact = |&&c: &&usize| columns[c].eq_ignore_ascii_case(word);
            let part = |&&c: &&usize| columns[c].to_ascii_lowercase().contains(word);
            among.iter().find(exact).or_else(|| among.iter().find(part)).copied()
        })
    };
    let texts = of_kind(&[Kind::Text]);
    let name = called(&["name", "title", "label"], &texts)
        .or_else(|| texts.iter().copied().max_by_key(|&column| distinct(column, lines)))
        .ok_or("no column of text beside the id")?;
    let ints = of_kind(&[Kind::Int]);
    let floats = of_kind(&[Kind::Float]);
    let others: Vec<usize> = texts.into_iter().filter(|&column| column != name).collect();
    let number = called(&["population", "amount", "price", "total", "count", "score"], &ints)
        .or_else(|| ints.iter().copied().max_by_key(|&column| distinct(column, lines)))
        .or_else(|| floats.iter().copied().max_by_key(|&column| distinct(column, lines)))
        .or_else(|| others.iter().copied().max_by_key(|&column| distinct(column, lines)))
        .ok_or("only one column beside the id")?;
    let group = others
        .into_iter()
        .filter(|&column| column != number && distinct(column, lines) > 1)
        .min_by_key(|&column| distinct(column, lines))
        .unwrap_or(name);
    let list = free.iter().copied().find(|&column| matches!(kinds[column], Kind::List(_)));
    Ok(Plan { name, group, number, list })
}

fn distinct(column: usize, lines: &[StringRecord]) -> usize {
    lines.iter().take(SAMPLE_LINES).map(|line| &line[column]).collect::<HashSet<_>>().len()
}
