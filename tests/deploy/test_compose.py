"""Who reaches whom in docker-compose.yml."""

import pytest
import yaml

from service.access.guard import Guard
from service.settings import Settings
from tests.support.paths import ROOT

COMPOSITION = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES = COMPOSITION["services"]
SERVICE = SERVICES["service"]
HOST = SERVICE["environment"]["ECLIP_HOST"]


def on(network):
    """The containers of a network."""
    return {name for name, service in SERVICES.items() if network in service["networks"]}


def test_the_service_listens_on_a_network_that_no_other_container_is_on():
    (front,) = [
        network
        for network, choices in SERVICE["networks"].items()
        if HOST in (choices or {}).get("aliases", [])
    ]
    assert on(front) == {"service"}


def test_two_containers_meet_only_where_the_internet_is_not():
    for network, choices in COMPOSITION["networks"].items():
        assert len(on(network)) == 1 or (choices or {}).get("internal"), network
    assert on("store") == {"service", "qdrant"}
    assert on("model") == {"service", "vllm"}


def test_ports_are_published_on_the_hosts_loopback_alone():
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_the_composition_starts_without_keys_by_the_setting_that_says_so():
    given = {"host": HOST, "anyone_may_read_and_delete": True}
    assert SERVICE["environment"]["ECLIP_ANYONE_MAY_READ_AND_DELETE"] == "true"
    Guard(Settings(**given))
    assert HOST in SERVICE["healthcheck"]["test"][-1]


@pytest.mark.parametrize("name", [n for n in SERVICE["environment"] if n.startswith("ECLIP_")])
def test_every_variable_that_is_passed_is_a_setting(name):
    assert name.removeprefix("ECLIP_").lower() in Settings.model_fields
