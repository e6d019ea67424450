//! Goal: the workspace keeps the shape that ARCHITECTURE.md describes.
//!
//! Method: `cargo metadata` gives the packages and the resolved graph; every edge between our own
//! crates must be allowed, the graph must have no cycle, tokio must appear only where it may, and
//! every crate without a reason for unsafe code must forbid it.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package, TargetKind};

/// Who may depend on whom in shipped code.
const ALLOWED: &[(&str, &[&str])] = &[
    ("whimbrel-skiplist", &[]),
    ("whimbrel-mvcc", &["whimbrel-skiplist"]),
    ("whimbrel-backup", &["whimbrel-mvcc"]),
    ("whimbrel-recovery", &["whimbrel-backup", "whimbrel-mvcc", "whimbrel-skiplist"]),
    ("whimbrel-journal", &["whimbrel-backup"]),
    ("whimbrel", &["whimbrel-recovery", "whimbrel-backup", "whimbrel-mvcc"]),
    ("whimbrel-migrate", &["whimbrel-mvcc", "whimbrel-backup", "whimbrel-recovery"]),
    (
        "whimbrel-node",
        &[
            "whimbrel",
            "whimbrel-migrate",
            "whimbrel-backup",
            "whimbrel-recovery",
            "whimbrel-journal",
            // Edges of index and migrate that reach the same crates; the node names the types.
            "whimbrel-mvcc",
        ],
    ),
    (
        "whimbrel-loom-tests",
        &[
            "whimbrel-skiplist",
            "whimbrel-mvcc",
            "whimbrel-backup",
            "whimbrel-journal",
            "whimbrel-migrate",
        ],
    ),
    ("whimbrel-shuttle-tests", &["whimbrel-skiplist"]),
    ("whimbrel-history", &["whimbrel-skiplist", "whimbrel-mvcc"]),
];

/// Who may name tokio; loom-tests reach it through migrate only.
const MAY_USE_TOKIO: &[&str] = &["whimbrel-migrate", "whimbrel-node"];

/// Who has a reason for unsafe code. The soak of `whimbrel-history` counts what is allocated.
const MAY_USE_UNSAFE: &[&str] =
    &["whimbrel-skiplist", "whimbrel-mvcc", "whimbrel-recovery", "whimbrel-history"];

/// Crates that nothing is built on: they may use whatever they measure.
const LEAVES: &[&str] = &["whimbrel-benches", "whimbrel-compare"];

fn metadata() -> Metadata {
    MetadataCommand::new()
        .manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"))
        .exec()
        .expect("cargo metadata runs")
}

fn is_ours(name: &str) -> bool {
    name == "whimbrel" || name.starts_with("whimbrel-")
}

/// Names of the packages that `package` needs to be built, tests left out.
fn shipped_dependencies(package: &Package) -> BTreeSet<&str> {
    let shipped =
        |kind: &DependencyKind| matches!(kind, DependencyKind::Normal | DependencyKind::Build);
    let needed = package.dependencies.iter().filter(|needed| shipped(&needed.kind));
    needed.map(|needed| needed.name.as_str()).collect()
}

#[test]
fn dependencies_point_only_where_they_may() {
    let metadata = metadata();
    let allowed: BTreeMap<_, BTreeSet<_>> =
        ALLOWED.iter().map(|(name, to)| (*name, to.iter().copied().collect())).collect();
    let mut seen = BTreeSet::new();
    for package in metadata.workspace_packages() {
        let name = package.name.as_str();
        assert!(is_ours(name), "a package of this workspace is called {name}");
        seen.insert(name);
        let ours: BTreeSet<_> =
            shipped_dependencies(package).into_iter().filter(|name| is_ours(name)).collect();
        if LEAVES.contains(&name) {
            continue;
        }
        let may = allowed.get(name).unwrap_or_else(|| {
            panic!("{name} is new: say in this test which of our crates it may depend on")
        });
        let wrong: Vec<_> = ours.difference(may).collect();
        assert!(wrong.is_empty(), "{name} depends on {wrong:?}, it may only on {may:?}");
    }
    for name in allowed.keys() {
        assert!(seen.contains(name), "{name} has left the workspace; its row here is stale");
    }
}

#[test]
fn nothing_depends_on_itself_in_the_end() {
    let metadata = metadata();
    let packages = metadata.workspace_packages();
    let mut left: BTreeMap<&str, BTreeSet<&str>> = packages
        .iter()
        .map(|package| {
            let needed = shipped_dependencies(package).into_iter().filter(|name| is_ours(name));
            (package.name.as_str(), needed.collect())
        })
        .collect();
    // Take away whatever needs nothing that is left; a rest is a cycle.
    while !left.is_empty() {
        let free: Vec<&str> = left
            .iter()
            .filter(|(_, needed)| needed.iter().all(|name| !left.contains_key(name)))
            .map(|(name, _)| *name)
            .collect();
        assert!(!free.is_empty(), "a cycle among {:?}", left.keys());
        left.retain(|name, _| !free.contains(name));
    }
}

#[test]
fn only_migrate_and_node_depend_on_tokio() {
    for package in metadata().workspace_packages() {
        let name = package.name.as_str();
        if MAY_USE_TOKIO.contains(&name) || LEAVES.contains(&name) {
            continue;
        }
        let every = package.dependencies.iter().filter(|needed| !needed.optional);
        let wrong: Vec<_> =
            every.map(|needed| &needed.name).filter(|name| name.starts_with("tokio")).collect();
        assert!(wrong.is_empty(), "{name} depends on {wrong:?}");
    }
}

#[test]
fn the_embedded_engine_has_no_tokio_anywhere_in_its_tree() {
    let metadata = metadata();
    let resolve = metadata.resolve.as_ref().expect("the graph is resolved");
    let nodes: BTreeMap<_, _> = resolve.nodes.iter().map(|node| (&node.id, node)).collect();
    let engine = metadata
        .workspace_packages()
        .into_iter()
        .find(|package| package.name.as_str() == "whimbrel")
        .expect("the engine is a member");
    let mut open = vec![&engine.id];
    let mut seen = BTreeSet::from([&engine.id]);
    while let Some(id) = open.pop() {
        for needed in &nodes[id].deps {
            let shipped =
                needed.dep_kinds.iter().any(|kind| kind.kind != DependencyKind::Development);
            if shipped && seen.insert(&needed.pkg) {
                open.push(&needed.pkg);
            }
        }
    }
    assert!(seen.len() > 5, "the walk found next to nothing: {seen:?}");
    let tokio: Vec<_> = seen.iter().filter(|id| metadata[**id].name.starts_with("tokio")).collect();
    assert!(tokio.is_empty(), "whimbrel reaches {tokio:?}");
}

#[test]
fn unsafe_code_is_forbidden_where_it_has_no_reason() {
    for package in metadata().workspace_packages() {
        let name = package.name.as_str();
        // The models call unsafe functions of the types that they explore.
        let models = name == "whimbrel-loom-tests";
        if MAY_USE_UNSAFE.contains(&name) || LEAVES.contains(&name) || models {
            continue;
        }
        let shipped = |kind: &TargetKind| matches!(kind, TargetKind::Lib | TargetKind::Bin);
        for target in package.targets.iter().filter(|target| target.kind.iter().any(shipped)) {
            let source = std::fs::read_to_string(&target.src_path).expect("the root is there");
            assert!(
                source.contains("#![forbid(unsafe_code)]"),
                "{} has no #![forbid(unsafe_code)]",
                target.src_path
            );
        }
    }
}
