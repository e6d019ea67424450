//! What a person sees: headings, tables and the summary on standard output, progress bars on
//! standard error while it is a terminal. With `--json` standard output carries only the report.

use std::time::Duration;

use comfy_table::{Table, presets};
use indicatif::{ProgressBar, ProgressStyle};

/// Longest text of one table cell, in characters.
const CELL_CHARS_MAX: usize = 48;

/// Where the tour speaks to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Screen {
    /// To a person.
    Human,
    /// To a program: nothing but the report.
    Json,
}

impl Screen {
    /// A line for a person.
    pub(super) fn say(self, line: &str) {
        if matches!(self, Self::Human) {
            println!("{line}");
        }
    }

    /// The heading of one step.
    pub(super) fn step(self, number: u32, title: &str) {
        self.say(&format!("\n[{number}/5] {title}"));
    }

    /// A table with a header row.
    pub(super) fn table<H: AsRef<str>, R: IntoIterator<Item = Vec<String>>>(
        self,
        header: &[H],
        rows: R,
    ) {
        if !matches!(self, Self::Human) {
            return;
        }
        let mut table = Table::new();
        table.load_style(presets::UTF8_FULL_CONDENSED);
        if !header.is_empty() {
            table
                .set_header(header.iter().map(|name| shortened(name.as_ref())).collect::<Vec<_>>());
        }
        for row in rows {
            table.add_row(row.iter().map(|text| shortened(text)).collect::<Vec<_>>());
        }
        println!("{table}");
    }

    /// A bar over `total` units; hidden when standard error is no terminal.
    pub(super) fn bar(self, total: u64, what: &'static str) -> ProgressBar {
        let bar = ProgressBar::new(total).with_message(what);
        if let Ok(style) = ProgressStyle::with_template(
            "      {msg:28} {bar:32} {human_pos}/{human_len} {per_sec} eta {eta}",
        ) {
            bar.set_style(style);
        }
        bar
    }

    /// A spinner for work of unknown length; hidden when standard error is no terminal.
    pub(super) fn spinner(self, what: &'static str) -> ProgressBar {
        let bar = ProgressBar::new_spinner().with_message(what);
        if let Ok(style) = ProgressStyle::with_template("      {spinner} {msg} {elapsed}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(120));
        bar
    }
}

/// `text` cut to what fits into a table.
fn shortened(text: &str) -> String {
    if text.chars().count() <= CELL_CHARS_MAX {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(CELL_CHARS_MAX - 2).collect();
    cut.push_str("..");
    cut
}

/// `number` with thousands separated.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A rate per second, as a whole number; 0 when no time passed.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a rate for a person: positive, far below 2^53, rounded on purpose"
)]
pub(super) fn per_second(units: u64, time: Duration) -> u64 {
    let seconds = time.as_secs_f64();
    if seconds > 0.0 { (units as f64 / seconds).round() as u64 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!(grouped(7), "7");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(grouped(100_000), "100,000");
    }
}
