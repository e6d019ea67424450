#!/usr/bin/env bash
# Plants each defect of src/mutant.rs of skiplist, mvcc, journal and backup in turn and explores the models
# that ci/mutants.txt lists for it, until one fails. Prints a table: defect, the model that finds it, the
# executions until then.
#
#   ci/mutants.sh                    all defects
#   ci/mutants.sh NAME..             only these
#   ci/mutants.sh --write            all, and writes the table into docs/ordering.md
#
# A defect that no model finds must be justified in docs/ordering.md: a line that begins with "- `NAME`:"
# below "Survivors". Fails when one is neither found nor justified, when one is justified and found, or
# when ci/mutants.txt and the sources do not name the same defects.
# Environment: as for ci/loom.sh.
set -euo pipefail
cd "$(dirname "$0")/.."

write=no
if [ "${1:-}" = "--write" ]; then write=yes; shift; fi

# shellcheck source=ci/models.sh
source ci/models.sh

# The names between "mutants! {" and the brace that closes it.
names_in() { sed -n '/^mutants! {/,/^}/s/^    \([A-Z][A-Za-z]*\),$/\1/p' "$1"; }
names_in skiplist/src/mutant.rs >"$work/names"
names_in mvcc/src/mutant.rs >>"$work/names"
names_in journal/src/mutant.rs >>"$work/names"
names_in backup/src/mutant.rs >>"$work/names"
grep -v -e '^#' -e '^$' ci/mutants.txt >"$work/list"
cut -d' ' -f1 "$work/list" >"$work/listed"
if ! diff <(sort "$work/names") <(sort "$work/listed") >"$work/diff" || [ ! -s "$work/names" ]; then
    echo "mutants: the sources (<) and ci/mutants.txt (>) name different defects:" >&2
    cat "$work/diff" >&2
    exit 1
fi
[ $# -gt 0 ] || { mapfile -t all <"$work/names"; set -- "${all[@]}"; }
sed -n '/^### Survivors/,/^## /s/^- `\([A-Za-z]*\)`:.*/\1/p' docs/ordering.md >"$work/justified"

mapfile -t files < <(grep -o '[a-z_]*::' "$work/list" | tr -d : | sort -u)
build_models "${files[@]}"

# try MUTANT: explores its models; appends "MUTANT|result|model|executions" to the results.
try() {
    local mutant="$1" file model binary path tried=0
    export WHIMBREL_MUTANT="$mutant"
    for name in $(sed -n "s/^$mutant //p" "$work/list"); do
        file="${name%%::*}" model="${name##*::}"
        read -r binary path < <(awk -v f="$file" -v m="$model" \
            '$1 == f && ($3 == m || $3 ~ "::" m "$") { print $2, $3 }' "$work/models") || true
        [ -n "${binary:-}" ] || { echo "$mutant|no such model|$name|" >>"$work/results"; return; }
        run_model "$binary" "$path" "$work/log.$mutant"
        # 101: an assertion, a causality violation, or too many branches, which is a livelock. 134:
        # the same while another one was being reported.
        if [ "$status" -eq 101 ] || [ "$status" -eq 134 ]; then
            grep -q "there is no mutant called" "$work/log.$mutant" && break
            echo "$mutant|killed|$name|$executions" | tee -a "$work/results" >&2
            return
        elif [ "$status" -ne 0 ]; then
            echo "$mutant|ended with status $status|$name|$executions" | tee -a "$work/results" >&2
            return
        fi
        [ "$executions" = - ] || tried=$((tried + executions))
        binary=""
    done
    if grep -qx "$mutant" "$work/justified"; then
        echo "$mutant|justified||$tried" | tee -a "$work/results" >&2
    else
        echo "$mutant|SURVIVES||$tried" | tee -a "$work/results" >&2
    fi
}
export -f try

: >"$work/results"
printf '%s\n' "$@" | xargs -P "$jobs" -I{} bash -c 'try {}'

row() { printf '| %s | %s | %s |\n' "$@"; }
table() {
    row mutant "killed by" executions
    row --- --- ---
    for mutant in "$@"; do
        IFS='|' read -r _ result model executions < <(grep "^$mutant|" "$work/results")
        case "$result" in
            killed) row "$mutant" "$model" "$executions" ;;
            justified) row "$mutant" "none: see below" "$executions" ;;
            *) row "$mutant" "$result $model" "$executions" ;;
        esac
    done
}
table "$@" >"$work/table"
cat "$work/table"
if [ "$write" = yes ]; then
    sed -i -e '/^<!-- mutants: begin/,/^<!-- mutants: end/{/^<!--/!d}' \
        -e "/^<!-- mutants: begin/r $work/table" docs/ordering.md
fi

count() { grep -c "^[A-Za-z]*|$1|" "$work/results" || true; }
killed="$(count killed)" justified="$(count justified)"
stale="$(sed -n 's/|killed|.*//p' "$work/results" | grep -Fx -f "$work/justified" || true)"
echo "$# mutants, $killed killed, $justified justified"
[ -z "$stale" ] || { echo "mutants: justified in docs/ordering.md, yet found: $stale" >&2; exit 1; }
[ "$((killed + justified))" -eq $# ] || { echo "mutants: some are neither" >&2; exit 1; }
