//! Incremental, bounded parser of requests.
//!
//! A request is an array of bulk strings (`*2\r\n$3\r\nGET\r\n$1\r\nk\r\n`) or one inline line
//! (`GET k\r\n`). Both RESP2 and RESP3 clients send requests in this form only, so the parser knows
//! nothing else; replies are written by [`crate::resp::reply`].
//!
//! The parser never takes memory because of a number that a client sent: the caller's buffer grows
//! with the bytes that really arrived, and every declared length is compared with [`Limits`]
//! first. It never reads a byte twice: what was understood of an incomplete request is kept, so a
//! request that arrives in n pieces costs O(bytes), not O(n * bytes).
//!
//! A request is handed out as slices of the received bytes; nothing is copied.

use std::ops::Range;

use bytes::{Buf as _, Bytes, BytesMut};

/// Longest header line (`*<number>\r\n` or `$<number>\r\n`) without its end, in bytes.
///
/// An `i64` has at most 20 characters; the type byte makes 21.
const MAX_HEADER_BYTES: usize = 21;

/// How many arguments a request may announce before memory for their places is taken in steps.
const ARGS_RESERVED_MAX: usize = 64;

/// Upper bounds of what a client may send.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Longest bulk string, in bytes. Default: 64 MiB.
    pub bulk_bytes_max: usize,
    /// Most arguments of one request, the command's name included. Default: 1,048,576.
    pub args_max: usize,
    /// Longest inline request, in bytes. Default: 64 KiB.
    pub inline_bytes_max: usize,
    /// Longest request as a whole, in bytes. Default: 72 MiB, the longest bulk string and 8 MiB.
    pub request_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bulk_bytes_max: 64 << 20,
            args_max: 1 << 20,
            inline_bytes_max: 64 << 10,
            request_bytes_max: 72 << 20,
        }
    }
}

/// One request: the command's name and its arguments, never empty.
pub type Request = Vec<Bytes>;

/// Why a connection's bytes are not requests.
///
/// After one of these nothing that follows can be trusted: the server answers with the message and
/// closes the connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// The number after `*` is no number, or above the limit.
    #[error("invalid multibulk length (the limit is {max})")]
    ArgumentCount {
        /// Most arguments that this server takes.
        max: usize,
    },
    /// An array's element is not a bulk string.
    #[error("expected '$', got '{}'", got.escape_ascii())]
    NotABulk {
        /// The byte found in place of `$`.
        got: u8,
    },
    /// The number after `$` is no number, negative, or above the limit.
    #[error("invalid bulk length (the limit is {max} bytes)")]
    BulkLength {
        /// Longest bulk string that this server takes, in bytes.
        max: usize,
    },
    /// A header line or a bulk string does not end in CR LF.
    #[error("expected CR LF at byte {at} of the request")]
    LineEnd {
        /// Offset from the first byte of the request.
        at: usize,
    },
    /// A header line goes on and on.
    #[error("too big count string (a header line has at most {max} bytes)")]
    HeaderTooLong {
        /// Longest header line, in bytes.
        max: usize,
    },
    /// An inline request goes on and on.
    #[error("too big inline request (the limit is {max} bytes)")]
    InlineTooLong {
        /// Longest inline request, in bytes.
        max: usize,
    },
    /// A quoted argument of an inline request does not end, or text follows its end directly.
    #[error("unbalanced quotes in request")]
    UnbalancedQuotes,
    /// The request as a whole is too long.
    #[error("too big request (the limit is {max} bytes)")]
    RequestTooLong {
        /// Longest request, in bytes.
        max: usize,
    },
}

/// What is known of the request that begins at the buffer's first byte.
#[derive(Debug, Default)]
struct Partial {
    /// Bytes understood so far.
    at: usize,
    /// Arguments still to come; `None` before the array's header has been read.
    missing: Option<usize>,
    /// The bulk string whose header has been read, but not its bytes: its length.
    bulk: Option<usize>,
    /// Places of the arguments read so far.
    args: Vec<Range<usize>>,
}

/// Parser of one connection's requests.
///
/// # Examples
///
/// ```
/// use bytes::BytesMut;
/// use whimbrel_node::resp::{Limits, RequestParser};
///
/// let mut parser = RequestParser::new(Limits::default());
/// let mut buffer = BytesMut::from(&b"*2\r\n$3\r\nGET\r\n$1\r\n"[..]);
/// assert_eq!(parser.next(&mut buffer), Ok(None));
/// buffer.extend_from_slice(b"k\r\nPING\r\n");
/// assert_eq!(parser.next(&mut buffer), Ok(Some(vec!["GET".into(), "k".into()])));
/// assert_eq!(parser.next(&mut buffer), Ok(Some(vec!["PING".into()])));
/// assert_eq!(parser.next(&mut buffer), Ok(None));
/// ```
#[derive(Debug)]
pub struct RequestParser {
    limits: Limits,
    partial: Partial,
}

impl RequestParser {
    /// A parser at the beginning of a connection.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { limits, partial: Partial::default() }
    }

    /// Takes the next complete request from the front of `buffer`; `None` when bytes are missing.
    ///
    /// Between calls the caller may only append to `buffer`. Empty requests (an empty line, an
    /// array of no elements) are skipped, as Redis does.
    ///
    /// # Complexity
    ///
    /// O(bytes appended since the last call) plus O(arguments).
    ///
    /// # Errors
    ///
    /// [`ProtocolError`] when the bytes are not a request or exceed a limit. The parser must not be
    /// used again.
    pub fn next(&mut self, buffer: &mut BytesMut) -> Result<Option<Request>, ProtocolError> {
        loop {
            let Some(&first) = buffer.first() else { return Ok(None) };
            let request = if first == b'*' { self.array(buffer)? } else { self.inline(buffer)? };
            match request {
                Some(request) if request.is_empty() => {}
                other => return Ok(other),
            }
        }
    }

    /// Memory that the unfinished request takes beside the caller's buffer, in bytes.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.partial.args.capacity() * size_of::<Range<usize>>()
    }

    fn array(&mut self, buffer: &mut BytesMut) -> Result<Option<Request>, ProtocolError> {
        if self.partial.missing.is_none() {
            let Some(count) = self.array_header(buffer)? else { return Ok(None) };
            self.partial.missing = Some(count);
            self.partial.args.reserve(count.min(ARGS_RESERVED_MAX));
        }
        while let Some(missing @ 1..) = self.partial.missing {
            let Some(range) = self.bulk(buffer)? else {
                return if buffer.len() > self.limits.request_bytes_max {
                    Err(ProtocolError::RequestTooLong { max: self.limits.request_bytes_max })
                } else {
                    Ok(None)
                };
            };
            self.partial.args.push(range);
            self.partial.missing = Some(missing - 1);
        }
        let done = std::mem::take(&mut self.partial);
        let bytes = buffer.split_to(done.at).freeze();
        Ok(Some(done.args.into_iter().map(|range| bytes.slice(range)).collect()))
    }

    /// Reads `*<count>`; a negative count means an empty request.
    fn array_header(&mut self, buffer: &BytesMut) -> Result<Option<usize>, ProtocolError> {
        let Some(line) = self.header_line(buffer)? else { return Ok(None) };
        let max = self.limits.args_max;
        let count = decimal(&buffer[line]).ok_or(ProtocolError::ArgumentCount { max })?;
        match usize::try_from(count.max(0)) {
            Ok(count) if count <= max => Ok(Some(count)),
            _ => Err(ProtocolError::ArgumentCount { max }),
        }
    }

    /// Reads one `$<length>` and its bytes; gives their place.
    fn bulk(&mut self, buffer: &BytesMut) -> Result<Option<Range<usize>>, ProtocolError> {
        let length = match self.partial.bulk {
            Some(length) => length,
            None => {
                match buffer.get(self.partial.at) {
                    None => return Ok(None),
                    Some(b'$') => {}
                    Some(&got) => return Err(ProtocolError::NotABulk { got }),
                }
                let Some(line) = self.header_line(buffer)? else { return Ok(None) };
                let max = self.limits.bulk_bytes_max;
                let length = decimal(&buffer[line])
                    .and_then(|length| usize::try_from(length).ok())
                    .filter(|length| *length <= max)
                    .ok_or(ProtocolError::BulkLength { max })?;
                self.partial.bulk = Some(length);
                length
            }
        };
        let start = self.partial.at;
        let end = start + length;
        let Some(line_end) = buffer.get(end..end + 2) else { return Ok(None) };
        if line_end != b"\r\n" {
            return Err(ProtocolError::LineEnd { at: end });
        }
        self.partial.bulk = None;
        self.partial.at = end + 2;
        Ok(Some(start..end))
    }

    /// Reads one header line, type byte included, and gives the place of what follows that byte.
    fn header_line(&mut self, buffer: &BytesMut) -> Result<Option<Range<usize>>, ProtocolError> {
        let start = self.partial.at;
        let window = &buffer[start..buffer.len().min(start + MAX_HEADER_BYTES + 1)];
        let Some(length) = window.iter().position(|&byte| byte == b'\r') else {
            return if window.len() > MAX_HEADER_BYTES {
                Err(ProtocolError::HeaderTooLong { max: MAX_HEADER_BYTES })
            } else {
                Ok(None)
            };
        };
        match buffer.get(start + length + 1) {
            None => Ok(None),
            Some(b'\n') => {
                self.partial.at = start + length + 2;
                Ok(Some(start + 1..start + length))
            }
            Some(_) => Err(ProtocolError::LineEnd { at: start + length }),
        }
    }

    /// Reads one line and splits it into arguments.
    fn inline(&mut self, buffer: &mut BytesMut) -> Result<Option<Request>, ProtocolError> {
        let max = self.limits.inline_bytes_max;
        let found = buffer[self.partial.at..].iter().position(|&byte| byte == b'\n');
        let Some(length) = found.map(|at| self.partial.at + at) else {
            self.partial.at = buffer.len();
            return if buffer.len() > max {
                Err(ProtocolError::InlineTooLong { max })
            } else {
                Ok(None)
            };
        };
        if length > max {
            return Err(ProtocolError::InlineTooLong { max });
        }
        self.partial.at = 0;
        let line = buffer.split_to(length).freeze();
        buffer.advance(1);
        let line = line.strip_suffix(b"\r").map_or(&line[..], |line| line);
        split_inline(line).map(Some)
    }
}

/// A decimal number as Redis reads one: an optional `-`, digits, nothing else.
fn decimal(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Splits an inline request at blanks; `"..."` (with `\n \r \t \b \a \xHH \\ \"`) and `'...'` (with
/// `\'`) make one argument of what they hold.
fn split_inline(line: &[u8]) -> Result<Request, ProtocolError> {
    let mut args = Vec::new();
    let mut rest = line.trim_ascii_start();
    while !rest.is_empty() {
        let mut arg = Vec::new();
        while let Some((&byte, tail)) = rest.split_first() {
            rest = tail;
            match byte {
                b'"' => rest = double_quoted(rest, &mut arg)?,
                b'\'' => rest = single_quoted(rest, &mut arg)?,
                _ if byte.is_ascii_whitespace() => break,
                _ => {
                    arg.push(byte);
                    continue;
                }
            }
            if rest.first().is_some_and(|byte| !byte.is_ascii_whitespace()) {
                return Err(ProtocolError::UnbalancedQuotes);
            }
            break;
        }
        args.push(Bytes::from(arg));
        rest = rest.trim_ascii_start();
    }
    Ok(args)
}

/// Reads to the closing `"`; gives what follows it.
fn double_quoted<'a>(mut rest: &'a [u8], arg: &mut Vec<u8>) -> Result<&'a [u8], ProtocolError> {
    loop {
        rest = match rest {
            [b'"', tail @ ..] => return Ok(tail),
            [b'\\', b'x', high, low, tail @ ..]
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                arg.push(hex_digit(*high) << 4 | hex_digit(*low));
                tail
            }
            [b'\\', escaped, tail @ ..] => {
                arg.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 0x08,
                    b'a' => 0x07,
                    other => *other,
                });
                tail
            }
            [byte, tail @ ..] => {
                arg.push(*byte);
                tail
            }
            [] => return Err(ProtocolError::UnbalancedQuotes),
        };
    }
}

/// Reads to the closing `'`; gives what follows it.
fn single_quoted<'a>(mut rest: &'a [u8], arg: &mut Vec<u8>) -> Result<&'a [u8], ProtocolError> {
    loop {
        rest = match rest {
            [b'\'', tail @ ..] => return Ok(tail),
            [b'\\', b'\'', tail @ ..] => {
                arg.push(b'\'');
                tail
            }
            [byte, tail @ ..] => {
                arg.push(*byte);
                tail
            }
            [] => return Err(ProtocolError::UnbalancedQuotes),
        };
    }
}

/// The value of a hexadecimal digit.
fn hex_digit(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit.to_ascii_uppercase().wrapping_sub(b'A').wrapping_add(10),
    }
}
