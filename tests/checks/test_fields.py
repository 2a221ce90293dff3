"""Where in a manifest a finding's cause is written: the place is there, in the object that the finding is about."""

import re
from functools import cache

import pytest
import yaml
from faultpairs import CODES, FAULTS, ask

STEP = re.compile(r"\.?([A-Za-z]+)|\[(\d+)\]|\['([^']+)'\]")
WRITTEN = {
    "OBJ002": "spec.selector",
    "OBJ003": "spec.selector",
    "OBJ004": "spec.selector",
    "OBJ005": "spec.ports[0].targetPort",
    "OBJ010": "spec.ports[0].targetPort",
    "OBJ011": "spec.ports[0].protocol",
    "OBJ012": "spec.ports[0].targetPort",
    "OBJ013": "spec.ports[0].targetPort",
    "OBJ014": "spec.ports[0].targetPort",
    "OBJ015": "spec.ports[0].protocol",
    "OBJ017": "spec.publishNotReadyAddresses",
    "OBJ018": "spec.selector",
    "OBJ025": "spec.ports[0].port",
    "OBJ026": "spec.sessionAffinity",
    "OBJ027": "spec.externalName",
    "OBJ028": "spec.externalIPs",
    "OBJ029": "metadata.labels['service.kubernetes.io/service-proxy-name']",
    "EXT001": "spec.type",
    "EXT002": "spec.loadBalancerSourceRanges",
    "EXT004": "spec.ipFamilies",
    "RUL009": "spec.externalTrafficPolicy",
    "RUL010": "spec.internalTrafficPolicy",
}


@cache
def first(code):
    return ask(code, "broken").findings[0]


@pytest.mark.parametrize("code", WRITTEN)
def test_the_cause_is_written_there(code):
    assert first(code).field == WRITTEN[code]


@pytest.mark.parametrize("code", CODES)
def test_the_place_is_in_the_first_subjects_manifest(code):
    finding = first(code)
    if not finding.field:
        return
    kind, *namespace, name = finding.subjects[0].split("/")
    documents = yaml.safe_load_all((FAULTS / code / "broken.yaml").read_text())
    found = [o for d in documents if d for o in (d.get("items") or [d])]
    (held,) = [
        o
        for o in found
        if (o["kind"], o["metadata"]["name"]) == (kind, name)
        and o["metadata"].get("namespace", "default") in (*namespace, "default")
    ]
    steps = [a or (int(b) if b else c) for a, b, c in STEP.findall(finding.field)]
    assert "".join(m[0] for m in STEP.finditer(finding.field)) == finding.field, "Kubernetes' notation"
    for step in steps[:-1]:  # the last one may be what is missing
        held = held[step]
    assert isinstance(held, dict | list)
