//! PING, ECHO, HELLO, CLIENT, SELECT, QUIT, READONLY: what speaks of the connection.

use bytes::Bytes;

use super::refusal::Refusal;
use crate::resp::{Protocol, ReplyWriter};
use crate::server::{Node, Session};

const CLIENT_HELP: &str = "CLIENT ID, GETNAME, SETNAME, SETINFO, INFO, LIST";

/// `PING [text]`
pub(crate) fn ping(args: &[Bytes], reply: &mut ReplyWriter) -> Result<(), Refusal> {
    match args {
        [] => reply.simple("PONG"),
        [text] => reply.bulk(text),
        _ => return Err(Refusal::WrongArity("ping")),
    }
    Ok(())
}

/// `SELECT 0`
pub(crate) fn select(args: &[Bytes], reply: &mut ReplyWriter) -> Result<(), Refusal> {
    if args.first().is_none_or(|index| index.as_ref() != b"0") {
        return Err(Refusal::Unsupported("SELECT is not allowed in cluster mode"));
    }
    reply.ok();
    Ok(())
}

/// `HELLO [2|3 [AUTH user password] [SETNAME name]]`
pub(crate) fn hello(
    node: &Node,
    session: &Session,
    args: &[Bytes],
    reply: &mut ReplyWriter,
) -> Result<(), Refusal> {
    let mut protocol = reply.protocol();
    let mut name = None;
    if let Some((version, mut options)) = args.split_first() {
        protocol = match version.as_ref() {
            b"2" => Protocol::Resp2,
            b"3" => Protocol::Resp3,
            _ => return Err(Refusal::Hello),
        };
        while let Some((option, rest)) = options.split_first() {
            options = match (option.to_ascii_uppercase().as_slice(), rest) {
                (b"AUTH", [_, _, ..]) => {
                    return Err(Refusal::Unsupported(
                        "AUTH: this node knows no users and no passwords; connect without",
                    ));
                }
                (b"SETNAME", [given, rest @ ..]) => {
                    name = Some(printable(given)?);
                    rest
                }
                _ => return Err(Refusal::Syntax(" in HELLO option")),
            };
        }
    }
    if let Some(name) = name {
        session.set_name(name);
    }
    reply.set_protocol(protocol);
    reply.map(7);
    reply.bulk(b"server");
    reply.bulk(b"whimbrel");
    reply.bulk(b"version");
    reply.bulk(env!("CARGO_PKG_VERSION").as_bytes());
    reply.bulk(b"proto");
    reply.integer(if protocol == Protocol::Resp3 { 3 } else { 2 });
    reply.bulk(b"id");
    reply.count(session.id());
    reply.bulk(b"mode");
    reply.bulk(b"cluster");
    reply.bulk(b"role");
    reply.bulk(b"master");
    reply.bulk(b"modules");
    reply.array(0);
    tracing::trace!(node = %node.name(), client = session.id(), ?protocol, "hello");
    Ok(())
}

/// `CLIENT ID | GETNAME | SETNAME name | SETINFO LIB-NAME|LIB-VER text | INFO | LIST`
pub(crate) fn client(
    node: &Node,
    session: &Session,
    args: &[Bytes],
    reply: &mut ReplyWriter,
) -> Result<(), Refusal> {
    let (subcommand, rest) = args.split_first().ok_or(Refusal::WrongArity("client"))?;
    match (subcommand.to_ascii_uppercase().as_slice(), rest) {
        (b"ID", []) => reply.count(session.id()),
        (b"GETNAME", []) => match session.name() {
            name if name.is_empty() => reply.null(),
            name => reply.bulk(name.as_bytes()),
        },
        (b"SETNAME", [name]) => {
            session.set_name(printable(name)?);
            reply.ok();
        }
        (b"SETINFO", [field, text]) => {
            let text = printable(text)?;
            match field.to_ascii_uppercase().as_slice() {
                b"LIB-NAME" => session.set_library(text),
                b"LIB-VER" => session.set_library_version(text),
                _ => return Err(Refusal::Unsupported("CLIENT SETINFO takes LIB-NAME or LIB-VER")),
            }
            reply.ok();
        }
        (b"INFO", []) => reply.text(&session.describe()),
        (b"LIST", []) => {
            let lines: String = node.clients().iter().map(|client| client.describe()).collect();
            reply.text(&lines);
        }
        _ => return Err(Refusal::unknown_subcommand(subcommand, CLIENT_HELP)),
    }
    Ok(())
}

/// A name that can stand in a line of `CLIENT LIST`.
fn printable(text: &Bytes) -> Result<String, Refusal> {
    const MAX_BYTES: usize = 1024;
    if text.len() > MAX_BYTES || !text.iter().all(u8::is_ascii_graphic) {
        return Err(Refusal::Unsupported(
            "names cannot contain spaces, newlines or special characters, nor exceed 1024 bytes",
        ));
    }
    Ok(text.iter().copied().map(char::from).collect())
}
