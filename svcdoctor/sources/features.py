"""Which uses svcdoctor has, and what each asks the API server for.

The rules lie in ``features.json``, recorded from the requests that the commands really made. tests/lab/test_roles.py
writes that file and the roles in plugins/rbac, and holds both against the commands.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files

import msgspec

from svcdoctor.cluster.nearmiss import near_names
from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.model.permission import Feature, Rule

COMMANDS: dict[str, str] = {
    "trace": "trace svc/web",
    "check": "check",
    "wait": "wait svc/web",
    "test": "test expectations.yaml",
    "dns": "dns web --from pod/client",
    "snapshot": "snapshot save cluster.tar.gz",
    "watch": "watch svc/web",
    "forward": "forward svc/web 8080:80",
    "proxy": "proxy svc/web --nodeport",
    "nodes-exec": "trace svc/web --node-facts exec",
    "nodes-pods": "trace svc/web --node-facts pods",
    "nodes-daemonset": "trace svc/web --node-facts daemonset",
    "probe": "trace svc/web --probe",
    "probe-exec": "trace svc/web --probe --from pod/client",
    "probe-pods": "trace svc/web --probe --from node/NODE",
    "dns-exec": "dns web --from pod/client --ask exec",
    "dns-debug": "dns web --from pod/client --ask debug",
    "dns-tunnel": "dns web --ask tunnel",
    "capture-pods": "capture svc/web --node NODE --capture-image IMAGE",
    "cleanup": "cleanup",
}
"""The features by name, with a command that is one."""


@cache
def features() -> tuple[Feature, ...]:
    """All features with their rules."""
    data = (files(__package__) / "features.json").read_bytes()
    rules = msgspec.json.decode(data, type=dict[str, list[Rule]])
    return tuple(Feature(name, command, tuple(rules.get(name, ()))) for name, command in COMMANDS.items())


def of_names(names: tuple[str, ...]) -> tuple[Feature, ...]:
    """The features of these names, all where there are none. Raises SvcdoctorError for a name that is none."""
    for name in names:
        if name not in COMMANDS:
            near = near_names(name, COMMANDS)
            meant = f"did you mean {near[0]}?" if near else f"there are {', '.join(COMMANDS)}"
            raise SvcdoctorError(f"no feature {name!r}; {meant}")
    return tuple(feature for feature in features() if not names or feature.name in names)
