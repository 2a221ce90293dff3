"""All rules for one manifest: strict decoding first, then what the kind's validation refuses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from svcdoctor.cluster.strict import decode_strictly
from svcdoctor.cluster.validation.endpointslice import check_endpoint_slice
from svcdoctor.cluster.validation.httproute import check_http_route
from svcdoctor.cluster.validation.ingress import check_ingress
from svcdoctor.cluster.validation.networkpolicy import check_network_policy
from svcdoctor.cluster.validation.refusals import Refusals
from svcdoctor.cluster.validation.service import check_service
from svcdoctor.cluster.validation.workload import check_pod, check_workload
from svcdoctor.model.rejection import Rejection

_Rule = Callable[[Mapping[str, Any], Refusals], None]

_RULES: dict[tuple[str, str], _Rule] = {
    ("v1", "Service"): check_service,
    ("v1", "Pod"): check_pod,
    ("v1", "ReplicationController"): check_workload,
    ("apps/v1", "Deployment"): check_workload,
    ("apps/v1", "ReplicaSet"): check_workload,
    ("apps/v1", "StatefulSet"): check_workload,
    ("apps/v1", "DaemonSet"): check_workload,
    ("batch/v1", "Job"): check_workload,
    ("discovery.k8s.io/v1", "EndpointSlice"): check_endpoint_slice,
    ("networking.k8s.io/v1", "Ingress"): check_ingress,
    ("networking.k8s.io/v1", "NetworkPolicy"): check_network_policy,
    ("gateway.networking.k8s.io/v1", "HTTPRoute"): check_http_route,
    ("gateway.networking.k8s.io/v1beta1", "HTTPRoute"): check_http_route,
}


def rejections(manifest: dict[str, Any]) -> list[Rejection]:
    """What the API server refuses of one manifest, as plain values; none for kinds without rules.

    Values of a wrong type are mended in ``manifest``, so that it can be decoded afterwards.
    """
    rule = _RULES.get((manifest.get("apiVersion", ""), manifest["kind"]))
    if rule is None:
        return []
    found = decode_strictly(manifest, manifest["kind"])
    refused = Refusals(found=found)
    rule(manifest, refused)
    return found
