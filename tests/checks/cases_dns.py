"""DNS: names as a pod asks for them, by the objects alone or with answers as nameservers would give them."""

import sys
from pathlib import Path

from codecases import ANSWERS, DNS, CodeCase
from mutations import made

from svcdoctor.dns.resolvconf import Libc, ResolvConf
from svcdoctor.model.lookup import Met, Reply
from svcdoctor.path.lookup import Observed

sys.path.insert(0, str(Path(__file__).parents[1] / "cli"))
from dns_world import COREFILE, cluster, pod, service, slice_of

FULL = "web.shop.svc.cluster.local"
OUTSIDE = "www.example.org"
RIGHT = {"A": ("10.96.7.7",), "AAAA": ("fd00:10:96::77",)}
SEARCH = ("shop.svc.cluster.local", "svc.cluster.local", "cluster.local")


def asked(name, *objects, by="asking", namespace="shop", observed=None, **world):
    """The answer to ``dns NAME --from pod/…``, or ``-n NAMESPACE`` where ``by`` is empty."""
    held = made(*cluster(*objects, **world))
    return lambda: held.ask_name(name, namespace, pod=by, observed=observed)


def answered(**data):
    """Nameservers that give right answers, but for these data; ``late`` is how long the first AAAA takes."""
    late = data.pop("late", None)
    replies = RIGHT | data

    def asking(libc):
        waiting = [late] if late else []

        def ask(question):
            seconds = waiting.pop() if waiting and question.rtype == "AAAA" else 0.001
            if seconds >= 5:
                return Reply(Met.TIMEOUT, (), 5.0, "UDP")
            if question.name != FULL:
                return Reply(Met.NXDOMAIN, (), seconds, "UDP")
            return Reply(Met.DATA, replies[question.rtype], seconds, "UDP")

        return ask

    return Observed("as told", libc=Libc.GLIBC, asking=asking)


def conf(nameserver):
    """The pod's own resolv.conf, and right answers."""
    seen = ResolvConf((nameserver,), SEARCH, ndots=5)
    return Observed("as told", seen, Libc.GLIBC, answered().asking)


def policy(*ports):
    spec = {"podSelector": {}, "policyTypes": ["Egress"], "egress": [{"ports": list(ports)}]}
    return {
        "kind": "NetworkPolicy",
        "apiVersion": "networking.k8s.io/v1",
        "metadata": {"name": "closed", "namespace": "shop"},
        "spec": spec,
    }


def on_node(**spec):
    return pod("shop", "host", "10.0.0.1", hostNetwork=True, **spec)


def searching(*domains):
    return pod("bank", "far", "10.0.0.1", dnsConfig={"searches": [*domains, "shop.svc.cluster.local"]})


def coredns(*ready):
    """CoreDNS pods, ready or not, and their slice."""
    pods = [
        pod("kube-system", f"coredns-{n}", f"10.244.0.{n}", r, {"k8s-app": "kube-dns"})
        for n, r in enumerate(ready, 1)
    ]
    ends = [(f"10.244.0.{n}", r, None) for n, r in enumerate(ready, 1)]
    return *pods, slice_of("kube-system", "kube-dns", *ends)


DATABASE = (
    service("shop", "db", "None", selector={"app": "db"}),
    slice_of("shop", "db", ("10.244.1.1", True, "db-0"), ("10.244.1.2", False, "db-1")),
)
HTTPS, DNS_UDP, DNS_TCP = {"port": 443}, {"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}
FORWARDS = "forward . /etc/resolv.conf"

CASES = [
    CodeCase(
        "DNS001", DNS,
        "web, which is in shop, from namespace bank", asked("web", by="", namespace="bank"),
        "web.shop from there", asked("web.shop", by="", namespace="bank"),
    ),
    CodeCase(
        "DNS002", DNS,
        "www.example.org with ndots:5", asked(OUTSIDE),
        "www.example.org. with its last dot", asked(f"{OUTSIDE}."),
    ),
    CodeCase(
        "DNS003", DNS,
        "web.shop.svc.cluster.local where the domain is corp.internal",
        asked(FULL, corefile=COREFILE.replace("cluster.local", "corp.internal")),
        "web.shop.svc there",
        asked("web.shop.svc", corefile=COREFILE.replace("cluster.local", "corp.internal")),
    ),
    CodeCase(
        "DNS004", DNS,
        "a hostNetwork pod with dnsPolicy ClusterFirst",
        asked("web", on_node(dnsPolicy="ClusterFirst"), by="host"),
        "it has ClusterFirstWithHostNet",
        asked("web", on_node(dnsPolicy="ClusterFirstWithHostNet"), by="host"),
    ),
    CodeCase(
        "DNS005", DNS,
        "neither of two CoreDNS pods is ready", asked("web", *coredns(False, False)),
        "one of the two is ready", asked("web", *coredns(False, True)),
    ),
    CodeCase(
        "DNS006", DNS,
        "a policy lets 443 out of the namespace, and not 53", asked("web", policy(HTTPS)),
        "it lets 53 out by UDP and TCP too", asked("web", policy(HTTPS, DNS_UDP, DNS_TCP)),
    ),
    CodeCase(
        "DNS007", ANSWERS,
        "the first AAAA query is lost, its repetition answered",
        asked(f"{FULL}.", observed=answered(late=5.0)),
        "it is answered after 2 s", asked(f"{FULL}.", observed=answered(late=2.0)),
    ),
    CodeCase(
        "DNS008", DNS,
        "33 search domains, and the 33rd would find it",
        asked("web", searching(*(f"t{n}" for n in range(29))), by="far", namespace="bank"),
        "32 search domains",
        asked("web", searching(*(f"t{n}" for n in range(28))), by="far", namespace="bank"),
    ),
    CodeCase(
        "DNS009", DNS,
        "CoreDNS forwards to its own Service's address",
        asked(OUTSIDE, corefile=COREFILE.replace(FORWARDS, "forward . 10.96.0.10")),
        "it forwards to 10.96.0.100",
        asked(OUTSIDE, corefile=COREFILE.replace(FORWARDS, "forward . 10.96.0.100")),
    ),
    CodeCase(
        "DNS010", ANSWERS,
        "the pod's nameserver is 10.96.0.99, the DNS Service's address 10.96.0.10",
        asked("web", observed=conf("10.96.0.99")),
        "it is 169.254.20.10, a cache on the node", asked("web", observed=conf("169.254.20.10")),
    ),
    CodeCase(
        "DNS011", DNS,
        "db-1.db, a pod of a headless Service that is not ready", asked("db-1.db", *DATABASE),
        "db-0.db, which is ready", asked("db-0.db", *DATABASE),
    ),
    CodeCase(
        "DNS012", ANSWERS,
        "A is answered 10.96.9.9, the Service has 10.96.7.7",
        asked(f"{FULL}.", observed=answered(A=("10.96.9.9",))),
        "it is answered 10.96.7.7", asked(f"{FULL}.", observed=answered()),
    ),
]  # fmt: skip
