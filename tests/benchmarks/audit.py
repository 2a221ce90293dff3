"""Benchmark of the audit, run by hand as root: python tests/benchmarks/audit.py [SERVICES ENDPOINTS]

Writes a cluster, loads the rules that kube-proxy would write for one of its nodes into the kernel of a network
namespace, saves them from there, and compares every Service with them. Prints the time against that of
``iptables-nft-restore --test`` of the same file, measured in turns in this one run, and whether the bound is kept;
the same for nftables mode, against ``nft --check``, without a bound.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from cluster import write

from svcdoctor.checks.audit import audit
from svcdoctor.cli.spread import spread
from svcdoctor.lab.proxyiptables import iptables_rules
from svcdoctor.lab.proxynftables import nftables_rules
from svcdoctor.model.nodefacts import Dump, NodeFacts, ProxySettings
from svcdoctor.model.snapshot import Snapshot
from svcdoctor.sources.archive import read_snapshot

ROUNDS = 5
BOUND = 2.5


def shell(script):
    """The script in a network namespace of its own; its time in seconds."""
    begun = time.perf_counter()
    subprocess.run(["unshare", "-n", "bash", "-ec", script], check=True)
    return time.perf_counter() - begun


def one_audit(held, node, name, data, settings):
    facts = NodeFacts(node, addresses=held.nodes[0].addresses(), raw={name: Dump(name, data)}, proxy=settings)
    snapshot = Snapshot({k: held.of(k) for k in held.facts}, held.facts, {node: facts}, source="")
    begun = time.perf_counter()
    answer = audit(snapshot, lambda service: True, [node], spread)
    seconds = time.perf_counter() - begun
    [audited] = answer.nodes
    assert audited.frontends and not audited.differing and not audited.unanswered, (audited, answer.findings)
    return seconds, audited.frontends


def main(services, endpoints):
    with tempfile.TemporaryDirectory() as folder:
        where = Path(folder)
        write(where / "cluster", services, endpoints)
        held = read_snapshot(where / "cluster")
        node = held.node_names[0]
        cidrs = ("10.0.0.0/8",)
        modes = {m: ProxySettings(m, cluster_cidrs=cidrs) for m in ("iptables", "nftables")}
        written, rules, dump = where / "written", where / "rules.txt", where / "nft.json"
        written.write_text(iptables_rules(held, node, modes["iptables"], 4))
        shell(f"iptables-nft-restore {written}; iptables-nft-save > {rules}")
        shell(f"iptables-nft-restore --test {rules}")  # once, so that it is cached
        rounds = []
        for _ in range(ROUNDS):
            yard = shell(f"iptables-nft-restore --test {rules}")
            took, frontends = one_audit(
                held, node, "iptables-save.txt", rules.read_bytes(), modes["iptables"]
            )
            rounds.append((took / yard, took, yard))
        ratio, took, yard = min(rounds)
        kept = "kept" if ratio <= BOUND else "MISSED"
        print(
            f"{services} Services x {endpoints}: {frontends} frontends of a node against its iptables rules"
        )
        print(
            f"  {took:.2f} s, iptables-nft-restore --test {yard:.2f} s: {ratio:.2f} (bound {BOUND}: {kept})"
        )
        print(f"  each round: {', '.join(f'{r:.2f}' for r, _, _ in rounds)}")
        written.write_text(nftables_rules(held, node, modes["nftables"], 4))
        shell(f"nft -f {written}; nft -j list ruleset > {dump}")
        yard = shell(f"nft --check -f {written}")
        took, _ = one_audit(held, node, "nft.json", dump.read_bytes(), modes["nftables"])
        print(f"  nftables: {took:.2f} s, nft --check {yard:.2f} s: {took / yard:.2f}")


if __name__ == "__main__":
    main(*(map(int, sys.argv[1:]) if len(sys.argv) > 1 else (5000, 10)))
