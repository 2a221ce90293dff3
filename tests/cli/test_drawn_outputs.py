"""Pages and drawings as a user asks for them: several at once, to files and to standard output."""

from __future__ import annotations

import pytest

TRACE = ("trace", "svc/bq-api-service-1", "-n", "sales", "--snapshot", "fixtures/faults/OBJ002/broken.yaml")
PAIR = ("fixtures/faults/OBJ002/healthy.yaml", "fixtures/faults/OBJ002/broken.yaml")


def test_a_trace_in_several_forms_by_one_question(run, tmp_path) -> None:
    names = {"html": "way.html", "svg": "way.svg", "dot": "way.dot", "markdown": "way.md", "json": "way.json"}
    words = [w for form, name in names.items() for w in ("-o", f"{form}={tmp_path / name}")]
    done = run(*TRACE, *words, "-o", "mermaid")
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.startswith("flowchart LR\n") and "OBJ002" in done.stdout
    begins = {"html": "<!doctype html>", "svg": "<svg ", "dot": "digraph ", "markdown": "## ", "json": "{\n"}
    for form, name in names.items():
        text = (tmp_path / name).read_text()
        assert text.startswith(begins[form]) and "OBJ002" in text and text.endswith("\n")


def test_a_page_is_the_same_bytes_each_time_and_in_any_encoding(run) -> None:
    first = run(*TRACE, "-o", "html").stdout
    assert first.isascii() and first == run(*TRACE, "-o", "html", PYTHONIOENCODING="ascii").stdout


def test_a_diff_and_a_lint_as_pages(run, tmp_path) -> None:
    assert run("diff", *PAIR, "-A", "-o", f"html={tmp_path / 'd.html'}").returncode == 1
    assert "1 finding appeared" in (tmp_path / "d.html").read_text()
    done = run("lint", "-f", "fixtures/minikube-manifests/test-svc-np.yaml", "-o", "html")
    assert done.stdout.startswith("<!doctype html>")


@pytest.mark.parametrize("command", [TRACE, ("diff", *PAIR, "-A")])
def test_a_form_that_there_is_not_is_one_line_before_anything_is_asked(run, command: tuple[str, ...]) -> None:
    done = run(*command, "-o", "htm")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1 and "did you mean html?" in done.stderr
