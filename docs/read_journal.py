#!/usr/bin/env python3
"""Prints the records of a journal's directory, one line each: sequence and bytes in hex.

Written from docs/format.md (format of journals, version 1) and from nothing else, with the standard library
only; a test compares what it prints with what the crate replays. It reads, and changes nothing.
"""

import os
import re
import struct
import sys

TABLE = []
for byte in range(256):
    for _ in range(8):
        byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
    TABLE.append(byte)


def crc(seed, data):
    value = seed ^ 0xFFFFFFFF
    for byte in data:
        value = value >> 8 ^ TABLE[(value ^ byte) & 0xFF]
    return value ^ 0xFFFFFFFF


def fail(name, at, why):
    sys.exit(f"{name}, byte {at}: {why}")


def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        value, shift, at = value | (byte & 0x7F) << shift, shift + 7, at + 1
        if byte < 0x80:
            return value, at


def header(name, data, number):
    if len(data) < 64 or data[:8] != b"WHIMJRNL":
        fail(name, 0, "no segment of a journal")
    version, zero, identity, own, first, end, chain, seed = struct.unpack("<II16sQQQII", data[8:64])
    if seed != crc(0, data[:60]):
        fail(name, 0, "the checksum of the header does not fit")
    if (version, zero, own) != (1, 0, number):
        fail(name, 0, "another version, or another segment")
    return identity, first, end, chain, seed


def group(data, at, seed):
    """Header of the group at a place, and its checksum; None where none begins."""
    if len(data) - at < 40 or data[at : at + 4] != b"WJGR":
        return None
    fields = struct.unpack("<IIQQIII", data[at + 4 : at + 40])
    return fields if fields[6] == crc(seed, data[at : at + 36]) else None


def segment(name, data, end, seed, sequence):
    """Prints the records; gives the sequence behind them and the last checksum."""
    at, chain = 64, seed
    limit = len(data) if end is None else end
    while at < limit:
        found = group(data[:limit], at, seed)
        payload = data[at + 40 : at + 40 + found[0]] if found else b""
        if not found or len(payload) < found[0] or crc(seed, payload) != found[5]:
            later = (group(data, place, seed) for place in range(at, len(data)))
            if end is not None or any(each and each[3] > sequence for each in later):
                fail(name, at, "damaged")
            break
        length, count, first, _, before, _, own = found
        if (first, before) != (sequence, chain):
            fail(name, at, f"record {first} stands where record {sequence} must follow")
        place = 0
        for _ in range(count):
            size, place = varint(payload, place)
            print(sequence, payload[place : place + size].hex())
            place, sequence = place + size, sequence + 1
        if place != length:
            fail(name, at, "the records do not fill the group")
        at, chain = at + 40 + length, own
    return sequence, chain, at


def main(directory):
    pattern = re.compile(r"journal-(\d{10,})$")
    names = {int(m.group(1)): m.group(0) for m in map(pattern.match, os.listdir(directory)) if m}
    numbers = sorted(names)
    while any(number + 1 not in names for number in numbers[:-1]):
        numbers.pop(0)
    segments = []
    for number in numbers:
        with open(os.path.join(directory, names[number]), "rb") as file:
            data = file.read()
        segments.append((names[number], data, header(names[number], data, number)))
    for at, (name, data, (identity, first, _, _, seed)) in enumerate(segments):
        following = segments[at + 1][2] if at + 1 < len(segments) else None
        end = following[2] if following else None
        if end is not None and end > len(data):
            fail(name, len(data), "cut short")
        sequence, chain, _ = segment(name, data, end, seed, first)
        if following and (identity, sequence, chain) != (following[0], following[1], following[3]):
            fail(name, end, "the next segment does not follow")


if __name__ == "__main__":
    main(sys.argv[1])
