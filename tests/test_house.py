"""The house as docs/architecture.md states it: who may import whom, and what stays out of --help."""

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "svcdoctor"
PURE = ["model", "cluster", "node", "dataplane", "dns", "path", "checks", "tunnel", "capture"]
ORDER = [*PURE, "sources", "proxy", "probe", "report", "lab", "cli"]
IMPURE = {"socket", "subprocess", "asyncio", "http", "urllib.request", "ssl", "kubernetes", "threading"}


def imports(file):
    tree = ast.parse(file.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def modules(package):
    return sorted((PACKAGE / package).glob("**/*.py"))


def test_every_package_is_in_the_order():
    found = {p.name for p in PACKAGE.iterdir() if p.is_dir() and p.name != "__pycache__"}
    assert found == set(ORDER)
    text = (ROOT / "docs" / "architecture.md").read_text()
    positions = [text.index(f"`{name}/`") for name in ORDER]
    assert positions == sorted(positions)


def test_a_package_imports_only_what_stands_above_it():
    for rank, package in enumerate(ORDER):
        allowed = {*ORDER[: rank + 1]}
        for file in modules(package):
            for name in imports(file):
                parts = name.split(".")
                if parts[0] == "svcdoctor" and len(parts) > 1:
                    assert parts[1] in allowed, f"{file.relative_to(ROOT)} imports {name}"


def test_the_pure_packages_do_no_io():
    for package in PURE:
        for file in modules(package):
            bad = {n for n in imports(file) if n in IMPURE or n.split(".")[0] in IMPURE}
            assert not bad, f"{file.relative_to(ROOT)} imports {bad}"


def test_no_file_is_named_after_nothing():
    names = {"utils.py", "helpers.py", "common.py", "misc.py"}
    assert not [f for f in PACKAGE.glob("**/*.py") if f.name in names]


def test_help_imports_nothing_heavy():
    code = (
        "import sys; sys.argv = ['svcdoctor', '--help']\n"
        "from svcdoctor.cli.main import main\n"
        "try: main()\nexcept SystemExit as e: assert not e.code, e.code\n"
        "heavy = {'kubernetes', 'scapy', 'msgspec', 'yaml', 'rich.console', 'cryptography', 'tabulate'}\n"
        "heavy |= {'websockets'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
    assert "trace" in done.stdout
