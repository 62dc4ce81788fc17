import hashlib
import json

import pytest
from structlog.testing import capture_logs

from service.access.key_file import add_key, remove_key
from service.auth import caller
from service.settings import Settings
from tests.support.server import in_process

SCOPES = ("read", "write", "delete", "metrics")
OPEN = {"/health/live", "/health/ready"}
NEEDED = {
    ("PUT", "/studies/s1"): "write",
    ("POST", "/studies"): "write",
    ("POST", "/dicom-web/studies"): "write",
    ("POST", "/dicom-web/studies/{study_uid}"): "write",
    ("DELETE", "/studies/s1"): "delete",
    ("DELETE", "/patients/p1"): "delete",
    ("GET", "/metrics"): "metrics",
}
"""Operation → its scope; every other one needs `read`."""


def digest(key):
    return hashlib.sha256(key.encode()).hexdigest()


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """A server with one key for each scope, named and written like it."""
    keys = {digest(scope): (scope,) for scope in SCOPES}
    settings = Settings(data_dir=tmp_path_factory.mktemp("guarded"), api_keys=keys)
    with in_process(settings) as client:
        yield client


@pytest.fixture
def filed(client, tmp_path):
    """A server with a key file, on the demo library, and the path of the file."""
    path = tmp_path / "keys.json"
    path.write_text("{}")
    with in_process(Settings(key_file=path), client.app.state.services) as app:
        yield app, path


def ask(client, method, path, key=None, **arguments):
    headers = {"authorization": f"Bearer {key}"} if key else {}
    return client.request(method, path, headers=headers, **arguments)


def endpoints(app):
    """Every operation of the contract, with its path filled in."""
    for path, operations in app.openapi()["paths"].items():
        for method in operations:
            filled = path.replace("{study_id}", "s1").replace("{patient_id}", "p1")
            yield method.upper(), filled, operations[method]


def test_every_endpoint_but_health_asks_for_a_key(guarded):
    for method, path, _ in endpoints(guarded.app):
        answer = ask(guarded, method, path)
        if path in OPEN:
            assert answer.status_code == 200
        else:
            assert answer.status_code == 401, path
            assert answer.json()["type"] == "urn:eclip:auth/unauthenticated"
            assert answer.headers["www-authenticate"] == "Bearer"


def test_each_operation_takes_its_own_scope_and_no_other(guarded):
    for method, path, operation in endpoints(guarded.app):
        if path in OPEN:
            assert "security" not in operation
            continue
        needed = NEEDED.get((method, path), "read")
        assert operation["security"] == [{"key": [needed]}]
        for scope in SCOPES:
            answer = ask(guarded, method, path, scope)
            opens = scope == needed or (needed, scope) == ("metrics", "read")
            assert (answer.status_code != 403) == opens, (method, path, scope)
            if not opens:
                assert answer.json()["type"] == "urn:eclip:auth/scope-missing"
                assert f"`{needed}`" in answer.json()["detail"]
                assert 'error="insufficient_scope"' in answer.headers["www-authenticate"]


@pytest.mark.parametrize(
    "header", ["Bearer nobody", "Basic read", "read", "Bearer", f"Bearer {digest('read')}"]
)
def test_an_unknown_key_opens_nothing(guarded, header):
    answer = guarded.get("/bundle", headers={"authorization": header})
    assert answer.status_code == 401
    assert "nobody" not in answer.text


def test_a_key_of_the_file_counts_at_once_until_it_is_removed_or_expires(filed, problem):
    app, path = filed
    problem(ask(app, "GET", "/bundle", "any"), 401, "auth/unauthenticated")
    key = add_key(path, "ward", {"scopes": ["read"]})
    assert ask(app, "GET", "/bundle", key).status_code == 200
    plain = json.loads(path.read_text())
    plain["ward"]["expires"] = "2020-01-01"
    path.write_text(json.dumps(plain))
    expired = ask(app, "GET", "/bundle", key)
    assert "2020-01-01" in problem(expired, 401, "auth/expired")["detail"]
    assert expired.headers["www-authenticate"] == 'Bearer error="invalid_token"'
    remove_key(path, "ward")
    problem(ask(app, "GET", "/bundle", key), 401, "auth/unauthenticated")


def test_wrong_keys_are_braked_and_right_ones_are_not(filed, problem):
    """Behind a proxy all callers have one address."""
    app, path = filed
    key = add_key(path, "ward", {"scopes": ["read"]})
    statuses = [ask(app, "GET", "/bundle", f"guess-{n}").status_code for n in range(20)]
    assert statuses == [401] * 10 + [429] * 10
    braked = ask(app, "GET", "/bundle", "guess")
    problem(braked, 429, "auth/too-many-wrong-keys")
    assert braked.headers["retry-after"] == "60"
    assert ask(app, "GET", "/bundle", key).status_code == 200
    problem(ask(app, "GET", "/bundle"), 401, "auth/unauthenticated")


def test_log_and_audit_say_who_asked_and_never_the_key(filed, radiograph):
    app, path = filed
    key = add_key(path, "ward-7", {"scopes": ["read"]})
    wired = app.app.state.services
    with capture_logs() as logs:
        report = ask(app, "POST", "/generate-report", key, files={"files": radiograph}).json()
        ask(app, "PUT", "/studies/s1", key)
        ask(app, "GET", "/bundle", "wrong-key")
        app.get("/health/live")
    lines = [(log["status"], log["asked_by"]) for log in logs if log["event"] == "request"]
    assert lines == [(200, "ward-7"), (403, "ward-7"), (401, None), (200, None)]
    assert key not in str(logs)
    assert "wrong-key" not in str(logs)
    assert wired.reporter.audit.find(report["provenance"]["record"]).asked_by == "ward-7"


@pytest.mark.parametrize(
    ("client", "address"),
    [
        (("192.0.2.7", 5), "192.0.2.7"),
        (("2001:DB8::1", 5), "2001:db8::1"),
        (("fe80::1%DOE-JANE", 5), "fe80::1"),
        (("DOE-JANE", 0), None),
        (("", 0), None),
        (None, None),
    ],
)
def test_the_callers_address_is_an_address_whatever_a_proxys_header_says(client, address):
    assert caller({"client": client}) == address


def test_a_stream_of_events_is_audited_with_the_key_too(filed, radiograph):
    app, path = filed
    key = add_key(path, "streamer", {"scopes": ["read"]})
    form = {"files": {"files": radiograph}, "data": {"stream": "true"}}
    events = ask(app, "POST", "/generate-report", key, **form).text
    record = json.loads(events.rsplit("data: ", 1)[1])["provenance"]["record"]
    assert app.app.state.services.reporter.audit.find(record).asked_by == "streamer"


def test_without_configured_keys_nothing_is_asked_for(client):
    with capture_logs() as logs:
        assert client.get("/bundle").status_code == 200
    assert logs[-1]["asked_by"] is None


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "rebound.example"},
        {"host": "127.0.0.1.rebound.example:8000"},
        {"host": "[::1"},
        {"host": ""},
        {"host": "192.0.2.7"},
        {"origin": "https://other.example"},
        {"origin": "null"},
        {"origin": "http://["},
        {"origin": "http://[::1"},
        {"host": "127.0.0.1:8000", "origin": "http://127.0.0.1:9000"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"},
        {"sec-fetch-site": "same-site"},
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
        {"host": "localhost:8000", "sec-fetch-site": "same-origin"},
        {"host": "[::1]:8000", "sec-fetch-site": "none"},
        {"host": "127.0.0.2"},
        {"host": "LOCALHOST"},
    ],
)
def test_without_keys_this_machines_own_names_are_answered(client, headers):
    assert client.get("/bundle", headers=headers).status_code == 200


@pytest.mark.parametrize("path", ["/", "/health/live", "/openapi.json", "/nowhere", "/bundle"])
def test_no_answer_may_be_used_by_another_sites_page(client, guarded, path):
    for app in (client, guarded):
        headers = app.get(path, headers={"sec-fetch-site": "cross-site"}).headers
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert headers["cross-origin-opener-policy"] == "same-origin"
        assert headers["x-frame-options"] == "DENY"
        assert headers["cache-control"] == "no-store"


def test_a_host_that_the_operator_names_is_answered_and_a_key_makes_names_needless(guarded, client):
    settings = Settings(allowed_hosts=("gpu-box",))
    with in_process(settings, client.app.state.services) as named:
        assert named.get("/bundle", headers={"host": "gpu-box:8000"}).status_code == 200
        assert named.get("/bundle", headers={"host": "gpu-boy:8000"}).status_code == 403
    headers = {
        "host": "anywhere.example",
        "origin": "https://other.example",
        "sec-fetch-site": "cross-site",
        "authorization": "bearer  read ",
    }
    assert guarded.get("/bundle", headers=headers).status_code == 200
