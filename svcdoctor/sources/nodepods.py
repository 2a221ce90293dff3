"""Facts of nodes out of short-lived pods."""

from __future__ import annotations

from svcdoctor.model.nodefacts import NodeFacts
from svcdoctor.sources.collecting import Limits, collect, nothing_known
from svcdoctor.sources.execnode import runner
from svcdoctor.sources.ownpods import NotStarted, OwnPods
from svcdoctor.sources.podexec import Streams
from svcdoctor.sources.podmanifest import Purpose, node_facts_pod
from svcdoctor.sources.session import ApiSession


class NodePods(OwnPods):
    """Makes the pods of one run, one a node, and deletes them."""

    def __init__(self, session: ApiSession, namespace: str, limits: Limits, streams: Streams) -> None:
        super().__init__(session, namespace, Purpose.NODE_FACTS, streams)
        self._limits = limits

    def facts(self, node: str, image: str) -> NodeFacts:
        """The facts of a node, out of a pod that is made for them and deleted after it."""
        try:
            with self.started(lambda name: node_facts_pod(name, self.namespace, node, image)) as container:
                return collect(node, runner(self._session, container, self._streams), self._limits)
        except NotStarted as e:
            return nothing_known(node, e.reason)
