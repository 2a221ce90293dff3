"""A Snapshot that says how a cluster is built and not whose it is.

Theory. Anonymising is an allow-list over the model: numbers and switches stay, and for every field that holds
text a rule says what it holds (a name, an address, a word of the API, prose). A field without a rule is left
out, so a field added to the model later does not leak. All rules share one mapping of names and one of
addresses, so whatever was equal is equal: a selector still selects the same number of pods, an endpoint still
lies in its node's podCIDR, a rule still fits its Service.

What is lost: free text beyond ordinary English, how much two names resemble each other (a near miss is one no
longer), times finer than an hour, the alphabetical order of objects. What remains: names that every cluster
has, the shape of the network, ports, counts. Whoever knows some original addresses can infer prefixes of others.

The mapping lives only while ``anonymize`` runs: it is never returned, printed or written.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from svcdoctor.cluster.kinds import KINDS
from svcdoctor.model.base import KubeObject
from svcdoctor.model.facts import Kind, Known, Scope, Unknown
from svcdoctor.model.nodefacts import Dump, NodeFacts
from svcdoctor.model.snapshot import Snapshot
from svcdoctor.sources.addressmap import AddressMap
from svcdoctor.sources.anonymousdumps import UNDERSTOOD, anonymous_dump
from svcdoctor.sources.anonymousobjects import anonymous_object
from svcdoctor.sources.anonymousrequest import Question, anonymous_question
from svcdoctor.sources.anonymoustext import Tokens
from svcdoctor.sources.chainmap import ChainNames
from svcdoctor.sources.dumpnames import DUMPS
from svcdoctor.sources.pseudonyms import Pseudonyms
from svcdoctor.sources.redaction import redacted

Dumps = Mapping[str, Mapping[str, bytes]]

SOURCE = "an anonymised snapshot"


@dataclass(frozen=True, slots=True)
class Anonymous:
    """An anonymised snapshot. ``left_out`` names the dumps that were not understood, for the meta file.

    ``question`` is the one that was given, about this snapshot.
    """

    snapshot: Snapshot
    dumps: dict[str, dict[str, bytes]]
    left_out: tuple[str, ...]
    question: Question | None = None


def anonymize(
    snapshot: Snapshot,
    dumps: Dumps,
    question: Question | None = None,
    *,
    randomness: Callable[[int], bytes] = secrets.token_bytes,
) -> Anonymous:
    """The snapshot, dumps and question with every name and address replaced, consistently and at random.

    ``randomness`` gives the key's bytes; whoever has the key can undo the mapping. The time is linear in the
    objects and dumps. Raises SvcdoctorError for a pod whose spec is malformed.
    """
    key = randomness(32)
    addresses = AddressMap(key)
    names = Pseudonyms(key, addresses)
    chains = ChainNames(key, names.name, names.host)
    tokens = Tokens(names, addresses, chains)
    names.relate(o for kind in Kind for o in snapshot.of(kind))
    objects = {kind: _objects(tokens, snapshot.of(kind)) for kind in Kind if snapshot.of(kind)}
    if dumps:
        _learn_chains(chains, snapshot, dumps)
    mapped: dict[str, dict[str, bytes]] = {}
    left_out: list[str] = []
    for node, files in sorted(dumps.items()):
        kept = mapped.setdefault(names.host(node), {})
        for name, data in sorted(files.items()):
            anonymous = anonymous_dump(name, data, tokens)
            if anonymous is None:
                label = name if name in DUMPS else "a dump"
                left_out.append(f"{label} of node {names.host(node)}: not understood")
            else:
                kept[name] = anonymous
    result = Snapshot(
        objects,
        {kind: tuple(_fact(tokens, kind, f) for f in facts) for kind, facts in snapshot.facts.items()},
        {
            names.host(node): _node_facts(tokens, facts, mapped.get(names.host(node), {}))
            for node, facts in snapshot.node_facts.items()
        },
        SOURCE,
        snapshot.would_be,
    )
    return Anonymous(result, mapped, tuple(left_out), question and anonymous_question(names, question))


def _objects(tokens: Tokens, objects: tuple[KubeObject, ...]) -> tuple[KubeObject, ...]:
    """The objects mapped, in the order of their new names: the old order would tell of the old names."""
    mapped = [anonymous_object(tokens, o) for o in map(redacted, objects) if o is not None]
    return tuple(sorted(mapped, key=lambda o: (o.namespace, o.name)))


def _learn_chains(chains: ChainNames, snapshot: Snapshot, dumps: Dumps) -> None:
    chains.learn_snapshot(snapshot)
    for files in dumps.values():
        for name, data in files.items():
            if "tables-" in name:
                chains.learn_rules(data.decode(errors="replace"))


def _fact(tokens: Tokens, kind: Kind, fact: Known | Unknown) -> Known | Unknown:
    scope = _scope(tokens, fact.scope)
    if isinstance(fact, Known):
        return Known(scope)
    return Unknown(tokens.prose(fact.reason), f"allow list on {KINDS[kind].resource}", scope)


def _scope(tokens: Tokens, scope: Scope) -> Scope:
    names = tokens.names
    return Scope(
        None if scope.namespace is None else names.name(scope.namespace),
        tuple(sorted((names.key(k), names.value(k, v)) for k, v in scope.labels)),
        None if scope.name is None else names.name(scope.name),
    )


def _node_facts(tokens: Tokens, facts: NodeFacts, dumps: Mapping[str, bytes]) -> NodeFacts:
    """The facts mapped, with the anonymised dumps in the place of the node's own."""
    host = tokens.names.host(facts.name)

    def mapped(texts: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(tokens.address(t) or t for t in texts if tokens.address(t) or t == "primary")

    proxy = facts.proxy and replace(
        facts.proxy,
        cluster_cidrs=mapped(facts.proxy.cluster_cidrs),
        node_port_addresses=mapped(facts.proxy.node_port_addresses),
        pod_interface=facts.proxy.pod_interface and tokens.names.interface(facts.proxy.pod_interface),
    )
    listeners = facts.listeners and tuple(
        replace(one, address="".join(mapped((one.address,))), process=tokens.token(one.process))
        for one in facts.listeners
    )
    return replace(
        facts,
        name=host,
        proxy=proxy,
        addresses=facts.addresses and mapped(facts.addresses),
        listeners=listeners,
        dumps=tuple(name for name in facts.dumps if name in UNDERSTOOD),
        raw={name: Dump(f"nodes/{host}/{name}", data) for name, data in dumps.items()},
        missing={name: tokens.prose(why) for name, why in facts.missing.items() if name in DUMPS},
    )
