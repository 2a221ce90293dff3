"""A rule of nftables in nft's own syntax, as ``nft -s list ruleset`` prints it: without counters' numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from svcdoctor.dataplane.nftexpressions import flags_of
from svcdoctor.dataplane.nftexpressiontext import (
    MASKS,
    constant_text,
    duration,
    expression_text,
    map_text,
    raw_text,
    verdict_text,
)
from svcdoctor.dataplane.nftfields import WORD, Types, address_type, type_of
from svcdoctor.dataplane.nfttypes import DataType

DEFAULT_REJECT = {"ip": "icmp", "ip6": "icmpv6", "inet": "icmpx"}


def rule_text(statements: Iterable[Any], family: str, comment: str | None) -> str:
    """The rule in one line. A statement that has no writer here appears as its JSON."""
    texts = [_statement(statement, family) for statement in statements]
    if comment is not None:
        texts.append(f'comment "{comment}"')
    return " ".join(texts)


def _statement(statement: Any, family: str) -> str:
    if not isinstance(statement, dict) or len(statement) != 1:
        return raw_text(statement)
    verdict = verdict_text(statement)
    if verdict:
        return verdict
    name, about = next(iter(statement.items()))
    write = _WRITERS.get(name)
    try:
        return write(name, about, family) if write is not None else raw_text(statement)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, RecursionError):
        return raw_text(statement)


def _match(name: str, about: Any, family: str) -> str:
    op, left, right = about["op"], about["left"], about["right"]
    kind = type_of(left, family)
    mask = left.get("&") if isinstance(left, dict) else None
    is_set = (isinstance(right, dict) and "set" in right) or (
        isinstance(right, str) and right.startswith("@")
    )
    if mask is not None and isinstance(mask[-1], list):  # flags among a mask: syn / fin,syn,rst,ack
        unequal = "!= " if op == "!=" else ""
        return (
            f"{expression_text(mask[0], family)} {unequal}{constant_text(right, kind)}"
            f" / {constant_text(mask[-1], kind)}"
        )
    written = str(right) if is_set and isinstance(right, str) else expression_text(right, family, kind)
    implied = op == "in" or (op == "==" and not _says_equal(left, kind, is_set))
    return f"{expression_text(left, family)} {'' if implied else op + ' '}{written}"


def _says_equal(left: Any, kind: Types, is_set: bool) -> bool:
    """Whether nft writes the ``==``: after an operation, and for bit masks, where without it one bit is enough."""
    if isinstance(left, dict) and next(iter(left), "") in ("&", "|", "^", "<<", ">>"):
        return True
    return isinstance(kind, DataType) and kind.name in MASKS and not is_set


def _vmap(name: str, about: Any, family: str) -> str:
    return map_text(about, family, "vmap", WORD)


def _counter(name: str, about: Any, family: str) -> str:
    return f'counter name "{about}"' if isinstance(about, str) else "counter"


def _limit(name: str, about: Any, family: str) -> str:
    if isinstance(about, str):
        return f'limit name "{about}"'
    unit, burst = about.get("rate_unit", "packets"), about.get("burst", 0)
    text = f"limit rate {'over ' if about.get('inv') else ''}{about['rate']}"
    text += f"/{about['per']}" if unit == "packets" else f" {unit}/{about['per']}"
    if unit == "packets":
        return text + (f" burst {burst} packets" if burst not in (0, 5) else "")
    return text + (f" burst {burst} {about.get('burst_unit', 'bytes')}" if burst else "")


def _quota(name: str, about: Any, family: str) -> str:
    if isinstance(about, str):
        return f'quota name "{about}"'
    return f"quota {'over ' if about.get('inv') else ''}{about['val']} {about.get('val_unit', 'bytes')}"


def _count(name: str, about: Any, family: str) -> str:
    return f"ct count {'over ' if about.get('inv') else ''}{about['val']}"


def _log(name: str, about: Any, family: str) -> str:
    about = about or {}
    texts = ["log"]
    if "prefix" in about:
        texts.append(f'prefix "{about["prefix"]}"')
    texts += [
        f"{key} {about[key]}" for key in ("group", "snaplen", "queue-threshold", "level") if key in about
    ]
    layers: dict[str, list[str]] = {}
    for flag in flags_of(about):
        layer, _, detail = flag.partition(" ")
        layers.setdefault(layer, []).append(detail)
    texts += [f"flags {layer} {','.join(details)}".rstrip() for layer, details in layers.items()]
    return " ".join(texts)


def _reject(name: str, about: Any, family: str) -> str:
    about = about or {}
    kind, code = about.get("type", DEFAULT_REJECT[family]), about.get("expr", "port-unreachable")
    if kind == "tcp reset":
        return "reject with tcp reset"
    if kind == DEFAULT_REJECT[family] and code == "port-unreachable":
        return "reject"
    return f"reject with {kind} {code}"


def _nat(name: str, about: Any, family: str) -> str:
    about = about or {}
    texts = [name]
    if about.get("family"):
        texts.append(about["family"])
    if about.get("type_flags") == "prefix":
        texts.append("prefix")
    target = _target(about, family)
    if target:
        texts += ["to", target]
    flags = ",".join(flag for flag in flags_of(about) if flag != "netmap")
    return " ".join([*texts, flags] if flags else texts)


def _target(about: dict[str, Any], family: str) -> str:
    """An address and a port; ``[…]:`` around an IPv6 address that a port follows."""
    address, port = about.get("addr"), about.get("port")
    kind = address_type(about.get("family") or family)
    text = "" if address is None else expression_text(address, family, kind)
    if port is None:
        return text
    if kind.name == "ipv6_addr" and isinstance(address, str):
        text = f"[{text}]"
    elif kind.name == "ipv6_addr" and isinstance(address, dict) and "range" in address:
        text = "-".join(f"[{end}]" for end in address["range"])
    return f"{text}:{expression_text(port, family)}"


def _mangle(name: str, about: Any, family: str) -> str:
    key = about["key"]
    meta = key.get("meta")
    text = f"meta {meta['key']}" if isinstance(meta, dict) else expression_text(key, family)
    return f"{text} set {expression_text(about['value'], family, type_of(key, family))}"


def _dynamic(name: str, about: Any, family: str) -> str:
    """``add``, ``update`` or ``delete`` of an element of a set or map."""
    inside = _element(about["elem"], family)
    inside += "".join(f" {_statement(statement, family)}" for statement in about.get("stmt") or ())
    if "data" in about:
        inside += f" : {expression_text(about['data'], family)}"
    return f"{about['op']} {about[name]} {{ {inside} }}"


def _element(element: Any, family: str) -> str:
    about = element.get("elem") if isinstance(element, dict) else None
    if not isinstance(about, dict):
        return expression_text(element, family)
    text = expression_text(about.get("val"), family)
    return text + (f" timeout {duration(about['timeout'])}" if "timeout" in about else "")


def _meter(name: str, about: Any, family: str) -> str:
    size = f" size {about['size']}" if "size" in about else ""
    return f"meter {about['name']}{size} {{ {_element(about['key'], family)} {_statement(about['stmt'], family)} }}"


def _queue(name: str, about: Any, family: str) -> str:
    about = about or {}
    flags = ",".join(flags_of(about))
    return f"queue {'flags ' + flags + ' ' if flags else ''}to {constant_text(about.get('num', 0), WORD)}"


def _synproxy(name: str, about: Any, family: str) -> str:
    about = about or {}
    texts = [f"{key} {about[key]}" for key in ("mss", "wscale") if key in about]
    return " ".join(["synproxy", *texts, *flags_of(about)])


def _forwarded(name: str, about: Any, family: str) -> str:
    texts = [name, "to", constant_text(about["addr"], WORD)] if "addr" in about else [name]
    return " ".join(
        [*texts, "device" if "addr" in about else "to", f'"{about["dev"]}"'] if "dev" in about else texts
    )


_WRITERS: dict[str, Callable[[str, Any, str], str]] = {
    **dict.fromkeys(("snat", "dnat", "masquerade", "redirect", "tproxy"), _nat),
    **dict.fromkeys(("set", "map"), _dynamic),
    **dict.fromkeys(
        ("ct helper", "ct timeout", "ct expectation"), lambda name, about, _: f'{name} set "{about}"'
    ),
    **dict.fromkeys(("notrack", "last"), lambda name, about, _: name),
    **dict.fromkeys(("dup", "fwd"), _forwarded),
    "match": _match,
    "vmap": _vmap,
    "counter": _counter,
    "limit": _limit,
    "quota": _quota,
    "ct count": _count,
    "log": _log,
    "reject": _reject,
    "mangle": _mangle,
    "meter": _meter,
    "queue": _queue,
    "synproxy": _synproxy,
    "flow": lambda name, about, _: f"flow {about['op']} {about['flowtable']}",
    "reset": lambda name, about, family: f"reset {expression_text(about, family)}",
    "xt": lambda name, about, _: f'xt {about["type"]} "{about["name"]}"',
}
