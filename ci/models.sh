# Sourced by ci/loom.sh and ci/mutants.sh: builds the models of loom-tests and runs one of them.
#
# Environment: MODEL_SECONDS (default 240) is the processor time after which a model is ended, which is
# a failure; JOBS (default: processors) models run side by side.
# shellcheck shell=bash

export CARGO_TARGET_DIR="${LOOM_TARGET_DIR:-${CARGO_TARGET_DIR:-$PWD/target}-loom}"
export RUSTFLAGS="--cfg whimbrel_loom -C debug-assertions=on ${LOOM_RUSTFLAGS:-}"
export MODEL_SECONDS="${MODEL_SECONDS:-240}"
jobs="${JOBS:-$(nproc)}"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
export work

# build_models FILE..: writes "file binary model" lines to $work/models, the binaries from cargo itself,
# so that no stale one can be taken.
build_models() {
    local selected=() file binary
    for file in "$@"; do selected+=(--test "$file"); done
    cargo test --release -p whimbrel-loom-tests --no-run --message-format=json "${selected[@]}" \
        >"$work/build.json"
    for file in "$@"; do
        binary="$(sed -n 's/.*"kind":\["test"\].*"name":"'"$file"'".*"executable":"\([^"]*\)".*/\1/p' \
            "$work/build.json" | tail -1)"
        [ -x "$binary" ] || { echo "loom: no executable for $file" >&2; exit 1; }
        "$binary" --list | sed -n "s|^\(.*\): test\$|$file $binary \1|p" >>"$work/models"
    done
    [ -s "$work/models" ] || { echo "loom: no models found" >&2; exit 1; }
}

# run_model BINARY MODEL LOG: runs a model in a process of its own. Sets status (0: passed; 101: it found
# something; 152: out of time), seconds of processor time, executions, and bound.
run_model() {
    local TIMEFORMAT=%U
    status=0
    # Processor time, so that a busy machine fails nothing; the clock only ends what sleeps for ever.
    { time timeout "$((MODEL_SECONDS * 20))" prlimit --cpu="$MODEL_SECONDS" --core=0 \
        "$1" --exact "$2" --nocapture >"$3" 2>&1 || status=$?; } 2>"$3.time"
    seconds="$(tail -1 "$3.time")"
    # All starting orders together; of a process that ended at once, what it had said before.
    executions="$(sed -n 's/^executions=\([0-9]*\) bound.*/\1/p' "$3" \
        | awk '{ sum += $1 } END { if (NR > 0) print sum; else print "-" }')"
    if [ "$executions" = - ]; then
        executions="$(sed -n 's/^panic: executions=\([0-9]*\)$/\1/p' "$3" | head -1)"
    fi
    executions="${executions:--}"
    bound="$(sed -n 's/^executions=.* bound=\([^ ]*\) .*/\1/p' "$3" | tail -1)"
    bound="${bound:--}"
    if [ "$status" -eq 0 ] && ! grep -q "1 passed" "$3"; then status=1; fi
}
export -f run_model
