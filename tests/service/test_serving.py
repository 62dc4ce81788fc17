"""The server has no more connections than it has descriptors for."""

import resource

import pytest
from structlog.testing import capture_logs

from service.serving import _address, affordable

ENDLESS = resource.RLIM_INFINITY


@pytest.mark.parametrize(
    ("soft", "hard", "connections", "raised"),
    [
        (256, 256, 128, [(256, 256)]),
        (256, 1000, 500, [(1000, 1000)]),
        (256, 4000, 1000, [(2000, 4000)]),
        (256, ENDLESS, 1000, [(2000, ENDLESS)]),
        (3000, 4000, 1000, []),
        (ENDLESS, ENDLESS, 1000, []),
    ],
)
def test_half_of_the_descriptors_are_for_connections(monkeypatch, soft, hard, connections, raised):
    asked = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: asked.append(limits))
    with capture_logs() as logs:
        assert affordable(1000) == connections
    assert asked == raised
    assert [line["connections"] for line in logs] == [connections] * (connections < 1000)


def test_a_limit_that_cannot_be_raised_is_kept(monkeypatch):
    def refuses(*_):
        raise ValueError("current limit exceeds maximum limit")

    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, ENDLESS))
    monkeypatch.setattr(resource, "setrlimit", refuses)
    assert affordable(1000) == 128


def test_an_ipv6_address_is_in_brackets():
    assert _address("::1", 8000) == "http://[::1]:8000"
    assert _address("localhost", 8001) == "http://localhost:8001"
