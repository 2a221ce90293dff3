"""Whether a workload's newest template is what its pods are made of, by what each kind's status says."""

import msgspec
import pytest

from svcdoctor.checks.rollouts import unfinished
from svcdoctor.model.facts import Kind
from svcdoctor.model.service import Service
from svcdoctor.model.snapshot import Snapshot
from svcdoctor.model.workload import Workload

SERVICE = msgspec.convert(
    {"kind": "Service", "metadata": {"name": "web", "namespace": "a"}, "spec": {"selector": {"app": "web"}}},
    Service,
)


def said(kind, generation=2, labels=None, namespace="a", status=None, **spec):
    """What is said of a workload, whose status has seen everything unless it says otherwise."""
    template = {"metadata": {"labels": labels or {"app": "web", "tier": "x"}}}
    obj = {
        "kind": kind,
        "metadata": {"name": "w", "namespace": namespace, "generation": generation},
        "spec": {"template": template, **spec},
        "status": {"observedGeneration": 2, **(status or {})},
    }
    snapshot = Snapshot({Kind(kind): (msgspec.convert(obj, Workload),)}, {})
    return list(unfinished(snapshot, SERVICE))


DONE = [
    said("Deployment", replicas=3, status={"replicas": 3, "updatedReplicas": 3}),
    said("Deployment", status={"replicas": 1, "updatedReplicas": 1}),  # one replica by default
    said("Deployment", replicas=0),
    said("Deployment", generation=None, replicas=3),  # an object that does not say
    said("Deployment", replicas=3, status={"observedGeneration": None}),
    said("Deployment", generation=9, labels={"app": "other"}),
    said("Deployment", generation=9, namespace="b"),
    said("StatefulSet", replicas=3, status={"updatedReplicas": 3}),
    said(
        "StatefulSet",
        replicas=3,
        status={"updatedReplicas": 1},
        updateStrategy={"type": "RollingUpdate", "rollingUpdate": {"partition": 2}},
    ),
    said("StatefulSet", replicas=3, updateStrategy={"type": "OnDelete"}),
    said("DaemonSet", status={"desiredNumberScheduled": 2, "updatedNumberScheduled": 2}),
]


@pytest.mark.parametrize("words", DONE)
def test_what_is_done_is_not_spoken_of(words):
    assert words == []


WAITING = [
    (said("Deployment", generation=3), "deployment/w: its controller has not seen the newest change yet"),
    (
        said("Deployment", replicas=3, status={"replicas": 3}),
        "deployment/w: 0 of 3 pods are of its newest template",
    ),
    (
        said("Deployment", replicas=3, paused=True, status={"updatedReplicas": 1}),
        "deployment/w: 1 of 3 pods are of its newest template; it is paused",
    ),
    (
        said("Deployment", replicas=3, status={"replicas": 4, "updatedReplicas": 3}),
        "deployment/w: pods of an older template are still there (1)",
    ),
    (
        said(
            "StatefulSet",
            replicas=3,
            status={"updatedReplicas": 1},
            updateStrategy={"type": "RollingUpdate", "rollingUpdate": {"partition": 1}},
        ),
        "statefulset/w: 1 of 2 pods are of its newest template",
    ),
    (
        said("DaemonSet", status={"desiredNumberScheduled": 3, "updatedNumberScheduled": 2}),
        "daemonset/w: 2 of 3 pods are of its newest template",
    ),
    (
        said("StatefulSet", generation=3, updateStrategy={"type": "OnDelete"}),
        "statefulset/w: its controller has not seen the newest change yet",
    ),
]


@pytest.mark.parametrize(("words", "wanted"), WAITING)
def test_what_is_not_done_yet(words, wanted):
    assert words == [wanted]
