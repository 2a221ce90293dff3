"""DNS servers on loopback that answer as they like: each test says in a function what goes back for a query."""

import contextlib
import socket
import threading

import dns.flags
import dns.message
import dns.rcode
import dns.rrset

HOSTS = {4: "127.0.0.1", 6: "::1"}


def answered(wire, *sets, rcode=dns.rcode.NOERROR, flags=dns.flags.RA):
    """The bytes of an answer to a query with these record sets, each as dns.rrset.from_text takes it."""
    response = dns.message.make_response(dns.message.from_wire(wire))
    response.flags |= flags
    response.set_rcode(rcode)
    response.answer += [dns.rrset.from_text(*s) for s in sets]
    return response.to_wire(max_size=65535)


def kind_of(wire):
    """A or AAAA, as the query asks."""
    return dns.rdatatype.to_text(dns.message.from_wire(wire).question[0].rdtype)


class LyingServer:
    """``udp`` yields the datagrams that go back for a query, ``tcp`` a stream's pieces; ``log`` has the queries."""

    def __init__(self, udp=lambda wire: (), tcp=None, family=4):
        self.log = []
        self._udp, self._tcp = udp, tcp
        kind = socket.AF_INET6 if family == 6 else socket.AF_INET
        self._datagrams, self._listener = self._bound(kind, HOSTS[family], tcp is not None)
        self.ip, self.port = self._datagrams.getsockname()[:2]
        self._threads = [threading.Thread(target=self._serve_udp)]
        if tcp is not None:
            self._threads.append(threading.Thread(target=self._serve_tcp))
        self._ending = threading.Event()
        for thread in self._threads:
            thread.start()

    @staticmethod
    def _bound(kind, host, both):
        """A port that is free for UDP and, where that is wanted, for TCP too."""
        while True:
            datagrams = socket.socket(kind, socket.SOCK_DGRAM)
            datagrams.bind((host, 0))
            if not both:
                return datagrams, None
            with contextlib.suppress(OSError):
                return datagrams, socket.create_server(datagrams.getsockname()[:2], family=kind)
            datagrams.close()

    def __enter__(self):
        return self

    def __exit__(self, *problem):
        self._ending.set()
        for thread in self._threads:
            thread.join()
        self._datagrams.close()
        if self._listener is not None:
            self._listener.close()

    def _serve_udp(self):
        self._datagrams.settimeout(0.05)
        while not self._ending.is_set():
            with contextlib.suppress(OSError):
                wire, client = self._datagrams.recvfrom(4096)
                self.log.append(wire)
                for answer in self._udp(wire):
                    if self._ending.is_set():
                        break
                    self._datagrams.sendto(answer, client)

    def _serve_tcp(self):
        self._listener.settimeout(0.05)
        while not self._ending.is_set():
            with contextlib.suppress(OSError):
                connection, _ = self._listener.accept()
                with connection:
                    connection.settimeout(2)
                    wire = connection.recv(4096)[2:]
                    self.log.append(wire)
                    for piece in self._tcp(wire):
                        if self._ending.is_set():
                            break
                        connection.sendall(piece)
