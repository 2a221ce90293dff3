"""The Service ``talk``: on each node a pod that gives, takes and talks for as long as its clients like."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from subprocess import Popen
from typing import Any

from proxy_lab import ProxyLab, ended, heard, told
from proxy_table import DEPLOYMENT, NODE4, NODE6, PODS, READY, cluster_ips, endpoint_slice

SERVICE, NUMBER, PORT, NODE_PORT = "svc/talk", 90, 9000, 31900
ADDRESS = {4: NODE4, 6: NODE6}


class Talk:
    """The Service and the programs of its pods, on a node without any Service rule."""

    def __init__(self, lab: ProxyLab) -> None:
        self.lab = lab
        self.servers: dict[str, Popen[str]] = {}
        self.pods = frozenset(PODS)
        for pod in PODS:
            self.start(pod)
        lab.create([service(), *slices(PODS)])

    def start(self, pod: str) -> None:
        self.servers[pod] = self.lab.python(f"pod/{DEPLOYMENT}-{pod}", "proxy_server.py", pod, str(PORT))
        stdout = self.servers[pod].stdout
        assert stdout is not None and stdout.readline() == "ready\n"

    def crash(self, pod: str) -> None:
        """Its program is killed; its connections are reset, and the next are refused."""
        ended(self.servers.pop(pod))

    def lead_to(self, pods: Iterable[str]) -> None:
        """From now on these are the endpoints."""
        self.pods = frozenset(pods)
        self.lab.put("replace", slices(self.pods))

    def mend(self) -> None:
        """As in the beginning."""
        for pod in PODS.keys() - self.servers.keys():
            self.start(pod)
        if self.pods != PODS.keys():
            self.lead_to(PODS)

    def met(self, count: int) -> frozenset[str]:
        """Whom so many new connections came to; they are closed again."""
        crowd = self.crowd(count)
        found = crowd.come()
        assert crowd.do("close") == {}
        return frozenset(found)

    def crowd(self, count: int, family: int = 4) -> Crowd:
        return Crowd(self.lab, count, family)

    def transfer(self, what: str, size: int, streams: int, family: int = 4) -> dict[str, Any]:
        """What ``give`` or ``take`` of ``proxy_client`` tells."""
        words = [what, ADDRESS[family], str(NODE_PORT), str(size), str(streams)]
        return dict(heard(self.lab.python("client", "proxy_client.py", *words)))


class Crowd:
    """Connections of the outside client, each to a pod."""

    def __init__(self, lab: ProxyLab, count: int, family: int = 4) -> None:
        words = ["crowd", ADDRESS[family], str(NODE_PORT), str(count)]
        self.program = lab.python("client", "proxy_client.py", *words)
        self.count = count

    def come(self) -> Counter[str]:
        """The pods of those that came in; all must."""
        said = heard(self.program)
        assert not said["failed"], said
        self.pods: Counter[str] = Counter(said["open"])
        assert self.pods.total() == self.count
        self.seconds = float(said["seconds"])
        return self.pods

    def do(self, what: str) -> dict[str, int]:
        """How many failed to, by the reason; from then on they are no longer of the crowd."""
        self.told(what)
        return self.done()

    def told(self, what: str) -> None:
        told(self.program, what)

    def done(self) -> dict[str, int]:
        said = heard(self.program)
        self.pods = Counter(said["open"])
        self.seconds = float(said["seconds"])
        return dict(said["failed"])


def service() -> dict[str, Any]:
    ports = [{"name": "talk", "port": PORT, "protocol": "TCP", "targetPort": PORT, "nodePort": NODE_PORT}]
    ips = cluster_ips(NUMBER)
    spec = {"type": "NodePort", "clusterIP": ips[0], "clusterIPs": ips, "ipFamilies": ["IPv4", "IPv6"]}
    spec |= {"ipFamilyPolicy": "PreferDualStack", "internalTrafficPolicy": "Cluster", "ports": ports}
    metadata = {"name": "talk", "namespace": "default"}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}


def slices(pods: Iterable[str]) -> Sequence[dict[str, Any]]:
    states = dict.fromkeys(pods, READY)
    return [endpoint_slice("talk", family, states, {"talk": (PORT, "TCP")}) for family in (4, 6)]
