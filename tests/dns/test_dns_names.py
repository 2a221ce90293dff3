"""Names that DNS can carry, and the one line about those that it cannot."""

import dns.name
import pytest
from hypothesis import given
from hypothesis import strategies as st

from svcdoctor.dns.names import ascii_name
from svcdoctor.model.errors import SvcdoctorError


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("web", "web"),
        ("Web.SHOP.svc.cluster.local.", "web.shop.svc.cluster.local."),
        ("_http._tcp.web", "_http._tcp.web"),
        ("10-244-1-7.shop.pod.cluster.local", "10-244-1-7.shop.pod.cluster.local"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER。example．", "xn--bcher-kva.example."),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("例え.テスト", "xn--r8jz45g.xn--zckzah"),
        (f"{'a' * 63}.b", f"{'a' * 63}.b"),
        (".".join(["a" * 62] * 4) + ".", ".".join(["a" * 62] * 4) + "."),
    ],
)
def test_a_name_in_ascii(text, name):
    assert ascii_name(text) == name


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "it is empty"),
        (".", "a label is empty"),
        ("a..b", "a label is empty"),
        (".a", "a label is empty"),
        ("web shop", "'web shop' is no label"),
        ("-web", "'-web' is no label"),
        ("web-.shop", "'web-' is no label"),
        ("*.shop", "'*' is no label"),
        ("a\nb", "'a\\nb' is no label"),
        ("web\x1b[31m", "is no label"),
        ("a" * 64, "has 64 characters; at most 63 are allowed"),
        ("ü" * 60, "cannot be written in ASCII"),
        (".".join(["a" * 62] * 4) + ".bb", "254 characters are too many; a name has at most 253"),
        ("straße.example", "reads differently in IDNA 2003 and 2008"),
        ("a\u200db.example", "reads differently"),
        ("\udcff", "cannot be written in ASCII"),
        ("x" * 100_000, "has 100000 characters"),
    ],
)
def test_what_is_no_name_is_said_in_one_line(text, says):
    with pytest.raises(SvcdoctorError) as error:
        ascii_name(text)
    assert says in error.value.message
    assert error.value.message.isprintable() and len(error.value.message) < 300


@given(st.text(max_size=80) | st.from_regex(r"([a-zü0-9_-]{1,20}\.?){1,20}", fullmatch=True))
def test_a_name_is_one_that_dnspython_carries_or_is_refused(text):
    try:
        name = ascii_name(text)
    except SvcdoctorError as error:
        assert error.message.isprintable()
    else:
        assert name == name.lower() and name.isascii()
        wire = dns.name.from_text(name).to_wire()
        assert wire is not None and len(wire) <= 255
        assert ascii_name(name) == name
