//! Goal: whatever moment a crash chooses, no acknowledged record is lost, none comes twice, and the
//! journal opens again; whatever call fails, nothing is acknowledged that is not durable.
//!
//! Method: a recording storage. Every cut of the list of operations, combined with every prefix of
//! unsynced operations on names, any one of them lost, and with unsynced writes lost, torn and zero-filled
//! in every combination, is laid out and opened. Some of these are opened on a storage that records too,
//! and cut again. Then every single call fails, in each way, and the images that a crash leaves behind
//! that are opened.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use std::collections::BTreeMap;
use std::io::ErrorKind;

use common::{Double, Fault, Image, Op, record, replay};
use whimbrel_journal::{Error, Journal, Mark, SyncPolicy};

/// What is done to a journal: groups of several records, segments that end, checkpoints, a restart.
/// Gives up at the first refusal, as a caller would, and must be refused ever after.
fn work(double: &Double, policy: SyncPolicy) -> Result<(), Error> {
    let mut covered = None;
    for round in 0..2 {
        let (journal, _) = replay(double, policy, covered.as_ref())?;
        let outcome = fill(&journal, double, &mut covered, round);
        if outcome.is_err() {
            assert!(journal.failure().is_some(), "{outcome:?} without a failure");
            assert!(journal.append(b"more").is_err() && journal.sync().is_err());
        }
        drop(journal);
        outcome?;
    }
    Ok(())
}

fn fill(
    journal: &Journal,
    double: &Double,
    covered: &mut Option<Mark>,
    round: u64,
) -> Result<(), Error> {
    for group in 0..5 {
        let mut last = 0;
        for _ in 0..=(group + round) % 3 {
            let next = journal.mark().sequence + 1;
            last = journal.append(&record(next))?;
            assert_eq!(last, next);
        }
        journal.wait(last)?;
        double.note(Op::Acknowledged(last));
        if group == 3 {
            journal.turn_over()?;
            let mark = journal.mark();
            journal.append(&record(mark.sequence + 1))?;
            journal.sync()?;
            double.note(Op::Covered(mark));
            *covered = Some(mark);
            // A failed removal costs space and nothing else.
            if let Err(error) = journal.truncate(&mark) {
                assert!(error.is_retryable(), "{error}");
            }
        }
    }
    Ok(())
}

#[derive(Default, Clone)]
struct Inode {
    bytes: Vec<u8>,
    synced: usize,
    /// Where unsynced writes begin.
    writes: Vec<usize>,
    /// Bytes that the system has forgotten, though processes see them.
    forgotten: Vec<(usize, usize)>,
}

impl Inode {
    /// What may be found after a crash.
    fn images(&self) -> Vec<Vec<u8>> {
        let mut durable = self.bytes.clone();
        for (from, to) in &self.forgotten {
            durable[*from..*to].fill(0);
        }
        let mut images = vec![durable.clone()];
        if self.synced == self.bytes.len() {
            return images;
        }
        // Cut anywhere.
        images.extend((self.synced..durable.len()).step_by(2).map(|at| durable[..at].to_vec()));
        // Every subset of the unsynced writes is missing, with zeros in place.
        let ends = self.writes.iter().skip(1).copied().chain([durable.len()]);
        let writes: Vec<_> = self.writes.iter().copied().zip(ends).collect();
        for subset in 1..1u32 << writes.len().min(5) {
            let mut holes = durable.clone();
            for (at, (from, to)) in writes.iter().enumerate().take(5) {
                if subset >> at & 1 == 1 {
                    holes[*from..*to].fill(0);
                }
            }
            images.push(holes);
        }
        // The last write is torn in the middle: its second half is there, its first is not.
        if let Some((from, to)) = writes.last() {
            let mut torn = durable;
            torn[*from..from.midpoint(*to)].fill(0);
            images.push(torn);
        }
        images
    }
}

/// Every set of files that a crash after `ops` may leave.
fn images(ops: &[Op]) -> Vec<Image> {
    let mut inodes: BTreeMap<usize, Inode> = BTreeMap::new();
    let mut names = Vec::new();
    let mut synced = 0;
    for op in ops {
        match op {
            Op::Write { inode, bytes } => {
                let inode = inodes.entry(*inode).or_default();
                inode.writes.push(inode.bytes.len());
                inode.bytes.extend_from_slice(bytes);
            }
            Op::Sync { inode } => {
                let inode = inodes.entry(*inode).or_default();
                inode.synced = inode.bytes.len();
                inode.writes.clear();
            }
            Op::SyncFailed { inode } => {
                let inode = inodes.entry(*inode).or_default();
                inode.forgotten.push((inode.synced, inode.bytes.len()));
                inode.synced = inode.bytes.len();
                inode.writes.clear();
            }
            Op::SyncNames => synced = names.len(),
            Op::Create { .. } | Op::Rename { .. } | Op::Remove { .. } => names.push(op),
            Op::Acknowledged(_) | Op::Covered(_) => {}
        }
    }
    let mut all = Vec::new();
    for kept in synced..=names.len() {
        // Any one removal that was not synced may be missing among those that were kept.
        let lost = (synced..kept).filter(|at| matches!(names[*at], Op::Remove { .. }));
        for lost in std::iter::once(None).chain(lost.map(Some)) {
            let kept = names[..kept].iter().enumerate().filter(|(at, _)| Some(*at) != lost);
            all.extend(lay_out(kept.map(|(_, op)| *op), &inodes));
        }
    }
    all
}

fn lay_out<'a>(names: impl Iterator<Item = &'a Op>, inodes: &BTreeMap<usize, Inode>) -> Vec<Image> {
    let mut there: BTreeMap<String, usize> = BTreeMap::new();
    for op in names {
        match op {
            Op::Create { name, inode } => {
                there.insert(name.clone(), *inode);
            }
            Op::Rename { from, to } => {
                if let Some(inode) = there.remove(from) {
                    there.insert(to.clone(), inode);
                }
            }
            Op::Remove { name } => {
                there.remove(name);
            }
            _ => {}
        }
    }
    let mut all = vec![Image::new()];
    for (name, inode) in there {
        let variants = inodes.get(&inode).map_or_else(|| vec![Vec::new()], Inode::images);
        all = all
            .iter()
            .flat_map(|image| {
                variants.iter().map(|bytes| {
                    let mut image = image.clone();
                    image.insert(name.clone(), bytes.clone());
                    image
                })
            })
            .collect();
    }
    all
}

/// What had been said when the operations ended.
fn said(ops: &[Op]) -> (u64, Option<Mark>) {
    let mut acknowledged = 0;
    let mut covered = None;
    for op in ops {
        match op {
            Op::Acknowledged(sequence) => acknowledged = *sequence,
            Op::Covered(mark) => covered = Some(*mark),
            _ => {}
        }
    }
    (acknowledged, covered)
}

/// Opens an image; everything acknowledged must be there.
fn judge(double: &Double, policy: SyncPolicy, ops: &[Op], place: &str) {
    let (acknowledged, covered) = said(ops);
    let needed = match policy {
        SyncPolicy::Always => acknowledged,
        // Only what a checkpoint made durable.
        _ => 0,
    };
    match replay(double, policy, covered.as_ref()) {
        Ok((journal, found)) => {
            let last = found.last().copied().or(covered.map(|mark| mark.sequence)).unwrap_or(0);
            assert!(last >= needed, "{place}: {acknowledged} acknowledged, {last} replayed");
            let next = journal.append(&record(last + 1)).unwrap();
            assert_eq!(next, last + 1, "{place}: the journal goes on behind what it replayed");
        }
        Err(error) => panic!("{place}: {error}\n{ops:#?}"),
    }
}

/// `again` says which part of the images is cut a second time.
fn every_cut(policy: SyncPolicy, again: usize) -> usize {
    let double = Double::default();
    work(&double, policy).unwrap();
    let ops = double.ops();
    let mut count = 0;
    for cut in 0..=ops.len() {
        for image in images(&ops[..cut]) {
            let opened = Double::of(&image);
            let before = opened.ops().len();
            judge(&opened, policy, &ops[..cut], &format!("cut {cut}"));
            count += 1;
            if count % again == 0 {
                count += cut_again(&opened, before, policy, &ops[..cut]);
            }
        }
    }
    count
}

/// The process that opens the image dies too.
fn cut_again(opened: &Double, before: usize, policy: SyncPolicy, ops: &[Op]) -> usize {
    let again = opened.ops();
    let mut count = 0;
    for cut in before..=again.len() {
        for image in images(&again[..cut]) {
            judge(&Double::of(&image), policy, ops, &format!("cut {} and {cut}", ops.len()));
            count += 1;
        }
    }
    count
}

#[test]
fn a_crash_at_any_moment_loses_nothing_acknowledged() {
    let images = every_cut(SyncPolicy::Always, 15);
    println!("{images} images with always");
    assert!(images > 20_000, "{images} images are too few to mean anything");
}

#[test]
fn a_crash_at_any_moment_without_syncs_leaves_a_beginning() {
    let images = every_cut(SyncPolicy::Never, 150);
    println!("{images} images with never");
    assert!(images > 5_000, "{images} images are too few to mean anything");
}

/// A killed process loses nothing that the system has, under any policy.
#[test]
fn a_killed_process_loses_nothing_acknowledged_under_any_policy() {
    for policy in [SyncPolicy::Always, SyncPolicy::Never] {
        let double = Double::default();
        work(&double, policy).unwrap();
        let ops = double.ops();
        for cut in 0..=ops.len() {
            let kept: Vec<Op> = ops[..cut].to_vec();
            // Everything that was done counts as synced.
            let mut seen = kept.clone();
            let inodes = kept.iter().filter_map(|op| match op {
                Op::Write { inode, .. } => Some(*inode),
                _ => None,
            });
            seen.extend(inodes.map(|inode| Op::Sync { inode }));
            seen.push(Op::SyncNames);
            for image in images(&seen) {
                judge(&Double::of(&image), SyncPolicy::Always, &kept, &format!("killed at {cut}"));
            }
        }
    }
}

/// The process starts again on a machine that went on: it reads what the system shows, a part of which
/// may not be on the disk.
fn go_on(double: &Double) {
    let (_, covered) = said(&double.ops());
    let (journal, _) = replay(double, SyncPolicy::Always, covered.as_ref()).unwrap();
    for _ in 0..2 {
        let next = journal.append(&record(journal.mark().sequence + 1)).unwrap();
        journal.wait(next).unwrap();
        double.note(Op::Acknowledged(next));
    }
}

#[test]
fn every_call_failing_once_acknowledges_nothing_that_is_not_durable() {
    let faults =
        [Fault::Error(ErrorKind::StorageFull), Fault::Error(ErrorKind::Other), Fault::Short];
    let double = Double::default();
    work(&double, SyncPolicy::Always).unwrap();
    let calls = double.calls();
    let mut refused = 0;
    for at in 1..=calls {
        for fault in faults {
            let double = Double::failing(at, fault);
            let outcome = work(&double, SyncPolicy::Always);
            refused += usize::from(outcome.is_err());
            assert!(outcome.is_ok() || fault != Fault::Short, "a short write is written on");
            let ops = double.ops();
            let place = format!("call {at} fails: {fault:?}");
            // The process ends and the machine goes on; and the machine stops too.
            judge(&Double::of(&double.image()), SyncPolicy::Always, &ops, &place);
            for image in images(&ops) {
                judge(&Double::of(&image), SyncPolicy::Always, &ops, &place);
            }
            go_on(&double);
            let ops = double.ops();
            for image in images(&ops) {
                judge(&Double::of(&image), SyncPolicy::Always, &ops, &format!("{place}, then on"));
            }
        }
    }
    println!("{calls} calls failed in {} ways, {refused} times noticed", faults.len());
    assert!(refused > calls, "most failures must be noticed");
}
