"""A pod's own resolver, asked by exec of what its image has: ``cat /etc/resolv.conf`` and ``getent``.

Theory. getent asks as the application does, with the pod's C library, its files and its place in the network. A name
with a last dot is asked as it is, so each name of the list can be asked by itself; what a whole lookup takes shows in
the time of the plain name. Times are those of exec, which the time of a command that asks nothing is taken off.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from svcdoctor.dns.expansion import Question
from svcdoctor.dns.resolvconf import Libc, ResolvConf, parse
from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.model.lookup import Met, Reply, Whole
from svcdoctor.sources.collecting import NotRun, Run
from svcdoctor.sources.podexec import Output

SECONDS = 60.0
"""One lookup: a resolver may wait for several servers, several times."""

LIMIT = 1 << 20
_ADDRESS = re.compile(rb"^([0-9A-Fa-f:.]+)(?:%\S+)?(?:\s|$)", re.MULTILINE)
_NOT_FOUND = 2  # getent(1): one or more supplied keys could not be found
_DATABASE = {"A": "ahostsv4", "AAAA": "ahostsv6"}
_MUSL = frozenset({"alpine", "wolfi", "chainguard", "postmarketos"})


class NoPrograms(SvcdoctorError):
    """The pod's image lacks what is asked with, as distroless ones do."""


@dataclass(slots=True)
class PodResolver:
    """What is run goes through ``run``; ``where`` names the pod and its container."""

    run: Run
    where: str
    base: float = 0.0
    patience: float = 4.5  # seconds from which on a resolver has waited for a server
    _without: dict[str, str] = field(default_factory=dict)

    def conf(self) -> ResolvConf:
        """The pod's resolv.conf. Raises NoPrograms where there is no cat, SvcdoctorError where it cannot be run."""
        output = self._cat("/etc/resolv.conf")
        if output.exit_code:
            said = output.stderr.decode("utf-8", "replace").strip() or f"it ended with {output.exit_code}"
            raise SvcdoctorError(f"{self.where}: cat /etc/resolv.conf: {said.splitlines()[0][:200]}", 3)
        return parse(output.stdout.decode("utf-8", "replace"))

    def libc(self) -> Libc | None:
        """By the distribution's name; ``None`` where that says nothing."""
        try:
            output = self._cat("/etc/os-release")
        except SvcdoctorError:
            return None
        if output.exit_code:
            return None
        words = re.search(rb"^ID=\"?([\w.-]+)", output.stdout, re.MULTILINE)
        if words is None:
            return None
        return Libc.MUSL if words[1].decode() in _MUSL else Libc.GLIBC

    def _cat(self, path: str) -> Output:
        """What a file holds. The quickest of these is what a command takes that asks nothing."""
        start = time.monotonic()
        output = self._run(("cat", path))
        took = time.monotonic() - start
        self.base = min(self.base, took) if self.base else took
        return output

    def whole(self, name: str) -> Whole | None:
        """The name as a program asks for it; ``None`` where the image has no getent."""
        words = ("getent", "ahosts", name)
        asked = self._getent(words)
        if asked is None:
            return None
        output, seconds = asked
        addresses = _addresses(output.stdout)
        error = "" if addresses else _said(output)
        return Whole(" ".join(words), addresses, seconds, error)

    def ask(self, question: Question) -> Reply | None:
        """One name by itself, over whatever the pod's library uses; ``None`` where getent cannot tell."""
        if question.rtype not in _DATABASE:
            return None
        words = ("getent", _DATABASE[question.rtype], f"{question.name}.")
        asked = self._getent(words)
        if asked is None:
            return None
        output, seconds = asked
        wanted = ":" if question.rtype == "AAAA" else "."
        found = tuple(a for a in _addresses(output.stdout) if wanted in a and not a.startswith("::ffff:"))
        if found:
            return Reply(Met.DATA, found, seconds, "getent")
        if output.exit_code not in (0, _NOT_FOUND):
            return None
        # getent has one code for every failure; its time tells a silent server.
        if seconds >= self.patience:
            return Reply(Met.TIMEOUT, (), seconds, "getent", False, "getent finds nothing, and waited for it")
        return Reply(Met.NOTHING, (), seconds, "getent")

    def _getent(self, words: Sequence[str]) -> tuple[Output, float] | None:
        start = time.monotonic()
        try:
            output = self._run(tuple(words))
        except NoPrograms:
            return None
        return output, max(time.monotonic() - start - self.base, 0.0)

    def _run(self, words: tuple[str, ...]) -> Output:
        program = words[0]
        if program in self._without:
            raise NoPrograms(self._without[program], 3)
        try:
            return self.run(words, SECONDS, LIMIT)
        except NotRun as e:
            if e.program:
                self._without[program] = f"{self.where}: {e.reason}"
                raise NoPrograms(self._without[program], 3) from None
            raise SvcdoctorError(f"{self.where}: {e.reason}", 3) from None


def _addresses(output: bytes) -> tuple[str, ...]:
    """Each address once, in order; getent has a line for each type of socket."""
    return tuple(dict.fromkeys(match[1].decode() for match in _ADDRESS.finditer(output)))


def _said(output: Output) -> str:
    said = output.stderr.decode("utf-8", "replace").strip().splitlines()
    if said:
        return said[0][:200]
    return "not found" if output.exit_code == _NOT_FOUND else f"getent ended with {output.exit_code}"
