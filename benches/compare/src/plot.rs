//! Plots: small panels of horizontal bars, one a workload, in one SVG file.

use std::path::Path;

use anyhow::anyhow;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::report::digits;

/// One panel: a title and a figure for each peer that has one.
#[derive(Debug, Clone, PartialEq)]
pub struct Panel {
    /// What is measured, in which unit.
    pub title: String,
    /// Peers and figures, ours first.
    pub bars: Vec<(&'static str, f64)>,
}

const PANELS_A_ROW: usize = 4;
const PANEL_WIDTH: u32 = 330;
const BAR_HEIGHT: u32 = 16;
const LABEL_WIDTH: i32 = 118;
const FIGURE_WIDTH: i32 = 44;
const TOP: i32 = 24;
const OURS: RGBColor = RGBColor(0xB4, 0x4A, 0x1E);
const OTHERS: RGBColor = RGBColor(0x8A, 0x9B, 0xA8);

/// Draws the panels.
///
/// # Errors
///
/// When the file cannot be written.
pub fn draw(file: &Path, title: &str, panels: &[Panel]) -> anyhow::Result<()> {
    let most = panels.iter().map(|panel| panel.bars.len()).max().unwrap_or(0);
    let height = u32::try_from(TOP)? * 2 + u32::try_from(most)? * BAR_HEIGHT;
    let rows = panels.len().div_ceil(PANELS_A_ROW).max(1);
    let size = (PANEL_WIDTH * u32::try_from(PANELS_A_ROW)?, 40 + height * u32::try_from(rows)?);
    let root = SVGBackend::new(file, size).into_drawing_area();
    let failed = |error: &dyn std::fmt::Display| anyhow!("{}: {error}", file.display());
    root.fill(&WHITE).map_err(|error| failed(&error))?;
    let title = Text::new(title.to_owned(), (10, 10), ("sans-serif", 16).into_font());
    root.draw(&title).map_err(|error| failed(&error))?;
    let (_, area) = root.split_vertically(40);
    for (panel, area) in panels.iter().zip(area.split_evenly((rows, PANELS_A_ROW))) {
        draw_panel(&area, panel).map_err(|error| failed(&error))?;
    }
    root.present().map_err(|error| failed(&error))
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

fn draw_panel(area: &Area<'_>, panel: &Panel) -> Result<(), Box<dyn std::error::Error>> {
    let draw = |element: Text<'_, (i32, i32), String>| area.draw(&element);
    let width = i32::try_from(area.dim_in_pixel().0)? - LABEL_WIDTH - FIGURE_WIDTH;
    let most = panel.bars.iter().map(|(_, figure)| *figure).fold(f64::MIN_POSITIVE, f64::max);
    let style = ("sans-serif", 11).into_text_style(area);
    let left = style.pos(Pos::new(HPos::Left, VPos::Center));
    let right = style.pos(Pos::new(HPos::Right, VPos::Center));
    let bold = ("sans-serif", 13, FontStyle::Bold).into_text_style(area);
    draw(Text::new(panel.title.clone(), (10, 4), bold))?;
    for (at, (peer, figure)) in (0..).zip(&panel.bars) {
        let top = TOP + at * i32::try_from(BAR_HEIGHT)?;
        let middle = top + i32::try_from(BAR_HEIGHT)? / 2;
        #[expect(clippy::cast_possible_truncation, reason = "at most the width of the panel")]
        let length = (figure / most * f64::from(width)).round() as i32;
        let color = if peer.starts_with("whimbrel") { OURS } else { OTHERS };
        let corners = [(LABEL_WIDTH, top + 2), (LABEL_WIDTH + length.max(1), middle + 6)];
        area.draw(&Rectangle::new(corners, color.filled()))?;
        draw(Text::new((*peer).to_owned(), (LABEL_WIDTH - 6, middle), right.clone()))?;
        draw(Text::new(digits(*figure), (LABEL_WIDTH + length + 4, middle), left.clone()))?;
    }
    Ok(())
}
