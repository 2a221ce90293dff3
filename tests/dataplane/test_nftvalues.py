"""Values of which only a part is known: an answer about one must hold for everything that it may be."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from svcdoctor.dataplane.nftvalues import Span, Vague, Wildcard, bitwise, compare, within

BYTE = st.integers(min_value=0, max_value=255)


@st.composite
def vague(draw):
    """A value of eight bits of which something is known, with every value that it may have."""
    low, high = sorted((draw(BYTE), draw(BYTE)))
    known = draw(BYTE | st.sampled_from([0, 0, 2, 0xF0]))
    bits = draw(BYTE) & known
    values = [v for v in range(low, high + 1) if v & known == bits]
    return Vague("not known", low, high, known | ~0xFF, bits), values


def spans():
    return st.tuples(BYTE, BYTE).map(lambda ends: Span(min(ends), max(ends)))


@given(vague(), BYTE | spans())
def test_within_is_certain_only_where_it_is(one, pattern):
    value, possible = one
    answers = {within(v, pattern) for v in possible}
    told = within(value, pattern)
    if isinstance(told, bool) and possible:
        assert answers == {told}
    else:
        assert told == "not known" or not possible


@given(vague(), st.sampled_from(["<", ">", "<=", ">="]), BYTE)
def test_comparisons_are_certain_only_where_they_are(one, op, bound):
    value, possible = one
    told = compare(op, value, bound)
    answers = {compare(op, v, bound) for v in possible}
    assert isinstance(told, str) or not possible or answers == {told}


@given(vague(), st.sampled_from(["&", "|", "^", "<<", ">>"]), BYTE)
def test_operations_keep_every_possible_value(one, op, operand):
    value, possible = one
    operand = operand % 8 if op in ("<<", ">>") else operand
    result = bitwise(op, value, operand, 8)
    for v in possible:
        exact = bitwise(op, v, operand, 8)
        assert (
            exact
            == {
                "&": v & operand,
                "|": v | operand,
                "^": v ^ operand,
                "<<": (v << operand % 8) & 255,
                ">>": v >> operand % 8,
            }[op]
        )
        assert exact == result if isinstance(result, int) else within(result, exact) is not False


@pytest.mark.parametrize(
    ("value", "pattern", "expected"),
    [
        ("eth0", "eth0", True),
        ("eth0", Wildcard("eth"), True),
        ("lo", Wildcard("eth"), False),
        ("", "eth0", False),
        (Vague("which?"), "eth0", "which?"),
        (5, Span(1, 5), True),
        (6, Span(1, 5), False),
        (Vague("port?", 32768, 60999), Span(1024, 65535), True),
        (Vague("port?", 32768, 60999), 53, False),
        (Vague("port?", 32768, 60999), 40000, "port?"),
        (Vague("port?", 32768, 60999), Span(0, 40000), "port?"),
    ],
)
def test_within(value, pattern, expected):
    assert within(value, pattern) == expected
