"""The lab's first process: pid 1 of its PID namespace. When it ends, everything of the lab ends.

``python -m svcdoctor.lab.net.daemon MODE FOLDER``. Started by ``lab up`` in namespaces of its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

from svcdoctor.lab.net.control import READY, clear
from svcdoctor.lab.net.faults import FAULTS, OUTAGES
from svcdoctor.lab.net.lab import Lab
from svcdoctor.model.errors import SvcdoctorError


def main(mode: str, folder: Path) -> None:
    """Build the lab, then answer the control socket until somebody says down."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    tempfile.tempdir = str(folder)  # so that whoever clears the folder clears all, even after a crash
    listener = socket.socket(socket.AF_UNIX)
    path = folder / "control"
    path.unlink(missing_ok=True)
    old = os.umask(0o177)
    listener.bind(str(path))
    os.umask(old)
    listener.listen(8)
    try:
        lab = Lab(mode, folder)
        lab.start()
    except SvcdoctorError as e:
        print(f"error: {e.message}", file=sys.stderr, flush=True)
        path.unlink(missing_ok=True)
        os._exit(1)
    (folder / READY).write_text(mode)
    one_at_a_time = threading.Lock()
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=_answer, args=(connection, lab, one_at_a_time), daemon=True).start()


def _answer(connection: socket.socket, lab: Lab, one_at_a_time: threading.Lock) -> None:
    with connection, contextlib.suppress(OSError), connection.makefile("rwb") as stream:
        line = stream.readline(65536)
        if not line:
            return
        asked = json.loads(line)
        with one_at_a_time:
            try:
                said = _do(lab, asked)
            except SvcdoctorError as e:
                said = {"error": e.message}
        stream.write(json.dumps(said).encode() + b"\n")
        stream.flush()
        if asked.get("do") == "down":
            lab.server.stop()
            clear(lab.folder)
            os._exit(0)


def _do(lab: Lab, asked: dict[str, Any]) -> dict[str, Any]:
    what = asked.get("do")
    if what == "status":
        return lab.status
    if what == "where":
        space = str(asked.get("in", ""))
        if space.startswith("pod/"):
            space = space.removeprefix("pod/")
            space = space if "/" in space else f"default/{space}"
        return {"pid": lab.spaces.pid(space), "space": space, **lab.status}
    if what == "break":
        return _break(lab, str(asked.get("code", "")))
    if what == "fix":
        return {"fixed": lab.fix()}
    if what == "down":
        return {}
    raise SvcdoctorError(f"the lab does not know how to {what}")


def _break(lab: Lab, code: str) -> dict[str, Any]:
    fault = FAULTS.get(code) or OUTAGES.get(code)
    if fault is None:
        raise SvcdoctorError(f"no fault {code} (svcdoctor lab break lists them)")
    if lab.mode not in fault.modes:
        raise SvcdoctorError(f"{code} does not exist in {lab.mode} mode")
    held = [c for c in lab.broken if c == code or (c in FAULTS and code in FAULTS)]
    if held:
        raise SvcdoctorError(f"{held[0]} is injected already: svcdoctor lab fix first")
    lab.broken.append(code)
    try:
        fault.inject(lab)
    except SvcdoctorError:
        lab.fix()
        raise
    lab.controller.sync()
    return {"code": code, "title": fault.title}


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
