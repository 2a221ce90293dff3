"""``svcdoctor codes`` and ``svcdoctor explain`` as a user runs them."""

import json

import yaml
from answers import fits

from svcdoctor.checks.catalogue import catalogue

CODES = [c.code for c in catalogue()]


def test_codes_lists_every_code(run):
    done = run("codes")
    assert (done.returncode, done.stderr) == (0, "")
    assert all(f"  {code}  " in done.stdout for code in CODES)
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert f"{len(CODES)} codes" in done.stdout


def test_codes_for_programs_and_for_a_page(run):
    assert run("codes", "-o", "name").stdout.split() == CODES
    form = json.loads(run("codes", "-o", "json").stdout)
    fits(form)
    assert [c["code"] for c in form["codes"]] == CODES
    assert {c["package"] for c in form["codes"]} == {"svcdoctor"}
    rows = run("codes", "--family", "obs", "-o", "markdown").stdout.splitlines()
    assert rows[0].startswith("| CODE")
    assert [row.split("|")[1].strip() for row in rows[2:]] == [c for c in CODES if c.startswith("OBS")]


def test_explain_tells_all_of_several_codes(run):
    done = run("explain", "obj009", "OBJ002")
    assert (done.returncode, done.stderr) == (0, "")
    first, _, second = done.stdout.partition("OBJ002 error: ")
    assert first.startswith("OBJ009 error: Workload is scaled to zero\n")
    for part in ("How to see it:", "How to mend it:", "More:", "https://kubernetes.io/docs/"):
        assert part in first
        assert part in second
    assert "which are then not reported:\n  OBJ002  Selector matches no pod" in first
    assert "may itself be a consequence of:\n  OBJ009  Workload is scaled to zero" in second


def test_explain_for_programs(run):
    form = yaml.safe_load(run("explain", "RUL001", "-o", "yaml").stdout)
    fits(form)
    (code,) = form["codes"]
    assert (code["code"], code["severity"]) == ("RUL001", "error")


def test_a_code_that_there_is_not_is_a_mistake(run):
    done = run("explain", "OBJ0022")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("svcdoctor: error: no code OBJ0022; near: OBJ0")
    assert done.stderr.count("\n") == 1
