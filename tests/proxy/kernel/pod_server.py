"""A pod: says its name and who it sees, by TCP and UDP on port 8080 of both families, and then what it is told.

Run it as ``python pod_server.py NAME``; it prints a line when it listens.
"""

from __future__ import annotations

import socket
import sys
import threading


def tcp(name: str, server: socket.socket) -> None:
    while True:
        connection, peer = server.accept()
        connection.sendall(f"{name} {peer[0].removeprefix('::ffff:')}\n".encode())
        threading.Thread(target=echo, args=(connection,), daemon=True).start()


def echo(connection: socket.socket) -> None:
    with connection:
        while data := connection.recv(4096):
            connection.sendall(data)


def main() -> None:
    name = sys.argv[1]
    server = socket.create_server(("::", 8080), family=socket.AF_INET6, dualstack_ipv6=True, backlog=512)
    datagrams = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    datagrams.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    datagrams.bind(("::", 8080))
    threading.Thread(target=tcp, args=(name, server), daemon=True).start()
    print("ready", flush=True)
    while True:
        _, peer = datagrams.recvfrom(4096)
        datagrams.sendto(f"{name} {peer[0].removeprefix('::ffff:')}\n".encode(), peer)


main()
