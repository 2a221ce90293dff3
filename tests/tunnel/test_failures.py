"""The runtimes' texts, as they were met, and what is made of them."""

from __future__ import annotations

import pytest

from svcdoctor.tunnel.failures import Reason, before_connection, reason_of

KUBELET = "error forwarding port 7 to pod 6a85abb0b90e387443e3c2308b3002b9, uid : "
CONTAINERD = KUBELET + 'failed to execute portforward in network namespace "/var/run/netns/cni-0349": '


@pytest.mark.parametrize(
    ("text", "reason", "before"),
    [
        (
            CONTAINERD
            + 'failed to connect to localhost:7 inside namespace "6a85", IPv4: dial tcp4 127.0.0.1:7: '
            "connect: connection refused IPv6 dial tcp6 [::1]:7: connect: connection refused ",
            Reason.REFUSED,
            True,
        ),
        (
            CONTAINERD
            + 'failed to connect to localhost:7 inside namespace "6a85", IPv4: dial tcp4 127.0.0.1:7: '
            "connect: connection refused IPv6 dial tcp6: address localhost: no suitable address found ",
            Reason.REFUSED,
            True,
        ),
        (
            CONTAINERD
            + 'socat command returns error: exit status 1, stderr: "2019/04/12 17:02:59 socat[15663] E '
            'connect(5, AF=2 127.0.0.1:9443, 16): Connection refused\\n"',
            Reason.REFUSED,
            True,
        ),
        (CONTAINERD + "dial tcp6 [fd00::5]:7: connect: no route to host", Reason.UNREACHABLE, True),
        (CONTAINERD + "dial tcp4 127.0.0.1:7: i/o timeout", Reason.TIMEOUT, True),
        (CONTAINERD + "read tcp6 [::1]:4->[::1]:7: read: connection timed out", Reason.TIMEOUT, False),
        (
            CONTAINERD + "read tcp4 127.0.0.1:46540->127.0.0.1:7687: read: connection reset by peer",
            Reason.CUT,
            False,
        ),
        (
            CONTAINERD + "readfrom tcp4 127.0.0.1:43952->127.0.0.1:6446: write tcp4 127.0.0.1:43952->"
            "127.0.0.1:6446: write: broken pipe",
            Reason.CUT,
            False,
        ),
        (KUBELET + 'network namespace for sandbox "6b79d2" is closed', Reason.NO_NAMESPACE, True),
        (
            KUBELET + 'failed to Statfs "/proc/0/ns/net": no such file or directory',
            Reason.NO_NAMESPACE,
            True,
        ),
        (KUBELET + 'failed to find sandbox "16a8ad2a" in store: not found', Reason.NO_SANDBOX, True),
        (KUBELET + "unable to do port forwarding: socat not found", Reason.NO_SOCAT, True),
        (
            KUBELET + 'failed to find socat: exec: "socat": executable file not found in $PATH',
            Reason.NO_SOCAT,
            True,
        ),
        (KUBELET + "something new", Reason.OTHER, False),
        ("", Reason.OTHER, False),
    ],
)
def test_what_a_text_says(text: str, reason: Reason, before: bool) -> None:
    assert (reason_of(text), before_connection(text)) == (reason, before)
