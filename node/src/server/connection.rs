//! One client: read, parse as many requests as there are, answer them in one write.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{Node, Session};
use crate::resp::commands::{self, Flow};
use crate::resp::{Limits, ReplyWriter, RequestParser};

/// Replies are sent when this many bytes have gathered, even if more requests are waiting.
const FLUSH_BYTES: usize = 64 << 10;
/// Bytes asked of the socket at once.
const READ_BYTES: usize = 16 << 10;

/// Serves one connection until it ends.
pub(crate) async fn run(node: Arc<Node>, mut stream: TcpStream, peer: SocketAddr) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%peer, %error, "no delay could not be set");
    }
    let session = node.connect(peer);
    if let Err(error) = converse(&node, &session, &mut stream).await {
        tracing::debug!(%peer, %error, "connection ended");
    }
    node.disconnect(&session);
}

async fn converse(node: &Node, session: &Session, stream: &mut TcpStream) -> std::io::Result<()> {
    let mut parser = RequestParser::new(Limits::default());
    let mut input = BytesMut::new();
    let mut reply = ReplyWriter::new();
    let mut share = node.intake().share();
    loop {
        let mut flow = loop {
            match parser.next(&mut input) {
                Ok(Some(request)) => {
                    if commands::execute(node, session, &request, &mut reply).await == Flow::Close {
                        break Flow::Close;
                    }
                }
                Ok(None) => break Flow::Continue,
                Err(error) => {
                    reply.error(&format!("ERR Protocol error: {error}"));
                    break Flow::Close;
                }
            }
            if reply.buffer().len() >= FLUSH_BYTES
                && send(node, session, stream, &mut reply).await? == Flow::Close
            {
                return Ok(());
            }
        };
        let counted = share.is_counted();
        if flow == Flow::Continue && !share.set(input.len() + parser.held_bytes()) {
            reply.error("ERR too many bytes of unfinished requests at this node; try again later");
            flow = Flow::Close;
        }
        if counted && !share.is_counted() {
            // A buffer that was large once would stay so for as long as the connection.
            input = BytesMut::from(&input[..]);
        }
        if send(node, session, stream, &mut reply).await? == Flow::Close {
            return Ok(());
        }
        input.reserve(READ_BYTES);
        if flow == Flow::Close || stream.read_buf(&mut input).await? == 0 {
            return Ok(());
        }
    }
}

/// Sends the replies when everything that they speak of is as durable as the node promises.
async fn send(
    node: &Node,
    session: &Session,
    stream: &mut TcpStream,
    reply: &mut ReplyWriter,
) -> std::io::Result<Flow> {
    let settled = node.settle(session).await;
    if let Err(refusal) = &settled {
        // None of them may be said. The client learns that the first has failed, and of the others by
        // the closed connection that they may have.
        reply.buffer_mut().clear();
        reply.error(&refusal.to_string());
    }
    flush(stream, reply).await?;
    Ok(if settled.is_ok() { Flow::Continue } else { Flow::Close })
}

async fn flush(stream: &mut TcpStream, reply: &mut ReplyWriter) -> std::io::Result<()> {
    let buffer = reply.buffer_mut();
    while buffer.has_remaining() {
        stream.write_buf(buffer).await?;
    }
    Ok(())
}
