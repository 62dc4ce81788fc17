import hashlib

import pytest

from service.settings import Settings
from tests.support.server import in_process

READ, BOTH = "read-key", "both-key"


def digest(key):
    return hashlib.sha256(key.encode()).hexdigest()


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    keys = {digest(READ): ("read",), digest(BOTH): ("read", "write")}
    settings = Settings(data_dir=tmp_path_factory.mktemp("guarded"), api_keys=keys)
    with in_process(settings) as client:
        yield client


def ask(client, method, path, key=None, **arguments):
    headers = {"authorization": f"Bearer {key}"} if key else {}
    return client.request(method, path, headers=headers, **arguments)


def endpoints(app):
    """Every operation of the contract, with its path filled in."""
    for path, operations in app.openapi()["paths"].items():
        for method in operations:
            yield method.upper(), path.replace("{study_id}", "s1")


def test_every_endpoint_but_health_asks_for_a_key(guarded):
    open_ones = {"/health/live", "/health/ready"}
    for method, path in endpoints(guarded.app):
        answer = ask(guarded, method, path)
        if path in open_ones:
            assert answer.status_code == 200
        else:
            assert answer.status_code == 401, path
            assert answer.json()["type"] == "urn:eclip:auth/unauthenticated"


@pytest.mark.parametrize(
    "header", ["Bearer nobody", f"Basic {READ}", READ, "Bearer", f"Bearer {digest(READ)}"]
)
def test_an_unknown_key_opens_nothing(guarded, header):
    answer = guarded.get("/bundle", headers={"authorization": header})
    assert answer.status_code == 401
    assert READ not in answer.text


def test_a_key_opens_what_its_scopes_say(guarded):
    assert ask(guarded, "GET", "/bundle", READ).status_code == 200
    body = {"json": {"report": "Clear lungs."}}
    for method, arguments in (("PUT", body), ("DELETE", {})):
        refused = ask(guarded, method, "/studies/s1", READ, **arguments)
        assert (refused.status_code, refused.json()["type"]) == (
            403,
            "urn:eclip:auth/scope-missing",
        )
        assert ask(guarded, method, "/studies/s1", BOTH, **arguments).is_success


def test_without_configured_keys_nothing_is_asked_for(client):
    assert client.get("/bundle").status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "rebound.example"},
        {"host": "127.0.0.1.rebound.example:8000"},
        {"host": "[::1"},
        {"host": ""},
        {"origin": "https://other.example"},
        {"origin": "null"},
        {"host": "127.0.0.1:8000", "origin": "http://127.0.0.1:9000"},
    ],
)
def test_without_keys_nobody_elses_page_is_answered(client, problem, headers):
    """DNS rebinding and cross-site requests: what a visited page could make a browser send."""
    problem(client.get("/bundle", headers=headers), 403, "auth/foreign")
    planted = client.put("/studies/s", json={"report": "Planted."}, headers=headers)
    problem(planted, 403, "auth/foreign")
    problem(client.get("/studies/s"), 404, "study/unknown")


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "localhost:8000", "origin": "http://localhost:8000"},
        {"host": "[::1]:8000"},
        {"host": "LOCALHOST"},
    ],
)
def test_without_keys_this_machines_own_names_are_answered(client, headers):
    assert client.get("/bundle", headers=headers).status_code == 200


def test_a_host_that_the_operator_names_is_answered_and_a_key_makes_names_needless(
    guarded, tmp_path
):
    settings = Settings(data_dir=tmp_path, allowed_hosts=("gpu-box",))
    with in_process(settings) as named:
        assert named.get("/bundle", headers={"host": "gpu-box:8000"}).status_code == 200
        assert named.get("/bundle", headers={"host": "gpu-boy:8000"}).status_code == 403
    headers = {"host": "anywhere.example", "authorization": f"Bearer {READ}"}
    assert guarded.get("/bundle", headers=headers).status_code == 200
