//! Loads the records: the cities compiled into the binary, or a CSV file of the user.
//!
//! A user's file needs a header row. A column is a number when nearly all of its values are, and
//! multi-valued when it has values with a separator; [`super::plan`] then picks the columns of
//! the three indexes. A line that does not fit is named with its number, its cause and a remedy:
//! nothing is skipped in silence.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use csv::{ErrorKind, Reader, ReaderBuilder, StringRecord};
use flate2::read::GzDecoder;

use super::error::TourError;
use super::plan::{self, Kind};
use super::table::{Cell, Field, Row, Table};

/// GeoNames' populated places, CC BY 4.0; node/data/README.md says where they are from.
static CITIES: &[u8] = include_bytes!("../../data/cities.csv.gz");

const CITIES_ORIGIN: &str = "GeoNames (CC BY 4.0), places of 1,000 inhabitants and more";

/// Longest value of an indexed column, in bytes: well under what a key may hold.
const VALUE_BYTES_MAX: usize = 8 * 1024;

/// Longest name of a column, in bytes.
const NAME_BYTES_MAX: usize = 100;

/// Most elements of a multi-valued field.
const ELEMENTS_MAX: usize = 500;

/// The data of the tour: the user's file, or the cities.
pub(super) fn load(data: Option<&Path>, entries: Option<usize>) -> Result<Table, TourError> {
    let mut table = match data {
        None => parse(
            BufReader::new(GzDecoder::new(CITIES)),
            Path::new("cities.csv.gz"),
            "cities",
            CITIES_ORIGIN,
        )?,
        Some(path) => load_file(path)?,
    };
    if let Some(entries) = entries {
        table.scale(entries);
    }
    Ok(table)
}

fn load_file(path: &Path) -> Result<Table, TourError> {
    let cannot = |cause: String, remedy: &str| TourError::Data {
        file: path.to_owned(),
        cause,
        remedy: remedy.to_owned(),
    };
    let file = File::open(path)
        .map_err(|error| cannot(format!("cannot be opened: {error}"), "check the path"))?;
    if file.metadata().is_ok_and(|meta| meta.is_dir()) {
        return Err(cannot("is a directory".to_owned(), "give a CSV file with a header row"));
    }
    let origin = path.display().to_string();
    if path.extension().is_some_and(|extension| extension == "gz") {
        return parse(BufReader::new(GzDecoder::new(file)), path, "records", &origin);
    }
    parse(BufReader::new(file), path, "records", &origin)
}

fn parse<R: Read>(input: R, file: &Path, name: &str, origin: &str) -> Result<Table, TourError> {
    let mut reader = ReaderBuilder::new().from_reader(input);
    let columns = header(&mut reader, file)?;
    let lines = lines(&mut reader, file)?;
    if lines.is_empty() {
        return Err(TourError::Data {
            file: file.to_owned(),
            cause: "no record after the header row".to_owned(),
            remedy: "add at least one line of data".to_owned(),
        });
    }
    let kinds = plan::kinds(&columns, &lines);
    let id = plan::id_column(&columns, &lines);
    let plan = plan::choose(&columns, &kinds, id, &lines).map_err(|cause| TourError::Data {
        file: file.to_owned(),
        cause,
        remedy: "the tour indexes a text, a composite of two columns and, if there is one, a \
                 column of several values separated by '|' or ';'"
            .to_owned(),
    })?;
    let typing = Typing { file: file.to_owned(), columns: &columns, kinds: &kinds, id };
    let rows = typing.rows(&lines)?;
    Ok(Table { name: name.to_owned(), origin: origin.to_owned(), columns, id, kinds, plan, rows })
}

fn header<R: Read>(reader: &mut Reader<R>, file: &Path) -> Result<Vec<String>, TourError> {
    let record = reader.headers().map_err(|error| bad_line(file, &error))?;
    let columns: Vec<String> = record.iter().map(|name| name.trim().to_owned()).collect();
    for (index, column) in columns.iter().enumerate() {
        let problem = if column.is_empty() {
            format!("column {} has no name", index + 1)
        } else if column.len() > NAME_BYTES_MAX || column.chars().any(char::is_control) {
            format!("the name of column {} is too long or has control characters", index + 1)
        } else if columns[..index].contains(column) {
            format!("two columns are called {column:?}")
        } else {
            continue;
        };
        return Err(TourError::Line {
            file: file.to_owned(),
            line: 1,
            cause: problem,
            remedy: "the first line must name every column, each name once".to_owned(),
        });
    }
    Ok(columns)
}

fn lines<R: Read>(reader: &mut Reader<R>, file: &Path) -> Result<Vec<StringRecord>, TourError> {
    reader.records().map(|line| line.map_err(|error| bad_line(file, &error))).collect()
}

/// The reader's complaint with its line, in words that say what to do.
fn bad_line(file: &Path, error: &csv::Error) -> TourError {
    let line = error.position().map_or(0, csv::Position::line);
    let (cause, remedy) = match error.kind() {
        ErrorKind::UnequalLengths { expected_len, len, .. } => (
            format!("{len} fields where the header row has {expected_len}"),
            "add or remove fields; a value with a comma, a quote or a line break must be in \
             double quotes, and a quote inside it doubled",
        ),
        ErrorKind::Utf8 { err, .. } => (
            format!("field {} is not UTF-8", err.field() + 1),
            "save the file as UTF-8 (for example: iconv -f LATIN1 -t UTF-8 in.csv > out.csv)",
        ),
        ErrorKind::Io(source) => (
            format!("cannot be read: {source}"),
            "check that the file is complete; a name that ends in .gz means gzip",
        ),
        _ => (error.to_string(), "correct the line"),
    };
    TourError::Line { file: file.to_owned(), line, cause, remedy: remedy.to_owned() }
}

/// What is known of the columns while the lines become records.
struct Typing<'a> {
    file: PathBuf,
    columns: &'a [String],
    kinds: &'a [Kind],
    id: Option<usize>,
}

impl Typing<'_> {
    fn rows(&self, lines: &[StringRecord]) -> Result<Vec<Row>, TourError> {
        let mut first_line: HashMap<String, u64> = HashMap::with_capacity(lines.len());
        let mut rows = Vec::with_capacity(lines.len());
        for (index, line) in lines.iter().enumerate() {
            let number = line.position().map_or(0, csv::Position::line);
            let id = match self.id {
                Some(column) => line[column].trim().to_owned(),
                None => (index + 1).to_string(),
            };
            self.check_id(&id, number, &mut first_line)?;
            let fields = (0..self.columns.len())
                .map(|column| self.field(column, &line[column], number))
                .collect::<Result<_, _>>()?;
            rows.push(Row { id, fields });
        }
        Ok(rows)
    }

    fn check_id(
        &self,
        id: &str,
        line: u64,
        seen: &mut HashMap<String, u64>,
    ) -> Result<(), TourError> {
        if id.is_empty() {
            return Err(self.bad(line, "the id is empty".to_owned(), "give every line an id"));
        }
        match seen.entry(id.to_owned()) {
            Entry::Vacant(entry) => {
                entry.insert(line);
                Ok(())
            }
            Entry::Occupied(entry) => Err(self.bad(
                line,
                format!("the id {id:?} is already used in line {}", entry.get()),
                "make the ids distinct, or rename the column: without an id column the records \
                 are numbered",
            )),
        }
    }

    fn field(&self, column: usize, text: &str, line: u64) -> Result<Field, TourError> {
        let text = text.trim();
        if text.len() > VALUE_BYTES_MAX {
            return Err(self.bad(
                line,
                format!("{} bytes in column {:?}", text.len(), self.columns[column]),
                "the tour takes values of at most 8 KiB: shorten the value or leave out the column",
            ));
        }
        if let Kind::List(separator) = self.kinds[column] {
            let elements = elements(text, separator);
            if elements.len() > ELEMENTS_MAX {
                return Err(self.bad(
                    line,
                    format!("{} values in column {:?}", elements.len(), self.columns[column]),
                    "the tour takes at most 500 of them: cut the list or leave out the column",
                ));
            }
            return Ok(Field::Many(elements));
        }
        if text.is_empty() {
            return Ok(Field::One(Cell::Null));
        }
        let cell = match self.kinds[column] {
            Kind::Int => text.parse().ok().map(Cell::Int),
            Kind::Float => plan::finite(text).map(Cell::Float),
            Kind::Text | Kind::List(_) => Some(Cell::Text(text.to_owned())),
        };
        cell.map(Field::One).ok_or_else(|| {
            self.bad(
                line,
                format!("{text:?} in column {:?} is not a number", self.columns[column]),
                "nearly all other lines have a number there: correct the value or leave it empty",
            )
        })
    }

    fn bad(&self, line: u64, cause: String, remedy: &str) -> TourError {
        TourError::Line { file: self.file.clone(), line, cause, remedy: remedy.to_owned() }
    }
}

/// The distinct elements of a multi-valued field, in their order.
fn elements(text: &str, separator: char) -> Vec<String> {
    let mut elements: Vec<String> = Vec::new();
    for element in text.split(separator).map(str::trim).filter(|element| !element.is_empty()) {
        if !elements.iter().any(|known| known == element) {
            elements.push(element.to_owned());
        }
    }
    elements
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Table, TourError> {
        parse(text.as_bytes(), Path::new("t.csv"), "t", "here")
    }

    #[test]
    fn the_cities_are_what_their_readme_says() {
        let table = load(None, None).expect("the data in the binary is whole");
        assert_eq!(table.rows.len(), 147_519);
        let of = |column: usize| table.columns[column].as_str();
        let plan = &table.plan;
        assert_eq!(
            (of(plan.name), of(plan.group), of(plan.number), plan.list.map(of)),
            ("name", "country", "population", Some("alternate_names"))
        );
    }

    #[test]
    fn columns_are_chosen_by_their_values() {
        let text = "code,price,title,tags,kind\n07,1.5,a,x;y,k\n08,2,b,z,k\n09,3,c,,l\n";
        let table = parsed(text).expect("a good file");
        let of = |column: usize| table.columns[column].as_str();
        assert_eq!(of(table.plan.name), "title");
        assert_eq!(of(table.plan.group), "kind");
        assert_eq!(of(table.plan.number), "price");
        assert_eq!(table.plan.list.map(of), Some("tags"));
        assert_eq!(table.rows[0].cell(0), &Cell::Text("07".to_owned()));
        assert_eq!(table.rows[0].elements(3), ["x", "y"]);
        assert_eq!(table.rows[2].id, "3", "records without an id column are numbered");
    }

    #[test]
    fn a_file_without_enough_columns_is_refused() {
        for text in ["id,n\n1,2\n", "id,name\n1,x\n", "id,name,n\n"] {
            let error = parsed(text).expect_err("nothing to index");
            assert!(matches!(error, TourError::Data { .. }), "{error}");
            assert_eq!(error.exit_code(), 3);
        }
        let error = parsed("id,name,name\n1,x,y\n").expect_err("a name twice");
        assert!(matches!(error, TourError::Line { line: 1, .. }), "{error}");
    }
}
