#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Ends the service at full load, again and again, and asks the files for every block that counted.

usage: crash.py LEADER STREAM ROUNDS SEED COMMAND...

LEADER is the test machine's PID 1 as this machine numbers it, STREAM the recording's path here. COMMAND
ends the service in some way, run in the test machine with $PID, the process; "kill" for SIGKILL from
here. The service must come back by itself or by the command. The region of each process is mapped from
here, before its end, and read once more when it is gone: the next process must begin where it has ended.
"""
import glob
import mmap
import os
import random
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "daemon"))
from oracle import agree, published, seed, stated  # noqa: E402

PATIENCE_S = 120  # a bound on hanging


class Machine:
    def __init__(self, leader):
        self.leader = leader
        self.namespace = os.readlink(f"/proc/{leader}/ns/pid")

    def run(self, *command, **environment):
        return subprocess.run(["nsenter", "-t", self.leader, "-a", "--", "env", "LC_ALL=C.UTF-8",
                               *(f"{name}={value}" for name, value in environment.items()),
                               *command], capture_output=True, text=True, check=False)

    def main_pid(self):
        """Of the service while it is active; else 0."""
        lines = self.run("systemctl", "show", "dbufd", "-P", "MainPID", "-P", "ActiveState").stdout.split()
        return int(lines[0]) if lines[1:] == ["active"] else 0

    def outer(self, pid):
        """A process of the machine's, as this machine numbers it."""
        for status in glob.glob("/proc/[0-9]*/status"):
            process = os.path.dirname(status)
            try:
                with open(status) as file:
                    ids = next(line.split()[1:] for line in file if line.startswith("NSpid:"))
                if ids[-1] == str(pid) and os.readlink(process + "/ns/pid") == self.namespace:
                    return int(os.path.basename(process))
            except (OSError, StopIteration):
                continue
        return 0


def wait(what, done):
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        result = done()
        if result:
            return result
        time.sleep(0.01)
    raise SystemExit(f"not ok - {what} does not come to pass")


def map_region(pid):
    for fd in glob.glob(f"/proc/{pid}/fd/*"):
        if os.readlink(fd).startswith("/memfd:dbufd"):
            file = os.open(fd, os.O_RDONLY)
            region = mmap.mmap(file, os.fstat(file).st_size, prot=mmap.PROT_READ)
            os.close(file)
            return region
    raise SystemExit(f"not ok - process {pid} has no region")


def one_life(machine, stream, rng, left, command, before_pid):
    """From a process that is active to its end. Returns its pid and what it leaves."""
    def active():
        pid = machine.main_pid()
        return pid if pid != before_pid else 0
    inner = wait("the service is active again", active)
    pid = wait("its process is here", lambda: machine.outer(inner))
    region = map_region(pid)
    begun, segment = stated(stream, seed(region))
    if begun is None:
        raise SystemExit("not ok - no segment states this run's seed")
    if left is not None and not agree(begun, left):
        raise SystemExit(f"not ok - {segment} begins with {begun}; published, and at least counted, "
                         f"before: {left}")
    time.sleep(rng.random() * 0.3)
    counted = published(region)
    if command == ["kill"]:
        os.kill(pid, signal.SIGKILL)
    else:
        done = machine.run("sh", "-c", " ".join(command), PID=inner)
        if done.returncode != 0:
            raise SystemExit(f"not ok - {command}: {done.stdout}{done.stderr}")
    wait("the process is gone", lambda: not os.path.exists(f"/proc/{pid}"))
    now = published(region)
    region.close()
    return inner, [(n, max(c, b)) for n, c, b in zip(now, counted, begun)]


def main():
    leader, stream, rounds, seed_text = sys.argv[1:5]
    rng = random.Random(int(seed_text))
    machine, left, pid = Machine(leader), None, 0
    for _ in range(int(rounds)):
        pid, left = one_life(machine, stream, rng, left, sys.argv[5:], pid)
    one_life(machine, stream, rng, left, ["systemctl stop dbufd"], pid)
    print(f"{rounds} times")


if __name__ == "__main__":
    main()
