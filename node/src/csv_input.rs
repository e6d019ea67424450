//! Records of a CSV file: header, rows with their line numbers, and what kind each column is.
//!
//! A column is of the narrowest kind that all its cells fit: integers, else numbers, else text; an
//! empty cell is "no value" and fits every kind. So one column never mixes kinds, whose order among
//! each other would surprise.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use crate::Error;

/// What all cells of a column are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ColumnKind {
    /// Whole numbers that fit 64 bits.
    Int,
    /// Numbers.
    Float,
    /// Text.
    Text,
}

impl ColumnKind {
    /// The narrowest kind that this cell fits.
    fn of(cell: &str) -> Self {
        // "007" and "+1" are names or phone numbers: read as numbers they would not come back.
        let plain = |text: &str| {
            let digits = text.strip_prefix('-').unwrap_or(text);
            !(digits.len() > 1 && digits.starts_with('0') && !digits.starts_with("0."))
                && digits.starts_with(|c: char| c.is_ascii_digit())
        };
        if !plain(cell) {
            Self::Text
        } else if cell.parse::<i64>().is_ok() {
            Self::Int
        } else if cell.parse::<f64>().is_ok_and(f64::is_finite) {
            Self::Float
        } else {
            Self::Text
        }
    }
}

/// A CSV file in memory.
#[derive(Debug)]
pub struct Table {
    path: PathBuf,
    columns: Vec<String>,
    kinds: Vec<ColumnKind>,
    rows: Vec<csv::StringRecord>,
}

impl Table {
    /// Reads a whole file; `.gz` files are decompressed.
    ///
    /// # Errors
    ///
    /// [`Error::File`] when it cannot be read, [`Error::Csv`] naming the line when a row has
    /// another number of cells than the header, or bytes that are not UTF-8.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let file = File::open(path).map_err(|source| Error::File {
            action: "read",
            path: path.to_owned(),
            source,
        })?;
        let reader = BufReader::with_capacity(1 << 20, file);
        if path.extension().is_some_and(|extension| extension == "gz") {
            Self::from_reader(path, flate2::bufread::GzDecoder::new(reader))
        } else {
            Self::from_reader(path, reader)
        }
    }

    fn from_reader(path: &Path, reader: impl Read) -> Result<Self, Error> {
        let mut reader = csv::ReaderBuilder::new().from_reader(reader);
        let wrong = |error| csv_error(path, error);
        let header = reader.headers().map_err(wrong)?.clone();
        let columns: Vec<String> = header.iter().map(str::to_owned).collect();
        let bad_header = |what: String| Error::Csv { path: path.to_owned(), line: 1, what };
        if columns.is_empty() || columns == [""] {
            return Err(bad_header(
                "the file is empty; its first line must name the columns".into(),
            ));
        }
        for (at, name) in columns.iter().enumerate() {
            if name.is_empty() {
                return Err(bad_header(format!("column {} has no name", at + 1)));
            }
            if columns[..at].contains(name) {
                return Err(bad_header(format!("two columns are called \"{name}\"")));
            }
        }
        let mut kinds = vec![ColumnKind::Int; columns.len()];
        let mut filled = vec![false; columns.len()];
        let mut rows = Vec::new();
        for row in reader.records() {
            let row = row.map_err(wrong)?;
            for (at, cell) in row.iter().enumerate().filter(|(_, cell)| !cell.is_empty()) {
                filled[at] = true;
                if kinds[at] != ColumnKind::Text {
                    kinds[at] = kinds[at].max(ColumnKind::of(cell));
                }
            }
            rows.push(row);
        }
        for (kind, _) in kinds.iter_mut().zip(filled).filter(|(_, filled)| !filled) {
            *kind = ColumnKind::Text;
        }
        Ok(Self { path: path.to_owned(), columns, kinds, rows })
    }

    /// Names of the columns, in file order.
    #[must_use]
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The place of a column and its kind.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<(usize, ColumnKind)> {
        let at = self.columns.iter().position(|column| column == name)?;
        Some((at, self.kinds[at]))
    }

    /// The rows, in file order.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = Row<'_>> {
        self.rows.iter().map(|record| Row { record })
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// One row of a [`Table`].
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    record: &'a csv::StringRecord,
}

impl<'a> Row<'a> {
    /// The cell of this column; empty means that there is no value.
    #[must_use]
    pub fn cell(self, column: usize) -> &'a str {
        self.record.get(column).unwrap_or_default()
    }

    /// The line of the file where the row begins, from 1.
    #[must_use]
    pub fn line(self) -> u64 {
        self.record.position().map_or(0, csv::Position::line)
    }
}

fn csv_error(path: &Path, error: csv::Error) -> Error {
    let line = error.position().map_or(0, csv::Position::line);
    let what = match error.into_kind() {
        csv::ErrorKind::Io(source) => {
            // A damaged .gz file ends up here as well.
            let action =
                if source.kind() == io::ErrorKind::InvalidInput { "decompress" } else { "read" };
            return Error::File { action, path: path.to_owned(), source };
        }
        csv::ErrorKind::Utf8 { err, .. } => {
            format!("column {} is not UTF-8 text; save the file as UTF-8", err.field() + 1)
        }
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => format!(
            "{len} cells where the header has {expected_len}; is a comma or a quote missing or too many?"
        ),
        _ => "the line cannot be read".to_owned(),
    };
    Error::Csv { path: path.to_owned(), line, what }
}
