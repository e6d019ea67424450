#!/usr/bin/env bash
# Explores the models of loom-tests: every model in a process of its own, one line a model.
#
#   ci/loom.sh                     all models, bounds as written in them
#   ci/loom.sh list barrier        only the models of these test files
#   ci/loom.sh --mutants [FILE..]  plants each defect and requires that some model finds it
#
# Environment: LOOM_MAX_PREEMPTIONS replaces the bounds; MODEL_SECONDS (default 240) ends a model that
# takes longer, which is a failure; JOBS (default: processors) models run side by side; MUTANTS names
# the defects to plant (default: all).
# Fails when a model fails, times out, or when there is nothing to run.
set -euo pipefail
cd "$(dirname "$0")/.."

mutants=no
if [ "${1:-}" = "--mutants" ]; then mutants=yes; shift; fi
files=("$@")
if [ ${#files[@]} -eq 0 ]; then
    for path in loom-tests/tests/*.rs; do files+=("$(basename "$path" .rs)"); done
fi

export CARGO_TARGET_DIR="${LOOM_TARGET_DIR:-${CARGO_TARGET_DIR:-$PWD/target}-loom}"
export RUSTFLAGS="--cfg whimbrel_loom -C debug-assertions=on ${LOOM_RUSTFLAGS:-}"
export MODEL_SECONDS="${MODEL_SECONDS:-240}"
jobs="${JOBS:-$(nproc)}"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

# test file -> executable, from cargo itself, so that no stale binary can be taken
selected=()
for file in "${files[@]}"; do selected+=(--test "$file"); done
cargo test --release -p whimbrel-loom-tests --no-run --message-format=json "${selected[@]}" \
    >"$work/build.json"
for file in "${files[@]}"; do
    sed -n 's/.*"kind":\["test"\].*"name":"'"$file"'".*"executable":"\([^"]*\)".*/\1/p' \
        "$work/build.json" | tail -1 >"$work/binary"
    binary="$(cat "$work/binary")"
    [ -x "$binary" ] || { echo "loom: no executable for $file" >&2; exit 1; }
    "$binary" --list | sed -n "s|^\(.*\): test\$|$file $binary \1|p" >>"$work/models"
done
models="$(wc -l <"$work/models")"
[ "$models" -gt 0 ] || { echo "loom: no models found" >&2; exit 1; }

# Runs one model: "file binary model [mutant]"; prints a line, appends the name to failed or killed.
cat >"$work/run" <<'RUN'
#!/usr/bin/env bash
work="$1" file="$2" binary="$3" model="$4" mutant="${5:-}"
log="$work/log.$file.$model.$mutant"
if [ -n "$mutant" ]; then
    [ -e "$work/killed.$mutant" ] && exit 0
    export WHIMBREL_MUTANT="$mutant"
fi
start="$(date +%s.%N)"
status=0
timeout "$MODEL_SECONDS" "$binary" --exact "$model" --nocapture >"$log" 2>&1 || status=$?
seconds="$(echo "$(date +%s.%N) $start" | awk '{ printf "%.1f", $1 - $2 }')"
executions="$(grep -Eo 'executions=[0-9]+|[0-9]+ executions' "$log" | tr -dc '0-9\n' | tail -1)"
bound="$(sed -n 's/.*executions=.* bound=\([^ ]*\) .*/\1/p' "$log" | tail -1)"
if [ -n "$mutant" ]; then
    # 101: an assertion, a causality violation, or too many branches (a livelock)
    if [ "$status" -eq 101 ] && ! grep -q "there is no mutant called" "$log"; then
        echo "$file::$model ${executions:-?}" >>"$work/killed.$mutant"
    fi
    exit 0
fi
result=ok
if [ "$status" -ne 0 ] || ! grep -q "1 passed" "$log"; then
    result=FAILED
    [ "$status" -eq 124 ] && result="TIME OUT"
    echo "$file::$model" >>"$work/failed"
fi
printf '%-78s %8s s %10s %-16s %s\n' "$file::$model" "$seconds" "${executions:--}" "${bound:--}" "$result"
RUN
chmod +x "$work/run"

if [ "$mutants" = no ]; then
    printf '%-78s %10s %10s %-16s %s\n' model seconds executions bound result
    xargs -P "$jobs" -L 1 "$work/run" "$work" <"$work/models"
    if [ -e "$work/failed" ]; then
        while read -r name; do
            echo "--- $name"
            tail -40 "$work/log.${name%%::*}.${name##*::}."
        done <"$work/failed"
        echo "loom: $(wc -l <"$work/failed") of $models models failed" >&2
        exit 1
    fi
    echo "loom: $models models, no failure"
    exit 0
fi

names="$(sed -n 's/^    \([A-Z][A-Za-z]*\),$/\1/p' skiplist/src/mutant.rs)"
names="${MUTANTS:-$names}"
[ -n "$names" ] || { echo "loom: no mutants found" >&2; exit 1; }
# These survive: no model of three threads tells them apart, docs/ordering.md says why each is kept.
argued=" CountsNoFence ReleaseClaimRelaxed "
survivors=0
printf '%-24s %s\n' mutant "first model that finds it (executions)"
for mutant in $names; do
    # shellcheck disable=SC2016
    sed "s|\$| $mutant|" "$work/models" | xargs -P "$jobs" -L 1 "$work/run" "$work"
    if [ -e "$work/killed.$mutant" ]; then
        printf '%-24s %s\n' "$mutant" "$(head -1 "$work/killed.$mutant")"
    elif [[ "$argued" == *" $mutant "* ]]; then
        printf '%-24s %s\n' "$mutant" "survives (by argument)"
    else
        survivors=$((survivors + 1))
        printf '%-24s %s\n' "$mutant" "SURVIVES"
    fi
done
[ "$survivors" -eq 0 ] || { echo "loom: $survivors mutants survive" >&2; exit 1; }
echo "loom: every mutant is found or argued"
