"""Label selectors (Kubernetes documentation: Labels and Selectors; API reference: LabelSelector)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from svcdoctor.model.errors import SvcdoctorError


def matches_labels(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """Whether ``labels`` carry every pair of an equality selector; an empty one matches all."""
    return all(labels.get(k) == v for k, v in selector.items())


def selector_text(selector: Mapping[str, Any]) -> str:
    """A LabelSelector in the words of the API's ``labelSelector`` parameter; empty for one that selects all.

    Raises SvcdoctorError for an operator that there is none of.
    """
    terms = [f"{key}={value}" for key, value in sorted((selector.get("matchLabels") or {}).items())]
    for expression in selector.get("matchExpressions") or ():
        key, operator = expression.get("key", ""), expression.get("operator", "")
        values = ",".join(expression.get("values") or ())
        match operator:
            case "In":
                terms.append(f"{key} in ({values})")
            case "NotIn":
                terms.append(f"{key} notin ({values})")
            case "Exists":
                terms.append(key)
            case "DoesNotExist":
                terms.append(f"!{key}")
            case _:
                raise SvcdoctorError(
                    f"label selector: {operator!r} is no operator; there are In, NotIn, Exists and DoesNotExist"
                )
    return ",".join(terms)
