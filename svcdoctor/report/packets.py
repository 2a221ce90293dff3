"""Where a packet goes, as text: ``svcdoctor rules eval``."""

from __future__ import annotations

from typing import Any

from svcdoctor.report.printable import printable

WORDS = {
    "accept": "accepted by a rule",
    "drop": "dropped",
    "reject": "rejected",
    "none": "no rule takes it",
    "unknown": "unknown",
}


def as_text(answer: dict[str, Any], packet: list[str]) -> str:
    """The packet, then each outcome with its probability and the rules that it passed through."""
    lines = [" → ".join(packet)]
    for outcome in answer["outcomes"]:
        what = f"sent to {outcome['to']}" if outcome["verdict"] == "dnat" else WORDS[outcome["verdict"]]
        if outcome["verdict"] in ("drop", "reject", "unknown") and outcome["to"]:
            what += f" on its way to {outcome['to']}"
        if outcome["masquerade"]:
            what += (
                f", from {outcome['from']}"
                if "from" in outcome
                else ", with an address of the node (masqueraded)"
            )
        if outcome.get("local"):
            what += ", on the node itself"
        elif "outInterface" in outcome:
            what += f", by {outcome['outInterface']}"
        lines.append(f"  {outcome['probability'] * 100:5.1f} %  {what}")
        if "reason" in outcome:
            lines.append(f"           {outcome['reason']}")
        lines += [f"           {rule}" for rule in outcome["rules"]]
    return "".join(printable(line) + "\n" for line in lines)
