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
from ipaddress import ip_address
from math import log, sqrt
from pathlib import Path
from typing import Any, NamedTuple

import oracle_node
from oracle_wire import PROTOCOLS, SYN, Found, Sent, decode, encode

from svcdoctor.dataplane.hooks import Fate, Node, Outcome
from svcdoctor.dataplane.iptables import IptablesRules
from svcdoctor.dataplane.nftables import NftablesRules, is_iptables
from svcdoctor.dataplane.packet import INVALID, NEW, Packet, address_text, packet
from svcdoctor.dataplane.tablerouter import TableRouter
from svcdoctor.model.nodefacts import Dump
from svcdoctor.node.iptablessave import read_iptables_save
from svcdoctor.node.nftjson import read_nft_json

HERE = Path(__file__).parent
BACKENDS = ("nft", "legacy")
PROGRAMS = ("unshare", "ip", "nft", "conntrack", "sysctl") + tuple(
    f"ip{six}tables-{backend}-{verb}" for six in ("", "6") for backend in BACKENDS for verb in ("restore", "save")
)
FACTS = {
    "ip-addr.json": ["ip", "-j", "addr"],
    "ip-route.json": ["ip", "-j", "-4", "route", "show", "table", "all"],
    "ip-6-route.json": ["ip", "-j", "-6", "route", "show", "table", "all"],
    "ip-rule.json": ["ip", "-j", "-4", "rule"],
    "ip-6-rule.json": ["ip", "-j", "-6", "rule"],
    "sysctl.txt": ["sysctl", "-a", "-r", r"^net\.ipv[46]\.(ip_forward|conf\..*(forwarding|rp_filter|route_localnet))"],
}
TABLES = ("raw", "mangle", "nat", "filter")
EMPTY = "".join(f"*{table}\nCOMMIT\n" for table in TABLES)

# ICMP's code for each way to reject, by family.
CODES4 = {
    "icmp-net-unreachable": 0,
    "icmp-host-unreachable": 1,
    "icmp-prot-unreachable": 2,
    "icmp-proto-unreachable": 2,
    "icmp-port-unreachable": 3,
    "icmp-net-prohibited": 9,
    "icmp-host-prohibited": 10,
    "icmp-admin-prohibited": 13,
    "icmp-no-route": 0,
}
CODES6 = {
    "icmp6-no-route": 0,
    "icmp6-admin-prohibited": 1,
    "icmp6-adm-prohibited": 1,
    "icmp6-addr-unreachable": 3,
    "icmp6-port-unreachable": 4,
    "icmp6-policy-fail": 5,
    "icmp6-reject-route": 6,
    "icmp-no-route": 0,
    "icmp-admin-prohibited": 1,
    "icmp-host-unreachable": 3,
    "icmp-port-unreachable": 4,
}
ANY = -1  # a port that the kernel chooses


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
        parts += [f"# ip{'6' * key.endswith('6')}tables-{key[:-2]}-restore\n{text}" for key, text in self.saves]
        return "\n".join(parts)


class Seen(NamedTuple):
    """What became of a packet: ``arrives`` (at a socket of the node), ``leaves``, ``rejected`` or ``dropped``.

    ``sport`` is ANY in a prediction where the kernel may take any port.
    """

    fate: str
    how: Any = ""  # the interface by which it leaves; how it is rejected
    src: str = ""
    sport: int = 0
    dst: str = ""
    dport: int = 0
    mark: int = 0

    def fits(self, predicted: Seen) -> bool:
        return self == (predicted._replace(sport=self.sport) if predicted.sport == ANY else predicted)


class Prediction(NamedTuple):
    """One way that the evaluator sees for a packet. ``why`` is set where it cannot say."""

    seen: Seen
    probability: float
    why: str = ""


@dataclass(slots=True)
class Oracle:
    """The node's process, and what was loaded into it."""

    process: subprocess.Popen[str]
    facts: dict[str, Dump] = field(default_factory=dict)
    legacy: set[str] = field(default_factory=set)
    node: Node | None = None
    number: int = 0
    compared: Counter[str] = field(default_factory=Counter)

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
        old = {key: EMPTY for key in sorted(self.legacy - set(saves))}
        self.legacy = {key for key in saves if key.startswith("legacy")}
        # Of equal priority the chains of the table that was made last come first: legacy's exist from the start.
        programs = [(["nft", "-f", "-"], f"flush ruleset\n{oracle_node.WATCH}{rules.nft}")]
        programs += [(_tool(key, "restore"), text) for key, text in (old | saves).items()]
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
        self.node = Node([one for many in rulesets.values() for one in many], router)
        return self.node

    # --- packets

    def numbered(self, packets: Iterable[Sent]) -> list[Sent]:
        """The packets with numbers of their own; a source port below 8 is a band of fresh ports."""
        found = []
        for sent in packets:
            self.number += 1
            fresh = 1024 + sent.sport * 8000 + self.number % 8000
            found.append(sent._replace(number=self.number, sport=fresh if sent.sport < 8 else sent.sport))
        return found

    def observe(self, packets: Sequence[Sent]) -> list[Seen]:
        """What becomes of each packet."""
        rows = self.ask("send", [[p.iface, p.dst, p.mark, encode(p).hex()] for p in packets])
        found: dict[int, tuple[int, Seen]] = {}
        for where, iface, mark, text in rows:
            saw = decode(bytes.fromhex(text))
            if saw is None:
                continue
            seen = _seen(where, iface, mark, saw)
            if seen is not None and (saw.number not in found or seen[0] < found[saw.number][0]):
                found[saw.number] = seen
        return [found[p.number][1] if p.number in found else Seen("dropped") for p in packets]

    def compare(self, dialect: str, packets: Iterable[Sent]) -> list[Disagreement]:
        """Send packets through the rules that are loaded; where the kernel and the evaluator disagree."""
        sent = self.numbered(packets)
        found = []
        for one, seen in zip(sent, self.observe(sent), strict=True):
            predicted = self.predict(one)
            if one.flags != SYN and any("flags of" in p.why for p in predicted):
                self.compared["not asked: TCP flags of no request"] += 1
                continue
            self.compared[dialect] += 1
            if not agrees(seen, predicted):
                found.append(Disagreement(one, seen, predicted))
        return found

    def predict(self, sent: Sent, state: int = NEW) -> list[Prediction]:
        """What the evaluator says of a packet."""
        assert self.node is not None
        outcomes = self.node.receive(asked(sent, state)) if sent.iface else self.node.send(asked(sent, state))
        return [_prediction(sent, outcome) for outcome in outcomes]


class Disagreement(NamedTuple):
    sent: Sent
    seen: Seen
    predicted: list[Prediction]

    def __str__(self) -> str:
        lines = [f"{self.sent}", f"  the kernel: {self.seen}"]
        for one in self.predicted:
            lines.append(f"  evaluator, {one.probability:.4g}: {one.why or one.seen}")
        return "\n".join(lines)


def _tool(key: str, verb: str) -> list[str]:
    backend, family = key.split()
    return [f"ip{'6' * (family == '6')}tables-{backend}-{verb}"]


def _seen(where: str, iface: str, mark: int, saw: Found) -> tuple[int, Seen] | None:
    """What a row says, with its rank: an error about a packet counts only when the packet itself was not seen."""
    if saw.error is not None:
        return (3, Seen("rejected", saw.error)) if where == "error" else None
    if where == "failed":
        return (4, Seen("dropped", "")) if "permitted" in iface else (4, Seen("dropped", "failed"))
    how = iface if where == "leaves" else ""
    return 1, Seen(where, how, saw.src, saw.sport, saw.dst, saw.dport, mark)


def asked(sent: Sent, state: int = NEW) -> Packet:
    """The packet as the evaluator takes it."""
    ports = sent.proto in PROTOCOLS
    proto = sent.proto if ports or sent.family == 4 else "icmpv6"
    live = packet(sent.src, sent.dst, sent.dport if ports else None, proto, sent.sport if ports else None)
    live.iif = sent.iface
    live.mark = sent.mark
    live.state = INVALID if sent.proto == "tcp" and sent.flags != SYN else state
    return live


def _prediction(sent: Sent, outcome: Outcome) -> Prediction:
    live = outcome.packet
    if outcome.fate is Fate.UNKNOWN:
        return Prediction(Seen("unknown"), live.probability, f"unknown: {outcome.reason}")
    if outcome.fate is Fate.DROPPED:
        return Prediction(Seen("dropped"), live.probability)
    if outcome.fate is Fate.REJECTED:
        how = "route" if outcome.route is not None else _error(live.family, outcome.reason)
        return Prediction(Seen("rejected", how), live.probability)
    forwarded = outcome.fate is Fate.FORWARDED
    how = (outcome.route.oif if outcome.route is not None else None) if forwarded else ""
    source, target = address_text(live.family, live.src), address_text(live.family, live.dst)
    chosen = live.masquerade or (live.snat is not None and live.snat[1] is None)
    sport = ANY if chosen and live.sport else live.sport or 0
    where = "leaves" if forwarded else "arrives"
    seen = Seen(where, how, str(ip_address(source)), sport, str(ip_address(target)), live.dport or 0, live.mark)
    return Prediction(seen, live.probability)


def _error(family: int, reason: str) -> Any:
    if reason == "tcp-reset":
        return reason
    kind, codes = (3, CODES4) if family == 4 else (1, CODES6)
    return (kind, codes.get(reason, reason))


def agrees(seen: Seen, predicted: Sequence[Prediction]) -> bool:
    """Whether one of the predictions is what was seen, all is known, and the probabilities sum up to one."""
    if any(p.why for p in predicted) or abs(sum(p.probability for p in predicted) - 1.0) > 1e-6:
        return False
    return any(p.probability > 0 and matches(seen, p.seen) for p in predicted)


def matches(seen: Seen, predicted: Seen) -> bool:
    if predicted == Seen("rejected", "route"):
        # The kernel limits the rate of errors about routes (error_cost); a process of the node gets an errno.
        return seen.fate in ("rejected", "dropped")
    if seen.fate == "dropped":
        return predicted.fate == "dropped"
    return seen.fits(predicted)


# --- how often

ALARM = 1e-9
"""The probability that a true frequency is called false, by Bernstein's inequality."""


def too_far(count: int, packets: int, probability: float) -> bool:
    """Whether a count is not what so many packets with this probability can come to."""
    loss = log(2 / ALARM)
    variance = packets * probability * (1 - probability)
    return abs(count - packets * probability) > loss / 3 + sqrt(loss * loss / 9 + 2 * loss * variance)
