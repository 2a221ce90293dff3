"""EXT008: who answers for an Ingress: its IngressClass, that class's controller, its TLS certificate."""

from __future__ import annotations

import re
from collections.abc import Iterator

from svcdoctor.checks.fixes import patch_field
from svcdoctor.checks.registry import Case, Raised, check, listed, pod_subject
from svcdoctor.cluster.nearmiss import near_names
from svcdoctor.model.cluster import Event
from svcdoctor.model.facts import Kind, Scope
from svcdoctor.model.finding import Severity
from svcdoctor.model.ingress import Ingress, IngressClass
from svcdoctor.path.controllers import is_known

_DEFAULT = "ingressclass.kubernetes.io/is-default-class"
_LACKING = re.compile(
    r"not found|n't find|not find|does not exist|doesn't exist|no such|missing|not exist", re.I
)


@check(
    "EXT008",
    "No controller answers for the Ingress as it is written",
    Severity.ERROR,
    meaning=(
        "An Ingress does nothing by itself: a controller does what it says, and takes those of its own "
        "IngressClass. Without one that exists and whose controller runs, nobody listens. Of a TLS Secret that is "
        "missing controllers tell by events, and serve a certificate of their own instead."
    ),
    look="kubectl get ingressclass; kubectl describe ingress NAME (Ingress Class, Address, Events)",
    mend=(
        "Name an IngressClass that exists in spec.ingressClassName, or mark one as the default before the Ingress "
        "is made; install or mend the class's controller. Create the TLS Secret in the Ingress's own namespace."
    ),
    links=(
        "https://kubernetes.io/docs/concepts/services-networking/ingress/#ingress-class",
        "https://kubernetes.io/docs/concepts/services-networking/ingress-controllers/",
        "https://kubernetes.io/docs/concepts/services-networking/ingress/#tls",
    ),
)
def nobody_answers(case: Case) -> Iterator[Raised]:
    target = case.trace.target
    ingress = case.view.snapshot.ingress(target.namespace, target.name) if target.kind == "Ingress" else None
    if ingress is None:
        return
    if case.view.complete(Kind.INGRESS_CLASS):
        yield from _class(case, ingress)
    if ingress.spec.tls and not case.view.snapshot.would_be:
        yield from _certificates(case, ingress)


def _class(case: Case, ingress: Ingress) -> Iterator[Raised]:
    classes: tuple[IngressClass, ...] = case.view.snapshot.of(Kind.INGRESS_CLASS)
    name = ingress.class_name
    named = next((c for c in classes if c.name == name), None)
    answered = bool(ingress.status.load_balancer.ingress)
    if not name:
        if not answered and not case.view.snapshot.would_be:
            yield from _unnamed(case, ingress, classes)
    elif named is None:
        yield from _missing(case, ingress, classes, answered)
    elif not answered and not case.view.snapshot.would_be:
        yield from _controller(case, ingress, named)


def _missing(
    case: Case, ingress: Ingress, classes: tuple[IngressClass, ...], answered: bool
) -> Iterator[Raised]:
    name = ingress.class_name
    near = near_names(name, (c.name for c in classes))
    annotated = ingress.spec.ingress_class_name is None
    if (annotated or case.view.snapshot.would_be) and (answered or not near):
        return  # an annotation needs no object; manifests seldom hold the class that they name
    evidence = [f"there is no IngressClass {name}; there are {listed(c.name for c in classes) or 'none'}"]
    evidence += [f"near names: {listed(near)}"] if near else []
    severity = Severity.WARNING if annotated or case.view.snapshot.would_be else None
    explanation = "No controller takes the Ingress: its hosts are not answered for, or by another Ingress."
    if answered:
        # Some controllers go by the name alone, without such an object.
        severity = Severity.WARNING if near else Severity.INFO
        evidence.append("status.loadBalancer has an address, perhaps from before")
        explanation = "A controller that looks for its IngressClass takes the Ingress no more."
    field = "metadata.annotations['kubernetes.io/ingress.class']" if annotated else "spec.ingressClassName"
    fix = "kubectl get ingressclass"
    if near or len(classes) == 1:
        meant = near[0] if near else classes[0].name
        fix = patch_field("ingress", ingress.namespace, ingress.name, field, meant)
    yield Raised(
        (f"Ingress/{ingress.namespace}/{ingress.name}", f"IngressClass/{name}"),
        tuple(evidence),
        explanation,
        fix,
        severity,
        field,
    )


def _unnamed(case: Case, ingress: Ingress, classes: tuple[IngressClass, ...]) -> Iterator[Raised]:
    """No class is named. Some controllers take such an Ingress: nothing is said while one may yet."""
    defaults = [c for c in classes if (c.metadata.annotations or {}).get(_DEFAULT) == "true"]
    evidence = ["spec.ingressClassName is not set", "status.loadBalancer has no address"]
    if defaults:
        evidence.append(
            f"IngressClass {defaults[0].name} is the default now, but only an Ingress that is made gets the default"
        )
    elif classes:
        evidence.append(f"no IngressClass is the default (there are {listed(c.name for c in classes)})")
    else:
        if not case.view.complete(Kind.POD) or any(case.world.ingress_controllers.values()):
            return
        evidence.append("there is no IngressClass, and no pod of a known Ingress controller")
    chosen = defaults or [c for c in classes if len(classes) == 1]
    if chosen:
        fix = patch_field("ingress", ingress.namespace, ingress.name, "spec.ingressClassName", chosen[0].name)
    else:
        fix = "kubectl get ingressclass"
    yield Raised(
        (f"Ingress/{ingress.namespace}/{ingress.name}",),
        tuple(evidence),
        "Most controllers take an Ingress of their own class only; nobody has taken this one.",
        fix,
        Severity.WARNING,
        "spec.ingressClassName",
    )


def _controller(case: Case, ingress: Ingress, named: IngressClass) -> Iterator[Raised]:
    """The class exists and nobody has given the Ingress an address: whether the controller's pods run."""
    controller = named.spec.controller
    if not is_known(controller) or not case.view.complete(Kind.POD):
        return
    pods = case.world.ingress_controllers[controller]
    if any(p.ready for p in pods):
        return
    evidence = [
        f"IngressClass {named.name} is of controller {controller}",
        "status.loadBalancer has no address",
    ]
    evidence.append(
        f"of its pods none is Ready: {listed(p.name for p in pods)}"
        if pods
        else "no pod looks like that controller's"
    )
    look = f"kubectl -n {pods[0].namespace} describe pod {pods[0].name}" if pods else "kubectl get pods -A"
    yield Raised(
        (
            f"IngressClass/{named.name}",
            f"Ingress/{ingress.namespace}/{ingress.name}",
            *map(pod_subject, pods[:3]),
        ),
        tuple(evidence),
        "The class is there, but the controller that would do what the Ingress says does not run.",
        look,
        Severity.ERROR if pods else Severity.WARNING,
        "spec.controller",
    )


def _certificates(case: Case, ingress: Ingress) -> Iterator[Raised]:
    """TLS Secrets that an event of the controller calls missing; Secrets themselves are never read."""
    if not case.view.complete(Kind.EVENT, Scope(ingress.namespace)):
        return
    events: tuple[Event, ...] = case.view.snapshot.of(Kind.EVENT)
    mine = [
        e
        for e in events
        if e.involved_object.kind == "Ingress"
        and (e.involved_object.namespace, e.involved_object.name) == (ingress.namespace, ingress.name)
        and e.type == "Warning"
        and _LACKING.search(e.message or "")
    ]
    for i, tls in enumerate(ingress.spec.tls or ()):
        name = tls.secret_name
        word = re.compile(rf"(?<![\w.-]){re.escape(name)}(?![\w-]|\.\w)")
        told = [e for e in mine if name and word.search(e.message or "")]
        if not told:
            continue
        yield Raised(
            (f"Ingress/{ingress.namespace}/{ingress.name}", f"Secret/{ingress.namespace}/{name}"),
            tuple(dict.fromkeys(f"event {e.reason}: {e.message}" for e in told))[:3],
            f"The controller does not find the certificate for {listed(tls.hosts or ()) or 'these hosts'}: clients "
            "are shown another one and refuse it.",
            f"kubectl -n {ingress.namespace} create secret tls {name} --cert=FILE.crt --key=FILE.key",
            Severity.WARNING,
            f"spec.tls[{i}].secretName",
        )
