"""What a pod's listening sockets say of a port: the kernel is asked the same."""

import errno
import socket

import pytest

from svcdoctor.model.nodefacts import Listener
from svcdoctor.path.sockets import Ear, ear, sockets_text

V4, V6 = "10.244.1.7", "fd00:10:244:1::7"


@pytest.mark.parametrize(
    ("sockets", "v4", "v6"),
    [
        ([], Ear.NOTHING, Ear.NOTHING),
        (["0.0.0.0"], Ear.LISTENS, Ear.OTHER_FAMILY),
        (["::"], Ear.PERHAPS, Ear.LISTENS),
        (["0.0.0.0", "::"], Ear.LISTENS, Ear.LISTENS),
        (["127.0.0.1"], Ear.LOOPBACK, Ear.LOOPBACK),
        (["::1"], Ear.LOOPBACK, Ear.LOOPBACK),
        (["127.0.0.1", "::1"], Ear.LOOPBACK, Ear.LOOPBACK),
        (["127.0.0.1", "::"], Ear.PERHAPS, Ear.LISTENS),
        (["::ffff:127.0.0.1"], Ear.LOOPBACK, Ear.LOOPBACK),
        ([V4], Ear.LISTENS, Ear.OTHER_FAMILY),
        ([V6], Ear.OTHER_FAMILY, Ear.LISTENS),
        ([f"::ffff:{V4}"], Ear.LISTENS, Ear.OTHER_ADDRESS),
        (["10.244.1.8"], Ear.OTHER_ADDRESS, Ear.OTHER_FAMILY),
    ],
)
def test_what_listens(sockets, v4, v6):
    held = [Listener("TCP", a, 8080) for a in sockets]
    other = [Listener("TCP", "0.0.0.0", 8081), Listener("UDP", "0.0.0.0", 8080)]
    assert ear(held + other, V4, 8080, "TCP") is v4
    assert ear(held + other, V6, 8080, "TCP") is v6


@pytest.mark.parametrize("bound", ["127.0.0.1", "0.0.0.0", "::1", "::", "127.0.0.2"])
@pytest.mark.parametrize("asked", ["127.0.0.2", "::1"])
def test_as_the_kernel_does_it(bound, asked):
    """127.0.0.2 stands for the pod's address, as far as it is not told apart from loopback."""
    family = socket.AF_INET6 if ":" in bound else socket.AF_INET
    with socket.socket(family) as listener:
        listener.bind((bound, 0))
        listener.listen()
        port = listener.getsockname()[1]
        with socket.socket(socket.AF_INET6 if ":" in asked else socket.AF_INET) as client:
            met = client.connect_ex((asked, port))
    said = ear([Listener("TCP", bound, port)], asked, port, "TCP")
    assert met in (0, errno.ECONNREFUSED)
    assert (met == 0) is (said in (Ear.LISTENS, Ear.PERHAPS))


def test_words():
    held = [Listener("TCP", "::", 9090), Listener("TCP", "127.0.0.1", 80), Listener("UDP", "::", 53)]
    assert sockets_text(held, "TCP") == "127.0.0.1:80, [::]:9090"
    assert sockets_text(held, "SCTP") == "none"
    assert sockets_text([Listener("TCP", "::", n) for n in range(1, 9)], "TCP").endswith("[::]:6 and 2 more")
