//! The Redis serialization protocol: requests in, replies out, and the commands between.

pub(crate) mod commands;
pub mod parser;
pub mod reply;

pub use parser::{Limits, ProtocolError, Request, RequestParser};
pub use reply::{Protocol, ReplyWriter};
