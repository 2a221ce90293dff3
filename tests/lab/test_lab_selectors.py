"""Label and field selectors, read as the API server reads them."""

from __future__ import annotations

import pytest

from svcdoctor.lab.resources import Object, find_resource
from svcdoctor.lab.selectors import Selection, parse_labels, selection
from svcdoctor.lab.status import ApiError

LABELS = {"app": "web", "tier": "front", "example.com/gen": "3", "empty": ""}


def labelled(labels: dict[str, str]) -> Object:
    return {"metadata": {"name": "x", "labels": labels}}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", True),
        ("app=web", True),
        ("app==web", True),
        ("app = web , tier = front", True),
        ("app=edge", False),
        ("app!=web", False),
        ("app!=edge", True),
        ("missing!=web", True),
        ("app in (web, edge)", True),
        ("app in (edge)", False),
        ("app notin (web)", False),
        ("missing notin (web)", True),
        ("app", True),
        ("missing", False),
        ("!missing", True),
        ("! app", False),
        ("example.com/gen>2", True),
        ("example.com/gen<3", False),
        ("app>2", False),
        ("empty=", True),
        ("empty in (,a)", True),
        ("app in ()", False),
        ("in in (in)", False),
        ("app=web,tier in (front,back),!missing", True),
    ],
)
def test_labels(text: str, expected: bool) -> None:
    assert Selection(labels=parse_labels(text)).matches(labelled(LABELS)) is expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("app===x", "unable to parse requirement: found '=', expected: identifier"),
        ("app=a,", "found '', expected: identifier after ','"),
        ("=a", "found '=', expected: !, identifier, or 'end of string'"),
        ("app in web", "unable to parse requirement: found 'web' expected: '('"),
        ("app in (web", "unable to parse requirement: found '', expected: ',' or ')'"),
        ("app web", "unable to parse requirement: found 'web', expected: in, notin, =, ==, !=, gt, lt"),
        ("app=a b", "found 'b', expected: ',' or 'end of string'"),
        ("!app=b", "found '=', expected: ',' or 'end of string'"),
        ("app>x", "unable to parse requirement: for 'Gt', 'Lt' operators, the value must be an integer"),
        ("-app=x", 'Invalid value: "-app"'),
        ("UP.case/app=x", 'Invalid value: "UP.case/app"'),
        ("app=" + "x" * 64, "a label value is at most 63"),
    ],
)
def test_label_errors(text: str, message: str) -> None:
    with pytest.raises(ApiError) as caught:
        parse_labels(text)
    assert caught.value.code == 400
    assert message in caught.value.message


POD: Object = {
    "metadata": {"name": "p", "namespace": "n"},
    "spec": {"nodeName": "node1", "hostNetwork": True},
    "status": {"phase": "Running", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]},
}
POD_V6: Object = {"metadata": {"name": "p6"}, "status": {"podIPs": [{"ip": "fd00::1"}]}}
SERVICE: Object = {"metadata": {"name": "s"}, "spec": {"clusterIP": "fd00::10", "type": "NodePort"}}
EVENT: Object = {
    "metadata": {"name": "e", "namespace": "n"},
    "involvedObject": {"kind": "Pod", "name": "p", "uid": "1"},
    "reason": "Killing",
    "type": "Warning",
    "source": {"component": "kubelet"},
}


@pytest.mark.parametrize(
    ("resource", "obj", "text", "expected"),
    [
        ("pods", POD, "metadata.name=p,metadata.namespace=n", True),
        ("pods", POD, "spec.nodeName=node1", True),
        ("pods", POD, "spec.nodeName==node2", False),
        ("pods", POD, "status.phase!=Running", False),
        ("pods", POD, "status.podIP=10.0.0.1,spec.hostNetwork=true", True),
        ("pods", POD_V6, "status.podIP=fd00::1", True),
        ("pods", POD_V6, "spec.nodeName=", True),
        ("services", SERVICE, "spec.clusterIP=fd00::10,spec.type=NodePort", True),
        ("services", SERVICE, "spec.clusterIP=None", False),
        ("events", EVENT, "involvedObject.kind=Pod,involvedObject.name=p,involvedObject.uid=1", True),
        ("events", EVENT, "reason=Killing,type!=Normal,source=kubelet", True),
        ("configmaps", POD, "metadata.name!=p", False),
        ("configmaps", POD, r"metadata.name=a\,b", False),
    ],
)
def test_fields(resource: str, obj: Object, text: str, expected: bool) -> None:
    found = find_resource("", "v1", resource)
    assert found is not None
    assert selection(found, field_selector=text).matches(obj) is expected


@pytest.mark.parametrize(
    ("resource", "text", "message"),
    [
        ("pods", "spec.foo=x", "field label not supported: spec.foo"),
        ("pods", "spec.nodeName", "invalid selector: 'spec.nodeName'; can't understand 'spec.nodeName'"),
        ("configmaps", "data=x", '"data" is not a known field selector: only "metadata.name"'),
    ],
)
def test_field_errors(resource: str, text: str, message: str) -> None:
    found = find_resource("", "v1", resource)
    assert found is not None
    with pytest.raises(ApiError) as caught:
        selection(found, field_selector=text)
    assert caught.value.code == 400
    assert message in caught.value.message
