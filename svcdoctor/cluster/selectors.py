"""Label selectors (Kubernetes documentation: Labels and Selectors; API reference: LabelSelector)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from svcdoctor.model.base import Labels
from svcdoctor.model.policy import LabelSelector


def matches_labels(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """Whether ``labels`` carry every pair of an equality selector; an empty one matches all."""
    return all(labels.get(k) == v for k, v in selector.items())


def matches(selector: LabelSelector, labels: Mapping[str, str]) -> bool:
    """Whether a LabelSelector selects these labels: matchLabels and matchExpressions, all of them.

    An operator that is not one of In, NotIn, Exists, DoesNotExist selects nothing.
    """
    if not matches_labels(selector.match_labels or {}, labels):
        return False
    for r in selector.match_expressions or ():
        value = labels.get(r.key)
        values = r.values or ()
        ok = {
            "In": value in values,
            "NotIn": value not in values,
            "Exists": value is not None,
            "DoesNotExist": value is None,
        }.get(r.operator, False)
        if not ok:
            return False
    return True


def workload_selects(selector: Mapping[str, Any], kind: str, labels: Labels) -> bool:
    """Whether a workload's selector (a plain map for ReplicationController) selects these labels."""
    if kind == "ReplicationController":
        return bool(selector) and matches_labels({str(k): str(v) for k, v in selector.items()}, labels)
    if not selector:
        return False
    try:
        return matches(msgspec.convert(dict(selector), LabelSelector), labels)
    except msgspec.ValidationError:
        return False
