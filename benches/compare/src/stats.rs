//! Medians, spreads and ratios of rounds.

/// The middle of some figures: the mean of the two middle ones when their number is even.
#[must_use]
pub fn median(figures: &[f64]) -> Option<f64> {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let upper = *sorted.get(middle)?;
    Some(if sorted.len() % 2 == 1 { upper } else { f64::midpoint(sorted[middle - 1], upper) })
}

/// How far the figures lie apart: greatest less least, in per cent of the median.
#[must_use]
pub fn spread_percent(figures: &[f64]) -> Option<f64> {
    let least = figures.iter().copied().reduce(f64::min)?;
    let most = figures.iter().copied().reduce(f64::max)?;
    let middle = median(figures)?;
    Some(if middle == 0.0 { 0.0 } else { (most - least) / middle * 100.0 })
}

/// The median of `above / below` over the rounds in which both were measured. A machine that is
/// slow for a while is slow for both sides of a round, so paired ratios are steadier than the
/// figures.
#[must_use]
pub fn paired_ratio(above: &[(usize, f64)], below: &[(usize, f64)]) -> Option<f64> {
    let ratios: Vec<f64> = above
        .iter()
        .filter_map(|(round, figure)| {
            let (_, other) = below.iter().find(|(other, _)| other == round)?;
            (*other != 0.0).then_some(figure / other)
        })
        .collect();
    median(&ratios)
}
