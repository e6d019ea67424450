#!/usr/bin/env bash
# Runs the tests of skiplist and mvcc under AddressSanitizer with LeakSanitizer.
#
#   ci/san.sh [PACKAGE..]         AddressSanitizer with LeakSanitizer
#   ci/san.sh --all [PACKAGE..]   these, then ThreadSanitizer (ci/tsan.sh)
#
# Needs a nightly toolchain (`rustup toolchain install nightly`); fails and says so without one.
# Packages: by default whimbrel-skiplist and whimbrel-mvcc. STRESS_SECONDS sets the length of each
# stress test.
set -euo pipefail
cd "$(dirname "$0")/.."
all=no
if [ "${1:-}" = "--all" ]; then all=yes; shift; fi

target=x86_64-unknown-linux-gnu
if [ "$(uname -sm)" != "Linux x86_64" ]; then
    echo "san: missing: this script is written for Linux on x86-64" >&2
    exit 1
fi
if ! cargo +nightly --version >/dev/null 2>&1; then
    echo "san: missing: a nightly toolchain; install it with: rustup toolchain install nightly" >&2
    exit 1
fi
packages=("$@")
[ ${#packages[@]} -gt 0 ] || packages=(whimbrel-skiplist whimbrel-mvcc)

ordinary="${CARGO_TARGET_DIR:-$PWD/target}"
export CARGO_TARGET_DIR="${SAN_TARGET_DIR:-$ordinary-san}"
export RUSTFLAGS="-Zsanitizer=address --cfg whimbrel_system_memory -C debug-assertions=on"
export ASAN_OPTIONS="detect_stack_use_after_return=1:detect_leaks=1:halt_on_error=1"
export STRESS_SECONDS="${STRESS_SECONDS:-5}"

# The sanitizer must be able to fail: a leak that is made on purpose has to be found.
probe="$(mktemp -d)"
trap 'rm -rf "$probe"' EXIT
cat >"$probe/leak.rs" <<'RUST'
fn main() {
    std::hint::black_box(Box::into_raw(Box::new([1_u8; 64])));
}
RUST
rustc +nightly -Zsanitizer=address --target "$target" -o "$probe/leak" "$probe/leak.rs"
if "$probe/leak" >/dev/null 2>&1; then
    echo "san: a leak made on purpose was not found: LeakSanitizer does not work here" >&2
    exit 1
fi

for package in "${packages[@]}"; do
    echo "san: $package"
    cargo +nightly test --release --target "$target" -p "$package" --lib --tests
done
echo "san: clean"
if [ "$all" = yes ]; then
    CARGO_TARGET_DIR="$ordinary" RUSTFLAGS="" ./ci/tsan.sh "${packages[@]}"
fi
