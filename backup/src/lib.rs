//! Ordered, compressed, checksummed backups of snapshots, and the block format they share with migration.

#![forbid(unsafe_code)]
