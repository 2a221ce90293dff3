"""A plane of kernel mode on a loop, as the control process has it."""

from __future__ import annotations

from kernel_world import (
    SITE,
)

from svcdoctor.proxy.kernel.plane import KernelPlane
from svcdoctor.proxy.kernel.site import Site
from svcdoctor.proxy.loop import Loop
from svcdoctor.proxy.serving.served import ServedPort


class Run:
    """A plane on a loop of its own, in the namespace that the thread is in."""

    def __init__(self, takeover: bool = False, site: Site = SITE, drain: float = 0.0) -> None:
        self.site = site
        self.notes: list[str] = []
        self.errors: list[str] = []
        self.held = 0
        self.loop = Loop()
        self.plane = KernelPlane(
            self.loop,
            lambda: self.site,
            takeover,
            drain,
            tell=self.notes.append,
            held=self._hold,
            failed=lambda e: self.errors.append(e.message),
        )

    def _hold(self) -> None:
        self.held += 1

    def __enter__(self) -> Run:
        self.plane.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.plane.stop(lambda: None)
        self.loop.turn(0.0)
        self.loop.free()

    def put(self, *ports: ServedPort, whole: bool = True) -> Run:
        self.plane.put(ports, whole)
        self.turn()
        return self

    def turn(self) -> None:
        for _ in range(3):
            self.loop.turn(0.0)
