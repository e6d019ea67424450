#!/usr/bin/env bash
# Backups in an object store, against a real server: starts one that speaks S3 (the Python package moto) on a free
# port of this machine, makes a bucket, and runs the tests of the feature `s3` against it.
#
#   ci/s3.sh [TEST NAME]
#
# Makes a Python environment of its own below the target directory, with the packages pinned here.
set -euo pipefail
cd "$(dirname "$0")/.."
target="${CARGO_TARGET_DIR:-$PWD/target}"
venv="$target/s3-venv"
source ci/need.sh
need redis-cli redis-tools
need_venv "$venv" moto.server "moto[server,s3]==5.2.5"

log="$(mktemp)"
"$venv/bin/python" -c '
import signal, socket
from moto.server import ThreadedMotoServer
port = socket.socket()
port.bind(("127.0.0.1", 0))
number = port.getsockname()[1]
port.close()
server = ThreadedMotoServer(ip_address="127.0.0.1", port=number, verbose=False)
server.start()
print(number, flush=True)
signal.pause()
' >"$log" 2>"$log.err" </dev/null &
server=$!
trap 'kill "$server" 2>/dev/null; rm -f "$log" "$log.err"' EXIT
for _ in $(seq 300); do
    [ -s "$log" ] && break
    kill -0 "$server" 2>/dev/null || { cat "$log.err" >&2; exit 1; }
    sleep 0.1
done
[ -s "$log" ] || { echo "s3: the server does not start" >&2; exit 1; }

export AWS_ENDPOINT_URL="http://127.0.0.1:$(cat "$log")" AWS_ALLOW_HTTP=true AWS_REGION=us-east-1
export AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test WHIMBREL_S3_BUCKET=whimbrel
"$venv/bin/python" -c '
import boto3, os
boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"]).create_bucket(Bucket=os.environ["WHIMBREL_S3_BUCKET"])
'
echo "s3: a server at $AWS_ENDPOINT_URL"
cargo clippy --quiet -p whimbrel-backup -p whimbrel-node --features s3 --all-targets -- -D warnings
cargo test -p whimbrel-backup --features s3 --test objects --test s3 -- "$@"
cargo test -p whimbrel-backup --features s3 --doc object
cargo test -p whimbrel-node --features s3 --test s3 -- "$@"
