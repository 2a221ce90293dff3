"""Which versions are at work: of svcdoctor, what it is made of, and what it talks to.

Each is reduced to its number: a build's suffix may name whose it is.
"""

from __future__ import annotations

import json
import locale
import platform
import re
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Any

from svcdoctor import __version__
from svcdoctor.model.errors import SvcdoctorError

SECONDS = 5.0
"""How long kubectl may take to say its version."""

_NUMBER = re.compile(r"v?\d+(?:\.\d+){1,3}")
_VENDORS = ("eks", "gke", "k3s", "rke2", "k0s", "aks")  # whose builds differ, and many have


def versions(source: object) -> dict[str, str]:
    """By name; what cannot be found out is left out. ``source`` may have a session with an API server."""
    found = {
        "svcdoctor": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {number(platform.release())} {platform.machine()}",
        "encoding": f"{sys.stdout.encoding}, locale {locale.getpreferredencoding(False)}",
    }
    for name in _dependencies():
        try:
            found[name] = number(version(name))
        except PackageNotFoundError:
            found[name] = "not installed"
    found |= {"kubectl": _kubectl(), "kubernetes": _server(source)}
    return {name: text for name, text in found.items() if text}


def _dependencies() -> list[str]:
    try:
        listed = requires("svcdoctor") or []
    except PackageNotFoundError:  # run from a source tree
        return []
    return [re.split(r"[^\w.-]", one, maxsplit=1)[0] for one in listed if "extra ==" not in one]


def number(text: str) -> str:
    """The version's number, and whose build it is where many have that one; empty where there is none."""
    match = _NUMBER.search(text)
    vendor = next((v for v in _VENDORS if v in text.lower()), "")
    return " ".join(filter(None, (match[0], vendor))) if match else ""


def _kubectl() -> str:
    program = shutil.which("kubectl")
    if program is None:
        return ""
    try:
        done = subprocess.run(
            [program, "version", "--client", "-o", "json"], capture_output=True, timeout=SECONDS, check=False
        )
        return number(json.loads(done.stdout)["clientVersion"]["gitVersion"])
    except (OSError, subprocess.TimeoutExpired, ValueError, KeyError, TypeError):
        return ""


def _server(source: Any) -> str:
    session = getattr(source, "session", None)
    if session is None:
        return ""
    try:
        return number(str(json.loads(session.get("/version").data).get("gitVersion", "")))
    except (SvcdoctorError, ValueError, AttributeError):
        return ""
