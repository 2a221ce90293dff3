"""The C libraries themselves: a program that calls getaddrinfo(), once with glibc and once with musl."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from named_server import require

_PROGRAM = r"""
#define _GNU_SOURCE
#include <netdb.h>
#include <stdio.h>
#include <sys/socket.h>
int main(int argc, char **argv) {
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found, *a;
    char text[128];
    if (argc > 2) hints.ai_family = argv[2][0] == '4' ? AF_INET : AF_INET6;
    int failed = getaddrinfo(argv[1], 0, &hints, &found);
    if (failed) return printf("%d\n", failed), 1;
    for (a = found; a; a = a->ai_next)
        if (!getnameinfo(a->ai_addr, a->ai_addrlen, text, sizeof text, 0, 0, NI_NUMERICHOST)) puts(text);
    return 0;
}
"""


@dataclass(frozen=True)
class Programs:
    """Paths of the two programs; ``musl_version`` as musl's loader tells it."""

    glibc: str
    musl: str
    musl_version: tuple[int, ...]


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Programs:
    require({"gcc": "gcc", "musl-gcc": "musl-tools"})
    folder = tmp_path_factory.mktemp("getaddrinfo")
    (folder / "asks.c").write_text(_PROGRAM)
    subprocess.run(["gcc", "-o", "glibc", "asks.c"], cwd=folder, check=True)
    subprocess.run(["musl-gcc", "-o", "musl", "asks.c"], cwd=folder, check=True)
    loaders = [str(p) for p in Path("/lib").glob("ld-musl-*.so.1")]
    said = subprocess.run(loaders[:1], capture_output=True, text=True, check=False).stderr
    version = re.search(r"Version ([\d.]+)", said)
    assert version, said
    return Programs(str(folder / "glibc"), str(folder / "musl"), tuple(map(int, version[1].split("."))))
