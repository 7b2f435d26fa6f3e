#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs a command with a notify socket and prints what systemd would have seen, a line a message.

usage: notify.py SECONDS SIGNAL COMMAND...   SIGNAL is sent after SECONDS (0: never)
"""
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time

after_s, name, command = float(sys.argv[1]), sys.argv[2], sys.argv[3:]
folder = tempfile.mkdtemp()
path = os.path.join(folder, "notify")
server = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
server.bind(path)
server.settimeout(0.05)
environment = dict(os.environ, NOTIFY_SOCKET=path, WATCHDOG_USEC="2000000")
process = subprocess.Popen(command, env=environment)
begun, sent = time.monotonic(), False
while True:
    ended = process.poll() is not None
    try:
        while True:
            print(server.recv(65536).decode().replace("\n", " "), flush=True)
    except TimeoutError:
        pass
    if ended:
        break
    if after_s and not sent and time.monotonic() - begun > after_s:
        process.send_signal(getattr(signal, name))
        sent = True
os.unlink(path)
os.rmdir(folder)
sys.exit(process.returncode)
