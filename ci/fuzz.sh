#!/usr/bin/env bash
# Fuzzes everything that is read from bytes, from the kept corpus of fuzz/corpus.
#
#   ci/fuzz.sh [SECONDS [TARGET..]]   default 60 s for each target of fuzz/fuzz_targets
#   ci/fuzz.sh --keep TARGET          adds what the last runs found to the kept corpus, as little as is needed
#
# With a nightly toolchain where there is one, otherwise with the usual one, which is told that it may
# (RUSTC_BOOTSTRAP). Installs cargo-fuzz below the target directory when it is missing, and Debian's g++ where
# it may: libFuzzer is C++. A crash ends it; the input is in fuzz/artifacts then.
set -euo pipefail
cd "$(dirname "$0")/.."
target="${CARGO_TARGET_DIR:-$PWD/target}"
export CARGO_TARGET_DIR="${FUZZ_TARGET_DIR:-$target-fuzz}"
export PATH="$CARGO_TARGET_DIR/tools/bin:$PATH"
found="$CARGO_TARGET_DIR/corpus"

source ci/need.sh
need c++ g++
if ! cargo fuzz --version >/dev/null 2>&1; then
    echo "fuzz: installing cargo-fuzz into $CARGO_TARGET_DIR/tools"
    cargo install --quiet --locked --root "$CARGO_TARGET_DIR/tools" cargo-fuzz@0.13.1
fi
toolchain=()
if rustup toolchain list 2>/dev/null | grep -q '^nightly'; then
    toolchain=(+nightly)
else
    export RUSTC_BOOTSTRAP=1
fi

if [ "${1:-}" = "--keep" ]; then
    name="${2:?usage: ci/fuzz.sh --keep TARGET}"
    cargo "${toolchain[@]}" fuzz run --fuzz-dir fuzz "$name" "fuzz/corpus/$name" "$found/$name" -- \
        -merge=1 -max_len=4096
    exit
fi

seconds="${1:-60}"
[ $# -gt 0 ] && shift
targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then
    for file in fuzz/fuzz_targets/*.rs; do targets+=("$(basename "$file" .rs)"); done
fi
for name in "${targets[@]}"; do
    mkdir -p "$found/$name"
    [ -n "$(ls "fuzz/corpus/$name" 2>/dev/null)" ] || { echo "fuzz: $name has no corpus" >&2; exit 1; }
    echo "fuzz: $name for $seconds s"
    # The first directory takes what is found. One allocation above 64 MiB or more than 1 GiB in all is a
    # failure: inputs of 64 KiB justify at most 255 times their length.
    cargo "${toolchain[@]}" fuzz run --fuzz-dir fuzz "$name" "$found/$name" "fuzz/corpus/$name" -- \
        -max_total_time="$seconds" -max_len=65536 -timeout=20 -malloc_limit_mb=64 -rss_limit_mb=1024 \
        -print_final_stats=1
done
echo "fuzz: no failure in ${targets[*]}"
