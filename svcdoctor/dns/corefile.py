"""CoreDNS's configuration, as far as it says who answers what (CoreDNS manual: Configuration, plugins forward,
kubernetes, import).

Theory. A Corefile is lines of words. A word ``{`` at a line's end opens a block, ``}`` closes it, ``#`` in front of
a word begins a comment, quotes hold words together. Outside of blocks a line has the zones of a server block, or the
name of a snippet in parentheses, which ``import`` puts in its own place. Environment variables stay as they are.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass

from svcdoctor.dns.names import ascii_name
from svcdoctor.model.errors import SvcdoctorError

PORTS = {"dns": 53, "tls": 853, "quic": 853, "https": 443, "https3": 443, "grpc": 443}
DEPTH = 16
MOST_DIRECTIVES = 20_000
"""Of a whole file: snippets that import snippets multiply."""

_WORD = re.compile(r'"(?:[^"\\]|\\.)*"|[^\s"][^\s]*|"', re.DOTALL)
_KEY = re.compile(r"(?:([a-z0-9]+)://)?(.*?)(?::(\d{1,5}))?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Directive:
    """A plugin or a property of one: its name, arguments and sub-block; ``line`` counts from 1."""

    name: str
    arguments: tuple[str, ...]
    block: tuple[Directive, ...]
    line: int


@dataclass(frozen=True, slots=True)
class Server:
    """A server block: the zones (lower case, no last dot; ``.`` is every name) and port it answers for."""

    zones: tuple[str, ...]
    scheme: str  # dns, tls, https, https3, quic, grpc
    port: int
    plugins: tuple[Directive, ...]
    line: int

    def all(self, plugin: str) -> tuple[Directive, ...]:
        """Every use of one plugin."""
        return tuple(p for p in self.plugins if p.name == plugin)


@dataclass(frozen=True, slots=True)
class Corefile:
    """``imports`` are files and globs named by ``import`` that are not part of the text."""

    servers: tuple[Server, ...]
    imports: tuple[str, ...]

    def all(self, plugin: str) -> Iterator[tuple[Server, Directive]]:
        """Every use of one plugin (rewrite, template, hosts, cache, loop, …), with its server block."""
        return ((server, directive) for server in self.servers for directive in server.all(plugin))


@dataclass(frozen=True, slots=True)
class Forward:
    """Names in ``zone`` (but those in ``exceptions``) go to ``to``, in the words of the file."""

    zone: str
    to: tuple[str, ...]
    exceptions: tuple[str, ...]
    line: int


def within(name: str, zone: str) -> bool:
    """Whether the name is the zone's, or lies below it."""
    name = name.lower().rstrip(".")
    return zone in (".", name) or name.endswith(f".{zone}")


def kubernetes_zones(corefile: Corefile) -> tuple[str, ...]:
    """The zones that the kubernetes plugin answers for, reverse ones included: its own, or its server block's."""
    zones: list[str] = []
    for server, plugin in corefile.all("kubernetes"):
        own = [zone for argument in plugin.arguments for zone in _zones(argument)]
        zones += own or server.zones
    return tuple(dict.fromkeys(zones))


def forwards(corefile: Corefile) -> tuple[Forward, ...]:
    """Every forward, of every server block."""
    found = []
    for _, plugin in corefile.all("forward"):
        source, *to = plugin.arguments or (".",)
        exceptions = [a for p in plugin.block if p.name == "except" for a in p.arguments]
        named = tuple(zone for a in exceptions for zone in _zones(a))
        found += [Forward(zone, tuple(to), named, plugin.line) for zone in _zones(source)]
    return tuple(found)


def parse(text: str) -> Corefile:
    """Raises SvcdoctorError, naming the line, for what CoreDNS would not read."""
    lines = _Lines(text)
    servers: list[Server] = []
    imports = _Imports()
    while (line := lines.next()) is not None:
        number, words = line
        if words[0] == "import":
            imports.outside += words[1:]
            continue
        while words[-1].endswith(",") and (more := lines.next()) is not None:
            words += more[1]  # keys may go on in the next line
        opened = words[-1] == "{"
        keys = [key for word in words[: len(words) - opened] for key in word.split(",") if key]
        if not keys or "}" in keys or not (opened or not servers):
            raise _error(number, f"{' '.join(words)[:60]!r} is no server block; write ZONE {{")
        body = lines.block(number, DEPTH) if opened else lines.rest()
        if len(keys) == 1 and re.fullmatch(r"\(.+\)", keys[0]):
            imports.snippets[keys[0][1:-1]] = body
            continue
        plugins = tuple(imports.expanded(body, DEPTH))
        by_place: dict[tuple[str, int], list[str]] = {}
        for key in keys:
            scheme, zone, port = _key(key, number)
            by_place.setdefault((scheme, port), []).extend(_zones(zone))
        servers += [Server(tuple(z), *place, plugins, number) for place, z in by_place.items()]
    return Corefile(tuple(servers), tuple(dict.fromkeys(imports.outside)))


class _Lines:
    """The lines that have words, one after the other."""

    def __init__(self, text: str) -> None:
        self._lines = iter(list(_words(text)))

    def next(self) -> tuple[int, list[str]] | None:
        return next(self._lines, None)

    def block(self, opened: int, depth: int) -> tuple[Directive, ...]:
        """The directives up to the closing brace."""
        found: list[Directive] = []
        while (line := self.next()) is not None:
            number, words = line
            if words[0] == "}":
                return tuple(found)
            found.append(self._directive(number, words, depth))
        raise _error(opened, "the block is not closed; add }")

    def rest(self) -> tuple[Directive, ...]:
        """The directives up to the end: the only server block needs no braces."""
        found: list[Directive] = []
        while (line := self.next()) is not None:
            found.append(self._directive(*line, DEPTH))
        return tuple(found)

    def _directive(self, number: int, words: list[str], depth: int) -> Directive:
        if depth == 0:
            raise _error(number, f"more than {DEPTH} blocks in each other")
        opened = words[-1] == "{" and len(words) > 1
        arguments = words[1 : len(words) - opened]
        block = self.block(number, depth - 1) if opened else ()
        return Directive(words[0], tuple(arguments), block, number)


def _words(text: str) -> Iterator[tuple[int, list[str]]]:
    """Line number and words of each line that has any; a quoted word may hold line ends."""
    number = began = 1
    words: list[str] = []
    position = 0
    while position < len(text):
        character = text[position]
        if character == "\n":
            if words:
                yield began, words
                words = []
            number += 1
            position += 1
        elif character.isspace():
            position += 1
        elif character == "#":
            end = text.find("\n", position)
            position = len(text) if end < 0 else end
        else:
            found = _WORD.match(text, position)
            word = found[0] if found else character
            if word == '"':
                raise _error(number, "a quotation mark is not closed")
            if not words:
                began = number
            number += word.count("\n")
            words.append(word[1:-1].replace('\\"', '"') if word[0] == '"' else word)
            position += len(word)
    if words:
        yield began, words


class _Imports:
    """Snippets, and what is imported beside them; how many directives may still come of them."""

    def __init__(self) -> None:
        self.snippets: dict[str, tuple[Directive, ...]] = {}
        self.outside: list[str] = []
        self._left = MOST_DIRECTIVES

    def expanded(self, body: tuple[Directive, ...], depth: int) -> Iterator[Directive]:
        """The directives with snippets in the place of their imports; other imports are noted."""
        for directive in body:
            self._left -= 1
            if self._left < 0:
                raise _error(directive.line, f"imports make more than {MOST_DIRECTIVES:,} lines of it")
            if directive.name != "import":
                block = tuple(self.expanded(directive.block, depth))
                yield Directive(directive.name, directive.arguments, block, directive.line)
                continue
            if depth == 0:
                raise _error(directive.line, "snippets import each other without end")
            name = directive.arguments[0] if directive.arguments else ""
            if name in self.snippets:
                yield from self.expanded(self.snippets[name], depth - 1)
            else:
                self.outside.append(name)


def _key(key: str, line: int) -> tuple[str, str, int]:
    """Scheme, zone and port of a server block's key such as ``tls://example.org:5353``."""
    found = _KEY.fullmatch(key)
    scheme, zone, port = found.groups() if found else (None, key, None)
    scheme = scheme or "dns"
    if scheme not in PORTS or (port is not None and not 0 < int(port) < 65536):
        raise _error(line, f"{key[:60]!r} is no zone with a scheme that CoreDNS has and a port up to 65535")
    return scheme, zone, int(port) if port else PORTS[scheme]


def _zones(text: str) -> tuple[str, ...]:
    """A zone as it is compared; a network's reverse zones, as CoreDNS writes them at whole labels."""
    try:
        network = ipaddress.ip_network(text, strict=False) if "/" in text else None
    except ValueError:
        network = None
    if network is None:
        try:
            return (ascii_name(text).rstrip("."),) if text not in ("", ".") else (".",)
        except SvcdoctorError:
            return (text.lower().rstrip(".") or ".",)  # {$VARIABLE}: whatever it is, no name is in it
    step, labels = (8, 4) if network.version == 4 else (4, 32)
    full = -(-network.prefixlen // step) * step
    dropped = labels - full // step
    return tuple(
        subnet.network_address.reverse_pointer.split(".", dropped)[-1]
        for subnet in network.subnets(new_prefix=full)
    )


def _error(line: int, what: str) -> SvcdoctorError:
    return SvcdoctorError(f"Corefile: line {line}: {what}")
