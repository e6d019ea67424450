#!/usr/bin/env bash
# Runs the block list under shuttle: eight threads under chosen schedules, and a thread that is
# stopped at every step of every operation.
#
#   ci/shuttle.sh [SCHEDULES]             so many schedules a configuration (default 50000)
#   ci/shuttle.sh --mutants [SCHEDULES]   plants each defect and says which are found, after how many
#                                         schedules a configuration at most (default 2000)
#
# Environment: SCHEDULE_SECONDS (default 115) ends a configuration that takes longer, and its line says
# how many schedules that were; STOP_SEEDS (default 8) is how often each step is tried; JOBS (default:
# processors) tests run side by side; MUTANTS names the defects to plant (default: all);
# SHUTTLE_RANDOM_SEED replaces the seeds.
# Fails when a test fails, or when there is nothing to run; with --mutants, when a defect is not found
# that is listed here as one that shuttle finds.
set -euo pipefail
cd "$(dirname "$0")/.."

# The names in `mutants! { .. }`.
list_mutants() {
    sed -n '/^mutants! {/,/^}/s/^    \([A-Z][A-Za-z]*\),$/\1/p' skiplist/src/mutant.rs
}

mutants=no
if [ "${1:-}" = "--mutants" ]; then mutants=yes; shift; fi
if [ "$mutants" = yes ]; then SCHEDULES="${1:-2000}"; else SCHEDULES="${1:-50000}"; fi
case "$SCHEDULES" in '' | *[!0-9]*) echo "shuttle: not a number of schedules: $SCHEDULES" >&2; exit 2 ;; esac
export SCHEDULES
export SCHEDULE_SECONDS="${SCHEDULE_SECONDS:-115}"
export RUST_BACKTRACE=0

export CARGO_TARGET_DIR="${SHUTTLE_TARGET_DIR:-${CARGO_TARGET_DIR:-$PWD/target}-shuttle}"
export RUSTFLAGS="--cfg whimbrel_shuttle -C debug-assertions=on"
jobs="${JOBS:-$(nproc)}"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

cargo test --release -p whimbrel-shuttle-tests --no-run --message-format=json >"$work/build.json"
for file in list stops; do
    binary="$(sed -n 's/.*"kind":\["test"\].*"name":"'"$file"'".*"executable":"\([^"]*\)".*/\1/p' \
        "$work/build.json" | tail -1)"
    [ -x "$binary" ] || { echo "shuttle: no executable for $file" >&2; exit 1; }
    "$binary" --list | sed -n "s|^\(.*\): test\$|$file $binary \1|p" >>"$work/tests"
done
[ "$(wc -l <"$work/tests")" -gt 4 ] || { echo "shuttle: no tests found" >&2; exit 1; }

if [ "$mutants" = no ]; then
    export STOP_SEEDS="${STOP_SEEDS:-8}"
    cat >"$work/run" <<'RUN'
#!/usr/bin/env bash
work="$1" file="$2" binary="$3" test="$4"
log="$work/log.$file.$test"
if "$binary" --exact "$test" --nocapture >"$log" 2>&1 && grep -q "1 passed" "$log"; then
    echo "$file::$test ok"
    grep -E "^[a-z_0-9]+ schedules=|stopped at [0-9]+ points|^stops=" "$log" | sed 's/^/    /'
else
    echo "$file::$test FAILED"
    echo "$file.$test" >>"$work/failed"
fi
RUN
    chmod +x "$work/run"
    xargs -P "$jobs" -L 1 "$work/run" "$work" <"$work/tests"
    if [ -e "$work/failed" ]; then
        while read -r name; do
            echo "--- $name"
            cut -c1-300 "$work/log.$name" | tail -40
        done <"$work/failed"
        echo "shuttle: $(wc -l <"$work/failed") tests failed" >&2
        exit 1
    fi
    echo "shuttle: $(wc -l <"$work/tests") tests, no failure"
    exit 0
fi

# Defects of orderings: shuttle runs threads one at a time and cannot see them.
orderings="$(list_mutants | grep -E '^Relaxed|Relaxed$|NoFence$')"
# Defects in the steps that these tests have not found; docs/verification.md says why.
missed=""
export STOP_SEEDS=1
cat >"$work/plant" <<'RUN'
#!/usr/bin/env bash
# Plants one defect in one configuration after the other; the first that fails has found it.
work="$1" mutant="$2"
export WHIMBREL_MUTANT="$mutant"
while read -r file binary test; do
    case "$test" in a_*) continue ;; esac
    log="$work/log.$mutant.$test"
    status=0
    timeout 300 "$binary" --exact "$test" --nocapture >"$log" 2>&1 || status=$?
    grep -q "there is no mutant called" "$log" && exit 255
    if [ "$status" -ne 0 ]; then
        count="$(sed -n 's/^.* schedules=\([0-9]*\) .*/\1/p' "$log" | tail -1)"
        if [ "$file" = stops ]; then
            count="$(grep -c 'stopped at [0-9]* points' "$log") operations passed before"
        fi
        reason="$(grep -A1 "panicked at" "$log" | sed -n 2p | cut -c1-60)"
        [ "$status" -eq 124 ] && reason="does not end"
        [ "$status" -gt 128 ] && reason="signal $((status - 128))"
        printf '%-26s %-8s %-24s %s\n' "$mutant" "$test" "${count:-?}" "$reason" | tee "$work/found.$mutant"
        exit 0
    fi
done <"$work/tests"
printf '%-26s %s\n' "$mutant" "not found"
RUN
chmod +x "$work/plant"
names="${MUTANTS:-$(list_mutants)}"
for mutant in $names; do
    grep -qx "$mutant" <<<"$orderings" || echo "$mutant"
done >"$work/mutants"
[ -s "$work/mutants" ] || { echo "shuttle: no mutants found" >&2; exit 1; }
printf '%-26s %-8s %-24s %s\n' mutant test "schedules to the find" "what it said"
xargs -P "$jobs" -L 1 "$work/plant" "$work" <"$work/mutants"
lost=0
while read -r mutant; do
    if [ ! -e "$work/found.$mutant" ] && [[ " $missed " != *" $mutant "* ]]; then
        echo "shuttle: $mutant is not found" >&2
        lost=$((lost + 1))
    fi
done <"$work/mutants"
found="$(find "$work" -name 'found.*' | wc -l)"
echo "shuttle: $found of $(wc -l <"$work/mutants") defects in the steps found, orderings not tried"
[ "$lost" -eq 0 ] || exit 1
