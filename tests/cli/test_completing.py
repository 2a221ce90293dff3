"""What completion answers: for every kind of word, with every way to reach an API server, and when none is reached."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from svcdoctor.cli.candidates import RESOURCES
from svcdoctor.cli.commandtree import as_json
from svcdoctor.cli.completing import COMMANDS, complete
from svcdoctor.cluster.kinds import KINDS
from svcdoctor.lab.apiserver import ApiServer
from svcdoctor.lab.rbac import ADMIN, User
from svcdoctor.lab.store import ObjectStore
from svcdoctor.path.target import ALIASES
from svcdoctor.sources.files import raw_objects

ROOT = Path(__file__).parents[2]
CLUSTER = ROOT / "fixtures/captures/iptables.tar.gz"
FILES, NO_FILES, NO_SPACE = 0, 4, 6


@pytest.fixture(scope="module", params=["127.0.0.1", "::1"])
def server(request):
    with ApiServer(
        ObjectStore(raw_objects(CLUSTER)), users=(ADMIN, User("nobody")), host=request.param
    ) as server:
        yield server


@pytest.fixture
def config(server, tmp_path, monkeypatch):
    """A kubeconfig of two contexts, in the namespace ``truth`` and in ``default``, as KUBECONFIG names it."""
    held = yaml.safe_load(server.kubeconfig(namespace="truth"))
    other = json.loads(json.dumps(held["contexts"][0])) | {"name": "elsewhere"}
    other["context"]["namespace"] = "default"
    held["contexts"].append(other)
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(held))
    monkeypatch.setenv("KUBECONFIG", str(path))
    return path


def offered(*words):
    """The values, and the bits for the shell."""
    found = complete(words)
    return [value for value, _ in found.values], found.directive


def changed(path, **user):
    """Rewrites the credentials of a kubeconfig's user, or with ``cluster_`` in front, of its cluster."""
    held = yaml.safe_load(path.read_text())
    for key, value in user.items():
        place = held["clusters"][0]["cluster"] if key.startswith("cluster_") else held["users"][0]["user"]
        name = key.removeprefix("cluster_").replace("_", "-") if key != "tokenFile" else key
        place.pop(name, None)
        if value is not None:
            place[name] = value
    path.write_text(yaml.safe_dump(held))


def test_the_commands_are_those_of_the_program():
    """After a change of commands or options: python -m svcdoctor.cli.commandtree > svcdoctor/cli/commands.json"""
    assert as_json() == COMMANDS.read_text()


def test_the_resources_are_those_of_the_model():
    words = {word: resource.kind for resource in RESOURCES for word in resource.words}
    assert {word: kind for word, kind in words.items() if kind not in ("Node", "Namespace")} == ALIASES
    for resource in RESOURCES:
        info = next(info for kind, info in KINDS.items() if str(kind) == resource.kind)
        assert resource.path("shop") == info.path("shop")
        assert resource.path("") == info.path(None)


@pytest.mark.parametrize(
    ("words", "some", "directive"),
    [
        ([""], ["trace", "check", "lab"], NO_FILES),
        (["tr"], ["trace"], NO_FILES),
        (["-"], ["--version", "--help", "-h"], NO_FILES),
        (["lab", ""], ["up", "break", "api"], NO_FILES),
        (["trace", "--na"], ["--namespace"], NO_FILES),
        (["trace", "-"], ["--namespace", "-n", "--via", "-o"], NO_FILES),
        (["trace", "--via", "node"], ["nodePort"], NO_FILES),
        (["trace", "--via=node"], ["nodePort"], NO_FILES),
        (["trace", "-o", "j"], ["json"], NO_FILES),
        (["check", "-o", "sa"], ["sarif"], NO_FILES),
        (["trace", ""], ["svc/", "ingress/", "pod/", "deploy/"], NO_SPACE),
        (["trace", "sv"], ["svc/"], NO_SPACE),
        (["trace", "--from", ""], ["external", "node/", "pod/"], NO_SPACE),
        (["dns", "--from", ""], ["pod/"], NO_SPACE),
        (["explain", "OBJ00"], ["OBJ001", "OBJ002"], NO_FILES),
        (["explain", "OBJ001", "dns00"], ["DNS001"], NO_FILES),
        (["check", "--ignore", "OBJ001,RUL00"], ["OBJ001,RUL001"], NO_FILES),
        (["codes", "--family", ""], ["OBJ", "RUL"], NO_FILES),
        (["lab", "break", "RUL"], ["RUL004"], NO_FILES),
        (["completion", ""], ["bash", "zsh", "fish", "powershell"], NO_FILES),
        (["trace", "--snapshot", ""], [], FILES),
        (["trace", "--snapshot=fix"], [], FILES),
        (["lint", "-f", ""], [], FILES),
        (["diff", ""], [], FILES),
        (["forward", "svc/web", ":80", "--", ""], [], FILES),
        (["trace", "--count", ""], [], NO_FILES),
        (["nosuch", ""], [], NO_FILES),
        (["nosuch", "--flag", ""], [], NO_FILES),
        (["wait", "svc/web", ""], [], NO_FILES),
        (["trace", "--nosuch=x", "--nosuch", "-"], ["--via"], NO_FILES),
    ],
)
def test_what_needs_no_cluster(words, some, directive, monkeypatch, tmp_path):
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    values, bits = offered(*words)
    assert bits == directive
    assert set(some) <= set(values)
    if not some:
        assert values == []
    assert (
        all(value.startswith(words[-1].partition("=")[2] or words[-1]) for value in values)
        or "," in words[-1]
        or (words[0] == "explain")
    )


def test_a_flag_that_counts_once_is_not_offered_again():
    values, _ = offered("trace", "--node", "n1", "--via", "nodePort", "-")
    assert "--node" not in values
    assert "--via" in values


@pytest.mark.parametrize(
    ("words", "some", "others"),
    [
        (["trace", "svc/"], ["svc/np-cluster", "svc/noep"], ["svc/kubernetes"]),
        (["trace", "service/np-c"], ["service/np-cluster"], []),
        (["trace", "np-"], ["np-cluster", "np-local"], ["kubernetes"]),
        (["wait", ""], ["svc/np-cluster"], []),
        (["check", "svc/noep", "svc/np-c"], ["svc/np-cluster"], []),
        (["trace", "-n", "default", "svc/"], ["svc/kubernetes"], ["svc/noep"]),
        (["trace", "-ndefault", "svc/"], ["svc/kubernetes"], ["svc/noep"]),
        (["trace", "--namespace=default", "svc/"], ["svc/kubernetes"], ["svc/noep"]),
        (["-n", "default", "trace", "svc/"], ["svc/kubernetes"], ["svc/noep"]),
        (["trace", "-v", "--context", "elsewhere", "svc/"], ["svc/kubernetes"], ["svc/noep"]),
        (["trace", "-A", "svc/"], ["svc/kubernetes", "svc/noep"], []),
        (["trace", "svc/noep", "-n", ""], ["truth", "default", "kube-system"], []),
        (["trace", "svc/noep", "--namespace", "tr"], ["truth"], ["default"]),
        (["trace", "--node", ""], ["node1", "node2", "node3"], []),
        (["trace", "pod/"], ["pod/probe-1"], []),
        (["trace", "--from", "pod/"], ["pod/probe-1"], []),
        (["trace", "--from", "pod/truth/pro"], ["pod/truth/probe-1"], []),
        (["trace", "--from", "node/"], ["node/node1"], []),
        (["trace", "deploy/"], ["deploy/web"], []),
        (["trace", "svc/np-cluster:"], ["svc/np-cluster:80"], ["svc/np-cluster"]),
        (["forward", "svc/np-cluster", ""], ["80"], []),
        (["forward", "svc/np-cluster", "8080:"], ["8080:80"], []),
        (["forward", "svc/noep", "80", "svc/np-c"], ["svc/np-cluster"], []),
        (["trace", "--context", ""], ["svcdoctor-lab", "elsewhere"], []),
        (["trace", "--context=else"], ["elsewhere"], []),
        (["trace", "--user", ""], ["svcdoctor-lab"], []),
    ],
)
def test_names_out_of_the_cluster(config, words, some, others):
    values, directive = offered(*words)
    assert directive & 4
    assert set(some) <= set(values)
    assert not set(others) & set(values)


def test_ports_say_what_they_are(config):
    found = dict(complete(["trace", "svc/multi-named:"]).values)
    assert all(meaning for meaning in found.values())
    assert any(not value.rpartition(":")[2].isdecimal() for value in found)


@pytest.mark.parametrize(
    "words", [["trace", "svc/"], ["trace", "-n", "default", "svc/"], ["trace", "-A", "svc/"]]
)
def test_names_out_of_a_snapshot(words, monkeypatch, tmp_path):
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    namespace = [] if "-n" in words or "-A" in words else ["-n", "truth"]
    values, _ = offered(words[0], "--snapshot", str(CLUSTER), *namespace, *words[1:])
    assert ("svc/noep" in values) == ("-n" not in words)
    assert ("svc/kubernetes" in values) == bool({"-n", "-A"} & set(words))


def test_ports_out_of_a_snapshot(monkeypatch, tmp_path):
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    values, _ = offered("trace", "--snapshot", str(CLUSTER), "-n", "truth", "svc/np-cluster:")
    assert "svc/np-cluster:80" in values


def test_every_way_to_prove_who_one_is(config, server, tmp_path, monkeypatch):
    token = yaml.safe_load(config.read_text())["users"][0]["user"]["token"]
    authority = yaml.safe_load(config.read_text())["clusters"][0]["cluster"]["certificate-authority-data"]
    certificate = yaml.safe_load(server.kubeconfig(by_certificate=True))["users"][0]["user"]
    (tmp_path / "token").write_text(f"{token}\n")
    plugin = tmp_path / "plugin"
    status = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "kind": "ExecCredential",
        "status": {"token": token},
    }
    plugin.write_text(f"#!/bin/sh\necho '{json.dumps(status)}'\n")
    plugin.chmod(0o755)

    def answers():
        return "svc/noep" in offered("trace", "svc/")[0]

    changed(config, token=None)
    with pytest.raises(Exception, match="status 401"):
        answers()
    changed(config, tokenFile="token")
    assert answers()
    changed(config, tokenFile=None, **{key.replace("-", "_"): value for key, value in certificate.items()})
    assert answers()
    changed(config, client_certificate_data=None, client_key_data=None)
    changed(
        config,
        exec={
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": str(plugin),
            "interactiveMode": "Never",
        },
    )
    assert answers()
    # As a program of its own it does without what takes long to import, and here must get it after all.
    assert "svc/noep" in answered("trace", "svc/", env=user(tmp_path, config))[0]
    changed(config, exec=None, token=token, cluster_certificate_authority_data=None)
    with pytest.raises(OSError, match="certificate verify failed"):
        answers()
    changed(config, cluster_insecure_skip_tls_verify=True)
    assert answers()
    changed(config, cluster_insecure_skip_tls_verify=None, cluster_certificate_authority_data=authority)
    changed(config, cluster_tls_server_name="another.example")
    with pytest.raises(OSError, match="not valid for"):
        answers()
    changed(config, cluster_tls_server_name="localhost")
    assert answers()
    with pytest.raises(Exception, match="status 403"):
        offered("trace", "--as", "nobody", "svc/")


def test_a_long_list_is_read_page_by_page(config, monkeypatch):
    monkeypatch.setattr("svcdoctor.sources.quickanswer.PAGE", 3)
    assert len(offered("trace", "svc/")[0]) > 6


PROGRAM = (
    "import sys; from svcdoctor.cli.entry import main; sys.argv[0] = 'kubectl_complete-svcdoctor'; main()"
)


def asked(*words, env):
    """The program as kubectl starts it."""
    command = [sys.executable, "-c", PROGRAM, *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)


def answered(*words, env):
    """What the program prints, and how it ends."""
    with asked(*words, env=env) as process:
        out, err = process.communicate(timeout=20)
    return out, err, process.returncode


def user(tmp_path, kubeconfig):
    return {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "KUBECONFIG": str(kubeconfig)}


def reaching(tmp_path, server):
    """The environment of a user whose kubeconfig names that server."""
    path = tmp_path / f"kubeconfig-{server.replace('/', '-')}"
    cluster = {"name": "c", "cluster": {"server": server}}
    context = {"name": "c", "context": {"cluster": "c", "user": "u"}}
    held = {"clusters": [cluster], "contexts": [context], "users": [{"name": "u", "user": {"token": "t"}}]}
    path.write_text(yaml.safe_dump(held | {"current-context": "c"}))
    return user(tmp_path, path)


def test_what_does_not_answer_is_no_answer_and_soon(tmp_path):
    """A server that refuses, two that never say a word, and a file that waits for ever, all asked at once."""
    with socket.socket() as unused, socket.socket() as listening:
        for one in (unused, listening):
            one.bind(("127.0.0.1", 0))
        listening.listen()
        silent = f"127.0.0.1:{listening.getsockname()[1]}"
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        started = time.monotonic()
        environments = {
            1: reaching(tmp_path, f"https://127.0.0.1:{unused.getsockname()[1]}"),
            3.5: reaching(tmp_path, f"https://{silent}"),
            4: reaching(tmp_path, f"http://{silent}"),
            7: user(tmp_path, pipe),
        }
        processes = {seconds: asked("trace", "svc/", env=env) for seconds, env in environments.items()}
        for seconds, process in processes.items():
            with process:
                assert (*process.communicate(timeout=20), process.returncode) == (":4\n", "", 0)
            assert time.monotonic() - started < seconds + 1


@pytest.mark.parametrize(
    "config", ["", "{", "clusters: 3", "contexts: [{name: a, context: {cluster: b}}]\ncurrent-context: a"]
)
def test_a_broken_kubeconfig_is_no_answer(tmp_path, config):
    path = tmp_path / "kubeconfig"
    path.write_text(config)
    assert answered("trace", "svc/", env=user(tmp_path, path)) == (":4\n", "", 0)


def test_an_empty_environment_and_a_closed_stdout(tmp_path):
    assert answered("tr", env={}) == (
        "trace\tShow a request's whole way through a Service, and why it breaks.\n:4\n",
        "",
        0,
    )
    code = "import sys; from svcdoctor.cli.entry import main; sys.argv[1:] = ['__complete', '']; main()"
    line = f'exec "{sys.executable}" -c "{code}" >&-'
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False)
    assert (done.stderr, done.returncode) == ("", 0)


def test_nothing_slow_is_imported(config):
    code = (
        "import sys; from svcdoctor.cli.completing import complete\n"
        "assert complete(['trace', 'svc/']).values\n"
        "slow = {'typer', 'kubernetes', 'urllib3', 'msgspec', 'rich', 'cryptography', 'asyncio', 'subprocess'}\n"
        "print(sorted(slow & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[]\n", "")


@pytest.fixture
def kubectl(config, tmp_path):
    """``kubectl("trace", "svc/")``: what the real kubectl answers for ``kubectl svcdoctor trace svc/``."""
    program = shutil.which("kubectl")
    version = "kubectl is not installed"
    if program is not None:
        said = subprocess.run([program, "version", "--client", "-o", "json"], capture_output=True, check=True)
        version = json.loads(said.stdout)["clientVersion"]["gitVersion"]
    minor = int(version.split(".")[1]) if version.startswith("v1.") else 0
    if minor < 26:
        reason = f"kubectl completes plugins from 1.26 on: {version}"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)

    def ask(*words, path=Path(sys.executable).parent):
        env = {
            "PATH": f"{path}:{Path(program).parent}:/usr/bin:/bin",
            "HOME": str(tmp_path),
            "KUBECONFIG": str(config),
        }
        command = [program, "__complete", "svcdoctor", *words]
        done = subprocess.run(
            command, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=20, check=False
        )
        lines = [line.partition("\t")[0] for line in done.stdout.splitlines()]
        assert done.returncode == 0
        said = [line for line in done.stderr.splitlines() if not line.startswith("[Debug] ")]
        assert [line.partition(":")[0] for line in said] == ["Completion ended with directive"]
        return lines[:-1], lines[-1]

    return ask


def test_kubectl_completes_the_plugin(kubectl):
    assert {"trace", "check", "forward"} <= set(kubectl("")[0])
    assert kubectl("tr") == (["trace"], ":4")
    values, directive = kubectl("trace", "svc/")
    assert ("svc/noep" in values, directive) == (True, ":4")
    assert kubectl("trace", "svc/np-cluster:8") == (["svc/np-cluster:80"], ":4")
    assert kubectl("trace", "-n", "default", "svc/") == (["svc/kubernetes"], ":4")
    assert kubectl("-n", "default", "trace", "svc/") == (["svc/kubernetes"], ":4")
    assert "truth" in kubectl("trace", "svc/noep", "-n", "")[0]
    assert kubectl("trace", "svc/noep", "--context", "else") == (["elsewhere"], ":4")
    assert kubectl("trace", "svc/noep", "--context=else") == (["elsewhere"], ":4")
    assert kubectl("trace", "--context", "elsewhere", "svc/") == (["svc/kubernetes"], ":4")
    assert kubectl("trace", "")[1] == ":6"
    assert kubectl("trace", "--snapshot", "") == ([], ":0")
    assert "--namespace" in kubectl("trace", "--na")[0]


def test_kubectl_finds_the_completer_only_where_it_should(kubectl, tmp_path):
    own = tmp_path / "bin"
    own.mkdir()
    (own / "kubectl-svcdoctor").symlink_to(Path(sys.executable).with_name("kubectl-svcdoctor"))
    assert kubectl("trace", "svc/", path=own)[0] == []  # there is no completer: kubectl offers files
    script = own / "kubectl_complete-svcdoctor"
    shutil.copy(ROOT / "plugins/kubectl_complete-svcdoctor", script)
    assert "svc/noep" in kubectl("trace", "svc/", path=own)[0]
    assert "svc/noep" in kubectl("trace", "svc/", path=f":{own}::")[0]  # empty entries of PATH
    script.chmod(0o644)
    assert kubectl("trace", "svc/", path=own)[0] == []


def test_features_are_words_of_their_own():
    assert offered("auth", "can-i", "tra") == (["trace"], NO_FILES)
    assert "probe" in offered("auth", "can-i", "trace", "")[0]


def test_a_form_may_go_to_a_file():
    assert offered("trace", "-o", "html=") == ([], FILES)
    assert offered("trace", "-o", "nothing=") == ([], NO_FILES)


def test_a_name_that_is_no_line_is_left_out(tmp_path):
    held = {"kind": "List", "apiVersion": "v1", "items": []}
    for name in ("web", "a\nb", "c\x1b[31m"):
        meta = {"name": name, "namespace": "default"}
        held["items"].append({"kind": "Service", "apiVersion": "v1", "metadata": meta, "spec": {}})
    (tmp_path / "cluster.json").write_text(json.dumps(held))
    words = [
        Path(sys.executable).with_name("svcdoctor"),
        "__complete",
        "trace",
        "--snapshot",
        "cluster.json",
        "svc/",
    ]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "svc/web\n:4\n"
