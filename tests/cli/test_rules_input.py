"""``svcdoctor rules eval`` with what a shell and people give it: streams, packets, batches, files that are none."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

BIN = Path(sys.executable).parent
SAVE = "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n"
QUESTION = '{"id": 1, "src": "192.0.2.1", "dst": "198.51.100.2", "dport": 80}\n'


@pytest.fixture
def save(tmp_path):
    path = tmp_path / "save.txt"
    path.write_text(SAVE)
    return str(path)


@pytest.mark.parametrize(
    "target",
    [
        "10.0.0.1:0",
        "10.0.0.1:65536",
        "10.0.0.1:" + "1" * 5000,
        "10.0.0.1:٣",
        "10.0.0.1:-1",
        "web:80",
        ":80",
        "[fd00::1]",
        "[fd00::1:80",
        "fd00::1]:80",
        "fd00::1:80",
        "[[fd00::1]]:80",
    ],
)
def test_a_target_that_is_none_is_named(run, save, target):
    done = run("rules", "eval", "--rules", save, "192.0.2.1" if "fd" not in target else "fd00::2", target)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{target!r} is no address with a port" in done.stderr and done.stderr.count("\n") == 1


def test_lines_of_a_batch_that_are_no_text_are_answered(save, tmp_path):
    batch = tmp_path / "batch"
    lines = [b'{"id": "\xff"}', b'{"id":' * 10_000, b"x" * 100_000, QUESTION.encode().strip()]
    batch.write_bytes(b"\n".join(lines))
    command = [BIN / "svcdoctor", "rules", "eval", "--rules", save, "--batch", batch]
    done = subprocess.run(command, capture_output=True, check=False)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert (done.returncode, done.stderr) == (0, b"")
    assert ["error" in a for a in answers] == [True, True, True, False]
    assert [a["error"][:7] for a in answers[:3]] == ["line 1:", "line 2:", "line 3:"]


@pytest.mark.parametrize(
    ("shell", "code", "said"),
    [
        ("{eval} 192.0.2.1 198.51.100.2:80 >&-", 0, ""),
        ("{eval} --batch {batch} >&-", 0, ""),
        ("{eval} --batch - <&-", 0, ""),
        ("{eval} --batch {batch} | head -1 >/dev/null; exit ${{PIPESTATUS[0]}}", 0, ""),
        ("{eval} --batch {batch} >/dev/full", 2, "svcdoctor: error: No space left on device\n"),
        ("{eval} 192.0.2.1 198.51.100.2:80 >/dev/full", 2, "svcdoctor: error: No space left on device\n"),
        (
            "svcdoctor rules eval --rules - 192.0.2.1 198.51.100.2:80 <&-",
            2,
            "svcdoctor: error: standard input: empty; give the output of iptables-save or nft -j list ruleset\n",
        ),
        (
            "svcdoctor rules eval --rules - --batch - <{save}",
            2,
            "svcdoctor: error: --rules - and --batch - cannot both read standard input\n",
        ),
        (
            "truncate -s 1073741825 {save}; {eval} 192.0.2.1 198.51.100.2:80",
            2,
            "svcdoctor: error: {save}: larger than 1 GiB\n",
        ),
    ],
)
def test_streams_that_are_closed_full_or_endless(run, save, tmp_path, shell, code, said):
    batch = tmp_path / "batch"
    batch.write_text(QUESTION * 20_000)
    line = shell.format(eval=f"svcdoctor rules eval --rules {save}", save=save, batch=batch)
    done = run("bash", "-c", line)
    assert (done.returncode, done.stderr) == (code, said.replace("{save}", save))


def test_rules_come_by_a_pipe(run, save):
    done = run("bash", "-c", f"svcdoctor rules eval --rules <(cat {save}) 192.0.2.1 198.51.100.2:80")
    assert (done.returncode, done.stderr) == (0, "") and "no rule takes it" in done.stdout


@pytest.mark.parametrize("option", ["--rules", "--addr", "--route"])
def test_a_file_that_may_not_be_read_is_named(run, save, tmp_path, option):
    closed = tmp_path / "closed"
    closed.touch(mode=0)
    root = "setpriv --bounding-set -dac_override,-dac_read_search" if os.getuid() == 0 else ""
    line = f"{root} svcdoctor rules eval --rules - {option} {closed} 192.0.2.1 198.51.100.2:80 <{save}"
    done = run("bash", "-c", line)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"svcdoctor: error: {closed}: Permission denied\n"


def test_an_interrupted_batch_ends_without_a_traceback(save, tmp_path):
    batch = tmp_path / "batch"
    os.mkfifo(batch)
    command = [BIN / "svcdoctor", "rules", "eval", "--rules", save, "--batch", batch]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with batch.open("w") as lines:  # stays open: the batch does not end by itself
        lines.write(QUESTION * 100)
        lines.flush()
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "Traceback" not in said


def test_tables_that_nft_shares_with_iptables(run, tmp_path):
    """iptables-save shows a chain FORWARD that accepts where nft made one, of another priority, that drops."""
    script = (
        "nft 'add table ip filter; add chain ip filter FORWARD { type filter hook forward priority 5; policy drop; }'"
        f" && iptables-nft-save > {tmp_path}/save.txt && nft -j list ruleset > {tmp_path}/nft.json"
    )
    made = subprocess.run(["unshare", "-n", "sh", "-c", script], capture_output=True, text=True, check=False)
    if made.returncode:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"no rules: {made.stderr}")
    if "incompatible" not in (tmp_path / "save.txt").read_text():
        pytest.skip("this iptables-save does not say what it leaves out")
    saved, listed = ["--rules", f"{tmp_path}/save.txt"], ["--rules", f"{tmp_path}/nft.json"]
    packet = ["192.0.2.1", "198.51.100.2:80"]
    done = run("rules", "eval", *saved, *packet)
    assert done.returncode == 2 and "iptables-save leaves out chains of filter" in done.stderr
    done = run("rules", "eval", *saved, *listed, *packet)
    assert done.returncode == 0 and "policy DROP of ip filter FORWARD" in done.stdout
