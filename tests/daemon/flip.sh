#!/bin/bash
# SPDX-License-Identifier: MIT
# Flips single bytes of a recorded stream, outside the padding: each is found, and its place named.
# SEED=n repeats a run.
. "${0%/*}/../tap.sh"
seed=${SEED:-$$}
flips=300
stream=$tmp/flip.dbuf
echo "# SEED=$seed"

check "a small random stream is recorded" "$B/dbufd" -c /dev/null -o output_file_path="$stream" \
    -o source.type=random -o source.limit=10MB -o source.seed=7 -o writer_count=2 \
    -o buffer_capacity=1MB -o output.segment_size=4MiB -o output.durability=none
check "it is whole" "$B/dbufctl" verify --random "$stream"

cat >"$tmp/flip.py" <<'END'
import glob, json, random, struct, subprocess, sys

dbufctl, stream, seed, flips = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
rng = random.Random(seed)
PAGE, HEADER = 4096, 64


def extents(data):
    """(offset, bytes without padding, bytes) of the header and of every extent."""
    yield 0, PAGE, PAGE
    at = PAGE
    while at < len(data):
        used = struct.unpack_from("<I", data, at + 36)[0]
        stored = (HEADER + used + PAGE - 1) // PAGE * PAGE
        yield at, HEADER + used, stored
        at += stored


def verify():
    out = subprocess.run([dbufctl, "verify", "--json", stream], capture_output=True)
    return out.returncode, json.loads(out.stdout)["findings"] if out.stdout else []


def flip(path, offset, bits):
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ bits]))


files = sorted(glob.glob(stream.replace(".dbuf", ".*.dbuf")))
assert len(files) >= 3, files
bad = 0
for number in range(flips):
    path = rng.choice(files)
    with open(path, "rb") as file:
        start, content, stored = rng.choice(list(extents(file.read())))
    # Headers are small and would seldom be hit.
    offset = start + rng.randrange(min(content, HEADER + 16) if number % 2 else content)
    bits = 1 << rng.randrange(8)
    flip(path, offset, bits)
    status, findings = verify()
    flip(path, offset, bits)
    named = any(f["file"] == path and f.get("offset", -1) in range(start, offset + 1) for f in findings)
    if status != 1 or not named:
        bad += 1
        print(f"{path}: offset {offset}, bits {bits:#x}: exit {status}, {findings}")
sys.exit(bad > 0)
END
check "each of $flips flipped bytes is found and located (SEED=$seed)" \
    python3 "$tmp/flip.py" "$B/dbufctl" "$stream" "$seed" "$flips"
check "put right again it is whole" "$B/dbufctl" verify --random "$stream"
tap_end
