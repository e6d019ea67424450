#!/usr/bin/env bash
# Format, lints, docs: everything that reads the sources and runs none of them.
set -euo pipefail
cd "$(dirname "$0")/.."

echo "== format"
cargo fmt --all --check

echo "== sources are ASCII"
if git grep -nIP '[^\x00-\x7F]' -- '*.rs' '*.md' '*.sh' '*.toml' '*.py' justfile; then
    echo "non-ASCII characters in the lines above" >&2
    exit 1
fi

echo "== clippy, warnings denied; benches and examples compile"
cargo clippy --workspace --exclude whimbrel-compare --all-targets --quiet -- -D warnings
# Without the heavy peers, which need libclang and minutes: ci/compare-deps.sh.
cargo clippy -p whimbrel-compare --no-default-features --all-targets --quiet -- -D warnings

echo "== docs, warnings denied"
export RUSTDOCFLAGS="-D warnings"
cargo doc --workspace --exclude whimbrel-compare --no-deps --quiet
cargo doc -p whimbrel-compare --no-default-features --no-deps --quiet

echo "== shell scripts parse"
for script in ci/*.sh .ci/run; do bash -n "$script"; done

echo "checks passed"
