//! Waiting for what another thread does.

use std::thread;
use std::time::{Duration, Instant};

/// Waits until something is done, with a generous end.
pub(crate) fn wait_for(what: &str, done: impl Fn() -> bool) {
    let begin = Instant::now();
    while !done() {
        assert!(begin.elapsed() < Duration::from_secs(120), "waited in vain: {what}");
        thread::sleep(Duration::from_micros(200));
    }
}
