//! The machines of [`crate::protocol`] over TCP: what they ask for is done here.
//!
//! Every read and write on a socket has a time-out, no barrier session is held across an await, and
//! work that blocks (the map, the disk, building and scanning) runs on threads that may block.

pub(crate) mod bus;
mod changes;
mod copy;
pub(crate) mod outgoing;
mod source;
pub(crate) mod target;
mod wire;
