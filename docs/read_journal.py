#!/usr/bin/env python3
"""Prints the records of a journal, one line each: sequence and bytes in hex digits.

    python3 docs/read_journal.py DIR

Written from docs/format.md (format of journals, version 1) and from nothing else, with the standard library
only. It reads, and changes nothing: a torn end is left out. It knows of no checkpoint, and begins with the
oldest segment behind the last gap. Exit codes: 0 done; 3 the journal is refused, with file, byte and reason on
standard error; 2 wrong usage.
"""

import os
import re
import struct
import sys

# Section J2.
SEGMENT_HEADER, GROUP_HEADER = 64, 40

# Section J4, limits.
MAX_RECORD = 1 << 30
MAX_PAYLOAD = (1 << 30) + (1 << 20) + 5
MAX_SEQUENCE = (1 << 63) - 1


class Refused(Exception):
    """The journal must not be used: which file, where in it, and why."""

    def __init__(self, file, at, why):
        super().__init__(f"{file}, byte {at}: {why}")
        self.file, self.at, self.why = file, at, why


def _crc_table():
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = (byte >> 1) ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


_TABLE = _crc_table()


def crc32c(seed, data):
    """CRC-32C of whatever has the CRC `seed`, followed by `data`."""
    crc = seed ^ 0xFFFFFFFF
    for byte in data:
        crc = (crc >> 8) ^ _TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


assert crc32c(0, b"123456789") == 0xE3069283

# ---------------------------------------------------------------- section J2: segment


class Segment:
    """The bytes of a segment, and what its header says."""

    def __init__(self, name, number, data):
        self.name, self.data = name, data
        if len(data) < SEGMENT_HEADER or data[:8] != b"WHIMJRNL":
            self.refuse(0, "not a segment of a journal, or cut inside its header")
        fields = struct.unpack_from("<II16sQQQII", data, 8)
        version, zero, self.identity, own, self.first = fields[:5]
        self.previous_end, self.previous_chain, self.seed = fields[5:]
        if self.seed != crc32c(0, data[:60]):
            self.refuse(0, "checksum of the header")
        if (version, zero, own) != (1, 0, number):
            self.refuse(0, "another version, or another segment's number")
        if not 1 <= self.first <= MAX_SEQUENCE:
            self.refuse(0, "impossible sequence")

    def refuse(self, at, why):
        raise Refused(self.name, at, why)

    def group_at(self, at, end):
        """Length, count, first, proven, chain, CRCs of payload and header; None where no group begins."""
        if end - at < GROUP_HEADER or self.data[at : at + 4] != b"WJGR":
            return None
        fields = struct.unpack_from("<IIQQIII", self.data, at + 4)
        return fields if fields[6] == crc32c(self.seed, self.data[at : at + 36]) else None

    def is_proven_behind(self, at, sequence):
        """Whether a group behind that place says that the record of this sequence was durable."""
        places = range(at, len(self.data))
        found = (self.group_at(place, len(self.data)) for place in places)
        return any(group and group[3] > sequence for group in found)

    def records(self, payload, count, at):
        found, place = [], 0
        for _ in range(count):
            length, place = varint(payload, place)
            if length is None or length > MAX_RECORD or place + length > len(payload):
                self.refuse(at, "a record runs over the end of its group")
            found.append(payload[place : place + length])
            place += length
        if place != len(payload):
            self.refuse(at, "bytes are left over in a group")
        return found

    def read(self, end, is_last):
        """The records up to `end`, and the checksum that the next group would carry."""
        found, at, chain, proven = [], SEGMENT_HEADER, self.seed, self.first
        while at < end:
            sequence = self.first + len(found)
            group = self.group_at(at, end)
            if group:
                length, count, first, durable, before, payload_crc, own = group
                if (first, before) != (sequence, chain):
                    self.refuse(at, f"record {first} stands where record {sequence} must follow")
                if count == 0 or first + count > MAX_SEQUENCE or not proven <= durable <= first:
                    self.refuse(at, "impossible numbers in a group")
                if length > MAX_PAYLOAD:
                    self.refuse(at, "a payload above the limit")
                payload = self.data[at + GROUP_HEADER : min(at + GROUP_HEADER + length, end)]
            if not group or len(payload) < length or crc32c(self.seed, payload) != payload_crc:
                if not is_last or self.is_proven_behind(at, sequence):
                    self.refuse(at, "damaged: it was durable")
                break
            found += self.records(payload, count, at)
            at, chain, proven = at + GROUP_HEADER + length, own, durable
        return found, chain


def varint(data, at):
    """The number at `at`, and where it ends; None for a number that is none."""
    value = 0
    for group in range(5):
        if at >= len(data):
            return None, at
        byte, at = data[at], at + 1
        value |= (byte & 0x7F) << (7 * group)
        if byte < 0x80:
            return (value if value <= 0xFFFFFFFF else None), at
    return None, at


# ---------------------------------------------------------------- sections J1 and J5: the journal


def read_journal(directory):
    """Sequence and bytes of every record, in order."""
    names = {}
    for name in os.listdir(directory):
        number = re.fullmatch(r"journal-(\d{10}|[1-9]\d{10,})(\.tmp)?", name, re.ASCII)
        if not number and name != "LOCK":
            raise Refused(name, 0, "it does not belong to a journal")
        if number and not number[2]:
            names[int(number[1])] = name
    numbers = sorted(names)
    gaps = [at for at in range(1, len(numbers)) if numbers[at - 1] + 1 != numbers[at]]
    segments = []
    for number in numbers[gaps[-1] if gaps else 0 :]:
        with open(os.path.join(directory, names[number]), "rb") as file:
            segments.append(Segment(names[number], number, file.read()))
        if segments[-1].identity != segments[0].identity:
            segments[-1].refuse(0, "of another journal")
        if segments[-1].first < segments[-2 if len(segments) > 1 else -1].first:
            segments[-1].refuse(0, "it begins before the segment before it")
    records = []
    for at, segment in enumerate(segments):
        following = segments[at + 1] if at + 1 < len(segments) else None
        end = following.previous_end if following else len(segment.data)
        if end > len(segment.data):
            segment.refuse(len(segment.data), "cut short")
        found, chain = segment.read(end, following is None)
        sequence = segment.first + len(found)
        if following and (sequence, chain) != (following.first, following.previous_chain):
            segment.refuse(end, "the next segment does not follow it")
        records += zip(range(segment.first, sequence), found)
    return records


def main(args):
    if len(args) != 1:
        print("usage: read_journal.py DIR", file=sys.stderr)
        return 2
    try:
        records = read_journal(args[0])
    except (Refused, OSError) as error:
        print(f"read_journal: {error}", file=sys.stderr)
        return 3
    for sequence, record in records:
        print(sequence, record.hex())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
