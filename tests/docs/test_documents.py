"""What holds for all documents: no command is left out, links lead somewhere, words are understood."""

import itertools
import re
import shlex
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest
import typer
from documents import ANY, ROOT, anchors, blocks, functions, inline, shell_lines
from typer.core import TyperGroup

from svcdoctor import __version__
from svcdoctor.cli.main import app

TOP = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")
ALL = [*(ROOT / name for name in TOP), *sorted((ROOT / "docs").rglob("*.md"))]
IDS = [str(path.relative_to(ROOT)) for path in ALL]
# Files that other tests follow; codes/ is written from what is printed.
FOLLOWED = ("README.md", "docs/tutorial.md", "docs/questions.md", "docs/evaluator.md")
LANGUAGES = {"console", "sh", "yaml", "text", "toml", "json", "python"}
LINK = re.compile(r"\]\(([^)\s]+)\)|^\[[^\]]+\]: (\S+)", re.MULTILINE)


@pytest.mark.parametrize(
    "name",
    [
        name
        for path, name in zip(ALL, IDS, strict=True)
        if name not in FOLLOWED and "/codes/" not in name and any(blocks(path.read_text(), "console"))
    ],
)
def test_every_command_prints_what_stands_there(follow, name):
    assert follow(name)


@pytest.mark.parametrize("path", ALL, ids=IDS)
def test_links_lead_somewhere(path):
    text = path.read_text()
    for found in LINK.finditer(re.sub(r"```.*?```", "", text, flags=re.DOTALL)):
        link = found[1] or found[2]
        if link.startswith("https://"):
            continue
        file, _, anchor = link.partition("#")
        target = (path.parent / file) if file else path
        assert target.exists(), link
        assert not anchor or anchor in anchors(target.read_text()), link


@pytest.mark.parametrize("path", ALL, ids=IDS)
def test_no_command_is_left_out(path):
    """A block of another kind has no commands; one without output names the test that runs it."""
    name = str(path.relative_to(ROOT))
    for block in blocks(path.read_text()):
        assert block.language in LANGUAGES, f"{name}:{block.line}"
        if block.language == "sh" and name != "README.md":  # whose tests are in tests/cli and tests/lab
            file, _, test = block.words["tested"].partition("::")
            assert test in functions(ROOT / file), f"{name}:{block.line}: {file} has no {test}"


def words_of(text):
    """The commands of this program within sentences, tables and blocks without output."""
    for code in [*inline(text), *shell_lines(text)]:
        match = re.fullmatch(r"(?:\.venv/bin/)?(?:kubectl )?svcdoctor ([a-z][^|>&]*)", code)
        if match and "…" not in code:
            yield shlex.split(match[1])


def understood(words):
    """Parses a command line as far as its command does before it begins. Raises a mistake of usage."""
    command, parent = typer.main.get_command(app), None
    while True:
        context = command.make_context(command.name or "svcdoctor", list(words), parent=parent)
        if not isinstance(command, TyperGroup):
            return
        left = [*context._protected_args, *context.args]
        if not left:
            return
        _, command, words = command.resolve_command(context, left)
        parent = context


@pytest.mark.parametrize("path", [p for p in ALL if p.name != "CHANGELOG.md"], ids=lambda p: p.stem)
def test_words_within_sentences_are_understood(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    for words in words_of(path.read_text()):
        try:
            understood(words)
        except typer.Exit:  # --help, --version
            pass
        except Exception as e:
            pytest.fail(f"svcdoctor {shlex.join(words)}: {e}")


def kubectl_lines():
    """What is asked of kubectl in all documents; of lines with the same words and flags one."""
    found = {}
    for path in ALL:
        text = path.read_text()
        typed = [step.command for block in blocks(text, "console") for step in block.steps]
        for code in [*inline(text), *shell_lines(text), *typed]:
            line = code.partition(" | ")[0].replace("\\\n", " ")
            if ANY not in line and re.match(r"kubectl (?!svcdoctor|krew|relay|top)", line):
                own, _, inner = line.partition(" -- ")
                words = shlex.split(own)
                flags = tuple(sorted(word.partition("=")[0] for word in words if word.startswith("-")))
                found.setdefault((verb(words), flags), [*words, "--help", *shlex.split(inner)])
    return found.values()


def verb(words):
    """The first word that is neither a flag nor its value."""
    return next(w for before, w in itertools.pairwise(words) if not w.startswith("-") and before != "-n")


def test_kubectl_understands_its_words(kubectl_environment):
    """Each with --help, which is parsed with all flags and reaches no cluster."""

    def asked(words):
        done = subprocess.run(words, env=kubectl_environment, capture_output=True, text=True, check=False)
        return done.returncode == 0 and f"kubectl {verb(words)}" in done.stdout, words, done.stderr

    lines = kubectl_lines()
    assert len(lines) > 20
    with ThreadPoolExecutor(4) as threads:
        wrong = [(words, said) for right, words, said in threads.map(asked, lines) if not right]
    assert not wrong, wrong


def test_the_chinese_readme_has_the_readmes_commands():
    """What stands there in Chinese is held by the README's own tests where it has no output."""
    readme = (ROOT / "README.md").read_text()
    for line in shell_lines((ROOT / "docs" / "README.zh.md").read_text()):
        assert line in shell_lines(readme), line


def test_contributing_says_what_ci_runs():
    ci = (ROOT / ".ci" / "run").read_text()
    block = next(b for b in blocks((ROOT / "CONTRIBUTING.md").read_text(), "sh") if "mypy" in b.text)
    lines = block.text.splitlines()
    assert len(lines) == 4
    assert all(line in ci for line in lines)


def test_the_changelog_keeps_its_form():
    text = (ROOT / "CHANGELOG.md").read_text()
    versions = re.findall(r"^## \[([^\]]+)\](?: - (\S+))?$", text, re.MULTILINE)
    assert versions[0] == ("Unreleased", "") or versions[0][0] == __version__
    assert all(re.fullmatch(r"\d{4}-\d{2}-\d{2}", day) for name, day in versions if name != "Unreleased")
    kinds = set(re.findall(r"^### (.+)$", text, re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
