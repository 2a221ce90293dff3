"""What is wrong with certificates, and what is not; names in answers; percentiles. No sockets."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import probing_servers as servers
import pytest
from hypothesis import given
from hypothesis import strategies as st
from probing_servers import Issued, Server, issue

from svcdoctor.model.observed import Aim, CertificateProblem, Met, Place, PlaceKind, ProbeKind, Sample, Speaks
from svcdoctor.probe.certificates import inspected, trusted_here
from svcdoctor.probe.here import Here
from svcdoctor.probe.run import probe
from svcdoctor.probe.spoken import shown, speaks
from svcdoctor.probe.tally import Tally, latency
from svcdoctor.probe.who import who

P = CertificateProblem
ROOT = issue("root", authority=True)
OTHER = issue("other", authority=True)
MIDDLE = issue("middle", by=ROOT, authority=True)
OLD_MIDDLE = issue("middle", by=ROOT, authority=True, days=(-9, -1))
NAMES = ("web.default.svc", "*.example.org", "10.0.0.1", "fd00::1")
LEAF = issue("web", *NAMES, by=MIDDLE)


def problems(chain: list[Issued], host: str = "web.default.svc", now: datetime | None = None) -> set[P]:
    certificate = inspected([one.der for one in chain], host, "TLSv1.3", now, [ROOT.certificate])
    assert certificate is not None
    assert certificate.chain == len(chain)
    assert all("\n" not in line for _, line in certificate.problems)
    return {problem for problem, _ in certificate.problems}


def test_a_good_chain_has_no_problem() -> None:
    assert problems([LEAF, MIDDLE]) == set()
    assert problems([LEAF, MIDDLE, ROOT]) == set()
    certificate = inspected([LEAF.der, MIDDLE.der], "web.default.svc", "TLSv1.3", None, [ROOT.certificate])
    assert certificate is not None
    assert (certificate.subject, certificate.issuer, certificate.names) == ("CN=web", "CN=middle", NAMES)


@pytest.mark.parametrize(
    ("host", "covered"),
    [
        ("web.default.svc", True),
        ("WEB.default.svc.", True),
        ("a.example.org", True),
        ("a.b.example.org", False),
        ("example.org", False),
        (".example.org", False),
        ("web", False),  # the common name counts for nothing
        ("10.0.0.1", True),
        ("10.0.0.2", False),
        ("fd00:0::1", True),
        ("", True),
    ],
)
def test_names(host: str, covered: bool) -> None:
    assert problems([LEAF, MIDDLE], host) == (set() if covered else {P.WRONG_NAME})


def test_times_and_chains() -> None:
    now = datetime.now(UTC)
    assert problems([LEAF, MIDDLE], now=now + timedelta(days=2)) == {P.EXPIRED, P.BROKEN_CHAIN}
    assert problems([LEAF, MIDDLE], now=now - timedelta(days=2)) == {P.NOT_YET_VALID, P.BROKEN_CHAIN}
    assert problems([LEAF]) == {P.UNKNOWN_ISSUER}  # the one between is not sent
    assert problems([LEAF, ROOT]) == {P.BROKEN_CHAIN}
    assert problems([LEAF, MIDDLE, OTHER]) == {P.BROKEN_CHAIN, P.UNKNOWN_ISSUER}
    assert problems([issue("web", "web.default.svc")]) == {P.SELF_SIGNED}
    assert problems([issue("web", "web.default.svc", by=OTHER), OTHER]) == {P.UNKNOWN_ISSUER}
    assert problems([issue("web", "web.default.svc", by=OLD_MIDDLE), OLD_MIDDLE]) == {P.BROKEN_CHAIN}
    assert problems([issue("web", by=MIDDLE), MIDDLE]) == {P.WRONG_NAME}
    assert problems([ROOT], "") == set()


def test_what_is_no_certificate() -> None:
    assert inspected([], "x", "TLSv1.3") is None
    broken = inspected([b"\x30\x03abc"], "x", "TLSv1.3")
    assert broken is not None
    assert {problem for problem, _ in broken.problems} == {P.UNREADABLE}


def test_this_machine_trusts_somebody() -> None:
    assert all(root.subject is not None for root in trusted_here())


@pytest.mark.parametrize(
    ("issued", "told"),
    [
        (issue("x", "web.default", days=(-9, -2)), {P.EXPIRED, P.SELF_SIGNED}),
        (issue("x", "web.other"), {P.WRONG_NAME, P.SELF_SIGNED}),
        (issue("x", "web.default", days=(2, 9)), {P.NOT_YET_VALID, P.SELF_SIGNED}),
    ],
)
def test_real_servers_show_theirs(issued: Issued, told: set[P], tmp_path: Path) -> None:
    context = servers.server_context(tmp_path, issued)
    with Server(servers.page, context=context) as server:
        for kind, tls in ((ProbeKind.TLS, False), (ProbeKind.HTTP, True)):
            aim = Aim("127.0.0.1", server.port, kind, tls=tls, host="web.default")
            (seen,) = probe([aim], Here(), count=2)
            assert dict(seen.met) == {Met.ANSWERED: 2}, "it is inspected, not trusted"
            assert seen.certificate is not None
            assert {problem for problem, _ in seen.certificate.problems} == told
            assert seen.detail == "; ".join(line for _, line in seen.certificate.problems)


def test_a_chain_is_seen_whole(tmp_path: Path) -> None:
    context = servers.server_context(tmp_path, LEAF, MIDDLE)
    with Server(servers.page, context=context) as server:
        (seen,) = probe([Aim("127.0.0.1", server.port, ProbeKind.TLS, host="web.default.svc")], Here())
    assert seen.certificate is not None
    assert seen.certificate.chain == 2
    assert seen.certificate.problems == ((P.UNKNOWN_ISSUER, "CN=root is not trusted here"),)


# --- who answered


@pytest.mark.parametrize(
    ("text", "headers", "name"),
    [
        (b"web-7f5d-abc12\n", [], "web-7f5d-abc12"),
        (b"Hostname: echo-5d7\nIP: 10.0.0.1\n", [], "echo-5d7"),
        (b'{\n  "hostname": "podinfo-6c4-x2",\n  "version": "6"\n}', [], "podinfo-6c4-x2"),
        (b"Pod Information:\n\tpod name:\techo-1\n", [], "echo-1"),
        (b"Server name: nginx-demo-1\n", [], "nginx-demo-1"),
        (b"ok", [], ""),
        (b"404 page not found\n", [], ""),
        (b"", [(b"X-Pod-Name", b"web-3")], "web-3"),
        (b"x web-1 and web-10 x", [], ""),
        (b"\xff\xfe\x00", [], ""),
        (b"it is web-10, not web-1000", [], ""),
    ],
)
def test_who(text: bytes, headers: list[tuple[bytes, bytes]], name: str) -> None:
    assert who(text, (), headers) == name


def test_known_names_come_first() -> None:
    assert who(b"Hostname: proxy\nseen by web-10 on n1", ("web-1", "web-10")) == "web-10"
    assert who(b"web-100", ("web-1", "web-10")) == "web-100"


@given(st.binary(max_size=300), st.lists(st.from_regex(r"\A[a-z][-a-z0-9]{0,20}\Z"), max_size=3))
def test_any_bytes_have_one_line_or_none(data: bytes, names: list[str]) -> None:
    name = who(data, tuple(names), [(b"x-hostname", data)])
    assert len(name) <= 253
    assert all(c.isprintable() for c in name)
    assert all(c.isprintable() for c in shown(data))
    assert speaks(data) in (None, *Speaks)


# --- counts


def test_percentiles_are_values_that_were_seen() -> None:
    assert latency([]) is None
    hundred = [n / 100 for n in range(1, 101)]
    random.Random(1).shuffle(hundred)
    told = latency(hundred)
    assert told is not None
    assert (told.p50, told.p90, told.p99, told.max) == (0.5, 0.9, 0.99, 1.0)
    few = latency([0.3, 0.1])
    assert few is not None
    assert (few.p50, few.p90, few.max) == (0.1, 0.3, 0.3)


def test_a_tally_tells_the_most_frequent_failure() -> None:
    tally = Tally()
    for met, detail in [(Met.ANSWERED, ""), (Met.RESET, "a"), (Met.RESET, "b"), (Met.RESET, "b")]:
        tally.add(Sample(met, 0.1, detail=detail))
    seen = tally.observation(Aim("10.0.0.1", 80), Place(PlaceKind.HERE))
    assert (seen.sent, dict(seen.met)) == (4, {Met.ANSWERED: 1, Met.RESET: 3})
    assert (seen.detail, seen.mostly) == ("b", Met.RESET)
