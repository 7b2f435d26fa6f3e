# SPDX-License-Identifier: MIT
"""What tests that kill dbufd know without asking it: what is published, from the region, which they map
themselves, and what is stored, from the files alone.

Each run has a random seed of its own, so the first checkpoint that states this seed states what was
stored before this run, by writer.
"""
import glob
import struct

CONTROL_BYTES, MAGIC_AT, GEOMETRY_AT, SEED_AT = 12288, 128, 144, 264
PAGE = 4096


def published(region):
    """The next block of each writer, by what counts in the region: a lower bound while it grows."""
    if len(region) < CONTROL_BYTES or region[MAGIC_AT:MAGIC_AT + 8] != b"dBufRGN1":
        return None
    extent_bytes, extent_count, writer_count = struct.unpack_from("<III", region, GEOMETRY_AT)
    nexts = [0] * writer_count
    for at in range(CONTROL_BYTES, CONTROL_BYTES + 2 * extent_bytes * extent_count, extent_bytes):
        headers = [struct.unpack_from("<IHHIIQQQ", region, at) for _ in range(2)]
        # Read twice: an extent that was taken anew in between is left out.
        same = all(headers[0][i] == headers[1][i] for i in (2, 4, 6))
        if same and headers[0][7] != 0:
            _, _, writer, _, _, _, first, word = headers[0]
            nexts[writer] = max(nexts[writer], first + (word & 0xffffffff))
    return nexts


def seed(region):
    """The seed of the run that the region is of."""
    return struct.unpack_from("<Q", region, SEED_AT)[0]


def stated(stream, seed):
    """What the first checkpoint with this seed says of each writer's next block, and its segment."""
    for path in sorted(glob.glob(stream.replace(".dbuf", ".*.dbuf"))):
        try:
            with open(path, "rb") as file:
                file.seek(PAGE)
                header = file.read(64)
                used = struct.unpack_from("<I", header, 36)[0]
                checkpoint = file.read(used)
        except FileNotFoundError:  # retention has taken it just now
            continue
        count, _, its = struct.unpack_from("<IIQ", checkpoint)
        if its == seed:
            return [struct.unpack_from("<QQ", checkpoint, 48 + 16 * w)[0] for w in range(count)], path
    return None, None


def agree(begun, left):
    """Whether a run begins where the one before has ended: at each writer's `now`, what was published
    when it was killed. A writer that has no extent left in the region has all of its blocks in the
    files: at least `earlier`, those that were counted before."""
    return all(is_at == now if now > 0 else is_at >= earlier
               for is_at, (now, earlier) in zip(begun, left))
