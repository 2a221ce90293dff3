"""Which port of a Service an Ingress's backend means."""

import pytest

from svcdoctor.model.ingress import IngressServicePort
from svcdoctor.model.service import Service, ServicePort, ServiceSpec
from svcdoctor.path.ingress import any_port, backend_port

HTTP = ServicePort(name="http", port=80)
QUIC = ServicePort(name="quic", port=443, protocol="UDP")
HTTPS = ServicePort(name="https", port=443)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (IngressServicePort(number=80), HTTP),
        (IngressServicePort(name="http"), HTTP),
        (IngressServicePort(number=443), HTTPS),  # HTTP goes over TCP, whichever comes first
        (IngressServicePort(name="quic"), None),
        (IngressServicePort(number=8080), None),
        (IngressServicePort(name="80"), None),
        (IngressServicePort(), None),
    ],
)
def test_the_port_that_a_backend_names(asked, expected):
    service = Service(spec=ServiceSpec(ports=(HTTP, QUIC, HTTPS)))
    assert backend_port(service, asked) == expected
    assert not any_port(service, asked)


def test_an_external_name_takes_any_number():
    service = Service(spec=ServiceSpec(type="ExternalName", external_name="www.example.net"))
    assert any_port(service, IngressServicePort(number=8443))
    assert not any_port(service, IngressServicePort(name="https"))
