//! The server: a listener, one task per connection, and what they share.

mod connection;
mod cursors;
mod intake;
mod listener;
mod node;
mod session;
mod startup;

pub use listener::serve;
pub(crate) use node::Node;
pub(crate) use session::Session;
