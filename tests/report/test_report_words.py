"""The words of the report: addresses, clients, shares, and foreign text made printable."""

from __future__ import annotations

import pytest
from msgspec.structs import replace
from report_cluster import cluster, traced

from svcdoctor.model.trace import Basis, Client, ClientKind
from svcdoctor.report.printable import printable, printable_lines
from svcdoctor.report.wording import address, basis_words, client_flag, share


@pytest.mark.parametrize(
    ("host", "port", "text"),
    [
        ("10.0.0.1", 80, "10.0.0.1:80"),
        ("fd00::1", 80, "[fd00::1]:80"),
        ("fd00::1", None, "fd00::1"),
        ("web.shop", 80, "web.shop:80"),
        (None, 80, ":80"),
        (None, None, ""),
    ],
)
def test_addresses(host: str | None, port: int | None, text: str) -> None:
    assert address(host, port) == text


@pytest.mark.parametrize(
    ("client", "flag"),
    [
        (Client(ClientKind.EXTERNAL), "external"),
        (Client(ClientKind.EXTERNAL, ip="fd00::9"), "external/fd00::9"),
        (Client(ClientKind.NODE, "n1", "10.0.0.1"), "node/n1"),
        (Client(ClientKind.POD, "shop/web-1", "10.0.0.2"), "pod/shop/web-1"),
        (Client(ClientKind.POD), "pod"),
    ],
)
def test_clients_in_the_words_of_the_flag(client: Client, flag: str) -> None:
    assert client_flag(client) == flag


@pytest.mark.parametrize(
    ("probability", "text"), [(1.0, "100 %"), (1 / 3, "33.3 %"), (1 / 5000, "0.02 %"), (0.0, "0 %")]
)
def test_shares_are_never_rounded_to_nothing(probability: float, text: str) -> None:
    assert share(probability) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("web-1", "web-1"),
        ("[red]web[/]", "[red]web[/]"),
        ("a\x1b[31mb\x1b]8;;x\x07", "a[31mb]8;;x"),
        ("a\r\nb\u2028c\td", "a  b c d"),
        ("\u202eexe\u200b\x9bm\x7f\udcff", "exem"),
        ("é漢字", "é漢字"),
    ],
)
def test_foreign_text_keeps_only_what_is_seen(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_lines_keep_their_indentation() -> None:
    assert printable_lines("spec:\n  a: 1\n\tb\x1b: 2\n\n") == ("spec:", "  a: 1", "    b: 2")


def test_the_basis_says_what_was_not_evaluated() -> None:
    path = traced(cluster()).paths[0]
    rules, seen = replace(path, basis=Basis.RULES), replace(path, basis=Basis.OBSERVED)
    assert basis_words([path]) == "the API's objects; node rules not evaluated"
    assert basis_words([path, rules]) == "the nodes' own rules, the API's objects"
    assert basis_words([seen]) == "observed traffic; node rules not evaluated"
    assert basis_words([]) == "the API's objects; node rules not evaluated"
