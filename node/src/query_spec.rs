//! A query as it is written on the command line and as arguments of `WQUERY`.
//!
//! The same words mean the same in both: `--eq FR --from 100000 --rev --limit 5` is
//! `WQUERY cities by_country EQ FR FROM 100000 REV LIMIT 5`.

use std::ops::Bound;

use clap::Args;
use whimbrel::{CollectionView, Direction, FieldDef, IndexDef, Kind, Query, Value};

use crate::index_spec::parse_value;

/// What is asked of an index.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct QuerySpec {
    /// Value of the index's first field; once more for the second, and so on
    #[arg(long, value_name = "VALUE", allow_hyphen_values = true)]
    pub eq: Vec<String>,
    /// Texts that begin so, in the field after those of --eq
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["from", "after", "to", "before"])]
    pub prefix: Option<String>,
    /// Least value of the field after those of --eq
    #[arg(long, value_name = "VALUE", allow_hyphen_values = true, conflicts_with = "after")]
    pub from: Option<String>,
    /// As --from, this value itself left out
    #[arg(long, value_name = "VALUE", allow_hyphen_values = true)]
    pub after: Option<String>,
    /// Greatest value of the field after those of --eq
    #[arg(long, value_name = "VALUE", allow_hyphen_values = true, conflicts_with = "before")]
    pub to: Option<String>,
    /// As --to, this value itself left out
    #[arg(long, value_name = "VALUE", allow_hyphen_values = true)]
    pub before: Option<String>,
    /// Last rows first
    #[arg(long)]
    pub rev: bool,
    /// At most so many rows
    #[arg(long, value_name = "N")]
    pub limit: Option<u64>,
    /// Leave so many rows out first
    #[arg(long, value_name = "N")]
    pub offset: Option<u64>,
    /// Each key once
    #[arg(long)]
    pub distinct: bool,
}

/// The kind that a field is pinned to, if it is.
fn pinned(field: &FieldDef) -> Option<Kind> {
    let json = serde_json::to_value(field).ok()?;
    serde_json::from_value(json.get("kind")?.clone()).ok()
}

impl QuerySpec {
    /// The query on a collection.
    ///
    /// # Errors
    ///
    /// What is wrong with the values, or that there is no such index.
    pub fn query(&self, view: &CollectionView, index: &str) -> Result<Query, String> {
        let mut query = view.query(index).map_err(|error| error.to_string())?;
        let def = view.def().indexes().iter().find(|def| def.name() == index);
        let fields = def.map(IndexDef::fields).unwrap_or_default();
        if self.eq.len() > fields.len() {
            let (given, has) = (self.eq.len(), fields.len());
            return Err(format!("{given} values are given, index {index:?} has {has} fields"));
        }
        let kind = |at: usize| fields.get(at).and_then(pinned);
        let value = |text: &String, at: usize| parse_value(text, kind(at));
        for (at, text) in self.eq.iter().enumerate() {
            query = query.eq([value(text, at)?]);
        }
        let next = self.eq.len();
        let bound = |inclusive: &Option<String>, exclusive: &Option<String>| {
            Ok::<_, String>(match (inclusive, exclusive) {
                (Some(text), _) => Bound::Included(value(text, next)?),
                (None, Some(text)) => Bound::Excluded(value(text, next)?),
                (None, None) => Bound::Unbounded,
            })
        };
        let (low, high) = (bound(&self.from, &self.after)?, bound(&self.to, &self.before)?);
        let bounded = low != Bound::<Value>::Unbounded || high != Bound::Unbounded;
        if next == fields.len() && (bounded || self.prefix.is_some()) {
            return Err(format!(
                "every field of index {index:?} has a value, none is left to bound"
            ));
        }
        if let Some(text) = &self.prefix {
            query = query.prefix(value(text, next)?);
        } else if bounded {
            query = query.range((low, high));
        }
        if self.rev {
            query = query.rev();
        }
        if self.distinct {
            query = query.distinct();
        }
        if let Some(limit) = self.limit {
            query = query.limit(limit);
        }
        Ok(query.offset(self.offset.unwrap_or(0)))
    }

    /// The words of `WQUERY` that mean this.
    #[must_use]
    pub fn to_words(&self) -> Vec<String> {
        let mut words = Vec::new();
        let mut add = |name: &str, text: Option<String>| {
            if let Some(text) = text {
                words.extend([name.to_owned(), text]);
            }
        };
        self.eq.iter().for_each(|text| add("EQ", Some(text.clone())));
        add("PREFIX", self.prefix.clone());
        add("FROM", self.from.clone());
        add("AFTER", self.after.clone());
        add("TO", self.to.clone());
        add("BEFORE", self.before.clone());
        add("LIMIT", self.limit.map(|count| count.to_string()));
        add("OFFSET", self.offset.map(|count| count.to_string()));
        words.extend(self.rev.then(|| "REV".to_owned()));
        words.extend(self.distinct.then(|| "DISTINCT".to_owned()));
        words
    }

    /// Takes one word of `WQUERY` and what belongs to it from the front of `words`.
    ///
    /// # Errors
    ///
    /// The words themselves when the first is none of this module's.
    pub fn take_word<'w>(&mut self, words: &'w [String]) -> Result<&'w [String], &'w [String]> {
        let Some((name, rest)) = words.split_first() else { return Err(words) };
        let name = name.to_ascii_uppercase();
        match name.as_str() {
            "REV" => self.rev = true,
            "DISTINCT" => self.distinct = true,
            _ => {
                let Some((text, rest)) = rest.split_first() else { return Err(words) };
                let place = match name.as_str() {
                    "EQ" => {
                        self.eq.push(text.clone());
                        return Ok(rest);
                    }
                    "PREFIX" => &mut self.prefix,
                    "FROM" => &mut self.from,
                    "AFTER" => &mut self.after,
                    "TO" => &mut self.to,
                    "BEFORE" => &mut self.before,
                    "LIMIT" => {
                        self.limit = Some(text.parse().map_err(|_| words)?);
                        return Ok(rest);
                    }
                    "OFFSET" => {
                        self.offset = Some(text.parse().map_err(|_| words)?);
                        return Ok(rest);
                    }
                    _ => return Err(words),
                };
                *place = Some(text.clone());
                return Ok(rest);
            }
        }
        Ok(rest)
    }
}

/// The directions of an index's fields.
#[must_use]
pub fn directions(index: &IndexDef) -> Vec<Direction> {
    index.fields().iter().map(FieldDef::direction).collect()
}
