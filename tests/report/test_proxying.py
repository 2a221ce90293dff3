"""What ``proxy`` says of what it serves."""

from msgspec import structs

from svcdoctor.proxy.serving.control import Changed, Note, Serving
from svcdoctor.proxy.serving.served import Backend, Listen, ServedPort
from svcdoctor.report.proxying import MANY, ServedLines

FOUR = ServedPort(
    "shop/web:80/TCP/4",
    "TCP",
    (Listen("10.96.0.1", 80, "clusterIP"), Listen("192.0.2.1", 30080, "nodePort")),
    tuple(Backend(f"10.0.0.{n}", 80) for n in range(1, 7)),
    (Backend("10.0.0.1", 80),),
)
SIX = ServedPort("shop/web:80/TCP/6", "TCP", (Listen("::1", 8080, "local"),), (), ())
WHERE = "10.96.0.1:80 (cluster IP), 192.0.2.1:30080 (nodePort)"


def said(lines, event):
    return list(lines.lines(event))


def test_a_line_for_a_port_of_both_families():
    lines = ServedLines(dict)
    assert said(lines, Serving((FOUR, SIX), False)) == [
        (
            f"Serving shop/web:80/TCP on {WHERE}, [::1]:8080: 6 endpoints "
            "(10.0.0.1:80, 10.0.0.2:80, 10.0.0.3:80, 10.0.0.4:80 and 2 more)",
            True,
        )
    ]
    assert said(lines, Changed((structs.replace(FOUR, cluster=(), local=()),), ())) == [
        ("shop/web:80/TCP: no endpoint, clients are refused", True)
    ]
    moved = structs.replace(SIX, listens=(Listen("::1", 9090, "local"),), cluster=(Backend("fd00::1", 80),))
    assert said(lines, Changed((moved,), ())) == [
        ("Serving shop/web:80/TCP on [::1]:9090: 1 endpoint ([fd00::1]:80)", True)
    ]
    assert said(lines, Changed((), (FOUR.key,))) == [("shop/web:80/TCP is listened for no longer", True)]
    assert said(lines, Note("a note")) == [("a note", False)]


def test_what_cannot_be_served_is_not_hidden():
    lines = ServedLines(lambda: {SIX.key: "cannot listen on [::1]:8080: Address already in use"})
    assert said(lines, Serving((SIX,), True)) == [
        ("going on with what an earlier run served; what there is now is not known yet", False),
        (
            "Serving shop/web:80/TCP on [::1]:8080: no endpoint, clients are refused; but cannot listen on [::1]:8080: "
            "Address already in use",
            True,
        ),
    ]
    assert said(ServedLines(dict), Serving((), False)) == [("no Service to serve yet", False)]


def test_of_many_only_changes_of_addresses_are_told():
    many = tuple(structs.replace(FOUR, key=f"shop/web{n}:80/TCP/4") for n in range(MANY))
    lines = ServedLines(dict)
    assert len(said(lines, Serving(many, False))) == MANY
    assert said(lines, Changed((structs.replace(many[0], cluster=()),), ())) == []
    assert len(said(lines, Changed((structs.replace(many[0], listens=()),), ()))) == 1
