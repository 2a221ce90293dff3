"""Near misses: what was probably meant, and what was not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from svcdoctor.cluster.nearmiss import distance, label_misses, near_names, nearness

words = st.text("abc-1", max_size=8)


def plain_distance(a, b):
    """Optimal string alignment by its definition."""
    table = [[max(i, j) if 0 in (i, j) else 0 for j in range(len(b) + 1)] for i in range(len(a) + 1)]
    for i in range(1, len(a) + 1):
        for j in range(1, len(b) + 1):
            costs = [table[i - 1][j] + 1, table[i][j - 1] + 1, table[i - 1][j - 1] + (a[i - 1] != b[j - 1])]
            if i > 1 and j > 1 and a[i - 1] == b[j - 2] and a[i - 2] == b[j - 1]:
                costs.append(table[i - 2][j - 2] + 1)
            table[i][j] = min(costs)
    return table[len(a)][len(b)]


@given(words, words, st.integers(0, 8))
def test_distance_is_the_definitions_up_to_the_limit(a, b, limit):
    assert distance(a, b, limit) == min(plain_distance(a, b), limit + 1)


@pytest.mark.parametrize(
    ("a", "b", "near"),
    [
        ("bq-api-servce", "bq-api-service", True),
        ("web_front", "web-front", True),
        ("Web", "web", True),
        ("order", "orders", True),
        ("frotnend", "frontend", True),
        ("web", "api", False),
        ("db", "dc", True),
        ("web", "web", False),
        ("payments", "shipping", False),
    ],
)
def test_near_or_not(a, b, near):
    assert (nearness(a, b) is not None) is near


def test_names_come_nearest_first():
    names = ["web", "web-frontend", "wbe", "api", "webs"]
    assert near_names("web", names) == ["webs", "wbe", "web-frontend"]


@pytest.mark.parametrize(
    ("selector", "labels", "says"),
    [
        ({"app": "web"}, {"app": "wbe"}, ["app: web ≠ app: wbe"]),
        ({"ap": "web"}, {"app": "web"}, ["ap: web ≠ app: web"]),
        ({"app": "web"}, {"app.kubernetes.io/app": "web"}, ["app: web ≠ app.kubernetes.io/app: web"]),
        ({"app": "web", "tier": "x"}, {"app": "web"}, ["label tier=x is missing"]),
        ({"name": "web"}, {"run": "web"}, ["name: web ≠ run: web"]),
    ],
)
def test_label_by_label(selector, labels, says):
    (miss,) = label_misses(selector, [("p1", {**labels, "pod-template-hash": "x1"}), ("p2", labels)])
    assert [str(m) for m in miss.mismatches] == says
    assert miss.names == ("p1", "p2"), "the generated hash does not tell pods apart"
    assert miss.near


def test_pods_that_have_nothing_in_common_are_no_miss():
    assert label_misses({"app": "web"}, [("p", {"tier": "database"})]) == []
