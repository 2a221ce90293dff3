"""The events of ``forward``: in kubectl's lines, so that scripts which read those go on working, or as JSON.

What happens is told on standard output in kubectl's words ("Forwarding from", "Handling connection for"); what kubectl
has no words for goes to standard error.
"""

from __future__ import annotations

import os
import sys
from typing import Any, TextIO

import msgspec

from svcdoctor.proxy.endpoint import Endpoint
from svcdoctor.proxy.forwarder import Event, Listening, Offered, Proxying, Troubled
from svcdoctor.proxy.forwarding import Began, Ended, Missed
from svcdoctor.proxy.listener import Address
from svcdoctor.proxy.reach import GONE


class Lines:
    """kubectl's lines. ``out`` and ``err`` are flushed after each."""

    def __init__(self, out: TextIO = sys.stdout, err: TextIO = sys.stderr) -> None:
        self._out = out
        self._err = err

    def __call__(self, event: Event) -> None:
        match event:
            case Listening():
                say(listening_line(event), self._out)
            case Proxying(addresses):
                for address in addresses:
                    say(f"SOCKS 5 on {address_text(address)}", self._out)
            case Began(_, local):
                say(f"Handling connection for {local}", self._out)
            case Missed(_, local, endpoint, why):
                self._say(f"{local}: {_name(endpoint)}: {why}")
            case Ended(_, local, endpoint, _, _, why) if why and why != GONE:
                self._say(f"{local}: {_name(endpoint) + ': ' if endpoint is not None else ''}{why}")
            case Offered(plan, request, found) if not found:
                self._say(f"{plan.target} {request.remote}: no pod is ready; connections wait")
            case Troubled(what, why):
                self._say(f"{what}: {why}")

    def _say(self, line: str) -> None:
        say(line, self._err)


def listening_line(event: Listening) -> str:
    """kubectl's line for a port that is open."""
    protocol = "" if event.request.protocol == "TCP" else "/udp"
    line = f"Forwarding from {address_text((event.ip, event.local))} -> {event.remote}{protocol}"
    return f"{line} pod/{event.pod}" if event.pod else line


def say(line: str, stream: TextIO) -> None:
    """Print a line at once. Where nobody reads any more (``| head -1``, a terminal that went away) it and what
    follows is dropped: the forwards go on."""
    try:
        print(line, file=stream, flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def as_json(event: Event) -> str:
    """One event as one line of JSON."""
    form: dict[str, Any] = {"apiVersion": "svcdoctor/v1", "kind": "ForwardEvent"}
    match event:
        case Listening(ip, local, remote, plan, request, pod):
            form |= {"type": "listening", "address": address_text((ip, local)), "remotePort": remote}
            form |= {"protocol": request.protocol, "target": str(plan.target), "namespace": plan.namespace}
            form |= {"pod": pod} if pod else {}
        case Proxying(addresses):
            form |= {"type": "socks", "addresses": [address_text(address) for address in addresses]}
        case Began(client, local):
            form |= {"type": "connection", "client": address_text(client), "localPort": local}
        case Missed(client, local, endpoint, why):
            form |= {"type": "missed", "client": address_text(client), "localPort": local}
            form |= {**_endpoint(endpoint), "reason": why}
        case Ended(client, local, ended, up, down, why):
            form |= {"type": "ended", "client": address_text(client), "localPort": local}
            form |= {**(_endpoint(ended) if ended is not None else {})}
            form |= {"bytesSent": up, "bytesReceived": down, "reason": why}
        case Offered(plan, request, found):
            form |= {"type": "endpoints", "target": str(plan.target), "namespace": plan.namespace}
            form |= {"remotePort": request.remote, "endpoints": [_endpoint(e) for e in found]}
        case Troubled(what, why):
            form |= {"type": "trouble", "target": what, "reason": why}
    return msgspec.json.encode(form).decode()


def _endpoint(endpoint: Endpoint) -> dict[str, Any]:
    return {"pod": f"{endpoint.namespace}/{endpoint.pod}", "ip": endpoint.ip, "port": endpoint.port}


def _name(endpoint: Endpoint) -> str:
    return f"pod/{endpoint.pod}" if endpoint.pod else str(endpoint)


def address_text(address: Address) -> str:
    ip, port = address
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"
