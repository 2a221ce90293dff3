"""The control process, a real one: what it serves, that nothing hangs on its life, and what ends it."""

import os
import signal
import time

import msgspec
import pytest
from msgspec import structs
from served_world import (
    HTTP,
    OPTIONS,
    as_json,
    ask,
    connected,
    endpoint,
    endpoint_slice,
    free_port,
    greeting,
    node,
    own,
    served,
    service,
    with_backends,
)

from svcdoctor.lab.apiserver import ApiServer
from svcdoctor.lab.rbac import ADMIN, User
from svcdoctor.lab.resources import SERVICES
from svcdoctor.lab.store import ObjectStore
from svcdoctor.model.base import AnnotatedMeta
from svcdoctor.model.endpoints import EndpointAddress, Endpoints, EndpointSubset
from svcdoctor.model.endpoints import EndpointPort as Port
from svcdoctor.model.facts import EVERYTHING, Kind, Known
from svcdoctor.model.snapshot import Snapshot
from svcdoctor.proxy.loop import Loop
from svcdoctor.proxy.serving.choosing import Selection
from svcdoctor.proxy.serving.control import Control, Serving
from svcdoctor.proxy.serving.rundir import RunDirectory

KEY = "shop/cart:{}/TCP/4"


HTTP_2 = structs.replace(HTTP, port=8081)


def may_read(user, *resources):
    """A role to read these in namespace shop, bound to the user."""
    group = "rbac.authorization.k8s.io"
    meta = {"name": user, "namespace": "shop"}
    rule = {"apiGroups": ["*"], "resources": resources, "verbs": ["get", "list", "watch"]}
    return [
        {"apiVersion": f"{group}/v1", "kind": "Role", "metadata": meta, "rules": [rule]},
        {
            "apiVersion": f"{group}/v1",
            "kind": "RoleBinding",
            "metadata": meta,
            "roleRef": {"apiGroup": group, "kind": "Role", "name": user},
            "subjects": [{"kind": "User", "name": user, "apiGroup": group}],
        },
    ]


def given(*ports):
    return msgspec.to_builtins(list(ports))


@pytest.fixture
def port():
    """The number that the Service has, which is free here."""
    return free_port()


@pytest.fixture
def cart(port):
    return service(ports=(structs.replace(HTTP, port=port),))


@pytest.fixture
def api(cart):
    objects = [cart, endpoint_slice(endpoint("10.1.0.1")), node(), node("node2", addresses=("192.168.0.2",))]
    made = [*map(as_json, objects), *may_read("reader", "services", "endpointslices")]
    users = (ADMIN, User("nobody"), User("reader"))
    with ApiServer(ObjectStore(made), users=users) as server:
        yield server


@pytest.fixture
def live(api, short, control, port):
    """Starts a control that watches the API server."""

    def start(user="admin", **more):
        path = short / f"{user}.kubeconfig"
        if not path.exists():  # later the server may be down
            api.write_kubeconfig(path, user, namespace="shop")
        return control(
            **{"kubeconfig": str(path), "listens": "local", "node": "node1", "name": "cart"} | more
        )

    return start


def at(number):
    return served(port=number)


# --- without an API


@pytest.mark.parametrize("ip", ["127.0.0.1", "::1"])
def test_fixed_ports_are_served_until_a_signal(control, ip):
    port = served(ip=ip, backends=("10.0.0.1", "10.0.0.2"))
    process = control(ports=given(port))
    assert process.next("serving") == {
        "kind": "serving",
        "ports": {port.key: ["10.0.0.1:8080", "10.0.0.2:8080"]},
        "earlier": False,
    }
    assert ask(port)[1] == ["10.0.0.1:8080", "10.0.0.2:8080"]
    process.signal(signal.SIGTERM)
    assert process.wait() == (0, "")
    with pytest.raises(ConnectionRefusedError):
        connected(port)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_second_signal_ends_what_the_first_one_drains(control, number):
    port = served()
    process = control(ports=given(port), drain=60)
    process.next("serving")
    with connected(port) as kept:
        greeting(kept)
        process.signal(signal.SIGINT)
        time.sleep(0.3)
        kept.sendall(b"still there\n")
        assert kept.recv(100) == b"still there\n"
        process.signal(number)
        assert process.wait(5) == (128 + number, "")
        assert kept.recv(100) == b""


def test_a_second_control_of_the_same_run_is_turned_away(control):
    port = served()
    first = control(ports=given(port))
    first.next("serving")
    code, said = control(ports=given(port)).wait()
    assert code == 3
    assert said == (
        f"another svcdoctor proxy (pid {first.pid}) serves the same already; end it first, or serve something else\n"
    )
    assert ask(port)


# --- killed


def test_nothing_hangs_on_the_life_of_the_control(control):
    """kill -9: what is established goes on, new connections are served, and the next control adopts the workers."""
    port = served()
    first = control(ports=given(port))
    first.next("serving")
    pids = {ask(port)[0] for _ in range(40)}
    assert len(pids) == 2
    with connected(port) as kept:
        pid, _ = greeting(kept)
        first.kill()
        kept.sendall(b"still there\n")
        assert kept.recv(100) == b"still there\n"
        assert {ask(port)[0] for _ in range(40)} == pids
        second = control(ports=given(with_backends(port, "10.0.0.5")))
        second.next("serving")
        kept.sendall(b"even now\n")
        assert kept.recv(100) == b"even now\n"
    answers = [ask(port) for _ in range(40)]
    assert {a[0] for a in answers} == pids
    assert {tuple(a[1]) for a in answers} == {("10.0.0.5:8080",)}
    os.kill(pid, signal.SIGKILL)  # one that it adopted is watched over as its own
    assert "another one is started" in second.next("note")["text"]


def test_fewer_workers_are_left_of_more(control, short):
    port = served()
    first = control(ports=given(port), workers=3)
    first.next("serving")
    first.kill()
    control(ports=given(port), workers=1).next("serving")
    end = time.monotonic() + 5
    while len(RunDirectory("proxy-test", short).workers()) > 1:
        assert time.monotonic() < end
        time.sleep(0.01)
    assert ask(port)


# --- with an API


def test_changes_of_the_cluster_are_served(live, api, cart, port):
    process = live()
    key = KEY.format(port)
    assert process.next("serving")["ports"] == {key: ["10.1.0.1:8080"]}
    api.store.update(as_json(endpoint_slice(endpoint("10.1.0.1"), endpoint("10.1.0.2"))))
    assert process.next("changed")["put"] == {key: ["10.1.0.1:8080", "10.1.0.2:8080"]}
    end = time.monotonic() + 5
    while ask(at(port))[1] != ["10.1.0.1:8080", "10.1.0.2:8080"]:
        assert time.monotonic() < end
    api.store.delete(SERVICES, "shop", "cart")
    assert process.next("note")["text"].startswith("shop/cart is gone: it is served no longer")
    assert process.next("changed")["removed"] == [key]
    api.store.create(as_json(cart))
    assert key in process.next("changed")["put"]


def test_the_node_is_found_by_this_machines_addresses(live, api):
    api.store.create(as_json(node("this", zone="b", addresses=("127.0.0.1",))))
    zoned = endpoint_slice(endpoint("10.1.0.1", zones=("a",)), endpoint("10.1.0.2", zones=("b",)))
    api.store.update(as_json(zoned))
    process = live(node="")
    assert list(process.next("serving")["ports"].values()) == [["10.1.0.2:8080"]]
    api.store.update(as_json(node("this", zone="a", addresses=("127.0.0.1",))))
    assert list(process.next("changed")["put"].values()) == [["10.1.0.1:8080"]]


def test_services_of_one_name_in_two_namespaces_are_two(live, api, cart, port):
    front = {"metadata": structs.replace(cart.metadata, namespace="web")}
    api.store.create(
        as_json(structs.replace(cart, **front, spec=structs.replace(cart.spec, ports=(HTTP_2,))))
    )
    both = endpoint_slice(endpoint("10.1.0.2"))
    api.store.create(as_json(structs.replace(both, metadata=structs.replace(both.metadata, namespace="web"))))
    process = live(namespace="", name="")
    assert process.next("serving")["ports"] == {
        KEY.format(port): ["10.1.0.1:8080"],
        f"web/cart:{HTTP_2.port}/TCP/4": ["10.1.0.2:8080"],
    }


def test_a_node_that_does_not_exist_is_said(live):
    process = live(node="node9")
    assert process.next("note")["text"].startswith("no node node9 in the cluster: ")
    process.next("serving")


def test_who_may_not_read_nodes_is_served_as_from_outside_and_told_so(live):
    process = live(user="reader", node="")
    note = process.next("note")["text"]
    assert "grant" in note
    assert note.endswith("say which node this is with --node")
    process.next("serving")


def test_without_the_api_server_the_last_state_goes_on_also_for_the_next_control(live, api, port):
    first = live()
    first.next("serving")
    api.halt()
    note = first.next("note")["text"]
    assert note.endswith("; what was served last goes on being served")
    assert ask(at(port))[1] == ["10.1.0.1:8080"]
    first.kill()
    second = live()
    assert second.next("serving") == {
        "kind": "serving",
        "ports": {KEY.format(port): ["10.1.0.1:8080"]},
        "earlier": True,
    }
    pid, _ = ask(at(port))
    os.kill(pid, signal.SIGKILL)  # what it knows from its workers it can give to another one
    while "another one is started" not in second.next("note")["text"]:
        pass
    end = time.monotonic() + 10
    while len({ask(at(port))[0] for _ in range(20)}) < 2:
        assert time.monotonic() < end
    api.store.update(as_json(endpoint_slice(endpoint("10.1.0.9"))))
    api.start()
    assert second.next("changed")["put"] == {KEY.format(port): ["10.1.0.9:8080"]}


def test_a_service_that_does_not_exist_ends_the_run(live):
    assert live(name="nothing").wait() == (1, "no service shop/nothing\n")


def test_a_service_that_cannot_be_served_ends_the_run(live, api, cart):
    headless = structs.replace(cart.spec, cluster_ip="None", cluster_ips=("None",))
    api.store.update(as_json(structs.replace(cart, spec=headless)))
    code, said = live().wait()
    assert (code, said) == (2, "service shop/cart is headless: clients connect to its pods themselves\n")


def test_who_may_not_read_is_told_what_to_grant(live):
    code, said = live(user="nobody").wait()
    assert code == 3
    assert "grant" in said
    assert len(said.splitlines()) == 1


def test_who_may_not_read_leaves_the_workers_of_an_earlier_run_alone(live, port):
    first = live()
    first.next("serving")
    pids = {ask(at(port))[0] for _ in range(40)}
    first.kill()
    process = live(user="nobody")
    process.ends_or_tells()
    assert {ask(at(port))[0] for _ in range(40)} == pids


# --- from a snapshot


class Kept:
    """A plane that only keeps what it is told."""

    def __init__(self, control):
        self.control = control
        self.ports = {}

    def start(self):
        pass

    def put(self, ports, whole=False):
        if whole:
            self.ports.clear()
        self.ports.update((p.key, p) for p in ports)
        self.control.held()
        self.control.loop.stop()

    def stop(self, ended):
        ended()


def taken(snapshot, selection):
    told = []
    control = Control(Loop(), OPTIONS, told.append)
    control.take(snapshot, selection, own())
    plane = Kept(control)
    try:
        control.run(plane)
    finally:
        control.loop.free()
    return plane.ports, told


def snapshot_of(**kinds):
    objects = {Kind(k): tuple(v) for k, v in kinds.items()}
    return Snapshot(objects, {kind: (Known(EVERYTHING),) for kind in objects})


def test_a_snapshot_is_served_as_it_is():
    both = [service(labels={"app": "cart"}), service("shop")]
    slices = [endpoint_slice(endpoint("10.1.0.1")), endpoint_slice(endpoint("10.1.0.2"), owner="shop")]
    snapshot = snapshot_of(Service=both, EndpointSlice=slices)
    ports, told = taken(snapshot, Selection("shop"))
    assert set(ports) == {"shop/cart:80/TCP/4", "shop/shop:80/TCP/4"}
    assert [type(event) for event in told] == [Serving]
    assert set(taken(snapshot, Selection("shop", labels="app in (cart)"))[0]) == {"shop/cart:80/TCP/4"}
    assert set(taken(snapshot, Selection("shop", name="shop"))[0]) == {"shop/shop:80/TCP/4"}
    assert taken(snapshot, Selection("web"))[0] == {}


def test_an_old_snapshot_has_endpoints_and_no_slices():
    subset = EndpointSubset(
        addresses=(EndpointAddress(ip="10.1.0.7"),), ports=(Port(name="http", port=8080),)
    )
    old = Endpoints(metadata=AnnotatedMeta(name="cart", namespace="shop"), subsets=(subset,))
    ports, _ = taken(snapshot_of(Service=[service()], Endpoints=[old]), Selection())
    assert [str(b) for p in ports.values() for b in p.cluster] == ["10.1.0.7:8080"]
