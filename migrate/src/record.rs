//! Ownership records and the rules for changing them.
//!
//! # Rules
//!
//! - **M1** Only compare-and-swap changes a record ([`crate::SlotMap::cas`]).
//! - **M2** A change of owner, and every abort after a grant, raises the epoch by one.
//! - **M3** A node executes an operation only where it read or wrote a record that names it, with
//!   its own incarnation, and its [`crate::Gate`] says so.
//! - **M4** A grant (id, e) is the source's promise not to serve the slot in epoch e again. It is
//!   durable before it is sent ([`crate::GrantLog`]); only winning (e -> e+1, owner = source) ends
//!   it.
//! - **M5** At start a node moves each of its records to e+1 with a fresh incarnation before it
//!   serves ([`SlotRecord::restarted`]); a slot with a durable grant of its own is first offered to
//!   the target.
//! - **M6** A compare-and-swap whose answer is unknown is settled by a linearizable read first.
//!
//! [`SlotRecord::check_change`] holds M2 for every implementation of the map.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::codec::{Malformed, Reader, put_text};

/// Longest name of a node, in bytes.
pub const MAX_NODE_ID_LEN: usize = 255;

/// A node's name: the address `host:port` at which clients reach it.
///
/// Cheap to clone.
///
/// # Examples
///
/// ```
/// use whimbrel_migrate::NodeId;
///
/// let node = NodeId::new("10.0.0.1:7000").expect("short and printable");
/// assert_eq!(node.as_str(), "10.0.0.1:7000");
/// assert!(NodeId::new("").is_none());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(Arc<str>);

impl NodeId {
    /// A name of 1 to [`MAX_NODE_ID_LEN`] printable ASCII bytes without blanks; else `None`.
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        let fits = !name.is_empty() && name.len() <= MAX_NODE_ID_LEN;
        (fits && name.bytes().all(|b| b.is_ascii_graphic())).then(|| Self(name.into()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Names one attempt to migrate one slot; random, so that attempts of different processes differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MigrationId(u64);

impl MigrationId {
    /// The id of this number.
    #[must_use]
    pub const fn from_u64(number: u64) -> Self {
        Self(number)
    }

    /// A fresh random id.
    #[must_use]
    pub fn random() -> Self {
        Self(random_u64())
    }

    /// Its number.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }
}

impl fmt::Display for MigrationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A random number for ids and incarnations, seeded by the operating system.
#[must_use]
pub(crate) fn random_u64() -> u64 {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    // ORDERING: Relaxed; the counter only makes two hashes of one process differ.
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    RandomState::new().hash_one((count, std::process::id()))
}

/// What a slot's owner is doing with it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Mode {
    /// The owner serves it.
    Stable,
    /// The owner serves it and is shipping it to another node.
    Migrating {
        /// The target.
        to: NodeId,
        /// The attempt; a target accepts nothing of another one.
        id: MigrationId,
    },
}

/// Who owns a slot: one value of the slot map, changed by compare-and-swap only.
///
/// # Examples
///
/// ```
/// use whimbrel_migrate::{MigrationId, NodeId, SlotRecord};
///
/// let (a, b) = (NodeId::new("a:1").expect("valid"), NodeId::new("b:1").expect("valid"));
/// let stable = SlotRecord::first(a.clone(), 11);
/// let moving = stable.migrating(b.clone(), MigrationId::from_u64(7)).expect("stable");
/// let moved = moving.handed_over(22).expect("migrating");
/// assert_eq!((moved.owner.clone(), moved.epoch), (b, stable.epoch + 1));
/// assert!(SlotRecord::check_change(Some(&moving), &moved).is_ok());
/// assert!(SlotRecord::check_change(Some(&stable), &moved).is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SlotRecord {
    /// The node that alone may serve the slot.
    pub owner: NodeId,
    /// Raised by every change of owner, restart of the owner, and abort after a grant.
    pub epoch: u64,
    /// What the owner is doing with it.
    pub mode: Mode,
    /// Random number of the owner's process: a process started again is another incarnation.
    pub incarnation: u64,
}

/// A change of a record that the rules forbid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ForbiddenChange {
    /// The epoch would go down, or leap by more than one.
    Epoch,
    /// The owner or its incarnation would change without raising the epoch (M2).
    OwnerWithoutEpoch,
    /// Another node than the named target, or a target of a stable slot, would become the owner.
    ForeignOwner,
    /// A migration would begin on a slot that is being migrated, or with itself as the target.
    Target,
}

impl fmt::Display for ForbiddenChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Epoch => "the epoch must stay or rise by one",
            Self::OwnerWithoutEpoch => "owner or incarnation change only with the epoch",
            Self::ForeignOwner => "only the named target may take a slot from its owner",
            Self::Target => "a migration begins on a stable slot and goes to another node",
        })
    }
}

impl SlotRecord {
    /// The first record of a slot that had none.
    #[must_use]
    pub fn first(owner: NodeId, incarnation: u64) -> Self {
        Self { owner, epoch: 1, mode: Mode::Stable, incarnation }
    }

    /// Step 1 of a migration: the same owner and epoch, migrating to `to`.
    ///
    /// # Errors
    ///
    /// [`ForbiddenChange::Target`] if a migration is under way or `to` is the owner.
    pub fn migrating(&self, to: NodeId, id: MigrationId) -> Result<Self, ForbiddenChange> {
        if self.mode != Mode::Stable || to == self.owner {
            return Err(ForbiddenChange::Target);
        }
        Ok(Self { mode: Mode::Migrating { to, id }, ..self.clone() })
    }

    /// Abort before a grant: stable again in the same epoch.
    #[must_use]
    pub fn aborted(&self) -> Self {
        Self { mode: Mode::Stable, ..self.clone() }
    }

    /// The hand-over: the target owns the next epoch. `None` unless the slot is migrating.
    #[must_use]
    pub fn handed_over(&self, incarnation: u64) -> Option<Self> {
        let Mode::Migrating { to, .. } = &self.mode else { return None };
        Some(Self { owner: to.clone(), epoch: self.epoch + 1, mode: Mode::Stable, incarnation })
    }

    /// The owner's next epoch, stable: an abort after a grant (M4) and a restart (M5).
    #[must_use]
    pub fn restarted(&self, incarnation: u64) -> Self {
        Self { owner: self.owner.clone(), epoch: self.epoch + 1, mode: Mode::Stable, incarnation }
    }

    /// Whether the record names this migration, in this epoch, to this target.
    #[must_use]
    pub fn is_migrating(&self, id: MigrationId, to: &NodeId, epoch: u64) -> bool {
        self.epoch == epoch
            && matches!(&self.mode, Mode::Migrating { to: t, id: i } if *i == id && t == to)
    }

    /// Checks a change against M2, whoever asks for it.
    ///
    /// # Errors
    ///
    /// The rule that it breaks.
    pub fn check_change(old: Option<&Self>, new: &Self) -> Result<(), ForbiddenChange> {
        let Some(old) = old else {
            return if new.epoch == 1 { Ok(()) } else { Err(ForbiddenChange::Epoch) };
        };
        let raised = Some(new.epoch) == old.epoch.checked_add(1);
        if !raised && new.epoch != old.epoch {
            return Err(ForbiddenChange::Epoch);
        }
        let same_process = new.owner == old.owner && new.incarnation == old.incarnation;
        if !raised && !same_process {
            return Err(ForbiddenChange::OwnerWithoutEpoch);
        }
        if new.owner != old.owner
            && !matches!(&old.mode, Mode::Migrating { to, .. } if *to == new.owner)
        {
            return Err(ForbiddenChange::ForeignOwner);
        }
        match (&old.mode, &new.mode) {
            (_, Mode::Migrating { to, .. }) if *to == new.owner => Err(ForbiddenChange::Target),
            (Mode::Migrating { .. }, Mode::Migrating { .. }) if old != new => {
                Err(ForbiddenChange::Target)
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        put_text(out, self.owner.as_str());
        out.extend_from_slice(&self.epoch.to_le_bytes());
        out.extend_from_slice(&self.incarnation.to_le_bytes());
        match &self.mode {
            Mode::Stable => out.push(0),
            Mode::Migrating { to, id } => {
                out.push(1);
                put_text(out, to.as_str());
                out.extend_from_slice(&id.as_u64().to_le_bytes());
            }
        }
    }

    pub(crate) fn decode(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        let owner = decode_node(r, "owner")?;
        let epoch = r.u64()?;
        let incarnation = r.u64()?;
        let mode = match r.u8()? {
            0 => Mode::Stable,
            1 => {
                let to = decode_node(r, "target")?;
                Mode::Migrating { to, id: MigrationId::from_u64(r.u64()?) }
            }
            _ => return Err(Malformed::Value("mode")),
        };
        Ok(Self { owner, epoch, mode, incarnation })
    }
}

pub(crate) fn decode_node(r: &mut Reader<'_>, field: &'static str) -> Result<NodeId, Malformed> {
    NodeId::new(r.text(field)?).ok_or(Malformed::Value(field))
}

/// A node as the slot map knows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NodeInfo {
    /// Its name, which is its client address.
    pub id: NodeId,
    /// Where it listens for other nodes, `host:port`.
    pub bus: NodeId,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str) -> NodeId {
        NodeId::new(name).expect("a valid name")
    }

    #[test]
    fn changes_that_break_a_rule_are_refused() {
        let stable = SlotRecord::first(node("s"), 1);
        let moving = stable.migrating(node("t"), MigrationId::from_u64(5)).expect("stable");
        let check = |old: &SlotRecord, new: &SlotRecord| SlotRecord::check_change(Some(old), new);
        assert_eq!(check(&stable, &moving), Ok(()));
        assert_eq!(check(&moving, &moving.aborted()), Ok(()));
        assert_eq!(check(&moving, &moving.restarted(1)), Ok(()));
        assert_eq!(check(&moving, &moving.handed_over(9).expect("migrating")), Ok(()));

        let mut stolen = moving.handed_over(9).expect("migrating");
        stolen.epoch = moving.epoch;
        assert_eq!(check(&moving, &stolen), Err(ForbiddenChange::OwnerWithoutEpoch));
        let mut foreign = moving.restarted(9);
        foreign.owner = node("u");
        assert_eq!(check(&moving, &foreign), Err(ForbiddenChange::ForeignOwner));
        let mut leap = moving.restarted(9);
        leap.epoch += 1;
        assert_eq!(check(&moving, &leap), Err(ForbiddenChange::Epoch));
        let mut reborn = stable.clone();
        reborn.incarnation = 2;
        assert_eq!(check(&stable, &reborn), Err(ForbiddenChange::OwnerWithoutEpoch));
        assert_eq!(
            moving.migrating(node("u"), MigrationId::random()),
            Err(ForbiddenChange::Target)
        );
        assert_eq!(
            stable.migrating(node("s"), MigrationId::random()),
            Err(ForbiddenChange::Target)
        );
    }

    #[test]
    fn encoding_returns_what_went_in() {
        let stable = SlotRecord::first(node("host:1"), u64::MAX);
        let moving = stable.migrating(node("host:2"), MigrationId::random()).expect("stable");
        for record in [stable, moving] {
            let mut bytes = Vec::new();
            record.encode(&mut bytes);
            let mut r = Reader::new(&bytes);
            assert_eq!(SlotRecord::decode(&mut r), Ok(record));
            assert_eq!(r.finish(), Ok(()));
            for cut in 0..bytes.len() {
                assert!(SlotRecord::decode(&mut Reader::new(&bytes[..cut])).is_err());
            }
        }
    }
}
