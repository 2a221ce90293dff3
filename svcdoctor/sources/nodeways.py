"""``--node-facts``: which nodes are asked and on which way, and the Snapshot that comes of it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from enum import StrEnum

from svcdoctor.model.cluster import Node
from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.model.facts import EVERYTHING, Kind, Need
from svcdoctor.model.nodefacts import NodeFacts
from svcdoctor.model.snapshot import Snapshot
from svcdoctor.sources import nodereports
from svcdoctor.sources.collecting import DEFAULT_LIMITS, MAX_NODES, Limits, each_node, nothing_known
from svcdoctor.sources.execnode import exec_facts
from svcdoctor.sources.live import LiveSource
from svcdoctor.sources.localnode import check_local, local_facts, this_node
from svcdoctor.sources.nodepods import NodePods
from svcdoctor.sources.podexec import Streams
from svcdoctor.sources.proxypods import container_of, proxy_pods, why_no_pods, with_proxy_pods
from svcdoctor.sources.session import ApiSession

Progress = Callable[[str], None]

DEFAULT_NAMESPACE = "kube-system"
"""Where pods are made unless another namespace is named: nearly always one that Pod Security leaves alone."""


class Way(StrEnum):
    """How facts of nodes are gathered."""

    NONE = "none"
    LOCAL = "local"
    EXEC = "exec"
    PODS = "pods"
    DAEMONSET = "daemonset"


@dataclass(frozen=True, slots=True)
class Planned:
    """The pods that would be made, as a person is asked about them: ``images`` by node."""

    namespace: str
    images: dict[str, str]


@dataclass(frozen=True, slots=True)
class NodeWay:
    """What is asked for. ``nodes`` are all where none are named; ``image`` is each node's kube-proxy's own
    where it is empty; ``namespace`` is the way's usual one where it is empty. ``confirm`` is asked before pods are
    made, and raises where the answer is no; ``warn`` hears of pods that are left behind, and of old facts."""

    way: Way
    nodes: tuple[str, ...] = ()
    image: str = ""
    namespace: str = ""
    confirm: Callable[[Planned], None] = field(default=lambda planned: None)
    warn: Progress = field(default=lambda line: None)
    limits: Limits = DEFAULT_LIMITS


def with_node_facts(source: LiveSource, snapshot: Snapshot, asked: NodeWay, progress: Progress) -> Snapshot:
    """The Snapshot with the facts of nodes; those that could not be had say why, in ``missing`` and as a warning.

    Raises SvcdoctorError where nothing can be asked at all: no root for ``local``, no such node, pods refused
    by the user.
    """
    if asked.way is Way.LOCAL:
        check_local()
    snapshot = source.refill(snapshot, (Need(Kind.NODE, EVERYTHING),))
    if asked.way is Way.LOCAL:
        if len(asked.nodes) > 1:
            raise SvcdoctorError("--node-facts local: this machine is one node, so name one with --node")
        progress("reading this node's facts")
        name = asked.nodes[0] if asked.nodes else this_node(snapshot.nodes)
        _check_names(snapshot, (name,))
        return _with(snapshot, {name: local_facts(name, asked.limits)})
    if asked.way is Way.DAEMONSET:
        namespace = asked.namespace or nodereports.DEFAULT_NAMESPACE
        snapshot = nodereports.with_reporting_pods(source, snapshot, namespace)
        pods = nodereports.reporting_pods(snapshot, namespace)
    else:
        snapshot = with_proxy_pods(source, snapshot, asked.nodes or _linux_nodes(snapshot) or None)
        pods = proxy_pods(snapshot)
    nodes = _chosen(snapshot, asked, pods)
    facts = {name: nothing_known(name, _TOO_MANY) for name in nodes[MAX_NODES:] if not asked.nodes}
    if not asked.nodes:
        nodes = nodes[:MAX_NODES]
    ask = {Way.EXEC: _by_exec, Way.PODS: _by_pods, Way.DAEMONSET: _by_reports}[asked.way]
    return _with(snapshot, ask(source, snapshot, nodes, asked, progress) | facts)


class PreparedSource:
    """A live source whose Snapshot begins with what ``prepare`` gathers, when it is first asked for."""

    def __init__(self, source: LiveSource, prepare: Callable[[], Snapshot]) -> None:
        self._source = source
        self._prepare = prepare

    @property
    def requests(self) -> int:
        """How many requests were sent."""
        return self._source.requests

    @property
    def session(self) -> ApiSession:
        """The connection to the API server."""
        return self._source.session

    def snapshot(self) -> Snapshot:
        return self._prepare()

    def refill(self, snapshot: Snapshot, needs: tuple[Need, ...]) -> Snapshot:
        return self._source.refill(snapshot, needs)


_TOO_MANY = f"only the first {MAX_NODES} nodes are asked; name this one with --node"


def _by_exec(
    source: LiveSource, snapshot: Snapshot, nodes: tuple[str, ...], asked: NodeWay, progress: Progress
) -> dict[str, NodeFacts]:
    pods, refused = proxy_pods(snapshot), why_no_pods(snapshot)
    if refused and not pods:
        return {node: nothing_known(node, refused) for node in nodes}
    streams = Streams()
    return each_node(
        nodes,
        lambda node: exec_facts(source.session, node, pods.get(node), asked.limits, streams),
        streams,
        progress,
    )


def _by_pods(
    source: LiveSource, snapshot: Snapshot, nodes: tuple[str, ...], asked: NodeWay, progress: Progress
) -> dict[str, NodeFacts]:
    own = {} if asked.image else {node: container_of(pod)[1] for node, pod in proxy_pods(snapshot).items()}
    # A node without kube-proxy gets the image that others have.
    other = next(iter(own.values()), "")
    images = {node: asked.image or own.get(node) or other for node in nodes}
    if not all(images.values()):
        why = why_no_pods(snapshot) or "the cluster has no kube-proxy pod to take an image from"
        raise SvcdoctorError(
            f"--node-facts pods: {why}; name an image with iptables and nft: --node-facts-image"
        )
    namespace = asked.namespace or DEFAULT_NAMESPACE
    asked.confirm(Planned(namespace, images))
    streams = Streams()
    pods = NodePods(source.session, namespace, asked.limits, streams)
    try:
        with pods:
            return each_node(nodes, lambda node: pods.facts(node, images[node]), streams, progress)
    finally:
        if pods.left:
            left = ", ".join(pods.left)
            asked.warn(
                f"not deleted: {left}; svcdoctor cleanup -n {namespace} finds and deletes what is left"
            )


def _by_reports(
    source: LiveSource, snapshot: Snapshot, nodes: tuple[str, ...], asked: NodeWay, progress: Progress
) -> dict[str, NodeFacts]:
    namespace = asked.namespace or nodereports.DEFAULT_NAMESPACE
    pods = nodereports.reporting_pods(snapshot, namespace)
    refused = nodereports.why_no_pods(snapshot, namespace)
    if refused:
        return {node: nothing_known(node, refused) for node in nodes}
    streams = Streams()
    reports = nodereports.NodeReports(source.session, asked.limits, streams, asked.warn)
    return each_node(nodes, lambda node: reports.facts(node, pods.get(node)), streams, progress)


def _chosen(snapshot: Snapshot, asked: NodeWay, pods: Collection[str]) -> tuple[str, ...]:
    """The nodes to ask: the named ones, else all with Linux, else those that the way's pods are on."""
    if asked.nodes:
        _check_names(snapshot, asked.nodes)
        return tuple(dict.fromkeys(asked.nodes))
    found = _linux_nodes(snapshot) or tuple(sorted(pods))
    if not found:
        unknown = snapshot.why_unknown(Kind.NODE)
        why = f"{unknown.reason}; grant {unknown.grant}, or" if unknown else "the cluster has no Linux node;"
        raise SvcdoctorError(f"--node-facts {asked.way}: {why} name nodes with --node", 3)
    return found


def _linux_nodes(snapshot: Snapshot) -> tuple[str, ...]:
    nodes: tuple[Node, ...] = snapshot.nodes
    return tuple(sorted(n.name for n in nodes if n.labels.get("kubernetes.io/os") != "windows"))


def _check_names(snapshot: Snapshot, names: tuple[str, ...]) -> None:
    known = {node.name for node in snapshot.nodes}
    for name in names:
        if known and name not in known:
            raise SvcdoctorError(
                f"--node {name}: the cluster has no such node; it has {', '.join(sorted(known))}"
            )


def _with(snapshot: Snapshot, facts: dict[str, NodeFacts]) -> Snapshot:
    """The Snapshot with these facts, and a warning for each reason why nodes have none."""
    reasons: dict[str, list[str]] = {}
    for node, one in sorted(facts.items()):
        if not one.dumps:
            reasons.setdefault(next(iter(one.missing.values()), ""), []).append(node)
    warnings = tuple(
        f"{'node' if len(nodes) == 1 else 'nodes'} {', '.join(nodes)}: no facts: {reason}"
        for reason, nodes in reasons.items()
    )
    return snapshot.with_nodes(facts, warnings)
