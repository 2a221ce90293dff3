"""``trace(view, request)``: every way of a request, hop by hop.

Theory. The target is resolved to a Service, an Ingress, a workload, a pod or an address. For each entry that
applies (all that it has, or those asked for with ``via``) a packet is sent through ``deliver`` from the
client, and what became of it is dressed in hops. Pure: what is missing is noted in the view, for the source
to fetch or for the report to name.

What may live here: resolving a target. The ways into each kind of target are in the ``*_ways`` modules.
"""

from __future__ import annotations

from svcdoctor.cluster.selectors import matches_labels
from svcdoctor.model.errors import NoWay, SvcdoctorError
from svcdoctor.model.facts import Kind, Scope
from svcdoctor.model.ingress import Ingress
from svcdoctor.model.pod import Pod
from svcdoctor.model.request import AddressTarget, ObjectTarget, Request
from svcdoctor.model.service import Service
from svcdoctor.model.snapshot import canonical_or_none
from svcdoctor.model.trace import EntryKind, Path, TargetView, Trace, Verdict, combined
from svcdoctor.model.workload import Workload
from svcdoctor.path.address_ways import address_path
from svcdoctor.path.gateway_ways import route_for_host, route_paths
from svcdoctor.path.ingress import host_matches, route_for
from svcdoctor.path.ingress_ways import controlled_paths, ingress_paths
from svcdoctor.path.names import ClusterName, resolve
from svcdoctor.path.service_ways import service_paths
from svcdoctor.path.tracing import Tracing
from svcdoctor.path.view import View

WARNINGS = 5  # of a snapshot's files that were passed over or contradict each other


def trace(view: View, request: Request, namespace: str) -> Trace:
    """The whole way of ``request``; ``namespace`` completes short names.

    Raises SvcdoctorError when the question itself cannot be answered: a client or node that does not exist,
    an outside name. A target that does not exist is an answer: a Trace without paths.
    """
    t = Tracing(view, request, namespace)
    target = request.target
    names = view.snapshot.node_names
    if request.node is not None and names and view.complete(Kind.NODE) and request.node not in names:
        raise SvcdoctorError(f"--node {request.node}: no such node (there are {', '.join(names[:8])})")
    if isinstance(target, AddressTarget):
        if request.client is not None and request.client.namespace:
            t.namespace = request.client.namespace  # a name means what the pod's search list makes of it
        found = _address(t, target)
    elif target.kind == "Service":
        found = _service_or_node(t, target)
    elif target.kind == "Ingress":
        found = _ingress(t, target.namespace, target.name, target.host, target.path)
    elif target.kind in ("HTTPRoute", "GRPCRoute"):
        found = _route(t, Kind(target.kind), target.namespace, target.name, target.path)
    elif target.kind == "Pod":
        found = _pod(t, target)
    else:
        found = _workload(t, target)
    view_target, paths = found
    verdict = combined(p.verdict for p in paths)
    for name, damage in t.world.hosts.damaged.items():
        view.lacks(f"nodes/{name}/rules", damage, "collect the node's dumps again", required=True)
    if view.lacks_required and verdict is not Verdict.BROKEN:
        verdict = Verdict.UNKNOWN
    if not t.world.hosts.names and paths and not t.snapshot.would_be:
        lack_of_rules(view)
    return Trace(
        verdict,
        view_target,
        tuple(paths),
        unknowns=view.missing,
        notes=tuple(dict.fromkeys([*t.notes, *t.snapshot.warnings[:WARNINGS]])),
        services=tuple(t.services),
        needs=view.needs,
    )


def lack_of_rules(view: View) -> None:
    """Notes that no node's rules are known."""
    view.lacks(
        "nodes/*/rules",
        "not collected",
        "a snapshot with nodes/NAME/iptables-save.txt or nft.json shows what the nodes really do",
    )


Found = tuple[TargetView, list[Path]]


def _service(t: Tracing, namespace: str, name: str, port: str | None) -> Found:
    if t.request.everywhere:
        namespace = _only_namespace(t, namespace, name)
    scope = Scope(namespace, name=name)
    t.view.complete(Kind.SERVICE, scope, required=True)
    t.prefetch(namespace, name)
    service = t.snapshot.service(namespace, name)
    if service is None:
        return TargetView("Service", namespace, name), []
    paths = service_paths(t, service, port)
    if not paths and not t.view.needs:
        raise NoWay(_no_way(t, service, port))
    return _view(service), paths


def _no_way(t: Tracing, service: Service, port: str | None) -> str:
    """Why a Service that exists has no path of the kind that was asked for."""
    name = f"svc/{service.name}"
    has = ", ".join(f"{p.name or '-'} {p.port}/{p.protocol}" for p in service.ports) or "none"
    if port is not None and not any(port in (p.name, str(p.port)) for p in service.ports):
        return f"{name}:{port}: no such port (it has {has})"
    asked = [f"--via {kind}" for kind in sorted(t.request.via)]
    asked += [f"--protocol {t.request.protocol}"] if t.request.protocol else []
    asked += [f"--family {t.request.family}"] if t.request.family else []
    what = "headless" if service.headless else f"type {service.type}"
    return f"{name} has no way in {' '.join(asked) or 'at all'} ({what}, ports {has})"


def _service_or_node(t: Tracing, target: ObjectTarget) -> Found:
    """A bare ``NAME:PORT`` is a Service; where there is none, it may be a node's name."""
    found = _service(t, target.namespace, target.name, target.port)
    if found[1] or target.port is None or not target.port.isdecimal() or not t.snapshot.nodes:
        return found
    if t.snapshot.service(target.namespace, target.name) is None and _node_named(t, target.name):
        return _address(t, AddressTarget(target.name, int(target.port)))
    return found


def _only_namespace(t: Tracing, namespace: str, name: str) -> str:
    """The one namespace that has a Service of this name; the given one when none has."""
    t.view.complete(Kind.SERVICE, required=True)
    found = sorted(s.namespace for s in t.snapshot.services if s.name == name)
    if len(found) > 1:
        raise SvcdoctorError(f"svc/{name} exists in namespaces {', '.join(found)}: choose one with -n")
    return found[0] if found else namespace


def _view(service: Service) -> TargetView:
    ports = tuple(p.name or str(p.port) for p in service.ports)
    return TargetView("Service", service.namespace, service.name, ports)


def _ingress(t: Tracing, namespace: str, name: str, host: str | None, path: str | None) -> Found:
    t.view.complete(Kind.INGRESS, Scope(namespace, name=name), required=True)
    t.view.complete(Kind.NODE)
    paths = ingress_paths(t, namespace, name, host, path)
    return TargetView("Ingress", namespace, name), paths


def _route(t: Tracing, kind: Kind, namespace: str, name: str, path: str | None) -> Found:
    t.view.complete(kind, Scope(namespace, name=name), required=True)
    t.view.complete(Kind.SERVICE, Scope(namespace))  # its backends: asked for by name they take a round more
    t.view.complete(Kind.NODE)
    return TargetView(str(kind), namespace, name), route_paths(t, kind, namespace, name, path)


def _pod(t: Tracing, target: ObjectTarget) -> Found:
    """A pod's own address, and its hostPorts."""
    scope = Scope(target.namespace, name=target.name)
    t.view.complete(Kind.POD, scope, required=True)
    t.view.complete(Kind.NODE)
    pod = t.snapshot.pod(target.namespace, target.name)
    view = TargetView("Pod", target.namespace, target.name)
    if pod is None:
        return view, []
    declared = [p for c in pod.serving_containers for p in c.ports or ()]
    protocol = t.request.protocol
    numbers = _pod_ports(pod, target.port, protocol)
    paths = []
    for ip in pod.ips:
        family = 6 if ":" in ip else 4
        canonical = canonical_or_none(ip)
        if canonical is None or t.request.family not in (None, family) or pod.spec.host_network:
            continue
        if t.wants(EntryKind.DNS):
            paths += [address_path(t, canonical, number, proto) for number, proto in numbers]
    for port in declared:
        if (
            port.host_port
            and (port.container_port, port.protocol) in numbers
            and t.wants(EntryKind.HOST_PORT)
        ):
            for address in _host_addresses(t, pod, port.host_ip):
                paths.append(address_path(t, address, port.host_port, port.protocol))
    if not paths and not pod.ips:
        t.notes.append(f"pod {pod.namespace}/{pod.name} has no address yet (phase {pod.status.phase})")
    return view, paths


def _pod_ports(pod: Pod, port: str | None, protocol: str | None) -> list[tuple[int, str]]:
    declared = [
        (p.container_port, p.protocol, p.name)
        for c in pod.serving_containers
        for p in c.ports or ()
        if protocol in (None, p.protocol)
    ]
    if port is None:
        if not declared:
            raise SvcdoctorError(
                f"pod/{pod.name}: its containers declare no port; name one (pod/{pod.name}:8080)"
            )
        return [(number, proto) for number, proto, _ in declared]
    if port.isdecimal():
        named = [(n, proto) for n, proto, _ in declared if n == int(port)]
        return named or [(int(port), protocol or "TCP")]
    named = [(n, proto) for n, proto, name in declared if name == port]
    if not named:
        names = ", ".join(f"{name or '-'} {n}/{proto}" for n, proto, name in declared) or "none"
        raise SvcdoctorError(f"pod/{pod.name}:{port}: no such port (it declares {names})")
    return named


def _host_addresses(t: Tracing, pod: Pod, host_ip: str) -> list[str]:
    """Where a hostPort answers: the hostIP that it names, else every internal address of its node."""
    if host_ip.startswith("127.") or host_ip == "::1":
        t.notes.append(f"a hostPort with hostIP {host_ip} answers on node {pod.spec.node_name} itself only")
        return []
    if host_ip not in ("", "0.0.0.0", "::"):
        return [host_ip]
    node = t.snapshot.node(pod.spec.node_name)
    texts = node.addresses("InternalIP") if node else ((pod.status.host_ip,) if pod.status.host_ip else ())
    return [c for a in texts if (c := canonical_or_none(a)) is not None]


def _workload(t: Tracing, target: ObjectTarget) -> Found:
    """Every Service that selects the workload's pods."""
    kind = Kind(target.kind)
    view = TargetView(target.kind, target.namespace, target.name)
    t.view.complete(kind, Scope(target.namespace, name=target.name), required=True)
    complete = t.view.complete(Kind.SERVICE, Scope(target.namespace), required=True)
    workload = t.snapshot.find(kind, target.namespace, target.name, Workload)
    if workload is None:
        return view, []
    labels = workload.template_labels
    services = [
        s
        for s in t.snapshot.services
        if s.namespace == target.namespace and s.spec.selector and matches_labels(s.spec.selector, labels)
    ]
    if complete and not services:
        t.notes.append(f"no Service in {target.namespace} selects the pods of {target.kind} {target.name}")
    return view, [p for s in services for p in service_paths(t, s, target.port)]


def _address(t: Tracing, target: AddressTarget) -> Found:
    """A URL, ``HOST:PORT``, IP or name, asked the other way round."""
    protocol = t.request.protocol or "TCP"
    ip = canonical_or_none(target.host)
    everything = t.view.complete(Kind.SERVICE, required=True)
    t.view.complete(Kind.NODE)
    t.view.complete(Kind.POD)
    t.view.complete(Kind.ENDPOINT_SLICE)
    if ip is None:
        ip = _node_named(t, target.host)
    if ip is not None:
        if target.port is None:
            raise SvcdoctorError(f"{target.host}: no port; say {target.host}:PORT")
        ingress = _ingress_at(t, ip)
        if ingress is not None:
            return _ingress(t, ingress.namespace, ingress.name, None, target.path)
        view = _view_of_address(t, ip, target.port, protocol)
        paths = [address_path(t, ip, target.port, protocol)]
        if target.path is not None and view.kind == "Service":
            paths += controlled_paths(t, view.namespace, view.name, target.host, target.path)
        return view, paths
    for service in t.snapshot.services:
        for point in service.ingress_points:
            if point.hostname and point.hostname.lower() == target.host.lower():
                t.only = frozenset({EntryKind.LOAD_BALANCER})
                return _view(service), service_paths(t, service, str(target.port) if target.port else None)
    name = resolve(t.snapshot, target.host, t.namespace)
    if t.view.complete(Kind.INGRESS) and (
        name is None or not t.snapshot.service(name.namespace, name.service)
    ):
        ingress = _ingress_for(t, target.host, target.path or "/", name is None)
        if ingress is not None:
            return _ingress(t, ingress.namespace, ingress.name, target.host, target.path or "/")
    if name is None:
        route = route_for_host(t, target.host)
        if route is not None:
            return _route(t, Kind.HTTP_ROUTE, route.namespace, route.name, target.path or "/")
        if not everything or t.view.needs:
            return TargetView("Service", t.namespace, target.host), []
        raise SvcdoctorError(
            f"{target.host}: no name of this cluster (SERVICE.NAMESPACE, an Ingress host, a node's name)"
        )
    return _named(t, target, name)


def _ingress_at(t: Tracing, ip: str) -> Ingress | None:
    """The Ingress whose status has this address, where no Service claims it."""
    if ip in t.world.claimed or ip in t.snapshot.nodes_by_ip or not t.view.complete(Kind.INGRESS):
        return None
    ingresses: tuple[Ingress, ...] = t.snapshot.of(Kind.INGRESS)
    return next((i for i in ingresses if any(p.ip == ip for p in i.status.load_balancer.ingress or ())), None)


def _ingress_for(t: Tracing, host: str, path: str, outside: bool) -> Ingress | None:
    """The Ingress that takes a host: one that names it, else for an outside name one that takes any host."""
    ingresses: tuple[Ingress, ...] = t.snapshot.of(Kind.INGRESS)
    for ingress in ingresses:
        if any(r.host and host_matches(r.host, host) for r in ingress.spec.rules or ()):
            return ingress
    if not outside:
        return None
    return next((i for i in ingresses if route_for(i, host, path) is not None), None)


def _node_named(t: Tracing, host: str) -> str | None:
    for node in t.snapshot.nodes:
        names = {node.name, *node.addresses("Hostname", "InternalDNS", "ExternalDNS")}
        if host in names:
            ips = [c for a in node.addresses() if (c := canonical_or_none(a)) is not None]
            return next(iter(ips), None)
    return None


def _named(t: Tracing, target: AddressTarget, name: ClusterName) -> Found:
    if name.pod_ip is not None:
        port = target.port or 80
        path = address_path(t, name.pod_ip, port, t.request.protocol or "TCP")
        return _view_of_address(t, name.pod_ip, port, "TCP"), [path]
    t.record = name.host
    if not t.request.via:
        t.only = frozenset({EntryKind.CLUSTER_IP, EntryKind.DNS})
    return _service(t, name.namespace, name.service, str(target.port) if target.port else None)


def _view_of_address(t: Tracing, ip: str, port: int, protocol: str) -> TargetView:
    """The object behind an address, as the target of the report."""
    view = _object_at(t, ip, port, protocol)
    if view.kind == "Service":
        t.services[view.namespace, view.name] = None
    return view


def _object_at(t: Tracing, ip: str, port: int, protocol: str) -> TargetView:
    frontend = t.world.frontends.get((ip, protocol, port))
    if frontend is None and ip in t.snapshot.nodes_by_ip:
        frontend = t.world.node_ports.get((protocol, port))
    if frontend is not None:
        return _view(frontend.service)
    claimed = t.world.claimed.get(ip)
    if claimed is not None:
        return _view(claimed[1])
    node = t.snapshot.nodes_by_ip.get(ip)
    if node is not None:
        for pod, held in t.world.host_ports.get((protocol, port), ()):
            if pod.spec.node_name == node:
                return TargetView("Pod", pod.namespace, pod.name, (held.name or str(held.container_port),))
        return TargetView("Node", "", node)
    pods = t.snapshot.pods_by_ip.get(ip, ())
    return TargetView("Pod", pods[0].namespace, pods[0].name) if pods else TargetView("Address", "", ip)
