"""-m recent: lists of clients that were seen lately, which session affinity is made of.

A list is named in ``packet.remembered`` when it holds the packet's source, seen within every ``--seconds`` that
rules ask for. ``--set`` adds the client, ``--remove`` takes it out. As net/netfilter/xt_recent.c.
"""

from __future__ import annotations

from svcdoctor.dataplane.iptablesheader import Scope, Step, never
from svcdoctor.dataplane.iptableswords import Option, Section
from svcdoctor.dataplane.language import Op
from svcdoctor.dataplane.packet import Packet


def recent(section: Section, scope: Scope) -> list[Step]:
    """-m recent. Raises ValueError."""
    options = {option.name: option for option in section.options}
    name = options["name"].values[0] if "name" in options else "DEFAULT"
    does = [options[n] for n in ("set", "rcheck", "update", "remove") if n in options]
    if len(does) != 1:
        raise ValueError("-m recent needs one of --set, --rcheck, --update, --remove")
    action = does[0]
    if action.name == "set":

        def add(packet: Packet) -> None:
            packet.remembered |= {name}

        added: Step = (Op.CHANGE, add)
        return [added, never] if action.negated else [added]
    if "rdest" in options:

        def by_destination(packet: Packet) -> bool | str:
            return f"which destinations the list {name} of -m recent holds is not known"

        return [by_destination]
    held = _held(
        name, action, int(options["hitcount"].values[0]) if "hitcount" in options else 0, "rttl" in options
    )
    if action.name != "remove":
        return [held]

    def remove(packet: Packet) -> None:
        packet.remembered -= {name}

    # A negated --remove matches a client that the list does not hold, so that there is nothing to take out.
    return [held] if action.negated else [held, (Op.CHANGE, remove)]


def _held(name: str, action: Option, hits: int, ttl: bool) -> Step:
    def held(packet: Packet) -> bool | str:
        if name not in packet.remembered:
            return action.negated
        if hits > 1:
            return f"how often the list {name} of -m recent saw the client is not known"
        if ttl:
            return f"with which TTL the list {name} of -m recent saw the client is not known"
        return not action.negated

    return held
