#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Kills dbufd at random moments and asks the files for every block that counted.

usage: kill.py BUILD FOLDER ROUNDS SEED

The oracle is outside of the daemon: the region, which the manager keeps (or the file that it lies in),
is mapped here. It is read before the kill, at full load, and once more when the process is gone: what
is published then is exactly what the files must hold when the next process has recovered.

Raw output has no checkpoints: blocks of one size from one writer, compared byte for byte with a
recording that was never killed.
"""
import glob
import mmap
import os
import random
import shutil
import signal
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from holder import Manager  # noqa: E402
from oracle import agree, published, stated  # noqa: E402

PATIENCE_S = 120  # a bound on hanging


class Oracle:
    """The region of the process that runs: the only one that the manager keeps, or the file."""

    def __init__(self, path):
        self.path, self.map = path, None

    def open(self, manager):
        self.close()
        fd = os.open(self.path, os.O_RDONLY) if self.path else None
        if fd is None:
            regions = [fd for name, fd in manager.kept if name.startswith("dbufd-")]
            if len(regions) != 1:
                raise SystemExit(f"not ok - {len(regions)} regions are kept while it runs")
            fd = os.dup(regions[0])
        self.map = mmap.mmap(fd, os.fstat(fd).st_size, prot=mmap.PROT_READ)
        os.close(fd)

    def read(self):
        return published(self.map)

    def close(self):
        if self.map is not None:
            self.map.close()
        self.map = None


class Case:
    """One stream, killed again and again, then stopped and verified."""

    def __init__(self, build, folder, rng, kind, writers, durability, capacity):
        self.build, self.folder, self.rng = build, folder, rng
        self.kind, self.writers = kind, writers
        self.name = f"{kind}, {writers} writers, durability {durability}, buffer {capacity}"
        self.stream = os.path.join(folder, "k.dbuf")
        self.file = os.path.join(folder, "region") if kind == "file" else None
        self.oracle = Oracle(self.file)
        self.manager = Manager([], log=os.path.join(folder, "log"))
        self.options = [
            "-o", f"output_file_path={self.stream}", "-o", f"writer_count={writers}",
            "-o", f"output.durability={durability}", "-o", f"buffer_capacity={capacity}",
            "-o", f"crash_buffer={'file:' + self.file if self.file else 'fdstore'}",
            "-o", "output.segment_size=32MiB", "-o", "output.min_free=1MiB",
            "-o", "output.sync_interval=10ms", "-o", "output.flush_interval=20ms"]
        self.kills = self.early = 0

    def fail(self, what):
        with open(os.path.join(self.folder, "log"), errors="replace") as log:
            print("".join("#   " + line for line in log.readlines()[-15:]), end="")
        raise SystemExit(f"not ok - {self.name}: {what}")

    def start(self, seed, *more):
        self.manager.command = [os.path.join(self.build, "dbufd"), "-c", "/dev/null", *self.options,
                                "-o", f"source.seed={seed}", *more]
        self.manager.start()

    def start_killed(self, seed):
        """Kills it somewhere in its start, recovery and all; or it comes to READY."""
        self.start(seed)
        self.manager.wait(self.rng.random() * 0.06, lambda: self.manager.ready)
        if self.manager.ready:
            return False
        self.manager.kill()
        self.manager.wait(PATIENCE_S)
        self.early += 1
        return True

    def run_and_kill(self, seed, before):
        """One life. `before`: the next blocks that it must begin with; returns those that it leaves."""
        for _ in range(self.rng.choice((0, 0, 1, 2))):
            if not self.start_killed(seed):
                break
        if self.manager.pid is None or self.manager.status is not None:
            self.start(seed)
        self.manager.wait(PATIENCE_S, lambda: self.manager.ready)
        if not self.manager.ready:
            self.fail(f"it does not start: status {self.manager.status}")
        self.oracle.open(self.manager)
        begun, segment = stated(self.stream, seed)
        self.compare(segment, begun, before)
        self.manager.wait(self.rng.random() * self.rng.choice((0.03, 0.15)))
        # Every other time it is stopped first: then the two readings must agree.
        frozen = self.rng.random() < 0.5
        if frozen:
            self.manager.kill(signal.SIGSTOP)
            self.wait_stopped()
        counted = self.oracle.read()
        self.manager.kill()
        self.manager.wait(PATIENCE_S)
        left = self.oracle.read()
        if any(a > b > 0 for a, b in zip(counted, left)) or (frozen and counted != left):
            self.fail(f"the oracle contradicts itself: {counted}, then {left}")
        self.kills += 1
        return [(now, max(then, at_begin)) for now, then, at_begin in zip(left, counted, begun)]

    def compare(self, segment, begun, before):
        if begun is None:
            self.fail("no segment states this run's seed")
        if before is not None and not agree(begun, before):
            self.fail(f"{segment} begins with {begun}; published, and at least counted, before: "
                      f"{before}")

    def wait_stopped(self):
        while open(f"/proc/{self.manager.pid}/stat").read().rsplit(")", 1)[1].split()[0] not in "Tt":
            pass

    def run(self, rounds):
        left = None
        for _ in range(rounds):
            left = self.run_and_kill(self.rng.getrandbits(62), left)
        seed = self.rng.getrandbits(62)
        self.start(seed, "-o", "source.limit=100kB")
        if not self.manager.wait(PATIENCE_S) or self.manager.status != 0:
            self.fail(f"in the end it does not end well: status {self.manager.status}")
        begun, segment = stated(self.stream, seed)
        self.compare(segment, begun, left)
        if self.manager.kept or self.file and os.path.exists(self.file):
            self.fail("it ended well and left its region behind")
        self.manager.close()
        self.oracle.close()
        verify = subprocess.run([os.path.join(self.build, "dbufctl"), "verify", "--random",
                                 self.stream], capture_output=True, text=True)
        if verify.returncode != 0:
            self.fail("verify: " + verify.stdout + verify.stderr)
        for path in glob.glob(os.path.join(self.folder, "*")):
            os.unlink(path)


class RawCase(Case):
    BLOCK = 1000

    def __init__(self, build, folder, rng, kind, segment_size):
        super().__init__(build, folder, rng, kind, 1, "none", "256KiB")
        self.name = f"raw, {kind}, segments of {segment_size}"
        self.options += ["-o", "output.format=raw", "-o", f"output.segment_size={segment_size}",
                         "-o", f"source.min_block={self.BLOCK}",
                         "-o", f"source.max_block={self.BLOCK}", "-o", "source.rate=200MB"]

    def reference(self, seed, blocks):
        """The first blocks of that seed, from a recording that was never killed."""
        path = os.path.join(self.folder, "reference")
        subprocess.run([os.path.join(self.build, "dbufd"), "-c", "/dev/null", "-o", "writer_count=1",
                        "-o", f"output_file_path={path}", "-o", "output.format=raw",
                        "-o", "output.segment_size=0", "-o", "buffer_capacity=1MB",
                        "-o", f"source.min_block={self.BLOCK}",
                        "-o", f"source.max_block={self.BLOCK}",
                        "-o", f"source.seed={seed}", "-o", "output.min_free=1MiB",
                        "-o", f"source.limit={blocks * self.BLOCK}"],
                       check=True, stderr=subprocess.DEVNULL)
        with open(path, "rb") as file:
            content = file.read()
        os.unlink(path)
        return content

    def behind(self, seed, got, at):
        """Where the blocks of that seed end that begin at `at`, if there are any."""
        blocks = 1
        while got[at:at + blocks * self.BLOCK] == self.reference(seed, blocks):
            blocks *= 2
        content = self.reference(seed, blocks)
        alike = os.path.commonprefix([got[at:at + len(content)], content])
        return at + len(alike) // self.BLOCK * self.BLOCK

    def run(self, rounds):
        expected = []
        for _ in range(rounds):
            for _ in range(self.rng.choice((0, 0, 1, 2))):
                seed = self.rng.getrandbits(62)
                if not self.start_killed(seed):
                    break
                # Its writers may have begun before it could say that it is ready.
                expected.append((seed, None))
            if self.manager.pid is None or self.manager.status is not None:
                seed = self.rng.getrandbits(62)
                self.start(seed)
            self.manager.wait(PATIENCE_S, lambda: self.manager.ready)
            if not self.manager.ready:
                self.fail(f"it does not start: status {self.manager.status}")
            self.oracle.open(self.manager)
            self.manager.wait(self.rng.random() * 0.15)
            self.manager.kill()
            self.manager.wait(PATIENCE_S)
            expected.append((seed, self.oracle.read()[0]))
            self.kills += 1
        self.start(self.rng.getrandbits(62), "-o", f"source.limit={self.BLOCK}")
        if not self.manager.wait(PATIENCE_S) or self.manager.status != 0:
            self.fail(f"in the end it does not end well: status {self.manager.status}")
        self.manager.close()
        self.oracle.close()
        paths = sorted(glob.glob(self.stream.replace(".dbuf", "*.dbuf")))
        got = b"".join(open(path, "rb").read() for path in paths)[:-self.BLOCK]
        at = 0
        for seed, blocks in expected:
            if blocks is None:
                at = self.behind(seed, got, at)
                continue
            if blocks == 0:
                continue
            content = self.reference(seed, blocks)
            if got[at:at + len(content)] != content:
                same = next(i for i, (a, b) in enumerate(zip(got[at:], content)) if a != b)
                self.fail(f"of {blocks} blocks of a run, block {same // self.BLOCK} is another")
            at += len(content)
        if at != len(got):
            self.fail(f"{len(got) - at} bytes more than were published")
        for path in glob.glob(os.path.join(self.folder, "*")):
            os.unlink(path)


class StepsCase(Case):
    """The start that recovers is killed at its system calls, one after the other, and then once more."""

    def __init__(self, build, folder, rng, durability):
        super().__init__(build, folder, rng, "file", 4, durability, "256KiB")
        self.name = f"at each system call of the recovery, durability {durability}"
        self.trace = os.path.join(folder, "trace")

    def traced(self, *options):
        """The start that comes after a crash, by strace, until it ends."""
        command = ["strace", "-qq", "-o", self.trace, *options, os.path.join(self.build, "dbufd"),
                   "-c", "/dev/null", *self.options, "-o", "source.seed=1", "-o", "source.limit=1"]
        return subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode

    def steps(self):
        """The calls between the finding of the region and the first thread, each with its ordinal."""
        if self.traced() != 0:
            self.fail("it does not recover under strace")
        counts, steps, found = {}, [], False
        with open(self.trace) as trace:
            for line in trace:
                name = line.split("(")[0]
                if name.startswith("clone"):
                    break
                counts[name] = counts.get(name, 0) + 1
                found = found or self.file in line
                if found and name.isidentifier():
                    steps.append((name, counts[name]))
        return steps

    def files(self):
        return [p for p in glob.glob(os.path.join(self.folder, "*")) if p not in (self.trace, "log")]

    def run(self, every):
        left = None
        while not left or max(now for now, _ in left) == 0:
            left = self.run_and_kill(self.rng.getrandbits(62), None)
        self.oracle.close()
        kept = {path: open(path, "rb").read() for path in self.files()}
        steps = self.steps()
        count = 0
        for i in range(self.rng.randrange(every), len(steps), every):
            self.restore(kept)
            for name, ordinal in (steps[i], self.rng.choice(steps)):
                self.traced("-e", f"inject={name}:signal=KILL:when={ordinal}")
                count += 1
            seed = self.rng.getrandbits(62)
            self.start(seed, "-o", "source.limit=1kB")
            if not self.manager.wait(PATIENCE_S) or self.manager.status != 0:
                self.fail(f"after {steps[i]}: it does not end well: status {self.manager.status}")
            begun, segment = stated(self.stream, seed)
            self.compare(f"after {steps[i]}: {segment}", begun, left)
            verify = subprocess.run([os.path.join(self.build, "dbufctl"), "verify", "--random",
                                     self.stream], capture_output=True, text=True)
            if verify.returncode != 0:
                self.fail(f"after {steps[i]}: verify: {verify.stdout}")
        self.manager.close()
        self.restore({})
        return count, len(steps)

    def restore(self, kept):
        for path in self.files():
            os.unlink(path)
        for path, content in kept.items():
            with open(path, "wb") as file:
                file.write(content)


def main():
    build, folder, rounds, seed = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    rng = random.Random(seed)
    cases = [(kind, writers, durability, capacity)
             for kind in ("fdstore", "file")
             for writers, durability, capacity in (
                 (1, "none", "128KiB"), (4, "half", "256KiB"), (16, "interval", "1MB"),
                 (4, "none", "100MB"), (16, "half", "128KiB"), (1, "interval", "8MB"))]
    each = max(1, rounds // (len(cases) + 3))
    kills = early = number = 0
    for case in cases:
        number += 1
        one = Case(build, folder, rng, *case)
        one.run(each)
        kills, early = kills + one.kills, early + one.early
        print(f"ok {number} - {one.name}: {one.kills} kills at work, {one.early} at the start, "
              "0 blocks lost, doubled or changed", flush=True)
    for kind, segment_size in (("fdstore", "0"), ("file", "4MiB"), ("fdstore", "4MiB")):
        number += 1
        one = RawCase(build, folder, rng, kind, segment_size)
        one.run(each)
        kills, early = kills + one.kills, early + one.early
        print(f"ok {number} - {one.name}: {one.kills} kills at work, {one.early} at the start, "
              "byte for byte", flush=True)
    for durability in ("none", "half"):
        number += 1
        if shutil.which("strace") is None:
            print(f"ok {number} - at each system call of the recovery # SKIP strace is not here")
            continue
        one = StepsCase(build, folder, rng, durability)
        count, steps = one.run(1 if rounds >= 5000 else 8)
        print(f"ok {number} - {one.name}: {count} kills at {steps} calls", flush=True)
    print(f"# {kills} kills at work, {early} at the start")
    print(f"1..{number}")


if __name__ == "__main__":
    try:
        main()
    finally:
        for path in glob.glob(os.path.join(sys.argv[2], "*")):
            if os.path.isdir(path):
                shutil.rmtree(path)
