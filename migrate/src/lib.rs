//! Live migration of slots between nodes: ownership records, gates, snapshot shipping.

#![forbid(unsafe_code)]
