"""Packages that add checks: the example installed as a user installs it, and broken ones found by entry points."""

import json
import os
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import pytest
from answers import fits

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "plugins" / "example-check"
TRACE = (
    "trace",
    "svc/bq-api-service-1",
    "-n",
    "sales",
    "-f",
    "fixtures/faults/OBJ002/healthy.yaml",
    "-o",
    "json",
)

CHECK = """
from svcdoctor.checks.registry import Case, Raised, check, subject
from svcdoctor.model.finding import Severity

def made(code, function, **texts):
    said = {"meaning": "It means it.", "look": "look", "mend": "Mend it.", "links": ("https://example.com/",)}
    check(code, "A title", Severity.WARNING, **(said | texts))(function)
"""
GOOD = """
def found(case):
    for service in case.services:
        yield Raised((subject(service),), ("seen",), "It is so.", "mend", field="spec.ports")

made("GOOD001", found)
"""
RAISING = """
def raising(case):
    yield Raised(case.trace.services and ("Service/a/b",), ("e",), "x", "y")
    raise ZeroDivisionError("no luck\\nat all")

def wrong(case):
    yield "a text"

def nothing(case):
    return None

def without_subject(case):
    return [Raised((), (), "x", "y")]

def register():
    for number, function in enumerate((raising, wrong, nothing, without_subject), 1):
        made(f"FAIL00{number}", function)
"""
LEFT_OUT = {
    "imports": ("import no_such_module_anywhere", "ModuleNotFoundError: No module named 'no_such_module_anywhere'"),
    "exits": ("raise SystemExit(7)", "SystemExit: 7"),
    "code": ('made("bad1", lambda case: [])', "'bad1' is no code: 2 to 8 capital letters and 3 digits"),
    "taken": ('made("OBJ002", lambda case: [])', "ValueError: two checks with code OBJ002"),
    "prefix": ('made("OBJ900", lambda case: [])', "code OBJ900 begins with OBJ, which is svcdoctor's own"),
    "half": (
        'made("HALF001", lambda case: [])\nmade("HALF002", lambda case: [], mend=" ")',
        "HALF002: title, meaning, look, mend, links and explains are texts that say something",
    ),
    "nothing": ("", "it registers no check"),
    "thief": (
        'from svcdoctor.checks.registry import REGISTRY\nREGISTRY.pop("OBJ002")\nmade("THIEF001", lambda case: [])',
        "it changes checks that are not its own",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with packages as pip leaves them: a module each, and its dist-info."""
    folder = tmp_path_factory.mktemp("site")
    modules = {name: f"{CHECK}\n{text}\n" for name, (text, _) in LEFT_OUT.items()}
    modules |= {"good": CHECK + GOOD, "raising": CHECK + RAISING}
    for name, text in modules.items():
        (folder / f"plug_{name}.py").write_text(text)
        info = folder / f"plug_{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: plug-{name}\nVersion: 1.0\n")
        attribute = ":register" if name == "raising" else ""
        (info / "entry_points.txt").write_text(f"[svcdoctor.checks]\n{name} = plug_{name}{attribute}\n")
    return folder


def test_without_packages_nothing_of_them_is_said(run):
    answer = json.loads(run(*TRACE).stdout)
    assert answer["findings"] == []
    assert not any("package" in note for note in answer["notes"])


def test_a_sound_package_is_heard_and_broken_ones_are_named_and_left_out(run, installed):
    done = run(*TRACE, PYTHONPATH=str(installed))
    answer = json.loads(done.stdout)
    fits(answer)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    found = [f for f in answer["findings"] if f["code"] == "GOOD001"]
    assert [f["subjects"] for f in found] == [["Service/sales/bq-api-service-1"]]
    assert {f["code"] for f in answer["findings"]} == {"GOOD001"}
    for name, (_, reason) in LEFT_OUT.items():
        (note,) = [n for n in answer["notes"] if f"package plug-{name} " in n]
        assert note.startswith(f"the checks of package plug-{name} are left out: {reason}")
    unknowns = {u["fact"]: u for u in answer["unknowns"] if u["fact"].startswith("FAIL")}
    assert list(unknowns) == [f"FAIL00{n} of plug-raising" for n in (1, 2, 3, 4)]
    reasons = [u["reason"] for u in unknowns.values()]
    assert reasons[0].startswith("ZeroDivisionError: no luck at all (plug_raising.py, line ")
    assert reasons[1].startswith("TypeError: a check yields Raised, not str")
    assert reasons[2].startswith("TypeError: 'NoneType' object is not iterable")
    assert reasons[3].startswith("TypeError: a Raised without subjects")
    assert not any(u["required"] for u in unknowns.values())


def test_their_codes_are_listed_and_the_others_own_are_untouched(run, installed):
    done = run("codes", "-o", "json", PYTHONPATH=str(installed))
    codes = {c["code"]: c["package"] for c in json.loads(done.stdout)["codes"]}
    assert codes["GOOD001"] == "plug-good"
    assert codes["OBJ002"] == "svcdoctor"
    own = {c for c, package in codes.items() if package != "svcdoctor"}
    assert own == {"GOOD001", *(f"FAIL00{n}" for n in (1, 2, 3, 4))}
    assert len(done.stderr.splitlines()) == len(LEFT_OUT)
    assert all(line.startswith("warning: the checks of package plug-") for line in done.stderr.splitlines())


def wheel(folder):
    """The example as a wheel, made from what its pyproject.toml says: building one needs what CI may not have."""
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())
    name, version = project["project"]["name"].replace("-", "_"), project["project"]["version"]
    info = f"{name}-{version}.dist-info"
    groups = project["project"]["entry-points"].items()
    lines = [
        line
        for group, points in groups
        for line in (f"[{group}]", *(f"{k} = {v}" for k, v in points.items()))
    ]
    files = {
        f"{m}.py": (EXAMPLE / f"{m}.py").read_text() for m in project["tool"]["setuptools"]["py-modules"]
    }
    files[f"{info}/METADATA"] = (
        f"Metadata-Version: 2.1\nName: {project['project']['name']}\nVersion: {version}\n"
    )
    files[f"{info}/WHEEL"] = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    files[f"{info}/entry_points.txt"] = "\n".join(lines) + "\n"
    files[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in (*files, f"{info}/RECORD"))
    made = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(made, "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
    return made


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """A fresh environment into which pip has installed the example; svcdoctor is there by a path file."""
    folder = tmp_path_factory.mktemp("example")
    made = folder / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", made], check=True)
    (site,) = made.glob("lib/python*/site-packages")
    paths = [sysconfig.get_paths()["purelib"], sysconfig.get_paths()["platlib"], str(ROOT)]
    (site / "svcdoctor.pth").write_text("\n".join(dict.fromkeys(paths)) + "\n")
    command = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        made / "bin" / "python",
        "install",
        "--quiet",
        "--no-deps",
    ]
    command += ["--no-index", "--disable-pip-version-check", wheel(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return made / "bin" / "python"


def in_environment(python, *words):
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "KUBECONFIG")}
    return subprocess.run(
        [python, *words], capture_output=True, text=True, cwd=ROOT, env=env, timeout=60, check=False
    )


def test_the_example_is_installed_run_and_explained(environment):
    main = ("-m", "svcdoctor.cli.main")
    done = in_environment(environment, *main, *TRACE)
    answer = json.loads(done.stdout)
    (finding,) = answer["findings"]
    assert (finding["code"], finding["severity"]) == ("EXAMPLE001", "warning")
    assert finding["subjects"] == ["Service/sales/bq-api-service-1"]
    assert finding["fix"].startswith("kubectl -n sales label svc bq-api-service-1 example.com/owner=TEAM")
    done = in_environment(environment, *main, "explain", "example001")
    assert done.returncode == 0
    assert "from package svcdoctor-example-check" in done.stdout
    assert "EXAMPLE001 warning: The Service names no owner" in done.stdout


def test_the_examples_own_test_passes_where_it_is_installed(environment):
    words = (
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        "-c",
        str(EXAMPLE / "pyproject.toml"),
    )
    done = in_environment(environment, *words, str(EXAMPLE))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "5 passed" in done.stdout


def test_check_looks_at_every_service_for_them_and_chooses_by_their_codes(run, installed):
    words = ("check", "-A", "--snapshot", "fixtures/faults/OBJ002/healthy.yaml", "-o", "json")
    answer = json.loads(run(*words, PYTHONPATH=str(installed)).stdout)
    found = {f["subjects"][0] for f in answer["findings"] if f["code"] == "GOOD001"}
    services = {f"Service/{r['namespace']}/{r['name']}" for r in answer["rows"] if r["kind"] == "Service"}
    assert found == services
    assert sum("package plug-" in note for note in answer["notes"]) == len(LEFT_OUT)
    assert len([u for u in answer["unknowns"] if u["fact"].startswith("FAIL")]) == 4, "each once"
    ignored = json.loads(run(*words, "--ignore", "good", PYTHONPATH=str(installed)).stdout)
    assert {s["code"] for s in ignored["suppressed"]} == {"GOOD001"}
