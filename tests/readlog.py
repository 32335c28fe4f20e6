#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Reads and checks a log only by its specification, docs/log-format.md, with zstd(1).

usage: readlog.py [-q] DIRECTORY|SEGMENT...   prints one line of JSON per entry,
{"seq": ..., "group": ...}, with byte strings in hex, and a summary on stderr.
Exit status: 0 if the log is sound, 1 if it violates the specification.
"""
import hashlib, json, os, re, struct, subprocess, sys

HEADER = struct.Struct("<IIIHHHHBBH16s16sQQQqQIIIII32s")
NAME = re.compile(r"audit-([0-9a-f]{16})\.cborseq\.zst$")
START, MASK, TABLE = 1, (1 << 64) - 1, []
for n in range(256):
    for _ in range(8):
        n = n >> 1 ^ (0x82F63B78 if n & 1 else 0)
    TABLE.append(n)


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ TABLE[(crc ^ byte) & 255]
    return crc ^ 0xFFFFFFFF


def cbor(b, at):
    """Returns the item at b[at:] and its end."""
    major, low = b[at] >> 5, b[at] & 31
    at += 1
    size = 1 << low - 24 if low >= 24 else 0
    n, at = int.from_bytes(b[at:at + size], "big") if size else low, at + size
    if major in (0, 1):
        return (-1 - n if major else n), at
    if major in (2, 3):
        text = b[at:at + n]
        return (text if major == 2 else text.decode()), at + n
    if major in (4, 5):
        items = []
        for _ in range(n * (major - 3)):
            item, at = cbor(b, at)
            items.append(item)
        return (items if major == 4 else dict(zip(items[::2], items[1::2]))), at
    return {20: False, 21: True, 22: None}[n], at


def bits(kind, text, k, m):
    h = 0xCBF29CE484222325
    for byte in bytes([kind]) + (text.encode() if isinstance(text, str) else text):
        h = (h ^ byte) * 0x100000001B3 & MASK
    h = (h ^ h >> 33) * 0xFF51AFD7ED558CCD & MASK
    h = (h ^ h >> 33) * 0xC4CEB9FE1A85EC53 & MASK
    h ^= h >> 33
    return [(h + i * (h >> 32 | 1)) % 2**32 % m for i in range(k)]


def terms(group):
    if not any(group["context"]):
        return  # a notice about the log itself
    yield from ((kind, group[key]) for kind, key in ((1, "name"), (3, "executable")) if key in group)
    data = [e["Data"] for e in group["events"] if "Data" in e]
    yield from ((2, d["key"]) for d in data)
    for key, value in ((d["key"].encode(), d["value"]) for d in data if d["key"] != "name"):
        if isinstance(value, int):
            yield 8, key + bytes([0, value & 255, value >> 8 & 255])
        elif len(value := value.encode() if isinstance(value, str) else value) <= 64:
            yield 8, key + b"\1" + value


class Reader:
    def __init__(self):
        self.problems, self.torn, self.entries = 0, 0, 0
        self.last = self.store = self.hash = None

    def problem(self, path, offset, what):
        self.problems += 1
        print(f"{path}: offset {offset}: {what}", file=sys.stderr)

    def segment(self, path):
        """Yields (sequence, group) for every entry of a segment file."""
        data, at, chunks = open(path, "rb").read(), 0, []
        while at + HEADER.size <= len(data):
            f = HEADER.unpack_from(data, at)
            magic, n, name, version, _, incompatible, filtered = f[:7]
            packed, crc, body = f[19], f[21], at + 8 + n
            if (magic, name) != (0x184D2A5C, 0x55415243) or body + packed > len(data) or (
                    crc32c(data[at:body - 4]) != int.from_bytes(data[body - 4:body], "little")):
                break
            if version != 1 or incompatible:
                return self.problem(path, at, "written by a newer version")
            if crc32c(data[body:body + packed]) != crc:
                break  # the header is complete, the payload is torn
            after = at + 148 + filtered
            chunks.append((at, f, data[at + 148:after], data[after:body - 4], data[body:body + packed]))
            at = body + packed
        if at < len(data) and data[at:at + 4] != b"\x5d\x2a\x4d\x18":
            self.torn += 1
            print(f"{path}: torn at {at}", file=sys.stderr)
        packed = b"".join(c[4] for c in chunks)
        plain = subprocess.run(["zstd", "-dcq"], input=packed, stdout=subprocess.PIPE, check=True).stdout
        for at, f, filtered, extra, _ in chunks:
            yield from self.chunk(path, at, f, filtered, extra, plain[:f[20]])
            plain = plain[f[20]:]
        if plain or not chunks:
            self.problem(path, 0, "there is no chunk, or the chunks are longer than their headers state")

    def chunk(self, path, at, f, filtered, extra, plain):
        flags, kinds, k, store, first, entries, after = f[4], f[7], f[8], f[10], f[12], f[17], f[22]
        if flags & START:
            before, chain = struct.unpack_from("<Q32s", extra)
            if self.last is None:
                self.store, self.last, self.hash = store, before, chain
                if before == 0 and chain != hashlib.sha256(store).digest():
                    self.problem(path, at, "the chain does not begin with the store id")
            if (before, chain) != (self.last, self.hash) or first != int(NAME.search(path).group(1), 16):
                self.problem(path, at, f"begins after {before}, but the last entry was {self.last}")
            self.last = first - 1
        if (store, first) != (self.store, self.last + 1):
            self.problem(path, at, f"sequence {first} follows {self.last}, or the store differs")
        end = 0
        for sequence in range(first, first + entries):
            begin = end
            group, end = cbor(plain, begin)
            self.hash = hashlib.sha256(self.hash + plain[begin:end]).digest()
            for kind, text in terms(group):
                if kinds >> kind - 1 & 1:
                    m = 8 * len(filtered)
                    if m == 0 or not all(filtered[b // 8] >> b % 8 & 1 for b in bits(kind, text, k, m)):
                        self.problem(path, at, f"the filter lacks {text}")
            self.entries += 1
            yield sequence, group
        if end != len(plain) or self.hash != after:
            self.problem(path, at, "the entries differ from the header")
        self.last, self.hash = first + entries - 1, after


    def read(self, path):
        names = [os.path.join(path, n) for n in os.listdir(path)] if os.path.isdir(path) else [path]
        for name in sorted(n for n in names if NAME.search(n)):
            yield from self.segment(name)


def main(arguments):
    reader = Reader()
    for path in (a for a in arguments if a != "-q"):
        for sequence, group in reader.read(path):
            if "-q" not in arguments:
                print(json.dumps({"seq": sequence, "group": group}, default=bytes.hex))
    print(f"{reader.entries} entries, last {reader.last}, {reader.torn} torn, {reader.problems} problems", file=sys.stderr)
    return 1 if reader.problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
