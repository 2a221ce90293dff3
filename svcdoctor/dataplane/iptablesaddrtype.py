"""-m addrtype: what the kernel takes an address for. As net/netfilter/xt_addrtype.c.

IPv4 asks the routing tables for the address's one type. IPv6 demands everything that is named, tells unicast and
multicast by the address itself, and asks the routing tables for LOCAL, ANYCAST and UNREACHABLE only: there an
address of the node is LOCAL and UNICAST.
"""

from __future__ import annotations

from svcdoctor.dataplane.iptablesheader import Scope, Step, negated
from svcdoctor.dataplane.iptableswords import Section
from svcdoctor.dataplane.language import Test
from svcdoctor.dataplane.packet import Packet, address_text
from svcdoctor.dataplane.surroundings import ADDRESS_TYPES, Surroundings, fixed_type

_ROUTED = frozenset({"local", "anycast", "unreachable"})
_REJECTING = frozenset({"unreachable", "blackhole", "prohibit"})
_OF_INTERFACES = frozenset({"local", "broadcast"})  # on one interface, unicast on another


def addrtype(section: Section, scope: Scope) -> list[Step]:
    """-m addrtype. Raises ValueError."""
    limited = any(option.name.startswith("limit-") for option in section.options)
    found: list[Step] = []
    for option in section.options:
        if option.name.startswith("limit-"):
            continue
        types = frozenset(option.values[0].lower().split(","))
        unheard = types - ADDRESS_TYPES - {"throw", "nat", "xresolve"}
        if unheard:
            raise ValueError(f"{min(unheard)} is no type of address")
        test = _test(option.name == "src-type", types, limited, scope)
        found.append(negated(test) if option.negated else test)
    return found


def _test(source: bool, types: frozenset[str], limited: bool, scope: Scope) -> Test:
    of_type = _of_type4 if scope.family == 4 else _of_type6
    surroundings = scope.surroundings

    def test(packet: Packet) -> bool | str:
        return of_type(packet.src if source else packet.dst, types, limited, surroundings)

    return test


def _of_type4(address: int, types: frozenset[str], limited: bool, surroundings: Surroundings) -> bool | str:
    found = surroundings.address_type(4, address)
    if found is None:
        return _not_known(4, address)
    if limited and found in _OF_INTERFACES and fixed_type(4, address) is None:
        here, elsewhere = found in types, "unicast" in types
        return here if here is elsewhere else _not_where(4, address)
    return found in types


def _of_type6(address: int, types: frozenset[str], limited: bool, surroundings: Surroundings) -> bool | str:
    fixed = fixed_type(6, address)
    if "multicast" in types and fixed != "multicast":
        return False
    if "unicast" in types and (fixed is not None or address >> 32 == 0xFFFF):
        return False
    if "unspec" in types and fixed != "unspec":
        return False
    if not types & _ROUTED:
        return True
    found = surroundings.address_type(6, address)
    if found is None:
        return _not_known(6, address)
    if found == "local" and "local" in types and limited:
        return _not_where(6, address)
    return found in types & _ROUTED or (found in _REJECTING and "unreachable" in types)


def _not_known(family: int, address: int) -> str:
    return f"whether {address_text(family, address)} is an address of the node is not known"


def _not_where(family: int, address: int) -> str:
    return f"on which interface {address_text(family, address)} is, is not known"
