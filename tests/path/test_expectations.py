"""Files of reachability tests: what they say, and what is wrong with them, with its line."""

import pytest

from svcdoctor.model.request import AddressTarget, ObjectTarget
from svcdoctor.model.trace import ClientKind, EntryKind, Result, SourceSeen
from svcdoctor.path.expectations import Expectations

HEAD = "apiVersion: svcdoctor/v1\nkind: ReachabilityTest\n"
ONE = "  - {name: a, from: external, to: svc/web, expect: delivered"


def read(*texts, namespace="default"):
    held = Expectations(namespace)
    for number, text in enumerate(texts):
        held.read(text, f"f{number}.yaml")
    return held


def problems(*texts):
    return [(p.place.file, p.place.line, p.message) for p in read(*texts).problems]


def test_everything_that_can_be_said():
    text = f"""{HEAD}namespace: shop
tests:
  - name: all of it
    from: pod/bank/client
    to: svc/web:http
    via: [clusterIP, dns]
    node: n1
    protocol: UDP
    family: 6
    expect: delivered
    backends: {{within: [deploy/web, pod/other/db-0]}}
    sourceSeen: client
"""
    held = read(text)
    assert not held.problems
    [one] = held.found
    assert (one.name, one.place.line, one.namespace) == ("all of it", 5, "shop")
    assert one.request.target == ObjectTarget("Service", "web", "shop", "http")
    client = one.request.client
    assert (client.kind, client.namespace, client.name) == (ClientKind.POD, "bank", "client")
    assert one.request.via == {EntryKind.CLUSTER_IP, EntryKind.DNS}
    assert (one.request.node, one.request.protocol, one.request.family) == ("n1", "UDP", 6)
    assert one.expect is Result.DELIVERED and one.source_seen is SourceSeen.CLIENT
    assert not one.backends.exactly
    assert one.backends.ends == (
        ObjectTarget("Deployment", "web", "shop"),
        ObjectTarget("Pod", "db-0", "other"),
    )


def test_targets_are_those_of_trace():
    targets = ("http://web.shop/", "10.0.0.1:80", "'[fd00::1]:80'", "ingress/front/api", "web")
    lines = "".join(
        f"  - {{name: n{i}, from: external, to: {t}, expect: dropped}}\n" for i, t in enumerate(targets)
    )
    held = read(f"{HEAD}tests:\n{lines}")
    assert not held.problems
    url, v4, v6, ingress, service = (e.request.target for e in held.found)
    assert url == AddressTarget("web.shop", 80, "http", "/")
    assert (v4, v6) == (AddressTarget("10.0.0.1", 80), AddressTarget("fd00::1", 80))
    assert (ingress.kind, ingress.path) == ("Ingress", "/api")
    assert service == ObjectTarget("Service", "web", "default")


def test_several_documents_and_files():
    second = f"{HEAD}namespace: b\ntests: [{{name: c, from: pod, to: web, expect: dropped}}]"
    held = read(
        f"{HEAD}tests:\n{ONE}}}\n---\n{second}", f"---\n{HEAD}tests:\n{ONE.replace('name: a', 'name: d')}}}"
    )
    assert not held.problems
    assert [(e.name, e.namespace, e.place.file) for e in held.found] == [
        ("a", "default", "f0.yaml"),
        ("c", "b", "f0.yaml"),
        ("d", "default", "f1.yaml"),
    ]


WRONG = [
    # What stands after the two first lines, the line, and what is said.
    ("tests:\n  - name: a\n   from: x", 5, "not YAML: "),
    ("tests: []", 3, "tests is a list, not a list of tests"),
    ("tests: 3", 3, "tests is the number 3, not a list of tests"),
    ("", 1, "tests is nothing, not a list of tests"),
    ("testz:\n" + ONE + "}", 3, "testz is no key here; is it tests?"),
    ("namespace: 7\ntests:\n" + ONE + "}", 3, "namespace is not a name"),
    ("tests:\n  - web", 4, "test 1 is text, not keys and values"),
    ("tests:\n" + ONE + ", expects: x}", 4, "expects is no key here; is it expect?"),
    ("tests:\n  - name: a\n    from: external\n    expect: dropped", 4, "to is missing"),
    ("tests:\n" + ONE.replace("delivered", "works") + "}", 4, "expect is 'works'; say delivered, refused or"),
    ("tests:\n" + ONE.replace("delivered", "yes") + "}", 4, "expect is true or false; say delivered,"),
    ("tests:\n" + ONE.replace("external", "me") + "}", 4, "from me: say external[/IP], node/NAME or pod/"),
    ("tests:\n" + ONE.replace("svc/web", "svx/web") + "}", 4, "to: svx/web: unknown type 'svx'"),
    ("tests:\n" + ONE.replace("name: a", "name: 5") + "}", 4, "name is the number 5, not text"),
    ("tests:\n" + ONE + ", family: 5}", 4, "family is 5; say 4 or 6"),
    ("tests:\n" + ONE + ", family: true}", 4, "family is True; say 4 or 6"),
    ("tests:\n" + ONE + ", protocol: tcp}", 4, "protocol is 'tcp'; say TCP, UDP or SCTP"),
    ("tests:\n" + ONE + ", via: nodeport}", 4, "via is 'nodeport'; say clusterIP, nodePort, "),
    ("tests:\n" + ONE + ", sourceSeen: unknown}", 4, "sourceSeen is 'unknown'; say client or node"),
    ("tests:\n" + ONE + ", backends: []}", 4, "backends is a list, not a list of pods and workloads"),
    ("tests:\n" + ONE + ", backends: [svc/web]}", 4, "backends: 'svc/web' is no pod or workload; say pod/"),
    ("tests:\n" + ONE + ", backends: ['pod/web:80']}", 4, "backends: 'pod/web:80' names a port; name the"),
    ("tests:\n" + ONE + ", backends: {only: [pod/a]}}", 4, "backends is a list, or a list under the one key"),
    (
        "tests:\n" + ONE.replace("delivered", "dropped") + ", sourceSeen: node}",
        4,
        "sourceSeen is of requests that arrive; nothing does with expect: dropped",
    ),
    ("tests:\n" + ONE + "}\n" + ONE + "}", 5, "'a' is a test of f0.yaml line 4, too"),
    ("tests:\n" + ONE + ", to: svc/x}", 4, "to: this key stands here twice"),
]


@pytest.mark.parametrize(("text", "line", "said"), WRONG)
def test_mistakes_are_named_with_their_line(text, line, said):
    [(file, found, message)] = problems(HEAD + text)
    assert (file, found) == ("f0.yaml", line), message
    assert message.startswith(said)


def test_what_is_no_such_file():
    assert problems("apiVersion: v1\nkind: Service\n") == [
        ("f0.yaml", 1, "say apiVersion: svcdoctor/v1 and kind: ReachabilityTest; this is v1, Service")
    ]
    assert problems("- a\n")[0][2] == "a list where a ReachabilityTest should be"
    assert problems("") == [("f0.yaml", 1, "no tests: say kind: ReachabilityTest and a list of tests")]


def test_every_mistake_is_told():
    text = f"{HEAD}tests:\n{ONE}, expects: x, vai: y}}\n{ONE.replace('name: a, ', '')}}}\n"
    assert [line for _, line, _ in problems(text)] == [4, 4, 5]
    again = f"{HEAD}tests:\n{ONE}}}\n"
    assert problems(again, again) == [("f1.yaml", 4, "'a' is a test of f0.yaml line 4, too")]
