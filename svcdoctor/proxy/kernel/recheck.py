"""What the kernel lists, against what was meant: by a process of its own, for on a large node listing takes seconds.

Run as ``python -m svcdoctor.proxy.kernel.recheck``, with the ports and the site as MessagePack on its standard input;
it writes the contradictions as MessagePack on its standard output.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable

import msgspec

from svcdoctor.path.nodeplan import PodTraffic
from svcdoctor.proxy.kernel.compile import Ruleset, compiled
from svcdoctor.proxy.kernel.judge import Judge
from svcdoctor.proxy.kernel.site import Site
from svcdoctor.proxy.kernel.verify import Contradiction
from svcdoctor.proxy.loop import Loop, Timer
from svcdoctor.proxy.serving.served import ServedPort

SECONDS = 10.0
"""How long the evaluator is asked; of the ports that are left nothing is said."""

_LOOK = 0.1  # seconds between two looks whether it has ended
_PATIENCE = 120.0


class Question(msgspec.Struct, frozen=True):
    """What the process is asked."""

    ports: tuple[ServedPort, ...]
    pods: dict[int, PodTraffic | None]
    masquerade_all: bool


class Recheck:
    """The process. When it has ended ``found`` gets the rules and the contradictions; not where it failed."""

    def __init__(
        self, loop: Loop, ruleset: Ruleset, found: Callable[[Ruleset, tuple[Contradiction, ...]], None]
    ) -> None:
        self._loop = loop
        self._ruleset = ruleset
        self._found = found
        self._left = _PATIENCE
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - it is read when the process has ended
        with tempfile.TemporaryFile() as question:
            site = ruleset.site
            asked = Question(tuple(ruleset.ports.values()), dict(site.pods), site.masquerade_all)
            question.write(msgspec.msgpack.encode(asked))
            question.seek(0)
            self._process = subprocess.Popen(
                (sys.executable, "-m", __name__),
                stdin=question,
                stdout=self._output,
                stderr=subprocess.DEVNULL,
            )
        self._timer: Timer | None = loop.call_later(_LOOK, self._look)

    def _look(self) -> None:
        self._left -= _LOOK
        if self._process.poll() is None and self._left > 0:
            self._timer = self._loop.call_later(_LOOK, self._look)
            return
        self._output.seek(0)
        told = self._output.read()
        ended_well = self._process.poll() == 0
        self.close()
        if ended_well:
            self._found(self._ruleset, msgspec.msgpack.decode(told, type=tuple[Contradiction, ...]))

    def close(self) -> None:
        """End it."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._process.kill()
            self._process.wait()
            self._output.close()


def main() -> None:
    asked = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Question)
    site = Site(asked.pods, asked.masquerade_all)
    verified = Judge(site).loaded(compiled(asked.ports, site), SECONDS)
    sys.stdout.buffer.write(msgspec.msgpack.encode(verified.contradictions))


if __name__ == "__main__":
    main()
