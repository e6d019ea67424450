//! Criterion benches, one file per crate.
