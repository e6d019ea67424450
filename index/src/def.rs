//! Definitions of collections and indexes, and what they must satisfy.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::value::Kind;

/// Most partitions of a collection.
pub const MAX_PARTITIONS: u16 = 16_384;
/// Most indexes of a collection.
pub const MAX_INDEXES: usize = 1_024;
/// Most key fields of an index, and most covered fields.
pub const MAX_FIELDS: usize = 32;
/// Longest name of a collection, an index or a field, in bytes.
pub const MAX_NAME_BYTES: usize = 128;

/// Which way a field sorts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Smallest first.
    #[default]
    Ascending,
    /// Largest first.
    Descending,
}

impl Direction {
    /// What each byte of an element is combined with by exclusive or.
    pub(crate) fn mask(self) -> u8 {
        match self {
            Self::Ascending => 0,
            Self::Descending => 0xFF,
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
fn is_false(b: &bool) -> bool {
    !*b
}

/// One key field of an index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FieldDef {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) direction: Direction,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) kind: Option<Kind>,
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) multi: bool,
}

impl FieldDef {
    /// A field sorted smallest first, of any kind, with one value per document.
    pub fn asc(name: impl Into<String>) -> Self {
        Self { name: name.into(), direction: Direction::Ascending, kind: None, multi: false }
    }

    /// A field sorted largest first.
    pub fn desc(name: impl Into<String>) -> Self {
        Self { direction: Direction::Descending, ..Self::asc(name) }
    }

    /// Accepts values of this kind and null only. Default: any kind. An update with another kind
    /// is refused whole.
    #[must_use]
    pub fn kind(self, kind: Kind) -> Self {
        Self { kind: Some(kind), ..self }
    }

    /// The field is an array: one entry per distinct element, none when it is empty or missing.
    /// Default: one value per document. Costs one entry per element.
    #[must_use]
    pub fn multi(self) -> Self {
        Self { multi: true, ..self }
    }

    /// The field's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Which way it sorts.
    #[must_use]
    pub fn direction(&self) -> Direction {
        self.direction
    }

    /// Whether it gives an entry per element.
    #[must_use]
    pub fn is_multi(&self) -> bool {
        self.multi
    }
}

/// One index: key fields in order, options.
///
/// # Examples
/// ```
/// use whimbrel::IndexDef;
/// let by_country = IndexDef::new("by_country").asc("country").desc("population");
/// let by_alias = IndexDef::new("by_alias").multi("aliases").covering(["name"]);
/// let by_iban = IndexDef::new("by_iban").asc("iban").unique();
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IndexDef {
    pub(crate) name: String,
    pub(crate) fields: Vec<FieldDef>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) covering: Vec<String>,
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) unique: bool,
}

impl IndexDef {
    /// An index without fields yet; it needs at least one.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), fields: Vec::new(), covering: Vec::new(), unique: false }
    }

    /// Adds a key field.
    #[must_use]
    pub fn field(mut self, field: FieldDef) -> Self {
        self.fields.push(field);
        self
    }

    /// Adds a key field sorted smallest first.
    #[must_use]
    pub fn asc(self, name: impl Into<String>) -> Self {
        self.field(FieldDef::asc(name))
    }

    /// Adds a key field sorted largest first.
    #[must_use]
    pub fn desc(self, name: impl Into<String>) -> Self {
        self.field(FieldDef::desc(name))
    }

    /// Adds an array field: an entry per element.
    #[must_use]
    pub fn multi(self, name: impl Into<String>) -> Self {
        self.field(FieldDef::asc(name).multi())
    }

    /// Pins the kind of the field added last; without a field it does nothing.
    #[must_use]
    pub fn kind(mut self, kind: Kind) -> Self {
        if let Some(last) = self.fields.last_mut() {
            last.kind = Some(kind);
        }
        self
    }

    /// Fields whose values are stored in the entries, so that rows carry them. Default: none.
    /// Costs their bytes in every entry.
    #[must_use]
    pub fn covering<S: Into<String>>(mut self, fields: impl IntoIterator<Item = S>) -> Self {
        self.covering.extend(fields.into_iter().map(Into::into));
        self
    }

    /// No two documents may have the same key. Default: off. A key with a null in it is exempt, as
    /// in SQL. Needs a collection of one partition; an update pays one more write per new key.
    #[must_use]
    pub fn unique(self) -> Self {
        Self { unique: true, ..self }
    }

    /// The index's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The key fields, in order.
    #[must_use]
    pub fn fields(&self) -> &[FieldDef] {
        &self.fields
    }

    /// The covered fields, in order.
    #[must_use]
    pub fn covered_fields(&self) -> &[String] {
        &self.covering
    }

    /// Whether no two documents may have the same key.
    #[must_use]
    pub fn is_unique(&self) -> bool {
        self.unique
    }

    pub(crate) fn directions(&self) -> Vec<Direction> {
        self.fields.iter().map(|f| f.direction).collect()
    }
}

/// A collection: a name, its indexes, and into how many partitions documents are spread.
///
/// # Examples
/// ```
/// use whimbrel::{CollectionDef, IndexDef};
/// let def = CollectionDef::new("cities")
///     .index(IndexDef::new("by_name").asc("name"))
///     .partitions(4);
/// def.validate()?;
/// # Ok::<(), whimbrel::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CollectionDef {
    pub(crate) name: String,
    pub(crate) partitions: u16,
    pub(crate) indexes: Vec<IndexDef>,
}

impl CollectionDef {
    /// A collection of one partition without indexes yet; it needs at least one.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), partitions: 1, indexes: Vec::new() }
    }

    /// Adds an index.
    #[must_use]
    pub fn index(mut self, index: IndexDef) -> Self {
        self.indexes.push(index);
        self
    }

    /// Sets the number of partitions, 1 to [`MAX_PARTITIONS`]. Default: 1. A document belongs to
    /// the partition its id hashes to. Every query without a document id reads all of them and
    /// merges, so more partitions cost each query; they are what a cluster spreads over its nodes.
    #[must_use]
    pub fn partitions(self, partitions: u16) -> Self {
        Self { partitions, ..self }
    }

    /// The collection's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The number of partitions.
    #[must_use]
    pub fn partition_count(&self) -> u16 {
        self.partitions
    }

    /// The indexes; an index's position here is its number in stored keys.
    #[must_use]
    pub fn indexes(&self) -> &[IndexDef] {
        &self.indexes
    }

    /// The partition that a document belongs to.
    ///
    /// # Complexity
    /// O(bytes of the id).
    #[must_use]
    pub fn partition_of(&self, doc_id: &[u8]) -> u16 {
        let hash = xxhash_rust::xxh3::xxh3_64(doc_id);
        let part = hash % u64::from(self.partitions.max(1));
        u16::try_from(part).unwrap_or(u16::MAX)
    }

    /// Checks names, limits and options.
    ///
    /// # Errors
    /// [`Error::BadDefinition`] naming the place, what is wrong there and what would be right.
    pub fn validate(&self) -> Result<(), Error> {
        let refuse = |place: &str, reason: String| {
            Err(Error::BadDefinition { place: place.to_owned(), reason })
        };
        let place = format!("collection {:?}", self.name);
        collection_name(&self.name).or_else(|reason| refuse(&place, reason))?;
        if self.partitions == 0 || self.partitions > MAX_PARTITIONS {
            let n = self.partitions;
            return refuse(&place, format!("{n} partitions; 1 to {MAX_PARTITIONS} are possible"));
        }
        if self.indexes.is_empty() || self.indexes.len() > MAX_INDEXES {
            let n = self.indexes.len();
            return refuse(&place, format!("{n} indexes; 1 to {MAX_INDEXES} are possible"));
        }
        let mut names = HashSet::new();
        for index in &self.indexes {
            let place = format!("{place}, index {:?}", index.name);
            if !names.insert(&index.name) {
                return refuse(&place, "two indexes have this name".to_owned());
            }
            index.check().or_else(|reason| refuse(&place, reason))?;
            if index.unique && self.partitions > 1 {
                return refuse(
                    &place,
                    format!(
                        "unique, but the collection has {} partitions: equal keys could sit in \
                         different stores; a unique index needs partitions(1)",
                        self.partitions
                    ),
                );
            }
        }
        Ok(())
    }
}

impl IndexDef {
    fn check(&self) -> Result<(), String> {
        plain_name(&self.name)?;
        if self.fields.is_empty() || self.fields.len() > MAX_FIELDS {
            return Err(format!("{} fields; 1 to {MAX_FIELDS} are possible", self.fields.len()));
        }
        if self.covering.len() > MAX_FIELDS {
            return Err(format!(
                "{} covered fields; at most {MAX_FIELDS} are possible",
                self.covering.len()
            ));
        }
        let mut names = HashSet::new();
        for field in &self.fields {
            plain_name(&field.name).map_err(|e| format!("field {:?}: {e}", field.name))?;
            if !names.insert(&field.name) {
                return Err(format!("field {:?} is named twice", field.name));
            }
            if field.kind == Some(Kind::Null) {
                return Err(format!("field {:?} accepts null only; name another kind", field.name));
            }
        }
        let mut multi = self.fields.iter().filter(|f| f.multi);
        if let (Some(first), Some(second)) = (multi.next(), multi.next()) {
            return Err(format!(
                "fields {:?} and {:?} are both arrays; at most one may be, or a document would \
                 get an entry for every pair of elements",
                first.name, second.name
            ));
        }
        let mut covered = HashSet::new();
        for field in &self.covering {
            plain_name(field).map_err(|e| format!("covered field {field:?}: {e}"))?;
            if !covered.insert(field) {
                return Err(format!("covered field {field:?} is named twice"));
            }
        }
        Ok(())
    }
}

fn plain_name(name: &str) -> Result<(), String> {
    if name.is_empty() || name.len() > MAX_NAME_BYTES {
        return Err(format!("a name of {} bytes; 1 to {MAX_NAME_BYTES} are possible", name.len()));
    }
    if name.chars().any(char::is_control) {
        return Err("a name with a control character".to_owned());
    }
    Ok(())
}

/// Collection names also become names in backups, file names and key prefixes.
fn collection_name(name: &str) -> Result<(), String> {
    plain_name(name)?;
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if !name.chars().all(good) || name.starts_with('.') {
        return Err(
            "letters, digits, '_', '-' and '.' are possible, and no '.' at the front".to_owned()
        );
    }
    Ok(())
}
