"""A switchboard of things that go wrong with real API servers, for tests to turn on.

Specification: the status codes are those of
https://kubernetes.io/docs/reference/using-api/api-concepts/ and, for 429, of API priority and fairness.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from enum import Enum

from svcdoctor.lab.status import ApiError

ANY = "*"
"""The resource that stands for every request."""


class Fault(Enum):
    """What can go wrong."""

    FORBID = "forbid"
    THROTTLE = "throttle"
    FAIL = "fail"
    DELAY = "delay"
    CUT = "cut"
    EXPIRE = "expire"


@dataclass(slots=True)
class _Armed:
    fault: Fault
    resource: str
    left: int | None
    value: float


class Faults:
    """Faults that are armed, by the plural name of a resource (`pods`) or for `*`. Thread-safe.

    Those with `times` wear off after so many requests; the others last until `clear`.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._armed: list[_Armed] = []

    def forbid(self, resource: str) -> None:
        """Answer requests for the resource with 403, whoever asks."""
        self._arm(Fault.FORBID, resource, None)

    def throttle(self, times: int, *, resource: str = ANY, retry_after: int = 1) -> None:
        """Answer with 429 and `Retry-After` in seconds."""
        self._arm(Fault.THROTTLE, resource, times, retry_after)

    def fail(self, times: int, *, resource: str = ANY) -> None:
        """Answer with 500."""
        self._arm(Fault.FAIL, resource, times)

    def delay(self, seconds: float, *, resource: str = ANY) -> None:
        """Wait before every answer."""
        self._arm(Fault.DELAY, resource, None, seconds)

    def cut(self, times: int, *, resource: str = ANY) -> None:
        """Close the connection in the middle of the answer's body."""
        self._arm(Fault.CUT, resource, times)

    def expire_tokens(self, times: int, *, resource: str = ANY) -> None:
        """Answer lists that come with a continue token with 410."""
        self._arm(Fault.EXPIRE, resource, times)

    def clear(self) -> None:
        """Turn everything off."""
        with self._lock:
            self._armed.clear()

    def _arm(self, fault: Fault, resource: str, times: int | None, value: float = 0.0) -> None:
        with self._lock:
            self._armed.append(_Armed(fault, resource, times, value))

    def take(self, fault: Fault, resource: str) -> float | None:
        """The fault's value if it strikes a request for the resource now, else None; uses up one time."""
        with self._lock:
            for armed in self._armed:
                if armed.fault is fault and armed.resource in (ANY, resource) and armed.left != 0:
                    if armed.left is not None:
                        armed.left -= 1
                    return armed.value
        return None


def throttled(retry_after: float) -> ApiError:
    """429, with the pause that the client should make in seconds."""
    message = "Too many requests, please try again later."
    seconds = round(retry_after)
    details = {"retryAfterSeconds": seconds}
    return ApiError(429, "TooManyRequests", message, details=details, headers={"Retry-After": str(seconds)})


def internal_error(problem: str) -> ApiError:
    """500."""
    message = f"Internal error occurred: {problem}"
    return ApiError(500, "InternalError", message, details={"causes": [{"message": problem}]})
