"""The tunnels of every pod that is forwarded to: which one a new forward takes, and when another one is opened.

Theory. Tunnels are opened on threads, because that is a conversation with the API server (TLS, credentials, perhaps
a plugin of the kubeconfig). A forward takes the tunnel with the fewest forwards among those that no slow reader
holds. Where all are busy another one is opened beside them, up to a limit; where there is none, the forward waits
for the first. Tunnels without forwards are kept for a while, so that the next connection begins at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.proxy.loop import Loop
from svcdoctor.proxy.tunnel import Tunnel
from svcdoctor.sources.forwarding import Carrier, Way

MOST = 8
"""Tunnels to one pod."""

BUSY = 32
"""Forwards of a tunnel from which on another one is opened."""

OPEN_SECONDS = 30.0
IDLE_SECONDS = 300.0

Open = Callable[[str, str, int, float], Carrier]
"""``ForwardOpener.open``."""

Given = Callable[["Tunnel | SvcdoctorError"], None]


@dataclass(slots=True)
class _Pod:
    namespace: str
    name: str
    tunnels: list[Tunnel] = field(default_factory=list)
    waiting: list[tuple[int, Given]] = field(default_factory=list)
    opening: int = 0


class Tunnels:
    """Gives tunnels to pods. ``ended`` is told when one is over unexpectedly: the pod's name and why."""

    def __init__(self, loop: Loop, open_carrier: Open, ended: Callable[[str, str], None]) -> None:
        self._loop = loop
        self._open_carrier = open_carrier
        self._ended = ended
        self._pods: dict[tuple[str, str], _Pod] = {}
        self._closed = False

    def take(self, namespace: str, name: str, port: int, given: Given) -> None:
        """Call ``given`` once with a tunnel that accepts a forward to the port, or why there is none."""
        pod = self._pods.setdefault((namespace, name), _Pod(namespace, name))
        best = self._best(pod)
        if best is not None:
            if best.live >= BUSY and len(pod.tunnels) + pod.opening < MOST and not pod.opening:
                self._begin(pod, port)
            given(best)
            return
        pod.waiting.append((port, given))
        if pod.opening < self._needed(pod):
            self._begin(pod, port)

    @property
    def opening(self) -> int:
        """Tunnels that are being opened."""
        return sum(pod.opening for pod in self._pods.values())

    def close(self) -> None:
        """End all tunnels. Those that are being opened are ended when they are there."""
        self._closed = True
        for pod in list(self._pods.values()):
            for tunnel in list(pod.tunnels):
                tunnel.close()

    def _needed(self, pod: _Pod) -> int:
        """How many tunnels what waits asks for: one for all, or one each where a tunnel takes one forward."""
        single = any(t.way is Way.CHANNELS for t in pod.tunnels)
        return len(pod.waiting) if single else 1

    @staticmethod
    def _best(pod: _Pod) -> Tunnel | None:
        return min((t for t in pod.tunnels if t.accepts), key=lambda t: t.live, default=None)

    def _begin(self, pod: _Pod, port: int) -> None:
        pod.opening += 1

        def work() -> None:
            result: Carrier | SvcdoctorError
            try:
                result = self._open_carrier(pod.namespace, pod.name, port, OPEN_SECONDS)
            except SvcdoctorError as e:
                result = e.with_traceback(None)  # or it would keep what its frames hold
            self._loop.call_soon_threadsafe(lambda: self._opened(pod, result))

        threading.Thread(target=work, name=f"tunnel to {pod.name}", daemon=True).start()

    def _opened(self, pod: _Pod, result: Carrier | SvcdoctorError) -> None:
        pod.opening -= 1
        if isinstance(result, SvcdoctorError):
            waiting, pod.waiting = pod.waiting, []
            self._forget(pod)
            for _, given in waiting:
                given(result)
            return
        tunnel = Tunnel(self._loop, result, lambda t, why: self._over(pod, t, why))
        pod.tunnels.append(tunnel)
        if self._closed:
            tunnel.close()
            return
        self._loop.call_later(IDLE_SECONDS, lambda: self._end_idle(tunnel))
        waiting, pod.waiting = pod.waiting, []
        for port, given in waiting:
            self.take(pod.namespace, pod.name, port, given)

    def _end_idle(self, tunnel: Tunnel) -> None:
        if tunnel.closed:
            return
        if tunnel.live:
            self._loop.call_later(IDLE_SECONDS, lambda: self._end_idle(tunnel))
        else:
            tunnel.close()

    def _over(self, pod: _Pod, tunnel: Tunnel, why: str) -> None:
        pod.tunnels.remove(tunnel)
        self._forget(pod)
        if why and not self._closed:
            self._ended(pod.name, why)

    def _forget(self, pod: _Pod) -> None:
        """In days of rollouts there are many pods that nobody asks for again."""
        if not (pod.tunnels or pod.waiting or pod.opening):
            self._pods.pop((pod.namespace, pod.name), None)
