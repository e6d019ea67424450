//! Multi-version ordered store: snapshots that wait for nobody, batches, cursors, garbage collection.
