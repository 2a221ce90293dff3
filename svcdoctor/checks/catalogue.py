"""The catalogue whole: svcdoctor's own checks and those of other packages, by family and number."""

from __future__ import annotations

from collections.abc import Iterable

# Importing these registers every check of svcdoctor.
from svcdoctor.checks import families, lookups  # noqa: F401
from svcdoctor.checks.plugins import PACKAGES, loaded
from svcdoctor.checks.registry import REGISTRY, Check
from svcdoctor.cluster.nearmiss import near_names
from svcdoctor.model.errors import SvcdoctorError

FAMILIES = {
    "OBJ": "objects: Services, selectors, ports, endpoints",
    "DNS": "cluster DNS",
    "RUL": "Service rules on a node",
    "NOD": "nodes, the pods' network, policies, what listens",
    "EXT": "load balancers, Ingress, Gateway API, IP families",
    "OBS": "what real requests met",
}
"""svcdoctor's own families, in their order, and what they are about."""


def family_of(code: str) -> str:
    """``OBJ`` of ``OBJ001``."""
    return code.rstrip("0123456789")


def catalogue() -> tuple[Check, ...]:
    """Every check: svcdoctor's families in their order, then those of other packages."""
    loaded()
    order = list(FAMILIES)

    def place(check: Check) -> tuple[int, str]:
        family = family_of(check.code)
        return order.index(family) if family in order else len(order), check.code

    return tuple(sorted(REGISTRY.values(), key=place))


def of_families(words: Iterable[str]) -> tuple[Check, ...]:
    """The checks of these families; all for none. Raises SvcdoctorError for a family that there is not."""
    every = catalogue()
    wanted = {w.upper() for w in words}
    known = dict.fromkeys(family_of(c.code) for c in every)
    for word in sorted(wanted - set(known)):
        raise SvcdoctorError(f"no family {word}; there are {', '.join(known)}")
    return tuple(c for c in every if not wanted or family_of(c.code) in wanted)


def of_codes(words: Iterable[str]) -> tuple[Check, ...]:
    """The checks of these codes, in their order, each once. Raises SvcdoctorError for a code that there is not."""
    every = {c.code: c for c in catalogue()}
    codes = dict.fromkeys(w.strip().upper() for w in words)
    for code in codes:
        if code not in every:
            near = near_names(code, every)
            raise SvcdoctorError(
                f"no code {code}" + (f"; near: {', '.join(near)}" if near else "; svcdoctor codes lists all")
            )
    return tuple(every[code] for code in codes)


def explained_by(code: str) -> tuple[Check, ...]:
    """The causes of which a code may be a consequence."""
    return tuple(c for c in catalogue() if code in c.explains)


def package_of(code: str) -> str:
    """The package that a check comes from."""
    return PACKAGES.get(code, "svcdoctor")
