"""``svcdoctor diff`` as a user runs it: exit codes, formats, and what is said of bad input."""

import json
from pathlib import Path

import pytest
import yaml
from answers import fits

FAULTS = Path("fixtures/faults")
HEALTHY, BROKEN = (str(FAULTS / "OBJ002" / f"{name}.yaml") for name in ("healthy", "broken"))
SERVICE = "Service/sales/bq-api-service-1"


def test_what_appeared_is_exit_code_1_and_what_is_gone_is_0(run):
    done = run("diff", HEALTHY, BROKEN, "-n", "sales")
    assert (done.returncode, done.stderr) == (1, "")
    out = done.stdout
    assert "1 Service compared, 1 changed; 1 finding appeared, 0 gone" in out
    assert "appeared:\n  OBJ002 error: Selector matches no pod" in out
    assert f"{SERVICE}  healthy → broken" in out
    assert "spec.selector: app=bq-api-service → app=bq-api-servce" in out
    assert ": gone (was 10." in out
    assert max(map(len, out.splitlines()[1:])) <= 80 or "kubectl" in out
    back = run("diff", BROKEN, HEALTHY, "-n", "sales")
    assert back.returncode == 0
    assert "gone: OBJ002 error: Selector matches no pod" in back.stdout
    assert "appeared:" not in back.stdout


def test_the_same_snapshot_twice_differs_in_nothing(run):
    done = run("diff", BROKEN, BROKEN, "-A")
    assert done.returncode == 0
    assert "nothing changed" in done.stdout
    form = json.loads(run("diff", BROKEN, BROKEN, "-A", "-o", "json").stdout)
    fits(form)
    assert not (form["changes"] or form["services"] or form["appeared"] or form["gone"] or form["shifted"])


def test_the_formats_for_programs_and_pages_say_the_same(run):
    done = run("diff", HEALTHY, BROKEN, "svc/bq-api-service-1", "-n", "sales", "-o", "json")
    assert done.returncode == 1
    form = json.loads(done.stdout)
    fits(form)
    assert form["compared"] == 1
    assert [f["code"] for f in form["appeared"]] == ["OBJ002"]
    assert {
        "subject": SERVICE,
        "part": "spec.selector",
        "before": "app=bq-api-service",
        "after": "app=bq-api-servce",
        "services": [SERVICE],
    } in form["changes"]
    words = ("diff", HEALTHY, BROKEN, "bq-api-service-1", "-n", "sales", "-o")
    assert yaml.safe_load(run(*words, "yaml").stdout) == form
    assert run(*words, "json").stdout == done.stdout, "the same answer each time"
    markdown = run(*words, "markdown").stdout
    assert markdown.startswith("## 1 finding appeared, 0 gone\n")
    assert "| appeared | OBJ002 | error" in markdown
    table = run(*words, "table").stdout
    assert f"{SERVICE}  -" in table
    assert "spec.selector" in table


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("no-such-file", HEALTHY), "no-such-file"),
        ((HEALTHY, BROKEN, "pod/web"), "pod/web: diff takes Services: svc/NAME"),
        (
            (HEALTHY, BROKEN, "svc/wbe", "-n", "sales"),
            "no Service wbe in namespace sales, neither before nor after",
        ),
        ((HEALTHY, BROKEN, "svc/web", "-A"), "-A excludes -n and named Services"),
        ((HEALTHY,), "Missing argument"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(run, words, said):
    done = run("diff", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr
