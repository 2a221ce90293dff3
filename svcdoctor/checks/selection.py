"""OBJ001 to OBJ005, OBJ009: the Service, and which pods it selects."""

from __future__ import annotations

import json
from collections.abc import Iterator

from svcdoctor.checks.registry import Case, Raised, check, listed, patch_port, port_field, subject
from svcdoctor.cluster.nearmiss import LabelMiss, carriers_of, label_misses, near_names
from svcdoctor.cluster.selectors import matches_labels
from svcdoctor.model.base import KubeObject
from svcdoctor.model.facts import WORKLOADS, Kind, Scope
from svcdoctor.model.finding import Severity
from svcdoctor.model.pod import Pod
from svcdoctor.model.service import Service
from svcdoctor.model.workload import Workload


@check(
    "OBJ001",
    "Target does not exist",
    Severity.ERROR,
    meaning="No object of that kind and name exists in the namespace that was asked: clients get NXDOMAIN.",
    look="kubectl get service -A | grep NAME",
    mend=(
        "Ask by the name and namespace that exist (kubectl get svc -A), or create the object in the "
        "namespace that was asked."
    ),
    links=(
        "https://kubernetes.io/docs/tasks/debug/debug-application/debug-service/",
        "https://kubernetes.io/docs/concepts/overview/working-with-objects/namespaces/",
    ),
)
def missing_target(case: Case) -> Iterator[Raised]:
    target = case.trace.target
    kind = Kind(target.kind) if target.kind in set(Kind) else None
    view = case.view
    if kind is None or case.trace.paths or not target.name:
        return
    scope = Scope(target.namespace, name=target.name)
    if not view.snapshot.knows(kind, scope):
        return
    if view.snapshot.find(kind, target.namespace, target.name, KubeObject) is not None:
        return
    everywhere = view.complete(kind)
    view.complete(kind, Scope(target.namespace))
    objects = view.snapshot.of(kind)
    elsewhere = sorted(o.namespace for o in objects if o.name == target.name)
    near = near_names(target.name, (o.name for o in objects if o.namespace == target.namespace))
    known_namespace = view.complete(Kind.NAMESPACE, Scope(name=target.namespace))
    no_namespace = (
        known_namespace
        and view.snapshot.of(Kind.NAMESPACE)
        and view.snapshot.namespace(target.namespace) is None
        and not any(o.namespace == target.namespace for o in objects)
    )
    evidence = [f"{target.kind} {target.name} does not exist in namespace {target.namespace}"]
    if no_namespace:
        names = near_names(target.namespace, (n.name for n in view.snapshot.of(Kind.NAMESPACE)))
        evidence.append(
            f"namespace {target.namespace} does not exist" + (f"; near: {listed(names)}" if names else "")
        )
    if near:
        evidence.append(f"near names in {target.namespace}: {listed(near)}")
    if elsewhere:
        evidence.append(f"the same name exists in namespace {listed(elsewhere)}")
    short = "svc" if target.kind == "Service" else target.kind.lower()
    if near:
        fix = f"kubectl svcdoctor trace {short}/{near[0]} -n {target.namespace}"
    elif elsewhere:
        fix = f"kubectl svcdoctor trace {short}/{target.name} -n {elsewhere[0]}"
    elif everywhere:
        fix = f"kubectl get {short} -A"
    else:
        fix = f"kubectl get {short} -n {target.namespace}"
    explanation = "Nothing answers to this name: DNS has no record for it and no node has rules for it."
    if elsewhere and not near:
        explanation += f" From another namespace the name is {target.name}.{elsewhere[0]}."
    yield Raised((target.subject,), tuple(evidence), explanation, fix)


def _without_pods(case: Case) -> Iterator[Service]:
    """Services with a selector that matches no pod, for certain."""
    for service in case.services:
        selector = service.spec.selector
        if not selector or service.type == "ExternalName":
            continue
        scope = Scope(service.namespace, tuple(sorted(selector.items())))
        if case.view.complete(Kind.POD, scope) and not case.selected(service):
            yield service


def _workloads(case: Case, namespace: str) -> tuple[Workload, ...]:
    for kind in WORKLOADS:
        case.view.complete(kind, Scope(namespace))
    return tuple(w for w in case.view.snapshot.workloads(WORKLOADS) if w.namespace == namespace)


def _makers(case: Case, service: Service) -> list[Workload]:
    """The top-level workloads whose template the Service's selector matches."""
    selector = service.spec.selector or {}
    return [
        w
        for w in _workloads(case, service.namespace)
        if w.metadata.owner is None and matches_labels(selector, w.template_labels)
    ]


@check(
    "OBJ009",
    "Workload is scaled to zero",
    Severity.ERROR,
    meaning="The workload whose pods the Service selects has zero replicas: there is nothing to send to.",
    look="kubectl get deploy,sts -n NAMESPACE",
    mend=(
        "Scale the workload up (kubectl scale KIND/NAME --replicas=1), and find out what scaled it down: an "
        "autoscaler, a pipeline, a person."
    ),
    links=("https://kubernetes.io/docs/concepts/workloads/controllers/deployment/#scaling-a-deployment",),
    explains=("OBJ002",),
)
def scaled_to_zero(case: Case) -> Iterator[Raised]:
    for service in _without_pods(case):
        makers = _makers(case, service)
        zero = [w for w in makers if w.scaled_to_zero]
        if zero and len(zero) == len(makers):
            w = zero[0]
            yield Raised(
                (subject(service), f"{w.kind}/{w.namespace}/{w.name}"),
                (f"{w.kind} {w.name} has spec.replicas 0", "its pods are the ones the selector matches"),
                "The selector is right, but its workload runs no pod: connections are refused.",
                f"kubectl -n {w.namespace} scale {w.kind.lower()}/{w.name} --replicas=1",
            )


@check(
    "OBJ002",
    "Selector matches no pod",
    Severity.ERROR,
    meaning=(
        "No pod carries all labels of the Service's selector, so the Service has no endpoints and "
        "kube-proxy refuses connections."
    ),
    look="kubectl get pods -n NAMESPACE --show-labels; kubectl get svc NAME -o jsonpath='{.spec.selector}'",
    mend=(
        "Make spec.selector of the Service equal to labels that its pods carry (kubectl get pods --show-"
        "labels), or give the workload's template those labels."
    ),
    links=(
        "https://kubernetes.io/docs/concepts/services-networking/service/",
        "https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/",
    ),
)
def selector_matches_nothing(case: Case) -> Iterator[Raised]:
    for service in _without_pods(case):
        selector = service.spec.selector or {}
        view = case.view
        ns = service.namespace
        if not view.complete(Kind.POD, Scope(ns)):
            continue
        misses = label_misses(selector, carriers_of(view.snapshot.pods_in(ns)))
        makers = _makers(case, service)
        if not (misses and misses[0].near) and not makers and _foreign_pods(case, service):
            continue  # OBJ003 tells it better
        words = ",".join(f"{k}={v}" for k, v in selector.items())
        evidence = [f"selector {words} matches 0 of {len(view.snapshot.pods_in(ns))} pods in {ns}"]
        fix = f"kubectl -n {ns} get pods --show-labels"
        if makers:
            names = listed(f"{w.kind} {w.name}" for w in makers)
            evidence.append(f"the template of {names} would match, but it has made no pod")
            explanation = "The selector is right; the workload has not made its pods. Its events say why."
            fix = f"kubectl -n {ns} describe {makers[0].kind.lower()} {makers[0].name}"
        elif misses:
            for miss in misses[:1]:
                evidence += [f"{m} on {_count(miss)}" for m in miss.mismatches]
            explanation = "No pod carries all labels of the selector; the nearest ones differ as shown."
            if misses[0].near:
                fix = _patch(service, misses[0])
        else:
            templates = [
                (f"{w.kind} {w.name}", w.template_labels)
                for w in _workloads(case, ns)
                if w.metadata.owner is None
            ]
            for miss in label_misses(selector, templates)[:1]:
                evidence += [f"{m} in the template of {miss.names[0]}" for m in miss.mismatches]
            explanation = "No pod carries the labels of the selector, nor nearly."
        field = "" if makers else "spec.selector"
        yield Raised((subject(service),), tuple(evidence), explanation, fix, field=field)


def _count(miss: LabelMiss) -> str:
    n = len(miss.names)
    return f"pod {miss.names[0]}" if n == 1 else f"{n} pods ({listed(miss.names, 3)})"


def _patch(service: Service, miss: LabelMiss) -> str:
    """The command that gives the selector the labels that the pods carry."""
    change: dict[str, str | None] = {}
    for m in miss.mismatches:
        if m.key_found != m.key:
            change[m.key] = None
        if m.key_found is not None and m.found is not None:
            change[m.key_found] = m.found
    patch = json.dumps({"spec": {"selector": change}}, separators=(",", ":"))
    return f"kubectl -n {service.namespace} patch svc {service.name} -p '{patch}'"


def _foreign_pods(case: Case, service: Service) -> list[Pod]:
    selector = service.spec.selector or {}
    scope = Scope(None, tuple(sorted(selector.items())))
    case.view.complete(Kind.POD, scope)
    found = case.view.snapshot.select_everywhere(selector)
    return [p for p in found if p.namespace != service.namespace and not p.finished]


@check(
    "OBJ003",
    "Matching pods are in another namespace",
    Severity.ERROR,
    meaning="A Service selects pods of its own namespace only; the pods with these labels live in another.",
    look="kubectl get pods -A -l KEY=VALUE",
    mend=(
        "Create the Service in the namespace of its pods and call it NAME.NAMESPACE from elsewhere, or put "
        "an ExternalName where the clients are."
    ),
    links=(
        "https://kubernetes.io/docs/concepts/services-networking/service/#externalname",
        "https://kubernetes.io/docs/concepts/overview/working-with-objects/namespaces/",
    ),
)
def pods_elsewhere(case: Case) -> Iterator[Raised]:
    for service in _without_pods(case):
        ns = service.namespace
        if not case.view.complete(Kind.POD, Scope(ns)):
            continue
        misses = label_misses(service.spec.selector or {}, carriers_of(case.view.snapshot.pods_in(ns)))
        foreign = _foreign_pods(case, service)
        if not foreign or (misses and misses[0].near) or _makers(case, service):
            continue
        other = foreign[0].namespace
        yield Raised(
            (subject(service),),
            (
                f"the selector matches 0 pods in {ns}, and {len(foreign)} in namespace {other}: "
                f"{listed(p.name for p in foreign)}",
            ),
            f"A selector never reaches into another namespace. Move the Service to {other}, or ask it there "
            f"and point an ExternalName in {ns} at {service.name}.{other}.svc.cluster.local.",
            _expose(service, foreign[0], other),
            field="spec.selector",
        )


def _expose(service: Service, pod: Pod, namespace: str) -> str:
    """The command that makes the Service where its pods are."""
    kind, name = maker_of(pod)
    what = f"{kind.lower()}/{name}" if name else f"pod/{pod.name}"
    port = service.ports[0] if service.ports else None
    ports = f" --port={port.port} --target-port={port.target}" if port else ""
    return f"kubectl -n {namespace} expose {what} --name={service.name}{ports}"


def maker_of(pod: Pod) -> tuple[str, str]:
    """The workload that a pod belongs to: a ReplicaSet's pods by their Deployment's name."""
    owner = pod.metadata.owner
    if owner is None:
        return "Pod", ""
    suffix = pod.labels.get("pod-template-hash")
    if owner.kind == "ReplicaSet" and suffix and owner.name.endswith(f"-{suffix}"):
        return "Deployment", owner.name.removesuffix(f"-{suffix}")
    return owner.kind, owner.name


@check(
    "OBJ004",
    "Selector also matches pods of another workload",
    Severity.WARNING,
    meaning=(
        "Pods of more than one workload carry the selector's labels, and not all of them offer the "
        "targetPort: part of the requests goes to the wrong application."
    ),
    look="kubectl get pods -n NAMESPACE -l SELECTOR -o wide",
    mend="Add a label to spec.selector that the pods of the meant workload alone carry.",
    links=(
        "https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors",
        "https://kubernetes.io/docs/concepts/services-networking/service/",
    ),
    explains=("OBJ012", "OBJ013", "OBJ015"),
)
def several_workloads(case: Case) -> Iterator[Raised]:
    for service in case.services:
        makers: dict[tuple[str, str], list[Pod]] = {}
        for pod in case.selected(service):
            makers.setdefault(maker_of(pod), []).append(pod)
        if len(makers) < 2:
            continue
        lacking = [m for m, pods in makers.items() if not all(_offers(p, service) for p in pods)]
        if not lacking or len(lacking) == len(makers):
            continue
        evidence = tuple(
            f"{kind} {name or pods[0].name}: {len(pods)} pods"
            + (f", which do not declare {_targets(service)}" if (kind, name) in lacking else "")
            for (kind, name), pods in makers.items()
        )
        odd = makers[lacking[0]][0]
        apart = {
            k: v
            for k, v in next(p for m, pods in makers.items() if m not in lacking for p in pods).labels.items()
            if odd.labels.get(k) != v and k != "pod-template-hash"
        }
        patch = json.dumps({"spec": {"selector": apart}}, separators=(",", ":"))
        fix = (
            f"kubectl -n {service.namespace} patch svc {service.name} -p '{patch}'"
            if apart
            else f"kubectl -n {service.namespace} get pods -l "
            + ",".join(f"{k}={v}" for k, v in (service.spec.selector or {}).items())
            + " --show-labels"
        )
        yield Raised(
            (subject(service),),
            evidence,
            "The labels of the selector are not this application's alone: connections are spread over both.",
            fix,
            field="spec.selector",
        )


def _targets(service: Service) -> str:
    return ", ".join(str(p.target) for p in service.ports)


def _offers(pod: Pod, service: Service) -> bool:
    """Whether the pod declares every targetPort of the Service, or declares no ports at all."""
    declared = [p for c in pod.serving_containers for p in c.ports or ()]
    if not declared:
        return True
    return all(
        any(d.protocol == p.protocol and p.target in (d.container_port, d.name) for d in declared)
        for p in service.ports
    )


@check(
    "OBJ005",
    "Two Services select the same pods but expect different ports",
    Severity.WARNING,
    meaning=(
        "Another Service selects the same pods with a targetPort that they do offer; this one's they do "
        "not: one of the two was copied and not adapted."
    ),
    look="kubectl get svc -n NAMESPACE -o wide",
    mend=(
        "Set spec.ports[].targetPort to the port that the pods offer, or spec.selector to the pods that were"
        " meant."
    ),
    links=(
        "https://kubernetes.io/docs/concepts/services-networking/service/#field-spec-ports",
        "https://kubernetes.io/docs/tasks/debug/debug-application/debug-service/",
    ),
    explains=("OBJ013",),
)
def services_disagree(case: Case) -> Iterator[Raised]:
    for service in case.services:
        pods = case.selected(service)
        numbers = [p for p in service.ports if isinstance(p.target, int)]
        if not pods or len(numbers) < len(service.ports) or any(_offers(p, service) for p in pods):
            continue  # a name that no pod has is OBJ010's
        if not case.view.complete(Kind.SERVICE, Scope(service.namespace)):
            continue
        for other in case.view.snapshot.services:
            same = (
                other.namespace == service.namespace
                and other.name != service.name
                and other.spec.selector == service.spec.selector
            )
            if same and other.ports and all(_offers(p, other) for p in pods):
                target = other.ports[0].target
                yield Raised(
                    (subject(service), subject(other)),
                    (
                        f"{service.name} sends to targetPort {_targets(service)}, {other.name} to "
                        f"{_targets(other)}",
                        f"both select {len(pods)} pods ({listed((p.name for p in pods), 3)}), which declare "
                        f"{_targets(other)} only",
                    ),
                    f"The pods offer what {other.name} expects, not what {service.name} expects.",
                    patch_port(service, service.ports[0], "targetPort", target),
                    field=port_field(service, service.ports[0], "targetPort"),
                )
                break
