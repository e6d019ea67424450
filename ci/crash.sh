#!/usr/bin/env bash
# What a disk may hold after a crash at any operation of a backup: images drawn from a seed, each of them a whole
# backup or none (backup/tests/images.rs).
#
#   ci/crash.sh [IMAGES] [SEED]    default: 50000 images, seed 1
set -euo pipefail
cd "$(dirname "$0")/.."
export WHIMBREL_IMAGES="${1:-50000}" WHIMBREL_SEED="${2:-1}"
exec cargo test --release --quiet -p whimbrel-backup --test images -- --nocapture
