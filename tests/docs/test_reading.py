"""Reading documents: what is a command, what it is to print, and that a wrong one is noticed."""

import pytest
from documents import anchors, blocks, inline, section, shell_lines
from reader import WRITE, reading

TEXT = """# A page: `one`, two

`svcdoctor codes` lists.

## First part

```console exit=3 cluster=fixtures/nodeport
$ echo one \\
> two
one two
client$ ls
```

```sh tested=tests/x.py::test_y
a
b
```

```text file=x.txt
content
```
"""


def test_blocks_commands_and_what_they_print():
    console, shell, text = blocks(TEXT)
    assert [b.language for b in (console, shell, text)] == ["console", "sh", "text"]
    assert console.words == {"exit": "3", "cluster": "fixtures/nodeport"} and console.line == 7
    one, two = console.steps
    assert (one.place, one.command, one.printed) == ("", "echo one \\\ntwo", ("one two",))
    assert (two.place, two.command, two.printed) == ("client", "ls", ())
    assert shell_lines(section(TEXT, "First part")) == ["a", "b"]
    assert "svcdoctor codes" in inline(TEXT) and "echo one" not in str(inline(TEXT))
    assert anchors(TEXT) == {"a-page-one-two", "first-part"}


@pytest.mark.parametrize(
    ("printed", "output", "right"),
    [
        (["a"], "a\n", True),
        (["a"], "a  \n", True),
        (["a"], "b\n", False),
        (["a"], "a\nb\n", False),
        (["a", "…"], "a\nb\nc\n", True),
        (["a", "…", "c"], "a\nc\n", True),
        (["a", "…", "c"], "a\nb\n", False),
        (["after … s: done"], "after 0.1 s: done\n", True),
        (["after … s: done"], "after 0.1 s: gone\n", False),
        (["AGE   NAME", "…     x"], "AGE   NAME\n10s   x\n", True),
        ([], "", True),
        ([], "a\n", False),
    ],
)
def test_what_agrees(printed, output, right):
    [block] = blocks("```console\n$ c\n" + "".join(f"{line}\n" for line in printed) + "```\n")
    assert block.steps[0].agrees(output) is right


def test_a_reader_notices_what_is_otherwise(tmp_path, monkeypatch):
    monkeypatch.delenv(WRITE, raising=False)
    page = tmp_path / "page.md"
    page.write_text(
        "```text file=a/b.txt\nhello\n```\n"
        "```console\n$ cat a/b.txt\nhello\n$ echo x >&2\nx\n```\n"
        "```console exit=2\n$ exit 2\n```\n"
        "```console\n$ echo wrong\nright\n$ false\n```\n"
    )
    before = page.read_text()
    with reading(tmp_path) as reader:
        wrong = reader.follow(page)
    assert reader.ran == 5
    assert [w.splitlines()[0] for w in wrong] == ["page.md:13: $ echo wrong", "page.md:13: $ false"]
    assert "+wrong" in wrong[0] and "ends with 1" in wrong[1]
    assert page.read_text() == before


def test_what_is_printed_is_written_where_it_differs(tmp_path, monkeypatch):
    monkeypatch.setenv(WRITE, "1")
    page = tmp_path / "page.md"
    page.write_text("```console\n$ echo 1 b\n… b\n$ echo new\nold\n```\nend\n")
    with reading(tmp_path) as reader:
        assert len(reader.follow(page)) == 1
    assert page.read_text() == "```console\n$ echo 1 b\n… b\n$ echo new\nnew\n```\nend\n"
