//! Progress bars on standard error, when that is a terminal.

use std::sync::Arc;
use std::time::Duration;

use whimbrel_backup::{Progress, Work};

use crate::interrupt::Interrupt;
use indicatif::{ProgressBar, ProgressStyle};

/// How often a bar is drawn while nothing moves.
const TICK: Duration = Duration::from_millis(100);

/// A bar of `total` steps; hidden when standard error is not a terminal.
#[must_use]
pub fn bar(what: &'static str, total: u64) -> ProgressBar {
    let style = "{prefix:>10} [{bar:30}] {human_pos}/{human_len} {per_sec} {eta} left {msg}";
    styled(ProgressBar::new(total), what, style)
}

/// A counter for work of unknown length; hidden when standard error is not a terminal.
#[must_use]
pub fn counter(what: &'static str) -> ProgressBar {
    styled(ProgressBar::no_length(), what, "{prefix:>10} {spinner} {human_pos} {per_sec} {msg}")
}

fn styled(bar: ProgressBar, what: &'static str, template: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(template)
        .expect("the templates of this file are valid")
        .progress_chars("=> ");
    bar.set_style(style);
    bar.set_prefix(what);
    bar.enable_steady_tick(TICK);
    bar
}

/// A bar that the work on a backup moves.
#[derive(Clone, Debug)]
pub struct BackupBar {
    bar: ProgressBar,
}

impl BackupBar {
    /// A bar whose length the work will say.
    #[must_use]
    pub fn new(what: &'static str) -> Self {
        Self { bar: bar(what, 0) }
    }

    /// What the work is told: this bar, and the flag of `interrupt`.
    #[must_use]
    pub fn work(&self, interrupt: &Interrupt) -> Work {
        let progress: Arc<dyn Progress> = Arc::new(self.clone());
        Work::default().with_progress(progress).with_cancel(interrupt.cancel().clone())
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

impl Progress for BackupBar {
    fn add(&self, entries: u64, _bytes: u64) {
        self.bar.inc(entries);
    }

    fn begin(&self, entries: u64) {
        self.bar.set_length(entries);
    }
}
