"""Who can stand in for a client of a trace: for ``pod/NAME`` the pod itself, by exec; for ``node/NAME`` its kube-proxy
pod, by exec, or a short-lived pod on the node's network.

What is run or made is asked for each time. The ways are tried in order: a container without programs to probe with
(kube-proxy's image has none in many clusters) leaves the next one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field

from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.model.facts import Kind, Need, Scope
from svcdoctor.model.observed import Place, PlaceKind
from svcdoctor.model.pod import Pod
from svcdoctor.model.snapshot import Snapshot
from svcdoctor.model.trace import Client, ClientKind
from svcdoctor.probe.here import Here
from svcdoctor.probe.origin import Origin
from svcdoctor.probe.places import IMAGE, Confirm, NewPod, in_pod, new_pod
from svcdoctor.sources.live import LiveSource
from svcdoctor.sources.nodeways import DEFAULT_NAMESPACE, PreparedSource
from svcdoctor.sources.proxypods import container_of, proxy_pods

Live = LiveSource | PreparedSource


@dataclass(frozen=True, slots=True)
class Permitted:
    """What may be run and made: ``confirm`` is asked first, and raises SvcdoctorError where the answer is no. ``warn``
    hears of a pod that is left behind."""

    confirm: Confirm
    image: str = ""
    namespace: str = ""
    warn: Callable[[str], None] = field(default=lambda line: None)


def askers(
    source: Live, snapshot: Snapshot, client: Client, permitted: Permitted
) -> Iterator[AbstractContextManager[Origin]]:
    """The places that stand for a client elsewhere, the one that changes least first. Raises SvcdoctorError."""
    if client.kind is ClientKind.POD:
        namespace, _, name = (client.name or "").partition("/")
        pod = snapshot.pod(namespace, name)
        if pod is None:
            snapshot = source.refill(snapshot, (Need(Kind.POD, Scope(namespace, name=name)),))
            pod = snapshot.pod(namespace, name)
        if pod is None:
            unknown = snapshot.why_unknown(Kind.POD, Scope(namespace, name=name))
            raise SvcdoctorError(f"--from pod/{client.name}: {unknown.reason if unknown else 'no such pod'}")
        yield _running(source, pod, permitted)
        return
    node = client.name or ""
    need = Need(Kind.POD, Scope(DEFAULT_NAMESPACE, (("k8s-app", "kube-proxy"),)))
    proxy = proxy_pods(source.refill(snapshot, (need,))).get(node)
    if proxy is not None and proxy.spec.host_network and proxy.status.phase == "Running":
        yield _running(source, proxy, permitted, Place(PlaceKind.NODE, node), container_of(proxy)[0])
    yield new_pod(
        source.session,
        NewPod(
            permitted.namespace or DEFAULT_NAMESPACE,
            permitted.confirm,
            node,
            True,
            permitted.image or IMAGE,
            permitted.warn,
        ),
    )


@contextmanager
def _running(
    source: Live, pod: Pod, permitted: Permitted, place: Place | None = None, container: str = ""
) -> Iterator[Origin]:
    origin = in_pod(source.session, pod, permitted.confirm, container)
    if place is not None:
        origin.place = place
    yield origin


@contextmanager
def here() -> Iterator[Origin]:
    """This process."""
    yield Here()
