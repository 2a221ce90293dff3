"""An assembler of classic BPF programs, as SO_ATTACH_FILTER takes them: labels, and jumps of any length.

A conditional jump reaches 255 instructions; what lies further away is reached by a jump of its own behind it. A label
is always ahead of its jumps, as the kernel demands.

Specification: https://docs.kernel.org/networking/filter.html
"""

from __future__ import annotations

from dataclasses import dataclass, field

LIMIT = 4096
"""The most instructions that the kernel takes (BPF_MAXINSNS)."""

Instruction = tuple[int, int, int, int]  # code, jt, jf, k

LD_W, LD_H, LD_B = 0x20, 0x28, 0x30  # absolute
LD_H_X = 0x48  # relative to X
LDX_MSH = 0xB1  # X = 4 * (byte & 15), which is what an IPv4 header says of its length
JA, JEQ, JGT, JGE, JSET = 0x05, 0x15, 0x25, 0x35, 0x45
RET = 0x06


class TooLong(ValueError):
    """The program has more instructions than the kernel takes."""


@dataclass(slots=True)
class _Line:
    code: int
    k: int
    then: str = ""  # labels; empty for the next instruction
    otherwise: str = ""
    far: bool = False  # its labels are reached by jumps behind it

    @property
    def size(self) -> int:
        return 1 + self.far * (bool(self.then) + bool(self.otherwise))


@dataclass(slots=True)
class Assembler:
    """Takes instructions in order; `program` gives them with their jumps."""

    _lines: list[_Line] = field(default_factory=list)
    _labels: dict[str, int] = field(default_factory=dict)
    _made: int = 0

    def fresh(self) -> str:
        """A label that is not used yet."""
        self._made += 1
        return f".{self._made}"

    def label(self, name: str) -> None:
        self._labels[name] = len(self._lines)

    def do(self, code: int, k: int) -> None:
        self._lines.append(_Line(code, k & 0xFFFFFFFF))

    def jump(self, code: int, k: int, then: str = "", otherwise: str = "") -> None:
        """A conditional jump; an empty label stands for the next instruction."""
        self._lines.append(_Line(code, k & 0xFFFFFFFF, then, otherwise))

    def go(self, label: str) -> None:
        self._lines.append(_Line(JA, 0, label))

    def program(self) -> tuple[Instruction, ...]:
        """The instructions. Raises TooLong."""
        while True:
            at = [0]
            for line in self._lines:
                at.append(at[-1] + line.size)
            if at[-1] > LIMIT:
                raise TooLong
            stretched = False
            for i, line in enumerate(self._lines):
                ends = [at[self._labels[n]] - at[i] - 1 for n in (line.then, line.otherwise) if n]
                if line.code != JA and not line.far and any(distance > 255 for distance in ends):
                    line.far = stretched = True
            if not stretched:
                return tuple(self._written(at))

    def _written(self, at: list[int]) -> list[Instruction]:
        made: list[Instruction] = []
        for i, line in enumerate(self._lines):
            ends = [at[self._labels[n]] if n else None for n in (line.then, line.otherwise)]
            if line.code == JA:
                made.append((JA, 0, 0, (ends[0] or 0) - at[i] - 1))
            elif not line.far:
                then, otherwise = (0 if end is None else end - at[i] - 1 for end in ends)
                made.append((line.code, then, otherwise, line.k))
            else:
                named = [end for end in ends if end is not None]
                over = len(named)  # where the next instruction is
                places = iter(range(over))
                then, otherwise = (over if end is None else next(places) for end in ends)
                made.append((line.code, then, otherwise, line.k))
                made += [(JA, 0, 0, end - (at[i] + 1 + n) - 1) for n, end in enumerate(named)]
        return made
