"""The live screen of ``svcdoctor watch`` in a real pseudo-terminal, read by a terminal emulator."""

import contextlib
import os
import signal
import sys
import termios
import time
from pathlib import Path

import pytest
from screen import ALTERNATE, HIDDEN, NORMAL, SHOWN, Screen
from watch_world import NET, NOT, READY, WatchWorld

BIN = Path(sys.executable).parent


@pytest.fixture
def world():
    made = WatchWorld()
    made.set(w1=READY, w2=READY)
    yield made
    made.close()


@pytest.fixture
def screen(world, tmp_path):
    with contextlib.ExitStack() as stack:

        def start(*words, columns=100, rows=30, before=None, **environment):
            kept = {"PATH": f"{BIN}:{os.environ['PATH']}", "HOME": str(tmp_path), "TERM": "xterm-256color"}
            kept |= {"KUBECONFIG": str(world.kubeconfig(tmp_path / "kubeconfig")), "PYTHONUTF8": "1"}
            made = Screen(["svcdoctor", "watch", *words], kept | environment, columns, rows, before)
            stack.callback(made.close)
            return made

        yield start


def test_what_it_shows_and_how_it_ends(screen, world):
    world.serve("w1", "w2", "svc")
    shown = screen("svc/web", "--probe", "--interval", "0.2")
    shown.until(lambda: shown.line(r"^service/web  available \ds  2 of 2 endpoints ready$"))
    shown.until(lambda: shown.line(r"^pod/w1 +n1 +ready +\ds +█+ +[▁▂▃▄▅]+ +[\d.]+ ms$"))
    shown.until(lambda: shown.line(rf"^cluster IP {NET}\.2\.1:28080 +available +\ds +[▁▂▃▄▅]+ +[\d.]+ ms$"))
    assert shown.line("^namespace truth, watched .*, probed every 0.2 s$")
    world.stop("w2")
    shown.until(lambda: shown.line(r"^pod/w2 +n1 +failing +\ds +█+ +[▁▂▃▄▅]*×+ +refuses$"))
    names = [line.split()[0] for line in shown.lines if line.startswith("pod/w")]
    assert names == ["pod/w2", "pod/w1"]  # the worst first
    world.change(w1=NOT)
    shown.until(lambda: shown.line(r"^pod/w1 +n1 +not ready +\ds +█+×+ "))
    shown.until(lambda: shown.line(r"^OBJ006 warning: Selected pods are not Ready .* since \d\d:\d\d:\d\d$"))
    shown.until(lambda: shown.line(rf"^\d\d:\d\d:\d\d  pod/w1: ready -> not ready \({NET}\.1\.1, n1\)$"))
    assert "red" in shown.colours and "green" in shown.colours
    world.change(w1=READY)
    shown.until(lambda: not shown.line("^OBJ006 warning"))
    shown.type(b"\x03")
    modes = termios.tcgetattr(shown.slave)
    assert shown.wait() == 1
    assert modes == shown.modes
    assert [shown.seen.count(c) for c in (ALTERNATE, NORMAL, HIDDEN, SHOWN)] == [1, 1, 1, 1]
    assert shown.below[0].startswith("service/web in namespace truth, watched ")
    text = "\n".join(shown.below)
    assert "  pod/w2: n1, ready at the end\n    unavailable " in text
    assert "to the end" in text and f"{NET}.1.2:28080 refused" in text


def test_any_size_another_one_and_a_thousand_endpoints(screen, world):
    """What is worst stands first, what has no room is counted, and it is drawn in time."""
    pods = {f"w{n}": READY for n in range(1, 1001)}
    world.set(**pods)
    small = [screen("svc/web", columns=columns, rows=rows) for columns, rows in ((34, 12), (20, 4))]
    big = screen("svc/web", columns=100, rows=24)
    assert small[0].until(lambda: small[0].line(r"^and \d+ more: \d+ ready$"))
    small[1].until(lambda: small[1].line("^service/web"))
    big.until(lambda: big.line("^service/web  available .+s  1000 of 1000 endpoints ready$"))
    world.set(**{**pods, "w700": NOT})
    big.until(lambda: big.line(r"^pod/w700 +n1 +not ready "))
    assert next(line for line in big.lines if line.startswith("pod/")).startswith("pod/w700 ")
    count = sum(line.startswith("pod/w") for line in big.lines)
    assert big.line(rf"^and {1000 - count} more: {1000 - count} ready$")
    big.resize(44, 12)
    big.until(lambda: big.line("^ENDPOINT +STATE +FOR$") and big.line(r"^and 99\d more: 99\d ready$"))
    big.resize(140, 80)
    big.until(lambda: sum(line.startswith("pod/w") for line in big.lines) > 60)
    for shown in (*small, big):
        shown.type(b"\x03")
        assert shown.wait() == 1
        assert "Traceback" not in shown.seen
    assert "  and 999 endpoints without a change" in big.below


def test_without_colours_letters_or_a_screen(screen, world):
    world.change(w1=NOT)
    plain = screen("svc/web", NO_COLOR="1")
    letters = screen("svc/web", PYTHONUTF8="0", PYTHONIOENCODING="ascii")
    dumb = screen("svc/web", TERM="dumb")
    plain.until(lambda: plain.line("not ready +.s +×+"))
    plain.until(lambda: plain.line("^OBJ006"))
    assert plain.colours == {"default"}
    letters.until(lambda: letters.line(r"not ready +\ds +x+$") and letters.line(r"ready +\ds +#+$"))
    assert letters.seen.isascii()
    dumb.until(lambda: "pod/w1: not ready" in dumb.seen)
    for shown in (plain, letters, dumb):
        shown.type(b"\x03")
        assert shown.wait() == 1
    assert "\x1b" not in dumb.seen


def test_a_stopped_terminal_holds_up_nothing(screen):
    shown = screen("svc/web")
    shown.until(lambda: shown.line("^service/web"))
    shown.type(b"\x13")  # Ctrl-S
    time.sleep(0.8)  # for a picture, which waits
    started = time.monotonic()
    shown.process.send_signal(signal.SIGTERM)
    assert shown.wait() == 0
    assert time.monotonic() - started < 6


def test_a_terminal_that_goes_away(screen):
    """It ends by the signal, and where that is ignored (nohup) because nobody sees it any more."""
    ignoring = screen("svc/web", before=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    other = screen("svc/web")
    for shown in (ignoring, other):
        shown.until(lambda s=shown: s.line("^service/web"))
    for shown in (ignoring, other):
        gone(shown)
        assert shown.process.wait(20) == 0


def gone(shown):
    """Close the terminal's other end: after the picture that the reader waits for there is none any more."""
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, shown.master)
    os.close(nothing)
    shown.reader.join(20)
    assert not shown.reader.is_alive()


def test_an_error_is_no_screen(screen):
    shown = screen("svc/nope")
    assert shown.wait() == 1
    assert shown.seen == "svcdoctor: error: no service/nope in namespace truth\r\n"
