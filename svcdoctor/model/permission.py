"""What a feature must be allowed to ask the API server for, and what of it somebody may: plain values.

Specification: https://kubernetes.io/docs/reference/access-authn-authz/rbac/
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

NAMESPACE = "namespace"
"""Where a rule holds: in the namespace that is asked about, or in all where all are."""

CLUSTER = "cluster"
"""Where a rule holds: of the whole cluster, for lists over all namespaces and for what is in none."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Verbs on one resource, ``pods/exec`` being one. ``where`` is NAMESPACE, CLUSTER, or the one namespace meant.

    Without a ``required`` one the feature fails; without another it goes on, and says what it could not look at.
    ``name`` is the one object meant, empty for all.
    """

    where: str
    group: str
    resource: str
    verbs: tuple[str, ...]
    required: bool = True
    name: str = ""

    @property
    def qualified(self) -> str:
        """The resource with its group, as kubectl takes it: ``endpointslices.discovery.k8s.io``."""
        main, slash, sub = self.resource.partition("/")
        return f"{main}.{self.group}{slash}{sub}" if self.group else self.resource


@dataclass(frozen=True, slots=True)
class Feature:
    """One use of svcdoctor: its name, a ``command`` that is one, and all that it may ask for.

    What a command with options takes beyond the same one without them is a feature of its own.
    """

    name: str
    command: str
    rules: tuple[Rule, ...]


class State(StrEnum):
    """Whether somebody may use a feature."""

    ALLOWED = "allowed"
    PARTLY = "partly"
    NOT = "not"


@dataclass(frozen=True, slots=True)
class Allowance:
    """A feature, and the rules, with only the verbs, that somebody lacks for it."""

    feature: Feature
    missing: tuple[Rule, ...]

    @property
    def state(self) -> State:
        if not self.missing:
            return State.ALLOWED
        return State.NOT if any(rule.required for rule in self.missing) else State.PARTLY


@dataclass(frozen=True, slots=True)
class Permissions:
    """What ``user`` may in ``namespace`` (``None``: in all). The user is empty where the server does not tell it."""

    user: str
    namespace: str | None
    features: tuple[Allowance, ...]
