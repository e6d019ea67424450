#!/usr/bin/env bash
# Runs the stress tests of the list, and checks histories of real threads on stores, with random delays at
# all atomic accesses, so that threads overlap on few processors.
#
#   ci/stress.sh [SECONDS]             so many seconds a test of the list (default 20)
#   ci/stress.sh --mutants [SECONDS]   plants each defect, and says which test finds it (default 3)
#
# Environment: HISTORY_OPS sets the operations of each history (default 1,000,000; with --mutants
# 100,000); STRESS_ONLY=list or versions leaves out the other; STRESS_ASAN=yes adds AddressSanitizer (needs a nightly toolchain), which sees uses of
# reclaimed memory that nothing else would notice; MUTANTS names the defects to plant (default: all).
# With --mutants nothing fails: real threads find what they meet.
set -euo pipefail
cd "$(dirname "$0")/.."

# The names in `mutants! { .. }` of a crate.
list_mutants() {
    sed -n '/^mutants! {/,/^}/s/^    \([A-Z][A-Za-z]*\),$/\1/p' "$1/src/mutant.rs"
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

# build PACKAGE TEST: prints the executable.
build() {
    local binary
    "${cargo[@]}" --release -p "$1" --test "$2" --no-run --message-format=json >"$build"
    binary="$(sed -n 's/.*"kind":\["test"\].*"name":"'"$2"'".*"executable":"\([^"]*\)".*/\1/p' "$build" | tail -1)"
    [ -x "$binary" ] || { echo "stress: no executable of $2" >&2; return 1; }
    echo "$binary"
}

# try MUTANT SECONDS BINARY TEST..: says which test finds the defect, each within so many seconds.
try() {
    local mutant="$1" limit="$2" binary="$3" test status reason result="not found"
    shift 3
    tried=$((tried + 1))
    for test in "$@"; do
        status=0
        WHIMBREL_MUTANT="$mutant" timeout "$limit" \
            "$binary" --exact "$test" >"$build.log" 2>&1 || status=$?
        [ "$status" -eq 0 ] && continue
        reason="$(grep -A1 -E "panicked at" "$build.log" | sed -n 2p | cut -c1-80)" || true
        if grep -q "AddressSanitizer: " "$build.log"; then
            reason="$(sed -n 's/.*\(AddressSanitizer: [a-z-]*\).*/\1/p' "$build.log" | sed -n 1p)"
        fi
        [ "$status" -eq 124 ] && reason="does not end"
        [ "$status" -gt 128 ] && reason="signal $((status - 128))"
        result="$test: $reason"
        found=$((found + 1))
        break
    done
    printf '%-26s %s\n' "$mutant" "$result"
}

list="" versions=""
case "${STRESS_ONLY:-both}" in
    list) list="$(build whimbrel-skiplist stress)" ;;
    versions) versions="$(build whimbrel-mvcc histories)" ;;
    both) list="$(build whimbrel-skiplist stress)"; versions="$(build whimbrel-mvcc histories)" ;;
    *) echo "stress: STRESS_ONLY is list or versions" >&2; exit 1 ;;
esac

if [ "$mutants" = no ]; then
    export WHIMBREL_HISTORY_OPS="${HISTORY_OPS:-1000000}"
    [ -z "$list" ] || "$list" --nocapture --test-threads 1
    [ -z "$versions" ] || "$versions" --nocapture --test-threads 1
    exit 0
fi
export WHIMBREL_HISTORY_OPS="${HISTORY_OPS:-100000}"
found=0
tried=0
of_list="$(list_mutants skiplist)" of_versions="$(list_mutants mvcc)"
for mutant in ${MUTANTS:-$of_list $of_versions}; do
    if grep -qx "$mutant" <<<"$of_list"; then
        [ -z "$list" ] || try "$mutant" $((${STRESS_SECONDS%.*} * 5 + 20)) "$list" \
            one_hot_block few_keys ranges_go_while_others_insert_at_the_edges
    elif grep -qx "$mutant" <<<"$of_versions"; then
        [ -z "$versions" ] || try "$mutant" 600 "$versions" few_keys many_keys keys_of_two_stores
    else
        echo "stress: there is no mutant called $mutant" >&2
        exit 1
    fi
done
echo "stress: $found of $tried defects found"
