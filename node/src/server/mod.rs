//! The server: a listener, one task per connection, and what they share.

mod connection;
mod listener;

pub use listener::serve;
