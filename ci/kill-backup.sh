#!/usr/bin/env bash
# kill -9 at random moments of backups and restores: always the old complete state or the new one
# (node/tests/process/kill_backup.rs).
#
#   ci/kill-backup.sh [KILLS] [SEED]    default: 1000 kills, seed 1
set -euo pipefail
cd "$(dirname "$0")/.."
export WHIMBREL_KILLS="${1:-1000}" WHIMBREL_SEED="${2:-1}"
exec cargo test --release --quiet -p whimbrel-node --test process -- --nocapture kill_backup::
