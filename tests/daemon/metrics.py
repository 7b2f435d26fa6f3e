# SPDX-License-Identifier: MIT
"""Asks dbufd for its metrics, well or badly: metrics.py COMMAND ADDRESS [ARGUMENT]. ADDRESS as in metrics.listen.

  get PATH      the body of the answer
  status PATH [METHOD]   its status, and its content type
  check [TIMES] every answer, of so many, is strict OpenMetrics, closes its balance, and no counter falls
  figures       the body's names, one a line, without their values
  hostile       everything a bad client does; says "served" if a good one is served meanwhile or after it
  hang COUNT    so many connections that say nothing, until it is killed
"""
import itertools
import socket
import sys
import time

TRIES_S = 60


def connect(address):
    """A connection, or None: refused."""
    if address.startswith("unix:"):
        s, to = socket.socket(socket.AF_UNIX), address[5:]
    else:
        host, port = address.rsplit(":", 1)
        s = socket.socket(socket.AF_INET6 if host[0] == "[" else socket.AF_INET)
        to = (host.strip("[]"), int(port))
    s.connect(to)
    s.settimeout(TRIES_S)
    return s


def ask(address, path, method="GET"):
    """The head and the body of the answer."""
    with connect(address) as s:
        s.sendall(f"{method} {path} HTTP/1.1\r\nHost: dbufd\r\n\r\n".encode())
        answer = b""
        while piece := s.recv(65536):
            answer += piece
    head, _, body = answer.partition(b"\r\n\r\n")
    return head.decode(), body.decode()


def families(body):
    from prometheus_client.openmetrics.parser import text_string_to_metric_families

    return list(text_string_to_metric_families(body))


def values(body):
    """Every sample's value, by its name and labels; and the names of those that only grow."""
    every, growing = {}, set()
    for family in families(body):
        for sample in family.samples:
            key = sample.name + str(sorted(sample.labels.items()))
            assert key not in every, key
            every[key] = sample.value
            if family.type == "counter" or family.type == "histogram":
                growing.add(key)
    return every, growing


def check(address, times):
    before = {}
    for _ in range(times):
        head, body = ask(address, "/metrics")
        assert head.startswith("HTTP/1.1 200 "), head
        assert body.endswith("\n# EOF\n")
        now, growing = values(body)
        for kind in "bytes", "blocks":
            accepted, persisted, buffered, dropped = (
                now[f"dbufd_{name}[]"]
                for name in (
                    f"accepted_{kind}_total",
                    f"persisted_{kind}_total",
                    f"buffered_{kind}",
                    f"dropped_{kind}_total",
                )
            )
            assert accepted == persisted + buffered + dropped, (accepted, persisted, buffered, dropped)
        assert len(growing) > 60, growing
        for key in growing:
            assert now[key] >= before.get(key, 0), (key, before.get(key), now[key])
        before = now
    assert before["dbufd_accepted_bytes_total[]"] > 0


def hostile(address):
    keep = []

    def open_one(what=b""):
        s = connect(address)
        keep.append(s)
        try:
            s.sendall(what)
        except OSError:
            pass  # it was ended, which is what this is about
        return s

    open_one(b"GET /metr")  # half a request
    open_one(b"GET /metrics HTTP/1.1\r\nHost: a\r\n" + b"X: " + b"y" * 200000)  # a huge head
    open_one(b"\0\xff\r\n\r\n" * 1000)
    open_one(b"POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999\r\n\r\n" + b"z" * 100000)
    open_one(b"GET /" + b"a" * 100000 + b" HTTP/1.1\r\n\r\n")
    open_one(b"GET /metrics HTTP/9.9\r\n\r\n" * 500)
    open_one(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n" * 500)  # never reads
    for _ in range(300):  # gone before the answer
        connect(address).close()
    # One that sends a byte now and then would be there forever; it has its time, and no more.
    slow = open_one(b"GET /metrics HTTP/1.1\r\n")
    until = time.monotonic() + TRIES_S
    for n in itertools.count():
        try:
            slow.sendall(b"X"[:1])
            slow.setblocking(False)
            try:
                if slow.recv(1) == b"":
                    break
            except BlockingIOError:
                pass
        except OSError:
            break
        assert time.monotonic() < until, f"{n} bytes, and it is still there"
        time.sleep(0.5)
    head, body = ask(address, "/metrics")
    assert head.startswith("HTTP/1.1 200 ") and body.endswith("# EOF\n")
    print("served")


def hang(address, count):
    keep = []
    for _ in range(count):
        try:
            s = connect(address) if not address.startswith("unix:") else None
            if s is None:
                s = socket.socket(socket.AF_UNIX)
                s.setblocking(False)
                s.connect(address[5:])
            keep.append(s)
        except OSError:  # the kernel's queue is full, as meant
            break
    print(len(keep), flush=True)
    while True:
        time.sleep(1000)


def main():
    command, address = sys.argv[1], sys.argv[2]
    rest = sys.argv[3:]
    if command == "get":
        sys.stdout.write(ask(address, rest[0])[1])
    elif command == "status":
        head, _ = ask(address, *rest)
        kinds = [line for line in head.split("\r\n") if line.lower().startswith("content-type:")]
        print(head.split()[1], kinds[0].split(": ", 1)[1])
    elif command == "check":
        check(address, int(rest[0]) if rest else 1)
    elif command == "figures":
        for family in families(ask(address, "/metrics")[1]):
            print(family.name)
    elif command == "hostile":
        hostile(address)
    elif command == "hang":
        hang(address, int(rest[0]))
    else:
        sys.exit(f"metrics.py: no {command}")


main()
