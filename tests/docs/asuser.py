"""The environment that commands run in: this program first on the path, and nothing of the machine's."""

from __future__ import annotations

import os
import sys
from pathlib import Path

BIN = Path(sys.executable).parent
# What this environment says must not decide a test: a user's shell buffers, and has a kubeconfig of its own.
DROPPED = ("KUBECONFIG", "NO_COLOR", "COLUMNS", "PYTHONUNBUFFERED")


def environment(home: Path, kubeconfig: Path | None = None, **changes: str) -> dict[str, str]:
    """The variables of a command; without ``kubeconfig`` it finds none."""
    env = {k: v for k, v in os.environ.items() if k not in DROPPED}
    env |= {"PATH": f"{BIN}:{env['PATH']}", "HOME": str(home), **changes}
    return env | {"KUBECONFIG": str(kubeconfig or home / "no-kubeconfig")}
