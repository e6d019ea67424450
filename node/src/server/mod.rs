//! The server: a listener, one task per connection, and what they share.

mod checkpoint;
mod connection;
mod cursors;
mod durable;
mod ingest;
mod intake;
mod listener;
mod node;
mod session;
mod startup;

pub(crate) use durable::{Durable, Writes};
pub use listener::serve;
pub(crate) use node::Node;
pub(crate) use session::Session;
