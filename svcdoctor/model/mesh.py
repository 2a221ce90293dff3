"""PeerAuthentication (security.istio.io): whether workloads of the mesh take plaintext.

Specification: https://istio.io/latest/docs/reference/config/security/peer_authentication/
"""

from __future__ import annotations

from svcdoctor.model.base import Base, KubeObject, Labels


class WorkloadSelector(Base, frozen=True):
    match_labels: Labels | None = None


class MutualTLS(Base, frozen=True):
    """``STRICT``, ``PERMISSIVE``, ``DISABLE``; ``UNSET`` or nothing inherits."""

    mode: str = ""


class PeerAuthenticationSpec(Base, frozen=True):
    selector: WorkloadSelector | None = None
    mtls: MutualTLS | None = None
    # By the workload's port, as text: {"8080": {"mode": "DISABLE"}}
    port_level_mtls: dict[str, Labels] | None = None


class PeerAuthentication(KubeObject, frozen=True):
    spec: PeerAuthenticationSpec = PeerAuthenticationSpec()
