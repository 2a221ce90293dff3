"""Objects to serve, and a loop that turns until something is so."""

from __future__ import annotations

import socket
import time

import msgspec
from msgspec import structs

from svcdoctor.model.base import AnnotatedMeta, Meta
from svcdoctor.model.cluster import Node, NodeAddress, NodeSpec, NodeStatus
from svcdoctor.model.endpoints import (
    EndpointConditions,
    EndpointHints,
    EndpointPort,
    EndpointSlice,
    Named,
    ObjectReference,
    SliceEndpoint,
)
from svcdoctor.model.facts import Kind
from svcdoctor.model.service import Service, ServicePort, ServiceSpec
from svcdoctor.proxy.serving.planned import Options, Own
from svcdoctor.proxy.serving.served import Backend, Listen, ServedPort

READY = EndpointConditions(ready=True, serving=True, terminating=False)
UNREADY = EndpointConditions(ready=False, serving=False, terminating=False)
DRAINING = EndpointConditions(ready=False, serving=True, terminating=True)
HTTP = ServicePort(port=80, name="http", target_port=8080)
IPS = {4: "10.96.0.10", 6: "fd00:96::10"}
NODE = "node1"


def every_listen(service, plan, family, own):
    """Each address that kube-proxy would program, the nodePort on all of the node's."""
    anywhere = "0.0.0.0" if family == 4 else "::"
    return (
        Listen(plan.cluster_ip, plan.port, "clusterIP"),
        *((Listen(anywhere, plan.node_port, "nodePort"),) if plan.node_port else ()),
        *(Listen(ip, plan.port, "loadBalancer") for ip in plan.load_balancer_ips),
        *(Listen(ip, plan.port, "externalIP") for ip in plan.external_ips),
    )


OPTIONS = Options(every_listen)


def service(name="cart", *, families=(4,), ports=(HTTP,), labels=None, **spec):
    ips = tuple(IPS[f] for f in families)
    return Service(
        metadata=AnnotatedMeta(name=name, namespace="shop", labels=labels),
        spec=ServiceSpec(**{"cluster_ip": ips[0], "cluster_ips": ips, "ports": ports} | spec),
    )


def endpoint(ip, node=NODE, conditions=READY, zones=(), nodes=()):
    hints = EndpointHints(
        for_zones=tuple(Named(name=z) for z in zones), for_nodes=tuple(Named(name=n) for n in nodes)
    )
    ref = ObjectReference(kind="Pod", namespace="shop", name=f"cart-{ip.rpartition('.')[2]}")
    return SliceEndpoint(addresses=(ip,), node_name=node, conditions=conditions, target_ref=ref, hints=hints)


def endpoint_slice(*endpoints, owner="cart", name="", family=4):
    return EndpointSlice(
        metadata=Meta(
            name=name or f"{owner}-{family}",
            namespace="shop",
            labels={"kubernetes.io/service-name": owner},
        ),
        address_type=f"IPv{family}",
        endpoints=endpoints,
        ports=(EndpointPort(name="http", port=8080),),
    )


def node(name=NODE, zone="a", addresses=("192.168.0.1", "fd00:1::1"), pods=("10.1.0.0/24", "fd00:10:1::/64")):
    return Node(
        kind=Kind.NODE,
        metadata=Meta(name=name, labels={"topology.kubernetes.io/zone": zone}),
        spec=NodeSpec(pod_cidrs=pods),
        status=NodeStatus(addresses=tuple(NodeAddress(type="InternalIP", address=a) for a in addresses)),
    )


def own(**more):
    return Own(NODE, node(**more))


def free_port(ip="127.0.0.1"):
    with socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET) as sock:
        sock.bind((ip, 0))
        return sock.getsockname()[1]


def served(name="cart", port=0, ip="127.0.0.1", backends=("10.0.0.1",)):
    """A port that listens on a loopback address."""
    family = 6 if ":" in ip else 4
    return ServedPort(
        f"shop/{name}:80/TCP/{family}",
        "TCP",
        (Listen(ip, port or free_port(ip), "local"),),
        tuple(Backend(b, 8080) for b in backends),
        (),
    )


def with_backends(port, *backends):
    return structs.replace(port, cluster=tuple(Backend(b, 8080) for b in backends))


def turn_until(loop, condition, seconds=10.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it does not come"
        loop.turn(0.05)


def turn_for(loop, seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        loop.turn(0.02)


def ask(port):
    """The process that answers, and its endpoints."""
    with connected(port) as sock:
        return greeting(sock)


def connected(port):
    listen = port.listens[0]
    return socket.create_connection((listen.ip, listen.port), timeout=5)


def greeting(sock):
    pid, _, backends = sock.makefile().readline().strip().partition(" ")
    return int(pid), backends.split(",")


def as_json(obj):
    """The object as the API has it."""
    kind, version = {
        Service: ("Service", "v1"),
        EndpointSlice: ("EndpointSlice", "discovery.k8s.io/v1"),
        Node: ("Node", "v1"),
    }[type(obj)]
    return msgspec.to_builtins(obj) | {"apiVersion": version, "kind": kind}
