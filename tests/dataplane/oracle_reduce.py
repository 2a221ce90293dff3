"""A rule set on which the kernel and the evaluator disagree, made as small as it goes by leaving out lines."""

from __future__ import annotations

from oracle import FIRST_PORT, PORTS, Oracle, Rules
from oracle_predict import Disagreement
from oracle_wire import Sent

COPIES = 20  # of the packet, for rules that draw


def reduced(oracle: Oracle, rules: Rules, sent: Sent) -> tuple[Rules, Disagreement | None]:
    """The smallest rules found, and the disagreement there; ``None`` when it does not show again."""
    sent = sent._replace(sport=max(sent.sport - FIRST_PORT, 0) // PORTS)  # a fresh port for each copy
    found = _disagreement(oracle, rules, sent)
    if found is None:
        return rules, None
    texts = [rules.nft, *(text for _, text in rules.saves)]
    for position in range(len(texts)):
        lines = texts[position].splitlines(keepends=True)
        sizes = [len(lines) >> shift for shift in range(1, 10) if len(lines) >> shift > 3]
        for size in (*sizes, 3, 2, 1, 3, 2, 1):  # an empty nftables chain is two or three lines
            at = 0
            while at < len(lines):
                tried = lines[:at] + lines[at + size :]
                candidate = _with(rules, position, "".join(tried))
                again = _disagreement(oracle, candidate, sent)
                if again is not None:
                    lines, rules, found = tried, candidate, again
                else:
                    at += 1 if size <= 3 else size
    return rules, found


def _with(rules: Rules, position: int, text: str) -> Rules:
    if position == 0:
        return rules._replace(nft=text)
    saves = list(rules.saves)
    saves[position - 1] = (saves[position - 1][0], text)
    return rules._replace(saves=tuple(save for save in saves if save[1]))


def _disagreement(oracle: Oracle, rules: Rules, sent: Sent) -> Disagreement | None:
    if len(rules.saves) > 1 and any(not text.strip() for _, text in rules.saves):
        return None
    try:
        oracle.load(rules)
    except ValueError:
        return None  # not a rule set
    found = oracle.compare("reducing", [sent] * COPIES)
    return found[0] if found else None
