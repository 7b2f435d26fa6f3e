#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A service manager that keeps descriptors, as systemd does: for tests that kill.

Manager runs a command with NOTIFY_SOCKET, keeps what comes with FDSTORE=1 by FDNAME, forgets it by
FDSTOREREMOVE=1, answers BARRIER=1 by closing what came with it, and hands what it keeps to the next
process by LISTEN_FDS, LISTEN_FDNAMES and LISTEN_PID. With keep=0 it keeps nothing, as a unit without
FileDescriptorStoreMax=.

As a program: holder.py [-k MAX] [-r] COMMAND... runs the command until it ends, with -r again and again
as long as it ends by a signal; prints what it was told, a line a message, and the pid of each process.
"""
import array
import ctypes
import os
import select
import signal
import socket
import sys
import tempfile
import time


class Manager:
    def __init__(self, command, keep=4, environment=None, log=None):
        self.command, self.keep, self.log = command, keep, log
        self.environment = dict(os.environ, **(environment or {}))
        self.folder = tempfile.mkdtemp()
        self.path = os.path.join(self.folder, "notify")
        self.server = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.server.bind(self.path)
        self.kept = []  # (name, descriptor)
        self.messages = []
        self.ready = False
        self.pid = self.status = None

    def close(self):
        for _, fd in self.kept:
            os.close(fd)
        self.kept = []
        self.server.close()
        os.unlink(self.path)
        os.rmdir(self.folder)

    def start(self):
        self.ready, self.status = False, None
        names = ":".join(name for name, _ in self.kept)
        self.pid = os.fork()
        if self.pid != 0:
            return
        try:
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: it dies with us
            environment = dict(self.environment, NOTIFY_SOCKET=self.path)
            # First out of the way of 3 and on, then there.
            high = [os.dup(os.dup2(fd, 200 + i)) for i, (_, fd) in enumerate(self.kept)]
            for i, fd in enumerate(high):
                os.dup2(fd, 3 + i)
            os.closerange(3 + len(high), 1024)
            if high:
                environment.update(LISTEN_FDS=str(len(high)), LISTEN_FDNAMES=names,
                                   LISTEN_PID=str(os.getpid()))
            if self.log is not None:
                fd = os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
                os.dup2(fd, 1)
                os.dup2(fd, 2)
                os.close(fd)
            os.execvpe(self.command[0], self.command, environment)
        finally:
            os._exit(127)

    def take_message(self):
        text, control, _, _ = self.server.recvmsg(65536, socket.CMSG_SPACE(64 * 4))
        fds = array.array("i")
        for level, kind, data in control:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds.frombytes(data[:len(data) - len(data) % 4])
        text = text.decode()
        fields = dict(line.split("=", 1) for line in text.split("\n") if "=" in line)
        self.messages.append(text.replace("\n", " "))
        name = fields.get("FDNAME", "stored")
        if fields.get("FDSTOREREMOVE") == "1":
            for kept in [k for k in self.kept if k[0] == name]:
                os.close(kept[1])
                self.kept.remove(kept)
        for fd in fds:
            if fields.get("FDSTORE") == "1" and len(self.kept) < self.keep:
                self.kept.append((name, fd))
            else:
                os.close(fd)  # a barrier is answered by this, too
        if fields.get("READY") == "1":
            self.ready = True

    def wait(self, seconds, until=lambda: False):
        """Serves it until that is true, it has ended, or the time is over. Whether it has ended."""
        end = time.monotonic() + seconds
        while self.status is None and not until():
            left = end - time.monotonic()
            if left <= 0:
                return False
            if select.select([self.server], [], [], min(left, 0.005))[0]:
                self.take_message()
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid != 0:
                while select.select([self.server], [], [], 0)[0]:
                    self.take_message()
                self.status = status
        return self.status is not None

    def kill(self, number=signal.SIGKILL):
        if self.status is None:
            os.kill(self.pid, number)


def main():
    arguments, keep, restart = sys.argv[1:], 4, False
    while arguments and arguments[0] in ("-k", "-r"):
        if arguments.pop(0) == "-k":
            keep = int(arguments.pop(0))
        else:
            restart = True
    manager = Manager(arguments, keep)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, lambda number, _: manager.kill(number))
    while True:
        manager.start()
        print(f"PID={manager.pid}", flush=True)
        told = 0
        while not manager.wait(0.05):
            for message in manager.messages[told:]:
                print(message, flush=True)
            told = len(manager.messages)
        for message in manager.messages[told:]:
            print(message, flush=True)
        manager.messages = []
        print(f"KEPT={','.join(name for name, _ in manager.kept)}", flush=True)
        if not restart or not os.WIFSIGNALED(manager.status):
            break
    manager.close()
    sys.exit(os.waitstatus_to_exitcode(manager.status) % 256)


if __name__ == "__main__":
    main()
