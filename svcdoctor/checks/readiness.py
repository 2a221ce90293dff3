"""OBJ006 to OBJ008, OBJ017, NOD009: pods that are selected but not ready to serve."""

from __future__ import annotations

from collections.abc import Iterator

from svcdoctor.checks.registry import Case, Raised, check, listed, pod_subject, subject
from svcdoctor.model.facts import Kind
from svcdoctor.model.finding import Severity
from svcdoctor.model.pod import ContainerStatus, Pod
from svcdoctor.model.service import Service

_WAITING_WELL = ("ContainerCreating", "PodInitializing")


def trouble(pod: Pod) -> str | None:
    """Why the pod does not run: its phase or what a container waits for; ``None`` when it runs."""
    status = pod.status
    if status.phase == "Failed":
        return status.reason or "Failed"
    for s in (status.init_container_statuses or ()) + (status.container_statuses or ()):
        waiting = s.state.waiting
        if waiting is not None and waiting.reason and waiting.reason not in _WAITING_WELL:
            return waiting.reason
    if status.phase == "Pending":
        scheduled = pod.condition("PodScheduled")
        if scheduled is not None and scheduled.status == "False":
            return scheduled.reason or "Unschedulable"
        return "Pending"
    if status.phase == "Unknown":
        return "Unknown"
    crashed = [s for s in status.container_statuses or () if _crashed(s)]
    return "Error" if crashed and not pod.ready else None


def _crashed(status: ContainerStatus) -> bool:
    ended = status.state.terminated
    return ended is not None and (ended.exit_code or 0) != 0


def gate_shut(pod: Pod) -> str | None:
    """The readiness gate that keeps a pod with ready containers from being ready."""
    ready = pod.condition("ContainersReady")
    if pod.ready or ready is None or ready.status != "True":
        return None
    for gate in pod.spec.readiness_gates or ():
        condition = pod.condition(gate.condition_type)
        if condition is None or condition.status != "True":
            return gate.condition_type
    return None


def _not_ready(case: Case, service: Service) -> list[Pod]:
    return [p for p in case.selected(service) if not p.ready and not p.terminating]


def _severity(case: Case, service: Service) -> Severity:
    return Severity.WARNING if case.usable(service) else Severity.ERROR


def _evidence_of(pod: Pod) -> str:
    reason = trouble(pod)
    statuses = (pod.status.init_container_statuses or ()) + (pod.status.container_statuses or ())
    parts = [f"pod {pod.name}: {reason}"]
    for s in statuses:
        waiting, last = s.state.waiting, s.last_state.terminated
        if waiting is not None and waiting.reason:
            message = f" ({waiting.message.splitlines()[0][:160]})" if waiting.message else ""
            parts.append(f"container {s.name} waits: {waiting.reason}{message}")
        if last is not None:
            parts.append(f"last ended with exit code {last.exit_code} ({last.reason})")
        if s.restart_count:
            parts.append(f"{s.restart_count} restarts")
    scheduled = pod.condition("PodScheduled")
    if scheduled is not None and scheduled.status == "False" and scheduled.message:
        parts.append(scheduled.message[:200])
    elif pod.status.message:
        parts.append(pod.status.message[:200])
    return ", ".join(parts)


@check(
    "OBJ008",
    "Selected pods do not run",
    Severity.ERROR,
    meaning=(
        "Pods of the Service are Pending, Failed, Evicted, in CrashLoopBackOff or cannot pull their image: "
        "they are no endpoints."
    ),
    look="kubectl get pods -n NAMESPACE -l SELECTOR; kubectl describe pod POD",
    mend=(
        "Let kubectl describe pod and kubectl logs --previous tell the reason: too few resources, a wrong "
        "image, a crash at the start. Once the pods run they become endpoints by themselves."
    ),
    links=(
        "https://kubernetes.io/docs/tasks/debug/debug-application/debug-pods/",
        "https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/",
    ),
)
def pods_do_not_run(case: Case) -> Iterator[Raised]:
    for service in case.services:
        bad = [p for p in _not_ready(case, service) if trouble(p)]
        if not bad:
            continue
        reasons = sorted({trouble(p) or "" for p in bad})
        if case.usable(service) and set(reasons) <= {"Evicted", "Failed", "Terminated", "NodeShutdown"}:
            continue  # leftovers of pods that have been replaced
        events = case.events_of(bad, "FailedScheduling", "Failed", "BackOff", "FailedCreatePodSandBox")
        first = bad[0]
        follow = (
            f"kubectl -n {first.namespace} logs {first.name} --previous"
            if "CrashLoopBackOff" in reasons or "Error" in reasons
            else f"kubectl -n {first.namespace} describe pod {first.name}"
        )
        yield Raised(
            (subject(service), *(pod_subject(p) for p in bad[:5])),
            (*(_evidence_of(p) for p in bad[:5]), *events[:3]),
            f"{len(bad)} of {len(case.selected(service))} selected pods do not run ({listed(reasons)}); "
            "a pod that does not run is no endpoint.",
            follow,
            _severity(case, service),
        )


@check(
    "OBJ007",
    "A readiness gate is false",
    Severity.ERROR,
    meaning=(
        "The containers are ready, but a condition that the pod lists under readinessGates is not True, so "
        "the pod is not Ready. Something outside the pod, usually a load-balancer controller, must set it."
    ),
    look="kubectl get pod POD -o wide (column READINESS GATES)",
    mend=(
        "Look into the log of the controller that must set the condition. Take the gate out of "
        "readinessGates of the workload's template where no such controller runs."
    ),
    links=("https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-readiness-gate",),
    explains=("OBJ006",),
)
def readiness_gate(case: Case) -> Iterator[Raised]:
    for service in case.services:
        shut = [(p, gate) for p in _not_ready(case, service) if (gate := gate_shut(p))]
        if shut:
            first, gate = shut[0]
            yield Raised(
                (subject(service), *(pod_subject(p) for p, _ in shut[:5])),
                tuple(
                    f"pod {p.name}: ContainersReady is True, condition {g} is "
                    f"{c.status if (c := p.condition(g)) else 'not set'}"
                    for p, g in shut[:5]
                ),
                f"The application is ready; the controller that sets {gate} has not done so.",
                f"kubectl -n {first.namespace} get pod {first.name} "
                f"-o jsonpath='{{.status.conditions[?(@.type==\"{gate}\")]}}'",
                _severity(case, service),
            )


@check(
    "OBJ006",
    "Selected pods are not Ready",
    Severity.ERROR,
    meaning=(
        "The pods run, but their readiness probe fails (or has not passed yet): they are left out of the "
        "Service's ready endpoints."
    ),
    look="kubectl describe pod POD (Events: Readiness probe failed)",
    mend=(
        "Find out why the readiness probe fails (kubectl describe pod, then the application's log), and mend"
        " the application or the probe's port, path and times."
    ),
    links=(
        "https://kubernetes.io/docs/tasks/configure-pod-container/configure-liveness-readiness-startup-probes/",
        "https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#container-probes",
    ),
)
def pods_not_ready(case: Case) -> Iterator[Raised]:
    for service in case.services:
        unready = [p for p in _not_ready(case, service) if not trouble(p) and not gate_shut(p)]
        if not unready or service.spec.publish_not_ready_addresses:
            continue
        first = unready[0]
        evidence = []
        for p in unready[:5]:
            condition = p.condition("Ready")
            why = (condition.message or condition.reason or "") if condition else "no Ready condition"
            probes = ", ".join(
                f"container {c.name} is probed on port {c.readiness_probe.port}"
                for c in p.serving_containers
                if c.readiness_probe is not None and c.readiness_probe.port is not None
            )
            evidence.append(f"pod {p.name}: not Ready: {why}" + (f"; {probes}" if probes else ""))
        evidence += case.events_of(unready, "Unhealthy")[:3]
        yield Raised(
            (subject(service), *(pod_subject(p) for p in unready[:5])),
            tuple(evidence),
            f"{len(unready)} of {len(case.selected(service))} selected pods run but are not Ready; "
            "only Ready pods are sent to.",
            f"kubectl -n {first.namespace} describe pod {first.name}",
            _severity(case, service),
        )


@check(
    "OBJ017",
    "publishNotReadyAddresses sends traffic to pods that are not Ready",
    Severity.WARNING,
    meaning="The Service publishes its pods whether Ready or not; some of them are not.",
    look="kubectl get svc NAME -o jsonpath='{.spec.publishNotReadyAddresses}'",
    mend=(
        "Set spec.publishNotReadyAddresses to false, and keep a headless Service of its own for peers that "
        "must find each other before they are ready."
    ),
    links=(
        "https://kubernetes.io/docs/concepts/services-networking/dns-pod-service/",
        "https://kubernetes.io/docs/concepts/services-networking/service/#headless-services",
    ),
)
def unready_published(case: Case) -> Iterator[Raised]:
    for service in case.services:
        unready = [p for p in _not_ready(case, service) if p.ips]
        if service.spec.publish_not_ready_addresses and unready:
            patch = '{"spec":{"publishNotReadyAddresses":false}}'
            yield Raised(
                (subject(service), *(pod_subject(p) for p in unready[:5])),
                (
                    "spec.publishNotReadyAddresses is true",
                    f"{len(unready)} of {len(case.selected(service))} pods are not Ready: "
                    f"{listed(p.name for p in unready)}",
                ),
                "Requests also go to pods whose readiness probe fails. This is meant for peer discovery of "
                "StatefulSets, not for serving clients.",
                f"kubectl -n {service.namespace} patch svc {service.name} -p '{patch}'",
                field="spec.publishNotReadyAddresses",
            )


@check(
    "OBJ034",
    "Only terminating pods serve",
    Severity.WARNING,
    meaning=(
        "No endpoint is ready; kube-proxy falls back to pods that are being deleted and still serve "
        "(KEP-1669). Once they are gone, requests are refused."
    ),
    look="kubectl get endpointslices -l kubernetes.io/service-name=NAME -o yaml (conditions)",
    mend=(
        "Let a rollout keep pods until new ones are ready (maxUnavailable: 0), and give containers a preStop"
        " pause and time to drain (terminationGracePeriodSeconds)."
    ),
    links=(
        "https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-termination",
        "https://github.com/kubernetes/enhancements/tree/master/keps/sig-network/1669-proxy-terminating-endpoints",
    ),
)
def only_terminating(case: Case) -> Iterator[Raised]:
    for service in case.services:
        slices = case.view.snapshot.slices(service.namespace, service.name)
        endpoints = [e for s in slices for e in s.endpoints or ()]
        draining = [e for e in endpoints if e.serving and e.terminating]
        if draining and not any(e.ready for e in endpoints):
            names = listed(e.target_ref.name if e.target_ref else "?" for e in draining)
            yield Raised(
                (subject(service),),
                (f"all {len(draining)} endpoints that serve are terminating: {names}", "none is ready"),
                "A rollout has no new pod ready yet, or the workload is going away.",
                f"kubectl -n {service.namespace} get pods "
                f"-l {','.join(f'{k}={v}' for k, v in (service.spec.selector or {}).items())}",
            )


@check(
    "NOD009",
    "A node on the way is NotReady or gone",
    Severity.WARNING,
    meaning="The node's kubelet does not report, or there is no such node any more: its addresses may not answer.",
    look="kubectl get nodes",
    mend=(
        "Let kubectl describe node and the kubelet's log say why it does not report; drain or replace the "
        "node where it stays away."
    ),
    links=(
        "https://kubernetes.io/docs/concepts/architecture/nodes/",
        "https://kubernetes.io/docs/tasks/debug/debug-cluster/",
    ),
)
def node_not_ready(case: Case) -> Iterator[Raised]:
    entries = {p.entry.node for p in case.trace.paths}
    backends: dict[str, set[str]] = {}
    for path in case.trace.paths:
        for o in path.outcomes:
            if o.backend is not None and o.backend.node and o.backend.pod:
                backends.setdefault(o.backend.node, set()).add(o.backend.pod)
    down = [n.name for n in case.view.snapshot.nodes if not n.ready and n.name in entries | set(backends)]
    known = case.view.snapshot.knows(Kind.NODE) and bool(case.view.snapshot.nodes)
    gone = [n for n in sorted(backends) if known and case.view.snapshot.node(n) is None]
    if down or gone:
        evidence = [f"node {n}: condition Ready is not True" for n in down]
        evidence += [f"node {n} does not exist" for n in gone]
        down += gone
        evidence += [f"endpoints on {n}: {listed(sorted(backends[n]))}" for n in down if n in backends]
        yield Raised(
            tuple(f"Node/{n}" for n in down),
            tuple(evidence),
            "Requests that enter through these nodes, or end on them, may get no answer.",
            f"kubectl describe node {down[0]}",
        )
