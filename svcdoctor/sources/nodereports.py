"""Facts of nodes out of the logs of a DaemonSet's pods, for clusters where nobody may run commands in pods.

Theory. The pods gather the facts by themselves, now and again, and write them to their logs. Whoever reads them needs
to get pods/log and list pods in that one namespace, and no more; the pods need no account of the cluster, open no
port and send nothing. Through pods/proxy or pods/portforward the same would take an open port on every node's own
network, and a right that reaches all others there; through exec, the right to run anything in a privileged pod.

The price is age: what is read was true when the report was written, a minute ago at most. A kubelet shows the newest
file of a log only: where it has just begun one, the next report is waited for.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from urllib.parse import quote

from svcdoctor.model.facts import Kind, Need, Scope
from svcdoctor.model.nodefacts import NodeFacts
from svcdoctor.model.pod import Pod
from svcdoctor.model.snapshot import Snapshot
from svcdoctor.sources.collecting import Limits, nothing_known
from svcdoctor.sources.grants import subject_of
from svcdoctor.sources.live import LiveSource
from svcdoctor.sources.podexec import Streams
from svcdoctor.sources.reportform import NotWhole, Report, Unreadable, lines_of, read_report
from svcdoctor.sources.session import ApiSession, Response, message_of

DEFAULT_NAMESPACE = "svcdoctor"
LABELS = (("app.kubernetes.io/name", "svcdoctor-node-facts"),)
CONTAINER = "node-facts"

_NO_POD = (
    "the DaemonSet svcdoctor-node-facts has no pod on this node; see whether its node selector and tolerations let one "
    "be there"
)
_POLL = 1.0  # seconds between two looks for a report that is yet to come
_LATE = 3  # a report older than so many of its periods is not news


def with_reporting_pods(source: LiveSource, snapshot: Snapshot, namespace: str) -> Snapshot:
    """The Snapshot with the DaemonSet's pods, as far as they may be listed."""
    return source.refill(snapshot, (Need(Kind.POD, Scope(namespace, LABELS)),))


def reporting_pods(snapshot: Snapshot, namespace: str) -> dict[str, Pod]:
    """The DaemonSet's pod of each node that has one, running ones preferred."""
    found: dict[str, Pod] = {}
    for pod in sorted(
        snapshot.pods_in(namespace), key=lambda p: p.status.phase == "Running" and not p.terminating
    ):
        if pod.spec.node_name and set(LABELS) <= pod.labels.items():
            found[pod.spec.node_name] = pod
    return found


def why_no_pods(snapshot: Snapshot, namespace: str) -> str:
    """Why the DaemonSet's pods are not known, or that there are none; empty where there are."""
    unknown = snapshot.why_unknown(Kind.POD, Scope(namespace, LABELS))
    if unknown is not None:
        return f"{unknown.reason}; grant {unknown.grant}"
    if not reporting_pods(snapshot, namespace):
        return (
            f"namespace {namespace} has no pod of the DaemonSet svcdoctor-node-facts; apply "
            "plugins/manifests/node-facts.yaml of svcdoctor, or name its namespace with --node-facts-namespace"
        )
    return ""


class NodeReports:
    """Reads the reports of one run. Safe to use from many threads.

    Reports that are yet to come are waited for as long as one node may take, by all nodes together.
    """

    def __init__(
        self,
        session: ApiSession,
        limits: Limits,
        streams: Streams,
        warn: Callable[[str], None],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._session = session
        self._limits = limits
        self._end = time.monotonic() + limits.node
        self._streams = streams
        self._warn = warn
        self._now = now

    def facts(self, node: str, pod: Pod | None) -> NodeFacts:
        """What the newest report of a node says; nothing is known where there is none, with the reason.

        Warns of one that should long have been followed by another. Raises SvcdoctorError where the API server cannot
        be reached.
        """
        if pod is None:
            return nothing_known(node, _NO_POD)
        if pod.status.phase != "Running" or pod.terminating:
            phase = "Terminating" if pod.terminating else pod.status.phase or "not running"
            return nothing_known(node, f"its pod {pod.namespace}/{pod.name} is {phase}")
        answer = self._newest(node, pod)
        if isinstance(answer, str):
            return nothing_known(node, answer)
        age = (self._now() - answer.time).total_seconds()
        if answer.every and age > _LATE * answer.every:
            self._warn(
                f"node {node}: its facts are {age:,.0f} seconds old by this machine's clock, though pod {pod.name} "
                f"gathers them every {answer.every:.0f}; see whether it hangs"
            )
        return answer.facts

    def _newest(self, node: str, pod: Pod) -> Report | str:
        """The newest whole report, or why there is none."""
        while True:
            last = self._log(pod, 1)
            if isinstance(last, str):
                return last
            count = lines_of(last)
            data = last if count is None else self._log(pod, count)
            if isinstance(data, str):
                return data
            try:
                return read_report(node, data, self._limits.output)
            except NotWhole as e:
                problem, hopeless = str(e), isinstance(e, Unreadable)
            # Between two questions another report may have come: then the next look finds it whole.
            if hopeless or time.monotonic() + _POLL >= self._end:
                return f"pod {pod.namespace}/{pod.name}: {problem}; kubectl logs -n {pod.namespace} {pod.name} --tail=1"
            if self._streams.ended.wait(_POLL):
                return "interrupted"

    def _log(self, pod: Pod, lines: int) -> bytes | str:
        """The last lines of the pod's log, or why they cannot be had."""
        path = f"/api/v1/namespaces/{quote(pod.namespace, safe='')}/pods/{quote(pod.name, safe='')}/log"
        answer = self._session.get(path, {"container": CONTAINER, "tailLines": str(lines)})
        return answer.data if answer.status == 200 else _refused(answer, pod.namespace)


def _refused(answer: Response, namespace: str) -> str:
    message = message_of(answer)
    if answer.status != 403:
        return message
    return (
        f"{message}; grant verb get on pods/log in namespace {namespace}: kubectl create role svcdoctor-node-reports "
        f"--verb=get --resource=pods/log -n {namespace} && kubectl create rolebinding svcdoctor-node-reports "
        f"--role=svcdoctor-node-reports {subject_of(message)} -n {namespace}"
    )
