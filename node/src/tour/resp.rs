//! The tour's own small RESP2 client: one connection, requests and replies in order.
//!
//! It shares no code with the server, so that what clients observe does not depend on it.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long one reply may take before the connection counts as lost.
const REPLY_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a node may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest string taken from a reply, in bytes.
const STRING_BYTES_MAX: usize = 256 << 20;
/// Longest array taken from a reply.
const ARRAY_LEN_MAX: usize = 16 << 20;
/// Deepest nesting of arrays.
const DEPTH_MAX: u32 = 8;
/// Longest line of a reply.
const LINE_BYTES_MAX: u64 = 64 << 10;

/// One reply.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Reply {
    /// `+OK` and the like.
    Simple(String),
    /// An error, with its first word.
    Error(String),
    /// `:12`
    Integer(i64),
    /// A string, or nil.
    Bulk(Option<Vec<u8>>),
    /// An array; nil counts as empty.
    Array(Vec<Reply>),
}

impl Reply {
    /// The text of a string reply.
    pub(super) fn text(&self) -> Option<String> {
        match self {
            Self::Simple(text) => Some(text.clone()),
            Self::Bulk(Some(bytes)) => Some(String::from_utf8_lossy(bytes).into_owned()),
            _ => None,
        }
    }
}

/// A connection to one node.
#[derive(Debug)]
pub(super) struct Connection {
    reader: BufReader<TcpStream>,
    request: Vec<u8>,
}

impl Connection {
    /// Connects to a node.
    pub(super) fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, CONNECT_TIMEOUT)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(REPLY_TIMEOUT))?;
        Ok(Self { reader: BufReader::new(stream), request: Vec::new() })
    }

    /// Sends one request and waits for its reply.
    pub(super) fn call(&mut self, words: &[&[u8]]) -> io::Result<Reply> {
        self.request.clear();
        write!(self.request, "*{}\r\n", words.len())?;
        for word in words {
            write!(self.request, "${}\r\n", word.len())?;
            self.request.extend_from_slice(word);
            self.request.extend_from_slice(b"\r\n");
        }
        self.reader.get_mut().write_all(&self.request)?;
        self.reply(0)
    }

    fn reply(&mut self, depth: u32) -> io::Result<Reply> {
        let line = self.line()?;
        let (kind, rest) = line.split_at_checked(1).ok_or_else(|| bad("an empty line"))?;
        match kind {
            "+" => Ok(Reply::Simple(rest.to_owned())),
            "-" => Ok(Reply::Error(rest.to_owned())),
            ":" => rest.parse().map(Reply::Integer).map_err(|_| bad("a number that is none")),
            "$" => self.bulk(rest),
            "*" if depth < DEPTH_MAX => {
                let len = length(rest, ARRAY_LEN_MAX)?.unwrap_or(0);
                (0..len).map(|_| self.reply(depth + 1)).collect::<io::Result<_>>().map(Reply::Array)
            }
            _ => Err(bad("a reply of unknown type")),
        }
    }

    fn bulk(&mut self, len: &str) -> io::Result<Reply> {
        let Some(len) = length(len, STRING_BYTES_MAX)? else { return Ok(Reply::Bulk(None)) };
        let mut bytes = vec![0; len + 2];
        self.reader.read_exact(&mut bytes)?;
        if !bytes.ends_with(b"\r\n") {
            return Err(bad("a string without its end"));
        }
        bytes.truncate(len);
        Ok(Reply::Bulk(Some(bytes)))
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        (&mut self.reader).take(LINE_BYTES_MAX).read_line(&mut line)?;
        if line.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if !line.ends_with("\r\n") {
            return Err(bad("a line without its end"));
        }
        line.truncate(line.len() - 2);
        Ok(line)
    }
}

fn length(text: &str, max: usize) -> io::Result<Option<usize>> {
    if text == "-1" {
        return Ok(None);
    }
    match text.parse::<usize>() {
        Ok(len) if len <= max => Ok(Some(len)),
        _ => Err(bad("a length out of bounds")),
    }
}

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the node sent {what}"))
}
