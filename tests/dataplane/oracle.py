"""The kernel as oracle: real rules in a namespace, real packets, and the evaluator asked the same.

``Oracle.load`` loads a rule set with the real tools and gives the evaluator what the real tools print of it, the
node's routes and settings too. ``Oracle.compare`` sends packets and says where the two disagree.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import sleep
from typing import Any, NamedTuple

import oracle_node
from oracle_predict import Disagreement, Prediction, Seen, complete, fitting, predict
from oracle_wire import SYN, Found, Sent, decode, encode

from svcdoctor.dataplane.hooks import Node
from svcdoctor.dataplane.iptables import IptablesRules
from svcdoctor.dataplane.nftables import NftablesRules, is_iptables
from svcdoctor.dataplane.packet import ESTABLISHED, NEW
from svcdoctor.dataplane.tablerouter import TableRouter
from svcdoctor.model.nodefacts import Dump
from svcdoctor.node.iptablessave import read_iptables_save
from svcdoctor.node.nftjson import read_nft_json

LATE = 0.2  # seconds
FIRST_PORT, PORTS = 1024, 8000  # of the first band of fresh source ports, and in each band
HERE = Path(__file__).parent
BACKENDS = ("nft", "legacy")
PROGRAMS = (
    *("unshare", "ip", "nft", "conntrack", "sysctl"),
    *(f"ip{six}tables-{b}-{verb}" for six in ("", "6") for b in BACKENDS for verb in ("restore", "save")),
)
FACTS = {
    "ip-addr.json": ["ip", "-j", "addr"],
    "ip-route.json": ["ip", "-j", "-4", "route", "show", "table", "all"],
    "ip-6-route.json": ["ip", "-j", "-6", "route", "show", "table", "all"],
    "ip-rule.json": ["ip", "-j", "-4", "rule"],
    "ip-6-rule.json": ["ip", "-j", "-6", "rule"],
    "sysctl.txt": [
        "sysctl",
        "-a",
        "-r",
        r"^net\.ipv[46]\.(ip_forward|conf\..*(forwarding|rp_filter|route_localnet))",
    ],
}
CHAINS = {
    "raw": ("PREROUTING", "OUTPUT"),
    "mangle": ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"),
    "nat": ("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"),
    "filter": ("INPUT", "FORWARD", "OUTPUT"),
}
EMPTY = "".join(
    f"*{table}\n{''.join(f':{chain} ACCEPT [0:0]{chr(10)}' for chain in chains)}COMMIT\n"
    for table, chains in CHAINS.items()
)


def missing() -> str:
    """Why there can be no oracle on this machine; empty when there can."""
    absent = [name for name in PROGRAMS if shutil.which(name) is None]
    if absent:
        return f"not installed: {', '.join(absent)}"
    if os.geteuid() != 0:
        return "needs root, for network namespaces"
    return ""


class Rules(NamedTuple):
    """A rule set: nftables' text, and iptables-restore's by backend and family: ``nft 4``, ``legacy 6``."""

    nft: str = ""
    saves: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        parts = [f"# nft -f\n{self.nft}"] if self.nft else []
        parts += [
            f"# ip{'6' * key.endswith('6')}tables-{key[:-2]}-restore\n{text}" for key, text in self.saves
        ]
        return "\n".join(parts)


@dataclass(slots=True)
class Oracle:
    """The node's process, and what was loaded into it."""

    process: subprocess.Popen[str]
    facts: dict[str, Dump] = field(default_factory=dict)
    legacy: set[str] = field(default_factory=set)
    node: Node | None = None
    number: int = 0
    compared: Counter[str] = field(default_factory=Counter)
    # Of each client the sets of lists that may hold it, by what was seen of its packets so far.
    memories: dict[str, set[frozenset[str]]] = field(default_factory=dict)

    @classmethod
    def start(cls, lock: Path) -> Oracle:
        """A new node. ``lock`` is a file for the lock of iptables-legacy."""
        oracle = cls(
            subprocess.Popen(
                ["unshare", "--net", sys.executable, str(HERE / "oracle_node.py")],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=os.environ | {"XTABLES_LOCKFILE": str(lock)},
            )
        )
        assert oracle.process.stdout is not None
        if oracle.process.stdout.readline().strip() != '"ready"':
            oracle.close()
            raise OSError("no network namespaces, or not all that the oracle needs: see its own message")
        oracle.run([(_tool(f"legacy {family}", "restore"), EMPTY) for family in (4, 6)])
        outputs = oracle.run([(words, "") for words in FACTS.values()])
        oracle.facts = {
            name: Dump(name, text.encode()) for name, text in zip(FACTS, outputs, strict=True) if text.strip()
        }
        return oracle

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(10)

    def ask(self, command: str, argument: Any) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps([command, argument]) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def run(self, programs: Sequence[tuple[list[str], str]]) -> list[str]:
        """What the programs print in the node's namespace. Raises ValueError for one that fails."""
        outputs = []
        for (words, text), (code, output, errors) in zip(programs, self.ask("run", programs), strict=False):
            if code:
                raise ValueError(f"{' '.join(words)}: {errors}\n{text}")
            outputs.append(output)
        return outputs

    def load(self, rules: Rules) -> Node:
        """Load the rules instead of those before; the evaluator's node, read from what the tools print."""
        saves = dict(rules.saves)
        old = dict.fromkeys(sorted(self.legacy - set(saves)), EMPTY)
        self.legacy = {key for key in saves if key.startswith("legacy")}
        # Of equal priority the chains of the table that was made last come first: legacy's exist from the start.
        programs = [(["nft", "-f", "-"], f"flush ruleset\n{oracle_node.WATCH}{rules.nft}")]
        for key, text in (old | saves).items():
            programs.append((_tool(key, "restore"), EMPTY + text if key in self.legacy else text))
        programs.append((["conntrack", "-F"], ""))
        dumps = [_tool(key, "save") for key in saves]
        if rules.nft:
            dumps.append(["nft", "-j", "list", "ruleset"])
        outputs = self.run([*programs, *((words, "") for words in dumps)])[len(programs) :]
        router = TableRouter(self.facts)
        rulesets: dict[str, list[Any]] = {"legacy": [], "nftables": [], "nft": []}
        for key, text in zip(saves, outputs, strict=False):
            for save in read_iptables_save(text.encode(), key):
                rulesets[key[:-2]].append(IptablesRules(save, router))
        if rules.nft:
            dump = read_nft_json(outputs[-1].encode(), "nft.json")
            left_out = ["inet oracle", *(name for name, table in dump.tables.items() if is_iptables(table))]
            rulesets["nftables"].append(NftablesRules(dump, router, left_out))
        self.memories = {}
        self.node = Node([one for many in rulesets.values() for one in many], router)
        return self.node

    # --- packets

    def numbered(self, packets: Iterable[Sent]) -> list[Sent]:
        """The packets with numbers of their own; a source port below 8 is a band of fresh ports."""
        found = []
        for sent in packets:
            self.number += 1
            fresh = FIRST_PORT + sent.sport * PORTS + self.number % PORTS
            found.append(sent._replace(number=self.number, sport=fresh if sent.sport < 8 else sent.sport))
        return found

    def observe(self, packets: Sequence[Sent]) -> list[Seen]:
        """What becomes of each packet."""
        return self._sorted(
            packets, self.ask("send", [[p.iface, p.dst, p.mark, encode(p).hex()] for p in packets])
        )

    def _sorted(self, packets: Sequence[Sent], rows: Iterable[Sequence[Any]]) -> list[Seen]:
        found: dict[int, tuple[int, Seen]] = {}
        for where, iface, mark, text in rows:
            saw = decode(bytes.fromhex(text))
            if saw is None:
                continue
            seen = _seen(where, iface, mark, saw)
            if seen is not None and (saw.number not in found or seen[0] < found[saw.number][0]):
                found[saw.number] = seen
        return [found[p.number][1] if p.number in found else Seen("dropped") for p in packets]

    def compare(self, dialect: str, packets: Iterable[Sent], state: int = NEW) -> list[Disagreement]:
        """Send packets through the rules that are loaded; where the kernel and the evaluator disagree."""
        sent = self.numbered(packets)
        judged = (
            self._judge(dialect, one, seen, state) for one, seen in zip(sent, self.observe(sent), strict=True)
        )
        found = [wrong for wrong in judged if wrong is not None]
        lost = [wrong.sent for wrong in found if wrong.seen.fate == "dropped"]
        if not lost:
            return found
        sleep(LATE)  # a busy machine may still be at it
        self.compared[dialect] -= len(lost)
        rows = self.ask("look", None)
        judged = (
            self._judge(dialect, *pair, state) for pair in zip(lost, self._sorted(lost, rows), strict=True)
        )
        return [w for w in found if w.seen.fate != "dropped"] + [
            wrong for wrong in judged if wrong is not None
        ]

    def _judge(self, dialect: str, sent: Sent, seen: Seen, state: int) -> Disagreement | None:
        assert self.node is not None
        memories = self.memories.get(sent.src, {frozenset()})
        by_memory = [predict(self.node, sent, state, memory) for memory in memories]
        predicted = [p for many in by_memory for p in many]
        if _not_to_tell(sent, state, predicted):
            self.compared["not told: later packets"] += 1
            return None
        self.compared[dialect] += 1
        fit = fitting(seen, predicted)
        if not fit or not all(map(complete, by_memory)):
            return Disagreement(sent, seen, predicted)
        self.memories[sent.src] = {p.remembered for p in fit}
        return None

    def converse(self, dialect: str, packets: Iterable[Sent]) -> list[Disagreement]:
        """Answer the packets that left unchanged, and send those again: packets of connections that exist."""
        sent = self.numbered(p for p in packets if p.proto == "udp" and p.iface)
        answers, again = [], []
        for one, seen in zip(sent, self.observe(sent), strict=True):
            if seen[:1] + seen[2:6] == ("leaves", one.src, one.sport, one.dst, one.dport):
                answers.append(Sent(0, seen.how, "udp", one.dst, one.src, one.dport, one.sport))
                again.append(one)
        answers = self.numbered(answers)
        open_again = []
        wrong = []
        for one, first, seen in zip(answers, again, self.observe(answers), strict=True):
            found = self._judge(dialect, one, seen, ESTABLISHED)
            wrong += [found] if found is not None else []
            if seen.fate == "leaves":
                open_again.append(first)
        return wrong + self.compare(dialect, open_again, ESTABLISHED)


def _not_to_tell(sent: Sent, state: int, predicted: Iterable[Prediction]) -> bool:
    """Whether the evaluator rightly does not know: of packets that do not begin a connection."""
    if state == NEW and sent.flags == SYN:
        return False
    return any(p.why and ("flags of" in p.why or "conntrack" in p.why) for p in predicted)


def _tool(key: str, verb: str) -> list[str]:
    backend, family = key.split()
    return [f"ip{'6' * (family == '6')}tables-{backend}-{verb}"]


def _seen(where: str, iface: str, mark: int, saw: Found) -> tuple[int, Seen] | None:
    """What a row says, with its rank: an error about a packet counts only when the packet itself was not seen."""
    if saw.error is not None:
        return (3, Seen("rejected", saw.error)) if where == "error" else None
    if where == "failed":
        return 4, Seen("dropped")
    how = iface if where == "leaves" else ""
    return 1, Seen(where, how, saw.src, saw.sport, saw.dst, saw.dport, mark)
