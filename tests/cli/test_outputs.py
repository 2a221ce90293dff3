"""``-o FORMAT[=FILE]``: what it takes, which stream and files it writes, and that no file is ever half there."""

from __future__ import annotations

import io
import json
import os
import resource
import stat
import subprocess
import sys
import threading
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import yaml

from svcdoctor.cli.outputs import Format, Output, parse_outputs, write
from svcdoctor.cli.streams import fit_streams
from svcdoctor.cli.wholefiles import write_whole
from svcdoctor.model.checkup import Checkup, Reported, Row
from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.model.finding import Finding, Severity
from svcdoctor.model.trace import Verdict

BROKEN = ("check", "-A", "--snapshot", "fixtures/faults/OBJ002/broken.yaml")


@pytest.mark.parametrize(
    ("texts", "outputs"),
    [
        ([], [("terminal", None)]),
        (["json"], [("json", None)]),
        (["JUnit=report.xml"], [("junit", "report.xml")]),
        (["=yaml"], [("yaml", None)]),
        (["junit=a=b.xml", "markdown=-"], [("junit", "a=b.xml"), ("markdown", None)]),
        (["sarif=/x/y z.sarif", "sarif=w"], [("sarif", "/x/y z.sarif"), ("sarif", "w")]),
    ],
)
def test_what_is_understood(texts: list[str], outputs: list[tuple[str, str | None]]) -> None:
    assert parse_outputs(texts) == tuple(Output(Format(f), Path(p) if p else None) for f, p in outputs)


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["jnuit"], "no format 'jnuit'; did you mean junit?"),
        (["serif=x"], "did you mean sarif?"),
        (["git-lab"], "did you mean gitlab?"),
        (["pdf"], "there are terminal, table, markdown, html, json, yaml, junit, sarif, github, gitlab"),
        ([""], "no format ''"),
        (["=report.xml"], "no format 'report.xml'"),
        (["json="], "a file's name is missing"),
        (["json", "yaml=-"], "-o json and -o yaml: only one can go to standard output"),
        (["json=x", "yaml=x"], "two forms cannot go to one file"),
        (["json=./x", "yaml=x"], "two forms cannot go to one file"),
        (["json=tests/../x", "yaml=x"], "two forms cannot go to one file"),
    ],
)
def test_what_is_not_is_one_line(texts: list[str], said: str) -> None:
    with pytest.raises(SvcdoctorError) as e:
        parse_outputs(texts)
    assert said in e.value.message and "\n" not in e.value.message and e.value.exit_code == 2


def test_several_forms_in_one_run(run, tmp_path) -> None:
    names = {"junit": "r.xml", "sarif": "r.sarif", "yaml": "r.yaml", "terminal": "r.txt", "gitlab": "r.json"}
    words = [w for form, name in names.items() for w in ("-o", f"{form}={tmp_path / name}")]
    done = run(*BROKEN, *words, "-o", "markdown=-", "--color", "never")
    assert done.returncode == 1
    assert done.stdout.startswith("## svcdoctor: 3 objects: 1 broken")
    assert done.stderr == ""
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(names.values())
    assert ET.parse(tmp_path / "r.xml").getroot().get("failures") == "1"
    assert json.loads((tmp_path / "r.sarif").read_text())["version"] == "2.1.0"
    assert json.loads((tmp_path / "r.json").read_text())[0]["check_name"] == "OBJ002"
    assert yaml.safe_load((tmp_path / "r.yaml").read_text())["kind"] == "Checkup"
    text = (tmp_path / "r.txt").read_text()
    assert "✘ broken" in text and "\x1b" not in text


@pytest.mark.parametrize("form", [Format.JSON, Format.JUNIT, Format.SARIF, Format.GITHUB])
def test_nothing_else_goes_to_standard_output(run, form: Format) -> None:
    first = run(*BROKEN, "-o", form)
    assert first.returncode == 1 and first.stderr == ""
    assert "OBJ002" in first.stdout and "\x1b" not in first.stdout
    if form is Format.JUNIT:
        ET.fromstring(first.stdout)
    elif form is not Format.GITHUB:
        json.loads(first.stdout)


def test_only_to_files_is_nothing_on_standard_output(run, tmp_path) -> None:
    done = run(*BROKEN, "-o", f"json={tmp_path / 'x'}")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")


@pytest.mark.parametrize("form", Format)
def test_an_encoding_without_arrows_is_no_traceback(monkeypatch, form: Format) -> None:
    row = Row("Service", "shop", "wéb", Verdict.BROKEN, ("OBJ002",), "ClusterIP", ("80→8080/TCP",))
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    fit_streams()
    finding = Finding("OBJ002", Severity.ERROR, "Selector → no pod", ("Service/shop/wéb",), (), "", "")
    checkup = Checkup("x", (row,), (Reported(finding),))
    write(checkup, (Output(form),), fail_on="error", color="auto", verbose=False)
    sys.stdout.flush()
    shown = raw.getvalue().decode("ascii")
    assert "OBJ002" in shown and "Service" in shown
    if form in (Format.TERMINAL, Format.TABLE, Format.MARKDOWN):
        assert "80->8080/TCP" in shown


def test_colour_in_a_file_only_where_it_is_asked_for(run, tmp_path) -> None:
    run(*BROKEN, "-o", f"terminal={tmp_path / 'x'}", "--color", "always", TERM="xterm-256color")
    assert "\x1b[" in (tmp_path / "x").read_text()


def test_a_missing_folder_is_one_line_and_nothing_is_written(run, tmp_path) -> None:
    done = run(*BROKEN, "-o", f"json={tmp_path / 'there.json'}", "-o", f"junit={tmp_path / 'no' / 'r.xml'}")
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr == (
        f"svcdoctor: error: {tmp_path / 'no' / 'r.xml'}: there is no folder {tmp_path / 'no'}\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_no_file(run, tmp_path) -> None:
    done = run(*BROKEN, "-o", f"json={tmp_path}")
    assert done.returncode == 2 and done.stderr == f"svcdoctor: error: {tmp_path}: is a folder; name a file\n"


def test_a_full_disk_is_one_line_and_leaves_the_old_file(run, tmp_path) -> None:
    done = run(*BROKEN, "-o", f"json={tmp_path / 'x'}", "-o", "sarif=/dev/full")
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr == "svcdoctor: error: /dev/full: cannot be written: No space left on device\n"
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_may_not_grow_is_not_there_at_all(tmp_path) -> None:
    code = (
        "from pathlib import Path; import sys\n"
        "from svcdoctor.cli.wholefiles import write_whole\n"
        "from svcdoctor.model.errors import SvcdoctorError\n"
        "try: write_whole({Path('small'): b'new', Path('big'): b'x' * 100_000})\n"
        "except SvcdoctorError as e: sys.exit(e.message)"
    )
    (tmp_path / "small").write_text("old")
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000)),
        check=False,
    )
    assert done.stderr == "big: cannot be written: File too large\n"
    assert [p.name for p in tmp_path.iterdir()] == ["small"]
    assert (tmp_path / "small").read_text() == "old"


def test_a_reader_never_sees_a_part(tmp_path) -> None:
    target = tmp_path / "report"
    whole = {b"a" * 2_000_000, b"b" * 3_000_000}
    target.write_bytes(b"a" * 2_000_000)
    seen = set()
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            seen.add(target.read_bytes())

    reader = threading.Thread(target=read)
    reader.start()
    for data in [*whole] * 10:
        write_whole({target: data})
    done.set()
    reader.join()
    assert seen <= whole
    assert [p.name for p in tmp_path.iterdir()] == ["report"]


def test_modes_links_and_pipes(tmp_path) -> None:
    old = os.umask(0o027)
    try:
        write_whole({tmp_path / "new": b"1"})
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640
    (tmp_path / "new").chmod(0o604)
    (tmp_path / "link").symlink_to("new")
    write_whole({tmp_path / "link": b"2"})
    assert (tmp_path / "link").is_symlink() and (tmp_path / "new").read_bytes() == b"2"
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o604
    write_whole({Path("/dev/null"): b"3"})
    assert Path("/dev/null").is_char_device()
    os.mkfifo(tmp_path / "pipe")
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append((tmp_path / "pipe").read_bytes()))
    reader.start()
    write_whole({tmp_path / "pipe": b"4" * 200_000})
    reader.join()
    assert got == [b"4" * 200_000]


def test_standard_output_may_be_named_as_a_device(run) -> None:
    done = run(*BROKEN, "-o", "json=/dev/stdout")
    assert json.loads(done.stdout)["kind"] == "Checkup"


def test_a_name_as_long_as_may_be(tmp_path) -> None:
    target = tmp_path / ("x" * 255)
    write_whole({target: b"1"})
    assert target.read_bytes() == b"1"
    with pytest.raises(SvcdoctorError, match="File name too long"):
        write_whole({tmp_path / ("x" * 256): b"1"})
