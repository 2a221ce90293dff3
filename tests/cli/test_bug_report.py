"""``svcdoctor bug-report`` as a user runs it: against a cluster and a snapshot, and what it says of itself."""

import json
import re
import tarfile

import pytest

CAPTURE = "fixtures/captures/iptables.tar.gz"
FAULT = ("--snapshot", "fixtures/faults/OBJ002/broken.yaml", "-n", "sales")


def held(path):
    with tarfile.open(path) as tar:
        return {
            m.name.removeprefix("snapshot/"): tar.extractfile(m).read().decode() for m in tar.getmembers()
        }


def test_a_live_cluster_and_the_archive_asked_again(run, serve, tmp_path):
    server = serve(CAPTURE)
    to = tmp_path / "report.tar.gz"
    words = ("bug-report", "svc/noep", "-n", "truth", "--to", str(to))
    done = run("kubectl", "svcdoctor", *words, kubeconfig=server.kubeconfig_file)
    assert (done.returncode, done.stderr) == (0, "")
    assert to.stat().st_mode & 0o077 == 0
    assert not [r for r in server.requests if "secrets" in r.path]
    files = held(to)
    assert {"README.txt", "bug-report.json", "answer.json", "answer.txt", "meta.json"} <= set(files)
    about = json.loads(files["bug-report.json"])
    assert about["sameFindings"] is True
    assert {"svcdoctor", "python", "system", "kubernetes", "kubectl", "rich"} <= set(about["versions"])
    assert not re.search("truth|noep|node1|kubernetes-admin", "".join(files.values()) + " ".join(files))
    again = done.stdout.splitlines()[-1].split()
    assert again[0] == "svcdoctor" and again[-1] == str(to)
    done = run(*again)
    assert done.returncode == 1 and "OBJ002" in done.stdout and done.stderr == ""
    assert done.stdout.splitlines()[0] == files["answer.txt"].splitlines()[0]


def test_a_whole_namespace_of_a_snapshot(run, tmp_path):
    to = tmp_path / "report.tar.gz"
    done = run("bug-report", *FAULT, "--to", str(to))
    assert (done.returncode, done.stderr) == (0, "")
    assert "the same verdict and findings" in done.stdout
    assert json.loads(held(to)["answer.json"])["kind"] == "Checkup"
    assert "sales" not in "".join(held(to).values())
    assert run("bug-report", *FAULT, "--to", str(to)).stderr.startswith(
        f"svcdoctor: error: {to}: exists already"
    )


def test_names_of_the_machine_and_its_user_are_not_in_it(run, tmp_path):
    home = tmp_path / "home-of-alice"
    home.mkdir()
    env = {"HOME": str(home), "USER": "alice", "HOSTNAME": "alices-machine"}
    done = run("bug-report", "svc/bq-api-service-1", *FAULT, "--to", str(home / "r.tar.gz"), **env)
    assert done.returncode == 0
    assert "alice" not in "".join(held(home / "r.tar.gz").values())


def test_without_a_name_it_is_named_after_the_time(run, tmp_path):
    from pathlib import Path

    snapshot = Path(__file__).parents[2] / FAULT[1]
    done = run("bug-report", "--snapshot", str(snapshot), "-n", "sales", cwd=tmp_path)
    (made,) = tmp_path.glob("svcdoctor-bug-report-*.tar.gz")
    assert re.fullmatch(r"svcdoctor-bug-report-\d{8}T\d{6}Z\.tar\.gz", made.name)
    assert made.name in done.stdout


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--from", "pod/x"), "--from asks about a target"),
        (("svc/web", "-A"), "-A excludes"),
        (("--to", "report.zip"), "the archive's name ends in .tar.gz"),
        (("--to", "/no/such/folder/r.tar.gz"), "no such folder"),
        (("svc/web/x/y:", *FAULT), "svc/web/x/y:"),
    ],
)
def test_mistakes(run, words, why):
    done = run("bug-report", *words, *(() if FAULT[0] in words else FAULT[:2]))
    assert done.returncode == 2
    assert why in done.stderr and done.stderr.count("\n") == 1


def test_the_clusters_size_does_not_tell_more_than_the_question_takes(run, serve, tmp_path):
    """What is packed of a live cluster is what was asked for: one Service's objects, not everybody's."""
    to = tmp_path / "report.tar.gz"
    run(
        "bug-report",
        "svc/np-cluster",
        "-n",
        "truth",
        "--to",
        str(to),
        kubeconfig=serve(CAPTURE).kubeconfig_file,
    )
    services = json.loads(held(to)["cluster/services.json"])["items"]
    assert 1 <= len(services) <= 2
