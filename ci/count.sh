#!/usr/bin/env bash
# Counts instructions and cache misses an operation, ours beside peers: the same work as in
# benches/compare, under callgrind, which simulates the caches. Counts do not depend on what else runs.
#
#   ci/count.sh [ENTRIES [KEYS [PEER..]]]   default: 300000 random16 whimbrel std-btreemap crossbeam-skiplist
#
# A last-level cache of 1 MiB is to 300,000 entries (17 MB) what one of 32 MiB is to 10 million (560 MB).
# Prefetching counts as nothing and a line that was prefetched as a miss, so what is counted is how many
# lines an operation needs from memory, not for how many of them it waits.
set -euo pipefail
cd "$(dirname "$0")/.."

entries="${1:-300000}" keys="${2:-random16}"
peers=("${@:3}")
[ ${#peers[@]} -gt 0 ] || peers=(whimbrel std-btreemap crossbeam-skiplist)

if ! command -v valgrind >/dev/null; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq valgrind >/dev/null
    else
        echo "count: install valgrind first" >&2
        exit 1
    fi
fi
cargo build --quiet --release -p whimbrel-compare --no-default-features
program="${CARGO_TARGET_DIR:-target}/release/whimbrel-compare"
work="$(mktemp -d)" work_name=whimbrel_compare::child::measured_work
trap 'rm -rf "$work"' EXIT

# count PEER SET OPS WORKLOAD..: a line for each workload, in the order in which the child measures them.
count() {
    local peer="$1" set="$2" workloads part=0 name
    shift 2
    workloads="$(IFS=,; echo "$*")"
    rm -f "$work"/out*
    valgrind --tool=callgrind --cache-sim=yes --D1=32768,8,64 --I1=32768,8,64 --LL=1048576,16,64 \
        --collect-atstart=no --toggle-collect="$work_name" --dump-after="$work_name" \
        --callgrind-out-file="$work/out" \
        "$program" child --peer "$peer" --set "$set" --workloads "$workloads" --keys "$keys" \
        --entries "$entries" --threads 1 --seed 42 --scratch "$work" >"$work/log" 2>&1 ||
        { cat "$work/log" >&2; exit 1; }
    for name in "$@"; do
        part=$((part + 1))
        awk -v peer="$peer" -v name="$name" -v entries="$entries" '
            BEGIN { ops = name == "range10" ? int(entries / 8) : entries }
            /^events:/ { for (i = 2; i <= NF; i++) at[$i] = i }
            /^totals:|^summary:/ {
                printf "| %-18s | %-10s | %12.0f | %9.1f | %11.2f |\n", peer, name, $at["Ir"] / ops,
                    ($at["D1mr"] + $at["D1mw"]) / ops, ($at["DLmr"] + $at["DLmw"]) / ops
                exit
            }' "$work/out.$part"
    done
}

echo "$entries entries, $keys keys, one thread"
echo
echo "| peer               | workload   | instructions | L1 misses | lines       |"
echo "|--------------------|------------|--------------|-----------|-------------|"
for peer in "${peers[@]}"; do
    fresh=(insert get)
    [[ "$peer" == whimbrel* || "$peer" == towers ]] && fresh+=(get_many)
    count "$peer" fresh "${fresh[@]}" scan range10
    [[ "$peer" == crossbeam-skiplist ]] || count "$peer" bulk bulk_build scan_bulk
done
