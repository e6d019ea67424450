//! Indexes and values as they are written on the command line.
//!
//! `--index by_country=country,population:desc` is an index of two fields, the second largest
//! first; `--index by_alias=aliases:list` one of a column whose cells hold several values.

use whimbrel::{FieldDef, IndexDef, Kind, Value};

/// One column of an index as given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldSpec {
    /// The column.
    pub column: String,
    /// Largest first.
    pub descending: bool,
    /// Cells hold several values.
    pub list: bool,
}

/// One index as given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexSpec {
    /// The index's name.
    pub name: String,
    /// Its columns, in order.
    pub fields: Vec<FieldSpec>,
}

impl std::str::FromStr for IndexSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, fields) = text.split_once('=').unwrap_or((text, text));
        let fields = fields.split(',').map(field).collect::<Result<_, _>>()?;
        let name = name.split(':').next().unwrap_or_default().trim().to_owned();
        Ok(Self { name, fields })
    }
}

fn field(text: &str) -> Result<FieldSpec, String> {
    let mut parts = text.split(':');
    let column = parts.next().unwrap_or_default().trim().to_owned();
    if column.is_empty() {
        return Err("a column's name is missing; write NAME=COLUMN[:desc][:list][,COLUMN..]".into());
    }
    let mut spec = FieldSpec { column, descending: false, list: false };
    for option in parts {
        match option.trim() {
            "asc" => spec.descending = false,
            "desc" => spec.descending = true,
            "list" => spec.list = true,
            other => {
                return Err(format!(
                    "\"{other}\" is not an option of a column; asc, desc and list are"
                ));
            }
        }
    }
    Ok(spec)
}

impl IndexSpec {
    /// The definition, with each column's kind pinned.
    #[must_use]
    pub fn define(&self, kind_of: impl Fn(&str) -> Kind) -> IndexDef {
        let define = |field: &FieldSpec| {
            let def = if field.descending {
                FieldDef::desc(&field.column)
            } else {
                FieldDef::asc(&field.column)
            };
            let def = def.kind(kind_of(&field.column));
            if field.list { def.multi() } else { def }
        };
        self.fields.iter().fold(IndexDef::new(&self.name), |def, field| def.field(define(field)))
    }
}

/// Reads a value that a person typed: as the kind of the field where that is known, else as what
/// it looks like. `str:`, `int:`, `float:`, `bool:`, `bytes:` (hexadecimal), `timestamp:`
/// (microseconds) in front say it outright; `null` alone is no value.
///
/// # Errors
///
/// What is wrong and what would be right.
pub fn parse_value(text: &str, kind: Option<Kind>) -> Result<Value, String> {
    let explicit = text.split_once(':').and_then(|(name, rest)| Some((kind_named(name)?, rest)));
    let (kind, text) = match explicit {
        Some((kind, rest)) => (Some(kind), rest),
        None if text == "null" => return Ok(Value::Null),
        None => (kind, text),
    };
    let wrong = |what: &str| format!("\"{text}\" is not {what}");
    match kind {
        None => Ok(guess(text)),
        Some(Kind::Null) => Ok(Value::Null),
        Some(Kind::Bool) => text.parse().map(Value::Bool).map_err(|_| wrong("true or false")),
        Some(Kind::Int) => text.parse().map(Value::Int).map_err(|_| wrong("a whole number")),
        Some(Kind::Float) => text.parse().map(Value::Float).map_err(|_| wrong("a number")),
        Some(Kind::Timestamp) => text
            .parse()
            .map(Value::Timestamp)
            .map_err(|_| wrong("a number of microseconds since 1970")),
        Some(Kind::Str) => Ok(Value::Str(text.to_owned())),
        Some(Kind::Bytes) => {
            decode_hex(text).map(Value::Bytes).ok_or_else(|| wrong("hexadecimal bytes"))
        }
    }
}

fn kind_named(name: &str) -> Option<Kind> {
    Some(match name {
        "str" => Kind::Str,
        "int" => Kind::Int,
        "float" => Kind::Float,
        "bool" => Kind::Bool,
        "bytes" => Kind::Bytes,
        "timestamp" => Kind::Timestamp,
        _ => return None,
    })
}

fn guess(text: &str) -> Value {
    if let Ok(number) = text.parse() {
        Value::Int(number)
    } else if let Some(number) =
        text.parse().ok().filter(|_| text.contains(|c: char| c.is_ascii_digit()))
    {
        Value::Float(number)
    } else if let Ok(truth) = text.parse() {
        Value::Bool(truth)
    } else {
        Value::Str(text.to_owned())
    }
}

fn decode_hex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let byte = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).ok();
    (0..text.len()).step_by(2).map(byte).collect()
}

/// A value for people: texts as they are, bytes in hexadecimal.
#[must_use]
pub fn show_value(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::Bool(truth) => truth.to_string(),
        Value::Int(number) | Value::Timestamp(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Str(text) => text.clone(),
        Value::Bytes(bytes) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}

/// A value as JSON; bytes become hexadecimal text.
#[must_use]
pub fn json_value(value: &Value) -> serde_json::Value {
    match value {
        Value::Null => serde_json::Value::Null,
        Value::Bool(truth) => (*truth).into(),
        Value::Int(number) | Value::Timestamp(number) => (*number).into(),
        Value::Float(number) => (*number).into(),
        Value::Str(text) => text.as_str().into(),
        Value::Bytes(_) => show_value(value).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_are_read_as_written() {
        let spec: IndexSpec = "by_country=country,population:desc".parse().expect("valid");
        assert_eq!(spec.name, "by_country");
        assert_eq!(spec.fields[1].column, "population");
        assert!(spec.fields[1].descending && !spec.fields[0].descending);
        let short: IndexSpec = "aliases:list".parse().expect("valid");
        assert_eq!((short.name.as_str(), short.fields[0].list), ("aliases", true));
        assert!("by=".parse::<IndexSpec>().is_err());
        assert!("by=a:down".parse::<IndexSpec>().expect_err("no such option").contains("desc"));
    }

    #[test]
    fn values_are_read_by_kind_by_prefix_and_by_looks() {
        assert_eq!(parse_value("12", None), Ok(Value::Int(12)));
        assert_eq!(parse_value("1.5", None), Ok(Value::Float(1.5)));
        assert_eq!(parse_value("inf", None), Ok(Value::Str("inf".into())));
        assert_eq!(parse_value("true", None), Ok(Value::Bool(true)));
        assert_eq!(parse_value("12", Some(Kind::Str)), Ok(Value::Str("12".into())));
        assert_eq!(parse_value("str:12", None), Ok(Value::Str("12".into())));
        assert_eq!(parse_value("bytes:00ff", None), Ok(Value::Bytes(vec![0, 255])));
        assert_eq!(parse_value("null", Some(Kind::Int)), Ok(Value::Null));
        assert!(parse_value("x", Some(Kind::Int)).is_err());
        assert!(parse_value("bytes:0", None).is_err());
    }
}
