//! Models of every concurrent protocol, explored over all interleavings.
