"""What a watch says, out of its bytes as they come: which objects have changed, and up to which version.

One event is one line of JSON, ``{"type": …, "object": …}``. Objects stay undecoded, and of one that changes twice
before anybody asks only the last state is kept.

Specification: https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
"""

from __future__ import annotations

import msgspec

MAX_LINE = 8 << 20
"""Bytes of one event; etcd holds objects of 1.5 MiB at most."""


Name = tuple[str, str]
"""An object's namespace, empty for what has none, and its name."""


class _Meta(msgspec.Struct):
    name: str = ""
    namespace: str = ""
    resource_version: str = msgspec.field(default="", name="resourceVersion")


class _Object(msgspec.Struct):
    metadata: _Meta = msgspec.field(default_factory=_Meta)


class _Event(msgspec.Struct):
    type: str
    object: msgspec.Raw


class _Status(msgspec.Struct):
    message: str = ""
    code: int = 0


_STATUS = msgspec.json.Decoder(_Status)  # made once: two threads that make the first of one struct crash


_event = msgspec.json.Decoder(_Event)
_object = msgspec.json.Decoder(_Object)


class WatchError(Exception):
    """The watch cannot go on from its version: an ERROR event (410 where the version is too old), or no event."""


class Changes:
    """What has changed since a version of a list or an earlier watch.

    ``version`` is that of the last event, bookmarks among them; ``seen`` tells whether there was one at all.
    """

    def __init__(self, version: str) -> None:
        self.version = version
        self.seen = False
        self._line = bytearray()
        self._pending: dict[Name, msgspec.Raw | None] = {}

    @property
    def pending(self) -> bool:
        """Whether there is something to `take`."""
        return bool(self._pending)

    def feed(self, piece: bytes) -> None:
        """Goes through the next bytes. Raises WatchError."""
        searched = len(self._line)
        self._line += piece
        end = self._line.rfind(b"\n", searched)
        if end >= 0:
            lines = bytes(self._line[:end])
            del self._line[: end + 1]
            for line in lines.split(b"\n"):
                self._apply(line)
        if len(self._line) > MAX_LINE:
            raise WatchError(f"a watch event of more than {MAX_LINE >> 20} MiB")

    def take(self) -> dict[Name, msgspec.Raw | None]:
        """The objects that have changed since the last time, by name, and None for those that are gone."""
        taken, self._pending = self._pending, {}
        return taken

    def _apply(self, line: bytes) -> None:
        if not line.strip():
            return
        try:
            event = _event.decode(line)
            if event.type == "ERROR":
                status = _STATUS.decode(event.object)
                raise WatchError(f"the watch ends with {status.code}: {' '.join(status.message.split())}")
            meta = _object.decode(event.object).metadata
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
            raise WatchError(f"not a watch event: {e}") from None
        if event.type in ("ADDED", "MODIFIED"):
            self._pending[meta.namespace, meta.name] = event.object
        elif event.type == "DELETED":
            self._pending[meta.namespace, meta.name] = None
        if meta.resource_version:
            self.version = meta.resource_version
            self.seen = True
