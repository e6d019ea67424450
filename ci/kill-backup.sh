#!/usr/bin/env bash
# kill -9 at random moments of backups and restores, of incremental backups, of prunes, and of ingests: always
# the old complete state or the new one (node/tests/process/kill_backup.rs, kill_chain.rs, ingest.rs).
#
#   ci/kill-backup.sh [KILLS] [SEED]    default: 1000 kills of each of the four, seed 1
set -euo pipefail
cd "$(dirname "$0")/.."
export WHIMBREL_KILLS="${1:-1000}" WHIMBREL_SEED="${2:-1}"
# One after the other: a moment is a part of the time that the command takes alone.
exec cargo test --release --quiet -p whimbrel-node --test process -- --nocapture --test-threads 1 \
    kill_backup:: kill_chain:: ingest::killed
