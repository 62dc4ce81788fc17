import asyncio
import io
import json
import re
import threading
import time
from dataclasses import replace

import numpy as np
import pydicom
import pytest
from PIL import Image
from structlog.testing import capture_logs

from service.api import streaming
from service.settings import DEMO_LIBRARY, Settings
from service.wiring import open_language_model
from tests.service.imaging.conftest import dicom_bytes, dicom_dataset
from tests.support.map_bundles import measured_mapper
from tests.support.openai_server import OpenAIServer
from tests.support.server import in_process

FIRST = json.loads(DEMO_LIBRARY.read_text().splitlines()[0])


def written(answer):
    assert answer.status_code == 200, answer.text
    return answer.json()


def sentences(body):
    return [*body["report"]["findings"], *body["report"]["impression"]]


def server_sent(answer):
    """(name, data) of each server-sent event."""
    assert answer.headers["content-type"].startswith("text/event-stream")
    return [
        (name, json.loads(data))
        for name, data in re.findall(r"event: (\w+)\ndata: (.*)\n\n", answer.text)
    ]


def test_a_sentence_says_where_its_finding_points_streamed_too(client, radiograph):
    wired = client.app.state.services
    reporter = replace(wired.reporter, mapper=measured_mapper(wired.encoder, 0.1))
    with in_process(Settings(), replace(wired, reporter=reporter)) as mapped:
        files = {"files": radiograph}
        body = written(mapped.post("/generate-report", files=files))
        streamed = server_sent(
            mapped.post("/generate-report", files=files, data={"stream": "true"})
        )
    regions = [sentence["region"] for sentence in sentences(body) if "region" in sentence]
    labels = [finding["label"] for finding in body["classification"]]
    for region in regions:
        assert region.keys() == {"finding", "view", "zone", "box", "lungs_found", "agrees"}
        assert region["finding"] in labels
        assert region["view"] == 0
    assert regions
    assert [data for name, data in streamed if name == "sentence"] == sentences(body)


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
    assert body["generator"] == {
        "kind": "extractive",
        "model": "extractive-consensus-1",
        "passages": len(body["evidence"]),
        "fallback": None,
    }
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


def test_a_prior_study_is_not_evidence_and_an_unknown_one_is_refused(client, problem, pictures):
    files, first = {"files": pictures[0]}, FIRST["study_id"]
    own = client.get(f"/studies/{first}").json()["study_id"]
    body = written(client.post("/generate-report", files=files, data={"prior_study_id": first}))
    assert body["evidence"]
    assert own not in {item["study_id"] for item in body["evidence"]}
    assert body["prior"] == []  # there is no language model that would have read it
    answer = client.post("/generate-report", files=files, data={"prior_study_id": "none"})
    problem(answer, 404, "study/unknown")
    data = {"prior_study_id": first, "exclude": json.dumps({"study_id": first})}
    problem(client.post("/generate-report", files=files, data=data), 400, "request/malformed")


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


def test_a_sentence_shows_opposite_evidence_and_the_classifiers_verdict(client, radiograph):
    body = written(client.post("/generate-report", files={"files": radiograph}, data={"k": "30"}))
    numbers = {item["number"] for item in body["evidence"]}
    denied = [sentence for sentence in sentences(body) if sentence["against"]]
    assert denied
    for sentence in denied:
        assert set(sentence["against"]) <= numbers - {*sentence["evidence"]}
    assert {s["zero_shot"] for s in sentences(body)} & {"agrees", "disagrees"}


def test_cases_that_are_too_far_are_no_evidence(client, radiograph):
    data = {"min_score": "0.99"}
    body = written(client.post("/generate-report", files={"files": radiograph}, data=data))
    assert body["evidence"] == sentences(body) == []
    assert "0.99" in body["abstained"]


def test_every_report_names_its_audit_record(client, radiograph):
    first, second = (
        written(client.post("/generate-report", files={"files": radiograph}))["provenance"][
            "record"
        ]
        for _ in range(2)
    )
    assert first != second
    assert client.app.state.services.reporter.audit.find(first).id == first


def test_streamed_it_is_evidence_then_sentences_then_the_same_report(client, radiograph):
    whole = written(client.post("/generate-report", files={"files": radiograph}))
    streamed = server_sent(
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
def without_llm(closed_port, client):
    """The same services, with a language model server that is down."""
    settings = Settings(llm_url=f"http://127.0.0.1:{closed_port}/v1", llm_timeout_s=1)
    reporter = client.app.state.services.reporter
    with (
        open_language_model(settings) as model,
        app_with(client, replace(reporter, language_model=model)) as app,
    ):
        yield app


def test_a_language_model_that_is_down_answers_503_with_a_time_to_retry(
    without_llm, problem, radiograph
):
    """And no extractive report is passed off as the model's."""
    answer = without_llm.post("/generate-report", files={"files": radiograph})
    problem(answer, 503, "llm/unavailable")
    assert int(answer.headers["retry-after"]) > 0
    streamed = server_sent(
        without_llm.post("/generate-report", files={"files": radiograph}, data={"stream": "true"})
    )
    assert [name for name, _ in streamed] == ["evidence", "error"]
    assert streamed[-1][1]["type"] == "urn:eclip:llm/unavailable"


def test_an_extractive_report_in_its_stead_must_be_asked_for_and_says_so(without_llm, radiograph):
    asked = {"files": {"files": radiograph}, "data": {"fallback": "extractive"}}
    body = written(without_llm.post("/generate-report", **asked))
    assert sentences(body)
    assert body["generator"]["kind"] == "extractive"
    assert "language model server" in body["generator"]["fallback"]


def test_a_language_model_that_refuses_answers_502_in_its_words_and_none_of_the_callers(
    client, problem, radiograph
):
    quoted = "Doe-Jane, smoker"
    reporter = client.app.state.services.reporter
    with (
        OpenAIServer.running() as server,
        open_language_model(Settings(llm_url=server.url)) as model,
        app_with(client, replace(reporter, language_model=model)) as app,
    ):
        server.status, server.answer = 400, {"error": f"Cannot parse {quoted}: no chat template"}
        asked = {"files": {"files": radiograph}, "data": {"indication": quoted}}
        with capture_logs() as logs:
            refused = problem(app.post("/generate-report", **asked), 502, "llm/refused")
    assert "no chat template" in refused["detail"]
    for told in (str(refused), str(logs)):
        assert not re.search("doe|jane|smoker", told, re.IGNORECASE)


def test_a_filter_of_sections_is_refused_since_no_case_has_one(client, problem, radiograph):
    data = {"filter": json.dumps({"section": ["findings"]})}
    refused = client.post("/generate-report", files={"files": radiograph}, data=data)
    assert "/retrieve" in problem(refused, 400, "request/malformed")["detail"]
    passages = client.post(
        "/retrieve", files={"files": radiograph}, data=data | {"target": "passage"}
    )
    assert passages.json()["hits"]


class Scripted:
    """Takes the reporter's place, with events of our choosing."""

    def __init__(self, events):
        self._events = events

    def pointing(self, *_):
        """Finds no frontal view."""

    def events(self, images, asked, deadline, _pointing):
        return self._events(images, asked, deadline)

    def report(self, images, asked, deadline, **_):
        return list(self._events(images, asked, deadline))[-1]


def app_with(client, reporter, **settings):
    """The same services, but for who writes the reports."""
    wired = client.app.state.services
    other = replace(wired, reporter=reporter, settings=wired.settings.model_copy(update=settings))
    return in_process(other.settings, other)


@pytest.mark.parametrize(("llm_url", "least", "most"), [((), 0, 1e5), (("x",), 1e5, 1e6)])
def test_a_report_has_a_language_models_time_too_where_there_is_one(
    client, radiograph, llm_url, least, most
):
    left = []

    def events(_images, _asked, deadline):
        left.append(deadline.remaining)
        yield []

    with app_with(
        client, Scripted(events), llm_url=llm_url, deadline_s=1e5, llm_timeout_s=9e5
    ) as app:
        app.post("/generate-report", files={"files": radiograph}, data={"stream": "true"})
    assert least < left[0] < most


def test_a_defect_inside_a_stream_ends_it_with_an_error_that_tells_no_message(client, radiograph):
    def events(*_):
        yield []
        raise KeyError("Doe-Jane")

    with capture_logs() as logs, app_with(client, Scripted(events)) as app:
        answer = app.post("/generate-report", files={"files": radiograph}, data={"stream": "true"})
    (first, _), (last, error) = server_sent(answer)
    assert (first, last) == ("evidence", "error")
    assert error["type"] == "urn:eclip:internal"
    assert error["request_id"] == answer.headers["x-request-id"]
    (logged,) = [line for line in logs if line["event"] == "unexpected error"]
    assert (logged["error"], "events" in logged["place"]) == ("KeyError", True)
    assert "Doe-Jane" not in answer.text + json.dumps(logs)


def test_a_stream_is_neither_buffered_nor_stored_on_its_way(client, radiograph):
    answer = client.post("/generate-report?stream=true", content=radiograph)
    assert answer.headers["x-accel-buffering"] == "no"
    assert answer.headers["cache-control"] == "no-store"


def test_while_no_event_comes_a_stream_sends_comments(client, radiograph, monkeypatch):
    """Else a proxy closes it: nginx after 60 seconds. Clients pass over comments."""
    monkeypatch.setattr(streaming, "KEEP_ALIVE_S", 0.01)
    commented = threading.Event()

    def events(*_):
        yield []
        commented.wait(60)
        yield []

    async def read(app):
        async def send(message):
            if b"\n\n" in (sent := message.get("body", b"")) and sent.startswith(b": "):
                commented.set()
            parts.append(message.get("body", b""))

        parts = []
        await app(stream_request(), body_of(radiograph), send)
        return b"".join(parts).decode()

    with app_with(client, Scripted(events)) as app:
        text = asyncio.run(read(app.app))
    assert commented.is_set()
    names = [part.partition("\n")[0] for part in text.split("\n\n") if not part.startswith(":")]
    assert names == ["event: evidence", "event: evidence", ""]


def test_a_client_that_leaves_a_stream_cancels_its_deadline_at_once(client, radiograph):
    """The second event takes until the deadline, an hour, or until the client leaves."""
    ended = []

    def events(_images, _asked, deadline):
        yield []
        while deadline.remaining:
            time.sleep(0.01)
        ended.append(True)

    with app_with(client, Scripted(events), deadline_s=3600) as app:
        asyncio.run(leave_after_the_first_event(app.app, radiograph))
    assert ended


async def leave_after_the_first_event(app, body):
    """Speak ASGI as uvicorn does, and close the connection once something has come."""
    received, gone = asyncio.Event(), asyncio.Event()
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive():
        if messages:
            return messages.pop()
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message):
        if message.get("body"):
            received.set()

    answering = asyncio.create_task(app(stream_request(), receive, send))
    await received.wait()
    gone.set()
    await answering


def stream_request():
    """A request for a stream, in ASGI's form."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "method": "POST",
        "path": "/generate-report",
        "query_string": b"stream=true",
        "headers": [(b"host", b"127.0.0.1"), (b"content-type", b"image/png")],
    }


def body_of(body):
    """What a client sends that stays until the answer is whole."""
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive():
        if not messages:
            await asyncio.Event().wait()
        return messages.pop()

    return receive


@pytest.mark.parametrize(
    "data", [{"k": "0"}, {"k": "101"}, {"seed": "-1"}, {"indication": "x" * 2001}]
)
def test_parameters_out_of_bounds_are_malformed(client, problem, radiograph, data):
    answer = client.post("/generate-report", files={"files": radiograph}, data=data)
    problem(answer, 400, "request/malformed")


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("text/plain", "text/plain; charset=utf-8"),
        ("text/html, text/markdown;q=0.9, */*;q=0.1", "text/markdown; charset=utf-8"),
        ("application/fhir+json", "application/fhir+json"),
        ("application/json, text/plain", "application/json"),
        ("text/plain;q=0, application/json", "application/json"),
        ("*/*", "application/json"),
    ],
)
def test_a_report_comes_in_the_form_that_is_accepted(client, radiograph, accept, kind):
    answer = client.post(
        "/generate-report", files={"files": radiograph}, headers={"accept": accept}
    )
    assert answer.status_code == 200
    assert answer.headers["content-type"] == kind
    assert "consolidation" in answer.text


def chest(radiograph, **elements):
    """A DICOM file of the radiograph."""
    pixels = np.asarray(Image.open(io.BytesIO(radiograph)).convert("L"))
    ids = {"StudyInstanceUID": "1.2.3", "SeriesInstanceUID": "1.2.3.4", "PatientID": "P-1"}
    return dicom_bytes(dicom_dataset(pixels, **ids | elements))


def test_a_report_about_dicom_files_comes_as_a_structured_report(client, radiograph):
    def sent(file):
        files = [("files", ("a.dcm", file))]
        return client.post("/generate-report", files=files, headers={"accept": "application/dicom"})

    file = chest(radiograph)
    answer = sent(file)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/dicom"
    draft, again = (pydicom.dcmread(io.BytesIO(each.content)) for each in (answer, sent(file)))
    assert (draft.Modality, draft.PatientID, draft.StudyInstanceUID) == ("SR", "P-1", "1.2.3")
    assert draft.SOPInstanceUID == again.SOPInstanceUID
    assert b"consolidation" in answer.content


def test_a_structured_report_needs_dicom_files_of_one_study(client, problem, radiograph):
    other = chest(radiograph, StudyInstanceUID="1.2.9")
    several = [("files", (name, file)) for name, file in (("a", chest(radiograph)), ("b", other))]
    for files, kind in (
        ([("files", ("a.png", radiograph))], "image/undecodable"),
        (several, "study/invalid"),
    ):
        answer = client.post(
            "/generate-report",
            files=files,
            data={"exclude": '{"study_id": "my study"}'},
            headers={"accept": "application/dicom"},
        )
        problem(answer, 422, kind)


def test_a_form_that_is_not_offered_is_refused_before_any_work(client, problem, radiograph):
    written = []

    def events(*_):
        written.append(True)
        yield []

    with app_with(client, Scripted(events)) as app:
        answer = app.post("/generate-report", content=radiograph, headers={"accept": "image/png"})
    assert not written
    told = problem(answer, 406, "request/not-acceptable")["detail"]
    assert "application/fhir+json" in told


def test_events_come_by_accept_or_by_the_parameter(client, radiograph):
    """OpenAI's clients accept JSON and ask for a stream."""
    for accept, stream in (("text/event-stream", "false"), ("application/json", "true")):
        answer = client.post(
            "/generate-report",
            files={"files": radiograph},
            data={"stream": stream},
            headers={"accept": accept},
        )
        assert server_sent(answer)[-1][0] == "report"
