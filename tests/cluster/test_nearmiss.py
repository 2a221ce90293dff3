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
        # case
        ("BillingApi", "billingapi", True),
        ("HTTP", "http", True),
        ("Payment-Gatway", "payment-gateway", True),
        # _ and - and .
        ("order_items", "order-items", True),
        ("order.items", "order-items", True),
        # singular and plural, in every word
        ("policy", "policies", True),
        ("address-book", "addresses-book", True),
        ("box", "boxes", True),
        ("class", "classes", True),
        ("clas", "glass", False),
        ("status", "stats", True),
        # a label key's prefix
        ("name", "app.kubernetes.io/name", True),
        ("Name", "app.kubernetes.io/name", True),
        ("component", "app.kubernetes.io/components", True),
        ("part-of", "app.kubernetes.io/name", False),
        # letters and words in another order
        ("ordres", "orders", True),
        ("cahce", "cache", True),
        ("api-payments", "payments-api", True),
        ("api-gateway", "payments-api", False),
        ("", "a", True),
        ("", "web", False),
    ],
)
def test_near_or_not(a, b, near):
    assert (nearness(a, b) is not None) is near


def test_names_come_nearest_first():
    names = ["web", "web-frontend", "wbe", "api", "webs"]
    assert near_names("web", names) == ["webs", "wbe", "web-frontend"]


@pytest.mark.parametrize(
    ("name", "names", "near"),
    [
        ("frontend", ["web-frontend", "api"], ["web-frontend"]),
        ("Web", ["web-frontend"], ["web-frontend"]),
        ("payment_apis", ["payments-api", "payment-db"], ["payments-api"]),
        ("", ["web", "api"], []),
        ("web", ["", "api"], []),
        ("nginx-internal", ["nginx", "traefik"], ["nginx"]),
    ],
)
def test_names_of_services_namespaces_classes_and_ports(name, names, near):
    assert near_names(name, names) == near


@given(words, words)
def test_nearness_is_the_same_from_both_sides(a, b):
    assert nearness(a, b) == nearness(b, a)


@pytest.mark.parametrize(
    ("selector", "labels", "says"),
    [
        ({"app": "web"}, {"app": "wbe"}, ["app: web ≠ app: wbe"]),
        ({"ap": "web"}, {"app": "web"}, ["ap: web ≠ app: web"]),
        ({"app": "web"}, {"app.kubernetes.io/app": "web"}, ["app: web ≠ app.kubernetes.io/app: web"]),
        ({"app": "web", "tier": "x"}, {"app": "web"}, ["label tier=x is missing"]),
        ({"name": "web"}, {"run": "web"}, ["name: web ≠ run: web"]),
        ({"App": "web"}, {"app": "web"}, ["App: web ≠ app: web"]),
        ({"app_name": "web"}, {"app-name": "web"}, ["app_name: web ≠ app-name: web"]),
        ({"name": "Web"}, {"app.kubernetes.io/name": "web"}, ["name: Web ≠ app.kubernetes.io/name: web"]),
        (
            {"app": "web"},
            {"apps": "other", "app.kubernetes.io/name": "web"},
            ["app: web ≠ app.kubernetes.io/name: web"],
        ),
    ],
)
def test_label_by_label(selector, labels, says):
    (miss,) = label_misses(selector, [("p1", {**labels, "pod-template-hash": "x1"}), ("p2", labels)])
    assert [str(m) for m in miss.mismatches] == says
    assert miss.names == ("p1", "p2"), "the generated hash does not tell pods apart"
    assert miss.near


def test_pods_that_have_nothing_in_common_are_no_miss():
    assert label_misses({"app": "web"}, [("p", {"tier": "database"})]) == []
