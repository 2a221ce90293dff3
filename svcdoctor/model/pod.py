"""Pod (core/v1): addresses, ports, readiness; never what a container holds."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from svcdoctor.model.base import Base, IntOrString, KubeObject, Meta
from svcdoctor.model.errors import SvcdoctorError

T = TypeVar("T")

NOTHING = msgspec.Raw()


class ContainerPort(Base, frozen=True):
    container_port: int = 0
    name: str = ""
    protocol: str = "TCP"
    host_port: int = 0
    host_ip: str = msgspec.field(default="", name="hostIP")


class PortAction(Base, frozen=True):
    port: IntOrString | None = None


class Probe(Base, frozen=True):
    """A container's probe: only which port it asks, never its command, path or headers."""

    http_get: PortAction | None = None
    tcp_socket: PortAction | None = None
    grpc: PortAction | None = None
    period_seconds: int | None = None
    failure_threshold: int | None = None
    timeout_seconds: int | None = None

    @property
    def port(self) -> IntOrString | None:
        """The port that kubelet dials on the pod's address, ``None`` for an exec probe."""
        action = self.http_get or self.tcp_socket or self.grpc
        return action.port if action else None


class Lifecycle(Base, frozen=True):
    pre_stop: dict[str, Any] | None = None


class Container(Base, frozen=True):
    name: str = ""
    ports: tuple[ContainerPort, ...] | None = None
    readiness_probe: Probe | None = None
    restart_policy: str | None = None
    # Undecoded: read only where a backend's own settings are the evidence, and never written out.
    env: msgspec.Raw = NOTHING
    args: msgspec.Raw = NOTHING
    command: msgspec.Raw = NOTHING


class ReadinessGate(Base, frozen=True):
    condition_type: str = ""


class DnsOption(Base, frozen=True):
    """One of resolv.conf's options; without a value it is a switch."""

    name: str = ""
    value: str | None = None


class DnsConfig(Base, frozen=True):
    nameservers: tuple[str, ...] | None = None
    searches: tuple[str, ...] | None = None
    options: tuple[DnsOption, ...] | None = None


class PodSpec(Base, frozen=True):
    node_name: str = ""
    host_network: bool = False
    hostname: str = ""
    subdomain: str = ""
    dns_policy: str = ""
    dns_config: DnsConfig | None = None
    containers: tuple[Container, ...] | None = None
    init_containers: tuple[Container, ...] | None = None
    readiness_gates: tuple[ReadinessGate, ...] | None = None
    termination_grace_period_seconds: int | None = None


class Condition(Base, frozen=True):
    type: str = ""
    status: str = ""
    reason: str | None = None
    message: str | None = None


class WaitingState(Base, frozen=True):
    reason: str | None = None
    message: str | None = None


class RunningState(Base, frozen=True):
    started_at: str | None = None


class TerminatedState(Base, frozen=True):
    """How a container ended; not its message, which may be a piece of its log."""

    reason: str | None = None
    exit_code: int | None = None


class ContainerState(Base, frozen=True):
    waiting: WaitingState | None = None
    running: RunningState | None = None
    terminated: TerminatedState | None = None


class ContainerStatus(Base, frozen=True):
    name: str = ""
    ready: bool = False
    restart_count: int = 0
    state: ContainerState = ContainerState()
    last_state: ContainerState = ContainerState()


class IP(Base, frozen=True):
    ip: str = ""


class PodStatus(Base, frozen=True):
    phase: str = ""
    reason: str | None = None
    message: str | None = None
    pod_ip: str = msgspec.field(default="", name="podIP")
    pod_ips: tuple[IP, ...] | None = msgspec.field(default=None, name="podIPs")
    host_ip: str = msgspec.field(default="", name="hostIP")
    conditions: tuple[Condition, ...] | None = None
    container_statuses: tuple[ContainerStatus, ...] | None = None
    init_container_statuses: tuple[ContainerStatus, ...] | None = None


class Pod(KubeObject, frozen=True, dict=True, gc=True):
    """A pod, whose spec and status are decoded when first asked for, and then kept.

    A question about one Service looks into a handful of pods, a dump may hold 50,000: decoding them all
    would take most of the time and memory of the answer. The raw parts may hold what must not be written
    anywhere (environment, arguments): whoever writes a pod writes ``spec`` and ``status``.
    """

    raw_spec: msgspec.Raw = msgspec.field(default=msgspec.Raw(b"{}"), name="spec")
    raw_status: msgspec.Raw = msgspec.field(default=msgspec.Raw(b"{}"), name="status")

    @classmethod
    def of(cls, metadata: Meta, spec: PodSpec, status: PodStatus) -> Pod:
        """A pod from its parts."""
        encode = msgspec.json.encode
        return cls(
            kind="Pod",
            api_version="v1",
            metadata=metadata,
            raw_spec=msgspec.Raw(encode(spec)),
            raw_status=msgspec.Raw(encode(status)),
        )

    @property
    def spec(self) -> PodSpec:
        """The pod's spec. Raises SvcdoctorError, naming the pod, when the dump's spec is malformed."""
        return self._part("spec", _spec, self.raw_spec)

    @property
    def status(self) -> PodStatus:
        """The pod's status. Raises SvcdoctorError, naming the pod, when the dump's status is malformed."""
        return self._part("status", _status, self.raw_status)

    def _part(self, name: str, decoder: msgspec.json.Decoder[T], raw: msgspec.Raw) -> T:
        # Not functools.cached_property: in Python 3.11 its lock costs more than the decoding.
        kept: dict[str, T] = self.__dict__
        part = kept.get(name)
        if part is None:
            try:
                part = kept[name] = decoder.decode(raw)
            except (msgspec.DecodeError, RecursionError) as e:
                raise SvcdoctorError(f"Pod {self.namespace}/{self.name}: not a valid object: {e}") from None
        return part

    @property
    def ips(self) -> tuple[str, ...]:
        ips = self.status.pod_ips
        if ips:
            return tuple(i.ip for i in ips)
        return (self.status.pod_ip,) if self.status.pod_ip else ()

    @property
    def serving_containers(self) -> tuple[Container, ...]:
        """The containers that run beside each other: main ones and restartable init containers.

        Sidecar containers are init containers with restartPolicy Always; their ports count
        (Kubernetes documentation: Sidecar Containers).
        """
        initial = self.spec.init_containers
        containers = self.spec.containers or ()
        if not initial:
            return containers
        return containers + tuple(c for c in initial if c.restart_policy == "Always")

    def condition(self, kind: str) -> Condition | None:
        return next((c for c in self.status.conditions or () if c.type == kind), None)

    @property
    def ready(self) -> bool:
        c = self.condition("Ready")
        return c is not None and c.status == "True"

    @property
    def terminating(self) -> bool:
        return self.metadata.deletion_timestamp is not None

    @property
    def finished(self) -> bool:
        """Whether the pod has ended; where neither word occurs, nothing needs to be decoded to see it."""
        raw = bytes(self.raw_status)
        if b'"Succeeded"' not in raw and b'"Failed"' not in raw:
            return False
        return self.status.phase in ("Succeeded", "Failed")


_spec = msgspec.json.Decoder(PodSpec)
_status = msgspec.json.Decoder(PodStatus)
