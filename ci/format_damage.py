"""Damages copies of a backup in every byte; docs/read_backup.py must refuse each. Called by ci/format.sh."""

import importlib.util
import os
import shutil
import sys
import tempfile

here = os.path.dirname(os.path.abspath(__file__))
spec = importlib.util.spec_from_file_location("read_backup", os.path.join(here, "../docs/read_backup.py"))
reader = importlib.util.module_from_spec(spec)
spec.loader.exec_module(reader)

# Larger files would take hours; the damages of two readers need not be the same number.
MOST_BYTES = 64 << 10


def refused(directory, name):
    """True when the backup is refused for what is wrong with that file."""
    try:
        reader.read_backup(directory)
    except reader.Refused as error:
        return error.file == name
    return False


def damages(good):
    for at, byte in enumerate(good):
        yield f"bit {at % 8} of byte {at}", good[:at] + bytes([byte ^ 1 << at % 8]) + good[at + 1 :]
        yield f"cut to {at} bytes", good[:at]
    yield "a byte more", good + b"\0"


def damage(backup):
    done = 0
    with tempfile.TemporaryDirectory() as directory:
        # With what is beside it, which it may continue.
        root, name = os.path.split(os.path.abspath(backup))
        shutil.copytree(root, os.path.join(directory, "root"))
        copy = os.path.join(directory, "root", name)
        for name in sorted(os.listdir(copy)):
            path = os.path.join(copy, name)
            with open(path, "rb") as file:
                good = file.read()
            if len(good) > MOST_BYTES:
                continue
            for what, bad in damages(good):
                with open(path, "wb") as file:
                    file.write(bad)
                if not refused(copy, name):
                    sys.exit(f"format: {backup}: {name}: not refused: {what}")
                done += 1
            with open(path, "wb") as file:
                file.write(good)
        reader.read_backup(copy)
    if done == 0:
        sys.exit(f"format: {backup}: nothing was damaged")
    print(f"format: {backup}: {done} damages refused, each naming its file")


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        damage(argument)
