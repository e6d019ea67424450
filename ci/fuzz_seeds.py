"""Makes the seeds of fuzz/corpus from the golden files.

    python3 ci/fuzz_seeds.py           writes them
    python3 ci/fuzz_seeds.py --check   fails when one is missing or another than it would be made

What runs found stands beside them under names that are hashes (ci/fuzz.sh --keep), and is left alone.
"""

import glob
import os
import struct
import sys

root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
GOLDEN = ["v1", "v1-chain/00000002-676f6c64656e20696e6372656d656e74"]


def read(*path):
    with open(os.path.join(root, *path), "rb") as file:
        return file.read()


def blocks(data):
    """The blocks of a file: behind its header of 40 bytes, up to the index that its footer names."""
    at, (index,) = 40, struct.unpack_from("<Q", data, len(data) - 80)
    while at < index:
        end = at + 32 + struct.unpack_from("<I", data, at + 8)[0]
        yield data[at:end]
        at = end


def seeds():
    """Target, name and bytes of each."""
    for backup, mark in zip(GOLDEN, ["", "chain-"]):
        directory, number = os.path.join("backup/tests/golden", backup), 0
        yield "manifest", f"golden-{mark}v1", read(directory, "MANIFEST.json")
        for kind in ["shard", "delta"]:
            for path in sorted(glob.glob(os.path.join(root, directory, f"{kind}-*"))):
                data, name = read(path), mark + os.path.basename(path)
                yield "file", name, data
                for block in blocks(data):
                    yield "block", f"{name}-{number}", block
                    number += 1
    # The target takes segments one behind the other.
    segments = sorted(glob.glob(os.path.join(root, "journal/tests/golden/v1/journal-*")))
    yield "journal", "golden-v1", b"".join(map(read, segments))
    for path in segments:
        yield "journal", os.path.basename(path), read(path)


def main(args):
    count = 0
    for target, name, data in seeds():
        path = os.path.join(root, "fuzz/corpus", target, name)
        if args == ["--check"]:
            if not os.path.exists(path) or read(path) != data:
                sys.exit(f"fuzz: {path} is not made from the golden files: python3 ci/fuzz_seeds.py")
        else:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as file:
                file.write(data)
        count += 1
    if count < 10:
        sys.exit(f"fuzz: only {count} seeds: golden files are missing")
    print(f"fuzz: {count} seeds are made from the golden files")


main(sys.argv[1:])
