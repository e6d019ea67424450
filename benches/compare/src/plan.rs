//! What is run: groups of tasks, interleaved in each round.

use crate::args::Args;
use crate::bars::{BARS, Measure};
use crate::keys::KeyKind;
use crate::peers::find;
use crate::workload::{Set, Workload};

/// A child to run in each round, before it knows its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// The peer.
    pub peer: &'static str,
    /// What it measures.
    pub workloads: Vec<Workload>,
}

/// Children with the same work; one after another in a round, so that what disturbs the machine
/// disturbs all of them alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Shape of the keys.
    pub keys: KeyKind,
    /// The state to build.
    pub set: Set,
    /// Threads at work.
    pub threads: usize,
    /// The peers.
    pub items: Vec<Item>,
}

/// The groups of a command line.
///
/// # Errors
///
/// When the command line names peers that there are not.
pub fn plan(args: &Args) -> anyhow::Result<Vec<Group>> {
    let mut wanted = Vec::new();
    if args.bars {
        wanted.extend(BARS.iter().flat_map(crate::bars::Bar::measures));
    } else {
        for facts in args.peers()? {
            for workload in args.workloads() {
                for (keys, threads) in pairs(&args.keys, &args.threads) {
                    wanted.push(Measure { peer: facts.name, workload, keys, threads });
                }
            }
        }
    }
    wanted.retain(|measure| {
        let facts = find(measure.peer);
        facts.is_some_and(|facts| facts.can(measure.workload, measure.threads))
    });
    Ok(group(&wanted))
}

fn pairs(keys: &[KeyKind], threads: &[usize]) -> Vec<(KeyKind, usize)> {
    keys.iter().flat_map(|keys| threads.iter().map(move |threads| (*keys, *threads))).collect()
}

fn group(wanted: &[Measure]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for measure in wanted {
        let &Measure { peer, workload, keys, threads } = measure;
        let set = workload.set();
        let same = |group: &Group| (group.keys, group.set, group.threads) == (keys, set, threads);
        let at = groups.iter().position(same).unwrap_or(groups.len());
        if at == groups.len() {
            groups.push(Group { keys, set, threads, items: Vec::new() });
        }
        let items = &mut groups[at].items;
        match items.iter_mut().find(|item| item.peer == peer) {
            Some(item) if item.workloads.contains(&workload) => {}
            Some(item) => item.workloads.push(workload),
            None => items.push(Item { peer, workloads: vec![workload] }),
        }
    }
    groups.sort_by_key(|group| (group.keys, group.threads, group.set));
    groups
}
