//! Everything that a run leaves: tables on the terminal and in files, plots, JSON.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::args::Args;
use crate::bars::{BARS, Outcome};
use crate::parent::Run;
use crate::plot::{Panel, draw};
use crate::report::{Part, bars, short, tables};
use crate::results::{Field, Results};
use crate::workload::Workload;

/// Top of every file.
const LEGEND: &str = "\
# Whimbrel beside its peers

Written by `whimbrel-compare`; [its README](../../benches/compare/README.md) says what each workload
does. `xR`: the time over whimbrel's of the same round; below x1 whimbrel loses. `(S%)`: greatest
less least time of the rounds, over the median. n/a: the peer cannot do it.

";

/// Share of the wall time below which others had too much of the machine.
const UNDISTURBED: f64 = 0.95;

/// Prints and writes the results of a run.
///
/// # Errors
///
/// When a file cannot be written.
pub(crate) fn write(args: &Args, run: &Run) -> anyhow::Result<()> {
    if let Some(file) = &args.json {
        let text = serde_json::to_string_pretty(&run.results.rows())?;
        std::fs::write(file, text + "\n").with_context(|| file.display().to_string())?;
    }
    let folder = args.out.clone().unwrap_or_else(default_folder);
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    if args.bars {
        return write_bars(args, run, &folder);
    }
    let parts = Part::all(&run.results);
    let mut names: Vec<(&String, usize)> =
        parts.iter().map(|part| (&part.keys, part.entries)).collect();
    names.dedup();
    for (keys, entries) in names {
        let stem = format!("{keys}-{}", short(entries));
        let mut text = head(args, run);
        print!("{text}");
        for part in parts.iter().filter(|part| (&part.keys, part.entries) == (keys, entries)) {
            let table = tables(&run.results, part);
            println!("{table}");
            text += &table;
            for plot in plots(&run.results, part, &stem, &folder)? {
                let _ = writeln!(text, "![{plot}]({plot})\n");
            }
        }
        save(&folder.join(format!("{stem}.md")), &text)?;
    }
    Ok(())
}

fn write_bars(args: &Args, run: &Run, folder: &Path) -> anyhow::Result<()> {
    let judge = |bar: &crate::bars::Bar| bar.judge(&run.results, args.entries());
    let outcomes: Vec<Outcome> = BARS.iter().map(judge).collect();
    let table = bars(&outcomes);
    let mut text = head(args, run);
    println!("{text}{table}");
    let _ = writeln!(text, "## Bars, {} entries\n\n{table}\n", short(args.entries()));
    for part in Part::all(&run.results) {
        text += &tables(&run.results, &part);
    }
    save(&folder.join(format!("bars-{}.md", short(args.entries()))), &text)
}

fn save(file: &Path, text: &str) -> anyhow::Result<()> {
    let lines: Vec<&str> = text.trim_end().lines().map(str::trim_end).collect();
    std::fs::write(file, lines.join("\n") + "\n").with_context(|| file.display().to_string())?;
    println!("wrote {}", file.display());
    Ok(())
}

pub(crate) fn default_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/benchmarks")
}

/// What a reader must know about the tables below it.
fn head(args: &Args, run: &Run) -> String {
    let mut text = String::from(LEGEND);
    let _ = writeln!(text, "Medians of {} rounds.\n", run.rounds);
    let seed = args.seed;
    let _ = writeln!(text, "Machine: {}. Seed {seed}.\n", machine());
    if let Some(share) = run.results.share_of_processor().filter(|share| *share < UNDISTURBED) {
        let _ = writeln!(
            text,
            "**The machine was busy:** children had a processor for {:.0} % of the time.\n\
             Wall times mean little; run it again on a quiet machine.\n",
            share * 100.0,
        );
    }
    if run.interrupted {
        text += "**Interrupted: not all rounds were run.**\n\n";
    }
    for failure in &run.failures {
        let _ = writeln!(text, "**Failed:** {failure}\n");
    }
    text
}

fn machine() -> String {
    let read = |file: &str| std::fs::read_to_string(file).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
    let memory = read("/proc/meminfo");
    let kib = memory.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok());
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let release = read("/proc/sys/kernel/osrelease");
    format!(
        "{}, {cores} cores, {} GiB, {} {}",
        model.unwrap_or("unknown processor"),
        kib.unwrap_or(0) >> 20,
        std::env::consts::OS,
        release.trim(),
    )
}

/// Draws the times of a part, and its memory when it is of one thread; returns the names of the
/// files.
fn plots(results: &Results, part: &Part, stem: &str, folder: &Path) -> anyhow::Result<Vec<String>> {
    let title =
        format!("{}, {} entries, {} thread(s)", part.keys, short(part.entries), part.threads);
    let panel = |workload: Workload, field: Field, title: String| {
        let figure = |peer| Some((peer, results.median(&part.cell(workload, peer), field)?));
        Panel { title, bars: part.peers(results).into_iter().filter_map(figure).collect() }
    };
    let times = part.workloads(results).into_iter().map(|workload| {
        panel(workload, Field::Time, format!("{}, ns per {}", workload.name(), workload.unit()))
    });
    let mut files = vec![format!("{stem}-{}t.svg", part.threads)];
    draw(&folder.join(&files[0]), &title, &times.collect::<Vec<_>>())?;
    if part.threads == 1 {
        use Workload::{BulkBuild, ChurnedScan, Insert, InsertAscending};
        let bytes = [Insert, InsertAscending, BulkBuild, ChurnedScan].map(|workload| {
            panel(workload, Field::Bytes, format!("bytes per entry after {}", workload.name()))
        });
        let held = [Workload::ShrinkContiguous, Workload::ShrinkRandom].map(|workload| {
            panel(workload, Field::Held, format!("% of the peak after {}", workload.name()))
        });
        let panels: Vec<Panel> =
            bytes.into_iter().chain(held).filter(|panel| !panel.bars.is_empty()).collect();
        if !panels.is_empty() {
            let file = format!("{stem}-memory.svg");
            draw(&folder.join(&file), &title, &panels)?;
            files.push(file);
        }
    }
    Ok(files)
}
