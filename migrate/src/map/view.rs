//! The map's content in memory, and what a batch of swaps does to it.

use std::collections::{BTreeMap, HashMap};

use super::{CasOp, CasOutcome};
use crate::{Error, NodeId, NodeInfo, Slot, SlotRecord};

/// One change of the content, as it is written to the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Record(Slot, SlotRecord),
    Node(NodeInfo),
}

#[derive(Debug)]
pub(super) struct View {
    records: Vec<Option<SlotRecord>>,
    nodes: BTreeMap<NodeId, NodeId>,
}

impl View {
    pub(super) fn new() -> Self {
        let records = Slot::all().map(|_| None).collect();
        Self { records, nodes: BTreeMap::new() }
    }

    pub(super) fn get(&self, slot: Slot) -> Option<&SlotRecord> {
        self.records[slot.index()].as_ref()
    }

    pub(super) fn all(&self) -> Vec<(Slot, SlotRecord)> {
        Slot::all().filter_map(|slot| Some((slot, self.get(slot)?.clone()))).collect()
    }

    pub(super) fn nodes(&self) -> Vec<NodeInfo> {
        let info = |(id, bus): (&NodeId, &NodeId)| NodeInfo { id: id.clone(), bus: bus.clone() };
        self.nodes.iter().map(info).collect()
    }

    pub(super) fn apply(&mut self, change: Change) {
        match change {
            Change::Record(slot, record) => self.records[slot.index()] = Some(record),
            Change::Node(node) => {
                self.nodes.insert(node.id, node.bus);
            }
        }
    }

    /// Everything, as changes from nothing.
    pub(super) fn changes(&self) -> Vec<Change> {
        let nodes = self.nodes().into_iter().map(Change::Node);
        nodes.chain(self.all().into_iter().map(|(s, r)| Change::Record(s, r))).collect()
    }

    /// What the ops do, in order, without doing it.
    pub(super) fn decide(&self, ops: &[CasOp]) -> Result<(Vec<CasOutcome>, Vec<Change>), Error> {
        let mut fresh: HashMap<Slot, &SlotRecord> = HashMap::new();
        let mut outcomes = Vec::with_capacity(ops.len());
        let mut changes = Vec::new();
        for op in ops {
            SlotRecord::check_change(op.expected.as_ref(), &op.new)
                .map_err(|change| Error::Forbidden { slot: op.slot, change })?;
            let now = fresh.get(&op.slot).copied().or_else(|| self.get(op.slot));
            if now == op.expected.as_ref() {
                fresh.insert(op.slot, &op.new);
                changes.push(Change::Record(op.slot, op.new.clone()));
                outcomes.push(CasOutcome::Won);
            } else {
                outcomes.push(CasOutcome::Lost(now.cloned()));
            }
        }
        Ok((outcomes, changes))
    }
}
