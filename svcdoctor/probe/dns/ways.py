"""The ways to ask: from here, through the tunnel, in a pod. Each ends in an ``Observed`` for the lookup.

What each proves differs, and is said: from here, what this place in the network meets; through the tunnel, what
CoreDNS answers but not that the pod can reach it; in the pod, what its applications meet.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from svcdoctor.dns.question import Question
from svcdoctor.dns.resolvconf import Libc, ResolvConf, parse
from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.model.lookup import Reply
from svcdoctor.model.pod import Pod
from svcdoctor.model.snapshot import canonical_or_none
from svcdoctor.path.dnssetting import UNKNOWN_SERVER, Setting
from svcdoctor.path.lookup import Observed, name_of
from svcdoctor.probe.dns.asking import Server
from svcdoctor.probe.dns.pod import NoPrograms, PodResolver
from svcdoctor.probe.dns.resolver import Asker
from svcdoctor.probe.dns.tunnel import PERMISSIONS, through_tunnel
from svcdoctor.sources.execnode import runner
from svcdoctor.sources.podexec import Container, Streams
from svcdoctor.sources.session import ApiSession

MOST = 24
"""Queries that are asked one by one in a pod, each by an exec."""

RESOLV_CONF = Path("/etc/resolv.conf")
_OF_A_POD = re.compile(r"([a-z0-9-]+)\.svc\.\S")


def own_conf() -> tuple[ResolvConf, str] | None:
    """This machine's resolv.conf where it is a pod's, and the pod's namespace; ``None`` on other machines."""
    try:
        conf = parse(RESOLV_CONF.read_text(errors="replace"))
    except OSError:
        return None
    found = _OF_A_POD.match(conf.search[0]) if conf.search else None
    return None if found is None else (conf, found[1])


def from_here(setting: Setting, conf: ResolvConf | None) -> Observed:
    """Ask the pod's nameservers, or those of ``conf``, from this process. Raises SvcdoctorError."""
    used = conf or setting.conf
    how = "asked from here" + (" (this is a pod)" if conf is not None else "")
    for nameserver in used.nameservers:
        if canonical_or_none(nameserver.partition("%")[0]) is None:
            raise SvcdoctorError(
                f"{UNKNOWN_SERVER}'s address is not known: name a server with --server IP", 3
            )
    return Observed(how, conf, None, Asker(used, Server).asking)


def of_server(setting: Setting, ip: str, port: int) -> Observed:
    """Ask one server from this process, in the place of the pod's."""
    server = Server(ip, port)
    asking = Asker(setting.conf, lambda _: server).asking
    return Observed(f"asked {server} from here", asking=asking, server=str(server))


def by_tunnel(setting: Setting, session: ApiSession) -> Observed:
    """Ask a ready pod of cluster DNS over TCP, through the API server. Raises SvcdoctorError."""
    dns = setting.dns
    if dns is None:
        raise SvcdoctorError(
            "--ask tunnel: no DNS Service is known in kube-system; see kubectl -n kube-system get svc", 3
        )
    slices = setting.snapshot.slices(dns.namespace, dns.name)
    pods = [
        e.target_ref.name
        for s in slices
        for e in s.endpoints or ()
        if e.ready and e.target_ref is not None and e.target_ref.kind == "Pod"
    ]
    if not pods:
        needed = PERMISSIONS.format(namespace=dns.namespace)
        raise SvcdoctorError(
            f"--ask tunnel: no ready pod is known behind Service {dns.namespace}/{dns.name}; it takes {needed}",
            3,
        )
    port = next((p.target for p in dns.ports if p.protocol == "TCP" and isinstance(p.target, int)), 53)
    server = through_tunnel(session, dns.namespace, sorted(pods)[0], port)
    how = f"asked {server.ip} over TCP, through the API server: what CoreDNS answers, not that the pod reaches it"
    return Observed(how, asking=Asker(setting.conf, lambda _: server).asking, server=server.ip)


def in_pod(setting: Setting, session: ApiSession, container: str = "") -> Observed:
    """Ask in the pod: its resolv.conf, its library, the whole name and then each name of the list by itself.

    ``container`` is tried alone where it is given. Raises NoPrograms where no container has cat, SvcdoctorError where
    nothing can be run.
    """
    pod = setting.pod
    streams = Streams()
    problem: SvcdoctorError = SvcdoctorError(f"pod {pod.namespace}/{pod.name}: no container of it runs", 3)
    for name in [container] if container else _running(pod):
        where = f"pod {pod.namespace}/{pod.name}, container {name}"
        resolver = PodResolver(runner(session, Container(pod.namespace, pod.name, name), streams), where)
        try:
            conf = resolver.conf()
        except NoPrograms as e:
            problem = e
            continue
        resolver.patience = 0.8 * conf.timeout
        libc = resolver.libc()
        whole = resolver.whole(name_of(setting))
        asking, how = None, f"asked in {where}"
        if whole is None:
            how += ": it has no getent, so only its resolv.conf was read"
        elif whole.error and whole.seconds >= resolver.patience:
            how += ": it waited in vain, and its names were not asked one by one"
        else:
            asking = _each(resolver)
        return Observed(how, conf, libc, asking, whole)
    raise problem


def _running(pod: Pod) -> list[str]:
    states = {c.name: c for c in pod.status.container_statuses or ()}
    names = [c.name for c in pod.serving_containers]
    return [n for n in names if n not in states or states[n].state.running is not None]


def _each(resolver: PodResolver) -> Callable[[Libc], Callable[[Question], Reply | None]]:
    """Each query by itself, once, as far as there are not too many."""
    replies: dict[tuple[str, str], Reply | None] = {}

    def ask(question: Question) -> Reply | None:
        key = (question.name, question.rtype)
        if key not in replies and len(replies) == MOST:
            return None
        if key not in replies:
            replies[key] = resolver.ask(question)
        return replies[key]

    return lambda libc: ask
