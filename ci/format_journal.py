"""Reads journals, and copies of them with a damage in every byte, as the crate replays them.

    python3 ci/format_journal.py RECORDS JOURNAL..

RECORDS is the example `records` of the crate. docs/read_journal.py must find the same records in each copy, or
refuse it for the same file. Called by ci/format.sh.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile

from format_damage import damages

here = os.path.dirname(os.path.abspath(__file__))
spec = importlib.util.spec_from_file_location("read_journal", os.path.join(here, "../docs/read_journal.py"))
reader = importlib.util.module_from_spec(spec)
spec.loader.exec_module(reader)

# Directories that one call of the example is given.
MOST_AT_ONCE = 500


def read(directory):
    """The lines that the example prints for it, by the second reader."""
    try:
        return [f"{sequence} {record.hex()}" for sequence, record in reader.read_journal(directory)]
    except reader.Refused as error:
        return [f"refused {error.file}"]


def replay(records, directories):
    """The lines that the example prints for each of them. It changes them."""
    found = {}
    for at in range(0, len(directories), MOST_AT_ONCE):
        command = [records, *directories[at : at + MOST_AT_ONCE]]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        for line in said.splitlines():
            if line.startswith("journal "):
                lines = found[line.removeprefix("journal ")] = []
            else:
                lines.append(line)
    return found


def copies(journal, root):
    """The journal, and copies of it with one damage each: what was done, and where it is."""
    names = sorted(name for name in os.listdir(journal) if name.startswith("journal-"))
    made = [("nothing", None, None)]
    for name in names:
        with open(os.path.join(journal, name), "rb") as file:
            good = file.read()
        made += [(f"{name}: {what}", name, bad) for what, bad in damages(good)]
    for number, (what, damaged, bad) in enumerate(made):
        directory = os.path.join(root, str(number))
        os.mkdir(directory)
        for name in names:
            shutil.copyfile(os.path.join(journal, name), os.path.join(directory, name))
        if damaged:
            with open(os.path.join(directory, damaged), "wb") as file:
                file.write(bad)
        yield what, directory


def compare(records, journal):
    # Thousands of small files, and none that must outlive this.
    fast = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.TemporaryDirectory(dir=fast) as root:
        made = list(copies(journal, root))
        by_reader = {directory: read(directory) for _, directory in made}
        by_crate = replay(records, [directory for _, directory in made])
        for what, directory in made:
            if by_reader[directory] != by_crate[directory]:
                wanted, got = by_crate[directory], by_reader[directory]
                sys.exit(f"format: {journal}: {what}: the crate finds {wanted}, the second reader {got}")
        whole = by_crate[made[0][1]]
        if not whole or whole[0].startswith("refused"):
            sys.exit(f"format: {journal}: no records: nothing was compared")
    refused = sum(lines[:1] != [] and lines[0].startswith("refused") for lines in by_crate.values())
    torn = len(made) - 1 - refused
    print(f"format: {journal}: {len(whole)} records read alike; {refused} damages refused alike, {torn} cut off")


for argument in sys.argv[2:]:
    compare(sys.argv[1], argument)
