"""NetworkPolicy (networking.k8s.io/v1)."""

from __future__ import annotations

import msgspec

from svcdoctor.model.base import AnnotatedMeta, Base, IntOrString, KubeObject, Labels


class LabelRequirement(Base, frozen=True):
    key: str = ""
    operator: str = ""
    values: tuple[str, ...] | None = None


class LabelSelector(Base, frozen=True):
    match_labels: Labels | None = None
    match_expressions: tuple[LabelRequirement, ...] | None = None


class IPBlock(Base, frozen=True):
    cidr: str = ""
    except_: tuple[str, ...] | None = msgspec.field(default=None, name="except")


class PolicyPeer(Base, frozen=True):
    pod_selector: LabelSelector | None = None
    namespace_selector: LabelSelector | None = None
    ip_block: IPBlock | None = None


class PolicyPort(Base, frozen=True):
    port: IntOrString | None = None
    end_port: int | None = None
    protocol: str | None = None


class IngressPolicyRule(Base, frozen=True):
    from_: tuple[PolicyPeer, ...] | None = msgspec.field(default=None, name="from")
    ports: tuple[PolicyPort, ...] | None = None


class EgressPolicyRule(Base, frozen=True):
    to: tuple[PolicyPeer, ...] | None = None
    ports: tuple[PolicyPort, ...] | None = None


class NetworkPolicySpec(Base, frozen=True):
    pod_selector: LabelSelector = LabelSelector()
    policy_types: tuple[str, ...] | None = None
    ingress: tuple[IngressPolicyRule, ...] | None = None
    egress: tuple[EgressPolicyRule, ...] | None = None


class NetworkPolicy(KubeObject, frozen=True):
    metadata: AnnotatedMeta = AnnotatedMeta()
    spec: NetworkPolicySpec = NetworkPolicySpec()
