"""A TCP server of one thread that echoes, or answers so long after the client's last byte; prints its port."""

from __future__ import annotations

import selectors
import socket
import sys
import time


def main(host="127.0.0.1", pause=""):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family)
    listening.bind((host, 0))
    listening.listen(4096)
    listening.setblocking(False)
    print(listening.getsockname()[1], flush=True)
    selector = selectors.DefaultSelector()
    selector.register(listening, selectors.EVENT_READ)
    heard = {}
    due = []
    while True:
        for key, _ in selector.select(0.05 if due else None):
            sock = key.fileobj
            if sock is listening:
                try:
                    client, _ = sock.accept()
                except BlockingIOError:
                    continue
                heard[client] = b""
                selector.register(client, selectors.EVENT_READ)
                continue
            try:
                data = sock.recv(65536)
            except OSError:
                data = b""
            if data and not pause:
                sock.sendall(data)
            elif data:
                heard[sock] += data
            else:
                selector.unregister(sock)
                due.append((time.monotonic() + float(pause or 0), sock))
        while due and due[0][0] <= time.monotonic():
            _, sock = due.pop(0)
            if pause:
                sock.sendall(heard[sock])
            sock.close()
            del heard[sock]


if __name__ == "__main__":
    import resource

    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    main(*sys.argv[1:])
