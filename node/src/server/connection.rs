//! One client: read, parse as many requests as there are, answer them in one write.

use std::net::SocketAddr;

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::resp::{Limits, ReplyWriter, Request, RequestParser};

/// Replies are sent when this many bytes have gathered, even if more requests are waiting.
const FLUSH_BYTES: usize = 64 << 10;
/// Bytes asked of the socket at once.
const READ_BYTES: usize = 16 << 10;

/// Serves one connection until it ends.
pub(crate) async fn run(mut stream: TcpStream, peer: SocketAddr) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%peer, %error, "no delay could not be set");
    }
    if let Err(error) = converse(&mut stream).await {
        tracing::debug!(%peer, %error, "connection ended");
    }
}

async fn converse(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut parser = RequestParser::new(Limits::default());
    let mut input = BytesMut::new();
    let mut reply = ReplyWriter::new();
    loop {
        let go_on = loop {
            match parser.next(&mut input) {
                Ok(Some(request)) => execute(&request, &mut reply),
                Ok(None) => break true,
                Err(error) => {
                    reply.error(&format!("ERR Protocol error: {error}"));
                    break false;
                }
            }
            if reply.buffer().len() >= FLUSH_BYTES {
                flush(stream, &mut reply).await?;
            }
        };
        flush(stream, &mut reply).await?;
        input.reserve(READ_BYTES);
        if !go_on || stream.read_buf(&mut input).await? == 0 {
            return Ok(());
        }
    }
}

fn execute(request: &Request, reply: &mut ReplyWriter) {
    match request.as_slice() {
        [name] if name.eq_ignore_ascii_case(b"PING") => reply.simple("PONG"),
        [name, text] if name.eq_ignore_ascii_case(b"PING") => reply.bulk(text),
        [name, ..] => reply.error(&format!("ERR unknown command '{}'", name.escape_ascii())),
        [] => {}
    }
}

async fn flush(stream: &mut TcpStream, reply: &mut ReplyWriter) -> std::io::Result<()> {
    let buffer = reply.buffer_mut();
    while buffer.has_remaining() {
        stream.write_buf(buffer).await?;
    }
    Ok(())
}
