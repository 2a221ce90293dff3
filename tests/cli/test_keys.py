"""What a terminal's bytes mean, in whatever portions they come."""

from hypothesis import given
from hypothesis import strategies as st

from svcdoctor.cli.keys import Key, Keys


def pressed(*portions):
    keys = Keys()
    return [k for data in portions for k in keys.feed(data)] + list(keys.ended())


def test_characters_and_keys():
    assert pressed(b"web\r") == ["w", "e", "b", Key.ENTER]
    assert pressed(b"\x1b[A\x1bOB\x1b[5~\x1b[6~\x1b[H\x1b[4~") == [
        Key.UP,
        Key.DOWN,
        Key.PAGE_UP,
        Key.PAGE_DOWN,
        Key.FIRST,
        Key.LAST,
    ]
    assert pressed(b"\x7f\x15") == [Key.ERASE, Key.CLEAR]
    assert [pressed(c) for c in (b"\x03", b"\x04", b"\x1b")] == [[Key.LEAVE]] * 3
    assert pressed("é".encode()[:1], "é".encode()[1:]) == ["é"]


def test_what_means_nothing_here_is_passed_over():
    assert pressed(b"\x1b[1;5C\x1b[24~\x1bx\x00\x01\t\xff") == []
    assert pressed(b"\x1b[200~web\x1b[201~") == ["w", "e", "b"]  # pasted


def test_an_escape_waits_for_its_rest():
    keys = Keys()
    assert list(keys.feed(b"\x1b")) == [] and keys.open
    assert list(keys.feed(b"[")) == [] and keys.open
    assert list(keys.feed(b"A")) == [Key.UP] and not keys.open


@given(st.lists(st.sampled_from([b"a", b"\x1b[A", b"\x1bOB", b"\x1b[5~", b"\r", "ü".encode()])), st.data())
def test_portions_do_not_matter(words, data):
    whole = b"".join(words)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(whole)), max_size=4)))
    portions = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    assert pressed(*portions) == pressed(whole)
