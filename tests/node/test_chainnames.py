"""kube-proxy's names: published vectors, and the way back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from svcdoctor.node.chainnames import (
    EndpointName,
    ServicePortName,
    iptables_hash,
    nftables_base,
    parse_nftables_base,
    split_chain,
)

P80 = ServicePortName("ns1", "svc1", "p80", "tcp")
UNNAMED = ServicePortName("default", "hostnames", "", "tcp")


@pytest.mark.parametrize(
    ("what", "old", "hashed"),
    [
        (P80, False, "XPGD46QRK7WJZT7O"),
        (P80, True, "XPGD46QRK7WJZT7O"),
        (EndpointName(P80, "10.180.0.1", 80), False, "SXIVWICOYRO3J4NJ"),
        (UNNAMED, True, "NWV5X2332I4OT4T3"),
    ],
)
def test_iptables_vectors(what: ServicePortName | EndpointName, old: bool, hashed: str) -> None:
    assert iptables_hash(what, old=old) == hashed


def test_nftables_vector() -> None:
    assert nftables_base(P80) == "ULMVA6XW-ns1/svc1/tcp/p80"


def test_ipv6_is_bracketed_in_iptables_and_dotted_in_nftables() -> None:
    endpoint = EndpointName(P80, "fd00::1", 80)
    assert str(endpoint) == "[fd00::1]:80"
    assert nftables_base(endpoint).endswith("-ns1/svc1/tcp/p80__fd00..1/80")


@pytest.mark.parametrize(
    ("chain", "parts"),
    [
        ("KUBE-SVC-XPGD46QRK7WJZT7O", ("KUBE-SVC-", "XPGD46QRK7WJZT7O")),
        ("KUBE-XLB-XPGD46QRK7WJZT7O", ("KUBE-XLB-", "XPGD46QRK7WJZT7O")),
        ("firewall-ULMVA6XW-ns1/svc1/tcp/p80", ("firewall-", "ULMVA6XW-ns1/svc1/tcp/p80")),
        ("KUBE-SERVICES", None),
        ("KUBE-FIREWALL", None),
        ("service-endpoints-check", None),
        ("firewall-check", None),
    ],
)
def test_split_chain(chain: str, parts: tuple[str, str] | None) -> None:
    assert split_chain(chain) == parts


def test_a_long_name_is_cut_and_cannot_be_read_back() -> None:
    base = nftables_base(ServicePortName("n" * 63, "s" * 253, "http", "tcp"))
    assert len(base) == 240
    assert base.endswith("...")
    assert parse_nftables_base(base) is None


def test_a_wrong_hash_is_not_believed() -> None:
    assert parse_nftables_base("AAAAAAAA-ns1/svc1/tcp/p80") is None


_label = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)
_service = st.builds(
    ServicePortName, _label, _label, st.just("") | _label, st.sampled_from(["tcp", "udp", "sctp"])
)
_ip = st.ip_addresses().map(str)


@given(_service | st.builds(EndpointName, _service, _ip, st.integers(1, 65535)))
def test_nftables_names_read_back(what: ServicePortName | EndpointName) -> None:
    assert parse_nftables_base(nftables_base(what)) == what
