"""What the lines of ``shellscript`` mean: each a try, as a program that is no part of svcdoctor met it.

Programs tell what they met by words and exit codes; bytes that came are read as those of our own connections are.
"""

from __future__ import annotations

import binascii
import os
import re
from collections.abc import Sequence

from svcdoctor.model.observed import Aim, Certificate, Met, ProbeKind, Sample, Speaks
from svcdoctor.probe.answer import Answer
from svcdoctor.probe.certificates import inspected
from svcdoctor.probe.failing import Failed, met_of
from svcdoctor.probe.secured import no_handshake
from svcdoctor.probe.spoken import WORDS, shown, speaks
from svcdoctor.probe.tls import summary
from svcdoctor.probe.udp import SILENCE
from svcdoctor.probe.who import who

_SHELL = re.compile(rb"@ (\d+) (\S+) (\S+) ([0-9a-f=; ]*)")
_PYTHON = re.compile(rb"# (\d+) (\S+) (\S+) (\d+) (\S+) (\S+) (-|[\w.]+) (.*)")
_CODE = re.compile(rb"=(\d+);")
_TIMES = re.compile(rb"\n?@([\d.,]+) ([\d.,]+)\s*\Z")
_STATUS = re.compile(rb"^\s*HTTP/\d\S* (\d{3})\b", re.MULTILINE)
_NC_SAYS = re.compile(rb"\AConnection to [^\n]* succeeded!\n|\A[^\n]* open\n")
_DD_SAYS = re.compile(rb"\d\+\d records in\n\d\+\d records out\n(\d+ bytes?.*\n)?\Z")
_NOT_TOLD = 255  # the shell itself was ended
_ENDED_BY = {124, 137, 143}  # by timeout or by our own kill

# In the order in which they count: a program may print several.
_WORDS = tuple(
    (re.compile(pattern, re.IGNORECASE), met)
    for pattern, met in (
        (rb"connection refused", Met.REFUSED),
        (rb"(no route to host|unreachable)", Met.UNREACHABLE),
        (rb"permission denied|not permitted|prohibited", Met.UNREACHABLE),
        (rb"reset by peer|broken pipe|input/output error", Met.RESET),
        (rb"empty reply|no data received|error getting response", Met.CLOSED),
        (rb"timed? ?-?out", Met.TIMEOUT),
        (rb"too many open files|cannot fork|resource temporarily|cannot allocate", Met.ERROR),
    )
)
_CURL = {
    1: Met.GARBLED,  # HTTP/0.9: no HTTP at all
    7: Met.REFUSED,
    8: Met.GARBLED,
    28: Met.TIMEOUT,
    35: Met.TLS_FAILED,
    52: Met.CLOSED,
    56: Met.RESET,
}


def samples(
    output: bytes, aims: Sequence[Aim], tool: str, seconds: float, names: tuple[str, ...]
) -> list[tuple[int, Sample]]:
    """The samples that the lines tell, each with its aim's position."""
    found = []
    for line in output.splitlines():
        shell, python = _SHELL.fullmatch(line), _PYTHON.fullmatch(line)
        match = shell or python
        if match is None or int(match[1]) >= len(aims):
            continue
        position = int(match[1])
        read = _shell if shell else _python
        try:
            found.append((position, read(match, aims[position], tool, seconds, names)))
        except (ValueError, binascii.Error):
            continue  # cut off, or not one of ours
    return found


# --- sh


def _shell(match: re.Match[bytes], aim: Aim, tool: str, seconds: float, names: tuple[str, ...]) -> Sample:
    took = max(0.0, float(match[3]) - float(match[2]))
    code = _CODE.search(match[4])
    data = bytes.fromhex(_CODE.sub(b"", match[4]).decode())
    ended = int(code[1]) if code else _NOT_TOLD
    connect: float | None = None
    if times := _TIMES.search(data):
        connect = float(times[1].replace(b",", b".")) or None
        took = float(times[2].replace(b",", b"."))
        data = data[: times.start()]
    program = tool.partition(" ")[2]
    try:
        if ended == 1 and not data and took > seconds - 0.1:
            ended = 124  # some netcats end so when the time is over
        answer = _of_program(data, ended, aim, program, connect is not None, seconds, names)
    except Failed as e:
        return Sample(e.met, took, connect, speaks=e.speaks, detail=e.detail)
    if aim.kind is ProbeKind.TCP and connect is not None:
        took = connect
    return answer.sample(took, connect)


def _of_program(
    data: bytes, ended: int, aim: Aim, program: str, connected: bool, seconds: float, names: tuple[str, ...]
) -> Answer:
    """What a program's output and exit code say. Raises `Failed`."""
    data = _NC_SAYS.sub(b"", data)
    if program == "bash" and aim.kind is ProbeKind.UDP:
        data = _DD_SAYS.sub(b"", data)
    if ended in _ENDED_BY:
        data = data.removesuffix(b"Terminated\n")  # the shell's, not the server's
    if aim.kind is ProbeKind.TCP and not aim.sent and (ended == 0 or connected):
        return Answer()
    if aim.kind is ProbeKind.HTTP and _STATUS.search(data):
        return _page(data, names)
    if aim.kind is ProbeKind.TLS and ended == 0:
        return Answer(detail=f"{program} shows no certificate; python3 there would")
    known = next((met for words, met in _WORDS if words.search(data)), None)
    text = shown(b" ".join(data.split())[-160:], 160)
    if known is not None:
        raise Failed(known, _said(known, text, program))
    if program == "curl" and ended in _CURL:
        met = _CURL[ended]
        spoken = Speaks.TLS if b"HTTP/0.9" in data else None
        raise Failed(met, _late(connected, seconds) if met is Met.TIMEOUT else f"curl: {text}", spoken)
    if aim.kind is ProbeKind.UDP and not data:
        raise Failed(Met.TIMEOUT, SILENCE)
    if ended in _ENDED_BY and (not data or program.startswith("wget")):
        raise Failed(Met.TIMEOUT, _late(connected, seconds))
    if ended in (126, 127):
        raise Failed(Met.ERROR, f"{program} cannot be run: {text}")
    if ended == 139:
        raise Failed(Met.ERROR, f"{program} crashed")
    return _bytes(data, aim, names, "timeout" if ended in _ENDED_BY else "eof", seconds)


def _said(met: Met, text: str, program: str) -> str:
    plain = {Met.REFUSED: "connection refused", Met.RESET: "reset", Met.CLOSED: "closed without an answer"}
    return plain.get(met) or f"{program}: {text}"


def _page(data: bytes, names: tuple[str, ...]) -> Answer:
    """An answer of HTTP, as curl and wget print it."""
    statuses = _STATUS.findall(data)
    rest = data[data.index(b"HTTP/") :]
    head, _, body = rest.partition(b"\r\n\r\n")
    headers = [
        (n.strip().lower(), v.strip()) for n, _, v in (h.partition(b":") for h in head.splitlines()[1:])
    ]
    wants_tls = speaks(rest[:1024]) is Speaks.TLS
    return Answer(
        who(body or rest, names, headers),
        statuses[-1].decode(),
        WORDS[Speaks.TLS] if wants_tls else "",
        Speaks.TLS if wants_tls else None,
    )


# --- Python


def _python(match: re.Match[bytes], aim: Aim, tool: str, seconds: float, names: tuple[str, ...]) -> Sample:
    connect = float(match[2]) if float(match[2]) >= 0 else None
    took, received = float(match[3]), int(match[4])
    data, der = (b"" if hexed == b"-" else binascii.unhexlify(hexed) for hexed in (match[5], match[6]))
    version = "" if match[7] == b"-" else match[7].decode("ascii", "replace")
    how = match[8].decode("utf-8", "replace")
    certificate = inspected((der,), aim.host or aim.ip, version) if der else None
    try:
        if how.startswith("errno "):
            number = how[6:]
            raise met_of(OSError(int(number), os.strerror(int(number))), received)
        if how.startswith("tls "):
            raise _tls_failed(how[4:])
        if how == "timeout" and not received:
            raise Failed(
                Met.TIMEOUT, SILENCE if aim.kind is ProbeKind.UDP else _late(connect is not None, seconds)
            )
        answer = _bytes(data, aim, names, how, seconds, certificate)
    except Failed as e:
        return Sample(e.met, took, connect, speaks=e.speaks, detail=e.detail, certificate=certificate)
    return answer.sample(took, connect)


def _tls_failed(reason: str) -> Failed:
    if reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"):
        return Failed(Met.TLS_FAILED, f"no TLS: {WORDS[Speaks.OTHER]}", Speaks.OTHER)
    return no_handshake(reason)


# --- both


def _bytes(
    data: bytes,
    aim: Aim,
    names: tuple[str, ...],
    how: str,
    seconds: float,
    certificate: Certificate | None = None,
) -> Answer:
    """What came back, and how it ended: ``ok``, ``eof`` or ``timeout``. Raises `Failed`."""
    if aim.kind is ProbeKind.TLS:
        status = certificate.version if certificate is not None else ""
        return Answer(status=status, detail=summary(certificate), certificate=certificate)
    if aim.kind is ProbeKind.TCP and not aim.sent:
        return Answer()
    if aim.kind in (ProbeKind.TCP, ProbeKind.UDP):
        if not data and how == "eof":
            raise Failed(Met.CLOSED, "closed without an answer")
        return Answer(who(data, names))
    if how == "timeout":
        raise Failed(
            Met.STALLED, f"the answer stalled: {len(data):,} bytes within {seconds:.3g} s, and no end"
        )
    answer = _http(data, names) if aim.kind is ProbeKind.HTTP else _grpc(data, aim, names)
    detail = "; ".join(filter(None, (answer.detail, summary(certificate) if certificate else "")))
    return Answer(answer.who, answer.status, detail, answer.speaks, certificate)


def _http(data: bytes, names: tuple[str, ...]) -> Answer:
    from svcdoctor.probe.http import Reading

    reading = Reading(names)
    if not reading.feed(data) and not reading.status:
        reading.feed(b"")
    return reading.answer()


def _grpc(data: bytes, aim: Aim, names: tuple[str, ...]) -> Answer:
    from svcdoctor.probe.grpc import Call

    call = Call(aim)
    call.start()
    if not data or not call.feed(data):
        call.feed(b"")
    return call.answer(names)


def _late(connected: bool, seconds: float) -> str:
    limit = f"{seconds:.3g} s"
    return f"connected, and then no answer within {limit}" if connected else f"no answer within {limit}"
