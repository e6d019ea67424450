//! Replies, written straight into the connection's output buffer.
//!
//! A [`ReplyWriter`] writes what a command says in the protocol that the client asked for: a map is
//! a map in RESP3 and a flat array in RESP2, a null is `_` or `$-1`, a boolean `#t` or `:1`.
//! The writer announces lengths before elements, so whoever writes an aggregate must write exactly
//! as many elements as announced; commands hold this by counting before they write.

use bytes::{BufMut as _, BytesMut};

/// Which version of the protocol a client speaks; `HELLO` changes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// RESP2, what every connection begins with.
    #[default]
    Resp2,
    /// RESP3, after `HELLO 3`.
    Resp3,
}

/// Writer of one connection's replies.
///
/// # Examples
///
/// ```
/// use whimbrel_node::resp::{Protocol, ReplyWriter};
///
/// let mut reply = ReplyWriter::new();
/// reply.map(1);
/// reply.bulk(b"epoch");
/// reply.integer(7);
/// assert_eq!(&reply.buffer()[..], b"*2\r\n$5\r\nepoch\r\n:7\r\n");
///
/// reply.buffer_mut().clear();
/// reply.set_protocol(Protocol::Resp3);
/// reply.map(1);
/// assert_eq!(&reply.buffer()[..], b"%1\r\n");
/// ```
#[derive(Debug, Default)]
pub struct ReplyWriter {
    buffer: BytesMut,
    protocol: Protocol,
}

impl ReplyWriter {
    /// An empty writer that speaks RESP2.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The protocol of what is written from now on.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Changes the protocol of what is written from now on.
    pub fn set_protocol(&mut self, protocol: Protocol) {
        self.protocol = protocol;
    }

    /// What has been written and not been taken.
    #[must_use]
    pub fn buffer(&self) -> &BytesMut {
        &self.buffer
    }

    /// The buffer itself, for the connection that sends it.
    pub fn buffer_mut(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// `+OK`.
    pub fn ok(&mut self) {
        self.simple("OK");
    }

    /// A status line; line ends in it become blanks, because they would end the reply.
    pub fn simple(&mut self, text: &str) {
        self.line(b'+', text);
    }

    /// An error; its first word is the code that clients look at (`ERR`, `MOVED`, ..).
    pub fn error(&mut self, text: &str) {
        self.line(b'-', text);
    }

    /// A number.
    pub fn integer(&mut self, number: i64) {
        self.header(b':', number);
    }

    /// A number of things; above `i64::MAX` it stays there.
    pub fn count(&mut self, number: u64) {
        self.integer(i64::try_from(number).unwrap_or(i64::MAX));
    }

    /// A byte string.
    pub fn bulk(&mut self, bytes: &[u8]) {
        self.length(b'$', bytes.len());
        self.buffer.reserve(bytes.len() + 2);
        self.buffer.put_slice(bytes);
        self.buffer.put_slice(b"\r\n");
    }

    /// A text for people: a verbatim string in RESP3, a byte string in RESP2.
    pub fn text(&mut self, text: &str) {
        match self.protocol {
            Protocol::Resp2 => self.bulk(text.as_bytes()),
            Protocol::Resp3 => {
                self.length(b'=', text.len() + 4);
                self.buffer.put_slice(b"txt:");
                self.buffer.put_slice(text.as_bytes());
                self.buffer.put_slice(b"\r\n");
            }
        }
    }

    /// "There is none."
    pub fn null(&mut self) {
        self.buffer.put_slice(match self.protocol {
            Protocol::Resp2 => b"$-1\r\n",
            Protocol::Resp3 => b"_\r\n",
        });
    }

    /// A byte string, or null.
    pub fn bulk_or_null(&mut self, bytes: Option<&[u8]>) {
        match bytes {
            Some(bytes) => self.bulk(bytes),
            None => self.null(),
        }
    }

    /// Begins an array; `elements` replies must follow.
    pub fn array(&mut self, elements: usize) {
        self.length(b'*', elements);
    }

    /// Begins a map; `pairs` times two replies must follow, key and value by turns.
    pub fn map(&mut self, pairs: usize) {
        match self.protocol {
            Protocol::Resp2 => self.length(b'*', pairs * 2),
            Protocol::Resp3 => self.length(b'%', pairs),
        }
    }

    /// Begins a set; `elements` replies must follow.
    pub fn set(&mut self, elements: usize) {
        match self.protocol {
            Protocol::Resp2 => self.length(b'*', elements),
            Protocol::Resp3 => self.length(b'~', elements),
        }
    }

    fn line(&mut self, kind: u8, text: &str) {
        self.buffer.reserve(text.len() + 3);
        self.buffer.put_u8(kind);
        let clean = |byte: u8| if matches!(byte, b'\r' | b'\n') { b' ' } else { byte };
        self.buffer.extend(text.bytes().map(clean));
        self.buffer.put_slice(b"\r\n");
    }

    fn length(&mut self, kind: u8, length: usize) {
        self.header(kind, i64::try_from(length).unwrap_or(i64::MAX));
    }

    fn header(&mut self, kind: u8, number: i64) {
        let mut digits = [0_u8; 20];
        let mut at = digits.len();
        let mut rest = number.unsigned_abs();
        loop {
            at -= 1;
            digits[at] = b'0' + u8::try_from(rest % 10).expect("a remainder of ten is a digit");
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        self.buffer.reserve(digits.len() + 4);
        self.buffer.put_u8(kind);
        if number < 0 {
            self.buffer.put_u8(b'-');
        }
        self.buffer.put_slice(&digits[at..]);
        self.buffer.put_slice(b"\r\n");
    }
}
