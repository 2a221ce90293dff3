"""What the benchmark of proxies compares: the ways from a client to a server, in network namespaces.

client --- relay --- server     haproxy, nginx, socat and svcdoctor's workers
client --- node --- server      kernel mode; apart, for its rules make the kernel track connections
client --- hand --- server      the fewest rules that do the same, written by hand
client --- router --- server    no rules at all: what the other machine on the way costs
client ------------- server     direct
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "proxy" / "serving"))

from relay import ORIGIN
from working import WorkerProcess

from svcdoctor.lab.net.spaces import Spaces
from svcdoctor.proxy.kernel.compile import compiled
from svcdoctor.proxy.kernel.layout import Site
from svcdoctor.proxy.serving.served import Backend, Listen, ServedPort

LINKS = [
    *(("client", "relay", 1), ("relay", "server", 2), ("client", "server", 3)),
    *(("client", "node", 4), ("node", "server", 5)),
    *(("client", "hand", 6), ("hand", "server", 7)),
    *(("client", "router", 8), ("router", "server", 9)),
]
SERVER = {"bulk": 5201, "web": 8080, "late": 7000, "udp": 7001}
"""The server's ports by what they are for."""

RELAY, NODE, HAND, ROUTED, DIRECT = "10.1.0.2", "10.4.0.2", "10.6.0.2", "10.9.0.2", "10.3.0.2"
STREAM_MODULE = Path("/usr/lib/nginx/modules/ngx_stream_module.so")

HAPROXY = """
global
  nbthread {workers}
  maxconn 4000
{more}
defaults
  mode tcp
  timeout connect 5s
  timeout client 60s
  timeout server 60s
{options}
"""
PIPES = "  tune.pipesize 1048576"
SPLICE = "  option splice-request\n  option splice-response"
NGINX = """
{module}
worker_processes {workers};
worker_rlimit_nofile 8192;
daemon off;
user root;
pid {folder}/nginx{workers}.pid;
error_log stderr crit;
events {{ worker_connections 4096; }}
stream {{
{servers}
}}
"""
HAND_TABLE = """
table ip hand {{
  chain before {{
    type nat hook prerouting priority dstnat;
    {rules}
  }}
  chain after {{
    type nat hook postrouting priority srcnat;
    masquerade
  }}
}}
"""


@dataclass(slots=True)
class Way:
    """``ports`` of ``host`` by what they are for; ``processes`` are those that carry, and their children."""

    name: str
    host: str
    ports: dict[str, int]
    workers: int = 1
    processes: list[int] = field(default_factory=list)

    def cpu(self) -> float:
        """Seconds of CPU that its processes have used, and those that have ended among their children."""
        ticks = sum(sum(map(int, _stat(pid)[11:15])) for pid in self._all())
        return ticks / os.sysconf("SC_CLK_TCK")

    def memory(self) -> float:
        """MiB that its processes hold for themselves."""
        return sum(_own_memory(pid) for pid in self._all())

    def _all(self) -> Iterator[int]:
        waiting = list(self.processes)
        while waiting:
            pid = waiting.pop()
            yield pid
            with suppress(OSError):  # it may have just ended
                waiting += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())


def _stat(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:  # it has just ended: its parent counts it
        return ["0"] * 20


def _own_memory(pid: int) -> float:
    try:
        found = re.search(r"Pss_Anon:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text())
    except OSError:
        return 0.0
    return int(found[1]) / 1024 if found else 0.0


class World:
    """The namespaces, the server, and all ways, running. ``folder`` takes configurations."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.spaces = Spaces({})
        self.ways: dict[str, Way] = {}
        self._workers: list[WorkerProcess] = []
        self.udpload = str(folder / "udpload")
        source = Path(__file__).with_name("udpload.c")
        subprocess.run(["gcc", "-O2", "-o", self.udpload, source], check=True)
        self._build()
        self._serve()
        self._add(Way("direct", DIRECT, SERVER))
        for workers in (1, 2):
            self._haproxy(f"haproxy {workers}", workers, "", "")
            self._haproxy(f"haproxy tuned {workers}", workers, PIPES, SPLICE)
            self._nginx(workers)
            self._svcdoctor(workers)
        self._socat()
        self._kernel()
        self._by_hand()
        self._add(Way("routed", ROUTED, SERVER))

    def close(self) -> None:
        for worker in self._workers:
            worker.close()

    def _build(self) -> None:
        spaces = self.spaces
        for name in ("client", "relay", "node", "hand", "router", "server"):
            spaces.add(name)
            spaces.run(name, "ip", "link", "set", "lo", "up")
        for left, right, net in LINKS:
            spaces.batch(
                left,
                f"link add to-{right} type veth peer name to-{left} netns {spaces.pid(right)}",
                f"link set to-{right} up",
                f"addr add 10.{net}.0.1/24 dev to-{right}",
            )
            spaces.batch(right, f"link set to-{left} up", f"addr add 10.{net}.0.2/24 dev to-{left}")
        for name in ("client", "relay", "node", "hand"):
            spaces.run(name, "sysctl", "-qw", "net.ipv4.ip_local_port_range=1024 65000")
        for name in ("node", "hand", "router"):
            spaces.run(name, "sysctl", "-qw", "net.ipv4.ip_forward=1")
        spaces.run("client", "ip", "route", "add", "10.9.0.0/24", "via", "10.8.0.2")
        spaces.run("server", "ip", "route", "add", "10.8.0.0/24", "via", "10.9.0.1")

    def _serve(self) -> None:
        self._configured("server", "origin", ORIGIN, "haproxy", "-db", "-q", "-f")
        self.spaces.start("server", "sh", "-c", "exec iperf3 -s >/dev/null 2>&1")
        late = str(Path(__file__).with_name("proxyload.py"))
        self.spaces.start("server", sys.executable, late, "late", str(SERVER["late"]))
        self.spaces.start("server", self.udpload, "serve", str(SERVER["udp"]))

    def _configured(self, where: str, name: str, text: str, *words: str) -> int:
        file = self.folder / f"{name.replace(' ', '-')}.conf"
        file.write_text(text)
        return self.spaces.start(where, *words, str(file)).pid

    def _add(self, way: Way) -> Way:
        self.ways[way.name] = way
        return way

    def _next(self, name: str, host: str, workers: int = 1) -> Way:
        """A way with ports of its own."""
        first = 10000 + 100 * len(self.ways)
        return self._add(Way(name, host, {what: first + n for n, what in enumerate(SERVER)}, workers))

    def _haproxy(self, name: str, workers: int, more: str, options: str) -> None:
        way = self._next(name, RELAY, workers)
        del way.ports["udp"]
        listens = (
            f"listen {what}\n  bind 0.0.0.0:{port}\n  server s 10.2.0.2:{SERVER[what]}\n"
            for what, port in way.ports.items()
        )
        text = HAPROXY.format(workers=workers, more=more, options=options) + "".join(listens)
        way.processes = [self._configured("relay", name, text, "haproxy", "-db", "-q", "-f")]

    def _nginx(self, workers: int) -> None:
        way = self._next(f"nginx {workers}", RELAY, workers)
        servers = (
            f"server {{ listen {port}{' udp reuseport' if what == 'udp' else ' backlog=4096'}; "
            f"proxy_pass 10.2.0.2:{SERVER[what]}; }}"
            for what, port in way.ports.items()
        )
        module = f"load_module {STREAM_MODULE};" if STREAM_MODULE.exists() else ""
        text = NGINX.format(module=module, workers=workers, folder=self.folder, servers="\n".join(servers))
        way.processes = [
            self._configured("relay", way.name, text, "nginx", "-p", str(self.folder), "-e", "stderr", "-c")
        ]

    def _socat(self) -> None:
        way = self._next("socat", RELAY)
        for what, port in way.ports.items():
            kind, more = ("UDP4", "") if what == "udp" else ("TCP4", ",backlog=4096,nodelay")
            to = f"{kind}:10.2.0.2:{SERVER[what]}{more.removeprefix(',backlog=4096')}"
            words = ["socat", "-lf", "/dev/null", f"{kind}-LISTEN:{port},fork,reuseaddr{more}", to]
            way.processes.append(self.spaces.start("relay", *words).pid)

    def _svcdoctor(self, workers: int) -> None:
        way = self._next(f"svcdoctor {workers}", RELAY, workers)
        ports = [_served(what, port, "10.2.0.2", "clusterIP", RELAY) for what, port in way.ports.items()]
        for _ in range(workers):
            worker = WorkerProcess(tuple(self.spaces.command("relay", [])))
            worker.control.put(*ports)
            assert not worker.control.failures, worker.control.failures
            self._workers.append(worker)
            way.processes.append(worker.process.pid)

    def _kernel(self) -> None:
        way = self._next("kernel", NODE)
        ports = (_served(what, port, "10.5.0.2", "nodePort", "0.0.0.0") for what, port in way.ports.items())
        self.spaces.run("node", "nft", "-f", "-", stdin=compiled(ports, Site()).text)

    def _by_hand(self) -> None:
        way = self._next("by hand", HAND)
        rules = (
            f"{'udp' if what == 'udp' else 'tcp'} dport {port} dnat to 10.7.0.2:{SERVER[what]}"
            for what, port in way.ports.items()
        )
        text = HAND_TABLE.format(rules="\n    ".join(rules))
        self.spaces.run("hand", "nft", "-f", "-", stdin=text)


def _served(what: str, port: int, server: str, kind: str, ip: str) -> ServedPort:
    protocol = "UDP" if what == "udp" else "TCP"
    return ServedPort(
        f"bench/{what}:{port}/{protocol}/4",
        protocol,
        (Listen(ip, port, kind),),
        (Backend(server, SERVER[what], f"bench/{what}", "node"),),
        (),
        has_endpoints=True,
    )
