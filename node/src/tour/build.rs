//! Step 1: builds three secondary indexes over the records, and checks all of their entries.

use std::sync::Arc;
use std::time::Instant;

use super::context::Tour;
use super::engine::Db;
use super::error::{TourError, expect_equal};
use super::report::Build;
use super::screen::{grouped, per_second};
use super::states::States;

/// Builds the indexes and compares every entry with the records.
pub(super) fn step(tour: &mut Tour) -> Result<Arc<Db>, TourError> {
    tour.screen.step(1, "load the records, build the indexes");
    tour.screen.say(&format!(
        "{} records: {}",
        grouped(tour.table.rows.len() as u64),
        tour.table.origin
    ));
    let id = tour.table.id.map_or("the record's number", |id| tour.table.columns[id].as_str());
    tour.screen.say(&format!("  document id: {id}"));
    for index in tour.table.indexes() {
        let (name, words) = (tour.table.index_name(index), tour.table.index_words(index));
        tour.screen.say(&format!("  index {name}: {words}"));
    }
    if tour.table.plan.list.is_none() {
        tour.screen.say("  no multi-valued index: no column has values separated by '|' or ';'");
    }
    let bar = tour.screen.spinner("building the indexes");
    let start = Instant::now();
    let db = Db::build(&tour.table)?;
    let time = start.elapsed();
    bar.finish_and_clear();

    let bar = tour.screen.spinner("checking every entry against the records");
    let expected = States::loaded(&tour.table).fingerprint(&tour.table);
    let got = db.view()?.fingerprint(&tour.table)?;
    bar.finish_and_clear();
    expect_equal("build", "entries of all indexes", &expected, &got)?;

    let entries_per_s = per_second(got.count, time);
    tour.screen.say(&format!(
        "{} index entries in {:.2} s, {} entries/s; every entry checked against the records",
        grouped(got.count),
        time.as_secs_f64(),
        grouped(entries_per_s)
    ));
    tour.report.index_entries = got.count;
    tour.report.build =
        Some(Build { entries_per_s, millis: u64::try_from(time.as_millis()).unwrap_or(u64::MAX) });
    Ok(Arc::new(db))
}
