//! Step 3: snapshots keep their answers while two threads update the index.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Fault;
use super::context::Tour;
use super::engine::{Db, View};
use super::error::{TourError, expect_equal};
use super::queries;
use super::report::Snapshots;
use super::scan::Fingerprint;
use super::screen::{grouped, per_second};
use super::states::States;
use super::writers::Writers;

/// Snapshots taken while the writers run.
const SNAPSHOTS: usize = 3;
/// Least time that the writers get between two of them.
const PAUSE: Duration = Duration::from_millis(250);

/// A snapshot and the fingerprint it had when it was taken.
struct Held {
    view: View,
    fingerprint: Fingerprint,
}

/// Starts the writers, takes snapshots and looks at each of them again and again. The writers are
/// still running when this returns.
pub(super) fn step(tour: &mut Tour, db: &Arc<Db>) -> Result<Writers, TourError> {
    tour.screen.step(3, "hold snapshots while 2 threads update documents");
    let mut held = vec![hold(tour, db)?];
    let loaded = States::loaded(&tour.table);
    let writers = Writers::start(&tour.table, db, tour.seed);
    let start = Instant::now();
    let mut compared = 0;
    let bar = tour.screen.spinner("comparing snapshots beside the writers");
    for _ in 0..SNAPSHOTS {
        tour.go_on()?;
        wait_for_updates(&writers)?;
        let fresh = hold(tour, db)?;
        consistent(tour, &fresh)?;
        if fresh.fingerprint == held[0].fingerprint {
            return Err(TourError::Check {
                check: "writers-at-work",
                expected: "an index that changed since the first snapshot".to_owned(),
                got: format!("the same content: {}", fresh.fingerprint),
            });
        }
        held.push(fresh);
        is_unchanged(tour, db, &held[0])?;
        queries::compare_all(tour, "snapshot-stable", &held[0].view, &loaded)?;
        compared += 1;
    }
    for snapshot in &held {
        tour.go_on()?;
        is_unchanged(tour, db, snapshot)?;
        compared += 1;
    }
    bar.finish_and_clear();
    let updates = writers.updates();
    let updates_per_s = per_second(updates, start.elapsed());
    tour.report.snapshot_stable = true;
    tour.report.snapshots = Some(Snapshots { compared, updates, updates_per_s });
    tour.screen.say(&format!(
        "{} snapshots, {compared} comparisons of all their entries, no difference, while {} \
         documents were updated ({} a second)",
        held.len(),
        grouped(updates),
        grouped(updates_per_s)
    ));
    tour.screen.say(&format!(
        "{SNAPSHOTS} of them were taken between updates: each shows every update in all indexes \
         or in none"
    ));
    Ok(writers)
}

fn hold(tour: &Tour, db: &Db) -> Result<Held, TourError> {
    let view = db.view()?;
    let fingerprint = view.fingerprint(&tour.table)?;
    Ok(Held { view, fingerprint })
}

/// Checks that a held snapshot shows what it showed when it was taken.
fn is_unchanged(tour: &Tour, db: &Db, snapshot: &Held) -> Result<(), TourError> {
    let moved = if tour.plants(Fault::MovingSnapshot) { Some(db.view()?) } else { None };
    let now = moved.as_ref().unwrap_or(&snapshot.view).fingerprint(&tour.table)?;
    expect_equal("snapshot-stable", "a held snapshot", &snapshot.fingerprint, &now)
}

/// Waits until the writers had their time and changed something.
fn wait_for_updates(writers: &Writers) -> Result<(), TourError> {
    let before = writers.updates();
    let start = Instant::now();
    while start.elapsed() < PAUSE || writers.updates() == before {
        if start.elapsed() > Duration::from_secs(20) {
            return Err(TourError::Check {
                check: "writers-at-work",
                expected: "an update within 20 s".to_owned(),
                got: "none".to_owned(),
            });
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// Checks that a snapshot taken between updates shows each of them whole.
fn consistent(tour: &Tour, snapshot: &Held) -> Result<(), TourError> {
    let states = States::of_view(&tour.table, &tour.ids, &snapshot.view)?;
    let expected = states.fingerprint(&tour.table);
    expect_equal(
        "snapshot-atomic",
        "all indexes, by the updates that the first one shows",
        &expected,
        &snapshot.fingerprint,
    )
}
