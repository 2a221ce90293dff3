"""Compare the evaluator with the kernel for as long as you like: rule sets by chance, packets through both.

    python tests/dataplane/differential.py --packets 100000 --seed 1

Needs root; everything happens in network namespaces that end with it. Prints how many packets were compared per
dialect, and every disagreement with its rule set made small and its packet; the exit code says whether there was
one.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from oracle import Oracle, Rules, missing
from oracle_frequency import draws, wrong_frequencies
from oracle_iptables import saves
from oracle_kubeproxy import Case, cases
from oracle_nftables import rulesets
from oracle_packets import batches
from oracle_predict import Disagreement
from oracle_reduce import reduced
from oracle_wire import Sent

BATCH = 40  # packets for each rule set
OTHERS = 6  # of the other family, where a table sees both
COPIES = 600  # of a packet, where frequencies are compared
DIALECTS = (
    "iptables-nft",
    "iptables-legacy",
    "nftables",
    "together",
    "kube-proxy nftables",
    "kube-proxy iptables",
)
Report = Callable[[Rules, Disagreement], None]


def examples(dialect: str, family: int) -> st.SearchStrategy[Case]:
    """Rule sets with packets for them."""
    if dialect == "kube-proxy nftables":
        return cases("nftables", family, BATCH)
    if dialect == "kube-proxy iptables":
        return st.sampled_from(("nft", "legacy")).flatmap(lambda backend: cases(backend, family, BATCH))
    packets = batches(family, BATCH)
    if dialect.startswith("iptables-"):
        key = f"{dialect.removeprefix('iptables-')} {family}"
        return st.builds(lambda text, sent: _case(Rules("", ((key, text),)), sent), saves(family), packets)
    both = st.builds(lambda some, others: some + others, packets, batches(10 - family, OTHERS))
    if dialect == "nftables":
        return st.builds(lambda text, sent: _case(Rules(text), sent), rulesets(family), both)
    return st.builds(
        lambda text, new, old, sent: _case(
            Rules(text, ((f"nft {family}", new), (f"legacy {family}", old))), sent
        ),
        rulesets(family),
        saves(family),
        saves(family),
        both,
    )


# Choices that hang on packets before, or on a hash of the addresses.
NOT_ANEW = re.compile(r"-m recent|@clients|--mode nth|numgen inc|to-destination \S+-|dnat \w* ?to \S+-")


def _case(rules: Rules, packets: list[Sent]) -> Case:
    return Case(rules, packets, NOT_ANEW.search(str(rules)) is None)


def check(oracle: Oracle, dialect: str, case: Case) -> list[Disagreement]:
    """Load the rules and compare the packets; then those of connections that exist already."""
    oracle.load(case.rules)
    found = oracle.compare(dialect, case.packets)
    if not found and "notrack" not in str(case.rules):
        found = oracle.converse(dialect, case.packets)
    return found


def frequencies(oracle: Oracle, case: Case) -> list[str]:
    """The rules are loaded; those frequencies that are not the evaluator's, of one packet for which rules draw."""
    drawing: list[Sent] = [p for p in case.packets if draws(oracle, p)] if case.anew else []
    return wrong_frequencies(oracle, drawing[0], COPIES) if drawing else []


def run(oracle: Oracle, dialect: str, family: int, packets: int, number: int, report: Report) -> None:
    """Compare at least so many packets, in rounds of Hypothesis with a seed each."""
    until = oracle.compared[dialect] + packets
    rounds = 0
    while oracle.compared[dialect] < until:
        rounds += 1
        left = -(-(until - oracle.compared[dialect]) // BATCH)

        @seed(number * 1000 + rounds)
        @settings(
            max_examples=min(left, 100),
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(examples(dialect, family))
        def compare(case: Case) -> None:
            for wrong in check(oracle, dialect, case)[:1]:
                report(case.rules, wrong)
            for text in frequencies(oracle, case):
                print(f"{text}\n{case.rules}")
                oracle.compared["wrong frequencies"] += 1

        compare()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--packets", type=int, default=100_000, help="comparisons in all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--dialect", choices=DIALECTS, action="append", help="only this one; may be repeated")
    arguments = parser.parse_args()
    reason = missing()
    if reason:
        print(reason, file=sys.stderr)
        return 2
    chosen = arguments.dialect or DIALECTS
    wrong = 0
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        oracle = Oracle.start(Path(folder, "lock"))

        def report(rules: Rules, disagreement: Disagreement) -> None:
            nonlocal wrong
            wrong += 1
            smaller, again = reduced(oracle, rules, disagreement.sent)
            print(f"{disagreement}\n{again or 'which does not show again alone'}\n{smaller}", flush=True)

        each = -(-arguments.packets // (2 * len(chosen)))
        for dialect in chosen:
            for family in (4, 6):
                run(oracle, dialect, family, each, arguments.seed, report)
            print(f"{dialect}: {oracle.compared[dialect]} packets compared", flush=True)
        oracle.close()
    for name in sorted(set(oracle.compared) - set(chosen)):
        print(f"{name}: {oracle.compared[name]}")
    total = sum(oracle.compared[dialect] for dialect in chosen)
    print(f"{total} packets compared in {time.monotonic() - began:.0f} s, {wrong} disagreements")
    return 1 if wrong or oracle.compared["wrong frequencies"] else 0


if __name__ == "__main__":
    sys.exit(main())
