"""Who reaches whom in docker-compose.yml."""

import json

import pytest
import yaml

from service.access.guard import Guard
from service.settings import Settings
from tests.support.paths import ROOT

COMPOSITION = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES = COMPOSITION["services"]
SERVICE, LISTENER, ORTHANC = (SERVICES[name] for name in ("service", "listener", "orthanc"))
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
    assert on("store") == {"service", "listener", "qdrant"}
    assert on("model") == {"service", "listener", "vllm"}
    assert on("pacs") == {"listener", "orthanc"}


def test_ports_are_published_on_the_hosts_loopback_alone():
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_the_composition_starts_without_keys_by_the_setting_that_says_so():
    given = {"host": HOST, "anyone_may_read_and_delete": True}
    assert SERVICE["environment"]["ECLIP_ANYONE_MAY_READ_AND_DELETE"] == "true"
    Guard(Settings(**given))
    assert HOST in SERVICE["healthcheck"]["test"][-1]


PASSED = sorted(
    (container, name)
    for container in ("service", "listener")
    for name in SERVICES[container]["environment"]
    if name.startswith("ECLIP_")
)


@pytest.mark.parametrize(("container", "name"), PASSED)
def test_every_variable_that_is_passed_is_a_setting(container, name):
    assert container in SERVICES
    assert name.removeprefix("ECLIP_").lower() in Settings.model_fields


def test_the_pacs_starts_only_where_its_profile_is_asked_for():
    profiles = {name: service.get("profiles") for name, service in SERVICES.items()}
    assert {name for name, asked in profiles.items() if asked} == {"listener", "orthanc"}
    assert LISTENER["profiles"] == ORTHANC["profiles"] == ["pacs"]


def test_every_container_runs_without_root_and_rights_on_a_read_only_root():
    for name, service in SERVICES.items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert not service["user"].startswith("0"), name


def test_the_listener_and_orthanc_name_each_other_as_they_are():
    environment = LISTENER["environment"]
    configuration = json.loads((ROOT / "deploy" / "orthanc" / "orthanc.json").read_text())
    called, host, port = configuration["DicomModalities"]["eclip"]
    assert called == Settings().ae_title
    assert host == environment["ECLIP_LISTEN_HOST"] in LISTENER["networks"]["pacs"]["aliases"]
    assert str(port) == environment["ECLIP_LISTEN_PORT"]
    assert json.loads(environment["ECLIP_LISTEN_CALLERS"]) == [configuration["DicomAet"]]
    assert f"orthanc:{configuration['HttpPort']}/dicom-web" in environment["ECLIP_RESULTS_TO"]
    assert LISTENER["volumes"] == SERVICE["volumes"], "both need the key of the references"


def test_the_listener_shares_what_decides_vectors_with_the_service():
    for name in ("ECLIP_QDRANT_URL", "ECLIP_QDRANT_API_KEY", "ECLIP_LLM_URL"):
        assert LISTENER["environment"][name] == SERVICE["environment"][name]
    assert LISTENER["image"] == SERVICE["image"]
