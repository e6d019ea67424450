//! Little-endian byte codec of the slot map's file: every length is bounded before it is used.

/// Why bytes could not be decoded; the caller adds the place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Malformed {
    /// The bytes end inside a field.
    Short,
    /// A field holds a value that is not defined.
    Value(&'static str),
    /// Bytes are left over after the last field.
    Trailing,
}

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Short => f.write_str("ends inside a field"),
            Self::Value(field) => write!(f, "field {field} holds an undefined value"),
            Self::Trailing => f.write_str("bytes are left over after the last field"),
        }
    }
}

/// Reads fields from the front of a slice.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(Malformed::Short)?;
        self.rest = rest;
        Ok(*head)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Malformed> {
        self.array::<1>().map(|[b]| b)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_le_bytes)
    }

    /// Text with a one-byte length.
    pub(crate) fn text(&mut self, field: &'static str) -> Result<&'a str, Malformed> {
        let len = usize::from(self.u8()?);
        let (head, rest) = self.rest.split_at_checked(len).ok_or(Malformed::Short)?;
        self.rest = rest;
        std::str::from_utf8(head).map_err(|_| Malformed::Value(field))
    }

    pub(crate) fn finish(self) -> Result<(), Malformed> {
        if self.rest.is_empty() { Ok(()) } else { Err(Malformed::Trailing) }
    }
}

/// Appends text with a one-byte length. Names are bounded when they are made, so they fit.
///
/// # Panics
///
/// Panics on text of more than 255 bytes, which [`crate::NodeId`] excludes.
pub(crate) fn put_text(out: &mut Vec<u8>, text: &str) {
    let len = u8::try_from(text.len()).expect("node names are bounded to 255 bytes");
    out.push(len);
    out.extend_from_slice(text.as_bytes());
}
