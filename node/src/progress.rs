//! Progress bars on standard error, when that is a terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// How often a bar is drawn while nothing moves.
const TICK: Duration = Duration::from_millis(100);

/// A bar of `total` steps; hidden when standard error is not a terminal.
#[must_use]
pub fn bar(what: &'static str, total: u64) -> ProgressBar {
    let style = "{prefix:>10} [{bar:30}] {human_pos}/{human_len} {per_sec} {msg}";
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
