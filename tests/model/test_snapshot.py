"""Scopes, three-valued facts, and the indexes of a Snapshot."""

import pytest

from svcdoctor.model.facts import EVERYTHING, Kind, Known, Need, Scope, Unknown, selector_scope
from svcdoctor.model.snapshot import Snapshot, canonical, in_networks
from svcdoctor.path.view import View

SHOP = Scope("shop")
WEB = selector_scope("shop", {"app": "web"})


@pytest.mark.parametrize(
    ("one", "other", "covers"),
    [
        (EVERYTHING, SHOP, True),
        (SHOP, EVERYTHING, False),
        (SHOP, WEB, True),
        (WEB, SHOP, False),
        (WEB, selector_scope("shop", {"app": "web", "tier": "x"}), True),
        (WEB, selector_scope("shop", {"app": "api"}), False),
        (WEB, selector_scope("mall", {"app": "web"}), False),
        (SHOP, Scope("shop", name="web"), True),
        (Scope("shop", name="web"), Scope("shop", name="api"), False),
    ],
)
def test_what_a_scope_covers(one, other, covers):
    assert one.covers(other) is covers


def test_known_for_a_selector_is_known_for_that_only():
    snapshot = Snapshot({}, {Kind.POD: (Known(WEB),)})
    assert snapshot.knows(Kind.POD, WEB)
    assert not snapshot.knows(Kind.POD, SHOP)
    view = View(snapshot)
    assert view.complete(Kind.POD, WEB)
    assert not view.complete(Kind.POD, SHOP)
    assert view.needs == (Need(Kind.POD, SHOP),), "never asked: a need, not a missing fact"
    assert view.missing == ()


def test_what_was_refused_is_missing_and_not_asked_again():
    view = View(Snapshot({}, {Kind.NODE: (Unknown("forbidden", "grant it"),)}))
    assert not view.complete(Kind.NODE)
    assert view.needs == ()
    assert view.missing[0].grant == "grant it"
    assert not view.lacks_required
    assert not view.complete(Kind.NODE, required=True)
    assert view.lacks_required


def test_a_refused_list_of_all_namespaces_says_nothing_of_one():
    refused = Unknown("forbidden", "grant it", EVERYTHING, narrower=True)
    view = View(Snapshot({}, {Kind.POD: (refused,)}))
    assert not view.complete(Kind.POD, SHOP)
    assert view.needs == (Need(Kind.POD, SHOP),)
    assert not view.complete(Kind.POD)
    assert [m.fact for m in view.missing] == ["Pod (all namespaces)"]


@pytest.mark.parametrize(
    ("text", "spelling"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("FD00:0:0::0001", "fd00::1"),
        ("fd00:0:0:1:0:0:0:1", "fd00:0:0:1::1"),
    ],
)
def test_one_spelling_of_an_address(text, spelling):
    assert canonical(text) == spelling


@pytest.mark.parametrize(
    "text", ["", "10.0.0", "10.0.0.256", "010.0.0.1", "10.0.0.1/8", "web", "fd00::g", "١.٠.٠.١"]
)
def test_what_is_no_address(text):
    with pytest.raises(ValueError, match=r"."):
        canonical(text)


def test_families_and_networks():
    assert in_networks("10.1.2.3", ["10.0.0.0/8"])
    assert in_networks("10.1.2.3", ["10.1.2.9/24"]), "host bits do not matter"
    assert in_networks("fd00::1", ["10.0.0.0/8", "fd00::/16"])
    assert not in_networks("fd00::1", ["0.0.0.0/0"])
    assert not in_networks("10.1.2.3", ["garbage"])
