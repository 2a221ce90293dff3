"""Which names typed letters mean, and which of them first."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from svcdoctor.report.fuzzy import match, ranked

NAMES = ("shop-cart", "cart", "cartography", "discarted", "c-a-r-t", "payments", "cache-artifacts")


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("cart", ["cart", "cartography", "shop-cart", "discarted", "c-a-r-t", "cache-artifacts"]),
        ("CART", ["cart", "cartography", "shop-cart", "discarted", "c-a-r-t", "cache-artifacts"]),
        ("shop cart", ["shop-cart"]),
        ("cart shop", ["shop-cart"]),
        ("pmt", ["payments"]),
        ("zz", []),
        ("tnemyap", []),
    ],
)
def test_what_lies_closer_together_stands_first(query: str, found: list[str]) -> None:
    assert [name for name, _ in ranked(query, NAMES, str)] == found


def test_an_empty_query_leaves_the_order() -> None:
    assert [name for name, _ in ranked("", NAMES, str)] == list(NAMES)
    assert [name for name, _ in ranked("  ", NAMES, str)] == list(NAMES)


def test_of_scattered_letters_the_nearest_are_marked() -> None:
    found = match("ab", "a-x-a-b")
    assert found is not None and found.places == {4, 6}


letters = st.text("abc-", min_size=1, max_size=12)


@given(letters, letters)
def test_a_match_marks_the_words_letters_in_their_order(word: str, name: str) -> None:
    found = match(word, name)
    rest = iter(name)
    assert (found is not None) == all(c in rest for c in word)
    if found is not None:
        assert [name[i] for i in sorted(found.places)] == list(word)


@given(st.text(max_size=6), st.text(max_size=12))
def test_any_text_is_a_query_and_a_name(query: str, name: str) -> None:
    found = match(query, name)
    assert found is None or all(0 <= i < len(name.lower()) for i in found.places)
