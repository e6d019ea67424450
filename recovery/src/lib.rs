//! Parallel linear-time rebuild of stores from backups.
