"""All served ports as one nftables table of each IP family, and what must be told to nft when they change.

Theory. A `Ruleset` is a value: the ports, and for each key of the maps which ports ask for it. Two Services may ask for
one external address, and then the first by name has it alone; many share pods, and with them hairpin elements. The
rules themselves are made of the ports where they are needed, so that 5,000 Services need no more memory than their
ports.

What may live here: which rules there are, and the text for ``nft -f``. Running nft is in ``apply``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from typing import TypeAlias

from svcdoctor.proxy.kernel import layout
from svcdoctor.proxy.kernel.layout import COMMENT, HEADS, IPS, TABLE
from svcdoctor.proxy.kernel.portrules import PortRules, check, family_of, listen_key, numbers_map, port_rules
from svcdoctor.proxy.kernel.site import Site
from svcdoctor.proxy.kernel.statements import NEW, RETURN, rule
from svcdoctor.proxy.kernel.tabletext import (
    ADDRESS,
    Kept,
    Key,
    chains_text,
    element,
    kept_text,
    key_text,
    table_text,
)
from svcdoctor.proxy.serving.served import Listen, ServedPort

Place: TypeAlias = "tuple[str, Key]"
"""A table's family and a key in its maps."""


@dataclass(frozen=True, slots=True)
class Ruleset:
    """``ports`` by key, ``slots`` the number that each has of its own. ``claims`` are the ports that ask for a key of
    the maps, in order: the first has it."""

    site: Site
    ports: Mapping[str, ServedPort]
    slots: Mapping[str, int]
    claims: Mapping[Place, tuple[str, ...]]

    @property
    def families(self) -> tuple[str, ...]:
        """Those that have a table."""
        found = {IPS[family_of(key)] for key in self.ports}
        return tuple(ip for ip in IPS.values() if ip in found)

    @property
    def text(self) -> str:
        """What ``nft -f`` needs to make the tables, in the place of those that are there."""
        return "".join(self.table(ip) for ip in self.families)

    def numbers(self, ip: str) -> tuple[str, ...]:
        """The maps from numbers to endpoints in a table."""
        return tuple(
            dict.fromkeys(numbers_map(k, s) for k, s in self.slots.items() if IPS[family_of(k)] == ip)
        )

    def has(self, port: ServedPort, listen: Listen) -> bool:
        """Whether an address that other ports may claim too is this port's."""
        place = IPS[family_of(port.key)], listen_key(listen, port.protocol)
        return self.claims[place][0] == port.key

    def rules(self, key: str) -> PortRules:
        return port_rules(self.ports[key], self.site, self.slots[key])

    def changed(self, put: Iterable[ServedPort], removed: Iterable[str]) -> Ruleset:
        """With some ports new or otherwise, and without some. Raises SvcdoctorError for one that cannot be served."""
        ports, slots, claims = dict(self.ports), dict(self.slots), dict(self.claims)
        new = {port.key: port for port in put}
        for port in new.values():
            check(port)
        gone = {*removed, *(key for key, port in new.items() if not port.listens)}
        for key in gone | new.keys():
            if key in ports:
                rules = self.rules(key)
                for wanted in rules.elements:
                    place = rules.ip, wanted
                    claims[place] = tuple(k for k in claims[place] if k != key)
                    if not claims[place]:
                        del claims[place]
        for key in gone:
            ports.pop(key, None)
            slots.pop(key, None)
        used = set(slots.values())
        free = (n for n in count() if n not in used)
        for key in (key for key in new if key not in gone):
            ports[key] = new[key]
            if key not in slots:
                slots[key] = next(free)
            rules = port_rules(new[key], self.site, slots[key])
            for wanted in rules.elements:
                place = rules.ip, wanted
                before = claims.get(place, ())
                claims[place] = tuple(sorted((*before, key))) if before else (key,)
        return Ruleset(self.site, ports, slots, claims)

    def table(self, ip: str, clients: Mapping[str, Iterable[str]] | None = None) -> str:
        """One table's text. ``clients`` are elements of sets ``affinity-`` to go on with."""
        remembered = clients or {}
        elements: dict[str, list[str]] = {name: [] for name in self.numbers(ip)}
        sets: list[str] = []
        chains: list[str] = []
        for key in self.ports:
            if IPS[family_of(key)] != ip:
                continue
            rules = self.rules(key)
            own = (wanted for wanted in rules.elements if self.claims[ip, wanted][0] == key)
            for name, _, text in elements_of(rules, own):
                elements.setdefault(name, []).append(text)
            for name, seconds in rules.clients.items():
                sets += kept_text(ip, affinity(ip, name, seconds), remembered.get(name, ()))
            chains += chains_text(rules.chains, {}, ip)
        fixed = (line for k in layout.kept(ip) for line in kept_text(ip, k, elements.get(k.name, ())))
        sets += (line for name in self.numbers(ip) for line in kept_text(ip, numbers(name)))
        common = chains_text(layout.chains(ip, self.site), HEADS, ip)
        whole = table_text(ip, TABLE, COMMENT, (*fixed, *sets, *common, *chains))
        # A rule that asks a map goes through all its elements when it is loaded: they come after the rules.
        filled = (
            f"add element {ip} {TABLE} {name} {{\n{texts}\n}}"
            for name in self.numbers(ip)
            if (texts := ",\n".join(elements[name]))
        )
        return "\n".join((*whole, *filled, ""))


def compiled(ports: Iterable[ServedPort], site: Site) -> Ruleset:
    """The rules for these ports. Raises SvcdoctorError for one that cannot be served by rules."""
    return Ruleset(site, {}, {}, {}).changed(ports, ())


def idle_table(ip: str) -> str:
    """Text for ``nft -f``: a table that translates nothing new, in the place of one that may be there. While it is
    there the kernel goes on translating what it did: by its chain NAT stays hooked, by its rule conntrack does."""
    chains = chains_text({layout.LAST_CHAIN: (rule(NEW, RETURN),)}, HEADS, ip)
    return "\n".join((*table_text(ip, TABLE, COMMENT, chains), ""))


def gone_table(ip: str) -> str:
    """Text for ``nft -f``: no table, whether there was one or not."""
    return f"add table {ip} {TABLE}\ndelete table {ip} {TABLE}\n"


def elements_of(rules: PortRules, keys: Iterable[Key]) -> Iterator[tuple[str, Key, str]]:
    """A port's elements as text, with the set or map and the key: those of these keys, and its endpoints' numbers."""
    for key in keys:
        for name, verdict in rules.elements[key].items():
            yield name, key, element(key, verdict)
    for number, to in rules.endpoints.items():
        yield rules.numbers, (number,), f"{number} : {key_text(to)}"


def numbers(name: str) -> Kept:
    return Kept(name, endpoints=name.split("-")[1])


def affinity(ip: str, name: str, seconds: int) -> Kept:
    return Kept(name, (ADDRESS[ip],), seconds=seconds)
