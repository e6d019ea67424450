//! WCHECKPOINT: makes a checkpoint and cuts the journal.

use crate::resp::ReplyWriter;
use crate::resp::commands::Refusal;
use crate::server::Node;

/// `WCHECKPOINT`: everything this node holds, at one moment, beside the writers. Gives a JSON object.
pub(crate) async fn wcheckpoint(node: &Node, reply: &mut ReplyWriter) -> Result<(), Refusal> {
    let report = node.checkpoint().await?;
    reply.bulk(report.to_json().to_string().as_bytes());
    Ok(())
}
