#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""check.py DIRECTORY PROMISED: checks that every line "SEQUENCE NUMBER" of PROMISED
is in the log once and unchanged, that numbers only grow, that sequences have no
gaps, and that the log is sound. Prints the last number. It reads the log by
readlog.py and shares no code with the writer."""
import os, sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import readlog


def main(directory, promised):
    reader, found, last, problems, previous = readlog.Reader(), {}, -1, 0, None
    for sequence, group in reader.read(directory):
        if previous is not None and sequence != previous + 1:
            problems += 1
            print(f"sequence {sequence} follows {previous}", file=sys.stderr)
        previous = sequence
        data = {e["Data"]["key"]: e["Data"]["value"] for e in group["events"]}
        if "crash::number" not in data:
            continue
        number = found[sequence] = data["crash::number"]
        if number <= last:
            problems += 1
            print(f"number {number} follows {last}", file=sys.stderr)
        last = number
    for line in open(promised):
        if line.endswith("\n"):
            sequence, number = map(int, line.split())
            if found.get(sequence) != number:
                problems += 1
                print(f"entry {sequence} has number {found.get(sequence)}, promised was {number}", file=sys.stderr)
    print(last)
    return 1 if problems + reader.problems else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
