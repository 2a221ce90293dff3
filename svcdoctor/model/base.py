"""What all Kubernetes objects share; the shapes themselves are in the modules beside this one.

Each class is the JSON shape of the API (Kubernetes API reference, v1.36); unknown fields are skipped while
decoding, which is what makes large dumps quick, and what is not listed here is never written to a snapshot.
A list or map that the API may send as ``null`` is ``None`` here; readers say ``x or ()``.

What may live here: shapes, and properties that read one object alone. What needs two objects is in
``cluster`` or ``path``.
"""

from __future__ import annotations

import msgspec

Labels = dict[str, str]
IntOrString = int | str


class Base(msgspec.Struct, frozen=True, gc=False, rename="camel", kw_only=True, omit_defaults=True):
    """Common behaviour of all shapes: immutable, camelCase in JSON, defaults not written."""


class OwnerReference(Base, frozen=True):
    kind: str = ""
    name: str = ""
    uid: str = ""
    controller: bool | None = None


class Meta(Base, frozen=True):
    name: str = ""
    namespace: str = ""
    uid: str = ""
    labels: Labels | None = None
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    owner_references: tuple[OwnerReference, ...] | None = None

    @property
    def owner(self) -> OwnerReference | None:
        """The controller that made the object, or ``None``."""
        refs = self.owner_references or ()
        return next((r for r in refs if r.controller), refs[0] if refs else None)


class AnnotatedMeta(Meta, frozen=True):
    annotations: Labels | None = None


class KubeObject(Base, frozen=True):
    kind: str = ""
    api_version: str = ""
    metadata: Meta = Meta()

    @property
    def name(self) -> str:
        return self.metadata.name

    @property
    def namespace(self) -> str:
        return self.metadata.namespace

    @property
    def labels(self) -> Labels:
        return self.metadata.labels or {}
