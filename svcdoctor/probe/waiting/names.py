"""Whether a Service's name resolves, asked once: a DNS server that was named, cluster DNS from here where this is a pod
or a node, else a pod of cluster DNS through the API server."""

from __future__ import annotations

import dataclasses

from svcdoctor.checks.diagnose import Source
from svcdoctor.checks.lookups import lookup
from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.model.lookup import Lookup
from svcdoctor.model.request import ObjectTarget
from svcdoctor.model.trace import ClientKind, Verdict
from svcdoctor.path.aims import client_here
from svcdoctor.path.dnssetting import NameQuestion, Setting
from svcdoctor.path.lookup import Observed
from svcdoctor.probe.dns import ways
from svcdoctor.probe.evidence import own_addresses
from svcdoctor.probe.waiting.looks import Look
from svcdoctor.sources.session import ApiSession

SECONDS = 1
"""For one query: another attempt follows soon."""


def resolve(
    source: Source, target: ObjectTarget, session: ApiSession, server: tuple[str, int] | None
) -> Look:
    """One attempt. Raises SvcdoctorError where nobody can be asked."""
    question = NameQuestion("", target.namespace, (target.namespace, target.name))
    looked = lookup(source, question)
    observed = _observed(looked.setting, session, server)
    answer = lookup(source, question, observed, looked.snapshot).lookup
    first = answer.resolutions[0]
    good = first.error is None and answer.verdict in (Verdict.HEALTHY, Verdict.DEGRADED)
    how = f"{first.name or answer.name} is {', '.join(first.addresses) or 'there'}; {observed.how}"
    lacking = () if good else (_why(answer), *(f"{f.code}: {f.title}" for f in answer.findings))
    return Look(
        lacking, how if good else observed.how, True, findings=answer.findings, unknowns=answer.unknowns
    )


def _why(answer: Lookup) -> str:
    """What the first query met that says something else than the objects demand, or else the first of all."""
    queries = [q for r in answer.resolutions for q in r.queries]
    if not queries:
        return f"the name {answer.name} does not resolve"
    query = next((q for q in queries if q.wrong), queries[0])
    if query.wrong and query.reply.data:
        return f"{query.name}: answered {', '.join(query.reply.data)}, which is wrong"
    detail = f" ({query.reply.detail})" if query.reply.detail else ""
    return f"{query.name}: {query.reply.met}{detail}"


def _observed(setting: Setting, session: ApiSession, server: tuple[str, int] | None) -> Observed:
    setting = dataclasses.replace(
        setting, conf=dataclasses.replace(setting.conf, timeout=SECONDS, attempts=1)
    )
    if server is not None:
        return ways.of_server(setting, *server)
    own = ways.own_conf()
    if own is not None:
        return ways.from_here(setting, own[0] if own[1] == setting.pod.namespace else None)
    here = client_here(setting.snapshot, own_addresses(setting.conf.nameservers))
    if here.kind is not ClientKind.EXTERNAL:
        return ways.from_here(setting, None)
    try:
        return ways.by_tunnel(setting, session)
    except SvcdoctorError as e:
        why = e.message.removeprefix("--ask tunnel: ")
        raise SvcdoctorError(f"{why}; or name a DNS server with --server IP", e.exit_code) from None
