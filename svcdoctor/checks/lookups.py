"""``lookup``: a name's queries and findings together, the one answer that ``svcdoctor dns`` renders.

Theory. The lookup is made as often as facts are refilled; what was observed is kept, so nothing is asked of a
nameserver twice. Without an observation it is the prediction of the same lookup.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

# Importing the families registers their checks, in the order in which root causes are looked for.
from svcdoctor.checks import dns, dnsserver, selection  # noqa: F401
from svcdoctor.checks.diagnose import ROUNDS, Source
from svcdoctor.checks.namecase import NAME_CHECKS, NameCase
from svcdoctor.checks.registry import REGISTRY, Raised, kept, listed
from svcdoctor.cluster.nearmiss import near_names
from svcdoctor.dns.resolvconf import Libc, ResolvConf, options_of
from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.model.facts import Kind, Scope
from svcdoctor.model.finding import Finding, Severity
from svcdoctor.model.lookup import ANSWERS, Lookup, Met, Resolution, Resolver
from svcdoctor.model.snapshot import Snapshot
from svcdoctor.model.trace import Basis, Verdict
from svcdoctor.path.dnssetting import NameQuestion, Setting, setting
from svcdoctor.path.lookup import Observed, name_of, need_headless, policy_scopes, record_queries, resolution
from svcdoctor.path.view import View

# In which order causes are looked for: where queries go at all, who answers, what is asked, what is answered.
ORDER = (
    "DNS004", "DNS010", "DNS006", "DNS009", "DNS005", "DNS003", "DNS008", "DNS001", "DNS011", "OBJ001", "DNS012",
    "DNS007", "DNS002",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Looked:
    """An answer, what it was made with, and the facts that the source gave for it."""

    lookup: Lookup
    setting: Setting
    snapshot: Snapshot


def lookup(
    source: Source, question: NameQuestion, observed: Observed | None = None, snapshot: Snapshot | None = None
) -> Looked:
    """The answer to a question, with its findings, root cause first. Raises SvcdoctorError."""
    held = source.snapshot() if snapshot is None else snapshot
    for _ in range(ROUNDS):
        view = View(held)
        found = once(view, question, observed)
        if not view.needs:
            break
        refilled = source.refill(held, view.needs)
        if refilled is held:
            break
        held = refilled
    return Looked(found[0], found[1], held)


def once(view: View, question: NameQuestion, observed: Observed | None) -> tuple[Lookup, Setting]:
    """The answer from what the view's Snapshot holds; what it lacked is in the view's needs."""
    for scope in policy_scopes(question.pod[0]) if question.pod is not None else ():
        view.complete(Kind.NETWORK_POLICY, scope)
    if observed is not None and observed.server:
        question = replace(question, server=observed.server)
    written = setting(view, question)
    held = (
        setting(view, question, observed.conf)
        if observed is not None and observed.conf is not None
        else written
    )
    if question.server:
        held = replace(held, conf=replace(held.conf, nameservers=(question.server,)))
    if question.service is not None and held.snapshot.service(*question.service) is None:
        namespace, name = question.service
        if view.complete(Kind.SERVICE, Scope(namespace, name=name), required=True):
            raise SvcdoctorError(f"no Service {name} in namespace {namespace}", 1)
    libraries = _libraries(observed)
    resolutions = tuple(resolution(view, held, libc, observed) for libc in libraries)
    need_headless(view, held, {q.name for r in resolutions for q in r.queries})
    records = record_queries(held, observed)
    case = NameCase(view, held, resolutions, records, written.conf, observed)
    findings = _findings(case)
    for fact, reason, grant in _unsure(case):
        view.lacks(fact, reason, grant, required=True)
    pod = held.pod
    return (
        Lookup(
            _verdict(case, findings, view),
            name_of(held),
            pod.namespace,
            f"{pod.namespace}/{pod.name}" if pod.name else "",
            held.domain,
            Basis.OBSERVED if case.asked or (observed and observed.whole) else Basis.OBJECTS,
            observed.how if observed is not None else "",
            _resolver(written, observed),
            resolutions,
            records,
            observed.whole if observed is not None else None,
            findings,
            view.missing,
            tuple(_notes(case, findings)),
        ),
        held,
    )


def exit_code(answer: Lookup, fail_on: str) -> int:
    """1 from severity ``fail_on`` on, or where the name is not found (it wins over 3), 3 when undetermined, else 0."""
    if fail_on != "never":
        worst = {Severity.ERROR} if fail_on == "error" else {Severity.ERROR, Severity.WARNING}
        if answer.verdict is Verdict.BROKEN or any(f.severity in worst for f in answer.findings):
            return 1
    return 3 if answer.verdict is Verdict.UNKNOWN else 0


def _libraries(observed: Observed | None) -> tuple[Libc, ...]:
    """The pod's library where it is known, else both: glibc's is the one that decides."""
    if observed is not None and observed.libc is not None:
        return (observed.libc,)
    return (Libc.GLIBC, Libc.MUSL)


def _resolver(written: Setting, observed: Observed | None) -> Resolver:
    conf: ResolvConf = written.conf
    if observed is not None and observed.conf is not None:
        conf, basis, source = observed.conf, Basis.OBSERVED, observed.how
    else:
        basis, source = Basis.OBJECTS, "as kubelet would write it"
    return Resolver(basis, conf.nameservers, conf.search, options_of(conf), source, conf.ignored)


def _findings(case: NameCase) -> tuple[Finding, ...]:
    """What the checks find, the root cause first; what a cause explains is left out, whoever it is about."""
    raised: list[tuple[str, Raised]] = []
    for code in ORDER:
        run = NAME_CHECKS.get(code, _no_such_name)
        raised += [(code, r) for r in run(case)]
    serious = [code for code, r in raised if (r.severity or REGISTRY[code].severity) is not Severity.INFO]
    explained = {e for code in serious for e in REGISTRY[code].explains}
    return kept((REGISTRY[code], r) for code, r in raised if code not in explained)


def _no_such_name(case: NameCase) -> Iterator[Raised]:
    """OBJ001: the answer is right, and there is no such Service."""
    asked = case.first.queries
    if not case.failed or case.meant is not None or case.is_outside or not asked:
        return
    if any(q.reply.met not in ANSWERS or q.wrong for q in asked if q.expected.met in ANSWERS):
        return
    if any(s.name == case.name for s in case.setting.snapshot.services):
        return  # DNS001
    namespace = case.setting.pod.namespace
    labels = case.name.partition(".svc.")[0].split(".")
    services = case.setting.snapshot.services
    where = labels[-1] if len(labels) > 1 else namespace
    name = labels[-2] if len(labels) > 1 else labels[0]
    near = near_names(name, (s.name for s in services if s.namespace == where))
    elsewhere = sorted({s.namespace for s in services if s.name == name})
    evidence = [f"there is no Service {name} in namespace {where}"]
    if near:
        evidence.append(f"near names there: {listed(near)}")
    if elsewhere:
        evidence.append(f"the same name exists in namespace {listed(elsewhere)}")
    better = f"{near[0]}.{where}" if near else f"{name}.{elsewhere[0]}" if elsewhere else ""
    yield Raised(
        (f"Service/{where}/{name}", case.client),
        tuple(evidence),
        "The answer NXDOMAIN is right: no object makes that name.",
        f"use the name {better}" if better else f"kubectl get svc -A | grep {name}",
    )


def _unsure(case: NameCase) -> Iterator[tuple[str, str, str]]:
    """What keeps the verdict from being determined."""
    if (
        not case.failed
        and case.observed is None
        and any(q.reply.met is Met.OUTSIDE and q.name == case.name for q in case.first.queries)
    ):
        detail = next(q.reply.detail for q in case.first.queries if q.name == case.name)
        ask = "svcdoctor dns NAME --from pod/NAME --ask exec, or --server IP"
        yield f"answer for {case.name}", detail, ask


def _verdict(case: NameCase, findings: tuple[Finding, ...], view: View) -> Verdict:
    severities = {f.severity for f in findings}
    if case.failed or Severity.ERROR in severities:
        return Verdict.BROKEN
    if view.lacks_required and not case.asked and not (case.observed and case.observed.whole):
        return Verdict.UNKNOWN
    return Verdict.DEGRADED if Severity.WARNING in severities else Verdict.HEALTHY


def _notes(case: NameCase, findings: tuple[Finding, ...]) -> Iterator[str]:
    held = case.setting
    service = case.meant
    if service is not None and service.headless and not case.failed:
        yield f"{service.name} is headless: the answers are its ready pods' own addresses, not a cluster IP"
    silent = {q.nameserver for q in case.asked if q.reply.met in (Met.TIMEOUT, Met.UNREACHABLE)}
    silent -= {q.nameserver for q in case.asked if q.reply.met in ANSWERS}
    service = held.dns
    if silent and service is not None and not any(f.severity is Severity.ERROR for f in findings):
        client = f" --from pod/{held.pod.namespace}/{held.pod.name}" if held.pod.name else ""
        yield (
            f"{listed(sorted(silent))} does not answer, and nothing in the objects says why; where its packets go: "
            f"svcdoctor trace svc/{service.name} -n {service.namespace}{client} --node-facts exec"
        )
    if held.domain_from.startswith("assumed"):
        yield f"cluster domain {held.domain}: {held.domain_from}"
    first = {(q.name, q.rtype) for q in case.first.queries}
    if len(case.resolutions) > 1:
        other = case.resolutions[1]
        if other.error != case.first.error and {(q.name, q.rtype) for q in other.queries} != first:
            one = _got(case.first)
            yield f"{case.first.libc} and {other.libc} differ here: the one gets {one}, the other {_got(other)}"


def _got(one: Resolution) -> str:
    return one.error or listed(one.addresses) or "an answer"
