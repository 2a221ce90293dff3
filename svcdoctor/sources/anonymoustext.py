"""Words of a dump or a message, each replaced unless it says nothing.

A *token* of a dump stays when it is a number or a keyword of the tool that wrote it; an address, a chain and a
name are mapped; what is none of these counts as a name. *Prose* (an event's message, a rule's comment) is
stricter: a word that is neither ordinary English nor a known name becomes ``…``.
"""

from __future__ import annotations

import re
from ipaddress import ip_address

from svcdoctor.sources import vocabulary
from svcdoctor.sources.addressmap import AddressMap
from svcdoctor.sources.chainmap import ChainNames
from svcdoctor.sources.pseudonyms import Pseudonyms

GONE = "…"

# What can hold no name: 80, -1, 0.5, 30s, 512Mi, 0x4000/0x4000, 30000:32767, [0:0], 32766:, *:*, ->.
_NUMBER = re.compile(
    r"[+-]?\d+(?:\.\d+)?%?|(?:\d+(?:ns|us|µs|ms|s|m|h|d))+|\d+(?:[KMGT]i?)"
    r"|0x[0-9a-fA-F]+(?:/0x[0-9a-fA-F]+)?|\d+[-:/]\d+|\[\d+:\d+\]|\d+:|\*:(?:\d+|\*)|[^\w\s]+"
)
_MAC = re.compile(r"[0-9a-fA-F]{2}(?::[0-9a-fA-F]{2}){5}")
_PORTED = re.compile(r"(\[[^\]]+\]|[0-9.]+|\*)((?::(?:\d+(?:-\d+)?|\*)|%[\w.@-]+)+)")
_RANGE = re.compile(r"([0-9a-fA-F.:]+)-([0-9a-fA-F.:]+)(:\d+)?")
_KEY_VALUE = re.compile(r"([A-Za-z][\w-]*)=(.*)", re.DOTALL)
_SERVICE_PORT = re.compile(r"([a-z0-9][a-z0-9.-]*)/([a-z0-9][a-z0-9.-]*)(?::([a-z0-9-]*))?")
_URL = re.compile(r"(https?|tcp|udp|tls|grpc)://([^/]*)(.*)", re.DOTALL)
_HOST_PORT = re.compile(r"([A-Za-z0-9._-]+):(\d+)")
_CAMEL = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+")
_WORD = re.compile(r"[^\s\"'(){}<>,;|]+")


class Tokens:
    """The words of dumps and messages under one mapping; remembers what it has seen."""

    def __init__(self, names: Pseudonyms, addresses: AddressMap, chains: ChainNames) -> None:
        self.names = names
        self.addresses = addresses
        self.chains = chains
        self._seen: dict[str, str] = {}

    def token(self, text: str) -> str:
        """One token of a dump."""
        found = self._seen.get(text)
        if found is None:
            found = self._seen[text] = self._token(text)
        return found

    def _token(self, text: str) -> str:
        if not text or text in vocabulary.NETFILTER:
            return text
        mapped = self.address(text)
        if mapped is not None:
            return mapped
        if _NUMBER.fullmatch(text):
            return text
        chain = self.chains.chain(text)
        if chain is not None:
            return chain
        match = _KEY_VALUE.fullmatch(text)
        if match:
            key = (
                match[1]
                if match[1] in vocabulary.NETFILTER or match[1] in _FLOW_KEYS
                else self.names.name(match[1])
            )
            return f"{key}={self.token(match[2])}"
        if text.startswith("@"):
            return "@" + self.token(text[1:])
        for separator in (",", "|"):
            if separator in text:
                return separator.join(map(self.token, text.split(separator)))
        if text[0] == "[" and text[-1] == "]" and len(text) > 2:
            return f"[{self.token(text[1:-1])}]"
        if text.endswith(":"):
            return self.token(text[:-1]) + ":"
        if _PROTOCOL_PORT.fullmatch(text):
            return text
        return self.names.interface(text)

    def address(self, text: str) -> str | None:
        """An address in any of the ways that tools write one, mapped; ``None`` for what is none."""
        if not any(c in ".:" for c in text):
            return None
        plain = self.addresses.text(text)
        if plain is not None:
            return plain
        if _MAC.fullmatch(text):
            return self.addresses.mac(text)
        match = _PORTED.fullmatch(text)
        if match:
            bare = match[1].strip("[]").partition("%")[0]
            inner = bare if bare == "*" else self.addresses.text(bare)
            if inner is None:
                return None
            zone = match[1].strip("[]").partition("%")[2]
            inner += f"%{self.names.interface(zone)}" if zone else ""
            ending = re.sub(r"%([\w.@-]+)", lambda m: "%" + self.names.interface(m[1]), match[2])
            return (f"[{inner}]" if match[1].startswith("[") else inner) + ending
        head, percent, zone = text.partition("%")
        if percent:
            inner = self.addresses.text(head)
            return None if inner is None else f"{inner}%{self.names.interface(zone)}"
        return self._range(text)

    def _range(self, text: str) -> str | None:
        match = _RANGE.fullmatch(text)
        if match is None:
            return None
        first, last = self.addresses.text(match[1]), self.addresses.text(match[2])
        if first is None or last is None:
            return None
        first, last = sorted((first, last), key=ip_address)  # prefixes keep, order does not
        return f"{first}-{last}{match[3] or ''}"

    def line(self, text: str) -> str:
        """A line of a dump, its spacing kept; a word after ``dev`` and its kin is an interface."""
        previous = ""

        def replace(match: re.Match[str]) -> str:
            nonlocal previous
            word = match[0]
            named = previous in ("dev", "iif", "oif")
            previous = word
            return self.names.interface(word) if named else self.token(word)

        return re.sub(r"[^\s\"()]+", replace, text)

    def prose(self, text: str) -> str:
        """A message or comment: English and numbers stay, known names and addresses are mapped."""
        return _WORD.sub(lambda m: self._prose_word(m[0]), text)

    def is_english(self, text: str) -> bool:
        """Whether a word, or each word of a CamelCase one, is ordinary in Kubernetes' messages."""
        if text.lower() in vocabulary.ENGLISH:
            return True
        words = _CAMEL.findall(text) if text.isalnum() and text[0].isupper() else []
        return "".join(words) == text != "" and all(
            w.lower() in vocabulary.ENGLISH or (w.isdigit() and len(w) < 3) for w in words
        )

    def _authority(self, text: str) -> str:
        host = text.rpartition("@")[2]
        return self.address(host) or self._host_port(host)

    def _host_port(self, text: str) -> str:
        match = _HOST_PORT.fullmatch(text)
        return f"{self.names.host(match[1])}:{match[2]}" if match else self.names.host(text)

    def _prose_word(self, word: str) -> str:
        core = word.rstrip(".:!?")
        ending = word[len(core) :]
        if "://" in core:
            url = _URL.fullmatch(core)
            return f"{url[1]}://{self._authority(url[2])}{self.names.path(url[3])}{ending}" if url else GONE
        if not core or core in vocabulary.ENUMS or self.is_english(core):
            return word
        mapped = self.address(word) or self.address(core)
        if mapped is not None:
            return mapped if self.address(word) is not None else mapped + ending
        if _NUMBER.fullmatch(core):
            return word
        chain = self.chains.chain(core)
        if chain is not None:
            return chain + ending
        if core.startswith("KUBE-") and core in vocabulary.NETFILTER:
            return word
        if self.names.knows(core):
            return self.names.name(core) + ending
        match = _SERVICE_PORT.fullmatch(core)
        if match:
            port = "" if match[3] is None else f":{self.names.name(match[3])}"
            return f"{self.names.name(match[1])}/{self.names.name(match[2])}{port}{ending}"
        match = _HOST_PORT.fullmatch(core)
        if match and self.names.knows(match[1]):
            return f"{self.names.host(match[1])}:{match[2]}{ending}"
        return GONE + ending


_FLOW_KEYS = frozenset(
    {
        *("src", "dst", "sport", "dport", "type", "code", "id", "mark", "use", "pid", "fd"),
        *("zone", "zone-orig", "zone-reply", "packets", "bytes", "delta-time", "srckey", "dstkey"),
        *("timeout", "stream_timeout", "helper", "secctx", "labels"),
    }
)
_PROTOCOL_PORT = re.compile(r"(?:tcp|udp|sctp):\d+(?:-\d+)?")
