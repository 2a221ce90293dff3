"""What checks and traces ask a source for: the kinds and scopes that no single cluster shows together.

``asked_for`` reads them off the calls of ``View.complete``, as far as they say kind and scope themselves; ``shown``
notes what all cases of all codes really ask for, which takes several seconds.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import svcdoctor
from svcdoctor.model.facts import EVERYTHING, Kind, Scope
from svcdoctor.path.view import View

CHECKS = Path(__file__).parents[1] / "checks"
OTHER = "other"  # a namespace that is not always the same one
CONSTANT = {"NAMESPACE": "kube-system", "ISTIO_ROOT": "istio-system"}

Needed = tuple[str, str | None, bool, str | None]
"""Kind, namespace, whether by labels, name."""


def asked_for() -> set[Needed]:
    """What the calls in ``path`` and ``checks`` name."""
    rooms = (Path(svcdoctor.__file__).parent / room for room in ("path", "checks"))
    trees = (ast.parse(file.read_text()) for room in rooms for file in room.rglob("*.py"))
    calls = (node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Call))
    named = (_named(c) for c in calls if isinstance(c.func, ast.Attribute) and c.func.attr == "complete")
    return {need for need in named if need is not None}


def _named(call: ast.Call) -> Needed | None:
    kind, *scopes = call.args
    if not (isinstance(kind, ast.Attribute) and ast.unparse(kind.value) == "Kind"):
        return None
    which = Kind[kind.attr]
    if not scopes or ast.unparse(scopes[0]) == "EVERYTHING":
        return str(which), None, False, None
    scope = scopes[0]
    if not isinstance(scope, ast.Call):
        return None
    name = next((k.value for k in scope.keywords if k.arg == "name"), None)
    one = None if name is None else name.value if isinstance(name, ast.Constant) else "one"
    if which is Kind.CONFIG_MAP:
        return str(which), "kube-system", False, str(one)
    if ast.unparse(scope.func) == "selector_scope":
        return str(which), OTHER, True, None
    where = ast.unparse(scope.args[0]) if scope.args else "None"
    namespace = None if where == "None" else CONSTANT.get(where, OTHER)
    return str(which), namespace, len(scope.args) > 1, None if one is None else "one"


def shown() -> set[Needed]:
    """What is asked for in the broken and the sound cluster of each case of each code."""
    found: set[Needed] = set()
    complete = View.complete

    def noted(view: View, kind: Kind, scope: Scope = EVERYTHING, *, required: bool = False) -> bool:
        fixed = scope.namespace in (None, "kube-system", "istio-system")
        name = scope.name if kind is Kind.CONFIG_MAP else "one" if scope.name is not None else None
        found.add((str(kind), scope.namespace if fixed else OTHER, bool(scope.labels), name))
        return complete(view, kind, scope, required=required)

    sys.path.append(str(CHECKS))
    try:
        from test_every_code import CASES

        View.complete = noted  # type: ignore[method-assign]
        for case in CASES:
            case.broken()
            case.sound()
    finally:
        View.complete = complete  # type: ignore[method-assign]
        sys.path.remove(str(CHECKS))
    return found
