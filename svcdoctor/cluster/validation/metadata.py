"""Names, labels, annotations and label selectors of every kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from svcdoctor.cluster.validation.formats import (
    Reasons,
    dns_1035_label,
    dns_label,
    dns_subdomain,
    label_value,
    qualified_name,
)
from svcdoctor.cluster.validation.refusals import Refusals
from svcdoctor.model.finding import Severity

_OPERATORS = ("DoesNotExist", "Exists", "In", "NotIn")


def key(name: str) -> str:
    """A map's key as the last step of a path."""
    plain = name.replace("_", "").replace("-", "").isalnum()
    return f".{name}" if plain else f"['{name}']"


def check_metadata(metadata: Mapping[str, Any], refused: Refusals, *, service: bool = False) -> None:
    """ObjectMeta. A Service's name is a DNS label, other names are DNS subdomains."""
    name = metadata.get("name", "")
    if not name and not metadata.get("generateName"):
        refused.required("metadata.name", "metadata.name: a name", "name or generateName is required")
    elif name:
        _check_name(name, refused, service)
    if metadata.get("namespace"):
        refused.invalid(
            "metadata.namespace", metadata["namespace"], dns_label(metadata["namespace"]), _fix("namespace")
        )
    check_labels(metadata.get("labels", {}), refused, "metadata.labels")
    for name in metadata.get("annotations", {}):
        # A key's prefix is compared without regard to case (ValidateAnnotations).
        refused.invalid(
            f"metadata.annotations{key(name)}", name, qualified_name(name.lower()), _fix("the key")
        )


def _check_name(name: str, refused: Refusals, service: bool) -> None:
    reasons = dns_label(name) if service else dns_subdomain(name)
    refused.invalid("metadata.name", name, reasons, _name_fix(name, reasons))
    if service and not reasons:
        refused.invalid(
            "metadata.name",
            name,
            dns_1035_label(name),
            f"name: svc-{name}",
            "API servers before Kubernetes 1.36 want a letter first (KEP-5311)",
            Severity.WARNING,
        )


def _name_fix(name: str, reasons: Reasons) -> str:
    plain = "".join(c if c.isalnum() or c in "-." else "-" for c in name.lower()).strip("-.")
    return f"name: {plain}" if plain and plain != name and len(reasons) == 1 else _fix("name")


def _fix(what: str) -> str:
    return (
        f"{what}: lower-case letters, digits and '-'"
        if what != "the key"
        else "letters, digits, '-', '_' or '.'"
    )


def check_labels(labels: Mapping[str, str], refused: Refusals, field: str) -> None:
    """Labels, or a selector that is a plain map (ValidateLabels)."""
    for name, value in labels.items():
        reasons = qualified_name(name)
        if reasons:
            refused.invalid(f"{field}{key(name)}", name, reasons, "letters, digits, '-', '_' or '.'")
        reasons = label_value(value)
        if reasons:
            refused.invalid(f"{field}{key(name)}", value, reasons, _value_fix(name, value))


def _value_fix(name: str, value: str) -> str:
    plain = "".join(c if c.isalnum() or c in "-_." else "-" for c in value if c.isascii())[:63].strip("-_.")
    return f"{name}: {plain}" if plain else f"{name}: at most 63 letters, digits, '-', '_' or '.'"


def check_selector(selector: Mapping[str, Any], refused: Refusals) -> None:
    """A LabelSelector (ValidateLabelSelector)."""
    check_labels(selector.get("matchLabels", {}), refused, "matchLabels")
    for i, requirement in enumerate(selector.get("matchExpressions", ())):
        at = refused.below(f"matchExpressions[{i}]")
        operator, values = requirement.get("operator", ""), requirement.get("values", ())
        if operator in ("In", "NotIn"):
            if not values:
                at.required(
                    "values", "values: at least one", "must be specified when `operator` is 'In' or 'NotIn'"
                )
        elif operator in ("Exists", "DoesNotExist"):
            if values:
                at.forbidden(
                    "values",
                    "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
                    "remove values",
                )
        else:
            at.invalid(
                "operator",
                operator,
                "not a valid selector operator",
                f"operator: one of {', '.join(_OPERATORS)}",
            )
        at.invalid(
            "key", requirement.get("key", ""), qualified_name(requirement.get("key", "")), "key: a label's"
        )
        for n, value in enumerate(values):
            at.invalid(f"values[{n}]", value, label_value(value), "a label's value")


def selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a LabelSelector matches; one that is malformed is taken as matching."""
    if any(labels.get(k) != v for k, v in selector.get("matchLabels", {}).items()):
        return False
    return all(_meets(r, labels) for r in selector.get("matchExpressions", ()))


def _meets(requirement: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    name, values = requirement.get("key", ""), requirement.get("values", ())
    tests: dict[str, Callable[[], bool]] = {
        "In": lambda: labels.get(name) in values,
        "NotIn": lambda: name not in labels or labels[name] not in values,
        "Exists": lambda: name in labels,
        "DoesNotExist": lambda: name not in labels,
    }
    test = tests.get(requirement.get("operator", ""))
    return test is None or test()
