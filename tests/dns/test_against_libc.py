"""dns.expansion against the C libraries: what getaddrinfo() really asks of a real server, in which order."""

from __future__ import annotations

import concurrent.futures
import itertools
import random
import time
from collections import Counter
from dataclasses import dataclass, replace

import pytest
from answering import FOUR, SIX, bad_server
from named_server import SERVER4, SERVER6, Asked, named_server

from svcdoctor.dns.expansion import Libc, Question, Reply, Status, Walk, walk
from svcdoctor.dns.resolvconf import parse

SILENT, NOBODY, BAD = "10.96.0.11", "10.96.0.12", "10.96.0.13"
MANY = tuple(f"10.2.0.{n}" for n in range(1, 61))
SOME = tuple(f"10.2.0.{n}" for n in range(1, 27))  # fit into a datagram, not into glibc's first buffer

# Whatever stands in front: every name below a zone is alike, so that each case can have names of its own.
GOOD_ZONES = {
    "both.test": f"* A {FOUR}\n* AAAA {SIX}\n",
    "four.test": f"* A {FOUR}\n",
    "six.test": f"* AAAA {SIX}\n",
    "empty.test": "* TXT nothing\n",
    "none.test": "here TXT nothing\n",
    "many.test": "".join(f"* A {a}\n" for a in MANY),
    "some.test": "".join(f"* A {a}\n" for a in SOME),
    "alias.test": "* CNAME a.empty.test.\n",
    "broken.test": None,
    "refused.test": "refused",
    ".": "here TXT nothing\n",
}
D, N, X, S, R, T = (
    Status.DATA, Status.NODATA, Status.NXDOMAIN, Status.SERVFAIL, Status.REFUSED, Status.TIMEOUT,
)  # fmt: skip
BAD_ZONES = {
    f"{a.value}-{aaaa.value}.bad": {"A": a, "AAAA": aaaa}
    for a, aaaa in itertools.product((D, N, X, S, R, T), repeat=2)
}


def truth(question: Question) -> Reply:
    """What the servers of these tests answer."""

    def below(zone: str) -> bool:
        return question.name.endswith(f".{zone}")

    if question.nameserver == SILENT:
        return Reply(Status.TIMEOUT)
    if question.nameserver == NOBODY:
        return Reply(Status.UNREACHABLE)
    own = (FOUR,) if question.rtype == "A" else (SIX,)
    if question.nameserver == BAD:
        zone = next((z for z in BAD_ZONES if below(z)), None)
        status = BAD_ZONES[zone][question.rtype] if zone else Status.TIMEOUT
        return Reply(status, own if status is Status.DATA else ())
    data = {("both", "A"), ("both", "AAAA"), ("four", "A"), ("six", "AAAA")}
    zone = next((z for z in GOOD_ZONES if z != "." and below(z)), None)
    if zone is None or zone == "none.test":
        return Reply(Status.NXDOMAIN)
    kind = zone.removesuffix(".test")
    if (kind, question.rtype) in data:
        return Reply(Status.DATA, own)
    if (kind, question.rtype) == ("many", "A"):
        return Reply(Status.DATA, MANY if question.tcp else (), truncated=not question.tcp)
    if (kind, question.rtype) == ("some", "A"):
        return Reply(Status.DATA, SOME)
    statuses = {"broken": Status.SERVFAIL, "refused": Status.REFUSED, "alias": Status.DATA}
    return Reply(statuses.get(kind, Status.NODATA))


@dataclass(frozen=True)
class Case:
    """A name with its own first label in the place of ``@``, and the file's text."""

    name: str
    text: str
    rtypes: tuple[str, ...] = ("A", "AAAA")
    libcs: tuple[Libc, ...] = (Libc.GLIBC, Libc.MUSL)


def conf(servers: str, search: str, options: str = "ndots:5 timeout:1") -> str:
    lines = [f"nameserver {s}" for s in servers.split()] + ([f"search {search}"] if search else [])
    return "\n".join([*lines, f"options {options}", ""])


BOTH_LIBCS, GLIBC, MUSL = (Libc.GLIBC, Libc.MUSL), (Libc.GLIBC,), (Libc.MUSL,)
S4 = SERVER4
CASES = [
    # found, not found, nothing of that type, one type only
    Case("@", conf(S4, "both.test none.test")),
    Case("@", conf(S4, "none.test both.test")),
    Case("@", conf(S4, "none.test none.test")),
    Case("@", conf(S4, "empty.test both.test")),
    Case("@", conf(S4, "four.test both.test")),
    Case("@", conf(S4, "six.test")),
    Case("@", conf(S4, "")),
    Case("@", conf(SERVER6, "none.test both.test")),
    Case("@", conf(S4, "none.test both.test"), ("A",)),
    Case("@", conf(S4, "four.test both.test"), ("AAAA",)),
    # dots against ndots, and the last dot
    Case("@.both.test", conf(S4, "none.test")),
    Case("@.both.test.", conf(S4, "none.test")),
    Case("@.both.test", conf(S4, "none.test", "ndots:2 timeout:1")),
    Case("@.none.test", conf(S4, "both.test", "ndots:2 timeout:1")),
    Case("@.none.test.", conf(S4, "both.test", "ndots:2 timeout:1")),
    Case("@.empty.test", conf(S4, "both.test", "ndots:2 timeout:1")),
    Case("@.empty.test", conf(S4, "none.test", "ndots:2 timeout:1")),
    Case("@", conf(S4, "both.test", "ndots:0 timeout:1")),
    Case("@.a.b.c", conf(S4, "both.test", "ndots:3 timeout:1")),
    Case("@.a.b.c.d", conf(S4, "both.test", "ndots:99 timeout:1")),
    # odd search lists
    Case("@", conf(S4, "none.test. both.test.")),
    Case("@", conf(S4, "none.test none.test both.test")),
    Case("@", conf(S4, "."), libcs=GLIBC),
    Case("@", conf(S4, "none.test", "ndots:5 no-tld-query timeout:1")),
    Case("@.x", conf(S4, "none.test", "ndots:5 no-tld-query timeout:1")),
    Case("@", conf(S4, f"{'a' * 63}.{'b' * 63}.{'c' * 63}.{'d' * 60} both.test")),
    Case("@", conf(S4, " ".join(["none.test"] * 24) + " both.test")),
    Case("@", conf(S4, " ".join(["none.test"] * 25) + " both.test")),
    # errors of a server, several servers
    Case("@", conf(S4, "broken.test both.test")),
    Case("@", conf(S4, "broken.test none.test")),
    Case("@", conf(S4, "refused.test both.test")),
    Case("@", conf(S4, "empty.test broken.test"), libcs=GLIBC),
    Case("@", conf(f"{S4} {SERVER6}", "broken.test both.test"), libcs=GLIBC),
    Case("@", conf(f"{S4} {SERVER6}", "none.test both.test")),
    Case("@", conf(f"{SILENT} {S4}", "none.test both.test")),
    Case("@", conf(f"{S4} {SILENT}", "none.test both.test")),
    Case("@", conf(SILENT, "none.test both.test")),
    Case("@.both.test", conf(SILENT, "none.test", "ndots:1 timeout:1 attempts:1")),
    Case("@", conf(SILENT, "none.test", "ndots:5 timeout:1 attempts:3")),
    Case("@", conf(f"{NOBODY} {S4}", "none.test both.test")),
    Case("@", conf(NOBODY, "none.test both.test")),
    Case("@.both.test", conf(NOBODY, "none.test", "ndots:1 timeout:1")),
    Case("@", conf(f"{SILENT} {NOBODY} {S4} {SERVER6}", "none.test both.test")),
    # answers too long
    Case("@", conf(S4, "none.test many.test")),
    Case("@", conf(S4, "many.test"), ("A",)),
    Case("@", conf(S4, "none.test some.test")),
    Case("@", conf(f"{SILENT} {S4}", "many.test")),
    # a CNAME to nothing
    Case("@", conf(S4, "alias.test both.test")),
    # options
    Case("@", conf(S4, "none.test both.test", "ndots:5 timeout:1 use-vc")),
    Case("@", conf(NOBODY, "none.test both.test", "ndots:5 timeout:1 use-vc"), libcs=GLIBC),
    Case("@", conf(f"{NOBODY} {S4}", "broken.test both.test", "ndots:5 timeout:1 use-vc"), libcs=GLIBC),
    Case("@", conf(S4, "refused.test both.test", "ndots:5 timeout:1 use-vc"), libcs=GLIBC),
    Case("@", conf(S4, "none.test both.test", "ndots:5 timeout:1 single-request")),
    Case("@", conf(S4, "none.test broken.test both.test", "ndots:5 timeout:1 single-request"), libcs=GLIBC),
    Case("@", conf(S4, "none.test many.test", "ndots:5 timeout:1 single-request-reopen"), libcs=GLIBC),
    Case("@", conf(S4, "none.test both.test", "ndots:5 timeout:1 no-aaaa")),
    Case("@", conf(S4, "none.test both.test", "ndots:5 timeout:1 attempts:0"), libcs=GLIBC),
    Case("@", conf(f"{SILENT} {S4}", "both.test", "ndots:5 timeout:0"), libcs=GLIBC),
    Case("@", conf(f"{SILENT} {S4}", "both.test", "ndots:5 timeout:1 attempts:9")),
    Case("@", conf(f"{S4} {SERVER6}", "none.test some.test", "ndots:2 timeout:1 attempts:1")),
    Case("@", conf(S4, "none.test both.test", "ndots:5 timeout:1 edns0 trust-ad no-such-option")),
]  # fmt: skip
CASES += [Case(f"@.{zone}", conf(BAD, "", "ndots:1 timeout:1")) for zone in BAD_ZONES]
CASES += [
    Case("@", conf(BAD, "data-timeout.bad", "ndots:5 timeout:1 single-request"), libcs=GLIBC),
    Case("@", conf(BAD, "servfail-data.bad", "ndots:5 timeout:1 single-request"), libcs=GLIBC),
    Case("@", conf(BAD, "nxdomain-timeout.bad data-data.bad"), libcs=GLIBC),
    Case("@", conf(BAD, "nxdomain-data.bad data-data.bad")),
    Case("@", conf(BAD, "servfail-nxdomain.bad data-data.bad"), libcs=GLIBC),
]


def drawn(count: int) -> list[Case]:
    """More cases: search lists, dots and ndots by a seeded die; no silence, which takes its time."""
    die = random.Random(53)
    zones = [
        "both.test",
        "four.test",
        "six.test",
        "empty.test",
        "none.test",
        "some.test",
        "many.test",
        "none.test",
    ]
    found = []
    for _ in range(count):
        name = "@" + "".join(f".{die.choice('ab')}" for _ in range(die.randrange(4)))
        if die.random() < 0.3:
            name += f".{die.choice(zones)}"
        search = " ".join(die.choices(zones, k=die.randrange(6)))
        found.append(
            Case(name + "." * (die.random() < 0.2), conf(S4, search, f"ndots:{die.randrange(6)} timeout:1"))
        )
    return found


CASES += drawn(60)


def patient(case: Case) -> Case:
    """The case with time enough for a busy machine, where nobody is waited for in vain."""
    waits = any(walk(case.name, parse(case.text), libc, truth, case.rtypes).waited for libc in case.libcs)
    return case if waits else replace(case, text=case.text.replace("timeout:1", "timeout:9"))


CASES = [patient(case) for case in CASES]


@dataclass(frozen=True)
class Met:
    """What one run of a library was: what it asked, what it got and how long it took."""

    asked: tuple[tuple[str, str, str, bool], ...]
    got: tuple[str, ...]
    failed: int | None
    seconds: float


@pytest.fixture(scope="module")
def met(tmp_path_factory, programs):
    """Every case run by every library, many at a time; each has a label of its own to be told by."""
    runs: dict[tuple[int, Libc], tuple[str, str, tuple[str, ...], int, float]] = {}
    folder = tmp_path_factory.mktemp("named")
    addresses = (SERVER4, SERVER6, SILENT, NOBODY, BAD)
    with (
        named_server(folder, GOOD_ZONES, addresses) as server,
        bad_server(server.pid, SILENT, {}) as unanswered,
        bad_server(server.pid, BAD, BAD_ZONES) as bad,
    ):

        def run(number: int, case: Case, libc: Libc) -> None:
            label = f"case{number}{libc.name.lower()}"
            words = [getattr(programs, libc.name.lower()), case.name.replace("@", label)]
            words += {("A",): ["4"], ("AAAA",): ["6"]}.get(case.rtypes, [])
            began = time.monotonic()
            done = server.run(*words, resolv_conf=case.text)
            assert not done.stderr, done.stderr
            runs[number, libc] = (label, done.stdout, done.returncode, time.monotonic() - began)

        with concurrent.futures.ThreadPoolExecutor(24) as pool:
            work = [pool.submit(run, n, c, libc) for n, c in enumerate(CASES) for libc in c.libcs]
            for future in concurrent.futures.as_completed(work):
                future.result()
        logged = [*server.queries(), *unanswered, *bad]
    by_label: dict[str, list[Asked]] = {}
    for asked in logged:
        by_label.setdefault(asked.name.split(".")[0].lower(), []).append(asked)
    found = {}
    for key, (label, said, code, seconds) in runs.items():
        asked = tuple((a.name.lower(), a.rtype, a.server, a.tcp) for a in by_label.get(label, ()))
        got = () if code else tuple(said.split())
        found[key] = Met(asked, got, int(said) if code else None, seconds)
    return found


def predicted(case: Case, label: str, libc: Libc) -> Walk:
    return walk(case.name.replace("@", label), parse(case.text), libc, truth, case.rtypes)


ERRORS = {"EAI_NONAME": -2, "EAI_AGAIN": -3, "EAI_FAIL": -4, "EAI_NODATA": -5}
KEYS = [(n, libc) for n, case in enumerate(CASES) for libc in case.libcs]


@pytest.mark.parametrize(("number", "libc"), KEYS, ids=[f"{libc}-{n}-{CASES[n].name}" for n, libc in KEYS])
def test_the_library_asks_what_was_predicted(met, programs, number, libc):
    case, real = CASES[number], met[number, libc]
    label = f"case{number}{libc.name.lower()}"
    foreseen = predicted(case, label, libc)
    old_musl = libc is Libc.MUSL and programs.musl_version < (1, 2, 4)
    sent = [(q.name, q.rtype, q.nameserver, q.tcp) for q in foreseen.sent]
    if old_musl:  # no TCP yet
        sent = [q for q in sent if not q[3]]
    heard = [q for q in sent if q[2] != NOBODY]
    assert Counter(real.asked) == Counter(heard), (case, foreseen)
    if len({q[2] for q in heard}) <= 1:  # one server read them all: its order is theirs
        assert list(real.asked) == heard, case
    if foreseen.error is None:
        assert real.failed is None, case
        if "many" in foreseen.name and libc is Libc.MUSL:  # as many as fit, of an answer in any order
            assert set(real.got) <= set(MANY)
            assert len(real.got) == len(foreseen.addresses) == 48 or old_musl
        else:
            assert set(real.got) == set(foreseen.addresses), case
    elif old_musl and foreseen.error == "EAI_NODATA":
        assert real.failed == ERRORS["EAI_NONAME"], case
    else:
        assert real.failed == ERRORS[foreseen.error], case
    assert foreseen.waited * 0.98 <= real.seconds <= foreseen.waited + 8, (case, foreseen.waited)
