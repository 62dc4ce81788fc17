"""No parameter is ever dropped: each is used or refused, in every endpoint and every form."""

import json
import re
from urllib.parse import urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.api.openapi import WITH_IMAGES, WITH_JSON
from service.api.parsing import parse_json
from service.errors import RequestMalformed

NAME = "ZZDOE^JANE"
PNG = b"\x89PNG\r\n\x1a\n"
OPERATIONS = {**WITH_IMAGES, **WITH_JSON}
PARAMETERS = [
    (method, path, name)
    for (path, method), model in OPERATIONS.items()
    for name in model.model_fields
]
FORMS = {
    "raw": lambda _: {"content": PNG, "headers": {"content-type": "image/png"}},
    "form": lambda pairs: {
        "files": [("files", ("1.png", PNG)), *((name, (None, text)) for name, text in pairs)]
    },
    "json": lambda pairs: {"content": "{" + ",".join(f'"{n}": "{v}"' for n, v in pairs) + "}"},
    "fields": lambda pairs: {
        "content": urlencode(pairs),
        "headers": {"content-type": "application/x-www-form-urlencoded"},
    },
}
"""Form of a body → what the client is handed, for these names and values."""
TWICE = "parameter comes twice"


def ask(client, method, path, query, form="raw", pairs=()):
    path = path.format(study_id="s1")
    return client.request(method, f"{path}?{urlencode(query)}", **FORMS[form](pairs))


@pytest.mark.parametrize(("method", "path", "name"), PARAMETERS)
def test_a_declared_parameter_comes_once_in_the_query_or_in_the_body(
    client, problem, method, path, name
):
    """The query string is seen in every form of a body: what is refused was not passed over."""
    one = [(name, "1")]
    answers = []
    for form in FORMS if (path, method) in WITH_IMAGES else ("json",):
        answers.append(ask(client, method, path, one * 2, form))
        if form != "raw":
            answers.append(ask(client, method, path, one, form, one))
            answers.append(ask(client, method, path, (), form, one * 2))
    for answer in answers:
        detail = problem(answer, 400, "request/malformed")["detail"]
        assert f"{name}: the {TWICE}" in detail or "has a name twice" in detail


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("path", "method"), WITH_IMAGES)
def test_an_unknown_parameter_is_refused_and_not_repeated(client, problem, path, method, form):
    for name in (NAME, "Jane_Doe", "x" * 50_000):
        answers = [ask(client, method, path, [(name, "1")], form)]
        if form != "raw":
            answers.append(ask(client, method, path, (), form, [(name, "1")]))
        for answer in answers:
            detail = problem(answer, 400, "request/malformed")["detail"]
            assert name[:40] not in detail
            assert len(detail) < 500


@pytest.mark.parametrize("name", ["Patient_ID", "patientid", "patient_id "])
def test_a_misspelt_name_is_shown_with_the_right_one(client, problem, name):
    exclude = json.dumps({name: "p1"})
    answer = client.post("/retrieve", data={"text": "effusion", "exclude": exclude})
    detail = problem(answer, 400, "request/malformed")["detail"]
    assert detail.startswith(f"exclude: there is no parameter `{name}`, perhaps `patient_id` is")


@pytest.mark.parametrize("name", ["prior_study_id_doe", "patient_doe", "doe_id", "exclude\u202e"])
def test_a_name_that_may_hold_another_is_not_shown(client, problem, name):
    detail = problem(client.post("/generate-report", data={name: "1"}), 400, "request/malformed")
    assert name not in detail["detail"]


@pytest.mark.parametrize("form", FORMS)
def test_an_exclusion_in_the_query_string_is_kept_in_every_form(
    writable, radiograph, in_base64, form
):
    writable.put("/studies/s1", json={"report": "FINDINGS: Effusion.", "patient_id": "p1"})
    bodies = {
        "raw": {"content": radiograph},
        "form": {"files": {"files": radiograph}},
        "json": {"json": {"images": [{"data": in_base64(radiograph)}]}},
        "fields": {"data": {"text": "effusion"}},
    }
    for patient, found in (("p1", 0), ("p2", 1)):
        query = urlencode({"exclude": json.dumps({"patient_id": patient})})
        answer = writable.post(f"/retrieve?{query}", **bodies[form])
        assert len(answer.json()["hits"]) == found, answer.text
        if form != "fields":
            answer = writable.post(f"/generate-report?{query}", **bodies[form])
            assert len(answer.json()["evidence"]) == found, answer.text


def test_a_patient_in_the_query_string_is_stored_in_every_form(writable, radiograph, in_base64):
    report = {"report": "FINDINGS: Effusion."}
    for number, body in enumerate(
        (
            {"content": radiograph},
            {"files": {"files": radiograph}},
            {"files": {"files": radiograph}, "data": report},
            {"data": report},
            {"json": report},
            {"json": report | {"images": [{"data": in_base64(radiograph)}]}},
        )
    ):
        put = writable.put(f"/studies/s{number}?patient_id=p1", **body)
        assert put.json()["patient_id"].startswith("pat_")
    assert writable.delete("/patients/p1").json()["studies"] == 6


def test_json_bodies_take_the_query_string_too(client, problem):
    packed = client.post("/embed/text?encoding=base64", json={"texts": ["Effusion."]}).json()
    assert isinstance(packed["items"][0]["embedding"], str)
    packed = client.post("/v1/embeddings?encoding_format=base64&user=me", json={
        "model": "phantom-demo", "input": "Effusion.",
    })  # fmt: skip
    assert isinstance(packed.json()["data"][0]["embedding"], str)
    both = client.post("/embed/text?encoding=base64", json={"texts": ["a"], "encoding": "float"})
    assert TWICE in problem(both, 400, "request/malformed")["detail"]


@pytest.mark.parametrize(
    "body",
    [
        '{"text": "effusion", "exclude": {"patient_id": "a", "patient_id": "b"}}',
        '{"text": "effusion", "exclude": {"patient_id": "a"}, "exclude": {}}',
        '{"text": "effusion", "exclude": {"patient_id": "a", "patient\\u005fid": "b"}}',
    ],
)
def test_a_name_twice_in_json_is_refused(client, problem, body):
    answer = client.post("/retrieve", content=body)
    assert "name twice" in problem(answer, 400, "request/malformed")["detail"]
    line = '{"study_id": "s1", "report": "x", "patient_id": "a", "patient_id": "b"}'
    for content in (line, f"[{line}]"):
        problem(client.post("/studies", content=content), 400, "request/malformed")
    form = client.post("/studies", data={"studies": f"[{line}]"}, files={"files": b""})
    problem(form, 400, "request/malformed")


@given(
    st.recursive(
        st.none() | st.integers(-9, 9) | st.text(st.sampled_from('":\\{}a ,'), max_size=6),
        lambda v: (
            st.lists(v, max_size=3)
            | st.dictionaries(st.text(st.sampled_from('":\\a '), max_size=4), v, max_size=3)
        ),
        max_leaves=12,
    )
)
@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=60)
def test_no_other_json_is_taken_for_one_with_a_name_twice(value):
    for text in (json.dumps(value), json.dumps(value, indent=1)):
        assert parse_json(text) == value


@pytest.mark.parametrize(
    "text", ['{"a": 1, "a": 1}', '[{"b": {"": 1, "":2}}]', '{"\\"": 1, "\\"":2}']
)
def test_a_name_twice_is_found_at_any_depth(text):
    with pytest.raises(RequestMalformed, match="name twice"):
        parse_json(text)


def test_a_batch_takes_no_parameter_beside_its_studies(writable, problem):
    lines = [{"study_id": "s1", "report": "FINDINGS: Effusion."}]
    answers = [
        writable.post("/studies?patient_id=p1", json=lines),
        writable.post("/studies?patient_id=p1", content=json.dumps(lines[0])),
        writable.post("/studies?patient_id=p1", files={"studies": (None, json.dumps(lines))}),
        writable.post("/studies", data={"studies": json.dumps(lines), "patient_id": "p1"}),
        writable.post(
            "/studies", files=[("studies", (None, json.dumps(lines))), ("patient_id", (None, "p1"))]
        ),
        writable.post("/studies", files=[("studies", (None, json.dumps(lines)))] * 2),
        writable.post("/studies", files={"studies": ("1.json", json.dumps(lines))}),
        writable.post("/studies", files={"studies": (None, '{"a": 1}')}),
    ]
    for answer in answers:
        problem(answer, 400, "request/malformed")
    assert writable.get("/studies").json()["studies"] == 0


def test_a_parameter_in_a_file_part_is_refused(client, problem, radiograph):
    files = {"files": radiograph, "exclude": ("x.json", b'{"patient_id": "p1"}')}
    answer = client.post("/generate-report", files=files)
    assert "another field" in problem(answer, 400, "request/malformed")["detail"]


@pytest.mark.parametrize("value", ["", "{}", '{"patient_id": ""}', '{"patient_id": " "}'])
def test_an_empty_exclusion_is_refused_or_excludes_nobody(client, value):
    answer = client.post("/retrieve", data={"text": "effusion", "exclude": value})
    assert answer.status_code == (200 if value == "{}" else 400)


@pytest.mark.parametrize("name", ["patient_id", "patient_id=", "patient_id=%20", "patient_id=%C4"])
def test_an_empty_patient_is_refused(writable, problem, name):
    problem(writable.put(f"/studies/s1?{name}", json={"report": "x"}), 400, "request/malformed")


def guarded(client):
    """Endpoints without a body that need a key's scope, but for the operator's and OpenAI's."""
    document = client.get("/openapi.json").json()["paths"]
    for path, methods in document.items():
        for method, operation in methods.items():
            free = path in ("/metrics", "/bundle") or path.startswith("/v1/")
            if method in ("get", "delete") and "security" in operation and not free:
                yield method, re.sub(r"\{.*?\}", "s1", path), operation


def test_an_endpoint_without_a_body_takes_what_the_contract_declares(client, problem):
    asked = [*guarded(client)]
    assert len(asked) == 5
    for method, path, operation in asked:
        for unknown in (f"{NAME}=1", "foo=1", "patient_id=p1"):
            answer = client.request(method, f"{path}?{unknown}")
            assert NAME not in problem(answer, 400, "request/malformed")["detail"]
        for declared in operation["parameters"]:
            if declared["in"] == "query" and declared["schema"].get("type") != "array":
                twice = client.request(method, f"{path}?{declared['name']}=1&{declared['name']}=1")
                assert TWICE in problem(twice, 400, "request/malformed")["detail"]
        body = client.request(method, path, json={"audit": "erase"})
        assert "a body" in problem(body, 400, "request/malformed")["detail"]
    assert client.get("/studies?source=a&source=b").json()["studies"] == 0


@pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/metrics", "/v1/models"])
def test_what_holds_nobodys_data_may_be_asked_with_more(client, path):
    """Probes and OpenAI's clients add parameters of their own."""
    assert client.get(f"{path}?time=1").status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        {"metadata": {NAME: [1]}},
        {"metadata": {NAME: {"a": 1}}},
        {"report": 1, NAME: 2},
        {"findings": [{NAME: 1}]},
    ],
)
def test_no_error_of_a_study_repeats_its_words(writable, problem, body):
    for answer in (
        writable.put("/studies/s1", json=body),
        writable.post("/studies", json=[{"study_id": "s1", **body}]),
    ):
        assert NAME not in answer.text
        problem(answer, 400, "request/malformed")


def test_no_error_of_labels_or_of_an_image_repeats_its_words(client, radiograph):
    for answer in (
        client.post("/classify", files={"files": radiograph}, data={"labels": f'{{"{NAME}": 1}}'}),
        client.post("/classify", files={"files": radiograph}, data={"label_set": NAME}),
        client.post("/embed/image", json={"images": [{"data": "AAAA", NAME: 1}]}),
        client.post("/embed/image", json={"images": [{NAME: 1}]}),
        client.post("/v1/embeddings", json={"model": NAME, "input": "x"}),
        client.post("/retrieve", json={"text": "x", "filter": {NAME: []}}),
        client.post("/retrieve", json={"text": "x", "target": NAME}),
    ):
        assert answer.is_client_error
        assert NAME not in answer.text


def test_a_member_that_stands_outside_of_its_parameter_is_called_so(client, problem):
    answer = client.post("/retrieve", params={"text": "effusion", "patient_id": "p1"})
    detail = problem(answer, 400, "request/malformed")["detail"]
    assert "`patient_id` is a member of another parameter" in detail
