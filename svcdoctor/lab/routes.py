"""Which path is answered by what: health, version, discovery, and the resources themselves.

Specification: https://kubernetes.io/docs/reference/using-api/
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from svcdoctor.lab import discovery, openapi
from svcdoctor.lab.ephemeral import EphemeralContainers
from svcdoctor.lab.forwardfaults import ForwardFaults
from svcdoctor.lab.negotiation import Form, encode, negotiate
from svcdoctor.lab.podexec import PodExec
from svcdoctor.lab.podlogs import PodLogs
from svcdoctor.lab.podruntime import PodRuntime
from svcdoctor.lab.podsecurity import PodSecurity
from svcdoctor.lab.portforward import PodPortForward
from svcdoctor.lab.rbac import Authorizer
from svcdoctor.lab.requests import Answer, Handler, Request, Response
from svcdoctor.lab.resources import (
    ACCESS_REVIEWS,
    RESOURCES,
    RULES_REVIEWS,
    SELF_REVIEWS,
    Object,
    Resource,
    find_resource,
)
from svcdoctor.lab.rest import RestVerbs, request_object
from svcdoctor.lab.reviews import access_review, rules_review, self_review
from svcdoctor.lab.status import method_not_allowed
from svcdoctor.lab.store import ObjectStore

_REVIEWERS = {ACCESS_REVIEWS: access_review, RULES_REVIEWS: rules_review, SELF_REVIEWS: self_review}


@dataclass(frozen=True, slots=True)
class Route:
    """Which paths a handler answers. The pattern must match the whole path."""

    pattern: re.Pattern[str]
    handler: Handler


class StandardRoutes:
    """The handlers of a plain API server. `groups` are served though the store holds nothing of them."""

    def __init__(
        self,
        store: ObjectStore,
        authorizer: Authorizer,
        rest: RestVerbs,
        groups: Iterable[str],
    ) -> None:
        self._store = store
        self._authorizer = authorizer
        self._rest = rest
        self._groups = frozenset(groups)

    def routes(self) -> list[Route]:
        """The routes in the order in which they are tried."""
        return [
            Route(re.compile(r"/(healthz|livez|readyz)"), self._health),
            Route(re.compile(r"/version/?"), self._version),
            Route(re.compile(r"/openapi/v3(/.+)?"), self._openapi),
            Route(re.compile(r"/apis?/?|/api/[^/]+/?|/apis/[^/]+(/[^/]+)?/?"), self._discovery),
            Route(re.compile(r"/apis?/.+"), self._resource),
        ]

    def served(self) -> list[Resource]:
        """The resources that are served now."""
        return [r for r in RESOURCES if not r.optional or r.group in self._groups or self._store.holds(r)]

    def _health(self, request: Request) -> Answer:
        return Response(200, b"ok", "text/plain; charset=utf-8")

    def _version(self, request: Request) -> Answer:
        return _json(discovery.version())

    def _openapi(self, request: Request) -> Answer:
        prefix = request.path.removeprefix("/openapi/v3").strip("/")
        served = self.served()
        return _json(openapi.document(served, prefix) if prefix else openapi.index(served))

    def _discovery(self, request: Request) -> Answer:
        served = self.served()
        match request.path.strip("/").split("/"):
            case [root]:
                offered = (Form.JSON, Form.DISCOVERY)
                if negotiate(request.headers.get("Accept", ""), offered) is Form.DISCOVERY:
                    answer = discovery.aggregated(served, core=root == "api")
                    return Response(200, *encode(answer, Form.DISCOVERY))
                if root == "api":
                    host, port = request.connection.getsockname()[:2]
                    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
                    return _json(discovery.api_versions(address))
                return _json(discovery.group_list(served))
            case ["api", version]:
                return _json(discovery.resource_list(served, "", version))
            case ["apis", group]:
                return _json(discovery.group(served, group))
            case [_, group, version]:
                return _json(discovery.resource_list(served, group, version))
        raise discovery.page_not_found()

    def _resource(self, request: Request) -> Answer:
        action = request.target.action
        resource = find_resource(action.group, request.target.version, action.resource)
        if resource is None or resource not in self.served() or action.subresource:
            raise discovery.page_not_found()
        if (review := _REVIEWERS.get(resource)) is None:
            return self._rest.answer(request, resource)
        if action.verb != "create":
            raise method_not_allowed()
        return _json(review(self._authorizer, request.user, request_object(request)), 201)


def pod_routes(
    store: ObjectStore,
    authorizer: Authorizer,
    rest: RestVerbs,
    runtime: PodRuntime | None,
    forward_faults: ForwardFaults,
) -> list[Route]:
    """What stands in front for pods: their admission, port-forward and, with a runtime behind them, exec, logs and
    debug containers."""
    pods = r"/api/v1/namespaces/[^/]+/pods"
    forwards = PodPortForward(store, authorizer, runtime or PodRuntime(), forward_faults)
    routes = [
        Route(re.compile(pods), PodSecurity(store, rest).answer),
        Route(re.compile(f"{pods}/[^/]+/portforward"), forwards.answer),
    ]
    if runtime is not None:
        routes += [
            Route(re.compile(f"{pods}/[^/]+/exec"), PodExec(store, authorizer, runtime).answer),
            Route(re.compile(f"{pods}/[^/]+/log"), PodLogs(store, runtime).answer),
            Route(re.compile(f"{pods}/[^/]+/ephemeralcontainers"), EphemeralContainers(store).answer),
        ]
    return routes


def _json(obj: Object, status: int = 200) -> Response:
    return Response(status, *encode(obj, Form.JSON))
