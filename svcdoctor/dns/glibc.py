"""glibc's resolver: ``res_search`` over ``res_query`` over ``res_send``, as getaddrinfo() uses them.

resolv/res_query.c, resolv/res_send.c and resolv/nss_dns/dns-host.c of glibc 2.36 to 2.40. The servers are asked one
after the other. Where both types are asked, the answers are taken to arrive in the order of the questions.
``rotate`` starts with any of the servers; here it is the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, auto

from svcdoctor.dns.question import Answer, Reply, Sending, Status, Walk, fits
from svcdoctor.dns.resolvconf import ResolvConf

CONNECT_SECONDS = 127.0  # what Linux tries to connect for; glibc has no limit of its own over TCP

FIRST_BUFFER = 1024  # getaddrinfo()'s, doubled as often as it is too small
ADDRESS_BYTES = 40  # of one address of either type in it; A or AAAA alone take less, which is not modelled

_FAILED = (Status.SERVFAIL, Status.REFUSED)


class _Herrno(Enum):
    """netdb.h's h_errno, and what getaddrinfo() makes of it."""

    HOST_NOT_FOUND = "EAI_NONAME"
    TRY_AGAIN = "EAI_AGAIN"
    NO_DATA = "EAI_NODATA"
    NO_RECOVERY = "EAI_FAIL"


class _Truncated(Enum):
    YES = auto()


class _Resolver:
    """One call of getaddrinfo(): what it learns about a server stays for the names that follow."""

    def __init__(self, conf: ResolvConf, answer: Answer, rtypes: Sequence[str]) -> None:
        self.conf = conf
        self.rtypes = [t for t in rtypes if not (conf.no_aaaa and t == "AAAA")]
        self.out = Sending(answer)
        self.reopen = conf.single_request_reopen
        self.single = conf.single_request or self.reopen
        self.buffer: Status | None = None  # of the answer that lies in the first buffer
        self.refused = False  # errno is ECONNREFUSED: nobody was there at all
        self.addresses: tuple[str, ...] = ()

    def query(self, name: str) -> _Herrno | None:
        """Ask for one name; ``None`` when it is answered."""
        name = name.rstrip(".").lower()
        self.buffer = None
        self.refused = False
        if not fits(name):
            return _Herrno.NO_RECOVERY
        replies = self._send(name)
        if not replies:
            return _Herrno.TRY_AGAIN
        if any(reply.status is Status.DATA for reply in replies):
            self.addresses = tuple(a for reply in replies for a in reply.addresses)
            return None
        rcodes = [reply.status for reply in replies if reply.status is not Status.NODATA]
        match rcodes[:1]:
            case []:
                return _Herrno.NO_DATA
            case [Status.NXDOMAIN]:
                return _Herrno.HOST_NOT_FOUND
            case [Status.SERVFAIL]:
                return _Herrno.TRY_AGAIN
        return _Herrno.NO_RECOVERY

    def _send(self, name: str) -> list[Reply]:
        """The replies that count, none when no server gave one."""
        tcp = self.conf.use_vc
        heard = False
        for _ in range(self.conf.attempts):
            for number, server in enumerate(self.conf.nameservers):
                if not tcp:
                    found, answered = self._datagrams(name, server, self._seconds(number))
                    heard = heard or answered
                    if isinstance(found, _Truncated):
                        tcp = True
                    elif found:
                        return found
                if tcp:
                    replies = self._stream(name, server)
                    if replies:
                        return replies
            if tcp:  # one round over TCP is all
                return []
        self.refused = not heard
        return []

    def _seconds(self, number: int) -> int:
        """How long the server of that number is waited for."""
        seconds = self.conf.timeout << number
        return max(seconds // len(self.conf.nameservers) if number else seconds, 1)

    def _datagrams(self, name: str, server: str, seconds: int) -> tuple[list[Reply] | _Truncated, bool]:
        """The replies of one server over UDP, and whether anything but an ICMP error was met.

        One answer of two missing is taken for a server that cannot do two at once: then one is asked after the
        other, and after that from a new socket each, before the one answer is made do with.
        """
        while True:
            got: list[Reply] = []
            received = missing = 0
            for reply in self._round(name, server):
                if reply.status is Status.UNREACHABLE:
                    return [], received > 0
                if reply.status is Status.TIMEOUT:
                    missing += 1
                    continue
                received += 1
                if received == 1:
                    self.buffer = reply.status
                if reply.truncated:
                    return _Truncated.YES, True
                if reply.status not in _FAILED:
                    got.append(reply)
            if not missing:
                return got, True
            self.out.waited += seconds
            if not got:
                return [], True
            if self.reopen:
                return got, True
            self.single, self.reopen = True, self.single

    def _round(self, name: str, server: str) -> list[Reply]:
        """The replies to the queries that are sent: all at once, or each when the one before is answered."""
        queries = [(name, rtype, server) for rtype in self.rtypes]
        if not self.single:
            return self.out.together(queries)
        replies: list[Reply] = []
        for query in queries:
            replies += self.out.together([query])
            met = replies[-1]
            if met.truncated or met.status not in (Status.DATA, Status.NODATA, Status.NXDOMAIN):
                break
        return replies

    def _stream(self, name: str, server: str) -> list[Reply]:
        """The replies of one server over TCP, where every rcode counts; none when it cannot be reached."""
        replies = self.out.together([(name, rtype, server) for rtype in self.rtypes], tcp=True)
        for reply in replies:
            if reply.status in (Status.TIMEOUT, Status.UNREACHABLE):
                self.refused = reply.status is Status.UNREACHABLE
                self.out.waited += 0 if self.refused else CONNECT_SECONDS
                return []
        self.refused = False
        self.buffer = replies[0].status
        return replies


def walk(name: str, conf: ResolvConf, answer: Answer, rtypes: Sequence[str]) -> Walk:
    """What getaddrinfo(NAME) sends and returns; ``conf`` is within glibc's limits."""
    resolver = _Resolver(conf, answer, rtypes)
    buffer = FIRST_BUFFER
    tried, error = _search(resolver, name)
    # Addresses that do not fit into the caller's buffer are asked for anew, into one twice as large.
    while len(rtypes) == 2 and error is None and len(resolver.addresses) * ADDRESS_BYTES > buffer:
        buffer *= 2
        tried, error = _search(resolver, name)
    if error is None and resolver.addresses:
        return resolver.out.done(resolver.addresses, tried.rstrip(".").lower(), None)
    # A CNAME that leads nowhere is an answer: it ends the search, and has no address.
    return resolver.out.done((), None, (error or _Herrno.HOST_NOT_FOUND).value)


def _search(resolver: _Resolver, name: str) -> tuple[str, _Herrno | None]:
    """The name that was asked for last, and why it has no answer; ``None`` when it has."""
    conf = resolver.conf
    dots = name.count(".")
    absolute = name.endswith(".")
    first = None
    if dots >= conf.ndots or absolute:
        first = resolver.query(name)
        if first is None or absolute:
            return name, first
    error: _Herrno | None = _Herrno.HOST_NOT_FOUND
    nodata = servfail = root = False
    for domain in conf.search:
        domain = domain.removeprefix(".")
        root = root or not domain
        tried = f"{name}.{domain}"
        error = resolver.query(tried)
        if error is None:
            return tried, None
        if resolver.refused:
            return tried, _Herrno.TRY_AGAIN
        nodata = nodata or error is _Herrno.NO_DATA
        if error is _Herrno.TRY_AGAIN and resolver.buffer is Status.SERVFAIL:
            servfail = True
        elif error not in (_Herrno.NO_DATA, _Herrno.HOST_NOT_FOUND):
            break
    if first is not None:
        return name, first
    if not root and (dots or not conf.search or not conf.no_tld_query):
        error = resolver.query(name)
        if error is None:
            return name, None
    if nodata:
        error = _Herrno.NO_DATA
    elif servfail:
        error = _Herrno.TRY_AGAIN
    return name, error
