"""Ingress and IngressClass (networking.k8s.io/v1, and the fields of v1beta1)."""

from __future__ import annotations

from svcdoctor.model.base import AnnotatedMeta, Base, IntOrString, KubeObject
from svcdoctor.model.service import ServiceStatus


class IngressServicePort(Base, frozen=True):
    name: str = ""
    number: int = 0


class IngressServiceBackend(Base, frozen=True):
    name: str = ""
    port: IngressServicePort = IngressServicePort()


class TypedReference(Base, frozen=True):
    api_group: str | None = None
    kind: str = ""
    name: str = ""


class IngressBackend(Base, frozen=True):
    service: IngressServiceBackend | None = None
    resource: TypedReference | None = None
    # extensions/v1beta1 and networking.k8s.io/v1beta1, until Kubernetes 1.21
    service_name: str = ""
    service_port: IntOrString | None = None

    @property
    def target(self) -> IngressServiceBackend | None:
        """The Service backend, whichever API version wrote it."""
        if self.service is not None or not self.service_name:
            return self.service
        p = self.service_port
        port = IngressServicePort(number=p) if isinstance(p, int) else IngressServicePort(name=p or "")
        return IngressServiceBackend(name=self.service_name, port=port)


class IngressPath(Base, frozen=True):
    path: str = ""
    path_type: str = "ImplementationSpecific"
    backend: IngressBackend = IngressBackend()


class IngressHTTP(Base, frozen=True):
    paths: tuple[IngressPath, ...] | None = None


class IngressRule(Base, frozen=True):
    host: str = ""
    http: IngressHTTP | None = None


class IngressTLS(Base, frozen=True):
    hosts: tuple[str, ...] | None = None
    secret_name: str = ""


class IngressSpec(Base, frozen=True):
    ingress_class_name: str | None = None
    default_backend: IngressBackend | None = None
    backend: IngressBackend | None = None  # the default backend's name until Kubernetes 1.21
    rules: tuple[IngressRule, ...] | None = None
    tls: tuple[IngressTLS, ...] | None = None


class Ingress(KubeObject, frozen=True):
    metadata: AnnotatedMeta = AnnotatedMeta()
    spec: IngressSpec = IngressSpec()
    status: ServiceStatus = ServiceStatus()

    @property
    def default_backend(self) -> IngressBackend | None:
        return self.spec.default_backend or self.spec.backend

    @property
    def class_name(self) -> str:
        old = (self.metadata.annotations or {}).get("kubernetes.io/ingress.class", "")
        return self.spec.ingress_class_name or old


class IngressClassSpec(Base, frozen=True):
    controller: str = ""


class IngressClass(KubeObject, frozen=True):
    metadata: AnnotatedMeta = AnnotatedMeta()
    spec: IngressClassSpec = IngressClassSpec()
