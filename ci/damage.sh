#!/usr/bin/env bash
# Random damage of many bytes on backups of several kinds: refused by verify, restore and views, naming file,
# part and cause; no panic; memory within the bound of docs/format.md. Then the same with right checksums. And
# both on a journal of several segments, where a torn end is cut off.
#
#   ci/damage.sh [DAMAGES]   of each of the two sorts, default 100,000; each is given to all three readers of
#                            backups, and as many to the one of journals
set -euo pipefail
cd "$(dirname "$0")/.."
export WHIMBREL_DAMAGES="${1:-100000}"
cargo test --release -p whimbrel-recovery --test corruptions
cargo test --release -p whimbrel-journal --test corruptions -- --nocapture
echo "damage: $WHIMBREL_DAMAGES accidents refused by three readers, $WHIMBREL_DAMAGES forgeries survived by them"
echo "damage: the same numbers of journals"
