"""The reviews that kubectl sends as protobuf."""

from __future__ import annotations

import pytest

from svcdoctor.lab.protobuf import decode_review


def field(number: int, value: bytes | str) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    assert len(data) < 128
    return bytes([number << 3 | 2, len(data)]) + data


def envelope(kind: str, obj: bytes) -> bytes:
    head = field(1, "authorization.k8s.io/v1") + field(2, kind)
    return b"k8s\0" + field(1, head) + field(2, obj) + field(3, "") + field(4, "")


# The numbers, other than text, of a message that is newer than this reader: varint, 64 and 32 bits.
UNKNOWN = bytes([15 << 3, 0x80, 0x01, 14 << 3 | 1, *range(8), 13 << 3 | 5, *range(4)])


@pytest.mark.parametrize(
    ("kind", "obj", "spec"),
    [
        (
            "SelfSubjectAccessReview",
            field(1, b"")
            + field(2, field(1, field(1, "truth") + UNKNOWN + field(2, "list") + field(5, "pods"))),
            {"resourceAttributes": {"namespace": "truth", "verb": "list", "resource": "pods"}},
        ),
        (
            "SelfSubjectAccessReview",
            field(2, field(2, field(1, "/version") + field(2, "get"))),
            {"nonResourceAttributes": {"path": "/version", "verb": "get"}},
        ),
        ("SelfSubjectRulesReview", field(2, field(1, "truth")), {"namespace": "truth"}),
    ],
)
def test_reviews(kind: str, obj: bytes, spec: object) -> None:
    expected = {"apiVersion": "authorization.k8s.io/v1", "kind": kind, "spec": spec}
    assert decode_review(envelope(kind, obj)) == expected


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{}", "must begin with"),
        (b"k8s\0", "this kind is not understood"),
        (envelope("Pod", b""), "Pod is not understood as protobuf: send JSON"),
        (b"k8s\0\x0a\x7f", "cut off"),
        (b"k8s\0\x0a", "cut off"),
        (b"k8s\0\x0b", "wire type 3"),
        (b"k8s\0" + b"\xff" * 11, "longer than ten bytes"),
        (b"k8s\0\x0d\x00", "cut off"),
    ],
)
def test_malformed(body: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        decode_review(body)
