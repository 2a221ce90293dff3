"""Label selectors (Kubernetes documentation: Labels and Selectors; API reference: LabelSelector)."""

from __future__ import annotations

from collections.abc import Mapping


def matches_labels(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """Whether ``labels`` carry every pair of an equality selector; an empty one matches all."""
    return all(labels.get(k) == v for k, v in selector.items())
