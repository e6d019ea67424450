#!/usr/bin/env bash
# Installs what benches/compare needs beside Rust: a C++ compiler and libclang for RocksDB, and
# Debian's lists of files for keys that are real strings. Needs root and Debian's package tools.
set -euo pipefail

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    cat >&2 <<'TEXT'
error: run this as root on Debian, or install clang, libclang-dev, g++ and make by hand.
Without them: cargo run --release -p whimbrel-compare --no-default-features --features lmdb,surrealmx
TEXT
    exit 1
fi

export DEBIAN_FRONTEND=noninteractive
echo "== packages"
apt-get update -qq
apt-get install -y -qq --no-install-recommends g++ make clang libclang-dev apt-file >/dev/null

echo "== lists of the files in all packages (about 80 MB)"
apt-file update >/dev/null
ls /var/lib/apt/lists/*_Contents-* >/dev/null
echo "done: cargo run --release -p whimbrel-compare -- --quick"
