//! Values of fields and their total order.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::time::{SystemTime, UNIX_EPOCH};

/// One typed value of a document's field.
///
/// Values are totally ordered, and an index keeps exactly this order: first by kind, as the
/// variants are listed here (`Null` first, `Bytes` last), then within the kind. An `Int` is never
/// compared with a `Float` by magnitude: keep a field to one kind, or pin it with
/// [`IndexDef::kind`](crate::IndexDef::kind).
///
/// Floats: `-0.0` equals `0.0`, and all NaNs are one value, which follows positive infinity.
/// Strings are ordered by their UTF-8 bytes, which is the order of their code points.
///
/// # Examples
/// ```
/// use whimbrel::Value;
/// assert!(Value::Null < Value::from(false));
/// assert!(Value::from(-3) < Value::from(12));
/// assert_eq!(Value::from(-0.0), Value::from(0.0));
/// assert!(Value::from(f64::INFINITY) < Value::from(f64::NAN));
/// ```
#[derive(Clone, Debug, Default)]
pub enum Value {
    /// No value: a field the document does not have.
    #[default]
    Null,
    /// `false` before `true`.
    Bool(bool),
    /// A signed integer.
    Int(i64),
    /// A double; see the type's notes on zero and NaN.
    Float(f64),
    /// Microseconds since the Unix epoch (negative: before it).
    Timestamp(i64),
    /// Text, ordered by code points.
    Str(String),
    /// Bytes, ordered as `memcmp` does.
    Bytes(Vec<u8>),
}

/// The kind of a [`Value`], in the order in which kinds sort.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// [`Value::Null`].
    Null,
    /// [`Value::Bool`].
    Bool,
    /// [`Value::Int`].
    Int,
    /// [`Value::Float`].
    Float,
    /// [`Value::Timestamp`].
    Timestamp,
    /// [`Value::Str`].
    Str,
    /// [`Value::Bytes`].
    Bytes,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Null => "null",
            Self::Bool => "bool",
            Self::Int => "int",
            Self::Float => "float",
            Self::Timestamp => "timestamp",
            Self::Str => "str",
            Self::Bytes => "bytes",
        })
    }
}

impl Value {
    /// The value's kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Null => Kind::Null,
            Self::Bool(_) => Kind::Bool,
            Self::Int(_) => Kind::Int,
            Self::Float(_) => Kind::Float,
            Self::Timestamp(_) => Kind::Timestamp,
            Self::Str(_) => Kind::Str,
            Self::Bytes(_) => Kind::Bytes,
        }
    }

    /// Whether this is [`Value::Null`].
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// The text of a [`Value::Str`].
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        if let Self::Str(s) = self { Some(s) } else { None }
    }

    /// The number of a [`Value::Int`].
    #[must_use]
    pub fn as_int(&self) -> Option<i64> {
        if let Self::Int(i) = self { Some(*i) } else { None }
    }

    /// The number of a [`Value::Float`].
    #[must_use]
    pub fn as_float(&self) -> Option<f64> {
        if let Self::Float(x) = self { Some(*x) } else { None }
    }
}

/// The double's bits, rearranged so that unsigned order is the order of values: `-0.0` becomes
/// `0.0`, every NaN the one positive quiet NaN.
pub(crate) fn float_to_ordered(x: f64) -> u64 {
    let bits = if x.is_nan() {
        0x7ff8_0000_0000_0000
    } else if x == 0.0 {
        0
    } else {
        x.to_bits()
    };
    if bits >> 63 == 1 { !bits } else { bits | (1 << 63) }
}

/// Inverse of [`float_to_ordered`].
pub(crate) fn float_from_ordered(ordered: u64) -> f64 {
    f64::from_bits(if ordered >> 63 == 1 { ordered & !(1 << 63) } else { !ordered })
}

impl Ord for Value {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => a.cmp(b),
            (Self::Int(a), Self::Int(b)) | (Self::Timestamp(a), Self::Timestamp(b)) => a.cmp(b),
            (Self::Float(a), Self::Float(b)) => float_to_ordered(*a).cmp(&float_to_ordered(*b)),
            (Self::Str(a), Self::Str(b)) => a.cmp(b),
            (Self::Bytes(a), Self::Bytes(b)) => a.cmp(b),
            _ => self.kind().cmp(&other.kind()),
        }
    }
}

impl PartialOrd for Value {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Value {}

impl Hash for Value {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.kind().hash(state);
        match self {
            Self::Null => {}
            Self::Bool(b) => b.hash(state),
            Self::Int(i) | Self::Timestamp(i) => i.hash(state),
            Self::Float(x) => float_to_ordered(*x).hash(state),
            Self::Str(s) => s.hash(state),
            Self::Bytes(b) => b.hash(state),
        }
    }
}

/// Text as it is, bytes in hexadecimal with `0x` before them, timestamps as `@` and microseconds.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(b) => b.fmt(f),
            Self::Int(i) => i.fmt(f),
            Self::Float(x) => x.fmt(f),
            Self::Timestamp(t) => write!(f, "@{t}us"),
            Self::Str(s) => f.write_str(s),
            Self::Bytes(b) => {
                f.write_str("0x")?;
                b.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
    }
}

macro_rules! value_from {
    ($($from:ty => |$x:ident| $to:expr),* $(,)?) => {$(
        impl From<$from> for Value {
            fn from($x: $from) -> Self {
                $to
            }
        }
    )*};
}

value_from! {
    bool => |x| Self::Bool(x),
    i8 => |x| Self::Int(x.into()),
    i16 => |x| Self::Int(x.into()),
    i32 => |x| Self::Int(x.into()),
    i64 => |x| Self::Int(x),
    u8 => |x| Self::Int(x.into()),
    u16 => |x| Self::Int(x.into()),
    u32 => |x| Self::Int(x.into()),
    f32 => |x| Self::Float(x.into()),
    f64 => |x| Self::Float(x),
    &str => |x| Self::Str(x.to_owned()),
    String => |x| Self::Str(x),
    &String => |x| Self::Str(x.clone()),
    Vec<u8> => |x| Self::Bytes(x),
    &[u8] => |x| Self::Bytes(x.to_vec()),
    &Self => |x| x.clone(),
}

impl<const N: usize> From<&[u8; N]> for Value {
    fn from(x: &[u8; N]) -> Self {
        Self::Bytes(x.to_vec())
    }
}

impl<T: Into<Self>> From<Option<T>> for Value {
    fn from(x: Option<T>) -> Self {
        x.map_or(Self::Null, Into::into)
    }
}

/// Whole microseconds, rounded towards the epoch; times beyond some 292,000 years from it are
/// clamped.
impl From<SystemTime> for Value {
    fn from(t: SystemTime) -> Self {
        Self::Timestamp(match t.duration_since(UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_micros()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_micros()).map_or(i64::MIN, |us| -us),
        })
    }
}
