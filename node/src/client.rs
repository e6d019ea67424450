//! A small blocking client: what the command line uses to talk to a node.

use std::io::{self, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use redis_protocol::resp2::{decode::decode, types::OwnedFrame};

use crate::Error;

/// How long a node may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Most redirections followed for one request.
const REDIRECTIONS_MAX: usize = 5;
/// Longest reply accepted, in bytes.
const REPLY_BYTES_MAX: usize = 1 << 30;

/// A reply that is not an error.
pub type Reply = OwnedFrame;

/// One connection to a node.
#[derive(Debug)]
pub struct Client {
    address: String,
    stream: TcpStream,
    input: Vec<u8>,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    ///
    /// [`Error::Connect`] when no node answers at `address`.
    pub fn connect(address: &str) -> Result<Self, Error> {
        let failed = |source| Error::Connect { address: address.to_owned(), source };
        let mut last = io::Error::new(io::ErrorKind::InvalidInput, "no such host");
        for candidate in address.to_socket_addrs().map_err(failed)? {
            match TcpStream::connect_timeout(&candidate, CONNECT_TIMEOUT) {
                Ok(stream) => {
                    stream.set_nodelay(true).map_err(failed)?;
                    return Ok(Self { address: address.to_owned(), stream, input: Vec::new() });
                }
                Err(error) => last = error,
            }
        }
        Err(failed(last))
    }

    /// The address given to [`Client::connect`].
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Bounds how long one reply may take; `None` waits for ever, which is the default.
    ///
    /// # Errors
    ///
    /// [`Error::Connect`] when the system refuses the timeout.
    pub fn set_timeout(&self, timeout: Option<Duration>) -> Result<(), Error> {
        self.stream.set_read_timeout(timeout).map_err(|source| self.broken(source))
    }

    /// Sends one request and waits for its reply.
    ///
    /// # Errors
    ///
    /// [`Error::Node`] when the node answers with an error, [`Error::Connect`] when the connection
    /// breaks.
    pub fn call(&mut self, request: &[&[u8]]) -> Result<Reply, Error> {
        match self.exchange(request)? {
            OwnedFrame::Error(reply) => Err(Error::Node {
                address: self.address.clone(),
                request: request[0].escape_ascii().to_string(),
                reply,
            }),
            reply => Ok(reply),
        }
    }

    /// As [`Client::call`], following MOVED to other nodes; stays connected to the last one.
    ///
    /// # Errors
    ///
    /// As [`Client::call`].
    pub fn call_following(&mut self, request: &[&[u8]]) -> Result<Reply, Error> {
        for _ in 0..REDIRECTIONS_MAX {
            match self.call(request) {
                Err(Error::Node { reply, .. }) if reply.starts_with("MOVED ") => {
                    let address = reply.rsplit(' ').next().unwrap_or_default();
                    *self = Self::connect(address)?;
                }
                other => return other,
            }
        }
        self.call(request)
    }

    /// As [`Client::call`], for replies that are one JSON value.
    ///
    /// # Errors
    ///
    /// As [`Client::call`]; a reply that is no JSON counts as a broken connection, because the other
    /// side is no node of ours.
    pub fn call_json(&mut self, request: &[&[u8]]) -> Result<serde_json::Value, Error> {
        let reply = text(&self.call(request)?).unwrap_or_default();
        serde_json::from_str(&reply).map_err(|_| self.broken(invalid("the reply is not JSON")))
    }

    fn exchange(&mut self, request: &[&[u8]]) -> Result<Reply, Error> {
        let mut bytes = format!("*{}\r\n", request.len()).into_bytes();
        for arg in request {
            bytes.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
            bytes.extend_from_slice(arg);
            bytes.extend_from_slice(b"\r\n");
        }
        self.stream.write_all(&bytes).map_err(|source| self.broken(source))?;
        // The input is decoded again only when it has doubled, so a long reply costs O(bytes).
        let mut look_at = 0;
        loop {
            if self.input.len() >= look_at {
                match decode(&self.input) {
                    Ok(Some((reply, length))) => {
                        self.input.drain(..length);
                        return Ok(reply);
                    }
                    Ok(None) => {}
                    Err(_) => return Err(self.broken(invalid("the reply is not RESP"))),
                }
                look_at = 0;
            }
            let mut piece = [0; 64 << 10];
            let length = self.stream.read(&mut piece).map_err(|source| self.broken(source))?;
            if length == 0 {
                return Err(self.broken(io::ErrorKind::UnexpectedEof.into()));
            }
            self.input.extend_from_slice(&piece[..length]);
            if self.input.len() > REPLY_BYTES_MAX {
                return Err(self.broken(invalid("the reply is too long")));
            }
            if length == piece.len() {
                look_at = self.input.len() * 2;
            }
        }
    }

    fn broken(&self, source: io::Error) -> Error {
        Error::Connect { address: self.address.clone(), source }
    }
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// The text of a reply that is one.
#[must_use]
pub fn text(reply: &Reply) -> Option<String> {
    match reply {
        OwnedFrame::BulkString(bytes) | OwnedFrame::SimpleString(bytes) => {
            Some(String::from_utf8_lossy(bytes).into_owned())
        }
        _ => None,
    }
}
