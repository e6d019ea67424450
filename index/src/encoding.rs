//! Order-preserving encoding of tuples of values.
//!
//! Comparing two encoded tuples byte by byte (`memcmp`) gives the order of the tuples, so the list
//! below never needs a comparator. Each element is a tag, which names the kind, and a payload that
//! delimits itself:
//!
//! | kind | tag | payload |
//! |---|---|---|
//! | null | `08` | none |
//! | bool | `10` false, `11` true | none |
//! | int | `20` for 0, `20+n` positive, `20-n` negative | magnitude in `n` bytes, fewest possible, big endian; complemented if negative |
//! | float | `30` | 8 bytes: sign flipped (positive) or all bits flipped (negative), big endian |
//! | timestamp | `38` | 8 bytes: sign flipped, big endian |
//! | str, bytes | `40`, `48` | the bytes with `00` written as `00 FF`, then `00 01` |
//!
//! No element's encoding is a proper prefix of another's (**E1**). Hence two tuples of the same
//! shape differ first inside the first element in which they differ, and complementing all bytes
//! of an element reverses its order without touching what follows: that is *descending*. What is
//! appended after a tuple (a document id) never mixes with it. And each value has one encoding
//! only (**E2**): decoding refuses any other, so equal bytes mean equal values.

use crate::def::Direction;
use crate::error::Error;
use crate::value::{Kind, Value, float_from_ordered, float_to_ordered};

const NULL: u8 = 0x08;
const FALSE: u8 = 0x10;
const TRUE: u8 = 0x11;
const INT_ZERO: u8 = 0x20;
const FLOAT: u8 = 0x30;
const TIMESTAMP: u8 = 0x38;
const STR: u8 = 0x40;
const BYTES: u8 = 0x48;

const ESCAPED: u8 = 0xFF;
const END: u8 = 0x01;
const SIGN: u64 = 1 << 63;

/// Appends the encoding of `value` to `out`.
///
/// # Complexity
/// O(bytes of the value).
pub fn encode_value(value: &Value, direction: Direction, out: &mut Vec<u8>) {
    let start = out.len();
    match value {
        Value::Null => out.push(NULL),
        Value::Bool(b) => out.push(if *b { TRUE } else { FALSE }),
        Value::Int(i) => encode_int(*i, out),
        Value::Float(x) => {
            out.push(FLOAT);
            out.extend_from_slice(&float_to_ordered(*x).to_be_bytes());
        }
        Value::Timestamp(t) => {
            out.push(TIMESTAMP);
            out.extend_from_slice(&(t.cast_unsigned() ^ SIGN).to_be_bytes());
        }
        Value::Str(s) => {
            out.push(STR);
            escape(s.as_bytes(), out);
            out.extend_from_slice(&[0, END]);
        }
        Value::Bytes(b) => {
            out.push(BYTES);
            escape(b, out);
            out.extend_from_slice(&[0, END]);
        }
    }
    flip(direction, &mut out[start..]);
}

/// Appends what the encodings of all strings (or byte strings) that begin as `value` does have in
/// common: the encoding without its end. False, and nothing appended, for other kinds.
pub(crate) fn encode_open(value: &Value, direction: Direction, out: &mut Vec<u8>) -> bool {
    let start = out.len();
    match value {
        Value::Str(s) => {
            out.push(STR);
            escape(s.as_bytes(), out);
        }
        Value::Bytes(b) => {
            out.push(BYTES);
            escape(b, out);
        }
        _ => return false,
    }
    flip(direction, &mut out[start..]);
    true
}

/// The first and the last tag of a kind.
pub(crate) fn kind_tags(kind: Kind) -> (u8, u8) {
    match kind {
        Kind::Null => (NULL, NULL),
        Kind::Bool => (FALSE, TRUE),
        Kind::Int => (INT_ZERO - 8, INT_ZERO + 8),
        Kind::Float => (FLOAT, FLOAT),
        Kind::Timestamp => (TIMESTAMP, TIMESTAMP),
        Kind::Str => (STR, STR),
        Kind::Bytes => (BYTES, BYTES),
    }
}

/// Encodes a tuple; `directions[i]` belongs to `values[i]`, ascending where there is none.
///
/// # Complexity
/// O(bytes of the tuple).
///
/// # Examples
/// ```
/// use whimbrel::{Direction, Value, encoding::encode_tuple};
/// let by = [Direction::Ascending, Direction::Descending];
/// let a = encode_tuple(&["FR".into(), Value::Int(2_103_000)], &by);
/// let b = encode_tuple(&["FR".into(), Value::Int(870_000)], &by);
/// assert!(a < b, "the larger number comes first");
/// ```
#[must_use]
pub fn encode_tuple(values: &[Value], directions: &[Direction]) -> Vec<u8> {
    let mut out = Vec::with_capacity(values.len() * 12);
    for (i, value) in values.iter().enumerate() {
        encode_value(value, directions.get(i).copied().unwrap_or_default(), &mut out);
    }
    out
}

/// Decodes one value per direction from the front of `bytes`; returns them and what follows.
///
/// # Errors
/// [`Error::Corrupt`] where the bytes are not what [`encode_tuple`] writes: truncated, an unknown
/// tag, a second way to write a value, text that is not UTF-8. Never panics, and takes no more
/// memory than the bytes given.
pub fn decode_tuple<'b>(
    bytes: &'b [u8],
    directions: &[Direction],
) -> Result<(Vec<Value>, &'b [u8]), Error> {
    let mut reader = Reader { bytes, at: 0 };
    let mut values = Vec::with_capacity(directions.len());
    for &direction in directions {
        values.push(reader.value(direction).map_err(|m| m.within("a tuple"))?);
    }
    Ok((values, &bytes[reader.at..]))
}

/// The number of bytes that the first `fields` elements of an encoded tuple take.
pub(crate) fn tuple_len(bytes: &[u8], directions: &[Direction]) -> Result<usize, Malformed> {
    let mut reader = Reader { bytes, at: 0 };
    for &direction in directions {
        reader.skip(direction)?;
    }
    Ok(reader.at)
}

/// What is wrong with some bytes, and where in them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Malformed {
    pub(crate) at: usize,
    pub(crate) cause: &'static str,
}

impl Malformed {
    pub(crate) fn within(self, place: impl Into<String>) -> Error {
        Error::Corrupt { place: place.into(), at: self.at, cause: self.cause }
    }
}

fn flip(direction: Direction, element: &mut [u8]) {
    if direction == Direction::Descending {
        for byte in element {
            *byte = !*byte;
        }
    }
}

fn escape(bytes: &[u8], out: &mut Vec<u8>) {
    out.reserve(bytes.len() + 2);
    let mut rest = bytes;
    while let Some(zero) = rest.iter().position(|&b| b == 0) {
        out.extend_from_slice(&rest[..=zero]);
        out.push(ESCAPED);
        rest = &rest[zero + 1..];
    }
    out.extend_from_slice(rest);
}

fn encode_int(i: i64, out: &mut Vec<u8>) {
    let bytes = i.unsigned_abs().to_be_bytes();
    let skip = bytes.iter().take_while(|&&b| b == 0).count();
    let magnitude = &bytes[skip..];
    let len = u8::try_from(magnitude.len()).expect("an i64 has at most 8 bytes");
    if i < 0 {
        out.push(INT_ZERO - len);
        out.extend(magnitude.iter().map(|b| !b));
    } else {
        out.push(INT_ZERO + len);
        out.extend_from_slice(magnitude);
    }
}

/// Reads elements; every byte goes through the direction's mask.
struct Reader<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl Reader<'_> {
    fn wrong<T>(&self, cause: &'static str) -> Result<T, Malformed> {
        Err(Malformed { at: self.at, cause })
    }

    fn byte(&mut self, mask: u8) -> Result<u8, Malformed> {
        match self.bytes.get(self.at) {
            Some(b) => {
                self.at += 1;
                Ok(b ^ mask)
            }
            None => self.wrong("ends inside a value"),
        }
    }

    fn eight(&mut self, mask: u8) -> Result<u64, Malformed> {
        self.magnitude(8, mask)
    }

    fn magnitude(&mut self, len: u8, mask: u8) -> Result<u64, Malformed> {
        let mut n = 0;
        for _ in 0..len {
            n = n << 8 | u64::from(self.byte(mask)?);
        }
        Ok(n)
    }

    fn value(&mut self, direction: Direction) -> Result<Value, Malformed> {
        let mask = direction.mask();
        let tag = self.byte(mask)?;
        match tag {
            NULL => Ok(Value::Null),
            FALSE => Ok(Value::Bool(false)),
            TRUE => Ok(Value::Bool(true)),
            0x18..=0x28 => self.int(tag, mask),
            FLOAT => self.float(mask),
            TIMESTAMP => Ok(Value::Timestamp((self.eight(mask)? ^ SIGN).cast_signed())),
            STR => match String::from_utf8(self.unescape(mask)?) {
                Ok(s) => Ok(Value::Str(s)),
                Err(_) => self.wrong("text that is not UTF-8"),
            },
            BYTES => Ok(Value::Bytes(self.unescape(mask)?)),
            _ => self.wrong("unknown tag of a value"),
        }
    }

    fn int(&mut self, tag: u8, mask: u8) -> Result<Value, Malformed> {
        let negative = tag < INT_ZERO;
        let len = tag.abs_diff(INT_ZERO);
        let magnitude = self.magnitude(len, if negative { !mask } else { mask })?;
        if len > 0 && magnitude >> (8 * (len - 1)) == 0 {
            return self.wrong("an integer with leading zeros");
        }
        let value = if negative {
            0i64.checked_sub_unsigned(magnitude)
        } else {
            i64::try_from(magnitude).ok()
        };
        value.map_or_else(|| self.wrong("an integer beyond 64 bits"), |i| Ok(Value::Int(i)))
    }

    fn float(&mut self, mask: u8) -> Result<Value, Malformed> {
        let ordered = self.eight(mask)?;
        let x = float_from_ordered(ordered);
        if float_to_ordered(x) != ordered {
            return self.wrong("a float that is not in canonical form");
        }
        Ok(Value::Float(x))
    }

    fn unescape(&mut self, mask: u8) -> Result<Vec<u8>, Malformed> {
        let mut out = Vec::new();
        loop {
            match self.byte(mask)? {
                0 => match self.byte(mask)? {
                    ESCAPED => out.push(0),
                    END => return Ok(out),
                    _ => return self.wrong("unknown escape in a string"),
                },
                b => out.push(b),
            }
        }
    }

    /// Passes one element by its tag and delimiters, without building the value.
    fn skip(&mut self, direction: Direction) -> Result<(), Malformed> {
        let mask = direction.mask();
        let tag = self.byte(mask)?;
        let fixed = match tag {
            NULL | FALSE | TRUE => 0,
            0x18..=0x28 => usize::from(tag.abs_diff(INT_ZERO)),
            FLOAT | TIMESTAMP => 8,
            STR | BYTES => return self.skip_escaped(mask),
            _ => return self.wrong("unknown tag of a value"),
        };
        if self.bytes.len() - self.at < fixed {
            return self.wrong("ends inside a value");
        }
        self.at += fixed;
        Ok(())
    }

    fn skip_escaped(&mut self, mask: u8) -> Result<(), Malformed> {
        loop {
            if self.byte(mask)? == 0 {
                match self.byte(mask)? {
                    ESCAPED => {}
                    END => return Ok(()),
                    _ => return self.wrong("unknown escape in a string"),
                }
            }
        }
    }
}
