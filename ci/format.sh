#!/usr/bin/env bash
# The format's specification is enough to read a backup and a journal: docs/read_backup.py and
# docs/read_journal.py, which know docs/format.md and nothing else of this project, read the golden files as
# `restore` and replay do, and refuse them damaged. The seeds of fuzz/corpus are these files.
#
#   ci/format.sh [BACKUP..]   default: the golden ones, an incremental one among them, and the golden journal
#
# Makes a Python environment of its own below the target directory, with the packages pinned here.
set -euo pipefail
cd "$(dirname "$0")/.."
target="${CARGO_TARGET_DIR:-$PWD/target}"
venv="$target/format-venv"
packages=(lz4==4.4.4 xxhash==3.5.0)
backups=("$@") journals=()
if [ ${#backups[@]} -eq 0 ]; then
    backups=(backup/tests/golden/v1 backup/tests/golden/v1-chain/*/)
    journals=(journal/tests/golden/v1)
fi

source ci/need.sh
need_venv "$venv" lz4.block,xxhash "${packages[@]}"

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
cargo build --quiet -p whimbrel-recovery --example entries
for backup in "${backups[@]}"; do
    "$target/debug/examples/entries" "$backup" >"$work/restored"
    "$target/debug/examples/entries" --mapped "$backup" >"$work/mapped"
    "$venv/bin/python" docs/read_backup.py "$backup" >"$work/read"
    diff -u "$work/restored" "$work/read"
    diff -u "$work/restored" "$work/mapped"
    [ -s "$work/read" ] || { echo "format: $backup has no entries: nothing was compared" >&2; exit 1; }
    echo "format: $backup: $(wc -l <"$work/read") entries read alike"
done
"$venv/bin/python" ci/format_damage.py "${backups[@]}"

if [ ${#journals[@]} -gt 0 ]; then
    cargo build --quiet -p whimbrel-journal --example records
    "$venv/bin/python" ci/format_journal.py "$target/debug/examples/records" "${journals[@]}"
    "$venv/bin/python" ci/fuzz_seeds.py --check
fi
