"""The picker's screen at any size: no line too wide, the name and its state as long as they have room."""

from __future__ import annotations

import pytest
from rich.cells import cell_len

from svcdoctor.model.checkup import Row
from svcdoctor.model.trace import Verdict
from svcdoctor.report.glyphs import ASCII, UNICODE, Glyphs
from svcdoctor.report.pickpicture import Choice, Offer, picture

CART = Row("Service", "shop", "cart", Verdict.BROKEN, ("OBJ002",), "NodePort", ("80:31372→8080/TCP",), (0, 2))
WEB = Row("Service", "shop", "web", Verdict.HEALTHY, (), "ClusterIP", ("80→8080/TCP",), (2, 2))
NAMES = ("cart", "payments-gateway-internal", "web")
FIRST = Choice()
OFFER = Offer("shop", NAMES, {"cart": CART, "web": WEB}, "1 broken, 1 sound")


def lines(width: int, height: int, choice: Choice = FIRST, glyphs: Glyphs = UNICODE) -> list[str]:
    return [line.plain.rstrip() for line in picture(OFFER, choice, (width, height), glyphs)]


def test_what_it_shows() -> None:
    assert lines(100, 7) == [
        "Services in shop  3 of 3  1 broken, 1 sound",
        "> _",
        "> ✘  cart                       broken   OBJ002  0/2 ready  NodePort   80:31372→8080/TCP",
        "  ✔  web                        healthy          2/2 ready  ClusterIP  80→8080/TCP",
        "     payments-gateway-internal",
        "",
        "Enter traces it, Esc leaves",
    ]


@pytest.mark.parametrize("width", [1, 12, 20, 33, 80, 200])
@pytest.mark.parametrize("height", [1, 3, 4, 10, 50])
@pytest.mark.parametrize("glyphs", [UNICODE, ASCII])
def test_no_line_is_too_wide_and_none_too_many(width: int, height: int, glyphs: Glyphs) -> None:
    for at in range(3):
        shown = lines(width, height, Choice("", at), glyphs)
        assert len(shown) == max(height, 3)
        assert max(map(cell_len, shown)) <= max(width, 12)
        marked = [line for line in shown[2:] if line.startswith("> ")]
        assert len(marked) == 1
        assert all(line.isascii() for line in shown) or glyphs is UNICODE


def test_columns_without_room_are_left_out_the_last_first() -> None:
    assert lines(45, 6)[2] == "> ✘  cart                       broken"
    assert lines(20, 6)[2] == "> ✘  cart"
    assert lines(20, 4, Choice("pay"))[2] == ">    payments-gatewa"


def test_the_window_follows_the_cursor_and_what_was_typed_counts() -> None:
    names = tuple(f"svc-{n:03}" for n in range(500))
    offer = Offer("shop", names, {}, "")
    for at in (0, 1, 250, 498, 499):
        shown = [line.plain.rstrip() for line in picture(offer, Choice("", at), (40, 12), ASCII)]
        assert next(line for line in shown[2:] if line.startswith("> ")).endswith(names[at])
        assert sum("svc-" in line for line in shown) == 9
    shown = [line.plain for line in picture(offer, Choice("svc-25"), (40, 12), ASCII)]
    assert shown[0] == "Services in shop  23 of 500"
    assert [line.split()[-1] for line in shown[2:12:9]] == ["svc-250", "leaves"]
    assert "  none fits" in [line.plain for line in picture(offer, Choice("web"), (40, 12), ASCII)]
