//! Goal: medians, spreads and ratios are what their names say, also of few figures and missing
//! rounds.

use whimbrel_compare::stats::{median, paired_ratio, spread_percent};

#[test]
fn the_median_is_the_middle() {
    assert_eq!(median(&[]), None);
    assert_eq!(median(&[3.0]), Some(3.0));
    assert_eq!(median(&[9.0, 1.0, 2.0]), Some(2.0));
    assert_eq!(median(&[4.0, 1.0, 2.0, 100.0]), Some(3.0));
}

#[test]
fn the_spread_is_over_the_median() {
    assert_eq!(spread_percent(&[]), None);
    assert_eq!(spread_percent(&[5.0]), Some(0.0));
    assert_eq!(spread_percent(&[90.0, 100.0, 120.0]), Some(30.0));
    assert_eq!(spread_percent(&[0.0, 0.0]), Some(0.0));
}

#[test]
fn ratios_are_of_rounds_not_of_medians() {
    // The machine was ten times as slow in round 1: each round still says 2.
    let above = [(0, 20.0), (1, 200.0), (2, 22.0)];
    let below = [(0, 10.0), (1, 100.0), (2, 11.0)];
    assert_eq!(paired_ratio(&above, &below), Some(2.0));
    // A round that one side lacks does not count.
    assert_eq!(paired_ratio(&[(0, 4.0), (1, 9.0)], &[(1, 3.0), (2, 1.0)]), Some(3.0));
    assert_eq!(paired_ratio(&[(0, 4.0)], &[(1, 3.0)]), None);
    assert_eq!(paired_ratio(&[(0, 4.0)], &[(0, 0.0)]), None);
}
