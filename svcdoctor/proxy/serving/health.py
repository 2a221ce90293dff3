"""Health for load balancers: on each Service's healthCheckNodePort as kube-proxy answers there, and at one address for
all (``--healthz``).

Theory. A load balancer asks every node and sends to those that answer 200: under externalTrafficPolicy Local the ones
that have an endpoint, while the proxy works there. The answers are kube-proxy's, to the byte. At --healthz the Service
is named by the path, /NAMESPACE/NAME; where one Service is served it needs no name. Endpoints count where a client gets
them: on this node under policy Local, else all. Any other path tells of the proxy alone.

Specified by kube-proxy 1.36 (pkg/proxy/healthcheck) and https://kubernetes.io/docs/reference/networking/virtual-ips/
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime

from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.proxy.httpanswers import Answer, AnswerServer
from svcdoctor.proxy.listener import listening_socket
from svcdoctor.proxy.loop import Loop
from svcdoctor.proxy.serving.planned import HealthCheck
from svcdoctor.proxy.serving.served import ServedPort

PATHS = ("/healthz", "/livez", "/")

_JSON = "application/json"

Places = Mapping[tuple[str, int], HealthCheck]
"""By address and port, the checks that are answered there."""


def service_answer(namespace: str, name: str, endpoints: int, healthy: bool) -> Answer:
    """What a healthCheckNodePort answers."""
    text = (
        f'{{\n\t"service": {{\n\t\t"namespace": "{namespace}",\n\t\t"name": "{name}"\n\t}},\n'
        f'\t"localEndpoints": {endpoints},\n\t"serviceProxyHealthy": {str(healthy).lower()}\n}}'
    )
    status = 200 if endpoints and healthy else 503
    headers = {
        "X-Content-Type-Options": "nosniff",
        "X-Load-Balancing-Endpoint-Weight": str(endpoints),
    }
    return Answer(status, text, _JSON, headers)


def proxy_answer(healthy: bool, updated: float, now: float) -> Answer:
    """What kube-proxy's own /healthz answers; times are in seconds since 1970."""
    text = f'{{"lastUpdated": "{_time(updated)}","currentTime": "{_time(now)}", "nodeEligible": true}}'
    return Answer(200 if healthy else 503, text, _JSON, {"X-Content-Type-Options": "nosniff"})


def endpoints_of(ports: Iterable[ServedPort]) -> dict[tuple[str, str], int]:
    """How many addresses clients from elsewhere are sent to, by namespace and name of each Service."""
    found: dict[tuple[str, str], set[str]] = {}
    for port in ports:
        namespace, _, rest = port.key.partition("/")
        outside = any(listen.kind not in ("clusterIP", "local") for listen in port.listens)
        local = port.external_local if outside else port.internal_local
        addresses = {backend.ip for backend in (port.local if local else port.cluster)}
        found.setdefault((namespace, rest.partition(":")[0]), set()).update(addresses)
    return {name: len(addresses) for name, addresses in found.items()}


class Healthz:
    """Answers at --healthz. ``ports`` gives what is served, ``healthy`` whether all of it is, ``clock`` seconds since
    1970."""

    def __init__(
        self,
        ports: Callable[[], Iterable[ServedPort]],
        healthy: Callable[[], bool],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._ports, self._healthy, self._clock = ports, healthy, clock
        self._updated = clock()

    def __call__(self, path: str, done: Callable[[Answer], None]) -> None:
        now, healthy = self._clock(), self._healthy()
        if healthy:
            self._updated = now
        services = endpoints_of(self._ports())
        parts = tuple(path.strip("/").split("/"))
        if path in PATHS and len(services) == 1:
            ((namespace, name),) = services
            done(service_answer(namespace, name, services[namespace, name], healthy))
        elif path in PATHS:
            done(proxy_answer(healthy, self._updated, now))
        elif len(parts) == 2 and (parts[0], parts[1]) in services:
            done(service_answer(*parts, services[parts[0], parts[1]], healthy))
        else:
            done(Answer(404, "health is at /healthz, and of one Service at /NAMESPACE/NAME\n"))


class HealthPorts:
    """The healthCheckNodePorts that are open, on the loop; ``tell`` gets lines for the user."""

    def __init__(self, loop: Loop, healthy: Callable[[], bool], tell: Callable[[str], None]) -> None:
        self._loop = loop
        self._healthy = healthy
        self._tell = tell
        self._servers: dict[tuple[str, int], AnswerServer] = {}
        self._checks: dict[tuple[str, int], HealthCheck] = {}
        self._refused: set[tuple[str, int]] = set()

    @property
    def places(self) -> Places:
        return {place: check for place, check in self._checks.items() if place in self._servers}

    def serve(self, wanted: Places) -> None:
        """Answer there from now on, and nowhere else."""
        for place in [place for place in self._servers if place not in wanted]:
            self._servers.pop(place).close()
        self._refused &= set(wanted)
        self._checks = dict(wanted)
        for place in wanted:
            if place not in self._servers:
                self._open(place)

    def close(self) -> None:
        """Answer no more."""
        self.serve({})

    def _open(self, place: tuple[str, int]) -> None:
        try:
            sock = listening_socket(*place)
        except SvcdoctorError as e:
            if place not in self._refused:
                self._tell(
                    f"health of {self._checks[place].namespace}/{self._checks[place].name}: {e.message}"
                )
            self._refused.add(place)
            return
        self._servers[place] = AnswerServer(self._loop, [sock], lambda path, done: done(self._answer(place)))

    def _answer(self, place: tuple[str, int]) -> Answer:
        check = self._checks[place]
        return service_answer(check.namespace, check.name, check.local_endpoints, self._healthy())


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S.%f +0000 UTC")
