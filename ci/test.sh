#!/usr/bin/env bash
# All tests of a change: unit, integration, property and doc tests, examples, the fast set of loom
# models, and a short set of schedules. Installs what it needs where it may, names it where it may not.
set -euo pipefail
cd "$(dirname "$0")/.."

source ci/need.sh
# The tests talk to the node with Debian's own client.
need redis-cli redis-tools

echo "== unit, integration and property tests"
cargo test --workspace --all-targets --exclude whimbrel-benches --exclude whimbrel-compare

echo "== list and store once more, searching in plain code"
RUSTFLAGS="--cfg whimbrel_portable" CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}-portable" \
    cargo test -p whimbrel-skiplist -p whimbrel-mvcc --lib --tests

echo "== the comparison with peers, without the heavy ones"
cargo test -p whimbrel-compare --no-default-features --all-targets

echo "== doc tests"
cargo test --workspace --doc --exclude whimbrel-compare

echo "== examples"
for example in mvcc/examples/*.rs recovery/examples/*.rs index/examples/*.rs; do
    name=$(basename "$example" .rs) crate=${example%%/*}
    echo "-- $crate: $name"
    args=()
    # It wants a backup, and gets one from the second reader below.
    [ "$name" = entries ] && continue
    # What measures is given little to measure.
    if [ "$name" = compact ]; then args=(20000 range); fi
    (cd "$crate" && cargo run --quiet --example "$name" -- "${args[@]}") >/dev/null
done

echo "== the format's second reader"
./ci/format.sh

echo "== backups in an object store, against a server"
./ci/s3.sh

echo "== loom models, fast set"
./ci/loom.sh

echo "== shuttle, short set"
SCHEDULE_SECONDS=20 STOP_SEEDS=2 ./ci/shuttle.sh 2000
