"""Nothing but a radiograph gets a report or findings; all else that was asked is answered."""

import numpy as np
import pytest

from tests.support.pictures import file_of, page, photographs

RANDOM = np.random.default_rng(0)
STRANGERS = {
    "a colour photograph": file_of(photographs()[0]),
    "a screenshot": file_of(page()),
    "noise": file_of(RANDOM.integers(0, 256, (256, 256)).astype(np.uint8)),
}


@pytest.fixture(params=STRANGERS.values(), ids=STRANGERS)
def stranger(request):
    return request.param


def test_it_gets_no_report(client, problem, stranger):
    answer = client.post("/generate-report", files={"files": stranger})
    members = problem(answer, 422, "image/not-a-radiograph")
    assert members["detail"].count(".") >= 2  # what was seen, and what to do


def test_it_gets_no_report_as_a_stream_or_as_one_of_two_views(
    client, problem, radiograph, stranger
):
    files = [("files", ("a", radiograph)), ("files", ("b", stranger))]
    for data in ({}, {"stream": "true"}):
        answer = client.post("/generate-report", files=files, data=data)
        problem(answer, 422, "image/not-a-radiograph")


def test_it_is_not_classified_and_harms_no_other_image(client, radiograph, stranger):
    files = [("files", ("a", stranger)), ("files", ("b", radiograph))]
    refused, classified = client.post("/classify", files=files).json()["items"]
    assert refused["error"]["type"] == "urn:eclip:image/not-a-radiograph"
    assert classified["findings"]
    assert classified["warnings"] == []


def test_its_embedding_comes_with_a_warning(client, radiograph, stranger):
    files = [("files", ("a", stranger)), ("files", ("b", radiograph))]
    warned, trusted = client.post("/embed/image", files=files).json()["items"]
    assert warned["embedding"]
    assert warned["image"]["warnings"]
    assert trusted["image"]["warnings"] == []


def test_it_may_be_searched_with(client, stranger):
    answer = client.post("/retrieve", files={"files": stranger}, data={"target": "image"})
    assert answer.json()["hits"]
