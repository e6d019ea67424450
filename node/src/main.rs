//! The whimbrel server and command line.

fn main() {}
