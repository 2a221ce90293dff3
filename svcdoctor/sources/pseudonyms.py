"""Names to other names: equal stays equal, different stays different, nothing else is kept.

Theory. A name is a word of its own wherever it occurs, so one table of words serves Services, pods, label
values, port names and the labels of a host name alike, and every relation by equality survives: selectors,
references, ``web.shop.svc.cluster.local``. Names that every cluster has stay. A name that was made from its
owner's (``web`` → ``web-6bdc9b754`` → ``web-6bdc9b754-7bf29``) is made from the owner's new name in the same
way. What is lost on purpose: how much two names resemble each other, so a near miss is one no longer.

The table lives in memory as long as the object and is never written. Pseudonyms are drawn by a keyed hash, so
two runs differ.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from ipaddress import ip_address

from svcdoctor.model.base import KubeObject
from svcdoctor.sources import vocabulary
from svcdoctor.sources.addressmap import AddressMap

_UID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_ORDINAL = re.compile(r"\d{1,4}")
_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d):\d\d:\d\d(?:\.\d+)?(Z|[+-]\d\d:\d\d)")
_NUMBERED = re.compile(vocabulary.INTERFACE_NUMBERED)
_HASHED = re.compile(vocabulary.INTERFACE_HASHED)

_CONSONANTS = "bdfgklmnprstvz"
_VOWELS = "aeiou"
_SUFFIX = "bcdfghjklmnpqrstvwxz2456789"  # what Kubernetes draws its suffixes from


class Pseudonyms:
    """One random mapping of all names, the same for every call."""

    def __init__(self, key: bytes, addresses: AddressMap) -> None:
        self._key = key
        self._addresses = addresses
        self._words: dict[str, str] = {}
        self._used: set[str] = set(vocabulary.NAMES)
        self._made_from: dict[str, tuple[str, str, bool]] = {}
        self._suffixes: set[str] = set()

    def relate(self, objects: Iterable[KubeObject]) -> None:
        """Learn which names were made from their owners', before any name is mapped."""
        for obj in objects:
            name, owner = obj.metadata.name, obj.metadata.owner
            self._used.add(name)
            if owner is None or not owner.name or name == owner.name:
                continue
            if name.startswith(owner.name + "-"):
                rest = name[len(owner.name) + 1 :]
                self._suffixes.update(p for p in rest.split("-") if not _ORDINAL.fullmatch(p))
                self._made_from[name] = (owner.name, rest, False)
            elif name.endswith("-" + owner.name):  # a static pod is named after its node
                self._made_from[name] = (owner.name, name[: -len(owner.name) - 1], True)

    def knows(self, text: str) -> bool:
        """Whether the text is a name that was mapped, or one of an object."""
        return text in self._words or text in self._made_from

    def name(self, text: str) -> str:
        """The pseudonym of a name, label value or host name; a dotted one is mapped label by label.

        A node may be named by its address, which maps as every address does.
        """
        found = self._words.get(text)
        if found is None:
            found = self._words[text] = self._name(text)
            self._used.add(found)
        return found

    def _name(self, text: str) -> str:
        if not text or text in vocabulary.NAMES:
            return text
        if text in self._made_from:
            owner, rest, before = self._made_from[text]
            if before:
                return f"{self.name(rest)}-{self.name(owner)}"
            return f"{self.name(owner)}-{'-'.join(map(self._piece, rest.split('-')))}"
        if "." in text:
            return self._addresses.text(text) or ".".join(map(self.name, text.split(".")))
        if text.startswith("_"):  # a DNS service label: _http._tcp
            return "_" + self.name(text[1:])
        if text in self._suffixes:
            return self._draw(text, lambda number: _from_alphabet(number, _SUFFIX, max(len(text), 5)))
        return self._draw(text, _syllables)

    def _piece(self, piece: str) -> str:
        return piece if _ORDINAL.fullmatch(piece) or not piece else self.name(piece)

    def _draw(self, text: str, spell: Callable[[int], str]) -> str:
        """A pseudonym that no other name has."""
        for attempt in range(1000):
            candidate = spell(self._number(f"{attempt} {text}"))
            if candidate not in self._used:
                return candidate
        return spell(self._number(text)) + self._hex(text, 8)

    def _number(self, text: str) -> int:
        return int.from_bytes(hashlib.blake2b(text.encode(), key=self._key, digest_size=16).digest(), "big")

    def _hex(self, text: str, digits: int) -> str:
        return f"{self._number('hex ' + text):032x}"[:digits]

    def value(self, key: str, text: str) -> str:
        """A label's value."""
        if key in vocabulary.COUNTED_VALUES and _ORDINAL.fullmatch(text):
            return text
        if _UID.fullmatch(text):
            return self.uid(text)
        return self.host(text)

    def key(self, text: str) -> str:
        """A label's key: Kubernetes' own and the usual plain ones stay."""
        domain, slash, name = text.rpartition("/")
        if not slash:
            return text if text in vocabulary.LABEL_KEYS else self.name(text)
        if domain in vocabulary.LABEL_DOMAINS:
            return f"{domain}/{name if name in vocabulary.LABEL_NAMES else self.name(name)}"
        return f"{self.name(domain)}/{self.name(name)}"

    def host(self, text: str) -> str:
        """A host name, or an address where a host name may be one."""
        try:
            return str(self._addresses.address(ip_address(text)))
        except ValueError:
            return self.name(text)

    def path(self, text: str) -> str:
        """A URL path or a regular expression of one, each word mapped, so that prefixes stay prefixes."""
        return re.sub(r"\\.|\w[\w~-]*", lambda m: self._step(m[0]), text)

    def _step(self, step: str) -> str:
        return step if re.fullmatch(r"\\.|\d{1,4}|v\d{1,2}|api|healthz?", step) else self.name(step)

    def uid(self, text: str) -> str:
        """An object's uid: another one of the same form."""
        if not text:
            return text
        digits = self._hex(text, 32)
        return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-8{digits[17:20]}-{digits[20:]}"

    def time(self, text: str) -> str:
        """A time, coarse to the hour; what is none is left out."""
        match = _TIME.fullmatch(text)
        return f"{match[1]}:00:00{match[2]}" if match else ""

    def interface(self, text: str) -> str:
        """A network interface's name: ``eth0`` and its kin stay, ``veth…`` keeps its stem."""
        stem = text.rstrip("+*")
        ending = text[len(stem) :]
        if stem in vocabulary.INTERFACES or _NUMBERED.fullmatch(stem) or _is_stem(stem):
            return text
        match = _HASHED.fullmatch(stem)
        if match and len(stem) <= 15:
            return match[1] + self._hex(stem, 8) + ending
        return self.name(stem) + ending


def _is_stem(text: str) -> bool:
    """Whether the text is the beginning of many interfaces' names: ``veth`` of ``veth+``."""
    return text in ("", "eth", "veth", "cali", "lxc", "eni", "gke", "azv", "cni", "flannel", "cilium")


def _syllables(number: int) -> str:
    """Four syllables that a person can read aloud: ``bakodure``."""
    letters = []
    for _ in range(4):
        number, consonant = divmod(number, len(_CONSONANTS))
        number, vowel = divmod(number, len(_VOWELS))
        letters.append(_CONSONANTS[consonant] + _VOWELS[vowel])
    return "".join(letters)


def _from_alphabet(number: int, alphabet: str, length: int) -> str:
    letters = []
    for _ in range(length):
        number, index = divmod(number, len(alphabet))
        letters.append(alphabet[index])
    return "".join(letters)
