"""What a cluster's controllers and its kube-proxies do: EndpointSlices follow the pods, rules follow the slices."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

from svcdoctor.cluster.decode import decode_json
from svcdoctor.lab.net.spaces import Spaces
from svcdoctor.lab.net.world import API_PORT, MASTER4, NODES, POD_CIDR, POD_CIDR6
from svcdoctor.lab.proxyiptables import iptables_rules
from svcdoctor.lab.proxynftables import nftables_rules
from svcdoctor.lab.resources import RESOURCES
from svcdoctor.lab.status import ApiError
from svcdoctor.lab.store import ObjectStore
from svcdoctor.model.base import KubeObject
from svcdoctor.model.facts import Kind, Known
from svcdoctor.model.nodefacts import ProxySettings
from svcdoctor.model.snapshot import Snapshot

Object = dict[str, Any]
MODES = ("iptables", "iptables-legacy", "nftables")
MANAGED_BY = "endpointslice-controller.k8s.io"
KINDS = {r.kind: r for r in RESOURCES}


def restore_program(mode: str, family: int) -> list[str]:
    """The program that loads a mode's rules from its standard input."""
    if mode == "nftables":
        return ["nft", "-f", "-"]
    backend = "legacy" if mode == "iptables-legacy" else "nft"
    return [f"ip{'6' if family == 6 else ''}tables-{backend}-restore"]


class Controller:
    """Keeps slices and rules up to date, on a thread of its own.

    ``settings`` and ``changes`` are each node's: kube-proxy's configuration, and how a fault changes the text
    of its rules. A node in ``frozen`` is left alone. ``synced`` hears of every state.
    """

    def __init__(self, store: ObjectStore, spaces: Spaces, mode: str) -> None:
        self.store = store
        self.spaces = spaces
        self.mode = mode
        plain = ProxySettings(self.proxy_mode, cluster_cidrs=(POD_CIDR, POD_CIDR6))
        self.settings = {n.name: plain for n in NODES}
        self.changes: dict[str, Callable[[Snapshot, int, str], str]] = {}
        self.frozen: set[str] = set()
        self.snapshot = Snapshot({}, {})
        self.synced: Callable[[Snapshot], None] = lambda snapshot: None
        self._programmed: dict[tuple[str, int], str] = {}
        self._working = threading.RLock()

    @property
    def proxy_mode(self) -> str:
        return "nftables" if self.mode == "nftables" else "iptables"

    def follow(self) -> None:
        """Follow the store until the process ends."""
        version = self.store.version
        while True:
            try:
                events = self.store.events_since(version, 1.0)
            except ApiError:
                events = []
            version = self.store.version
            if events:
                self.sync()

    def sync(self) -> None:
        """Slices, then rules, once."""
        with self._working:
            self._slices()
            self.snapshot = self.read()
            self.synced(self.snapshot)
            for node in NODES:
                if node.name not in self.frozen:
                    for family in (4, 6):
                        self.program(node.name, family, self.rules(node.name, family))

    def read(self) -> Snapshot:
        """The store's objects as the rest of the program sees them."""
        found: dict[Kind, list[KubeObject]] = {}
        items = [item for kind in Kind if kind in KINDS for item in self.store.list_page(KINDS[kind]).items]
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": items}).encode()
        for obj in decode_json(text, "the lab") or ():
            found.setdefault(Kind(obj.kind), []).append(obj)
        return Snapshot({k: tuple(v) for k, v in found.items()}, {k: (Known(),) for k in Kind})

    def rules(self, node: str, family: int, snapshot: Snapshot | None = None) -> str:
        """The rules of a node as kube-proxy would write them, with what a fault makes of them."""
        held = snapshot or self.snapshot
        write = nftables_rules if self.mode == "nftables" else iptables_rules
        own = next(n for n in NODES if n.name == node)
        text = write(held, node, self.settings[node], family, (own.ip4, own.ip6, own.gateway4, own.gateway6))
        change = self.changes.get(node)
        return change(held, family, text) if change is not None else text

    def program(self, node: str, family: int, text: str) -> None:
        """Load rules on a node unless they are there already."""
        if self._programmed.get((node, family)) != text:
            self.spaces.run(node, *restore_program(self.mode, family), stdin=text)
            self._programmed[node, family] = text

    def forget(self, node: str) -> None:
        """Take nothing for granted of a node's rules: the next sync loads them anew."""
        with self._working:
            for family in (4, 6):
                self._programmed.pop((node, family), None)

    # --- EndpointSlices

    def _slices(self) -> None:
        wanted = {s["metadata"]["namespace"] + "/" + s["metadata"]["name"]: s for s in self._wanted()}
        kind = KINDS["EndpointSlice"]
        held = {
            s["metadata"]["namespace"] + "/" + s["metadata"]["name"]: s
            for s in self.store.list_page(kind).items
            if s["metadata"].get("labels", {}).get("endpointslice.kubernetes.io/managed-by") == MANAGED_BY
        }
        for name, new in wanted.items():
            old = held.get(name)
            if old is None:
                self.store.create(new)
            elif (old.get("endpoints"), old.get("ports")) != (new["endpoints"], new["ports"]):
                self.store.update(new)
        for name in held.keys() - wanted.keys():
            self.store.delete(kind, *name.split("/"))

    def _wanted(self) -> list[Object]:
        pods = self.store.list_page(KINDS["Pod"]).items
        found = []
        for service in self.store.list_page(KINDS["Service"]).items:
            spec = service["spec"]
            name, namespace = service["metadata"]["name"], service["metadata"]["namespace"]
            if spec.get("type") == "ExternalName":
                continue
            if (namespace, name) == ("default", "kubernetes"):
                endpoint = {"addresses": [MASTER4], "conditions": {"ready": True}}
                ports = [{"name": "https", "port": API_PORT, "protocol": "TCP"}]
                found.append(_slice(service, "IPv4", 0, [endpoint], ports))
                continue
            selector = spec.get("selector")
            if not selector:
                continue
            chosen = [
                p
                for p in pods
                if p["metadata"]["namespace"] == namespace
                and selector.items() <= p["metadata"].get("labels", {}).items()
            ]
            for family in spec.get("ipFamilies") or ["IPv4"]:
                found += _of_family(service, family, chosen)
        return found


def _of_family(service: Object, family: str, pods: list[Object]) -> list[Object]:
    """The slices of one family: pods that resolve the ports alike are in one."""
    groups: dict[str, tuple[list[Object], list[Object]]] = {}
    for pod in pods:
        addresses = [
            i["ip"] for i in pod["status"].get("podIPs", ()) if (":" in i["ip"]) == (family == "IPv6")
        ]
        if not addresses:
            continue
        ports = [p for port in service["spec"].get("ports", ()) if (p := _resolved(port, pod)) is not None]
        ready = any(
            c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", ())
        )
        leaving = "deletionTimestamp" in pod["metadata"]
        unready = service["spec"].get("publishNotReadyAddresses", False)
        endpoint = {
            "addresses": addresses[:1],
            "conditions": {
                "ready": unready or (ready and not leaving),
                "serving": ready,
                "terminating": leaving,
            },
            "nodeName": pod["spec"].get("nodeName"),
            "targetRef": {
                "kind": "Pod",
                "name": pod["metadata"]["name"],
                "namespace": pod["metadata"]["namespace"],
            },
        }
        if pod["spec"].get("hostname") and pod["spec"].get("subdomain") == service["metadata"]["name"]:
            endpoint["hostname"] = pod["spec"]["hostname"]
        groups.setdefault(json.dumps(ports), (ports, []))[1].append(endpoint)
    if not groups:
        groups["[]"] = ([], [])
    return [
        _slice(service, family, n, sorted(endpoints, key=lambda e: str(e["addresses"])), ports)
        for n, (_, (ports, endpoints)) in enumerate(sorted(groups.items()))
    ]


def _resolved(port: Object, pod: Object) -> Object | None:
    target = port.get("targetPort", port["port"])
    if isinstance(target, str):
        numbers = [
            p["containerPort"]
            for c in pod["spec"]["containers"]
            for p in c.get("ports", ())
            if p.get("name") == target and p.get("protocol", "TCP") == port.get("protocol", "TCP")
        ]
        if not numbers:
            return None
        target = numbers[0]
    return {"name": port.get("name", ""), "port": target, "protocol": port.get("protocol", "TCP")}


def _slice(service: Object, family: str, number: int, endpoints: list[Object], ports: list[Object]) -> Object:
    name = service["metadata"]["name"]
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"{name}-{family.lower()}-{number}",
            "namespace": service["metadata"]["namespace"],
            "labels": {
                "kubernetes.io/service-name": name,
                "endpointslice.kubernetes.io/managed-by": MANAGED_BY,
            },
        },
        "addressType": family,
        "endpoints": endpoints,
        "ports": ports,
    }
