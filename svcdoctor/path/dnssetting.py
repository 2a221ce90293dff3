"""Who resolves names, and by what: the asking pod, its resolv.conf, the cluster's DNS Service, zones and records.

``setting`` reads all of it out of a view; what the objects cannot tell (a kubelet's own settings) is assumed as
kubeadm sets it and said to be.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from ipaddress import ip_address

from svcdoctor.dns.corefile import Corefile, kubernetes_zones
from svcdoctor.dns.corefile import parse as parse_corefile
from svcdoctor.dns.kubelet import pod_resolv_conf
from svcdoctor.dns.records import Records, records
from svcdoctor.dns.resolvconf import ResolvConf
from svcdoctor.model.base import Meta
from svcdoctor.model.cluster import ConfigMap
from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.model.facts import EVERYTHING, Kind, Scope
from svcdoctor.model.pod import Pod, PodSpec, PodStatus
from svcdoctor.model.service import Service
from svcdoctor.model.snapshot import Snapshot, canonical_or_none
from svcdoctor.path.endpoints import SERVICE_LABEL
from svcdoctor.path.names import DOMAIN
from svcdoctor.path.view import View

NAMESPACE = "kube-system"
_NAMES = ("kube-dns", "coredns", "rke2-coredns-rke2-coredns")


@dataclass(frozen=True, slots=True)
class NameQuestion:
    """What is asked: a name as it is typed, or a Service. ``pod`` is (namespace, name) of who asks.

    ``server`` is asked instead of the pod's nameservers.
    """

    name: str
    namespace: str
    service: tuple[str, str] | None = None
    pod: tuple[str, str] | None = None
    server: str = ""


@dataclass(frozen=True)
class Setting:
    """What a name is resolved with. ``conf`` is as kubelet would write it, unless it was read in the pod.

    ``corefile_problem`` says why the Corefile cannot be read as one.
    """

    question: NameQuestion
    snapshot: Snapshot
    pod: Pod
    dns: Service | None
    domain: str
    domain_from: str
    conf: ResolvConf
    corefile: Corefile | None
    corefile_problem: str = ""
    conf_read: bool = False

    @cached_property
    def records(self) -> Records:
        return records(self.snapshot, self.domain)

    @property
    def dns_ips(self) -> tuple[str, ...]:
        """The cluster addresses of the DNS Service; none where it is not known."""
        ips = self.dns.cluster_ips if self.dns is not None else ()
        return tuple(c for ip in ips if (c := canonical_or_none(ip)) is not None)

    def is_cluster_dns(self, nameserver: str) -> bool:
        """Whether queries to that address meet cluster DNS: its Service, one of its pods, or a node's cache for it.

        A server that was named instead is held against the cluster's records too.
        """
        ip = canonical_or_none(nameserver)
        if self.question.server:
            return True
        if ip is None:
            return nameserver == UNKNOWN_SERVER
        if ip in self.dns_ips:
            return True
        if ip_address(ip).is_link_local:
            return True
        return any(ip in pod.ips for pod in self.dns_pods)

    @property
    def dns_pods(self) -> tuple[Pod, ...]:
        """The pods behind the DNS Service, as far as they are held."""
        if self.dns is None:
            return ()
        return self.snapshot.select_pods(self.dns.namespace, self.dns.spec.selector or {})

    @property
    def dns_ready(self) -> bool:
        """Whether the DNS Service has a ready endpoint; true where that is not known."""
        if self.dns is None:
            return True
        slices = self.snapshot.slices(self.dns.namespace, self.dns.name)
        known = self.snapshot.knows(Kind.ENDPOINT_SLICE, _slices_of(self.dns))
        return not known or any(e.ready for s in slices for e in s.endpoints or ())

    @property
    def zones(self) -> tuple[str, ...]:
        """The zones of the Corefile's kubernetes plugin, reverse ones left out; none where it is not known."""
        if self.corefile is None:
            return ()
        return tuple(z for z in kubernetes_zones(self.corefile) if not z.endswith(".arpa"))

    def services_known(self, namespace: str) -> bool:
        """Whether all Services of the namespace are held."""
        return self.snapshot.knows(Kind.SERVICE, Scope(namespace))


UNKNOWN_SERVER = "cluster DNS"
"""Stands for the cluster DNS Service's address where that may not be read."""


def setting(view: View, question: NameQuestion, conf: ResolvConf | None = None) -> Setting:
    """The setting of a question; ``conf`` is the pod's own where it was read. Raises SvcdoctorError for no such pod."""
    view.complete(Kind.SERVICE, EVERYTHING)
    view.complete(Kind.SERVICE, Scope(question.namespace), required=True)
    dns = _dns_service(view)
    corefile, problem = _corefile(view)
    pod = _pod(view, question)
    domain, domain_from = _domain(conf, corefile, pod.namespace)
    conf_read = conf is not None
    if conf is None:
        ips = tuple(dns.cluster_ips[:1]) if dns is not None else ()  # kubeadm tells kubelet the first only
        conf = pod_resolv_conf(pod, ips or (UNKNOWN_SERVER,), domain, None)
    if dns is not None:
        view.complete(Kind.ENDPOINT_SLICE, _slices_of(dns))
    found = Setting(
        question, view.snapshot, pod, dns, domain, domain_from, conf, corefile, problem, conf_read
    )
    if not found.dns_ready and dns is not None:
        view.complete(Kind.POD, Scope(dns.namespace, tuple(sorted((dns.spec.selector or {}).items()))))
    return found


def _slices_of(service: Service) -> Scope:
    return Scope(service.namespace, ((SERVICE_LABEL, service.name),))


def _dns_service(view: View) -> Service | None:
    """The Service of cluster DNS: by its usual names, else what serves port 53 over UDP in kube-system."""
    if not view.complete(Kind.SERVICE, Scope(NAMESPACE)):
        view.complete(Kind.SERVICE, Scope(NAMESPACE, name=_NAMES[0]))
    for name in _NAMES:
        service = view.snapshot.service(NAMESPACE, name)
        if service is not None:
            return service
    for service in view.snapshot.services:
        if service.namespace == NAMESPACE and any(
            p.port == 53 and p.protocol == "UDP" for p in service.ports
        ):
            return service
    return None


def _corefile(view: View) -> tuple[Corefile | None, str]:
    view.complete(Kind.CONFIG_MAP, Scope(NAMESPACE, name="coredns"))
    found = view.snapshot.find(Kind.CONFIG_MAP, NAMESPACE, "coredns", ConfigMap)
    text = (found.data or {}).get("Corefile") if found is not None else None
    if not text:
        return None, ""
    try:
        return parse_corefile(text), ""
    except SvcdoctorError as e:
        return None, e.message


def _pod(view: View, question: NameQuestion) -> Pod:
    if question.pod is None:
        return Pod.of(Meta(namespace=question.namespace), PodSpec(), PodStatus())
    namespace, name = question.pod
    complete = view.complete(Kind.POD, Scope(namespace, name=name), required=True)
    pod = view.snapshot.pod(namespace, name)
    if pod is None:
        if complete:
            raise SvcdoctorError(f"--from pod/{namespace}/{name}: no such pod", 1)
        return Pod.of(Meta(namespace=namespace, name=name), PodSpec(), PodStatus())
    return pod


def _domain(conf: ResolvConf | None, corefile: Corefile | None, namespace: str) -> tuple[str, str]:
    """The cluster domain and how it is known: the pod's own search list, the Corefile, or the usual one."""
    prefix = f"{namespace}.svc."
    for entry in conf.search if conf is not None else ():
        if entry.startswith(prefix):
            return entry.removeprefix(prefix), "the pod's search list"
    zones = [z for z in kubernetes_zones(corefile) if not z.endswith(".arpa")] if corefile is not None else []
    if zones:
        return (DOMAIN if DOMAIN in zones else zones[0]), "the Corefile"
    return DOMAIN, "assumed: neither resolv.conf nor the Corefile was read"
