"""The README's commands for a lab and for nodes' facts, each run as it stands there."""

import re
import shlex
from concurrent.futures import ThreadPoolExecutor

import pytest
from documents import ROOT, section, shell_lines
from test_lab_network import Lab, possible  # noqa: F401 - the fixture runs by itself

README = (ROOT / "README.md").read_text()


def block(title):
    """The shell lines under a heading."""
    return shell_lines(section(README, title))


@pytest.fixture
def lab(tmp_path):
    made = Lab(tmp_path)
    yield made
    made("down", check=False)


def test_a_network_to_break(lab):
    outputs = []
    for line in block("A network to break"):
        words = shlex.split(line)
        assert words[:2] == ["svcdoctor", "lab"]
        done = lab(*words[2:], check=False)
        outputs.append((done.returncode, done.stdout))
    codes, texts = [code for code, _ in outputs], [text for _, text in outputs]
    assert codes == [0, 0, 0, 0, 1, 0, 0], outputs
    up, healthy, page, broken, found, fixed, down = texts
    assert "the lab is up" in up
    assert "✔ healthy  Service default/bq-api-service-1" in healthy
    assert "bq-api-service-deploy-sample" in page
    assert broken.startswith("RUL004")
    assert "RUL004 error" in found and "k8s-node1" in found and "--to-destination" in found
    assert fixed.startswith("fixed: RUL004")
    assert "the lab is down" in down


def test_what_the_nodes_really_do(lab, tmp_path, monkeypatch):
    lab("up")
    lines = block("What the nodes really do")
    assert len(lines) == 5
    for line in lines[:3]:
        # The README's Service and node have these names here.
        words = shlex.split(line.replace("svc/web", "svc/bq-api-service-1").replace("node1", "k8s-node0"))
        done = lab.shell(*words)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "10.105.158.88:32111" in done.stdout or "9 frontends compared, none differ" in done.stdout
    monkeypatch.chdir(tmp_path)
    done = lab.shell("bash", "-c", " && ".join(lines[3:]), where="k8s-node0")
    assert done.returncode == 0, done.stderr
    for pod in ("10.244.1.45:8080", "10.244.2.104:8080", "10.244.3.54:8080"):
        assert pod in done.stdout


def test_seen_not_predicted(lab, tmp_path, monkeypatch):
    lab("up")
    monkeypatch.chdir(tmp_path)
    lines = [line.replace("svc/web", "svc/bq-api-service-1") for line in block("Seen, not predicted")]
    lines = [re.sub(r"\bweb(?=[ .]|$)(?!\.pcapng)", "bq-api-service-1", line) for line in lines]
    probes, names, (watch, capture, read) = lines[:3], lines[3:6], lines[6:]
    assert len(lines) == 9
    for line in probes:
        done = lab.shell(*shlex.split(line))
        assert done.returncode == 0, done.stdout + done.stderr
        assert "healthy" in done.stdout and "observed" in done.stdout
    for line in names:
        done = lab.shell(*shlex.split(line))
        assert done.returncode == 0, done.stdout + done.stderr
        assert "10.105.158.88" in done.stdout
    done = lab.shell(*shlex.split(watch.replace("--seconds 10", "--seconds 2")))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "available all the time" in done.stdout
    with ThreadPoolExecutor() as threads:
        capturing = threads.submit(lab.shell, *shlex.split(capture), where="k8s-node0")
        while not capturing.done():
            assert lab.shell("curl", "-sS", "http://192.168.0.6:31372/").returncode == 0
    done = capturing.result()
    assert done.returncode == 0, done.stdout + done.stderr
    again = lab.shell(*shlex.split(read), where="k8s-node0")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "192.168.0.6:31372" in again.stdout
