#!/usr/bin/env bash
# Runs the tests of skiplist and mvcc under ThreadSanitizer, with a standard library built for it.
#
# ThreadSanitizer reports false races when the standard library is not instrumented, so that is built
# from source, which has to be the source of this very compiler: the toolchain's own where it has one
# (`rustup component add rust-src`), else Debian's package rust-src of the same version. That is
# downloaded and unpacked below the target directory; nothing is installed, no source is added to apt.
#
# Arguments: packages (default: whimbrel-skiplist whimbrel-mvcc). STRESS_SECONDS sets the length of
# each stress test; TSAN_TARGET_DIR where everything is built; TSAN_MIRROR and TSAN_SUITE where
# the package comes from. There is no suppression file: whatever is reported is a failure.
set -euo pipefail
cd "$(dirname "$0")/.."

target=x86_64-unknown-linux-gnu
if [ "$(uname -sm)" != "Linux x86_64" ]; then
    echo "tsan: missing: this script is written for Linux on x86-64" >&2
    exit 1
fi
packages=("$@")
[ ${#packages[@]} -gt 0 ] || packages=(whimbrel-skiplist whimbrel-mvcc)
selected=()
for package in "${packages[@]}"; do selected+=(-p "$package"); done

mirror="${TSAN_MIRROR:-http://deb.debian.org/debian}"
suite="${TSAN_SUITE:-trixie-backports}"
export CARGO_TARGET_DIR="${TSAN_TARGET_DIR:-${CARGO_TARGET_DIR:-$PWD/target}-tsan}"
mkdir -p "$CARGO_TARGET_DIR"
CARGO_TARGET_DIR="$(cd "$CARGO_TARGET_DIR" && pwd)"
sysroot="$(rustc --print sysroot)"
version="$(rustc --version | cut -d ' ' -f 2)"
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT

# Leaves the source of the standard library of version $version in $scratch/library.
fetch_library() {
    for tool in apt-get dpkg-deb; do
        command -v "$tool" >/dev/null || {
            echo "tsan: missing: the standard library's source; run: rustup component add rust-src" >&2
            exit 1
        }
    done
    # An apt of its own: its lists, cache and sources are in the scratch directory.
    mkdir -p "$scratch"/apt/lists/partial "$scratch"/apt/cache/archives/partial
    local key=/usr/share/keyrings/debian-archive-keyring.gpg
    echo "deb [signed-by=$key] $mirror $suite main" >"$scratch/apt/sources.list"
    cat >"$scratch/apt/apt.conf" <<CONF
Dir::Etc::SourceList "$scratch/apt/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::State::Lists "$scratch/apt/lists";
Dir::Cache "$scratch/apt/cache";
APT::Sandbox::User "$(id -un)";
Acquire::Languages "none";
Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled "false";
CONF
    export APT_CONFIG="$scratch/apt/apt.conf"
    apt-get update -qq
    local deb
    deb="$(apt-cache madison rust-src |
        awk -v v="$version" 'index($3, v "+") == 1 && !deb { deb = $3 } END { print deb }')"
    if [ -z "$deb" ]; then
        echo "tsan: missing: rust-src $version in $mirror $suite; run: rustup component add rust-src" >&2
        exit 1
    fi
    (cd "$scratch" && apt-get download -qq "rust-src=$deb")
    unset APT_CONFIG
    dpkg-deb --fsys-tarfile "$scratch"/rust-src_*.deb |
        tar -x -C "$scratch" --strip-components=4 --wildcards './usr/src/rustc-*/library'
}

# A toolchain whose sysroot has the source: the one in use, or a hard-linked copy of it.
toolchain="$sysroot"
if [ ! -f "$sysroot/lib/rustlib/src/rust/library/Cargo.lock" ]; then
    toolchain="$CARGO_TARGET_DIR/toolchain"
    if ! rustc -vV | cmp -s - "$toolchain/of"; then
        echo "tsan: fetching the source of the standard library of rustc $version"
        fetch_library
        rm -rf "$toolchain"
        mkdir -p "$toolchain"
        cp -al "$sysroot/bin" "$sysroot/lib" "$toolchain" 2>/dev/null ||
            cp -a "$sysroot/bin" "$sysroot/lib" "$toolchain"
        mkdir -p "$toolchain/lib/rustlib/src/rust"
        mv "$scratch/library" "$toolchain/lib/rustlib/src/rust/library"
        rustc -vV >"$toolchain/of"
    fi
fi

export PATH="$toolchain/bin:$PATH" RUSTC="$toolchain/bin/rustc" RUSTDOC="$toolchain/bin/rustdoc"
# Both `-Zsanitizer` and `-Zbuild-std` are unstable; this lets the stable compiler have them.
export RUSTC_BOOTSTRAP=1
export RUSTFLAGS="-Zsanitizer=thread --cfg whimbrel_tsan --cfg whimbrel_portable -C debug-assertions=on"
export TSAN_OPTIONS="halt_on_error=1:exitcode=66:history_size=4"
export STRESS_SECONDS="${STRESS_SECONDS:-5}"

# Runs a program of the probe; its output goes to $scratch/said, the exit status is its own.
probe() { "$CARGO_TARGET_DIR/$target/release/probe" "$1" >"$scratch/said" 2>&1; }

# The sanitizer must be able to fail. x86-64 cannot tell the second race from the message that is
# passed properly: only the sanitizer's model of the orderings can.
mkdir -p "$scratch/probe/src"
cp ci/tsan-probe.rs "$scratch/probe/src/main.rs"
cat >"$scratch/probe/Cargo.toml" <<'TOML'
[package]
name = "probe"
version = "0.0.0"
edition = "2024"
[workspace]
[profile.release]
debug = "line-tables-only"
TOML
(cd "$scratch/probe" && cargo build --quiet -Zbuild-std --target "$target" --release)
for race in unordered relaxed; do
    status=0
    probe "$race" || status=$?
    if [ "$status" != 66 ] || ! grep -q 'WARNING: ThreadSanitizer: data race' "$scratch/said"; then
        cat "$scratch/said" >&2
        echo "tsan: the race '$race', made on purpose, was not reported" >&2
        exit 1
    fi
    echo "tsan: the race '$race', made on purpose, is reported"
done
if ! probe published; then
    cat "$scratch/said" >&2
    echo "tsan: a race was reported where there is none" >&2
    exit 1
fi

# One run for all packages, and the rest of them after a failure: a report ends only its own binary.
cargo test --no-fail-fast -Zbuild-std --target "$target" --release "${selected[@]}" --lib --tests
echo "tsan: clean"
