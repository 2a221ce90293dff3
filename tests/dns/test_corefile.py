"""Corefiles: what kubeadm and others install, zones and forwards, snippets, and what CoreDNS would refuse."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from svcdoctor.dns.corefile import Directive, Forward, forwards, kubernetes_zones, parse
from svcdoctor.model.errors import SvcdoctorError

KUBEADM = """.:53 {
    errors
    health {
       lameduck 5s
    }
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa {
       pods insecure
       fallthrough in-addr.arpa ip6.arpa
       ttl 30
    }
    prometheus :9153
    forward . /etc/resolv.conf {
       max_concurrent 1000
    }
    cache 30 {
       disable success cluster.local
       disable denial cluster.local
    }
    loop
    reload
    loadbalance
}
"""
OTHERS = """
(logging) {
    log . "{type} {name}" { class denial }
    errors
}
corp.example.:53, 10.0.0.0/8 {   # the company's
    import logging
    forward corp.example 10.150.0.1 tls://10.150.0.2:853 {
        except lab.corp.example build.corp.example
    }
    cache
}
tls://dns.example:853
{$EXTRA:extra.example}
. {
    hosts /etc/coredns/NodeHosts {
        10.0.0.7 registry.corp.example
        fallthrough
    }
    rewrite name regex (.*)\\.old\\.example {1}.new.example answer auto
    template IN A blocked.example {
        answer "{{ .Name }} 60 IN A 0.0.0.0"
    }
    import custom/*.override
}
import custom/*.server
"""


def test_what_kubeadm_installs():
    corefile = parse(KUBEADM)
    (server,) = corefile.servers
    assert (server.zones, server.scheme, server.port) == ((".",), "dns", 53)
    assert [p.name for p in server.plugins] == [
        "errors", "health", "ready", "kubernetes", "prometheus", "forward", "cache", "loop", "reload", "loadbalance",
    ]  # fmt: skip
    assert kubernetes_zones(corefile) == ("cluster.local", "in-addr.arpa", "ip6.arpa")
    assert forwards(corefile) == (Forward(".", ("/etc/resolv.conf",), (), 13),)
    (kubernetes,) = server.all("kubernetes")
    assert kubernetes.block[0] == Directive("pods", ("insecure",), (), 8)
    assert [d.line for _, d in corefile.all("loop")] == [20]


def test_several_blocks_snippets_and_imports():
    corefile = parse(OTHERS.replace("tls://dns.example:853\n{$EXTRA:extra.example}\n", ""))
    corp, root = corefile.servers
    assert corp.zones == ("corp.example", "10.in-addr.arpa")
    assert [p.name for p in corp.plugins] == ["log", "errors", "forward", "cache"]
    assert forwards(corefile) == (
        Forward(
            "corp.example",
            ("10.150.0.1", "tls://10.150.0.2:853"),
            ("lab.corp.example", "build.corp.example"),
            8,
        ),
    )
    assert corefile.imports == ("custom/*.override", "custom/*.server")
    assert root.all("hosts")[0].block[0] == Directive("10.0.0.7", ("registry.corp.example",), (), 15)
    assert root.all("template")[0].block[0].arguments == ("{{ .Name }} 60 IN A 0.0.0.0",)


def test_a_server_of_several_schemes_and_no_braces():
    corefile = parse("tls://a.example, b.example:5353,\ngrpc://c.example {\n whoami\n}\n")
    assert [(s.zones, s.scheme, s.port) for s in corefile.servers] == [
        (("a.example",), "tls", 853),
        (("b.example",), "dns", 5353),
        (("c.example",), "grpc", 443),
    ]
    (server,) = parse("cluster.local\nkubernetes\nforward . 1.1.1.1\n").servers
    assert [p.name for p in server.plugins] == ["kubernetes", "forward"]
    assert kubernetes_zones(parse("corp.internal {\n kubernetes\n}")) == ("corp.internal",)


@pytest.mark.parametrize(
    ("network", "zones"),
    [
        ("10.0.0.0/8", ("10.in-addr.arpa",)),
        ("192.168.7.0/24", ("7.168.192.in-addr.arpa",)),
        ("10.96.0.0/14", tuple(f"{n}.10.in-addr.arpa" for n in range(96, 100))),
        ("fd00:10:96::/48", ("6.9.0.0.0.1.0.0.0.0.d.f.ip6.arpa",)),
        ("2001:db8::/30", tuple(f"{n}.b.d.0.1.0.0.2.ip6.arpa" for n in "89ab")),
        ("10.0.0.1/32", ("1.0.0.10.in-addr.arpa",)),
        ("0.0.0.0/0", ("in-addr.arpa",)),
    ],
)
def test_a_network_is_its_reverse_zones(network, zones):
    (server,) = parse(f"{network} {{\n}}\n").servers
    assert server.zones == zones


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (". {\n errors\n", "Corefile: line 1: the block is not closed"),
        ('. {\n log "a\n}\n', "line 2: a quotation mark is not closed"),
        (". {\n}\n}\n", "line 3: '}' is no server block"),
        (". {\n}\na b\n", "line 3: 'a b' is no server block"),
        ("{\n}\n", "line 1: '{' is no server block"),
        ("ftp://a {\n}\n", "'ftp://a' is no zone with a scheme"),
        (".:99999 {\n}\n", "'.:99999' is no zone"),
        ("(a) {\n import a\n}\n. {\n import a\n}\n", "snippets import each other without end"),
        (". {\n" + "a {\n" * 40 + "}\n" * 41, "more than 16 blocks in each other"),
        (". {\n" + "a {\n" * 100_000, "more than 16 blocks"),
    ],
)
def test_what_coredns_would_not_read(text, says):
    with pytest.raises(SvcdoctorError) as error:
        parse(text)
    assert says in error.value.message and "\n" not in error.value.message


def test_snippets_do_not_multiply_without_end():
    tenfold = "".join(f"(s{n}) {{\n" + f"import s{n - 1}\n" * 10 + "}\n" for n in range(1, 10))
    text = "(s0) {\nlog\n}\n" + tenfold + ". {\nkubernetes a {\nimport s9\n}\n}\n"
    with pytest.raises(SvcdoctorError, match=r"Corefile: line \d+: imports make more than 20,000 lines"):
        parse(text)


def test_an_empty_file_and_comments():
    assert parse("") == parse("# nothing\n\n   # more") == parse("\n")
    assert parse("").servers == ()


@given(st.text(max_size=200) | st.text('{}(). \n#",:/aimport', max_size=200))
def test_any_text_is_read_or_refused(text):
    try:
        corefile = parse(text)
    except SvcdoctorError as error:
        assert error.message.startswith("Corefile: line ")
    else:
        kubernetes_zones(corefile)
        forwards(corefile)
