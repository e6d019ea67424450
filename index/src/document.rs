//! Documents: what an update is given.

use std::borrow::Cow;

use crate::value::Value;

/// The fields of one document, by name. The engine stores index entries, not documents: fields
/// that no index uses are ignored.
///
/// # Examples
/// ```
/// use whimbrel::{Document, Value};
/// let doc = Document::new()
///     .set("name", "Porto")
///     .set("population", 249_633)
///     .set_many("aliases", ["Oporto", "Invicta"]);
/// assert_eq!(doc.get("population"), &[Value::Int(249_633)]);
/// assert_eq!(doc.get("elevation"), &[]);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Document {
    fields: Vec<(Cow<'static, str>, Field)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Field {
    One(Value),
    Many(Vec<Value>),
}

impl Document {
    /// A document without fields.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a field to one value, in place of what it had.
    #[must_use]
    pub fn set(mut self, name: impl Into<Cow<'static, str>>, value: impl Into<Value>) -> Self {
        self.insert(name.into(), Field::One(value.into()));
        self
    }

    /// Sets a field to an array, in place of what it had. Only fields defined with `multi` take
    /// one.
    #[must_use]
    pub fn set_many<V: Into<Value>>(
        mut self,
        name: impl Into<Cow<'static, str>>,
        values: impl IntoIterator<Item = V>,
    ) -> Self {
        self.insert(name.into(), Field::Many(values.into_iter().map(Into::into).collect()));
        self
    }

    /// The values of a field; empty when the document does not have it.
    ///
    /// # Complexity
    /// O(fields of the document).
    #[must_use]
    pub fn get(&self, name: &str) -> &[Value] {
        match self.field(name) {
            None => &[],
            Some(Field::One(value)) => std::slice::from_ref(value),
            Some(Field::Many(values)) => values,
        }
    }

    /// The one value of a field, null when it is missing; `Err` with the count for an array.
    pub(crate) fn single(&self, name: &str) -> Result<&Value, usize> {
        static NULL: Value = Value::Null;
        match self.field(name) {
            None => Ok(&NULL),
            Some(Field::One(value)) => Ok(value),
            Some(Field::Many(values)) => Err(values.len()),
        }
    }

    fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|(n, _)| n == name).map(|(_, f)| f)
    }

    fn insert(&mut self, name: Cow<'static, str>, field: Field) {
        match self.fields.iter_mut().find(|(n, _)| *n == name) {
            Some((_, old)) => *old = field,
            None => self.fields.push((name, field)),
        }
    }
}
