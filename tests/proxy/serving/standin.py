"""A worker that speaks the wire and carries nothing: each TCP listener says its process and its endpoints to whoever
connects, and keeps the connection, which echoes lines."""

from __future__ import annotations

import os
import resource
import selectors
import socket
import sys

import msgspec

from svcdoctor.proxy.serving.wire import (
    Count,
    Counters,
    Drain,
    EndpointCounts,
    Failed,
    Held,
    Hello,
    PortCounts,
    Put,
    Ready,
    Recall,
    Remove,
    Settings,
    Stop,
    WorkerReader,
    frame,
)


class StandIn:
    def __init__(self, fd, settings):
        self.settings = settings
        self.selector = selectors.DefaultSelector()
        self.door = socket.socket(fileno=fd)
        self.selector.register(self.door, selectors.EVENT_READ, self.control_comes)
        self.control = None
        self.reader = WorkerReader()
        self.ports = {}
        self.listeners = {}
        self.clients = {}
        self.draining = False
        self.served = 0

    def control_comes(self, sock):
        if self.control is not None:
            self.selector.unregister(self.control)
            self.control.close()
        self.control, _ = sock.accept()
        self.reader = WorkerReader()
        self.selector.register(self.control, selectors.EVENT_READ, self.hear)
        self.say(Hello(os.getpid(), self.settings, self.draining))

    def say(self, message):
        self.control.sendall(frame(message))

    def hear(self, sock):
        data = sock.recv(1 << 20)
        if not data:
            self.selector.unregister(sock)
            sock.close()
            self.control = None
            return
        for message in self.reader.messages(data):
            self.told(message)

    def told(self, message):
        match message:
            case Put(serial, ports, whole):
                if whole:
                    self.close_listeners(set(self.ports) - {p.key for p in ports})
                    self.ports.clear()
                for port in ports:
                    self.ports[port.key] = port
                    self.listen(port)
                self.say(Ready(serial))
            case Remove(serial, keys):
                self.close_listeners(keys)
                for key in keys:
                    self.ports.pop(key, None)
                self.say(Ready(serial))
            case Recall():
                self.say(Held(tuple(self.ports.values())))
            case Count():
                self.say(self.counters())
            case Drain():
                self.draining = True
                self.close_listeners(list(self.listeners))
                self.maybe_end()
            case Stop():
                sys.exit(0)

    def counters(self):
        one = EndpointCounts("10.0.0.1:80", "shop/a", self.served, len(self.clients), 0, 1, 2, 0.5, ())
        ports = tuple(PortCounts(key, (one,)) for key in self.ports)
        return Counters(os.getpid(), len(self.clients), self.draining, ports if self.served else ())

    def listen(self, port):
        if port.key in self.listeners:
            return
        self.listeners[port.key] = []
        for listen in port.listens:
            made = socket.socket(socket.AF_INET6 if ":" in listen.ip else socket.AF_INET)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            try:
                made.bind((listen.ip, listen.port))
            except OSError as e:
                made.close()
                self.say(Failed(port.key, f"{listen}: {e.strerror}"))
                continue
            made.listen()
            self.listeners[port.key].append(made)
            self.selector.register(
                made, selectors.EVENT_READ, lambda sock, key=port.key: self.client(sock, key)
            )

    def close_listeners(self, keys):
        for key in list(keys):
            for made in self.listeners.pop(key, ()):
                self.selector.unregister(made)
                made.close()

    def client(self, sock, key):
        client, _ = sock.accept()
        self.served += 1
        self.clients[client.fileno()] = client
        self.selector.register(client, selectors.EVENT_READ, self.echo)
        client.sendall(f"{os.getpid()} {','.join(map(str, self.ports[key].cluster))}\n".encode())

    def echo(self, sock):
        data = sock.recv(65536)
        if data:
            sock.sendall(data)
            return
        del self.clients[sock.fileno()]
        self.selector.unregister(sock)
        sock.close()
        self.maybe_end()

    def maybe_end(self):
        if self.draining and not self.clients:
            sys.exit(0)

    def run(self):
        while True:
            for key, _ in self.selector.select():
                key.data(key.fileobj)


if __name__ == "__main__":
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    given = msgspec.json.decode(sys.argv[2], type=Settings)
    if given.access_log == "broken":
        sys.exit("this worker is broken")
    StandIn(int(sys.argv[1]), sys.argv[2]).run()
