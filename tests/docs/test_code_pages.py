"""docs/codes is what the checks say of themselves: nothing is missing, left over or old."""

import os

from codepages import PAGES, look, pages
from reader import WRITE


def test_the_pages_are_the_checks_own_words():
    made = pages()
    if os.environ.get(WRITE):
        PAGES.mkdir(exist_ok=True)
        for old in PAGES.glob("*.md"):
            if old.name not in made:
                old.unlink()
        for name, text in made.items():
            (PAGES / name).write_text(text)
    held = {path.name: path.read_text() for path in PAGES.glob("*.md")}
    differing = sorted(name for name in made.keys() | held.keys() if made.get(name) != held.get(name))
    assert not differing, f"{WRITE}=1 pytest tests/docs writes them anew: {differing[:5]}"


def test_every_page_says_the_same_things_in_the_same_order():
    for name, text in pages().items():
        if name != "README.md":
            headings = [line[3:] for line in text.splitlines() if line.startswith("## ")]
            assert headings[:3] == ["What it means", "How to see it", "How to mend it"], name
            assert headings[-1] == "More" and "https://" in text, name
            assert headings[3] in ("As trace shows it", "For example"), name


def test_what_to_look_at_stands_beside_the_command():
    assert look("ss -lntup (on the node); the cloud's firewall rules") == (
        "- `ss -lntup`: on the node\n- the cloud's firewall rules\n"
    )
    assert look("sysctl -ar 'nf_conntrack_(count|max)$'") == "- `sysctl -ar 'nf_conntrack_(count|max)$'`\n"
    assert look("iptables-save | grep -E '^-A (A|B)' (on a node; twice)") == (
        "- `iptables-save | grep -E '^-A (A|B)'`: on a node; twice\n"
    )
    assert look("conntrack -L on both nodes") == "- conntrack -L on both nodes\n"
