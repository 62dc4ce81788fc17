import json
import re

import pytest
from fastapi.testclient import TestClient

from service.app import create_app
from service.settings import DEMO_LIBRARY, Settings

FIRST = json.loads(DEMO_LIBRARY.read_text().splitlines()[0])


def written(answer):
    assert answer.status_code == 200, answer.text
    return answer.json()


def sentences(body):
    return [*body["report"]["findings"], *body["report"]["impression"]]


def events(answer):
    """(name, data) of each server-sent event."""
    assert answer.headers["content-type"].startswith("text/event-stream")
    return [
        (name, json.loads(data))
        for name, data in re.findall(r"event: (\w+)\ndata: (.*)\n\n", answer.text)
    ]


def test_every_sentence_cites_passages_that_exist(client, radiograph):
    body = written(client.post("/generate-report", files={"files": radiograph}))
    evidence = {item["number"]: item for item in body["evidence"]}
    assert body["report"]["findings"]
    assert body["report"]["impression"]
    for sentence in sentences(body):
        assert sentence["status"] == "supported"
        assert sentence["evidence"]
        for number in sentence["evidence"]:
            cited = evidence[number]
            stored = client.get(f"/studies/{cited['study_id']}").json()
            assert cited["text"] in [p["text"] for p in stored["passages"]]
    assert body["generator"] == {"kind": "extractive", "model": "extractive-consensus-1"}
    assert body["provenance"]["bundle_id"] == body["bundle"]["id"]
    assert body["abstained"] is None
    assert len(body["classification"]) == 8


def test_the_same_study_in_three_forms_gives_one_report(client, radiograph, in_base64):
    form = client.post("/generate-report", files={"files": radiograph})
    raw = client.post("/generate-report", content=radiograph)
    body = client.post("/generate-report", json={"images": [{"data": in_base64(radiograph)}]})
    assert written(form)["report"] == written(raw)["report"] == written(body)["report"]


def test_the_patients_own_cases_are_left_out(client, pictures):
    exclude = {"patient_id": FIRST["patient_id"]}
    data = {"k": "5", "exclude": json.dumps(exclude)}
    own = client.get(f"/studies/{FIRST['study_id']}").json()["study_id"]
    with_own = written(
        client.post("/generate-report", files={"files": pictures[0]}, data={"k": "50"})
    )
    without = written(client.post("/generate-report", files={"files": pictures[0]}, data=data))
    assert own in {item["study_id"] for item in with_own["evidence"]}
    assert own not in {item["study_id"] for item in without["evidence"]}
    assert len({item["study_id"] for item in without["evidence"]}) == 5


def test_without_a_case_it_abstains_and_still_classifies(client, radiograph):
    where = json.dumps({"source": ["nowhere"]})
    body = written(
        client.post("/generate-report", files={"files": radiograph}, data={"filter": where})
    )
    assert sentences(body) == body["evidence"] == []
    assert "No case" in body["abstained"]
    assert body["classification"]


def test_several_views_are_one_study(client, pictures):
    both = [("files", ("a", pictures[0])), ("files", ("b", pictures[1]))]
    first, second, together = (
        written(client.post("/generate-report", files=files))
        for files in (both[:1], both[1:], both)
    )
    scores = [body["evidence"][0]["score"] for body in (first, second, together)]
    assert scores[2] not in scores[:2]


def test_a_view_that_cannot_be_read_fails_the_study(client, problem, radiograph):
    files = [("files", ("a", radiograph)), ("files", ("b", radiograph[:500]))]
    problem(client.post("/generate-report", files=files), 422, "image/undecodable")


def test_streamed_it_is_evidence_then_sentences_then_the_same_report(client, radiograph):
    whole = written(client.post("/generate-report", files={"files": radiograph}))
    streamed = events(
        client.post("/generate-report", files={"files": radiograph}, data={"stream": "true"})
    )
    names = [name for name, _ in streamed]
    assert names == ["evidence", *["sentence"] * len(sentences(whole)), "report"]
    assert [data for name, data in streamed if name == "sentence"] == sentences(whole)
    assert streamed[-1][1]["report"] == whole["report"]
    assert [item["passage_id"] for item in streamed[0][1]] == [
        item["passage_id"] for item in whole["evidence"]
    ]


@pytest.fixture
def without_llm(demo_data, closed_port, client):
    """The same services, but for a language model server that is down."""
    settings = Settings(
        data_dir=demo_data, llm_url=f"http://127.0.0.1:{closed_port}/v1", llm_timeout_s=1
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("service.app._library", lambda *_: _borrowed(client))
        with TestClient(create_app(settings), raise_server_exceptions=False) as app:
            yield app


class _borrowed:
    """The library of a running app; only one process part may have it open."""

    def __init__(self, client):
        self.library = client.app.state.services.library

    def __enter__(self):
        return self.library

    def __exit__(self, *_):
        return None


def test_a_language_model_that_is_down_is_told_with_a_time_to_retry(
    without_llm, problem, radiograph
):
    """And no extractive report is passed off as the model's."""
    answer = without_llm.post("/generate-report", files={"files": radiograph})
    problem(answer, 503, "llm/unavailable")
    assert int(answer.headers["retry-after"]) > 0
    streamed = events(
        without_llm.post("/generate-report", files={"files": radiograph}, data={"stream": "true"})
    )
    assert [name for name, _ in streamed] == ["evidence", "error"]
    assert streamed[-1][1]["type"] == "urn:eclip:llm/unavailable"


@pytest.mark.parametrize(
    "data", [{"k": "0"}, {"k": "101"}, {"seed": "-1"}, {"indication": "x" * 2001}]
)
def test_parameters_out_of_bounds_are_malformed(client, problem, radiograph, data):
    answer = client.post("/generate-report", files={"files": radiograph}, data=data)
    problem(answer, 400, "request/malformed")
