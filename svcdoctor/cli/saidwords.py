"""What the words of a command line before the cursor say, for completion."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Said:
    """What the words before the cursor say: the values of options by their parameter's name, and arguments."""

    options: dict[str, list[str]] = field(default_factory=dict)
    arguments: list[str] = field(default_factory=list)

    def last(self, name: str) -> str:
        """The last value of an option, empty where it was not said."""
        return self.options.get(name, [""])[-1]
