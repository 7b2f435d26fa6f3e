#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Sends numbered messages to dbufd, and finds them again in what was recorded.

usage: senders.py unix FRAMING PATH SENDERS MESSAGES   SENDERS connections at once, MESSAGES of each;
                                                       0: until dbufd closes them
       senders.py udp ADDRESS PORT SENDERS MESSAGES    the same with a socket each; the receive buffer must
                                                       hold them, or what is dropped is missing
       senders.py check JSON...                        what `dbufctl cat --json` says: every sender's messages,
                                                       each in its order; prints the same as they did

A sender prints "sent SENDER COUNT" for what it had sent whole. A message is "SENDER NUMBER PADDING", whose
length follows from both.
"""
import json
import socket
import sys
import threading

FRAMINGS = {
    "lines": lambda message: message + b"\n",
    "octet-counted": lambda message: b"%d " % len(message) + message,
    "u32": lambda message: len(message).to_bytes(4, "little") + message,
}


CUT = 2  # of the flags of a block


def message_of(sender, number):
    head = b"%d %d " % (sender, number)
    return head + b"x" * ((number * 7919 + sender * 104729) % 2000)


def send_stream(framing, path, sender, messages, sent):
    number = 0
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
        s.connect(path)
        try:
            while messages == 0 or number < messages:
                s.sendall(FRAMINGS[framing](message_of(sender, number)))
                number += 1
        except (BrokenPipeError, ConnectionResetError):
            pass
    sent[sender] = number


def send_datagrams(address, port, sender, messages, sent):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as s:
        s.connect((address, int(port)))
        for number in range(messages):
            s.send(message_of(sender, number))
    sent[sender] = messages


def check(texts):
    """Each block is the next message of its sender; only the last one may be cut, and does not count."""
    seen, cut = {}, set()
    for text in texts:
        with open(text, encoding="ascii") as file:
            for line in file:
                block = json.loads(line)
                data = block["data"].encode()
                sender = int(data.split(b" ")[0])
                number = seen.setdefault(sender, 0)
                wanted = message_of(sender, number)
                if sender in cut or not (data == wanted or block["flags"] == CUT and wanted.startswith(data)):
                    sys.exit(f"after {number} of sender {sender}: {data[:40]!r}")
                if data == wanted:
                    seen[sender] += 1
                else:
                    cut.add(sender)
    for sender in sorted(seen):
        print("sent", sender, seen[sender])


def main():
    kind, arguments = sys.argv[1], sys.argv[2:]
    if kind == "check":
        check(arguments)
        return
    first, second = arguments[0], arguments[1]
    senders, messages = int(arguments[2]), int(arguments[3])
    send = send_stream if kind == "unix" else send_datagrams
    sent = {}
    threads = [threading.Thread(target=send, args=(first, second, sender, messages, sent)) for sender in range(senders)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for sender in sorted(sent):
        print("sent", sender, sent[sender])


main()
