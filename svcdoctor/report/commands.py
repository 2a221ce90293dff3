"""A fix as lines that can be copied: shell commands broken only where a shell continues them.

Theory. A command that is too long for the screen is broken at a space outside of quotes with a backslash,
so what is copied runs as it was meant. A word of a command is never broken: one that alone is wider than
the screen stays whole. A line that is no command (a sentence, a piece of a manifest) wraps at spaces.
"""

from __future__ import annotations

import re

from svcdoctor.report.printable import printable_lines

_PROGRAM = re.compile(
    r"(\w+=\S* )*(sudo )?(kubectl|svcdoctor|kubeadm|helm|kind|minikube|systemctl|sysctl|modprobe|ip|iptables"
    r"|ip6tables|nft|ipvsadm|conntrack|ufw|firewall-cmd|curl|dig|nc) "
)
_WORD = re.compile(r"""(?:\\.|'[^']*'|"(?:\\.|[^"\\])*"|[^\s'"\\])+""")


def fix_lines(fix: str, width: int) -> list[str]:
    """The lines of ``fix`` for a screen of ``width`` columns."""
    found: list[str] = []
    for line in printable_lines(fix):
        if len(line) <= width:
            found.append(line)
        elif _PROGRAM.match(line.lstrip()):
            found += _command(line, width)
        else:
            found += _sentence(line, width)
    return found


def _command(line: str, width: int) -> list[str]:
    words = _WORD.findall(line)
    if re.sub(r"\s", "", line) != re.sub(r"\s", "", "".join(words)):
        return [line]  # a quote that does not end: nobody can say where to break it
    indent = line[: len(line) - len(line.lstrip())]
    rows = [indent + words[0]]
    for word in words[1:]:
        if len(rows[-1]) + 1 + len(word) + 2 <= width:
            rows[-1] += f" {word}"
        else:
            rows[-1] += " \\"
            rows.append(f"{indent}  {word}")
    return rows


def _sentence(line: str, width: int) -> list[str]:
    indent = line[: len(line) - len(line.lstrip())]
    rows: list[str] = []
    for word in line.split():
        if rows and len(rows[-1]) + 1 + len(word) <= width:
            rows[-1] += f" {word}"
        else:
            rows.append(indent + word)
    return rows
