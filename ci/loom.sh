#!/usr/bin/env bash
# Explores the models of loom-tests: every model in a process of its own, one line a model.
#
#   ci/loom.sh                     all models, bounds as written in them
#   ci/loom.sh list barrier        only the models of these test files
#   ci/loom.sh list::claim_same_key   only this model
#
# Environment: LOOM_MAX_PREEMPTIONS replaces the bounds; MODEL_SECONDS (default 240) of processor time
# end a model, which is a failure; JOBS (default: processors) models run side by side.
# Fails when a model fails, runs out of time, or when there is nothing to run.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ $# -eq 0 ]; then
    for path in loom-tests/tests/*.rs; do set -- "$@" "$(basename "$path" .rs)"; done
fi
files=() wanted=()
for name in "$@"; do
    [[ " ${files[*]} " == *" ${name%%::*} "* ]] || files+=("${name%%::*}")
    wanted+=("$name")
done

# shellcheck source=ci/models.sh
source ci/models.sh
build_models "${files[@]}"

# Only what was asked for: whole files, or single models.
while read -r file binary model; do
    for name in "${wanted[@]}"; do
        if [ "$name" = "$file" ] || [ "$name" = "$file::${model##*::}" ]; then
            echo "$file $binary $model"
            break
        fi
    done
done <"$work/models" >"$work/selected"
models="$(wc -l <"$work/selected")"
[ "$models" -gt 0 ] || { echo "loom: no models found" >&2; exit 1; }

explore_one() {
    local name="$1::${3##*::}" log="$work/log.$1.${3##*::}" result=ok
    run_model "$2" "$3" "$log"
    if [ "$status" -ne 0 ]; then
        result=FAILED
        case "$status" in 124 | 137 | 152) result="OUT OF TIME" ;; esac
        echo "$name $log" >>"$work/failed"
    fi
    printf '%-72s %8s %10s %-16s %s\n' "$name" "$seconds" "$executions" "$bound" "$result"
}
export -f explore_one

printf '%-72s %8s %10s %-16s %s\n' model seconds executions bound result
xargs -P "$jobs" -L 1 bash -c 'explore_one "$@"' explore_one <"$work/selected"
if [ -e "$work/failed" ]; then
    while read -r name log; do
        echo "--- $name"
        tail -40 "$log"
    done <"$work/failed"
    echo "loom: $(wc -l <"$work/failed") of $models models failed" >&2
    exit 1
fi
echo "loom: $models models, no failure"
