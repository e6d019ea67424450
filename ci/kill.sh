#!/usr/bin/env bash
# Kills a node with a journal (`serve --journal`) at random moments under load, starts it again, and looks
# that every acknowledged write is there and no batch is half there.
#
#   ci/kill.sh [ROUNDS] [SEED]     default 1000 rounds from seed 0; ends with a line of figures
#
# The directory is kept from round to round: journals are replayed, cut and replayed again.
# Environment: TMPDIR says on which disk.
set -euo pipefail
cd "$(dirname "$0")/.."
export WHIMBREL_KILL_ROUNDS="${1:-1000}" WHIMBREL_KILL_SEED="${2:-0}"
cargo test --release -p whimbrel-node --test process -- --exact --nocapture \
    journal::a_killed_node_has_every_acknowledged_write_when_it_comes_back
