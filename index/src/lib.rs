//! Embedded secondary-index engine: typed ordered indexes, consistent snapshots, backup and fast restart.

#![forbid(unsafe_code)]
