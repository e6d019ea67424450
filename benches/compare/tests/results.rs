//! Goal: peers that read something else are found, bars are judged by the ratio that they name, and
//! the plan has what they need.

use clap::{CommandFactory, Parser};
use whimbrel_compare::args::Args;
use whimbrel_compare::bars::{BARS, Rule, Verdict};
use whimbrel_compare::child::Sample;
use whimbrel_compare::plan::plan;
use whimbrel_compare::report::{digits, short};
use whimbrel_compare::results::{Cell, Results};
use whimbrel_compare::workload::Workload;

const ENTRIES: usize = 1000;

fn cell(peer: &'static str, workload: Workload, threads: usize) -> Cell {
    Cell { keys: "random16".to_owned(), entries: ENTRIES, threads, workload, peer }
}

fn sample(workload: Workload, ns_per_op: f64, checksum: u64) -> Sample {
    Sample {
        workload,
        ns_per_op,
        cpu_ns_per_op: ns_per_op / 2.0,
        bytes_per_entry: 70.0,
        held_percent: None,
        checksum,
    }
}

#[test]
fn another_checksum_is_a_disagreement() {
    let mut results = Results::default();
    let get = Workload::Get;
    results.add(cell("whimbrel", get, 1), 0, sample(get, 1.0, 5));
    results.add(cell("std-btreemap", get, 1), 0, sample(get, 1.0, 5));
    results.add(cell("whimbrel", get, 2), 0, sample(get, 1.0, 6));
    assert_eq!(results.disagreements(), [""; 0], "threads split the work in another way");
    results.add(cell("towers", get, 1), 1, sample(get, 1.0, 7));
    let found = results.disagreements();
    assert_eq!(found.len(), 1);
    assert!(found[0].contains("get of towers"), "{}", found[0]);
}

#[test]
fn a_busy_machine_is_noticed() {
    let mut results = Results::default();
    assert_eq!(results.share_of_processor(), None);
    results.add(cell("whimbrel", Workload::Get, 1), 0, sample(Workload::Get, 8.0, 5));
    assert_eq!(results.share_of_processor(), Some(0.5));
}

#[test]
fn bars_are_judged() {
    let mut results = Results::default();
    let insert = Workload::Insert;
    results.add(cell("whimbrel", insert, 1), 0, sample(insert, 100.0, 1));
    results.add(cell("crossbeam-skiplist", insert, 1), 0, sample(insert, 390.0, 1));
    results.add(cell("whimbrel", insert, 2), 0, sample(insert, 70.0, 1));
    let judge = |what: &str| {
        let bar = BARS.iter().find(|bar| bar.what == what).expect("a bar of this name");
        bar.judge(&results, ENTRIES)
    };
    let crossbeam = judge("insert against crossbeam");
    assert_eq!((crossbeam.measured, crossbeam.verdict), (Some(3.9), Verdict::Met));
    let threads = judge("insert, 2 threads against 1");
    assert_eq!(threads.verdict, Verdict::Missed, "{threads:?}");
    assert_eq!(judge("bytes an entry after inserting").verdict, Verdict::Met);
    assert_eq!(judge("get against crossbeam").verdict, Verdict::NotMeasured);
}

#[test]
fn the_plan_of_the_bars_has_all_their_sides_and_no_more() {
    let args = Args::try_parse_from(["x", "--bars"]).expect("arguments");
    assert_eq!((args.entries(), args.rounds()), (10_000_000, 3));
    let groups = plan(&args).expect("a plan");
    let has = |measure: &whimbrel_compare::bars::Measure| {
        groups.iter().any(|group| {
            (group.keys, group.threads) == (measure.keys, measure.threads)
                && group.items.iter().any(|item| {
                    item.peer == measure.peer && item.workloads.contains(&measure.workload)
                })
        })
    };
    let needed: Vec<_> = BARS.iter().flat_map(|bar| bar.measures()).collect();
    assert!(needed.iter().all(has));
    let planned: usize =
        groups.iter().flat_map(|group| &group.items).map(|item| item.workloads.len()).sum();
    let mut distinct: Vec<String> = needed.iter().map(|one| format!("{one:?}")).collect();
    distinct.sort();
    distinct.dedup();
    assert_eq!(planned, distinct.len());
    assert!(
        BARS.iter().all(|bar| matches!(bar.rule, Rule::Faster(..)) == (bar.measures().len() == 2))
    );
}

#[test]
fn what_a_peer_lacks_is_not_planned() {
    let line = ["x", "--only", "std-btreemap", "--workload", "get,get_snapshot,mix"];
    let groups = plan(&Args::try_parse_from(line).expect("arguments")).expect("a plan");
    assert_eq!(groups.len(), 1, "one thread, one set");
    assert_eq!(groups[0].items[0].workloads, [Workload::Get]);
}

#[test]
fn the_command_line_is_sound() {
    Args::command().debug_assert();
    let wrong = Args::try_parse_from(["x", "--only", "redis"]).expect("arguments");
    let error = wrong.peers().expect_err("no such peer").to_string();
    assert!(error.contains("whimbrel, whimbrel-list"), "{error}");
    let large = Args::try_parse_from(["x", "--entries", "10000000"]).expect("arguments");
    assert_eq!((large.rounds(), large.peers().expect("peers").len()), (3, 3));
}

#[test]
fn figures_are_shown_with_the_digits_that_count() {
    assert_eq!([digits(2.345), digits(23.45), digits(2345.6)], ["2.35", "23.4", "2346"]);
    assert_eq!([short(10_000_000), short(50_000), short(1_234)], ["10m", "50k", "1234"]);
}
