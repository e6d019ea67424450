#!/usr/bin/env bash
# Mixed load on two stores, and at the end the proof that nothing is left of it: no version, no record,
# retired equals reclaimed, memory back to where it was. Histories of other threads on the same stores are
# checked all the while (history/src/bin/soak/).
#
#   ci/soak.sh [MINUTES] [SEED]    default: 1 minute; a release is soaked for 120
#
# A line every 10 seconds, a summary at the end; fails when something is wrong. Bytes in use are counted
# exactly, which builds with debug assertions do.
set -euo pipefail
cd "$(dirname "$0")/.."
export CARGO_TARGET_DIR="${SOAK_TARGET_DIR:-${CARGO_TARGET_DIR:-$PWD/target}-soak}"
# One arena that gives memory back, for what does not come from the stores' own allocator: what glibc
# would keep otherwise, up to 80 MiB in a minute, says nothing about the stores.
export MALLOC_ARENA_MAX=1 MALLOC_MMAP_THRESHOLD_=65536 MALLOC_TRIM_THRESHOLD_=65536
export RUSTFLAGS="-C debug-assertions=on ${SOAK_RUSTFLAGS:-}"
exec cargo run --release --quiet -p whimbrel-history --bin soak -- "$@"
