"""``svcdoctor watch`` over a rolling restart of the lab's pods and over an outage, in a real terminal.

What it says is compared with what kubectl saw of the EndpointSlices meanwhile.
"""

import os
import re
import subprocess
import threading
import time
from datetime import datetime

import pytest
from screen import Screen
from test_lab_network import Lab, unusable

DEPLOYMENT = "deploy/bq-api-service-deploy-sample"
PODS = ("c8zlp", "tkxck", "vvkt9")
SPELL = re.compile(r"unavailable (\d\d:\d\d:\d\d\.\d) to (\d\d:\d\d:\d\d\.\d) \(")


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    why = unusable()
    if why is not None:
        if os.environ.get("CI"):
            pytest.fail(why)
        pytest.skip(why)
    made = Lab(tmp_path_factory.mktemp("lab"))
    made("up")
    yield made
    made("down")


class Witness:
    """kubectl, which watches the Service's slice of IPv4. ``seen`` are times with the pods that were ready."""

    def __init__(self, lab):
        self.seen = []
        path = 'jsonpath={.endpoints[*].targetRef.name} {.endpoints[*].conditions.ready}{"\\n"}'
        words = ["kubectl", "get", "endpointslices", "bq-api-service-1-ipv4-0", "-w", "-o", path]
        self.process = subprocess.Popen(
            ["svcdoctor", "lab", "shell", "--", *words], stdout=subprocess.PIPE, text=True, env=lab.env,
            start_new_session=True,
        )  # fmt: skip
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            words = line.split()
            half = len(words) // 2
            pairs = zip(words[:half], words[half:], strict=True)
            ready = {name.rpartition("-")[2] for name, said in pairs if said == "true"}
            self.seen.append((time.time(), ready))

    def spells(self, pod):
        """From when to when a pod was not ready."""
        found, since = [], None
        for at, ready in self.seen:
            if pod not in ready and since is None:
                since = at
            elif pod in ready and since is not None:
                found.append((since, at))
                since = None
        assert since is None
        return found

    def close(self):
        os.killpg(self.process.pid, 15)
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture
def witness(lab):
    made = Witness(lab)
    yield made
    made.close()


def told(lines):
    """Each subject's spells in the summary, as seconds since the epoch."""
    today = datetime.now().date()
    found, subject = {}, ""
    for line in lines:
        if m := SPELL.search(line):
            times = (datetime.strptime(t, "%H:%M:%S.%f").time() for t in m.groups())
            found.setdefault(subject, []).append(tuple(datetime.combine(today, t).timestamp() for t in times))
        elif line.startswith(("  pod/", "  nodePort", "  cluster IP")):
            subject = line.split(": ")[0].strip()
    return found


def close_to(spells):
    """Within a second, and the tenth that the summary shows."""
    return [pytest.approx(spell, abs=1.1) for spell in spells]


def test_a_rolling_restart_and_an_outage(lab, witness):
    words = ["svcdoctor", "lab", "shell", "--", "svcdoctor", "watch", "svc/bq-api-service-1"]
    shown = Screen(
        [*words, "--probe", "--interval", "0.25"], {**lab.env, "TERM": "xterm"}, columns=120, rows=40
    )
    try:
        shown.until(lambda: len(re.findall("nodePort .* available", "\n".join(shown.lines))) == 6)
        shown.until(lambda: witness.seen)
        lab.shell("kubectl", "rollout", "restart", DEPLOYMENT)
        for pod in PODS:
            shown.until(lambda p=pod: shown.line(rf"{p} +k8s-node\d +terminating "))
        status = lab.shell("kubectl", "rollout", "status", DEPLOYMENT)
        assert "successfully rolled out" in status.stdout
        shown.until(lambda: shown.line(" 3 of 3 endpoints ready"))
        for pod in PODS:
            shown.until(lambda p=pod: shown.line(rf"{p} +k8s-node\d +ready .* [▁▂▃▄▅]+ +[\d.]+ ms"))
        assert not shown.line(" unavailable ")
        lab("break", "OBJ006")
        shown.until(lambda: shown.line(r"^service/bq-api-service-1  unavailable \ds  0 of 3 endpoints ready"))
        shown.until(lambda: shown.line("^OBJ006 error"))
        shown.until(lambda: shown.line(r"^nodePort 192.168.0.44:31372 +k8s-node1 +unavailable .*×+ +refuses"))
        lab("fix")
        shown.until(lambda: len(re.findall("(nodePort|IP) .* available", "\n".join(shown.lines))) == 8)
        shown.type(b"\x03")
        assert shown.wait() == 1
    finally:
        shown.close()
    found = told(shown.below)
    pods = {name.rpartition("-")[2]: spells for name, spells in found.items() if name.startswith("pod/")}
    assert pods.keys() == set(PODS)
    for pod, spells in pods.items():
        assert len(spells) == 2, "restarted, and then not ready"
        assert spells == close_to(witness.spells(pod))
    [outage] = found[""]
    assert outage == pytest.approx(witness.spells(PODS[0])[1], abs=1.1)
    assert any(re.match("  fewest ready endpoints: 0, at ", line) for line in shown.below)
    for entry in ("nodePort 192.168.0.44:31372", "cluster IP 10.105.158.88:32111"):
        assert found[entry] == close_to([outage]), "through the restart it answered"
