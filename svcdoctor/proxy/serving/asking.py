"""Asking all workers of a run for their counts, and keeping those of workers that have ended."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from svcdoctor.proxy.loop import Loop, Timer
from svcdoctor.proxy.serving.attached import Attached
from svcdoctor.proxy.serving.counting import ended, total
from svcdoctor.proxy.serving.wire import Count, Counters

COUNT_SECONDS = 2.0
"""How long workers may take to count."""


@dataclass(slots=True, eq=False)
class _Question:
    """Somebody who asked, whom, and who of them has not answered."""

    asked: Sequence[Attached]
    waiting: set[Attached]
    done: Callable[[Counters], None]
    timer: Timer | None = None


class Counting:
    """The questions that wait for answers, on the loop."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._ended = Counters(0, 0, False, ())
        self._questions: list[_Question] = []

    def ask(self, workers: Sequence[Attached], done: Callable[[Counters], None]) -> None:
        """``done`` gets the sums: when all have answered, or with what is known of those that do not in time."""
        question = _Question(workers, set(workers), done)
        question.timer = self._loop.call_later(COUNT_SECONDS, lambda: self._finish(question))
        self._questions.append(question)
        for worker in workers:
            worker.link.send(Count())
        if not workers:
            self._finish(question)

    def answered(self, worker: Attached) -> None:
        """It has; or it never will."""
        for question in list(self._questions):
            question.waiting.discard(worker)
            if not question.waiting:
                self._finish(question)

    def lost(self, worker: Attached, keys: Collection[str]) -> None:
        """It has ended; its counts of the ports with these keys are kept."""
        self._ended = total([self._ended, ended(worker.counted, keys)])
        worker.counted = Counters(0, 0, False, ())
        self.answered(worker)

    def _finish(self, question: _Question) -> None:
        if question in self._questions:
            self._questions.remove(question)
            if question.timer is not None:
                question.timer.cancel()
            question.done(total([self._ended, *(worker.counted for worker in question.asked)]))
