"""Prometheus' text format: families of samples with their labels.

Specification: https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

from collections.abc import Iterable

Labels = dict[str, str]
Series = Iterable[tuple[Labels, int]]


def family(name: str, kind: str, text: str, series: Series) -> str:
    """A family's HELP and TYPE lines, and its samples."""
    lines = [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
    lines += [sample(name, labels, value) for labels, value in series]
    return "\n".join((*lines, ""))


def sample(name: str, labels: Labels, value: float) -> str:
    """One line."""
    said = ",".join(f'{label}="{_escaped(held)}"' for label, held in labels.items())
    return f"{name}{{{said}}} {value}" if said else f"{name} {value}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
