"""nftables' expressions and constants in nft's own syntax, as ``nft -s list ruleset`` prints them.

How a constant is written depends on the type of what it is compared with: a mark in eight hexadecimal digits,
an interface's name in quotes.
"""

from __future__ import annotations

from typing import Any

import msgspec

from svcdoctor.dataplane.nftfields import WORD, Types, type_of
from svcdoctor.dataplane.nfttypes import DataType

UNQUALIFIED = frozenset({"iif", "oif", "iifname", "oifname", "iifgroup", "oifgroup"})
STRENGTH = {"<<": 1, ">>": 1, "&": 2, "^": 3, "|": 4}  # the lower, the stronger it binds
MASKS = frozenset({"tcp_flag", "ct_state", "ct_status"})


def expression_text(expression: Any, family: str, kind: Types = WORD) -> str:
    """An expression; a constant as one of ``kind``."""
    if not isinstance(expression, dict) or len(expression) != 1:
        return constant_text(expression, kind)
    name, about = next(iter(expression.items()))
    if name in STRENGTH and isinstance(about, list):
        return _operation(name, about, family, kind)
    if name == "concat" and isinstance(about, list):
        kinds = kind if isinstance(kind, tuple) else (kind,) * len(about)
        return " . ".join(
            expression_text(part, family, kinds[min(n, len(kinds) - 1)]) for n, part in enumerate(about)
        )
    if name in ("set", "prefix", "range", "elem"):
        return constant_text(expression, kind)
    if not isinstance(about, dict):
        return raw_text(expression)
    write = _WRITERS.get(name)
    return write(about, family, kind) if write is not None else raw_text(expression)


def _operation(op: str, operands: list[Any], family: str, kind: Types) -> str:
    own = type_of(operands[0], family) if operands and isinstance(operands[0], dict) else kind
    texts = []
    for operand in operands:
        # The number of places that a value is shifted by is a plain number.
        shifts = op in ("<<", ">>") and isinstance(operand, int)
        text = str(operand) if shifts else expression_text(operand, family, own)
        inner = next(iter(operand), "") if isinstance(operand, dict) else ""
        texts.append(f"({text})" if STRENGTH.get(inner, 0) > STRENGTH[op] else text)
    return f" {op} ".join(texts)


def raw_text(value: Any) -> str:
    """What has no writer here: the JSON itself, so that nothing is left unsaid."""
    return msgspec.json.encode(value).decode()


def constant_text(written: Any, kind: Types) -> str:
    """A constant, range, prefix, set or concatenation, or the elements of a map."""
    if isinstance(written, bool):
        return "exists" if written else "missing"
    if isinstance(written, list):
        return ",".join(constant_text(part, kind) for part in written)
    if isinstance(written, dict):
        return _compound(written, kind)
    single = kind if isinstance(kind, DataType) else WORD
    if isinstance(written, int):
        if single.name == "time":
            return duration(written)
        if single.hexadecimal is not None:
            return f"0x{written:0{single.hexadecimal}x}"
        return str(written)
    text = str(written)
    return f'"{text}"' if single.quoted else text


def _compound(written: dict[str, Any], kind: Types) -> str:
    name, about = next(iter(written.items()), ("", written))
    if name == "prefix":
        return f"{constant_text(about['addr'], kind)}/{about['len']}"
    if name == "range":
        return "-".join(constant_text(end, kind) for end in about)
    if name == "set" and isinstance(about, list):
        return "{ " + ", ".join(element_text(part, kind) for part in about) + " }"
    if name == "concat":
        kinds = kind if isinstance(kind, tuple) else (kind,) * len(about)
        return " . ".join(constant_text(part, k) for part, k in zip(about, kinds, strict=False))
    if name == "|" and isinstance(about, list):
        return " | ".join(constant_text(part, kind) for part in about)
    if name == "elem" and isinstance(about, dict):
        return element_text(written, kind)
    return raw_text(written)


def element_text(element: Any, kind: Types) -> str:
    """An element of an anonymous set with its comment and timeout."""
    about = element.get("elem") if isinstance(element, dict) else None
    if not isinstance(about, dict):
        return constant_text(element, kind)
    text = constant_text(about.get("val"), kind)
    if "timeout" in about:
        text += f" timeout {duration(about['timeout'])}"
    return text + (f' comment "{about["comment"]}"' if "comment" in about else "")


def map_text(about: dict[str, Any], family: str, word: str, data: Types) -> str:
    """A key with a ``map`` or ``vmap``; the data are of type ``data``, or verdicts."""
    key, elements = about.get("key"), about.get("data")
    kind = type_of(key, family)
    if isinstance(elements, dict) and isinstance(elements.get("set"), list):
        pairs = [
            f"{element_text(pair[0], kind)} : {verdict_text(pair[1]) or expression_text(pair[1], family, data)}"
            for pair in elements["set"]
        ]
        inside = "{ " + ", ".join(pairs) + " }"
    else:
        inside = str(elements)
    return f"{expression_text(key, family)} {word} {inside}"


def verdict_text(written: Any) -> str:
    """A verdict: ``accept``, ``jump chain``; empty for anything else."""
    if not isinstance(written, dict) or len(written) != 1:
        return ""
    name, about = next(iter(written.items()))
    if name in ("jump", "goto") and isinstance(about, dict):
        return f"{name} {about.get('target')}"
    return name if name in ("accept", "drop", "return", "continue") else ""


def duration(seconds: int) -> str:
    """Seconds as nft writes a time: ``1h30m``."""
    parts = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def _payload(about: dict[str, Any], family: str, kind: Types) -> str:
    if "base" in about:
        return f"@{about['base']},{about.get('offset')},{about.get('len')}"
    return f"{about.get('protocol')} {about.get('field')}"


def _meta(about: dict[str, Any], family: str, kind: Types) -> str:
    key = str(about.get("key"))
    return key if key in UNQUALIFIED else f"meta {key}"


def _ct(about: dict[str, Any], family: str, kind: Types) -> str:
    key = str(about.get("key"))
    if key in ("saddr", "daddr"):
        key = f"{'ip6' if family == 'ip6' else 'ip'} {key}"
    return f"ct {about['dir']} {key}" if about.get("dir") else f"ct {key}"


def _fib(about: dict[str, Any], family: str, kind: Types) -> str:
    flags = about.get("flags") or []
    return f"fib {flags if isinstance(flags, str) else ' . '.join(flags)} {about.get('result')}"


def _numgen(about: dict[str, Any], family: str, kind: Types) -> str:
    offset = about.get("offset")
    return f"numgen {about.get('mode')} mod {about.get('mod')}" + (f" offset {offset}" if offset else "")


def _hash(about: dict[str, Any], family: str, kind: Types) -> str:
    text = f"jhash {expression_text(about.get('expr'), family)} mod {about.get('mod')}"
    if about.get("seed"):
        text += f" seed 0x{about['seed']:x}"
    return text + (f" offset {about['offset']}" if about.get("offset") else "")


def _symhash(about: dict[str, Any], family: str, kind: Types) -> str:
    return f"symhash mod {about.get('mod')}" + (f" offset {about['offset']}" if about.get("offset") else "")


def _osf(about: dict[str, Any], family: str, kind: Types) -> str:
    return f"osf ttl {about['ttl']} {about.get('key')}" if about.get("ttl") else f"osf {about.get('key')}"


def _named(prefix: str, alone: str) -> Any:
    """A writer of ``prefix NAME FIELD``, or ``alone NAME`` where only its presence is asked for."""

    def write(about: dict[str, Any], family: str, kind: Types) -> str:
        if "field" in about:
            return f"{prefix}{about.get('name')} {about['field']}"
        return f"{alone}{about.get('name')}"

    return write


_WRITERS = {
    "payload": _payload,
    "meta": _meta,
    "ct": _ct,
    "fib": _fib,
    "numgen": _numgen,
    "jhash": _hash,
    "symhash": _symhash,
    "osf": _osf,
    "socket": lambda about, family, kind: f"socket {about.get('key')}",
    "rt": lambda about, family, kind: " ".join(filter(None, ("rt", about.get("family"), about.get("key")))),
    "exthdr": _named("", "exthdr "),
    "tcp option": _named("tcp option ", "tcp option "),
    "ip option": _named("ip option ", "ip option "),
    "sctp chunk": _named("sctp chunk ", "sctp chunk "),
    "map": lambda about, family, kind: map_text(about, family, "map", kind),
}
