"""Near misses: which name, and which labels, were probably meant.

A name is near when few edits lead to it (Damerau-Levenshtein distance, transpositions count once), or when
it differs only by a common slip: case, ``_`` for ``-``, a plural, a label key's prefix (``app.kubernetes.io/``),
words in another order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from svcdoctor.model.pod import Pod

MAX_COMPARED = 20_000
GENERATED_LABELS = frozenset(
    {
        "pod-template-hash",
        "controller-revision-hash",
        "pod-template-generation",
        "apps.kubernetes.io/pod-index",
    }
)


def distance(a: str, b: str, limit: int) -> int:
    """The optimal string alignment distance, or ``limit + 1`` once it must exceed ``limit``."""
    if abs(len(a) - len(b)) > limit:
        return limit + 1
    # Where many names are compared most begin alike, and letters that the other lacks tell the rest apart.
    start = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    a, b = a[start:], b[start:]
    if len(set(a) - set(b)) > limit or len(set(b) - set(a)) > limit:
        return limit + 1
    before: list[int] = []
    previous = list(range(len(b) + 1))
    for i, ca in enumerate(a, 1):
        current = [i]
        for j, cb in enumerate(b, 1):
            cost = min(previous[j] + 1, current[j - 1] + 1, previous[j - 1] + (ca != cb))
            if i > 1 and j > 1 and ca == b[j - 2] and a[i - 2] == cb:
                cost = min(cost, before[j - 2] + 1)
            current.append(cost)
        if min(current) > limit:
            return limit + 1
        before, previous = previous, current
    return min(previous[-1], limit + 1)


def _folded(text: str) -> str:
    """The text without case, without a label key's prefix, and with ``-`` between its words."""
    return text.rpartition("/")[2].lower().replace("_", "-").replace(".", "-")


def _singular(word: str) -> str:
    """An English word without its plural's ending, as far as the ending tells."""
    if len(word) > 4 and word.endswith("ies"):
        return f"{word[:-3]}y"
    if len(word) > 4 and word.endswith(("sses", "shes", "ches", "xes", "zes")):
        return word[:-2]
    return word[:-1] if word.endswith("s") and not word.endswith("ss") else word


@lru_cache(1 << 16)
def slip(text: str) -> str:
    """The text without what common slips change."""
    return "-".join(map(_singular, _folded(text).split("-")))


@lru_cache(1 << 16)
def nearness(a: str, b: str) -> int | None:
    """How near two different names are: 0 for a common slip, else the edits; ``None`` when not near."""
    if a == b:
        return None
    slipped_a, slipped_b = slip(a), slip(b)
    if slipped_a == slipped_b:
        return 0
    if sorted(slipped_a.split("-")) == sorted(slipped_b.split("-")):
        return 1
    limit = 1 if min(len(a), len(b)) < 5 else 2 if min(len(a), len(b)) < 10 else 3
    found = distance(a, b, limit)
    if found > limit:
        found = distance(_folded(a), _folded(b), limit)
    return found if found <= limit else None


def _holds(longer: str, shorter: str) -> bool:
    """Whether a name is the other with words before or behind it: ``web-frontend`` and ``web``."""
    return longer.startswith(f"{shorter}-") or longer.endswith(f"-{shorter}")


def near_names(name: str, names: Iterable[str], most: int = 3) -> list[str]:
    """The names that ``name`` was probably meant to be, nearest first.

    A name that is the other with more words (``web`` for ``web-frontend``) counts as near, after the edits.
    """
    ranked = []
    folded = _folded(name)
    for count, other in enumerate(dict.fromkeys(names)):
        if count > MAX_COMPARED:
            break
        rank = nearness(name, other)
        if rank is None and folded and other and other != name:
            related = _folded(other)
            rank = 4 if _holds(related, folded) or _holds(folded, related) else None
        if rank is not None:
            ranked.append((rank, other))
    return [other for _, other in sorted(ranked)[:most]]


@dataclass(frozen=True, slots=True)
class Mismatch:
    """One pair of a selector that pods lack: ``found`` is their own value, under ``key_found``."""

    key: str
    wanted: str
    key_found: str | None
    found: str | None

    def __str__(self) -> str:
        if self.key_found is None:
            return f"label {self.key}={self.wanted} is missing"
        return f"{self.key}: {self.wanted} ≠ {self.key_found}: {self.found}"


@dataclass(frozen=True, slots=True)
class LabelMiss:
    """A set of labels that a selector misses by a little, and the pods (or templates) that carry it."""

    names: tuple[str, ...]
    mismatches: tuple[Mismatch, ...]
    near: bool  # every mismatch is a near miss, or most of the selector matches


def label_misses(
    selector: Mapping[str, str], carriers: Sequence[tuple[str, Mapping[str, str]]], most: int = 3
) -> list[LabelMiss]:
    """The label sets nearest to ``selector``, best first; carriers are (name, labels)."""
    groups: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for name, labels in carriers[:MAX_COMPARED]:
        key = tuple(sorted((k, v) for k, v in labels.items() if k not in GENERATED_LABELS))
        groups.setdefault(key, []).append(name)
    ranked: list[tuple[int, int, LabelMiss]] = []
    for pairs, names in groups.items():
        labels = dict(pairs)
        score = 0
        mismatches = []
        near = True
        for label, wanted in selector.items():
            if labels.get(label) == wanted:
                score += 6
                continue
            miss, points = _mismatch(label, wanted, labels)
            mismatches.append(miss)
            score += points
            near = near and points >= 3
        if mismatches and score > 0:
            matched = len(selector) - len(mismatches)
            ranked.append(
                (score, len(names), LabelMiss(tuple(names), tuple(mismatches), near or matched > 0))
            )
    ranked.sort(key=lambda r: (-r[0], -r[1], r[2].names))
    return [miss for _, _, miss in ranked[:most]]


def _mismatch(key: str, wanted: str, labels: Mapping[str, str]) -> tuple[Mismatch, int]:
    own = labels.get(key)
    if own is not None:
        rank = nearness(wanted, own)
        if rank is None:
            related = wanted in own or own in wanted
            return Mismatch(key, wanted, key, own), 2 if related else 1
        return Mismatch(key, wanted, key, own), 5 - min(rank, 2)
    best: tuple[int, str, str] | None = None
    for other, value in labels.items():
        if nearness(key, other) is not None:
            points = 4 if value == wanted else 3 if nearness(wanted, value) is not None else 1
        elif value == wanted:
            points = 3
        else:
            continue
        if best is None or points > best[0]:
            best = points, other, value
    if best is not None:
        return Mismatch(key, wanted, best[1], best[2]), best[0]
    return Mismatch(key, wanted, None, None), 0


def carriers_of(pods: Iterable[Pod]) -> list[tuple[str, Mapping[str, str]]]:
    """Pods as (name, labels), finished ones left out."""
    return [(p.name, p.labels) for p in pods if not p.finished]
