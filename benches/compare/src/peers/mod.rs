//! The table of peers, one file each.

mod btreemap;
mod crossbeam;
mod imbl_arcswap;
mod list;
#[cfg(feature = "lmdb")]
mod lmdb;
#[cfg(feature = "rocksdb")]
mod rocksdb;
mod rwlock_btreemap;
mod scc;
#[cfg(feature = "surrealmx")]
mod surrealmx;
mod towers;
mod whimbrel;
mod whimbrel_list;

use crate::peer::{Facts, Make};
use crate::workload::Workload::{self, BulkBuild, GetMany, GetSnapshot, Mix};

const NO_SNAPSHOTS: &[Workload] = &[GetMany, GetSnapshot, Mix];
const NOR_BULK: &[Workload] = &[GetMany, GetSnapshot, Mix, BulkBuild];

#[cfg(feature = "lmdb")]
const LMDB: Option<Make> = Some(lmdb::make);
#[cfg(not(feature = "lmdb"))]
const LMDB: Option<Make> = None;
#[cfg(feature = "rocksdb")]
const ROCKSDB: Option<Make> = Some(rocksdb::make);
#[cfg(not(feature = "rocksdb"))]
const ROCKSDB: Option<Make> = None;
#[cfg(feature = "surrealmx")]
const SURREALMX: Option<Make> = Some(surrealmx::make);
#[cfg(not(feature = "surrealmx"))]
const SURREALMX: Option<Make> = None;

/// All peers, ours first.
pub const PEERS: [Facts; 11] = [
    Facts {
        name: "whimbrel",
        about: "ours: the store with versions and snapshots",
        threads: 2,
        lacks: &[],
        make: Some(whimbrel::make),
    },
    Facts {
        name: "whimbrel-list",
        about: "ours: the list in blocks that the store is made of",
        threads: 2,
        lacks: &[GetSnapshot, Mix],
        make: Some(whimbrel_list::make),
    },
    Facts {
        name: "towers",
        about: "ours before: a list of towers, the classic skiplist",
        threads: 2,
        lacks: NO_SNAPSHOTS,
        make: Some(towers::make),
    },
    Facts {
        name: "crossbeam-skiplist",
        about: "lock-free skiplist",
        threads: 2,
        lacks: NOR_BULK,
        make: Some(crossbeam::make),
    },
    Facts {
        name: "scc-treeindex",
        about: "concurrent B+-tree for reading",
        threads: 2,
        lacks: NOR_BULK,
        make: Some(scc::make),
    },
    Facts {
        name: "std-btreemap",
        about: "the standard library's B-tree; no concurrency",
        threads: 1,
        lacks: NO_SNAPSHOTS,
        make: Some(btreemap::make),
    },
    Facts {
        name: "rwlock-btreemap",
        about: "the same behind one RwLock",
        threads: 2,
        lacks: NO_SNAPSHOTS,
        make: Some(rwlock_btreemap::make),
    },
    Facts {
        name: "imbl-arcswap",
        about: "copy-on-write B+-tree in an ArcSwap",
        threads: 2,
        lacks: &[GetMany],
        make: Some(imbl_arcswap::make),
    },
    Facts {
        name: "surrealmx",
        about: "multi-version store with transactions",
        threads: 2,
        lacks: &[BulkBuild],
        make: SURREALMX,
    },
    Facts {
        name: "lmdb",
        about: "LMDB through heed, on a file system in memory, without syncing",
        threads: 2,
        lacks: &[GetMany],
        make: LMDB,
    },
    Facts {
        name: "rocksdb-memtable",
        about: "RocksDB without its log, all in one memtable",
        threads: 2,
        lacks: &[BulkBuild],
        make: ROCKSDB,
    },
];

/// The peer of a name.
#[must_use]
pub fn find(name: &str) -> Option<Facts> {
    PEERS.into_iter().find(|peer| peer.name == name)
}
