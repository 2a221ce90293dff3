"""What ``proxy`` does beside serving: metrics and health over HTTP, a dry run, cleaning up."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from svcdoctor.model.errors import SvcdoctorError

if TYPE_CHECKING:
    import socket

    from svcdoctor.proxy.serving.proxyrun import ProxyRun


def answer_metrics(run: ProxyRun, text: str) -> None:
    """Answer where ``--metrics`` says. Raises SvcdoctorError."""
    import sys

    from svcdoctor.proxy.scrapes import PATH, scraped
    from svcdoctor.report.forwarding import say
    from svcdoctor.report.proxymetrics import as_prometheus

    sockets, address = _answering("--metrics", text)
    say(f"Metrics on http://{address}{PATH}", sys.stderr)

    def render(done: Callable[[str], None]) -> None:
        run.count(lambda counters: done(as_prometheus(run.ports, counters, run.healthy, run.answers)))

    run.answer(sockets, scraped(render))


def answer_health(run: ProxyRun, text: str) -> None:
    """Answer where ``--healthz`` says. Raises SvcdoctorError."""
    import sys

    from svcdoctor.report.forwarding import say

    sockets, address = _answering("--healthz", text)
    say(f"Health on http://{address}/healthz", sys.stderr)
    run.answer(sockets, run.healthz)


def print_dry_run(run: ProxyRun, kernel: bool) -> None:
    """Print what would be served. Raises SvcdoctorError."""
    from svcdoctor.proxy.kernel.compile import compiled
    from svcdoctor.report.proxying import served_lines

    ports = run.dry_run()
    if kernel:
        print(compiled(ports, run.site()).text, end="")
    for line in () if kernel else served_lines(ports):
        print(line)


def clean_up_here() -> None:
    """Remove what crashed runs left here, and print it. Raises SvcdoctorError."""
    from svcdoctor.proxy.serving.leftovers import clean_up

    removed, problems = clean_up()
    for line in removed:
        print(line)
    if problems:
        raise SvcdoctorError("; ".join(problems), 3)
    if not removed:
        print("nothing is left")


def _answering(option: str, text: str) -> tuple[list[socket.socket], str]:
    """Sockets that listen where the option says, and the first of their addresses."""
    import sys

    from svcdoctor.proxy.arguments import parse_addresses, parse_listening
    from svcdoctor.proxy.listening import bound_addresses, local_sockets
    from svcdoctor.report.forwarding import address_text, say

    addresses, port = parse_listening(option, text, parse_addresses(["localhost"]))
    sockets = local_sockets(addresses, port, lambda error: say(error.message, sys.stderr))
    return sockets, address_text(bound_addresses(sockets)[0])
