"""The table of ``svcdoctor forward`` on a real pseudo-terminal: what it shows, and what may become of the terminal."""

import contextlib
import fcntl
import os
import re
import signal
import socket
import struct
import sys
import termios
import threading
import time
from pathlib import Path

import pytest
import warm

CONTROL = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")
HIDDEN, SHOWN = "\x1b[?25l", "\x1b[?25h"
SECONDS = 15.0


class Terminal:
    """A terminal with the command in it. ``seen`` is all that was written to it; reading can be stopped."""

    def __init__(self, words, environment, columns=100, before=None):
        self.master, slave = os.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        self.modes = termios.tcgetattr(slave)
        self.slave = os.dup(slave)

        self.process = warm.Popen(
            words,
            terminal=True,  # so that its Ctrl-C and its end reach the command
            before=before,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=environment,
        )
        os.close(slave)
        self.seen = ""
        self.reads = threading.Event()
        self.reads.set()
        self.reader = threading.Thread(target=self._read)
        self.reader.start()

    def _read(self):
        with contextlib.suppress(OSError):
            while self.reads.wait() and (data := os.read(self.master, 65536)):
                self.seen += data.decode()

    @property
    def text(self):
        """What was written, without control sequences."""
        return CONTROL.sub("", self.seen)

    @property
    def table(self):
        """The last picture, as lines."""
        at = self.text.rfind("LOCAL ")
        return self.text[at:].split("\r\n") if at >= 0 else [""]

    def row(self, start):
        """The words of the last picture's line that begins so."""
        return next((re.split(r"  +", line.rstrip()) for line in self.table if line.startswith(start)), [])

    def until(self, true):
        end = time.monotonic() + SECONDS
        while not (found := true()):
            assert time.monotonic() < end, (self.process.poll(), self.text[-1500:])
            time.sleep(0.02)
        return found

    def type(self, keys):
        os.write(self.master, keys)

    def wait(self):
        code = self.process.wait(SECONDS)
        self.reads.set()
        os.close(self.slave)
        self.reader.join(5)
        os.close(self.master)
        self.master = -1
        return code

    def close(self):
        if self.master >= 0:
            self.process.kill()
            self.wait()


@pytest.fixture
def terminal(world, tmp_path, monkeypatch):
    with contextlib.ExitStack() as stack:

        def start(*words, program=("svcdoctor", "forward"), columns=100, before=None, **environment):
            kept = {k: v for k, v in os.environ.items() if k in ("PATH", "LANG", "LC_ALL")}
            kept["PATH"] = f"{Path(sys.executable).parent}:{kept['PATH']}"
            kept |= {"KUBECONFIG": str(world.kubeconfig(tmp_path / "config")), "HOME": str(tmp_path)}
            kept |= {"TERM": "xterm-256color", "PYTHONUTF8": "1", **environment}
            made = Terminal([*program, *words], kept, columns, before)
            stack.callback(made.close)
            return made

        yield start


def port_of(terminal):
    return int(terminal.until(lambda: re.search(r"Forwarding from 127\.0\.0\.1:(\d+)", terminal.text))[1])


def talk(port, line=b"hello\n"):
    with socket.create_connection(("127.0.0.1", port), 10) as client:
        client.sendall(line)
        return client.makefile().readline()


def test_what_it_shows(terminal, world):
    words = [
        "svc/web",
        ":80",
        "pod/web-1",
        ":9999",
        "--socks5",
        "0",
        "--wait",
        "0.2s",
    ]  # nothing listens on 9999
    shown = terminal(*words, columns=140)
    port = port_of(shown)
    at = f"localhost:{port}"
    shown.until(lambda: shown.row(at) == [at, "service/web 80 -> 28080", "2", "0", "0", "0 B", "0 B"])
    with socket.create_connection(("127.0.0.1", port), 10) as live:
        live.sendall(b"x" * 4095 + b"\n")
        assert live.recv(10)
        for _ in range(3):
            talk(port)
        shown.until(lambda: shown.row(at)[2:] == ["2", "1", "4", "4.0 KiB", "4.1 KiB"])  # it still lives
    shown.until(lambda: shown.row(at)[3:5] == ["0", "4"])
    world.change("web-2", ready=False)
    shown.until(lambda: shown.row(at)[2:3] == ["1"])
    socks = shown.until(lambda: next((line for line in shown.table if "SOCKS 5, any Service" in line), ""))
    with socket.create_connection(("127.0.0.1", int(socks.split()[0].split(":")[1])), 10) as client:
        client.sendall(b"\x05\x01\x00\x05\x01\x00\x03\x04nope\x00\x50")
        client.recv(100)
    refused = next(re.split("  +", line) for line in shown.table if "pod/web-1" in line)
    with contextlib.suppress(ConnectionError):
        talk(int(refused[0].partition(":")[2]))
    shown.until(
        lambda: any(
            re.match(r"! localhost:\d+ pod/web-1 9999: .*connection refused \(\ds ago\)", line)
            for line in shown.table
        )
    )
    shown.until(lambda: any(line.startswith("! nope:80: no Service nope in") for line in shown.table))
    shown.until(
        lambda: re.search(r"in namespace truth \([1-9]s ago\)", "".join(shown.table))
    )  # its age goes on
    shown.type(b"\x03")
    assert shown.wait() == 0
    assert (shown.seen.count(HIDDEN), shown.seen.count(SHOWN)) == (1, 1)
    assert shown.seen.rindex(SHOWN) > shown.seen.rindex("LOCAL")
    # kubectl's lines stand above each picture that follows them, and each stands there once.
    assert shown.text.count("Forwarding from ") == 4
    assert shown.text.index("Forwarding from ") < shown.text.rindex("LOCAL")
    assert "Handling connection" not in shown.text and "Traceback" not in shown.text


def test_narrow_terminals(terminal):
    for columns, shown in [(columns, terminal("svc/web", ":80", columns=columns)) for columns in (40, 80)]:
        port = port_of(shown)
        shown.until(lambda s=shown: "LOCAL" in s.text[s.text.rindex("Forwarding") :])
        shown.type(b"\x03")
        assert shown.wait() == 0
        assert max(map(len, shown.table)) <= columns
        assert ("RECEIVED" in shown.table[0]) == (columns == 80)
        assert f"localhost:{port}" in "".join(shown.table)


def test_the_terminal_is_as_it_was(terminal):
    """Whenever it ends the cursor is there, and no mode was changed."""
    stages = [(w, n) for w in (HIDDEN, "Forwarding") for n in (signal.SIGINT, signal.SIGTERM)]
    for stage, number, shown in [(*both, terminal("svc/web", ":80")) for both in stages]:
        shown.until(lambda s=shown, w=stage: w in s.seen)
        shown.process.send_signal(number)
        modes = termios.tcgetattr(shown.slave)
        shown.wait()
        assert modes == shown.modes
        assert shown.seen.count(HIDDEN) == shown.seen.count(SHOWN)


def test_an_error_is_said_below_the_table(terminal, world):
    world.remove("web-1")
    world.remove("web-2")
    shown = terminal("svc/web", ":80", "--pod-running-timeout", "0.3s")
    assert shown.wait() == 1
    assert shown.seen.rindex("svcdoctor: error: no pod was ready") > shown.seen.rindex(SHOWN)


LINES = [
    ([], {"NO_COLOR": "1"}),
    ([], {"TERM": "dumb"}),
    (["-o", "lines"], {}),
    (["-o", "json"], {}),
    (["--", "sleep", "60"], {}),
]


def test_lines_instead(terminal):
    for shown in [terminal("svc/web", ":80", *words, **environment) for words, environment in LINES]:
        shown.until(lambda s=shown: '"listening"' in s.seen or "Forwarding from" in s.seen)
        shown.type(b"\x03")
        shown.wait()
        assert "\x1b" not in shown.seen  # a table hides the cursor before anything else
        assert "LOCAL" not in shown.seen


def test_a_stopped_terminal_holds_up_nothing(terminal):
    """Ctrl-S, and a terminal that nobody reads: the forwards go on, and the end comes in time."""
    shown = terminal("svc/web", ":80")
    port = port_of(shown)
    shown.type(b"\x13")
    assert talk(port).endswith("hello\n")
    time.sleep(0.6)  # for a picture, which waits
    assert talk(port).endswith("hello\n")
    shown.type(b"\x11")
    shown.until(lambda: shown.row(f"localhost:{port}")[4:5] == ["2"])
    shown.type(b"\x13")
    talk(port)
    time.sleep(0.6)
    started = time.monotonic()
    shown.process.send_signal(signal.SIGTERM)
    assert shown.wait() == 0
    assert time.monotonic() - started < 5


def test_a_terminal_that_goes_away(terminal):
    """Who ignores SIGHUP (nohup, a multiplexer) keeps the forwards; others end, as by Ctrl-C."""
    ignoring = terminal("svc/web", ":80", before=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    other = terminal("svc/web", ":80")
    port = port_of(ignoring)
    gone(ignoring)
    time.sleep(0.6)  # for a picture, which cannot be drawn
    assert talk(port).endswith("hello\n")
    ignoring.process.send_signal(signal.SIGINT)
    assert ignoring.process.wait(SECONDS) == 0
    gone(other)
    assert other.process.wait(SECONDS) == 0


def gone(shown):
    """Close the terminal's other end: after the picture that the reader waits for there is none any more."""
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, shown.master)
    os.close(nothing)
    talk(port_of(shown))
    shown.reader.join(SECONDS)
    assert not shown.reader.is_alive()
