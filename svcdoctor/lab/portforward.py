"""`pods/portforward`: who may, to which pod, in which protocol; then the connection becomes a tunnel.

As on a cluster an answer is the API server's (permissions, the pod's name), the kubelet's (whether it runs, the
ports of the query) or the container runtime's (SPDY's versions), in that order, and worded as theirs.

Specification: https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/ (connect requests to
portforward), KEP-4006
"""

from __future__ import annotations

from dataclasses import replace

from svcdoctor.lab.forwardfaults import ForwardFaults
from svcdoctor.lab.forwarding import Tunnel
from svcdoctor.lab.forwardpeers import ChannelPeer, Peer, SpdyPeer
from svcdoctor.lab.podruntime import PodRuntime
from svcdoctor.lab.podsandbox import Sandbox
from svcdoctor.lab.rbac import Authorizer
from svcdoctor.lab.requests import Answer, Request
from svcdoctor.lab.resources import PODS, Object
from svcdoctor.lab.status import ApiError, bad_request, method_not_allowed
from svcdoctor.lab.store import ObjectStore
from svcdoctor.lab.upgrades import (
    asked_upgrade,
    header_words,
    sent_ahead,
    switch_to_spdy,
    switch_to_websocket,
)
from svcdoctor.tunnel.channels import MAX_PORTS
from svcdoctor.tunnel.channels import PROTOCOL as CHANNELS
from svcdoctor.tunnel.portforward import PROTOCOL

TUNNEL = f"SPDY/3.1+{PROTOCOL}"
"""The WebSocket subprotocol whose messages carry SPDY."""

_VERSION = "X-Stream-Protocol-Version"


class PodPortForward:
    """The handler of `pods/portforward`."""

    def __init__(
        self, store: ObjectStore, authorizer: Authorizer, runtime: PodRuntime, faults: ForwardFaults
    ) -> None:
        self._store = store
        self._authorizer = authorizer
        self._runtime = runtime
        self._faults = faults

    def answer(self, request: Request) -> Answer:
        """Serves the tunnel on the request's connection until it ends. Raises `ApiError`."""
        action = request.target.action
        if request.method not in ("GET", "POST"):
            raise method_not_allowed()
        # Since 1.35 a WebSocket, which is a GET, also takes the verb that a POST always took.
        self._authorizer.check(request.user, replace(action, verb="create"))
        pod = self._store.get(PODS, action.namespace, action.name)
        if not pod["spec"].get("nodeName"):
            raise bad_request(f"pod {action.name} does not have a host assigned")
        wanted = asked_upgrade(request)
        if wanted == "websocket":
            peer, sandbox = self._websocket(request, pod)
        elif self._faults.refuse_spdy:
            raise bad_request("Upgrade request required")
        else:
            sandbox = self._sandbox(pod)
            peer = self._spdy(request, wanted)
        uid = pod["metadata"].get("uid")

        def gone() -> bool:
            try:
                now = self._store.get(PODS, action.namespace, action.name)
            except ApiError:
                return True
            return bool(now["metadata"].get("uid") != uid)

        Tunnel(request.connection, peer, sandbox, gone, self._faults).run(sent_ahead(request))
        return None

    def _websocket(self, request: Request, pod: Object) -> tuple[Peer, Sandbox]:
        offered = header_words(request, "Sec-WebSocket-Protocol")
        if TUNNEL in offered and not self._faults.refuse_websocket:
            sandbox = self._sandbox(pod)
            switch_to_websocket(request, TUNNEL)
            return SpdyPeer(in_websocket=True, cut_after=self._faults.take_cut()), sandbox
        ports = _ports(request)
        sandbox = self._sandbox(pod)
        if offered and CHANNELS not in offered:
            raise _plain(400, "Bad Request")
        switch_to_websocket(request, CHANNELS if offered else "")
        return ChannelPeer(ports), sandbox

    def _spdy(self, request: Request, wanted: str) -> Peer:
        if wanted != "spdy/3.1":
            raise _plain(400, f"unable to upgrade: missing upgrade headers in request: Upgrade is {wanted}")
        versions = header_words(request, _VERSION)
        if not versions:
            raise _plain(400, f"unable to upgrade: {_VERSION} is required")
        if PROTOCOL not in versions:
            raise ApiError(
                403,
                "",
                f"unable to upgrade: unable to negotiate protocol: client supports [{' '.join(versions)}], "
                f"server accepts [{PROTOCOL}]",
                headers={"X-Accepted-Stream-Protocol-Versions": PROTOCOL},
            )
        switch_to_spdy(request, PROTOCOL)
        return SpdyPeer(in_websocket=False, cut_after=self._faults.take_cut())

    def _sandbox(self, pod: Object) -> Sandbox:
        namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
        if (pod.get("status") or {}).get("phase") != "Running":
            raise _plain(500, f'pod not found ("{name}_{namespace}")')
        sandbox = self._runtime.sandbox(namespace, name)
        if sandbox is None:
            uid = pod["metadata"].get("uid", "")
            raise _plain(500, f"failed to find sandboxID for pod {name}_{namespace}({uid})")
        return sandbox


def _plain(code: int, text: str) -> ApiError:
    return ApiError(code, "", text)


def _ports(request: Request) -> list[int]:
    """The ports of the query. Raises `ApiError` 400 as the kubelet does, which calls the parameter by its own name."""
    words = [word for value in request.query.get("ports", ()) for word in value.split(",")]
    if not words:
        raise _plain(400, 'query parameter "port" is required')
    if len(words) > MAX_PORTS:
        raise _plain(400, f"{len(words)} ports: a WebSocket has channels for {MAX_PORTS}")
    for word in words:
        if not (word.isascii() and word.isdecimal() and len(word) <= 5 and int(word) <= 65535):
            raise _plain(400, f'unable to parse "{word}" as a port')
        if not int(word):
            raise _plain(400, f'port "{word}" must be > 0')
    return [int(word) for word in words]
