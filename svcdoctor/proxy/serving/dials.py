"""A worker's way to pods where that is not simply their addresses: through the API server, or their namespaces."""

from __future__ import annotations

import os
from pathlib import Path

from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.proxy.dialways import Chosen, Dial, choose
from svcdoctor.proxy.loop import Loop
from svcdoctor.proxy.netns_find import PodFinder, node_root
from svcdoctor.proxy.serving.wire import Settings
from svcdoctor.sources.connection import Connection, open_connection
from svcdoctor.sources.session import ApiSession


def chosen_way(loop: Loop, settings: Settings) -> Chosen:
    """What the settings' ``dial`` stands for. Raises SvcdoctorError."""
    kubeconfig = Path(settings.kubeconfig) if settings.kubeconfig else None
    session: ApiSession | SvcdoctorError
    try:
        session = open_connection(Connection(kubeconfig=kubeconfig, context=settings.context))
    except SvcdoctorError as e:
        session = e  # in pods' namespaces it can be done without

    def lost(pod: str, why: str) -> None:
        """Clients are told by their connections' ends."""

    return choose(loop, Dial(settings.dial), session, PodFinder(node_root()), os.environ, lost)
