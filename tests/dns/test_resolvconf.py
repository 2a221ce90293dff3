"""resolv.conf: read, rendered, and cut to what each C library obeys."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from svcdoctor.dns.resolvconf import Libc, ResolvConf, effective, parse, rendered, with_options

POD = """search default.svc.cluster.local svc.cluster.local cluster.local
nameserver 10.96.0.10
options ndots:5
"""


def test_a_pods_file():
    conf = parse(POD)
    assert conf.nameservers == ("10.96.0.10",)
    assert conf.search == ("default.svc.cluster.local", "svc.cluster.local", "cluster.local")
    assert (conf.ndots, conf.timeout, conf.attempts) == (5, 5, 2)
    assert conf.ignored == ()
    assert rendered(conf) == POD


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ResolvConf()),
        ("# nameserver 1.1.1.1\n; search x\n\n", ResolvConf()),
        ("search a b\ndomain c d\n", ResolvConf(search=("c",))),
        ("domain c\nsearch a\tb \n", ResolvConf(search=("a", "b"))),
        ("search a\nsearch\nsearch \n", ResolvConf(search=("a",))),
        ("nameserver 1.1.1.1 ignored words", ResolvConf(("1.1.1.1",))),
        ("nameserver fe80::1%eth0\nnameserver ::1", ResolvConf(("fe80::1%eth0", "::1"))),
        ("options ndots:2 timeout:3\noptions ndots:4 rotate", ResolvConf(ndots=4, timeout=3, rotate=True)),
        ("options use-vc single-request-reopen", ResolvConf(use_vc=True, single_request_reopen=True)),
        (
            "options no-aaaa no_tld_query edns0",
            ResolvConf(no_aaaa=True, no_tld_query=True, others=("edns0",)),
        ),
        ("options ndots:3x attempts:1", ResolvConf(ndots=3, attempts=1)),
        ("nameserver 1.1.1.1\0 and the rest\n", ResolvConf(("1.1.1.1",))),
        ("sortlist 10.0.0.0/8\n", ResolvConf()),
    ],
)
def test_what_is_read(text, expected):
    conf = parse(text)
    assert (conf, conf.ignored or ()) == (expected, ()) or not expected.ignored
    assert ResolvConf(**{f: getattr(conf, f) for f in ResolvConf.__slots__ if f != "ignored"}) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nameserver dns.example.org", "line 1: nameserver dns.example.org: no IP address"),
        ("\nnameserver 10.96.0.10\r\n", "line 2: nameserver 10.96.0.10\\r: ends in a carriage return"),
        ("nameserver 1.1.1.1%eth0", "a scope belongs to IPv6"),
        (" nameserver 1.1.1.1", "begins with a space"),
        ("nameserver", "line 1: nameserver: no value"),
        ("NAMESERVER 1.1.1.1", "line 1: NAMESERVER 1.1.1.1: no such keyword"),
        ("options ndots:five", "option ndots:five: no number"),
        ("options ndots:-1", "option ndots:-1: no number"),
        ("options dnots:5", "option dnots:5: no option that glibc or musl knows"),
        ("\x1b[2J", "no such keyword"),
    ],
)
def test_what_counts_for_nothing_is_said(text, said):
    (ignored,) = parse(text).ignored
    assert said in ignored and ignored.isprintable()
    assert parse(text).nameservers == ()


def test_glibc_obeys_three_servers_and_its_largest_numbers():
    conf = parse(
        "".join(f"nameserver 10.0.0.{n}\n" for n in range(1, 6)) + "options ndots:99 timeout:99 attempts:99"
    )
    obeyed = effective(conf, Libc.GLIBC)
    assert obeyed.nameservers == ("10.0.0.1", "10.0.0.2", "10.0.0.3")
    assert (obeyed.ndots, obeyed.timeout, obeyed.attempts) == (15, 30, 5)
    assert len(obeyed.ignored) == 5
    musl = effective(conf, Libc.MUSL)
    assert (musl.ndots, musl.timeout, musl.attempts) == (15, 60, 10)


def test_a_long_search_list_is_cut_by_old_glibc_and_lost_in_musl():
    conf = ResolvConf(search=tuple(f"domain{n}.example.org" for n in range(40)))
    assert effective(conf, Libc.GLIBC).search == conf.search
    assert effective(conf, Libc.OLD_GLIBC).search == conf.search[:6]
    assert effective(conf, Libc.MUSL).search == ()
    long = ResolvConf(search=("a" * 200, "b" * 100))
    assert effective(long, Libc.OLD_GLIBC).search == ("a" * 200, "b" * 54)
    assert "255 characters" in effective(long, Libc.OLD_GLIBC).ignored[0]


def test_musl_knows_no_switches():
    conf = ResolvConf(rotate=True, use_vc=True, single_request=True, no_aaaa=True, attempts=0)
    obeyed = effective(conf, Libc.MUSL)
    assert not (obeyed.rotate or obeyed.use_vc or obeyed.single_request or obeyed.no_aaaa)
    assert any("SIGFPE" in line for line in obeyed.ignored) and len(obeyed.ignored) == 5


def test_no_server_is_the_local_one():
    assert effective(ResolvConf(), Libc.MUSL).nameservers == ("127.0.0.1",)


def test_a_huge_file_of_garbage_is_read_in_a_moment():
    conf = parse(
        "nameserver 10.96.0.10\n" + "\x00\xff garbage\n" * 100_000 + "options " + "ndots:3 " * 100_000
    )
    assert conf.nameservers == ("10.96.0.10",) and conf.ndots == 3


DOMAINS = st.from_regex(r"[a-z0-9]([a-z0-9.-]{0,20}[a-z0-9])?\.?", fullmatch=True)
CONFS = st.builds(
    ResolvConf,
    st.lists(st.ip_addresses().map(str), max_size=5).map(tuple),
    st.lists(DOMAINS, max_size=8).map(tuple),
    *[st.integers(0, 999)] * 3,
    *[st.booleans()] * 6,
    st.lists(st.sampled_from(["edns0", "trust-ad", "no-reload"]), unique=True).map(tuple),
)


@given(CONFS)
def test_what_is_rendered_reads_the_same(conf):
    assert parse(rendered(conf)) == conf


@given(CONFS, st.sampled_from(Libc))
def test_limits_hold_and_applying_them_twice_changes_nothing(conf, libc):
    once = effective(conf, libc)
    assert 1 <= len(once.nameservers) <= 3 and once.ndots <= 15
    assert " ".join(conf.search).startswith(" ".join(once.search))
    again = effective(once, libc)
    assert (again.nameservers, again.search, again.ndots) == (once.nameservers, once.search, once.ndots)
    assert (again.timeout, again.attempts, again.rotate) == (once.timeout, once.attempts, once.rotate)


@given(st.text(max_size=300) | st.text("nameserver options search\t\n:.0159af%#;\r", max_size=300))
def test_any_text_is_read(text):
    conf = parse(text)
    assert all(line.isprintable() for line in conf.ignored)
    assert parse(rendered(conf)).nameservers == conf.nameservers


@given(st.lists(st.text(max_size=12), max_size=6))
def test_any_option_is_read(options):
    with_options(ResolvConf(), options)
