"""Which pods look like an Ingress controller of those that announce themselves by their IngressClass."""

from __future__ import annotations

from collections.abc import Iterable

from svcdoctor.model.pod import Pod

# spec.controller of an IngressClass, and what the names or labels of that controller's pods hold, at least one of it.
# Controllers that run outside the cluster, as clouds' do, are not listed: nothing can be said of their pods.
_WORDS = {
    "k8s.io/ingress-nginx": ("ingress-nginx", "nginx-ingress"),
    "nginx.org/ingress-controller": ("nginx-ingress", "ingress-nginx"),
    "traefik.io/ingress-controller": ("traefik",),
    "haproxy.org/ingress-controller": ("haproxy",),
    "haproxy-ingress.github.io/controller": ("haproxy",),
    "ingress-controllers.konghq.com/kong": ("kong",),
    "projectcontour.io/ingress-controller": ("contour",),
    "istio.io/ingress-controller": ("istio",),
    "ingress.k8s.aws/alb": ("load-balancer-controller", "alb-ingress"),
    "cilium.io/ingress-controller": ("cilium",),
}


def is_known(controller: str) -> bool:
    """Whether pods of the controller could be recognised."""
    return controller in _WORDS


def controller_pods(pods: Iterable[Pod]) -> dict[str, tuple[Pod, ...]]:
    """The pods that look like each controller, finished ones left out; linear in the pods."""
    found: dict[str, list[Pod]] = {controller: [] for controller in _WORDS}
    words = {word for words in _WORDS.values() for word in words}
    for pod in pods:
        text = " ".join((pod.name, *pod.labels.values()))
        seen = {word for word in words if word in text}
        if seen and not pod.finished:
            for controller, wanted in _WORDS.items():
                if seen & set(wanted):
                    found[controller].append(pod)
    return {controller: tuple(of) for controller, of in found.items()}
