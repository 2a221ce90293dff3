"""Rulesets of nftables for tests, as JSON that is built here: one table with what a test needs."""

import json

from svcdoctor.dataplane.nftables import NftablesRules
from svcdoctor.dataplane.packet import NEW, packet
from svcdoctor.dataplane.surroundings import PlainSurroundings
from svcdoctor.node.nftjson import read_nft_json

OWN = ["192.168.0.2", "2001:db8::2"]


def ruleset(*rules, family="inet", sets=(), chains=(), surroundings=None, **base):
    """A table ``t`` with the base chain ``base`` (filter, prerouting) of these rules, and what else is named."""
    of = {"family": family, "table": "t"}
    head = {"type": "filter", "hook": "prerouting", "prio": 0, "policy": "accept", **base}
    entries = [{"table": {"family": family, "name": "t"}}]
    entries += [{kind: {**of, **about}} for kind, about in sets]
    entries.append({"chain": {**of, "name": "base", **head}})
    entries += [{"chain": {**of, "name": name}} for name, _ in chains]
    entries += [{"rule": {**of, "chain": "base", "expr": expr}} for expr in rules]
    entries += [{"rule": {**of, "chain": name, "expr": expr}} for name, body in chains for expr in body]
    data = json.dumps({"nftables": entries}).encode()
    return NftablesRules(read_nft_json(data, "nft.json"), surroundings or PlainSurroundings(OWN))


def tracked(source, target, dport=None, protocol="tcp", sport=None, **fields):
    """A new connection's first packet, behind conntrack, come in by eth0."""
    asked = packet(source, target, dport, protocol, sport)
    asked.ct, asked.iif = NEW, "eth0"
    for name, value in fields.items():
        setattr(asked, name, value)
    return asked


def match(left, right, op="=="):
    return {"match": {"op": op, "left": left, "right": right}}


def payload(protocol, field):
    return {"payload": {"protocol": protocol, "field": field}}


def meta(key):
    return {"meta": {"key": key}}


def ct(key, direction=None):
    return {"ct": {"key": key, "dir": direction} if direction else {"key": key}}


def prefix(address, length):
    return {"prefix": {"addr": address, "len": length}}


def jump(name):
    return {"jump": {"target": name}}


def goto(name):
    return {"goto": {"target": name}}
