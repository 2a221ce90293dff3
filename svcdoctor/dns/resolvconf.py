"""resolv.conf: what the file says, and what glibc and musl make of it.

resolv.conf(5), resolv/res_init.c and resolv.h of glibc, src/network/resolvconf.c of musl. The environment variables
LOCALDOMAIN and RES_OPTIONS, and the domain that glibc takes from a host name with dots where the file has none, are
not part of it.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

NAMESERVERS = 3  # MAXNS of both
NDOTS = 15  # RES_MAXNDOTS; musl's limit too
OLD_SEARCH, OLD_CHARACTERS = 6, 255  # MAXDNSRCH, and what fits into one buffer of glibc before 2.26
MUSL_LINE = 255  # characters of a line with its end, musl skips longer ones whole
LOCAL = "127.0.0.1"  # whom both ask where the file names nobody


class Libc(StrEnum):
    """Whose resolver reads the file. glibc has no limit on the search list from 2.26 on."""

    GLIBC = "glibc"
    OLD_GLIBC = "glibc before 2.26"
    MUSL = "musl"


@dataclass(frozen=True, slots=True)
class ResolvConf:
    """What a file says. ``timeout`` is in seconds; ``others`` are options that change no query's name or order.

    ``ignored`` are lines, options and addresses that count for nothing, each with the reason.
    """

    nameservers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    ndots: int = 1
    timeout: int = 5
    attempts: int = 2
    rotate: bool = False
    use_vc: bool = False
    single_request: bool = False
    single_request_reopen: bool = False
    no_aaaa: bool = False
    no_tld_query: bool = False
    others: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()


_KEYWORDS = ("nameserver", "domain", "search", "options")
_NUMBERS = ("ndots", "timeout", "attempts")
_SWITCHES = {
    "rotate": "rotate",
    "use-vc": "use_vc",
    "single-request": "single_request",
    "single-request-reopen": "single_request_reopen",
    "no-aaaa": "no_aaaa",
    "no-tld-query": "no_tld_query",
    "no_tld_query": "no_tld_query",
}
_OTHERS = (
    "debug", "edns0", "inet6", "insecure1", "insecure2", "ip6-bytestring", "ip6-dotint", "no-check-names",
    "no-ip6-dotint", "no-reload", "strict-error", "trust-ad",
)  # fmt: skip
OPTIONS = frozenset((*_NUMBERS, *_SWITCHES, *_OTHERS))  # every option's name
_LEADING = re.compile(r"\d{1,9}", re.ASCII)


def parse(text: str) -> ResolvConf:
    """What the text says, before either library's limits (``effective`` applies them). Never fails."""
    nameservers: list[str] = []
    search: tuple[str, ...] = ()
    options: list[str] = []
    ignored: list[str] = []
    for number, line in enumerate(text.split("\n"), 1):
        line = line.split("\0")[0]  # a string in C ends here
        if line[:1] in (";", "#") or not line.strip():
            continue
        keyword, *words = re.split("[ \t]+", line.rstrip(" \t"))
        match keyword:
            case "nameserver" if words:
                why = _no_address(words[0])
                if why:
                    ignored.append(f"line {number}: nameserver {_shown(words[0])}: {why}")
                else:
                    nameservers.append(words[0])
            case "domain" if words:
                search = (words[0],)
            case "search" if words:
                search = tuple(words)  # the last line wins, of both keywords
            case "options" if words:
                options += words
            case "sortlist":
                pass  # sorts addresses that came, asks nothing
            case _:
                why = (
                    "no value"
                    if keyword in _KEYWORDS
                    else "no such keyword"
                    if keyword
                    else "begins with a space"
                )
                ignored.append(f"line {number}: {_shown(line)}: {why}")
    return with_options(ResolvConf(tuple(nameservers), search, ignored=tuple(ignored)), options)


def with_options(conf: ResolvConf, options: Iterable[str]) -> ResolvConf:
    """``conf`` with these options (``ndots:2``, ``rotate``) on top of its own, a later one before an earlier."""
    numbers: dict[str, int] = {}
    switches: dict[str, bool] = {}
    others = list(conf.others)
    ignored = list(conf.ignored)
    for option in options:
        name, _, value = option.partition(":")
        if name in _NUMBERS and (found := _LEADING.match(value)):
            numbers[name] = int(found[0])
        elif option in _SWITCHES:
            switches[_SWITCHES[option]] = True
        elif option in _OTHERS:
            others += [option] if option not in others else []
        else:
            why = "no number" if name in _NUMBERS else "no option that glibc or musl knows"
            ignored.append(f"option {_shown(option)}: {why}")
    changed = replace(
        conf,
        ndots=numbers.get("ndots", conf.ndots),
        timeout=numbers.get("timeout", conf.timeout),
        attempts=numbers.get("attempts", conf.attempts),
        others=tuple(others),
        ignored=tuple(ignored),
    )
    return _switched(changed, switches)


def _switched(conf: ResolvConf, switches: Mapping[str, bool]) -> ResolvConf:
    return replace(
        conf,
        rotate=switches.get("rotate", conf.rotate),
        use_vc=switches.get("use_vc", conf.use_vc),
        single_request=switches.get("single_request", conf.single_request),
        single_request_reopen=switches.get("single_request_reopen", conf.single_request_reopen),
        no_aaaa=switches.get("no_aaaa", conf.no_aaaa),
        no_tld_query=switches.get("no_tld_query", conf.no_tld_query),
    )


def options_of(conf: ResolvConf) -> tuple[str, ...]:
    """The options that differ from the defaults, in the file's words."""
    default = ResolvConf()
    numbers = [f"{n}:{getattr(conf, n)}" for n in _NUMBERS if getattr(conf, n) != getattr(default, n)]
    switches = [word for word, name in _SWITCHES.items() if "_" not in word and getattr(conf, name)]
    return (*numbers, *switches, *conf.others)


def rendered(conf: ResolvConf) -> str:
    """The file's text, in the order in which container runtimes write it."""
    lines = [f"search {' '.join(conf.search)}"] if conf.search else []
    lines += [f"nameserver {server}" for server in conf.nameservers]
    options = options_of(conf)
    lines += [f"options {' '.join(options)}"] if options else []
    return "".join(f"{line}\n" for line in lines)


def effective(conf: ResolvConf, libc: Libc) -> ResolvConf:
    """What that library makes of it: its limits applied, what it drops added to ``ignored``."""
    ignored = [
        f"nameserver {s}: {libc} asks the first {NAMESERVERS} only" for s in conf.nameservers[NAMESERVERS:]
    ]
    most = {"ndots": NDOTS} | (
        {"timeout": 60, "attempts": 10} if libc is Libc.MUSL else {"timeout": 30, "attempts": 5}
    )
    numbers = {name: min(getattr(conf, name), limit) for name, limit in most.items()}
    for name, number in numbers.items():
        if getattr(conf, name) > number:
            ignored.append(f"option {name}:{getattr(conf, name)}: {libc} makes {number} of it")
    search = conf.search
    if libc is Libc.MUSL:
        if len(f"search {' '.join(search)}\n") > MUSL_LINE:
            ignored.append(f"search: musl skips lines of more than {MUSL_LINE - 1} characters")
            search = ()
        dropped = [word for word, name in _SWITCHES.items() if "_" not in word and getattr(conf, name)]
        ignored += [f"option {word}: musl does not know it" for word in dropped]
        if conf.attempts == 0:
            ignored.append("option attempts:0: musl divides by it, and the program ends with SIGFPE")
        conf = _switched(conf, dict.fromkeys(_SWITCHES.values(), False))
    elif libc is Libc.OLD_GLIBC and search:
        search = tuple(" ".join(search)[:OLD_CHARACTERS].split(" ")[:OLD_SEARCH])
        if search != conf.search:
            ignored.append(
                f"search: {libc} reads {OLD_SEARCH} domains and {OLD_CHARACTERS} characters: {' '.join(search)}"
            )
    return replace(
        conf,
        nameservers=conf.nameservers[:NAMESERVERS] or (LOCAL,),
        search=search,
        ndots=numbers["ndots"],
        timeout=numbers["timeout"],
        attempts=numbers["attempts"],
        ignored=(*conf.ignored, *ignored),
    )


def _no_address(text: str) -> str | None:
    """Why the text is no server's address, ``None`` for one that is."""
    address, percent, scope = text.partition("%")
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return (
            "ends in a carriage return, which glibc does not skip" if text.endswith("\r") else "no IP address"
        )
    return "a scope belongs to IPv6" if percent and (found.version == 4 or not scope) else None


def _shown(text: str) -> str:
    """The text as one printable line, cut at 60 characters."""
    shown = text if text.isprintable() else ascii(text)[1:-1]
    return shown if len(shown) <= 60 else f"{shown[:57]}..."
