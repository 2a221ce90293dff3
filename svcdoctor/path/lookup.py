"""A name as one client resolves it: the queries in order, what each must be answered, and what it meets.

Theory. The objects say what every name in the cluster domain must be answered; about names outside they say nothing.
Where nobody was asked, what a query meets is predicted from that and from what keeps queries from an answer: no ready
endpoint, a policy, another zone in the Corefile, a nameserver that is not the cluster's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from svcdoctor.dns import expansion
from svcdoctor.dns.expansion import Question, Status
from svcdoctor.dns.records import service_records
from svcdoctor.dns.resolvconf import Libc, ResolvConf
from svcdoctor.model.facts import Kind, Scope
from svcdoctor.model.lookup import ANSWERS, Met, Query, Reply, Resolution, Whole
from svcdoctor.model.service import Service
from svcdoctor.model.snapshot import canonical_or_none
from svcdoctor.path.dnssetting import NAMESPACE, Setting
from svcdoctor.path.endpoints import SERVICE_LABEL
from svcdoctor.path.policies import Blocked, blocked
from svcdoctor.path.view import View

PORT = 53
_RECORDS = ("CNAME", "A", "AAAA", "SRV", "PTR")
MOST_RECORDS = 40
"""Records of a Service that are listed and asked for: a headless one may have thousands."""


@dataclass(frozen=True)
class Observed:
    """What was seen: ``how`` in words, the pod's own resolv.conf and library, and who answers a query.

    ``asking`` begins one library's lookup: what it returns sends each query, or says ``None`` where it cannot tell.
    A lookup that was begun before is told the same again. ``server`` is who was asked in the place of all nameservers.
    """

    how: str
    conf: ResolvConf | None = None
    libc: Libc | None = None
    asking: Callable[[Libc], Callable[[Question], Reply | None]] | None = None
    whole: Whole | None = None
    server: str = ""


def types_of(name: str) -> tuple[str, ...]:
    """The types that a name is asked for: addresses, unless it is an SRV record's or an address's own."""
    if name.startswith("_"):
        return ("SRV",)
    return ("PTR",) if name.rstrip(".").endswith((".in-addr.arpa", ".ip6.arpa")) else ("A", "AAAA")


def name_of(setting: Setting) -> str:
    """What the client's program asks for: the name as typed, or the Service's shortest right one."""
    question = setting.question
    if question.service is None:
        return question.name
    namespace, name = question.service
    return name if namespace == setting.pod.namespace else f"{name}.{namespace}"


def meant(setting: Setting) -> Service | None:
    """The existing Service that the name means to the client, whichever cluster domain it is written with."""
    find = setting.snapshot.service
    name = name_of(setting).rstrip(".")
    head, svc, _ = f"{name}.".partition(".svc.")
    labels = (head if svc else name).split(".")
    if len(labels) == 1:
        return find(setting.pod.namespace, labels[0])
    return find(labels[-1], labels[-2]) or find(setting.pod.namespace, labels[-1])


def is_outside(view: View, setting: Setting) -> bool:
    """Whether the name is none of the cluster's: it means no Service, and ends with neither the cluster domain nor the
    name of a namespace. Names of one label are never outside."""
    name = name_of(setting).rstrip(".")
    if meant(setting) is not None or setting.records.inside(name) or "." not in name:
        return False
    last = name.partition(".svc")[0].rpartition(".")[2]
    scope = Scope(name=last)
    held = view.snapshot
    if not held.knows(Kind.NAMESPACE, scope) and held.why_unknown(Kind.NAMESPACE, scope) is None:
        view.complete(Kind.NAMESPACE, scope)
    return held.namespace(last) is None and not any(s.namespace == last for s in held.services)


def need_headless(view: View, setting: Setting, names: set[str]) -> None:
    """Notes what the records of the headless Services among these absolute names are made of."""
    for service in view.snapshot.services:
        base = f"{service.name}.{service.namespace}.svc.{setting.domain}"
        if service.headless and any(n == base or n.endswith(f".{base}") for n in names):
            view.complete(Kind.ENDPOINT_SLICE, Scope(service.namespace, ((SERVICE_LABEL, service.name),)))


def expected(setting: Setting, name: str, rtype: str) -> Reply:
    """What the objects demand as the answer to an absolute name."""
    held = setting.records
    if not (held.inside(name) or name.endswith(".arpa")):
        if "." not in name:
            return Reply(Met.NXDOMAIN, detail="no name outside has one label only")
        return Reply(Met.OUTSIDE, detail="not a name of the cluster")
    labels = name.removesuffix(setting.domain).rstrip(".").split(".")
    if labels[-1] == "pod" and len(labels) >= 2:
        return _pod_name(setting, labels, rtype)
    alias = held.get(name, "CNAME")
    if alias and rtype != "CNAME":
        return Reply(Met.DATA, tuple(f"CNAME {a}" for a in alias))
    data = held.get(name, rtype)
    if data:
        return Reply(Met.DATA, data)
    if name.endswith(".arpa"):
        return Reply(Met.OUTSIDE, detail="no Service has that address")
    if labels[-1] == "svc" and len(labels) >= 3 and not setting.services_known(labels[-2]):
        return Reply(Met.OUTSIDE, detail=f"the Services of namespace {labels[-2]} may not be read")
    if held.exists(name):
        return Reply(Met.NODATA)
    return Reply(Met.NXDOMAIN, detail=_missing(setting, labels))


def _pod_name(setting: Setting, labels: list[str], rtype: str) -> Reply:
    """``10-244-1-5.default.pod``: what the kubernetes plugin's option ``pods`` makes of it."""
    ip = canonical_or_none(labels[0].replace("-", ".")) or canonical_or_none(labels[0].replace("-", ":"))
    if ip is None or len(labels) != 3:
        return Reply(Met.NXDOMAIN, detail="no pod's name")
    mode = _pods_option(setting)
    if mode == "insecure":
        fits = (":" in ip) == (rtype == "AAAA")
        return Reply(Met.DATA, (ip,)) if fits else Reply(Met.NODATA)
    if mode == "disabled":
        return Reply(Met.NXDOMAIN, detail="the Corefile serves no names of pods (pods disabled)")
    return Reply(Met.OUTSIDE, detail="it depends on the kubernetes plugin's option pods")


def _pods_option(setting: Setting) -> str:
    for server in setting.corefile.servers if setting.corefile is not None else ():
        for plugin in server.all("kubernetes"):
            options = [d for d in plugin.block if d.name == "pods"]
            return options[-1].arguments[0] if options and options[-1].arguments else "disabled"
    return ""


def _missing(setting: Setting, labels: list[str]) -> str:
    """Which object there would have to be."""
    if labels[-1] != "svc" or len(labels) < 3:
        return "no such name in the cluster domain"
    namespace, service = labels[-2], labels[-3]
    if setting.snapshot.service(namespace, service) is None:
        return f"no Service {service} in namespace {namespace}"
    return f"Service {namespace}/{service} has no such record"


def predicted(view: View, setting: Setting, question: Question) -> Reply:
    """What the query would meet, by the objects alone."""
    should = expected(setting, question.name, question.rtype)
    if not setting.is_cluster_dns(question.nameserver):
        if should.met is Met.OUTSIDE:
            return should
        return Reply(Met.NXDOMAIN, detail=f"{question.nameserver} is not the cluster's DNS")
    if not setting.dns_ready:
        return Reply(Met.UNREACHABLE, detail="no endpoint of cluster DNS is ready")
    block = dns_blocked(view, setting, "TCP" if question.tcp else "UDP")
    if block is not None:
        names = ", ".join(p.name for p in block.policies)
        return Reply(Met.TIMEOUT, detail=f"NetworkPolicy {names} does not allow it")
    if should.met in ANSWERS and setting.zones and setting.domain not in setting.zones:
        return Reply(Met.NXDOMAIN, detail=f"the Corefile has no zone {setting.domain}")
    return should


def policy_scopes(namespace: str) -> tuple[Scope, ...]:
    """Where policies are that may come between a pod of the namespace and cluster DNS."""
    return tuple(Scope(n) for n in dict.fromkeys((namespace, NAMESPACE)))


def dns_blocked(view: View, setting: Setting, protocol: str) -> Blocked | None:
    """The policies that keep the asking pod from every pod of cluster DNS; ``None`` where one may be reached."""
    if setting.dns is None or setting.question.pod is None or not setting.pod.name:
        return None
    if not all(view.complete(Kind.NETWORK_POLICY, scope) for scope in policy_scopes(setting.pod.namespace)):
        return None
    if not view.snapshot.of(Kind.NETWORK_POLICY):
        return None
    selector = tuple(sorted((setting.dns.spec.selector or {}).items()))
    if not view.complete(Kind.POD, Scope(setting.dns.namespace, selector)):
        return None
    found = None
    family = 6 if ":" in next(iter(setting.dns_ips), "") else 4
    for pod in setting.dns_pods:
        found = blocked(view, setting.pod, pod, _target_port(setting, protocol), protocol, family)
        if found is None:
            return None
    return found


def _target_port(setting: Setting, protocol: str) -> int:
    ports = setting.dns.ports if setting.dns is not None else ()
    target = next((p.target for p in ports if p.protocol == protocol), PORT)
    return target if isinstance(target, int) else PORT


def resolution(view: View, setting: Setting, libc: Libc, observed: Observed | None) -> Resolution:
    """The queries that the library sends, in order, and what its caller gets."""
    name = name_of(setting)
    outside = is_outside(view, setting)
    replies: list[Reply] = []
    ask = observed.asking(libc) if observed is not None and observed.asking is not None else None

    def answer(question: Question) -> expansion.Reply:
        reply = ask(question) if ask is not None else None
        if reply is None:
            reply = predicted(view, setting, question)
        replies.append(reply)
        return _for_library(reply, question, name, outside)

    walked = expansion.walk(name, setting.conf, libc, answer, types_of(name))
    queries = tuple(
        _query(setting, question, reply) for question, reply in zip(walked.sent, replies, strict=True)
    )
    addresses = tuple(a for a in walked.addresses if a != _SOMEWHERE)
    return Resolution(str(libc), queries, addresses, walked.name, walked.error, walked.waited)


def record_queries(setting: Setting, observed: Observed | None) -> tuple[Query, ...]:
    """The records that the asked Service must have, and what each is answered where somebody was asked."""
    service = setting.snapshot.service(*setting.question.service) if setting.question.service else None
    if service is None:
        return ()
    ask = observed.asking(Libc.GLIBC) if observed is not None and observed.asking is not None else None
    server = setting.conf.nameservers[0] if setting.conf.nameservers else ""
    found: list[Query] = []
    demanded = service_records(setting.snapshot, service, setting.domain).data
    for (name, rtype), data in sorted(demanded.items(), key=lambda r: _RECORDS.index(r[0][1]))[:MOST_RECORDS]:
        question = Question(name, rtype, server, len(found))
        should = Reply(Met.DATA, tuple(f"CNAME {d}" for d in data) if rtype == "CNAME" else data)
        reply = ask(question) if ask is not None else None
        if ask is not None and reply is None:
            continue  # what was seen and what was not do not belong into one list
        found.append(_query(setting, question, reply or should, should))
    return tuple(found)


def _query(setting: Setting, question: Question, reply: Reply, should: Reply | None = None) -> Query:
    should = should or expected(setting, question.name, question.rtype)
    wrong = reply.seconds is not None and is_wrong(setting, should, reply, question)
    return Query(question.name, question.rtype, question.nameserver, question.step, reply, should, wrong)


_STATUS = {
    Met.DATA: Status.DATA,
    Met.NODATA: Status.NODATA,
    Met.NXDOMAIN: Status.NXDOMAIN,
    Met.SERVFAIL: Status.SERVFAIL,
    Met.NOTHING: Status.NXDOMAIN,
    Met.REFUSED: Status.REFUSED,
    Met.UNREACHABLE: Status.UNREACHABLE,
    Met.TIMEOUT: Status.TIMEOUT,
    Met.GARBLED: Status.TIMEOUT,  # it is not taken for an answer, and waited past
}


_SOMEWHERE = "somewhere outside"


def _for_library(reply: Reply, question: Question, name: str, outside: bool) -> expansion.Reply:
    if reply.met is Met.OUTSIDE:
        # A name that a search domain made is taken not to exist outside; the name itself is taken to exist there,
        # unless it means a Service.
        as_typed = outside and question.name == name.rstrip(".").lower()
        return expansion.Reply(Status.DATA, (_SOMEWHERE,)) if as_typed else expansion.Reply(Status.NXDOMAIN)
    if question.rtype not in ("A", "AAAA"):
        return expansion.Reply(_STATUS[reply.met], reply.addresses)
    addresses = tuple(a for a in reply.addresses if canonical_or_none(a) is not None)
    if reply.met is Met.DATA and reply.seconds is None and reply.aliases:
        addresses = (_SOMEWHERE,)  # predicted: where the alias leads is outside
    return expansion.Reply(_STATUS[reply.met], addresses)


def is_wrong(setting: Setting, should: Reply, got: Reply, question: Question) -> bool:
    """Whether an answer contradicts the objects; failures are no answers."""
    if got.met is Met.NOTHING:
        return should.met is Met.DATA and setting.is_cluster_dns(question.nameserver)
    if got.met not in ANSWERS or should.met not in ANSWERS or not setting.is_cluster_dns(question.nameserver):
        return False
    if should.met is Met.DATA:
        if should.aliases:  # what the alias leads to is outside
            wanted = {a.rstrip(".").lower() for a in should.aliases}
            return not got.addresses and not wanted & {a.lower() for a in got.aliases}
        return got.met is not Met.DATA or set(map(_plain, should.addresses)) != set(
            map(_plain, got.addresses)
        )
    if got.met is Met.DATA:
        return not got.aliases  # plugins such as autopath and rewrite answer with an alias
    return should.met is Met.NODATA and got.met is Met.NXDOMAIN


def _plain(data: str) -> str:
    return canonical_or_none(data) or data.lower().rstrip(".")
