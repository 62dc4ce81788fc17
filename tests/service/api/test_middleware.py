import gzip
import json
import os
import re

import pytest
from structlog.testing import capture_logs

from service.settings import Settings
from tests.support.server import in_process

CANARY = "Doe-Jane-19610304"


def test_an_answer_carries_the_callers_request_id_or_a_new_one(client):
    assert (
        client.get("/health/live", headers={"x-request-id": "r-1"}).headers["x-request-id"] == "r-1"
    )
    made = client.get("/health/live", headers={"x-request-id": "spaces are no id"})
    assert re.fullmatch(r"[0-9a-f]{32}", made.headers["x-request-id"])


@pytest.mark.parametrize(
    "sent",
    ["", "two words", "a\tb", "x" * 65, "…".encode(), b"a\xff", '{"a":1}', "a;b", "<b>", "r-1\n"],
)
def test_what_is_not_one_plain_word_is_no_request_id(client, sent):
    with capture_logs() as logs:
        answer = client.get("/health/live", headers={"x-request-id": sent})
    assert re.fullmatch(r"[0-9a-f]{32}", answer.headers["x-request-id"])
    assert [log["request_id"] for log in logs] == [answer.headers["x-request-id"]]


def test_of_several_request_ids_none_counts(client):
    answer = client.get("/health/live", headers=[("x-request-id", "a"), ("x-request-id", "b")])
    assert re.fullmatch(r"[0-9a-f]{32}", answer.headers["x-request-id"])


def test_an_unknown_method_is_not_named_in_the_log(client):
    with capture_logs() as logs:
        assert client.request(CANARY, "/health/live").status_code == 405
    assert [log["method"] for log in logs] == ["_OTHER"]
    assert CANARY not in json.dumps(logs)


def test_server_timing_names_the_stages(client, radiograph):
    def stages():
        unseen = radiograph + os.urandom(8)  # the cache goes by every byte
        asked = [client.post("/retrieve", files={"files": unseen}) for _ in range(2)]
        return [dict(re.findall(r"(\w+);dur=([\d.]+)", a.headers["server-timing"])) for a in asked]

    first, again = stages()
    assert list(first) == ["decode", "preprocess", "queue", "infer", "search", "total"]
    assert float(first["total"]) >= float(first["infer"])
    assert list(again) == ["search", "total"]
    assert "total;dur=" in client.get("/bundle").headers["server-timing"]


@pytest.fixture
def small(tmp_path):
    settings = Settings(data_dir=tmp_path, max_body_bytes=1000)
    with in_process(settings) as client:
        yield client


def test_a_body_over_the_cap_is_refused_by_its_declared_length(small, problem):
    problem(small.post("/embed/text", content=b"x" * 1001), 413, "request/too-large")


def test_a_body_over_the_cap_is_refused_while_it_streams(small, problem):
    sent = []

    def chunks():
        for _ in range(100):
            sent.append(1)
            yield b"x" * 100

    problem(small.post("/embed/text", content=chunks()), 413, "request/too-large")
    files = {"files": b"x" * 2000}
    problem(small.post("/embed/image", files=files), 413, "request/too-large")
    assert small.post("/embed/text", json={"texts": ["fine"]}).status_code == 200


def test_one_line_a_request_is_logged_without_what_it_holds(client):
    with capture_logs() as logs:
        client.get(f"/studies/{CANARY}")
        refused = client.get(f"/studies/{CANARY}?{CANARY}={CANARY}")
    found, unasked = [log for log in logs if log["event"] == "request"]
    for line, status in ((found, 404), (unasked, 400)):
        assert line["route"] == "/studies/{study_id}"
        assert (line["method"], line["status"]) == ("GET", status)
    assert CANARY not in json.dumps(logs) + refused.text


def test_a_method_that_a_caller_made_up_is_not_logged(client):
    with capture_logs() as logs:
        assert client.request(CANARY, "/bundle").status_code == 405
    (line,) = [log for log in logs if log["event"] == "request"]
    assert line["method"] == "_OTHER"
    assert CANARY not in json.dumps(logs)


def test_a_defect_is_answered_and_logged_without_its_message(writable, monkeypatch, problem):
    def breaks(*_):
        raise RuntimeError(CANARY)

    monkeypatch.setattr(writable.app.state.services.library, "get", breaks)
    with capture_logs() as logs:
        members = problem(writable.get("/studies/s1"), 500, "internal")
    (line,) = [log for log in logs if log["event"] == "unexpected error"]
    assert line["error"] == "RuntimeError"
    assert "breaks" in line["place"]
    assert line["request_id"] == members["request_id"]
    assert CANARY not in json.dumps([logs, members])


def test_a_request_before_the_services_are_open_is_answered_by_a_problem(tmp_path, problem):
    not_started = in_process(Settings(data_dir=tmp_path))
    with capture_logs() as logs:
        problem(not_started.get("/bundle"), 500, "internal")
    assert [log["status"] for log in logs if log["event"] == "request"] == [500]


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/nothing", 404), ("GET", "/classify", 405)]
)
def test_what_does_not_exist_is_a_problem_too(client, method, path, status):
    answer = client.request(method, path)
    assert answer.status_code == answer.json()["status"] == status
    assert answer.headers["content-type"] == "application/problem+json"


def test_no_answer_may_be_stored_on_its_way(client, writable, radiograph):
    writable.put("/studies/s1", files={"files": radiograph}, data={"report": "Effusion."})
    report = {"files": {"files": radiograph}, "headers": {"accept": "application/fhir+json"}}
    answers = [
        writable.get("/studies/s1"),
        writable.get("/studies/s1/image"),
        writable.get("/studies/unknown"),
        writable.get("/studies"),
        writable.get("/nothing"),
        writable.post("/embed/image", content=b"x"),
        client.post("/retrieve", json={"text": "effusion"}),
        client.post("/generate-report", **report),
        client.get("/v1/models"),
    ]
    for answer in answers:
        assert answer.headers["cache-control"] == "no-store", answer.url


@pytest.mark.parametrize("path", ["/health/live", "/bundle", "/", "/openapi.json", "/studies/none"])
def test_head_is_answered_as_get_without_the_body(client, path):
    got, head = client.get(path), client.head(path)
    assert (head.status_code, head.content) == (got.status_code, b"")
    for name in ("content-type", "content-length"):
        assert head.headers[name] == got.headers[name]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/studies/s1", "DELETE, GET, HEAD, PUT"),
        ("PATCH", "/studies", "GET, HEAD, POST"),
        ("OPTIONS", "/embed/text", "POST"),
        ("HEAD", "/classify", "POST"),
        ("GET", "/patients/p1", "DELETE"),
        ("DELETE", "/", "GET, HEAD"),
        ("TRACE", "/v1/models", "GET, HEAD"),
    ],
)
def test_a_refused_method_names_every_method_of_the_path(client, method, path, allowed):
    answer = client.request(method, path)
    assert (answer.status_code, answer.headers["allow"]) == (405, allowed)


@pytest.mark.parametrize("path", ["/embed/text", "/classify", "/studies", "/v1/embeddings"])
def test_a_compressed_body_is_refused_in_words(client, problem, path):
    body = gzip.compress(b'{"texts": ["Effusion."]}')
    headers = {"content-encoding": "GZIP", "content-type": "application/json"}
    answer = client.post(path, content=body, headers=headers)
    told = problem(answer, 415, "request/encoding")["detail"]
    assert "Content-Encoding" in told
    assert answer.headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("encoding", ["identity", "Identity", ""])
def test_a_body_that_says_it_is_not_compressed_is_read(client, encoding):
    headers = {"content-encoding": encoding}
    assert client.post("/embed/text", json={"texts": ["a"]}, headers=headers).status_code == 200
