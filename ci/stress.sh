#!/usr/bin/env bash
# Runs the stress tests of the list with random delays at its atomic accesses, so that threads overlap
# on few processors.
#
#   ci/stress.sh [SECONDS]             so many seconds a test (default 20)
#   ci/stress.sh --mutants [SECONDS]   plants each defect, and says which test finds it (default 3)
#
# Environment: STRESS_ASAN=yes adds AddressSanitizer (needs a nightly toolchain), which sees uses of
# reclaimed memory that nothing else would notice; MUTANTS names the defects to plant (default: all).
# With --mutants nothing fails: real threads find what they meet.
set -euo pipefail
cd "$(dirname "$0")/.."

# The names in `mutants! { .. }`.
list_mutants() {
    sed -n '/^mutants! {/,/^}/s/^    \([A-Z][A-Za-z]*\),$/\1/p' skiplist/src/mutant.rs
}

mutants=no
if [ "${1:-}" = "--mutants" ]; then mutants=yes; shift; fi
if [ "$mutants" = yes ]; then STRESS_SECONDS="${1:-3}"; else STRESS_SECONDS="${1:-20}"; fi
export STRESS_SECONDS
export RUST_BACKTRACE=0
export CARGO_TARGET_DIR="${STRESS_TARGET_DIR:-${CARGO_TARGET_DIR:-$PWD/target}-stress}"
export RUSTFLAGS="--cfg whimbrel_delay -C debug-assertions=on"
cargo=(cargo test)
if [ "${STRESS_ASAN:-no}" = yes ]; then
    RUSTFLAGS="$RUSTFLAGS -Zsanitizer=address"
    export ASAN_OPTIONS="detect_stack_use_after_return=1:detect_leaks=1:halt_on_error=1"
    cargo=(cargo +nightly test --target x86_64-unknown-linux-gnu)
fi
build="$(mktemp)"
trap 'rm -rf "$build" "$build".*' EXIT

"${cargo[@]}" --release -p whimbrel-skiplist --test stress --no-run --message-format=json >"$build"
binary="$(sed -n 's/.*"kind":\["test"\].*"name":"stress".*"executable":"\([^"]*\)".*/\1/p' "$build" | tail -1)"
[ -x "$binary" ] || { echo "stress: no executable" >&2; exit 1; }

if [ "$mutants" = no ]; then
    "$binary" --nocapture --test-threads 1
    exit 0
fi
found=0
tried=0
for mutant in ${MUTANTS:-$(list_mutants)}; do
    tried=$((tried + 1))
    result="not found"
    for test in one_hot_block few_keys ranges_go_while_others_insert_at_the_edges; do
        status=0
        WHIMBREL_MUTANT="$mutant" timeout $((${STRESS_SECONDS%.*} * 5 + 20)) \
            "$binary" --exact "$test" >"$build.log" 2>&1 || status=$?
        grep -q "there is no mutant called" "$build.log" && { cat "$build.log"; exit 1; }
        [ "$status" -eq 0 ] && continue
        reason="$(grep -A1 -E "panicked at" "$build.log" | sed -n 2p | cut -c1-60)"
        grep -q "AddressSanitizer: " "$build.log" &&
            reason="$(sed -n 's/.*\(AddressSanitizer: [a-z-]*\).*/\1/p' "$build.log" | head -1)"
        [ "$status" -eq 124 ] && reason="does not end"
        [ "$status" -gt 128 ] && reason="signal $((status - 128))"
        result="$test: $reason"
        found=$((found + 1))
        break
    done
    printf '%-26s %s\n' "$mutant" "$result"
done
echo "stress: $found of $tried defects found"
