//! WINGEST: brings sorted files into the slots of this node.

use std::path::PathBuf;

use bytes::Bytes;
use whimbrel_mvcc::IngestMode;

use super::refusal::Refusal;
use crate::resp::ReplyWriter;
use crate::server::Node;

/// `WINGEST OVER | BEHIND file [file ..]`: all entries of the files, each into the slot of its key, at one moment,
/// beside the clients. Files are on the node's machine and must be given in full. OVER wins over what is there now,
/// BEHIND loses to whatever is there; what clients write meanwhile wins over both. Gives a JSON object.
pub(crate) async fn wingest(
    node: &Node,
    args: &[Bytes],
    reply: &mut ReplyWriter,
) -> Result<(), Refusal> {
    let mode = match &args[0] {
        word if word.eq_ignore_ascii_case(b"OVER") => IngestMode::Over,
        word if word.eq_ignore_ascii_case(b"BEHIND") => IngestMode::Behind,
        _ => return Err(Refusal::Syntax(": WINGEST OVER | BEHIND file [file ..]")),
    };
    let mut paths = Vec::with_capacity(args.len() - 1);
    for path in &args[1..] {
        let path = PathBuf::from(std::str::from_utf8(path).map_err(Refusal::failed)?);
        if !path.is_absolute() {
            return Err(Refusal::Unsupported("WINGEST: give the files in full, from the root on"));
        }
        paths.push(path);
    }
    let done = node.ingest(paths, mode).await?;
    reply.bulk(done.to_json().to_string().as_bytes());
    Ok(())
}
