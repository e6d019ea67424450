#!/usr/bin/env python3
"""Reads a Whimbrel backup of format version 1 and prints its entries.

    pip install lz4            # the only package needed
    pip install xxhash         # if there, digests are compared as well
    python3 docs/read_backup.py DIR

One JSON object a line: store, key and value, the latter two as hex digits; stores in the manifest's order,
entries in key order, deltas applied. Of an incremental backup, the chain that it continues is read first.
Nothing is printed before all of it was checked. Exit codes: 0 done; 3 the backup is refused, with file,
part and reason on standard error; 2 wrong usage.

A second reader of the format, which follows docs/format.md section by section and uses nothing else of
this project; not made for speed.
"""

import json
import os
import re
import struct
import sys

import lz4.block

try:
    import xxhash
except ImportError:
    xxhash = None

VERSION = 1

# Section 5, limits.
MAX_KEY = 65_535
MAX_VALUE = 512 << 20
MAX_RAW_SHARED = 4 << 20
MAX_RAW_SINGLE = (512 << 20) + (128 << 10)
MAX_EXPANSION = 255
MAX_MANIFEST = 64 << 20
MAX_STORE_NAME = 1024

MANIFEST = "MANIFEST.json"
MASK = (1 << 64) - 1


class Refused(Exception):
    """The backup must not be used: which file, which part of it, and why."""

    def __init__(self, file, part, why):
        super().__init__(f"{file}, {part}: {why}")
        self.file, self.part, self.why = file, part, why


def _crc_table():
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = (byte >> 1) ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


_TABLE = _crc_table()


def crc32c(data, crc=0):
    """CRC-32C of `data`, continued from `crc`."""
    crc ^= 0xFFFFFFFF
    for byte in data:
        crc = (crc >> 8) ^ _TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


assert crc32c(b"123456789") == 0xE3069283


def entry_hash(key, value):
    """The hash of an entry, section 3."""
    return xxhash.xxh3_64_intdigest(struct.pack("<I", len(key)) + key + value)


class Tally:
    """Counts and digest of what was read."""

    def __init__(self):
        self.entries = self.removes = self.raw_bytes = self.digest = 0

    def add(self, key, value):
        self.raw_bytes += len(key) + len(value or b"")
        if value is None:
            self.removes += 1
            return
        self.entries += 1
        if xxhash:
            self.digest = (self.digest + entry_hash(key, value)) & MASK


# ---------------------------------------------------------------- section 2: block


def varint(raw, at, end, refuse):
    """The number at `at` and where it ends."""
    value = 0
    for group in range(5):
        if at >= end:
            refuse("a number runs over the end of the entries")
        byte = raw[at]
        at += 1
        value |= (byte & 0x7F) << (7 * group)
        if byte < 0x80:
            if value > 0xFFFFFFFF:
                refuse("a number does not fit 32 bits")
            return value, at
    refuse("a number of more than five bytes")


def read_block(block, kind, refuse):
    """The entries of one whole block: a list of keys and values; no value is a remove."""
    if len(block) < 32:
        refuse("shorter than a header")
    magic, version, got_kind, codec, zero = struct.unpack_from("<4sBBBB", block, 0)
    stored_len, raw_len, count, restarts, head_crc, crc = struct.unpack_from("<6I", block, 8)
    if magic != b"WBLK":
        refuse("not a block")
    if crc32c(block[:24]) != head_crc:
        refuse("checksum of the header")
    if version != VERSION:
        refuse(f"format version {version}")
    if got_kind != kind or codec > 1 or zero != 0:
        refuse("another kind, an unknown codec, or flags")
    if len(block) != 32 + stored_len:
        refuse("another length than its header states")
    limit = MAX_RAW_SINGLE if count == 1 else MAX_RAW_SHARED
    if raw_len > limit or raw_len > MAX_EXPANSION * stored_len or stored_len > raw_len:
        refuse("a length beyond the limits")
    if not 1 <= restarts <= count or 3 * count + 4 * restarts > raw_len:
        refuse("impossible counts")
    stored = block[32:]
    if crc32c(stored, crc32c(block[:28])) != crc:
        refuse("checksum")
    if codec == 0:
        raw = stored
    else:
        try:
            raw = lz4.block.decompress(stored, uncompressed_size=raw_len)
        except lz4.block.LZ4BlockError:
            refuse("the stored bytes are not LZ4")
    if len(raw) != raw_len:
        refuse("another raw length than its header states")
    body = raw_len - 4 * restarts
    return read_entries(raw, body, count, struct.unpack_from(f"<{restarts}I", raw, body), kind, refuse)


def read_entries(raw, body, count, points, kind, refuse):
    entries, key, at, passed = [], None, 0, 0
    for _ in range(count):
        is_point = passed < len(points) and points[passed] == at
        shared, at = varint(raw, at, body, refuse)
        rest, at = varint(raw, at, body, refuse)
        length, at = varint(raw, at, body, refuse)
        if is_point:
            passed += 1
            if shared != 0:
                refuse("a restart point shares bytes")
        elif key is None:
            refuse("the first entry is not a restart point")
        if shared > len(key or b"") or shared + rest > MAX_KEY or length > MAX_VALUE + 1:
            refuse("an entry's length is beyond the limits")
        if length == 0 and kind != 2:
            refuse("a remove among entries")
        end = at + rest + max(length - 1, 0)
        if end > body:
            refuse("an entry runs over the end")
        next_key = (key or b"")[:shared] + raw[at : at + rest]
        if key is not None and next_key <= key:
            refuse("keys do not ascend")
        key = next_key
        entries.append((key, raw[at + rest : end] if length else None))
        at = end
    if at != body or passed != len(points):
        refuse("bytes or restart points are left over")
    return entries


# ---------------------------------------------------------------- section 3: shard and delta


def read_file(data, name, kind, backup_id, store, record):
    """The entries of one file, checked against its record of the manifest."""

    def refuse_in(part):
        def refuse(why):
            raise Refused(name, part, why)

        return refuse

    header, footer = refuse_in("header"), refuse_in("footer")
    if len(data) != record["bytes"]:
        refuse_in("the file as a whole")("another length than the manifest states")
    if len(data) < 120:
        refuse_in("the file as a whole")("shorter than header and footer")
    magic, version, got_kind, identity, got_store, number, crc = struct.unpack_from("<8sHH16sIII", data, 0)
    if magic != b"WHIMBREL":
        header("not a file of a backup")
    if crc32c(data[:36]) != crc:
        header("checksum")
    if version != VERSION:
        header(f"format version {version}")
    if got_kind != kind:
        header("another kind of file")
    if identity.hex() != backup_id or got_store != store or f"{number:04}" != name.split("-")[1]:
        header("it belongs to another backup, store or name")
    foot = data[-80:]
    index_at, index_len, blocks, last_len, entries, removes, raw_bytes, digest, index_crc, zero, crc = (
        struct.unpack_from("<QQIIQQQQIQI", foot, 0)
    )
    if foot[72:] != b"LERBMIHW":
        footer("it does not end as it must")
    if crc32c(foot[:68], crc32c(data[:40])) != crc:
        footer("checksum")
    if zero != 0:
        footer("flags")
    if f"{crc:08x}" != record["crc32c"]:
        footer("not the file that the manifest means")
    stated = (record["blocks"], record["entries"], record["removes"], record["raw_bytes"])
    if (blocks, entries, removes, raw_bytes) != stated or f"{digest:016x}" != record["digest"]:
        footer("other counts than the manifest's")
    if index_at < 40 or index_at + index_len != len(data) - 80:
        footer("the index does not lie between blocks and footer")
    index = data[index_at:-80]
    if crc32c(index) != index_crc:
        refuse_in("index")("checksum")
    table, last_key = read_index(index, last_len, blocks, refuse_in("index"))
    if 40 + sum(row[0] for row in table) != index_at:
        refuse_in("index")("the blocks do not end where it begins")
    if sum(row[1] for row in table) != entries + removes:
        refuse_in("index")("other counts than the footer's")
    first_key = table[0][3] if table else b""
    if first_key.hex() != record["first_key"] or last_key.hex() != record["last_key"]:
        footer("another key range than the manifest's")
    found = read_blocks(data, table, 2 if kind == 2 else 1, refuse_in)
    tally = Tally()
    for key, value in found:
        tally.add(key, value)
    if (found[-1][0] if found else b"") != last_key:
        footer("another last key")
    if (tally.entries, tally.removes, tally.raw_bytes) != (entries, removes, raw_bytes):
        footer("other counts")
    if xxhash and tally.digest != digest:
        footer("digest")
    return found


def read_index(index, last_len, blocks, refuse):
    """Length, entries, CRC and first key of each block; and the last key of the file."""
    end = len(index) - last_len
    if end < 0:
        refuse("the last key is longer than the index")
    table, at = [], 0
    while at < end:
        if at + 14 > end:
            refuse("an entry is cut")
        length, count, crc, key_len = struct.unpack_from("<IIIH", index, at)
        at += 14
        if at + key_len > end:
            refuse("an entry is cut")
        key = index[at : at + key_len]
        at += key_len
        if table and key <= table[-1][3]:
            refuse("keys do not ascend")
        table.append((length, count, crc, key))
    if len(table) != blocks:
        refuse("another number of blocks than the footer's")
    last_key = index[end:]
    if table and last_key < table[-1][3] or not table and last_key:
        refuse("the last key comes before the last block")
    return table, last_key


def read_blocks(data, table, kind, refuse_in):
    found, at = [], 40
    for number, (length, count, crc, key) in enumerate(table):
        refuse = refuse_in(f"block {number}")
        block = data[at : at + length]
        entries = read_block(block, kind, refuse)
        if struct.unpack_from("<I", block, 28)[0] != crc:
            refuse("not the block that the index means")
        if len(entries) != count or entries[0][0] != key:
            refuse("the index states another count or first key")
        if found and entries[0][0] <= found[-1][0]:
            refuse("keys do not ascend across blocks")
        found += entries
        at += length
    return found


# ---------------------------------------------------------------- section 4: manifest

TEXT, COUNT, LIST = str, int, list
TOP = {
    "format": TEXT,
    "version": COUNT,
    "id": "hex 32",
    "created_unix_ms": COUNT,
    "snapshot": COUNT,
    "stores": LIST,
    "user": None,
    "crc32c": "hex 8",
}
TOP_OPTIONAL = {"base": None}
BASE = {"id": "hex 32", "crc32c": "hex 8", "position": COUNT, "stores": LIST}
STORE = {"name": TEXT, "entries": COUNT, "digest": "hex 16", "shards": LIST, "deltas": LIST}
STORE_OPTIONAL = {"gc_deltas": LIST}
FILE = {
    "file": TEXT,
    "bytes": COUNT,
    "blocks": COUNT,
    "entries": COUNT,
    "removes": COUNT,
    "raw_bytes": COUNT,
    "first_key": "hex",
    "last_key": "hex",
    "digest": "hex 16",
    "crc32c": "hex 8",
}


def refuse_manifest(why):
    raise Refused(MANIFEST, "the file as a whole", why)


def check_members(found, wanted, optional=()):
    """Exactly these members, and perhaps the optional ones, each of its type."""
    if not isinstance(found, dict) or set(found) - set(optional) != set(wanted):
        refuse_manifest("members are missing or unknown")
    kinds = {**wanted, **dict(optional)}
    for name, value in found.items():
        kind = kinds[name]
        if kind is None:
            continue
        if isinstance(kind, str):
            _, _, digits = kind.partition(" ")
            pattern = f"[0-9a-f]{{{digits}}}" if digits else "([0-9a-f]{2})*"
            good = isinstance(value, str) and re.fullmatch(pattern, value)
        else:
            good = type(value) is kind and (kind is not COUNT or 0 <= value <= MASK)
        if not good:
            refuse_manifest(f"{name} is not what it must be")


def once(pairs):
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member occurs twice")
    return members


def read_manifest(data):
    if len(data) > MAX_MANIFEST:
        refuse_manifest("too long")
    end = re.fullmatch(rb'(.*,\n  )"crc32c": "([0-9a-f]{8})"\n}\n', data, re.DOTALL)
    if not end:
        refuse_manifest("it does not end in its checksum")
    if f"{crc32c(end[1]):08x}".encode() != end[2]:
        refuse_manifest("checksum")
    try:
        manifest = json.loads(data.decode("utf-8"), object_pairs_hook=once)
        json.dumps(manifest, ensure_ascii=False).encode()  # refuses half surrogate pairs
    except (ValueError, RecursionError) as error:
        refuse_manifest(f"not JSON: {error}")
    if not isinstance(manifest, dict) or manifest.get("format") != "whimbrel-backup":
        refuse_manifest("not the manifest of a backup")
    if manifest.get("version") != VERSION:
        refuse_manifest(f"format version {manifest.get('version')}")
    check_members(manifest, TOP, TOP_OPTIONAL)
    continued = check_base(manifest)
    names, files = set(), {MANIFEST}
    for store in manifest["stores"]:
        check_members(store, STORE, STORE_OPTIONAL)
        if not 1 <= len(store["name"].encode()) <= MAX_STORE_NAME or store["name"] in names:
            refuse_manifest("the name of a store is empty, too long, or there twice")
        names.add(store["name"])
        for _, prefix, records in files_of(store):
            for record in records:
                check_members(record, FILE)
                number = re.fullmatch(rf"{prefix}-(\d{{4}}|[1-9]\d{{4,9}})", record["file"], re.ASCII)
                if not number or int(number[1]) > 0xFFFFFFFF or record["file"] in files:
                    refuse_manifest("a file has a wrong name or is listed twice")
                files.add(record["file"])
        check_shards(store, store["name"] in continued)
    if not continued <= names:
        refuse_manifest("a store that is continued is not listed")
    return manifest, files


def check_base(manifest):
    """Names of the stores that begin as they were in the backup before."""
    base = manifest.get("base")
    if base is None:
        return set()
    check_members(base, BASE)
    names = base["stores"]
    if base["position"] < 1 or not all(isinstance(name, str) for name in names):
        refuse_manifest("impossible base")
    if len(set(names)) != len(names):
        refuse_manifest("a store is continued twice")
    return set(names)


def files_of(store):
    """Kind, first part of the name, and records of a store's files, in the order in which they are applied."""
    return (
        (1, "shard", store["shards"]),
        (3, "gc", store.get("gc_deltas", [])),
        (2, "delta", store["deltas"]),
    )


def check_shards(store, continued):
    if continued and store["shards"]:
        refuse_manifest("a store that is continued has shards")
    last, entries, digest = None, 0, 0
    for record in store["shards"]:
        first_key, last_key = bytes.fromhex(record["first_key"]), bytes.fromhex(record["last_key"])
        if record["entries"] == 0 or record["removes"] != 0 or first_key > last_key:
            refuse_manifest("impossible counts or key range of a shard")
        if last is not None and first_key <= last:
            refuse_manifest("shards overlap or are not in key order")
        last = last_key
        entries += record["entries"]
        digest = (digest + int(record["digest"], 16)) & MASK
    for record in store.get("gc_deltas", []):
        if record["entries"] == 0 or record["removes"] != 0 or record["first_key"] > record["last_key"]:
            refuse_manifest("impossible counts or key range of a GC delta")
    if continued or store["deltas"] or store.get("gc_deltas"):
        return
    if (entries, f"{digest:016x}") != (store["entries"], store["digest"]):
        refuse_manifest("a store's shards do not add up to it")


# ---------------------------------------------------------------- sections 1 and 8: the backup


def read_bytes(directory, name):
    with open(os.path.join(directory, name), "rb") as file:
        return file.read()


def read_base(directory, base):
    """Manifest and stores of the backup that one continues: section 10, in the directories beside it."""
    root, own = os.path.split(os.path.abspath(directory))
    found = [name for name in os.listdir(root) if re.fullmatch(r"\d{8,}-" + base["id"], name, re.ASCII)]
    if len(found) != 1 or not re.fullmatch(r"\d{8,}-[0-9a-f]{32}", own, re.ASCII):
        refuse_manifest("the backup that it continues is not beside it")
    if int(found[0].split("-")[0]) >= int(own.split("-")[0]):
        refuse_manifest("the backup that it continues has a greater number")
    manifest, stores = read_chain(os.path.join(root, found[0]))
    position = manifest["base"]["position"] if "base" in manifest else 0
    if manifest["id"] != base["id"] or manifest["crc32c"] != base["crc32c"]:
        refuse_manifest("the backup beside it is not the one that it continues")
    if position + 1 != base["position"]:
        refuse_manifest("it has another place in its chain")
    return dict(stores)


def read_backup(directory):
    """The name and the entries (a dict) of every store."""
    return read_chain(directory)[1]


def read_chain(directory):
    """The manifest, and the name and the entries (a dict) of every store."""
    if not os.path.exists(os.path.join(directory, MANIFEST)):
        raise Refused(directory, "the directory", "no manifest: no backup")
    manifest, files = read_manifest(read_bytes(directory, MANIFEST))
    # A claim beside a manifest is of an export that came too late.
    there = set(os.listdir(directory)) - {MANIFEST + ".tmp"}
    for name in sorted(there ^ files):
        raise Refused(name, "the file as a whole", "it is missing, or does not belong here")
    base = manifest.get("base")
    before = read_base(directory, base) if base else {}
    stores = []
    for number, store in enumerate(manifest["stores"]):
        entries = {}
        if base and store["name"] in base["stores"]:
            if store["name"] not in before:
                refuse_manifest("the backup before lacks a store that is continued")
            entries = dict(before[store["name"]])
        for kind, _, records in files_of(store):
            for record in records:
                data = read_bytes(directory, record["file"])
                for key, value in read_file(data, record["file"], kind, manifest["id"], number, record):
                    if value is None:
                        entries.pop(key, None)
                    else:
                        entries[key] = value
        digest = sum(entry_hash(*entry) for entry in entries.items()) & MASK if xxhash else None
        if len(entries) != store["entries"] or (xxhash and f"{digest:016x}" != store["digest"]):
            refuse_manifest(f"store {store['name']!r} has other content in the end")
        stores.append((store["name"], entries))
    return manifest, stores


def main(args):
    if len(args) != 1:
        print("usage: read_backup.py DIR", file=sys.stderr)
        return 2
    try:
        stores = read_backup(args[0])
    except (Refused, OSError) as error:
        print(f"read_backup: {error}", file=sys.stderr)
        return 3
    if not xxhash:
        print("read_backup: digests were not compared (package xxhash is missing)", file=sys.stderr)
    for name, entries in stores:
        for key in sorted(entries):
            line = {"store": name, "key": key.hex(), "value": entries[key].hex()}
            print(json.dumps(line, ensure_ascii=False))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
