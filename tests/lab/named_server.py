"""A real DNS server: BIND in a network namespace of its own, with its log of queries, and clients beside it.

``NamedServer`` is for any test that needs one; the process is the namespace, so nothing is left when it has ended.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"
PROGRAMS = {"named": "bind9", "ip": "iproute2", "unshare": "util-linux", "nsenter": "util-linux"}
SERVER4, SERVER6 = "10.96.0.10", "fd00:10:96::a"

_QUERY = re.compile(
    r"client @\S+ (?P<client>\S+)#\d+ \(.*?\): query: (?P<name>\S+) IN (?P<rtype>\S+) "
    r"(?P<flags>\S+) \((?P<server>\S+)\)"
)
_CONFIGURATION = """
options {{
    directory "{folder}";
    pid-file none; session-keyfile "{folder}/session.key"; lock-file none;
    managed-keys-directory "{folder}";
    listen-on {{ {four} }}; listen-on-v6 {{ {six} }};
    recursion no; minimal-responses yes; dnssec-validation no; notify no; empty-zones-enable no;
    querylog yes;
}};
controls {{ }};
logging {{
    channel queries {{ file "{folder}/queries.log"; severity info; }};
    category queries {{ queries; }};
}};
"""
_HEAD = "$TTL 5\n@ SOA ns. root. 1 60 60 60 5\n@ NS ns.\nns. A 192.0.2.1\n"


@dataclass(frozen=True, slots=True)
class Asked:
    """A query as the server logged it; the name as it was asked, without its last dot."""

    name: str
    rtype: str
    server: str
    tcp: bool


def require(programs: Mapping[str, str]) -> None:
    """Skip the test, or fail it in CI, when a program (with its Debian package) or namespaces are missing."""
    missing = sorted({p for name, p in programs.items() if shutil.which(name, path=PATH) is None})
    why = f"{', '.join(missing)} not installed" if missing else None
    if why is None:
        done = subprocess.run(["unshare", "-nm", "true"], capture_output=True, text=True, check=False)
        why = None if done.returncode == 0 else f"no namespaces: {done.stderr.strip()}"
    if why is not None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(why)


class NamedServer:
    """BIND for ``zones``: each zone's records in the words of a zone file, its SOA and NS added.

    ``None`` for a zone that cannot be loaded (SERVFAIL), ``"refused"`` for one that nobody may ask. Every other
    name is REFUSED, unless ``.`` is among the zones. ``addresses`` are all that the namespace has, as ``ip`` takes
    them; BIND listens on those of ``listening``.
    """

    def __init__(
        self,
        folder: Path,
        zones: Mapping[str, str | None],
        addresses: Iterable[str] = (SERVER4, SERVER6),
        listening: Iterable[str] = (SERVER4, SERVER6),
    ) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        four = "".join(f"{a}; " for a in listening if ":" not in a) or "none; "
        six = "".join(f"{a}; " for a in listening if ":" in a) or "none; "
        text = _CONFIGURATION.format(folder=folder, four=four, six=six)
        for number, (zone, records) in enumerate(zones.items()):
            file = folder / f"zone{number}"
            access = "allow-query { none; };" if records == "refused" else ""
            if records is not None:
                file.write_text(_HEAD + (records if not access else ""))
            text += f'zone "{zone}" {{ type primary; file "{file}"; check-integrity no; {access} }};\n'
        (folder / "named.conf").write_text(text)
        links = ["link set lo up", "link add dns0 type bridge", "link set dns0 up"]
        links += [f"addr add {a} dev dns0" + (" nodad" if ":" in a else "") for a in addresses]
        (folder / "links").write_text("\n".join(links) + "\n")
        words = f'ip -batch "{folder}/links" && exec named -f -n 1 -c "{folder}/named.conf"'
        environment = {**os.environ, "PATH": PATH}
        self._log = (folder / "named.log").open("wb")
        self._process = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", words],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        try:
            self._until_ready(next(iter(listening)))
        except BaseException:
            self.stop()
            raise

    @property
    def pid(self) -> int:
        """A process in the namespace."""
        return self._process.pid

    def _until_ready(self, address: str) -> None:
        until = time.monotonic() + 20
        pattern = f"{address}:53" if ":" not in address else f"[{address}]:53"
        while time.monotonic() < until:
            if self._process.poll() is not None:
                raise RuntimeError((self.folder / "named.log").read_text())
            listening = self.run("ss", "-lnuH").stdout
            if pattern in listening and (self.folder / "queries.log").exists():
                return
            time.sleep(0.05)
        raise TimeoutError("named does not listen")

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
        self._log.close()

    def command(self, *words: str, resolv_conf: str | None = None) -> list[str]:
        """The command that runs ``words`` in the namespace, with an /etc/resolv.conf of its own when given."""
        enter = ["nsenter", "--target", str(self.pid), "--net"]
        if resolv_conf is None:
            return [*enter, *words]
        files = {
            "resolv.conf": resolv_conf,
            "hosts": "127.0.0.1 localhost\n",
            "nsswitch.conf": "hosts: files dns\n",
        }
        folder = self.folder / f"etc{len(list(self.folder.iterdir()))}-{time.monotonic_ns()}"
        folder.mkdir()
        for name, text in files.items():
            (folder / name).write_bytes(text.encode())
        binds = " && ".join(f'mount --bind "{folder}/{name}" /etc/{name}' for name in files)
        return [*enter, "unshare", "--mount", "sh", "-c", f'{binds} && exec "$@"', "sh", *words]

    def run(
        self, *words: str, resolv_conf: str | None = None, stdin: str = "", seconds: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run ``words`` in the namespace and return what they said."""
        return subprocess.run(
            self.command(*words, resolv_conf=resolv_conf),
            input=stdin,
            capture_output=True,
            text=True,
            env={**os.environ, "PATH": PATH, "LC_ALL": "C"},
            timeout=seconds,
            check=False,
        )

    def queries(self) -> list[Asked]:
        """Every query so far, in the order in which the server read them."""
        found = _QUERY.finditer((self.folder / "queries.log").read_text())
        return [Asked(m["name"], m["rtype"], m["server"], "T" in m["flags"]) for m in found]


@contextlib.contextmanager
def named_server(
    folder: Path,
    zones: Mapping[str, str | None],
    addresses: Iterable[str] = (SERVER4, SERVER6),
    listening: Iterable[str] = (SERVER4, SERVER6),
) -> Iterator[NamedServer]:
    """A running ``NamedServer``, stopped at the end."""
    require(PROGRAMS)
    server = NamedServer(folder, zones, addresses, listening)
    try:
        yield server
    finally:
        server.stop()
