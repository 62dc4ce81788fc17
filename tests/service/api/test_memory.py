"""What requests take of the memory, and what is answered where it does not suffice."""

import json

import numpy as np
import pytest
from PIL import Image

from service.errors import MemoryShort
from service.settings import Settings
from tests.service.imaging.conftest import picture
from tests.support.server import in_process

MIB = 2**20


@pytest.fixture(scope="module")
def narrow(client):
    """The app with 26 MiB for requests, on the parts of `client`."""
    settings = Settings(memory_bytes=65 * MIB)
    with in_process(settings, client.app.state.services) as narrow:
        yield narrow


@pytest.mark.slow
def test_nothing_stays_counted_once_a_request_is_answered(narrow, radiograph, in_base64, problem):
    """Each of these takes over a tenth of the memory."""
    images = {"images": [{"data": in_base64(radiograph + bytes(2 * MIB))}]}
    for _ in range(12):
        assert narrow.post("/embed/image", json=images).status_code == 200
        form = narrow.post("/embed/image", files={"files": radiograph + bytes(3 * MIB)})
        assert form.status_code == 200
        problem(narrow.post("/embed/image", content=b"x" * 3 * MIB), 415, "image/unsupported")
        problem(narrow.post("/retrieve", json={"text": "x" * 3 * MIB}), 422, "text/invalid")
        problem(narrow.post("/retrieve", json={"k": "x" * 3 * MIB}), 400, "request/malformed")


def test_a_body_that_takes_more_than_there_is_once_it_is_read_is_too_large(narrow, problem):
    plain, wide = "x" * 6 * MIB, "x" * 6 * MIB + "\U0001f600"
    problem(narrow.post("/retrieve", json={"text": plain}), 422, "text/invalid")
    for text in (json.dumps({"text": wide}), json.dumps({"text": wide}, ensure_ascii=False)):
        told = problem(narrow.post("/retrieve", content=text.encode()), 413, "request/too-large")
        assert "ECLIP_MEMORY_BYTES" in told["detail"]
    fields = narrow.post("/studies", files={"studies": (None, plain)})
    problem(fields, 413, "request/too-large")


def test_pixels_that_take_more_than_there_is_are_too_large(narrow, problem):
    """9 million bytes fit into 26 MiB three times, with what else a request takes; 36 do not."""
    rows = np.arange(6000, dtype=np.uint16).astype(np.uint8)
    small, large = (
        picture(Image.fromarray(np.tile(rows[:side], (side, 1))), "PNG") for side in (3000, 6000)
    )
    for _ in range(4):
        assert narrow.post("/display", content=small).status_code == 200
    told = problem(narrow.post("/display", content=large), 413, "request/too-large")
    assert "ECLIP_MEMORY_BYTES" in told["detail"]
    assert narrow.post("/display", content=small).status_code == 200


def test_a_url_encoded_form_has_a_bound_of_its_own(narrow, problem):
    headers = {"content-type": "application/x-www-form-urlencoded"}
    answer = narrow.post("/retrieve", content=b"text=" + b"%41" * 2 * MIB, headers=headers)
    assert "multipart" in problem(answer, 400, "request/malformed")["detail"]


@pytest.mark.parametrize(
    "place",
    [
        "service.imaging.radiograph.preprocess",
        "service.imaging.dicom.decode.read_dataset",
        "service.imaging.decode.to_gray",
        "service.api.inputs.decode_base64",
        "service.api.parsing.from_json",
    ],
)
def test_too_little_memory_is_no_damage_and_no_defect(
    client, monkeypatch, problem, radiograph, in_base64, place
):
    def short(*_, **__):
        raise MemoryError

    dicom = bytes(128) + b"DICM"
    content = dicom if "dicom" in place else radiograph
    body = {"images": [{"data": in_base64(content + place.encode())}]}
    monkeypatch.setattr(place, short)
    answer = client.post("/embed/image", json=body)
    problem(answer, 503, "memory/short")
    assert int(answer.headers["retry-after"]) >= 1
    monkeypatch.undo()
    assert client.post("/embed/image", json=body).status_code == (415 if "dicom" in place else 200)


def test_a_report_that_runs_short_of_memory_as_it_streams_ends_with_that_error(
    client, monkeypatch, radiograph
):
    def events(*_):
        raise MemoryError
        yield

    monkeypatch.setattr("service.reporting.pipeline.Reporter.events", events)
    answer = client.post("/generate-report?stream=true", content=radiograph)
    assert "event: error" in answer.text
    assert f"urn:eclip:{MemoryShort.type}" in answer.text
