"""A control process with workers of the stand-in: ``control_process.py DIRECTORY CONFIG`` tells events as JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import msgspec
from served_world import every_listen

from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.proxy.loop import Loop
from svcdoctor.proxy.serving.choosing import Selection
from svcdoctor.proxy.serving.control import Changed, Control, Note, Serving
from svcdoctor.proxy.serving.planned import Options
from svcdoctor.proxy.serving.rundir import RunDirectory
from svcdoctor.proxy.serving.served import Listen, ServedPort
from svcdoctor.proxy.serving.signals import Signals
from svcdoctor.proxy.serving.supervise import PROGRAM, Workers
from svcdoctor.proxy.serving.wire import Settings
from svcdoctor.sources.connection import Connection, open_connection

STAND_IN = (sys.executable, str(Path(__file__).with_name("standin.py")))


def tell(event):
    match event:
        case Note(text):
            said = {"kind": "note", "text": text}
        case Serving(ports, earlier):
            said = {
                "kind": "serving",
                "ports": {p.key: list(map(str, p.cluster)) for p in ports},
                "earlier": earlier,
            }
        case Changed(put, removed):
            said = {
                "kind": "changed",
                "put": {p.key: list(map(str, p.cluster)) for p in put},
                "removed": removed,
            }
    print(json.dumps(said), flush=True)


def local(service, plan, family, own):
    """On a loopback address, at the port's number."""
    return (Listen("127.0.0.1" if family == 4 else "::1", plan.port, "local"),)


def apart(service, plan, family, own):
    """On a loopback address of its own."""
    return (Listen(f"127.{plan.cluster_ip.partition('.')[2]}", 8080, "local"),)


LISTENS = {"every": every_listen, "local": local, "apart": apart}


def main(above, config):
    loop = Loop()
    directory = RunDirectory("proxy-test", Path(above))
    directory.lock()
    control = Control(loop, Options(LISTENS[config.get("listens", "every")]), tell)
    if "ports" in config:
        control.fix(msgspec.convert(config["ports"], list[ServedPort]))
    if "kubeconfig" in config:
        session = open_connection(Connection(kubeconfig=Path(config["kubeconfig"])))
        control.watch(
            session,
            Selection(config.get("namespace", "shop"), config.get("name", "")),
            config.get("node", ""),
        )
    workers = Workers(
        loop,
        directory,
        Settings(config.get("version", "1"), drain_seconds=config.get("drain", 5.0)),
        config.get("workers", 2),
        tell=control.note,
        held=control.held,
        recalled=control.recalled,
        failed=control.failed,
        program=PROGRAM if config.get("real") else STAND_IN,
    )
    with Signals() as signals:
        signals.tell(control.interrupted)
        try:
            control.run(workers)
        finally:
            loop.turn(0)
            directory.release()
    return signals.code


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1], json.loads(sys.argv[2])))
    except SvcdoctorError as e:
        print(e.message, file=sys.stderr)
        sys.exit(e.exit_code)
